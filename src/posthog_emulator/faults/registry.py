"""The faults that are active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from posthog_emulator.http.messages import Headers, Request

from .faults import Fault, Latency, RandomFaults, RequestFaults
from .headers import FAULT_HEADERS, HeaderFaults, fault_header_key, parse_fault_headers
from .matcher import RequestMatcher
from .mutations import ResponseMutation

__all__ = ["ErrorRates", "FaultRegistry"]

_MAX_HEADER_FAULTS = 1000
"""Different combinations of fault headers whose state is kept."""


@dataclass(slots=True)
class ErrorRates:
    """Random errors, of which a request gets at most one.

    Raises:
        ValueError: A rate is out of range, or their sum is above 1.
    """

    matcher: RequestMatcher
    rates: Mapping[int, float]
    """The probability of each status."""
    headers: Headers = field(default_factory=list[tuple[str, str]])

    def __post_init__(self) -> None:
        """Validate the rates."""
        invalid = [rate for rate in self.rates.values() if not 0 <= rate <= 1]
        # Rates such as ten times 0.1 add up to slightly more than 1.
        if invalid or not self.rates or sum(self.rates.values()) > 1 + 1e-9:
            raise ValueError(
                f"rates must be from 0 to 1, with a sum of at most 1, not {self.rates}"
            )

    def draw(self, request: Request) -> Fault | None:
        """Return the error of a request; None for no error."""
        if not self.matcher.matches(request):
            return None
        # One draw for all statuses: with one each, the rates would not be those of the requests.
        value = self.matcher.rng.random()
        for status, rate in self.rates.items():
            if value < rate:
                return Fault("response", status=status, headers=self.headers)
            value -= rate
        return None


class FaultRegistry:
    """The active faults of an emulator.

    Delays add up. Of the faults and error rates, the first that matches occurs; random faults
    occur only if none does. Mutations are applied in the order in which they were added.
    """

    def __init__(self) -> None:
        self._latencies: list[tuple[RequestMatcher, Latency]] = []
        self._rules: list[tuple[RequestMatcher, Fault] | ErrorRates] = []
        self._mutations: list[ResponseMutation] = []
        self._random_faults: RandomFaults | None = None
        self._header_faults: dict[str, HeaderFaults] = {}

    def set_random_faults(self, random_faults: RandomFaults) -> None:
        """Set the random faults, which replace earlier ones."""
        self._random_faults = random_faults

    def add_latency(self, matcher: RequestMatcher, latency: Latency) -> None:
        """Add a delay."""
        self._latencies.append((matcher, latency))

    def add_fault(self, matcher: RequestMatcher, fault: Fault) -> None:
        """Add a fault, after those that are active."""
        self._rules.append((matcher, fault))

    def add_error_rates(self, rates: ErrorRates) -> None:
        """Add random errors, after the faults that are active."""
        self._rules.append(rates)

    def add_mutation(self, mutation: ResponseMutation) -> None:
        """Add a mutation, after those that are active."""
        self._mutations.append(mutation)

    def clear(self) -> None:
        """Remove all faults."""
        self._latencies.clear()
        self._rules.clear()
        self._mutations.clear()
        self._header_faults.clear()
        self._random_faults = None

    def faults_for(self, request: Request) -> RequestFaults:
        """Return the faults of a request, and count them as used.

        Raises:
            ApiError: 400, a fault header cannot be parsed.
        """
        faults = RequestFaults()
        # Before the other faults: what a request asks for itself should happen to it.
        if not request.headers.keys().isdisjoint(FAULT_HEADERS):
            self._from_headers(request).apply(faults, request)
        for matcher, latency in self._latencies:
            if matcher.matches(request):
                faults.delay += latency.draw(matcher.rng)
        if faults.fault is None:
            faults.fault = self._first_fault(request)
        for mutation in self._mutations:
            if mutation.matcher.matches(request):
                faults.add_mutation(mutation)
        return faults

    def _from_headers(self, request: Request) -> HeaderFaults:
        key = fault_header_key(request) or ""
        if len(self._header_faults) > _MAX_HEADER_FAULTS:
            # All at once, which restarts their random series. Tests use a few combinations; the
            # bound is for clients that send a different seed with each request.
            self._header_faults.clear()
        faults = self._header_faults.get(key)
        if faults is None:
            faults = self._header_faults[key] = parse_fault_headers(request)
        return faults

    def _first_fault(self, request: Request) -> Fault | None:
        for rule in self._rules:
            if isinstance(rule, ErrorRates):
                fault = rule.draw(request)
                if fault is not None:
                    return fault
            elif rule[0].matches(request):
                return rule[1]
        return None if self._random_faults is None else self._random_faults.draw()
