"""Faults of single requests: what they are, how random ones are chosen, how they are applied."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal, TypeAlias, get_args

from posthog_emulator.http.errors import ApiError, error_by_code
from posthog_emulator.http.messages import (
    ConnectionDropped,
    Headers,
    Request,
    Response,
    json_response,
    text_response,
)
from posthog_emulator.schema.catalogue import Catalogue

from .mutations import MutatePages, ResponseMutation

__all__ = [
    "RANDOM_FAULT_KINDS",
    "Distribution",
    "Fault",
    "FaultKind",
    "FaultPhase",
    "Latency",
    "RandomFaultKind",
    "RandomFaults",
    "RequestFaults",
    "apply_fault",
    "html_page",
]

Distribution: TypeAlias = Literal["fixed", "uniform", "normal", "lognormal"]
_LATENCY_FORMS = "`0.5`, `uniform LOW HIGH`, `normal MEAN DEVIATION` or `lognormal MEDIAN SIGMA`"


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of delays in seconds. Negative values are replaced by zero.

    Raises:
        ValueError: The distribution does not exist, or a number is out of range.
    """

    distribution: Distribution
    first: float
    """Seconds: the value, the lower bound, the mean or the median."""
    second: float = 0.0
    """The upper bound or the deviation in seconds; for `lognormal`, that of the logarithm."""

    def __post_init__(self) -> None:
        """Validate the distribution and its numbers."""
        if self.distribution not in get_args(Distribution):
            raise ValueError(f"a latency is {_LATENCY_FORMS}, not {self.distribution!r}")
        if not all(math.isfinite(n) and n >= 0 for n in (self.first, self.second)):
            raise ValueError("the numbers of a latency must be finite and not negative")
        if self.distribution == "uniform" and self.second < self.first:
            raise ValueError(f"uniform from {self.first} to {self.second}: the bounds are swapped")
        if self.distribution == "lognormal" and self.first == 0:
            raise ValueError("the median of a lognormal latency must be above 0")

    @classmethod
    def parse(cls, value: Latency | float | str) -> Latency:
        """Return the latency of a number of seconds, or of a text such as `uniform 0.1 0.5`.

        Raises:
            ValueError: The text cannot be parsed.
        """
        if isinstance(value, Latency):
            return value
        if not isinstance(value, str):
            return cls("fixed", float(value))
        words = value.replace(",", " ").split()
        try:
            name, numbers = ("fixed", words) if _is_number(words[0]) else (words[0], words[1:])
            values = [float(number) for number in numbers]
        except (IndexError, ValueError):
            raise ValueError(f"a latency is {_LATENCY_FORMS}, not {value!r}") from None
        if len(values) != (1 if name == "fixed" else 2):
            raise ValueError(f"a latency is {_LATENCY_FORMS}, not {value!r}")
        return cls(name, *values)  # type: ignore[arg-type]  # validated in __post_init__

    def draw(self, rng: Random) -> float:
        """Return the seconds of one delay."""
        if self.distribution == "uniform":
            return rng.uniform(self.first, self.second)
        if self.distribution == "normal":
            return max(0.0, rng.gauss(self.first, self.second))
        if self.distribution == "lognormal":
            return rng.lognormvariate(math.log(self.first), self.second)
        return self.first


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


FaultKind: TypeAlias = Literal["response", "drop", "truncate", "cut", "stall"]
"""How a request fails: another response, a lost connection, half of the response as if it were
all of it, half of the response and then a lost connection, or a pause."""
FaultPhase: TypeAlias = Literal["before", "after", "within"]
"""When a fault occurs: before the request is handled, after that, or within the response."""
RandomFaultKind: TypeAlias = Literal[
    "429", "500", "502", "503", "504", "html", "reset", "drop", "truncate", "stall"
]
RANDOM_FAULT_KINDS: Final[tuple[RandomFaultKind, ...]] = get_args(RandomFaultKind)
_NOT_EXECUTED: Final = frozenset({"429", "503"})
"""Statuses by which the server says that it did nothing. They never occur after the handler: a
client may repeat the request."""


@dataclass(slots=True)
class Fault:
    """One way in which a request fails."""

    kind: FaultKind
    status: int = 500
    code: str | None = None
    """The `code` of the error envelope; the usual one of the status by default."""
    detail: str | None = None
    attr: str | None = None
    body: Any = None
    """The body: text, bytes or JSON; the error envelope by default."""
    headers: Headers = field(default_factory=list[tuple[str, str]])
    phase: FaultPhase = "before"
    reset: bool = False
    """Whether a dropped connection is reset (RST) instead of closed (FIN)."""

    def to_response(self) -> Response:
        """Return the response of a fault of the kind `response`."""
        return self._response().set_fidelity("fault")

    def _response(self) -> Response:
        if self.body is None:
            return self._error().to_response()
        if isinstance(self.body, bytes):
            return Response(self.status, self.body, "application/octet-stream", list(self.headers))
        if isinstance(self.body, str):
            media = "text/html" if self.body.lstrip().startswith("<") else "text/plain"
            response = text_response(self.status, self.body, f"{media}; charset=utf-8")
            response.headers = list(self.headers)
            return response
        return json_response(self.status, self.body, self.headers)

    def _error(self) -> ApiError:
        detail = self.detail
        if self.code is not None:
            return error_by_code(self.status, self.code, detail, self.attr, self.headers)
        retry_after = dict(self.headers).get("Retry-After")
        if self.status == 429 and retry_after is not None and detail is None:
            unit = "second" if retry_after == "1" else "seconds"
            detail = f"Request was throttled. Expected available in {retry_after} {unit}."
        return ApiError(self.status, detail=detail, attr=self.attr, headers=self.headers)


