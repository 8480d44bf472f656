"""How long an answer takes: fixed, or drawn from a distribution."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal, TypeAlias, get_args

from posthog_emulator.http.errors import ApiError, error_by_code
from posthog_emulator.http.messages import (
    Answer,
    ConnectionDropped,
    Headers,
    json_answer,
    text_answer,
)

__all__ = [
    "MISBEHAVIOURS",
    "Fault",
    "FaultKind",
    "Latency",
    "Law",
    "Misbehaviour",
    "Plan",
    "apply_fault",
    "html_page",
]

Law: TypeAlias = Literal["fixed", "uniform", "normal", "lognormal"]
_FORMS = "`0.5`, `uniform LOW HIGH`, `normal MEAN DEVIATION` or `lognormal MEDIAN SIGMA`"


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of seconds; what is drawn below zero counts as zero."""

    law: Law
    first: float
    """Seconds: the value, the low end, the mean or the median."""
    second: float = 0.0
    """The high end or the deviation in seconds; of `lognormal`, that of the logarithm."""

    def __post_init__(self) -> None:
        """Refuse what is no distribution of waits."""
        if self.law not in get_args(Law):
            raise ValueError(f"a latency is {_FORMS}, not {self.law!r}")
        if not all(math.isfinite(n) and n >= 0 for n in (self.first, self.second)):
            raise ValueError("the seconds of a latency must be finite and not below 0")
        if self.law == "uniform" and self.second < self.first:
            raise ValueError(f"uniform from {self.first} to {self.second}: the ends are swapped")
        if self.law == "lognormal" and self.first == 0:
            raise ValueError("the median of a lognormal latency must be above 0")

    @classmethod
    def of(cls, given: Latency | float | str) -> Latency:
        """Read seconds, or a text such as `uniform 0.1 0.5`.

        Raises:
            ValueError: It is none of them.
        """
        if isinstance(given, Latency):
            return given
        if not isinstance(given, str):
            return cls("fixed", float(given))
        words = given.replace(",", " ").split()
        try:
            law, numbers = ("fixed", words) if _is_number(words[0]) else (words[0], words[1:])
            values = [float(number) for number in numbers]
        except (IndexError, ValueError):
            raise ValueError(f"a latency is {_FORMS}, not {given!r}") from None
        if len(values) != (1 if law == "fixed" else 2):
            raise ValueError(f"a latency is {_FORMS}, not {given!r}")
        return cls(law, *values)  # type: ignore[arg-type]  # the law is checked there

    def draw(self, chance: Random) -> float:
        """Seconds for one answer."""
        if self.law == "uniform":
            return chance.uniform(self.first, self.second)
        if self.law == "normal":
            return max(0.0, chance.gauss(self.first, self.second))
        if self.law == "lognormal":
            return chance.lognormvariate(math.log(self.first), self.second)
        return self.first


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


FaultKind: TypeAlias = Literal["answer", "drop", "truncate", "cut", "stall"]
Moment: TypeAlias = Literal["before", "after", "within"]
Misbehaviour: TypeAlias = Literal[
    "429", "500", "502", "503", "504", "html", "reset", "drop", "truncate", "stall"
]
MISBEHAVIOURS: Final[tuple[Misbehaviour, ...]] = get_args(Misbehaviour)
_UNDONE: Final = frozenset({"429", "503"})
"""Kinds by which the server says that it did nothing. A page is a proxy's, which does not know."""


