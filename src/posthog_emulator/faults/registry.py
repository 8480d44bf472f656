"""The misbehaviour that is on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from posthog_emulator.http.messages import Headers, Request

from .faults import Fault, Latency, Plan
from .headers import HeaderFaults, fault_header_key, parse_fault_headers
from .matcher import RequestMatcher
from .mutations import ResponseMutation
from .request_faults import RequestFaults

__all__ = ["FaultRegistry", "Rates"]

_REMEMBERED = 1000
"""Different wishes by header that keep their state."""


@dataclass(slots=True)
class Rates:
    """Errors by chance, one draw for each request."""

    when: RequestMatcher
    rates: Mapping[int, float]
    """The part of the requests that is answered with a status."""
    headers: Headers = field(default_factory=list[tuple[str, str]])

    def __post_init__(self) -> None:
        """Refuse rates that are none."""
        wrong = [rate for rate in self.rates.values() if not 0 <= rate <= 1]
        if wrong or not self.rates or sum(self.rates.values()) > 1 + 1e-9:
            raise ValueError(f"rates must be from 0 to 1, and 1 in all at most, not {self.rates}")

    def draw(self, request: Request) -> Fault | None:
        """What happens to a request."""
        if not self.when.matches(request):
            return None
        lot = self.when.chance.random()
        for status, rate in self.rates.items():
            if lot < rate:
                return Fault("answer", status=status, headers=self.headers)
            lot -= rate
        return None


class FaultRegistry:
    """The misbehaviour that is on.

    Delays add up; of the faults the first that fits is used; distortions follow one another.
    """

    def __init__(self) -> None:
        self._delays: list[tuple[RequestMatcher, Latency]] = []
        self._rules: list[tuple[RequestMatcher, Fault] | Rates] = []
        self._distortions: list[ResponseMutation] = []
        self._plan: Plan | None = None
        self._asked: dict[str, HeaderFaults] = {}

    def follow(self, plan: Plan) -> None:
        """Misbehave by a plan, wherever no fault was asked for."""
        self._plan = plan

    def delay(self, when: RequestMatcher, latency: Latency) -> None:
        """Let requests wait."""
        self._delays.append((when, latency))

    def add(self, when: RequestMatcher, fault: Fault) -> None:
        """Turn a fault on, after those that are on."""
        self._rules.append((when, fault))

    def add_rates(self, rates: Rates) -> None:
        """Turn errors by chance on, after the faults that are on."""
        self._rules.append(rates)

    def distort(self, distortion: ResponseMutation) -> None:
        """Turn a distortion on, after those that are on."""
        self._distortions.append(distortion)

    def clear(self) -> None:
        """Behave again."""
        self._delays.clear()
        self._rules.clear()
        self._distortions.clear()
        self._asked.clear()
        self._plan = None

    def take(self, request: Request) -> RequestFaults:
        """The fate of a request, counted as used.

        Raises:
            Problem: 400, it asks for misbehaviour there is not.
        """
        fate = RequestFaults()
        wish = fault_header_key(request)
        if wish is not None:
            if len(self._asked) > _REMEMBERED:
                self._asked.clear()
            if wish not in self._asked:
                self._asked[wish] = parse_fault_headers(request)
            self._asked[wish].join(fate, request)
        for when, latency in self._delays:
            if when.matches(request):
                fate.delay += latency.draw(when.chance)
        if fate.fault is None:
            fate.fault = self._fault(request)
        for distortion in self._distortions:
            if distortion.when.matches(request):
                fate.add(distortion)
        return fate

    def _fault(self, request: Request) -> Fault | None:
        for source in self._rules:
            if isinstance(source, Rates):
                fault = source.draw(request)
                if fault is not None:
                    return fault
            elif source[0].matches(request):
                return source[1]
        return None if self._plan is None else self._plan.draw()
