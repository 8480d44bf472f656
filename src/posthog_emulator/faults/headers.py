"""Misbehaviour that a request asks for itself, by header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.http.messages import Request

from .faults import Fault, Latency, html_page
from .matcher import RequestMatcher
from .mutations import (
    DRIFTS,
    LINKS,
    PAGES,
    CorruptJson,
    Links,
    Pages,
    ResponseMutation,
    drifting,
    known,
)
from .request_faults import RequestFaults

__all__ = ["HEADERS", "HeaderFaults", "fault_header_key", "parse_fault_headers"]

HEADERS: Final = (
    "x-emulator-fail",
    "x-emulator-latency",
    "x-emulator-break",
    "x-emulator-drift",
    "x-emulator-links",
    "x-emulator-pages",
    "x-emulator-seed",
)
"""What a request may say."""

_BREAKS: Final[Mapping[str, Fault]] = {
    "drop": Fault("drop"),
    "reset": Fault("drop", reset=True),
    "drop-after": Fault("drop", moment="after"),
    "reset-after": Fault("drop", moment="after", reset=True),
    "truncate": Fault("truncate"),
    "cut": Fault("cut"),
    "stall": Fault("stall", moment="within"),
    "html": Fault("answer", status=502, body=html_page(502).content.decode()),
}
_GARBLED: Final = "garble"
_OPTIONS: Final = "retry-after=SECONDS, code=CODE, rate=PART, burst=SIZE/EVERY, html and after"


@dataclass(slots=True)
class HeaderFaults:
    """What some requests ask for; kept, so that pages can be told from those before."""

    when: RequestMatcher
    latency: Latency | None = None
    failures: list[tuple[RequestMatcher, Fault]] = field(
        default_factory=list[tuple[RequestMatcher, Fault]]
    )
    """Tried one after the other; the first that strikes is it."""
    fault: Fault | None = None
    """What happens if none of them does."""
    distortions: list[ResponseMutation] = field(default_factory=list[ResponseMutation])

    def join(self, fate: RequestFaults, request: Request) -> None:
        """Make it part of a request's fate."""
        if not self.when.matches(request):
            return
        if self.latency is not None:
            fate.delay += self.latency.draw(self.when.chance)
        for when, failure in self.failures:
            if fate.fault is None and when.matches(request):
                fate.fault = failure
        fate.fault = fate.fault or self.fault
        for distortion in self.distortions:
            fate.add(distortion)


def fault_header_key(request: Request) -> str | None:
    """Everything a request wishes for, as one text; None: nothing."""
    headers = request.headers
    said = [f"{name}: {headers[name]}" for name in HEADERS if name in headers]
    return "\n".join(said) if said else None


def parse_fault_headers(request: Request) -> HeaderFaults:
    """Understand what a request wishes for.

    Raises:
        Problem: 400, there is no such misbehaviour.
    """
    headers = request.headers
    seed = _read(headers, "x-emulator-seed", _seed) or 0
    wish = HeaderFaults(RequestMatcher(seed=seed))
    wish.latency = _read(headers, "x-emulator-latency", Latency.of)
    broken = _read(headers, "x-emulator-break", _break)
    wish.failures = _read(headers, "x-emulator-fail", lambda t: _failures(t, seed)) or []
    wish.fault = broken if isinstance(broken, Fault) else None
    if "x-emulator-drift" in headers:
        wish.distortions.append(
            _read(headers, "x-emulator-drift", lambda t: drifting(wish.when, _names(t, DRIFTS)))
        )
    if "x-emulator-links" in headers:
        kinds = _read(headers, "x-emulator-links", lambda t: known(_names(t, LINKS), LINKS))
        wish.distortions.append(Links(wish.when, kinds))
    if "x-emulator-pages" in headers:
        kinds = _read(headers, "x-emulator-pages", lambda t: known(_names(t, PAGES), PAGES))
        wish.distortions.append(Pages(wish.when, kinds))
    if broken == _GARBLED:
        wish.distortions.append(CorruptJson(wish.when))
    return wish


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"it is a whole number, not {text!r}") from None


def _read(headers: Mapping[str, str], name: str, reader: Callable[[str], Any]) -> Any:
    text = headers.get(name)
    if text is None:
        return None
    try:
        return reader(text.strip())
    except ValueError as error:
        raise invalid(
            f"The emulator does not understand the header {name}: {error}", name
        ) from None


def _names(text: str, everything: tuple[str, ...]) -> list[str]:
    if text == "all":
        return list(everything)
    return [word for word in text.lower().replace(",", " ").split() if word]


def _break(text: str) -> Fault | str:
    if text == _GARBLED:
        return text
    if text not in _BREAKS:
        raise ValueError(f"it is one of {(*_BREAKS, _GARBLED)}, not {text!r}")
    return _BREAKS[text]


def _failures(text: str, seed: int) -> list[tuple[RequestMatcher, Fault]]:
    """Read one failure or several: `500; rate=0.02, 503; rate=0.01`."""
    return [_failure(part.strip(), seed + place) for place, part in enumerate(text.split(","))]


def _failure(text: str, seed: int) -> tuple[RequestMatcher, Fault]:
    """Read `503`, `429; retry-after=2`, `429; burst=5/50`, `402; code=payment_required`."""
    status, *options = [part.strip() for part in text.split(";")]
    if not (status.isascii() and status.isdigit() and 200 <= int(status) <= 599):
        raise ValueError(f"it is a status from 200 to 599, not {status!r}")
    when, fault = RequestMatcher(seed=seed), Fault("answer", status=int(status))
    for option in options:
        name, _, value = (word.strip() for word in option.partition("="))
        match name.lower():
            case "retry-after" if value:
                fault.headers = [("Retry-After", value)]
            case "code" if value:
                fault.code = value
            case "rate":
                when = replace(when, rate=float(value))
            case "burst":
                size, _, every = value.partition("/")
                when = replace(when, burst=(int(size), int(every)))
            case "html" if not value:
                fault.body = html_page(int(status)).content.decode()
            case "after" if not value:
                fault.moment = "after"
            case _:
                raise ValueError(f"the options are {_OPTIONS}, not {option!r}")
    return when, fault
