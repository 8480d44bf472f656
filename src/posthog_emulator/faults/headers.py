"""Faults that a request asks for itself, by `X-Emulator-…` headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.http.messages import Request

from .faults import Fault, Latency, RequestFaults, html_page
from .matcher import RequestMatcher
from .mutations import (
    FIELD_MUTATIONS,
    LINK_MUTATIONS,
    PAGE_MUTATIONS,
    CorruptJson,
    MutateFields,
    MutateLinks,
    MutatePages,
    ResponseMutation,
    validate_kinds,
)

__all__ = ["FAULT_HEADERS", "HeaderFaults", "fault_header_key", "parse_fault_headers"]

FAULT_HEADERS: Final = (
    "x-emulator-fail",
    "x-emulator-latency",
    "x-emulator-break",
    "x-emulator-fields",
    "x-emulator-links",
    "x-emulator-pages",
    "x-emulator-seed",
)
"""The headers by which a request asks for faults."""

# Shared by all requests: nothing may change these faults.
_BREAKS: Final[Mapping[str, Fault]] = {
    "drop": Fault("drop"),
    "reset": Fault("drop", reset=True),
    "drop-after": Fault("drop", phase="after"),
    "reset-after": Fault("drop", phase="after", reset=True),
    "truncate": Fault("truncate"),
    "cut": Fault("cut"),
    "stall": Fault("stall", phase="within"),
    "html": Fault("response", status=502, body=html_page(502).content.decode()),
}
_CORRUPT_JSON: Final = "corrupt-json"
_OPTIONS: Final = (
    "retry-after=SECONDS, code=CODE, rate=PROBABILITY, burst=SIZE/EVERY, html and after"
)


@dataclass(slots=True)
class HeaderFaults:
    """The faults of all requests with the same fault headers.

    They are kept between requests, because rates, bursts and repeated pages depend on the
    requests before.
    """

    matcher: RequestMatcher
    latency: Latency | None = None
    errors: list[tuple[RequestMatcher, Fault]] = field(
        default_factory=list[tuple[RequestMatcher, Fault]]
    )
    """Errors, tried in this order: the first that matches occurs."""
    fault: Fault | None = None
    """The fault that occurs if none of the errors does."""
    mutations: list[ResponseMutation] = field(default_factory=list[ResponseMutation])

    def apply(self, faults: RequestFaults, request: Request) -> None:
        """Add these faults to those of a request."""
        if not self.matcher.matches(request):
            return
        if self.latency is not None:
            faults.delay += self.latency.draw(self.matcher.rng)
        for matcher, error in self.errors:
            if faults.fault is None and matcher.matches(request):
                faults.fault = error
        faults.fault = faults.fault or self.fault
        for mutation in self.mutations:
            faults.add_mutation(mutation)


def fault_header_key(request: Request) -> str | None:
    """Return the fault headers of a request as one text; None if it has none."""
    headers = request.headers
    lines = [f"{name}: {headers[name]}" for name in FAULT_HEADERS if name in headers]
    return "\n".join(lines) if lines else None


def parse_fault_headers(request: Request) -> HeaderFaults:
    """Return the faults that a request asks for.

    Raises:
        ApiError: 400, a header cannot be parsed.
    """
    headers = request.headers
    seed = _parse(headers, "x-emulator-seed", _parse_seed) or 0
    matcher = RequestMatcher(seed=seed)
    faults = HeaderFaults(matcher)
    faults.latency = _parse(headers, "x-emulator-latency", Latency.parse)
    broken = _parse(headers, "x-emulator-break", _parse_break)
    faults.errors = _parse(headers, "x-emulator-fail", lambda t: _parse_errors(t, seed)) or []
    faults.fault = broken if isinstance(broken, Fault) else None
    mutations = [
        _parse(
            headers,
            "x-emulator-fields",
            lambda text: MutateFields(matcher, tuple(_parse_kinds(text, FIELD_MUTATIONS))),
        ),
        _parse(
            headers,
            "x-emulator-links",
            lambda text: MutateLinks(matcher, _parse_kinds(text, LINK_MUTATIONS)),
        ),
        _parse(
            headers,
            "x-emulator-pages",
            lambda text: MutatePages(matcher, _parse_kinds(text, PAGE_MUTATIONS)),
        ),
        # Last, because a body that is no JSON cannot be mutated further.
        CorruptJson(matcher) if broken == _CORRUPT_JSON else None,
    ]
    faults.mutations = [mutation for mutation in mutations if mutation is not None]
    return faults


def _parse(headers: Mapping[str, str], name: str, parser: Callable[[str], Any]) -> Any:
    """Return the parsed value of a header; None if it is absent."""
    text = headers.get(name)
    if text is None:
        return None
    try:
        return parser(text.strip())
    except ValueError as error:
        raise invalid(f"The emulator cannot parse the header {name}: {error}", name) from None


def _parse_seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"it must be an integer, not {text!r}") from None


def _parse_kinds(text: str, all_kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if text == "all":
        return all_kinds
    words = [word for word in text.lower().replace(",", " ").split() if word]
    return validate_kinds(words, all_kinds)


def _parse_break(text: str) -> Fault | str:
    if text == _CORRUPT_JSON:
        return text
    if text not in _BREAKS:
        raise ValueError(f"it must be one of {(*_BREAKS, _CORRUPT_JSON)}, not {text!r}")
    return _BREAKS[text]


def _parse_errors(text: str, seed: int) -> list[tuple[RequestMatcher, Fault]]:
    """Parse one error or several: `500; rate=0.02, 503; rate=0.01`."""
    # Different seeds, or errors with equal rates would always occur together.
    return [_parse_error(part.strip(), seed + index) for index, part in enumerate(text.split(","))]


def _parse_error(text: str, seed: int) -> tuple[RequestMatcher, Fault]:
    """Parse `503`, `429; retry-after=2`, `429; burst=5/50` or `402; code=payment_required`."""
    status, *options = [part.strip() for part in text.split(";")]
    if not (status.isascii() and status.isdigit() and 200 <= int(status) <= 599):
        raise ValueError(f"it must be a status from 200 to 599, not {status!r}")
    matcher, fault = RequestMatcher(seed=seed), Fault("response", status=int(status))
    for option in options:
        name, _, value = (word.strip() for word in option.partition("="))
        match name.lower():
            case "retry-after" if value:
                fault.headers = [("Retry-After", value)]
            case "code" if value:
                fault.code = value
            case "rate":
                matcher = replace(matcher, rate=float(value))
            case "burst":
                size, _, every = value.partition("/")
                matcher = replace(matcher, burst=(int(size), int(every)))
            case "html" if not value:
                fault.body = html_page(int(status)).content.decode()
            case "after" if not value:
                fault.phase = "after"
            case _:
                raise ValueError(f"the options are {_OPTIONS}, not {option!r}")
    return matcher, fault