@dataclass(slots=True)
class Fault:
    """One way in which a request goes wrong."""

    kind: FaultKind
    status: int = 500
    code: str | None = None
    """The `code` of the envelope; that of the status by default."""
    detail: str | None = None
    attr: str | None = None
    body: Any = None
    headers: Headers = field(default_factory=list[tuple[str, str]])
    moment: Moment = "before"
    """Whether it strikes before the request is carried out, after that, or within the answer."""
    reset: bool = False
    """Whether a dropped connection is reset."""

    def answer(self) -> Answer:
        """What is answered instead of the truth."""
        return self._said().mark("fault")

    def _said(self) -> Answer:
        if self.body is None:
            detail = self.detail
            if self.code is not None:
                return error_by_code(
                    self.status, self.code, detail, self.attr, self.headers
                ).answer()
            after = dict(self.headers).get("Retry-After")
            if self.status == 429 and after is not None and detail is None:
                unit = "second" if after == "1" else "seconds"
                detail = f"Request was throttled. Expected available in {after} {unit}."
            return ApiError(
                self.status, detail=detail, attr=self.attr, headers=self.headers
            ).answer()
        if isinstance(self.body, bytes):
            return Answer(self.status, self.body, "application/octet-stream", list(self.headers))
        if isinstance(self.body, str):
            media = "text/html" if self.body.lstrip().startswith("<") else "text/plain"
            answer = text_answer(self.status, self.body, f"{media}; charset=utf-8")
            answer.headers = list(self.headers)
            return answer
        return json_answer(self.status, self.body, self.headers)


class Plan:
    """Misbehaviour by chance, and always the same: the n-th request fares as the seed has it.

    Args:
        rate: The part of the requests that goes wrong, from 0 to 1.
        kinds: What may happen to them, all equally likely.
        seed: Makes another series.

    Raises:
        ValueError: The rate is out of range, or there is no such kind.
    """

    def __init__(self, rate: float, kinds: Iterable[Misbehaviour], seed: int) -> None:
        self._rate = rate
        self._kinds = tuple(kinds)
        unknown = sorted(set(self._kinds) - set(MISBEHAVIOURS))
        if unknown or not self._kinds:
            raise ValueError(f"kinds are some of {MISBEHAVIOURS}, not {unknown or 'none'}")
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be from 0 to 1, not {rate}")
        self._random = Random(seed)  # noqa: S311
        self.counts: Counter[Misbehaviour] = Counter()
        """How often each kind was used."""

    def draw(self) -> Fault | None:
        """What happens to the next request."""
        chance = self._random
        lucky, kind = chance.random() >= self._rate, chance.choice(self._kinds)
        coin, moment = chance.random() < 0.5, chance.choice(("before", "after", "within"))
        status = chance.choice((500, 502, 503, 504))
        if lucky:
            return None
        self.counts[kind] += 1
        outside: Moment = "after" if moment == "after" else "before"
        if kind == "stall":
            return Fault("stall", moment=moment)
        if kind == "truncate":
            return Fault("cut" if coin else "truncate")
        if kind in {"reset", "drop"}:
            return Fault("drop", moment=outside, reset=kind == "reset")
        headers = [("Retry-After", "1")] if coin else []
        status = status if kind == "html" else int(kind)
        body = html_page(status).content.decode() if kind == "html" else None
        done: Moment = "before" if kind in _UNDONE else outside
        return Fault("answer", status=status, body=body, headers=headers, moment=done)


async def apply_fault(
    fault: Fault,
    truth: Callable[[], Awaitable[Answer]],
    stall: Callable[[], Awaitable[object]],
) -> Answer:
    """Answer a request as a fault has it.

    Args:
        fault: The fault.
        truth: Carries the request out.
        stall: Lets time pass.

    Raises:
        ConnectionDropped: There is to be no answer.
    """
    if fault.kind == "stall" and fault.moment == "before":
        await stall()
    if fault.kind == "answer" and fault.moment == "before":
        return fault.answer()
    if fault.kind == "drop" and fault.moment == "before":
        raise ConnectionDropped(reset=fault.reset)
    answer = await truth()
    if fault.kind == "answer":
        return fault.answer()
    if fault.kind == "drop":
        raise ConnectionDropped(reset=fault.reset)
    if fault.kind == "stall":
        if fault.moment == "after":
            await stall()
        if fault.moment != "within":
            return answer
        answer.breaks = "stall"
    elif fault.kind == "cut":
        answer.breaks = "cut"
    else:
        answer.content = answer.content[: len(answer.content) // 2]
    return answer.mark("fault")


_REASONS: Mapping[int, str] = {
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Time-out",
}


def html_page(status: int) -> Answer:
    """The page a proxy in front of the server would answer with."""
    reason = _REASONS.get(status, "Error")
    page = (
        f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    return text_answer(status, page, "text/html")