class RandomFaults:
    """Seeded random faults: request n always gets the same fault.

    Args:
        rate: The probability of a fault, from 0 to 1.
        kinds: The kinds of faults, all equally likely.
        seed: The seed.

    Raises:
        ValueError: The rate is out of range, or a kind does not exist.
    """

    def __init__(self, rate: float, kinds: Iterable[RandomFaultKind], seed: int) -> None:
        self._rate = rate
        self._kinds = tuple(kinds)
        unknown = sorted(set(self._kinds) - set(RANDOM_FAULT_KINDS))
        if unknown or not self._kinds:
            raise ValueError(f"kinds are some of {RANDOM_FAULT_KINDS}, not {unknown or 'none'}")
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be from 0 to 1, not {rate}")
        self._random = Random(seed)  # noqa: S311
        self.counts: Counter[RandomFaultKind] = Counter()
        """How often each kind occurred."""

    def draw(self) -> Fault | None:
        """Return the fault of the next request; None for no fault."""
        # Every request draws all five numbers, used or not, so that request n gets the same fault
        # at any rate, and with any outcome of the requests before it.
        rng = self._random
        no_fault, kind = rng.random() >= self._rate, rng.choice(self._kinds)
        coin, phase = rng.random() < 0.5, rng.choice(("before", "after", "within"))
        status = rng.choice((500, 502, 503, 504))
        if no_fault:
            return None
        self.counts[kind] += 1
        around_handler: FaultPhase = "after" if phase == "after" else "before"
        if kind == "stall":
            return Fault("stall", phase=phase)
        if kind == "truncate":
            return Fault("cut" if coin else "truncate")
        if kind in {"reset", "drop"}:
            return Fault("drop", phase=around_handler, reset=kind == "reset")
        headers = [("Retry-After", "1")] if coin else []
        status = status if kind == "html" else int(kind)
        body = html_page(status).content.decode() if kind == "html" else None
        # An HTML page of 503 is a proxy's, which does not know what the server did.
        error_phase: FaultPhase = "before" if kind in _NOT_EXECUTED else around_handler
        return Fault("response", status=status, body=body, headers=headers, phase=error_phase)


@dataclass(slots=True)
class RequestFaults:
    """All faults of one request."""

    delay: float = 0.0
    """Seconds to wait before the request is handled."""
    fault: Fault | None = None
    mutations: list[ResponseMutation] = field(default_factory=list[ResponseMutation])
    shuffle: int | None = None
    """The value of `Request.shuffle`."""

    def add_mutation(self, mutation: ResponseMutation) -> None:
        """Add a mutation of the response."""
        if isinstance(mutation, MutatePages) and "reorder" in mutation.kinds:
            self.shuffle = mutation.matcher.rng.randrange(1 << 30)
        self.mutations.append(mutation)

    def apply_to_response(
        self, response: Response, request: Request, catalogue: Catalogue | None
    ) -> None:
        """Apply all mutations to a response, and mark it if they changed it."""
        before = response.content
        for mutation in self.mutations:
            mutation.apply(response, request, catalogue)
        is_list = response.operation is not None and response.operation.pagination is not None
        if response.content != before or (self.shuffle is not None and is_list):
            response.set_fidelity("fault")


async def apply_fault(
    fault: Fault,
    respond: Callable[[], Awaitable[Response]],
    stall: Callable[[], Awaitable[object]],
) -> Response:
    """Return the response to a request with a fault.

    Args:
        fault: The fault.
        respond: Handles the request and returns its response.
        stall: Waits, for the kind `stall`.

    Raises:
        ConnectionDropped: The connection is to be closed without a response.
    """
    if fault.kind == "stall" and fault.phase == "before":
        await stall()
    if fault.kind == "response" and fault.phase == "before":
        return fault.to_response()
    if fault.kind == "drop" and fault.phase == "before":
        raise ConnectionDropped(reset=fault.reset)
    response = await respond()
    if fault.kind == "response":
        return fault.to_response()
    if fault.kind == "drop":
        raise ConnectionDropped(reset=fault.reset)
    if fault.kind == "stall":
        if fault.phase == "after":
            await stall()
        if fault.phase != "within":
            return response
        response.transport_fault = "stall"
    elif fault.kind == "cut":
        response.transport_fault = "cut"
    else:
        # `content-length` is computed from the shorter body, so that only the content is wrong.
        response.content = response.content[: len(response.content) // 2]
    return response.set_fidelity("fault")


_REASONS: Mapping[int, str] = {
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Time-out",
}


def html_page(status: int) -> Response:
    """Return an error page of nginx, as a proxy in front of the server sends it."""
    reason = _REASONS.get(status, "Error")
    page = (
        f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    return text_response(status, page, "text/html")
