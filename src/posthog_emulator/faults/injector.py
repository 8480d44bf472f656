"""Inject faults: the methods of `Emulator.faults`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import RLock
from typing import Any

from posthog_emulator.http.messages import Headers
from posthog_emulator.state import Settings

from .faults import (
    RANDOM_FAULT_KINDS,
    Fault,
    FaultKind,
    FaultPhase,
    Latency,
    RandomFaultKind,
    RandomFaults,
    html_page,
)
from .matcher import RequestMatcher
from .mutations import (
    FIELD_MUTATIONS,
    LINK_MUTATIONS,
    PAGE_MUTATIONS,
    CorruptJson,
    FieldMutation,
    LinkMutation,
    MutateFields,
    MutateLinks,
    MutatePages,
    PageMutation,
    ResponseMutation,
    validate_kinds,
)
from .registry import ErrorRates, FaultRegistry

__all__ = ["FaultInjector"]


class FaultInjector:
    """Injects faults into the responses of an emulator; `Emulator.faults`.

    Faults apply to requests of the private API and of public routes, but not to the emulator's own
    pages. Several may be active; see `FaultRegistry` for their order.

    Args:
        lock: The lock of the emulator.
        settings: The settings of the emulator, of which `clear` resets two.
    """

    def __init__(self, lock: RLock, settings: Settings) -> None:
        self._lock = lock
        self._settings = settings
        self.registry = FaultRegistry()
        """The active faults."""

    def fail(
        self,
        status: int,
        *,
        retry_after: float | None = None,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        code: str | None = None,
        detail: str | None = None,
        attr: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Return an error for the next requests, without handling them.

        Args:
            status: The HTTP status.
            code: The `code` of the error envelope, such as `payment_required`; `type` and `detail`
                follow from it.
            detail: The `detail` of the envelope; the server's own text by default.
            attr: The `attr` of the envelope.
            retry_after: Seconds for a `Retry-After` header; no header by default.
            times: The number of requests; None for all until `clear`.
            path: A shell-style pattern of the path: `*/cohorts/*`; any path by default.
            method: The HTTP method; any by default.
            body: The body: text, bytes or JSON; the envelope by default.
            headers: Further headers.

        Raises:
            ValueError: `times` is less than 1, or both a body and parts of the envelope are given.
        """
        if body is not None and not (code is None and detail is None and attr is None):
            raise ValueError(
                "a body replaces the error envelope: give either `body`, "
                "or some of `code`, `detail` and `attr`"
            )
        self._fault(
            "response", times, path, method, status=status, code=code, detail=detail, attr=attr,
            body=body, headers=_headers(retry_after, headers),
        )  # fmt: skip

    def html_error(
        self,
        status: int = 502,
        *,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
    ) -> None:
        """Return a proxy's HTML page for the next requests, without handling them.

        Args:
            status: The HTTP status; 200 is possible as well.
            times: See `fail`.
            path: See `fail`.
            method: See `fail`.
        """
        page = html_page(status).content.decode()
        self._fault("response", times, path, method, status=status, body=page)

    def error_bursts(
        self,
        size: int,
        every: int,
        *,
        status: int = 429,
        retry_after: float | None = None,
        path: str | None = None,
        method: str | None = None,
    ) -> None:
        """Return errors for several requests in a row, again and again, until `clear`.

        Args:
            size: The number of errors in a row.
            every: The number of requests from burst to burst: `every - size` requests succeed
                before each burst.
            status: The HTTP status.
            retry_after: See `fail`.
            path: See `fail`.
            method: See `fail`.

        Raises:
            ValueError: The size is less than 1 or more than `every`.
        """
        matcher = RequestMatcher(None, path, method, burst=(size, every))
        fault = Fault("response", status=status, headers=_headers(retry_after, None))
        with self._lock:
            self.registry.add_fault(matcher, fault)

    def error_rates(
        self,
        rates: Mapping[int, float],
        *,
        seed: int = 1,
        retry_after: float | None = None,
        path: str | None = None,
        method: str | None = None,
    ) -> None:
        """Return errors at random until `clear`.

        Args:
            rates: The probability of each status, from 0 to 1: `{500: 0.02, 429: 0.1}`.
            seed: The seed: the same seed gives the same errors.
            retry_after: See `fail`.
            path: See `fail`.
            method: See `fail`.

        Raises:
            ValueError: A rate is out of range, or their sum is above 1.
        """
        matcher = RequestMatcher(None, path, method, seed=seed)
        error_rates = ErrorRates(matcher, dict(rates), _headers(retry_after, None))
        with self._lock:
            self.registry.add_error_rates(error_rates)

    def latency(
        self,
        seconds: Latency | float | str,
        *,
        times: int | None = None,
        path: str | None = None,
        method: str | None = None,
        rate: float = 1.0,
        seed: int = 1,
    ) -> None:
        """Delay requests until `clear`. Several delays add up.

        Args:
            seconds: Seconds, or a distribution: `"uniform 0.1 0.5"` (low, high), `"normal 0.2
                0.05"` (mean, deviation), `"lognormal 0.2 0.6"` (median, sigma), or a `Latency`.
            times: The number of requests; None for all until `clear`.
            path: See `fail`.
            method: See `fail`.
            rate: The probability with which a request is selected, from 0 to 1.
            seed: The seed: the same seed selects the same requests.

        Raises:
            ValueError: The distribution does not exist, or a number is out of range.
        """
        parsed = Latency.parse(seconds)
        matcher = RequestMatcher(times, path, method, rate, seed)
        with self._lock:
            self.registry.add_latency(matcher, parsed)

    def drop(
        self,
        *,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        reset: bool = False,
        after: bool = False,
    ) -> None:
        """Close the connection in place of the next responses.

        Args:
            times: See `fail`.
            path: See `fail`.
            method: See `fail`.
            reset: Reset the connection (RST) instead of closing it (FIN).
            after: Close it after the request has been handled, not before.
        """
        phase: FaultPhase = "after" if after else "before"
        self._fault("drop", times, path, method, reset=reset, phase=phase)

    def truncate(
        self,
        *,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        cut: bool = False,
    ) -> None:
        """Send the first half of the next responses as if it were all.

        Args:
            times: See `fail`.
            path: See `fail`.
            method: See `fail`.
            cut: Announce the whole length, and close the connection after the first half.
        """
        self._fault("cut" if cut else "truncate", times, path, method)

    def corrupt_json(
        self,
        *,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        rate: float = 1.0,
        seed: int = 1,
    ) -> None:
        """Send complete bodies that are invalid JSON; see `latency` for the arguments."""
        self._add_mutation(CorruptJson(RequestMatcher(times, path, method, rate, seed)))

    def mutate_fields(
        self,
        *kinds: FieldMutation,
        fields: Iterable[str] | None = None,
        times: int | None = None,
        path: str | None = None,
        method: str | None = None,
        rate: float = 1.0,
        seed: int = 1,
    ) -> None:
        """Change fields in successful responses, as a server of another version would.

        Each object in a response is changed once by each of the kinds. Envelopes of lists are not
        changed, and neither are ids, unless they are in `fields`.

        Args:
            kinds: `missing` (a field is removed), `extra` (a field is added), `null` (a field is
                set to null), `mistyped` (a field gets another type), `enum` (a field gets a value
                that is not in its enum); all by default.
            fields: The names of the only fields to change.
            times: See `latency`.
            path: See `latency`.
            method: See `latency`.
            rate: See `latency`.
            seed: See `latency`.

        Raises:
            ValueError: A kind does not exist, or a number is out of range.
        """
        matcher = RequestMatcher(times, path, method, rate, seed)
        only = None if fields is None else frozenset(fields)
        self._add_mutation(MutateFields(matcher, kinds or FIELD_MUTATIONS, only))

    def mutate_links(
        self,
        *kinds: LinkMutation,
        host: str = "https://posthog.invalid",
        times: int | None = None,
        path: str | None = None,
        rate: float = 1.0,
        seed: int = 1,
    ) -> None:
        """Change the links `next` and `previous` in pages.

        Args:
            kinds: `http` (the scheme becomes http), `foreign` (the host becomes `host`),
                `previous` (`previous` links to the page itself), `loop` (`next` links to the page
                itself); all by default.
            host: Scheme and host for `foreign`.
            times: See `latency`.
            path: See `latency`.
            rate: See `latency`.
            seed: See `latency`.

        Raises:
            ValueError: A kind does not exist, or a number is out of range.
        """
        matcher = RequestMatcher(times, path, None, rate, seed)
        validated = validate_kinds(kinds or LINK_MUTATIONS, LINK_MUTATIONS)
        self._add_mutation(MutateLinks(matcher, validated, host))

    def mutate_pages(
        self,
        *kinds: PageMutation,
        times: int | None = None,
        path: str | None = None,
        rate: float = 1.0,
        seed: int = 1,
    ) -> None:
        """Repeat or reorder the rows of pages.

        Args:
            kinds: `duplicate` (a page has the rows of the page before), `overlap` (a page begins
                with the last row of the page before), `shuffle` (the rows of a page are shuffled),
                `reorder` (the whole list is shuffled anew for each page, so that rows are missing
                and repeated); all by default.
            times: See `latency`.
            path: See `latency`.
            rate: See `latency`.
            seed: See `latency`.

        Raises:
            ValueError: A kind does not exist, or a number is out of range.
        """
        matcher = RequestMatcher(times, path, None, rate, seed)
        validated = validate_kinds(kinds or PAGE_MUTATIONS, PAGE_MUTATIONS)
        self._add_mutation(MutatePages(matcher, validated))

    def randomize(
        self,
        rate: float = 0.2,
        kinds: Iterable[RandomFaultKind] = RANDOM_FAULT_KINDS,
        seed: int = 1,
    ) -> RandomFaults:
        """Inject random faults until `clear`.

        A request with the fault `429` or `503` is not handled. With any other fault, an `html` page
        of status 503 among them, it may have been handled.

        Args:
            rate: The probability of a fault, from 0 to 1.
            kinds: The kinds of faults: a status, `html` (a proxy's error page), `reset` and `drop`
                (the connection is reset or closed), `truncate` (half of the response is sent),
                `stall` (a pause of `settings.stall_seconds`); all by default.
            seed: The seed: the same seed gives the same faults.

        Returns:
            The faults. Their `counts` say how often each kind has occurred.

        Raises:
            ValueError: The rate is out of range, or a kind does not exist.
        """
        random_faults = RandomFaults(rate, kinds, seed)
        with self._lock:
            self.registry.set_random_faults(random_faults)
        return random_faults

    def clear(self) -> None:
        """Remove all faults, and turn `settings.html_errors` and `settings.next_host` off."""
        with self._lock:
            self.registry.clear()
            self._settings.html_errors = False
            self._settings.next_host = None

    def _add_mutation(self, mutation: ResponseMutation) -> None:
        with self._lock:
            self.registry.add_mutation(mutation)

    def _fault(
        self,
        kind: FaultKind,
        times: int | None,
        path: str | None,
        method: str | None,
        **fields: Any,
    ) -> None:
        with self._lock:
            self.registry.add_fault(RequestMatcher(times, path, method), Fault(kind, **fields))


def _headers(retry_after: float | None, further: Mapping[str, str] | None) -> Headers:
    headers: Headers = list((further or {}).items())
    if retry_after is not None:
        # Without a decimal point where possible: HTTP allows whole seconds only.
        whole = float(retry_after).is_integer()
        headers.append(("Retry-After", str(int(retry_after) if whole else retry_after)))
    return headers
