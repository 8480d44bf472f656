"""The ways of telling an emulator to misbehave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import RLock
from typing import Any

from posthog_emulator.http.messages import Headers
from posthog_emulator.state import Settings

from .faults import MISBEHAVIOURS, Fault, FaultKind, Latency, Misbehaviour, Moment, Plan, html_page
from .matcher import RequestMatcher
from .mutations import (
    DRIFTS,
    LINKS,
    PAGES,
    CorruptJson,
    Drift,
    Link,
    Links,
    Page,
    Pages,
    ResponseMutation,
    drifting,
    known,
)
from .registry import FaultRegistry, Rates

__all__ = ["FaultInjector"]


class FaultInjector:
    """What goes wrong on purpose; a part of `Emulator`."""

    settings: Settings

    def __init__(self, lock: RLock, faults: FaultRegistry) -> None:
        self._lock = lock
        self._faults = faults

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
        """Answer the next requests with an error, without looking at them.

        Args:
            status: The status to answer with.
            code: The envelope's `code`, as `payment_required`; `type` and `detail` follow from it.
            detail: The envelope's `detail`; the server's own sentence by default.
            attr: The envelope's `attr`.
            retry_after: Seconds for a `Retry-After` header; none by default.
            times: How many requests; None until `behave`.
            path: A shell-style pattern the path has to match: `*/cohorts/*`.
            method: The method it is for.
            body: The body: text, bytes, or anything JSON; the envelope by default.
            headers: More headers.

        Raises:
            ValueError: Both a body and parts of the envelope.
        """
        if body is not None and not (code is None and detail is None and attr is None):
            raise ValueError("`code`, `detail` and `attr` are the envelope's; a body replaces it")
        self._fault(
            "answer", times, path, method, status=status, code=code, detail=detail, attr=attr,
            body=body, headers=_headers(retry_after, headers),
        )  # fmt: skip

    def html(
        self,
        status: int = 502,
        *,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
    ) -> None:
        """Answer the next requests with a proxy's HTML page, of any status, 200 included."""
        page = html_page(status).content.decode()
        self._fault("answer", times, path, method, status=status, body=page)

    def bursts(
        self,
        size: int,
        every: int,
        *,
        status: int = 429,
        retry_after: float | None = None,
        path: str | None = None,
        method: str | None = None,
    ) -> None:
        """Refuse some requests in a row, over and over, until `behave`.

        Args:
            size: How many in a row.
            every: Out of how many: after `every - size` good ones the burst comes.
            status: What they are answered with.
            retry_after: As for `fail`.
            path: As for `fail`.
            method: As for `fail`.

        Raises:
            ValueError: The size is less than 1 or more than `every`.
        """
        when = RequestMatcher(None, path, method, burst=(size, every))
        with self._lock:
            self._faults.add(
                when, Fault("answer", status=status, headers=_headers(retry_after, None))
            )

    def error_rates(
        self,
        rates: Mapping[int, float],
        *,
        seed: int = 1,
        retry_after: float | None = None,
        path: str | None = None,
        method: str | None = None,
    ) -> None:
        """Answer with errors by chance, the same ones for the same seed, until `behave`.

        Args:
            rates: The part of the requests, from 0 to 1, by status: `{500: 0.02, 429: 0.1}`.
            seed: Makes another series.
            retry_after: As for `fail`.
            path: As for `fail`.
            method: As for `fail`.

        Raises:
            ValueError: A rate is out of range, or all of them together are more than 1.
        """
        when = RequestMatcher(None, path, method, seed=seed)
        found = Rates(when, dict(rates), _headers(retry_after, None))
        with self._lock:
            self._faults.add_rates(found)

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
        """Take time before each answer, until `behave`. Several of these add up.

        Args:
            seconds: Seconds, or a distribution: `"uniform 0.1 0.5"` (low, high), `"normal 0.2
                0.05"` (mean, deviation), `"lognormal 0.2 0.6"` (median, sigma), or a `Latency`.
            times: How many requests; None until `behave`.
            path: As for `fail`.
            method: As for `fail`.
            rate: The part of these requests, from 0 to 1.
            seed: Makes another series.

        Raises:
            ValueError: There is no such distribution, or a number is out of range.
        """
        law = Latency.of(seconds)
        when = RequestMatcher(times, path, method, rate, seed)
        with self._lock:
            self._faults.delay(when, law)

    def drop(
        self,
        *,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        reset: bool = False,
        after: bool = False,
    ) -> None:
        """Lose the connection in place of the next answers.

        Args:
            times: As for `fail`.
            path: As for `fail`.
            method: As for `fail`.
            reset: By a reset (RST), rather than closed in good order.
            after: After the request has been carried out.
        """
        moment: Moment = "after" if after else "before"
        self._fault("drop", times, path, method, reset=reset, moment=moment)

    def truncate(
        self,
        *,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        cut: bool = False,
    ) -> None:
        """Send half of the next answers as if that were all.

        Args:
            times: As for `fail`.
            path: As for `fail`.
            method: As for `fail`.
            cut: Promise the whole length, and lose the connection half way.
        """
        self._fault("cut" if cut else "truncate", times, path, method)

    def garble(
        self,
        *,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        rate: float = 1.0,
        seed: int = 1,
    ) -> None:
        """Send bodies that arrive whole and are no JSON; see `latency` for the arguments."""
        self._distort(CorruptJson(RequestMatcher(times, path, method, rate, seed)))

    def drift(
        self,
        *kinds: Drift,
        fields: Iterable[str] | None = None,
        times: int | None = None,
        path: str | None = None,
        method: str | None = None,
        rate: float = 1.0,
        seed: int = 1,
    ) -> None:
        """Let good answers differ from the schema, as those of another version would.

        Each object in such an answer is changed once in each of the ways. Envelopes of lists stay
        as they are, and so do ids, unless they are named in `fields`.

        Args:
            kinds: `missing` (a field is), `extra` (a new one), `null` (a field is), `mistyped` (a
                field of another type), `enum` (a value the schema does not know); all of them by
                default.
            fields: The only fields to change.
            times: As for `latency`.
            path: As for `latency`.
            method: As for `latency`.
            rate: As for `latency`.
            seed: As for `latency`.

        Raises:
            ValueError: There is no such kind, or a number is out of range.
        """
        when = RequestMatcher(times, path, method, rate, seed)
        self._distort(drifting(when, kinds or DRIFTS, fields))

    def links(
        self,
        *kinds: Link,
        host: str = "https://posthog.invalid",
        times: int | None = None,
        path: str | None = None,
        rate: float = 1.0,
        seed: int = 1,
    ) -> None:
        """Let `next` and `previous` lead astray.

        Args:
            kinds: `http` (whatever the scheme was), `foreign` (to `host`), `previous` (to the page
                itself), `loop` (`next` does); all of them by default.
            host: Scheme and host for `foreign`.
            times: As for `latency`.
            path: As for `latency`.
            rate: As for `latency`.
            seed: As for `latency`.

        Raises:
            ValueError: There is no such kind, or a number is out of range.
        """
        when = RequestMatcher(times, path, None, rate, seed)
        self._distort(Links(when, known(kinds or LINKS, LINKS), host))

    def pages(
        self,
        *kinds: Page,
        times: int | None = None,
        path: str | None = None,
        rate: float = 1.0,
        seed: int = 1,
    ) -> None:
        """Let pages show rows twice, or in another order.

        Args:
            kinds: `duplicate` (a page shows the rows of the one before), `overlap` (it begins with
                the last of them), `shuffle` (its rows are in disorder), `reorder` (the whole list
                is, differently for each page, so that rows are lost and come twice); all of them
                by default.
            times: As for `latency`.
            path: As for `latency`.
            rate: As for `latency`.
            seed: As for `latency`.

        Raises:
            ValueError: There is no such kind, or a number is out of range.
        """
        when = RequestMatcher(times, path, None, rate, seed)
        self._distort(Pages(when, known(kinds or PAGES, PAGES)))

    def misbehave(
        self,
        rate: float = 0.2,
        kinds: Iterable[Misbehaviour] = MISBEHAVIOURS,
        seed: int = 1,
    ) -> Plan:
        """Let requests go wrong by chance, the same ones for the same seed, until `behave`.

        The server's own answers of 429 and 503 mean that nothing was done. With the others, a page
        (`html`) of 503 among them, and when a connection is lost or hangs (for `settings.stall`
        seconds), the request may have been carried out. `reset` and `drop` lose the connection,
        `truncate` part of the answer.

        Args:
            rate: The part of the requests, from 0 to 1.
            kinds: What may happen: a status, `html` (an error page), `reset`, `drop`,
                `truncate`, `stall`.
            seed: Makes another series.

        Returns:
            The plan; its `counts` tell how often each kind was used.

        Raises:
            ValueError: The rate is out of range, or there is no such kind.
        """
        plan = Plan(rate, kinds, seed)
        with self._lock:
            self._faults.follow(plan)
        return plan

    def behave(self) -> None:
        """Turn all misbehaviour off."""
        with self._lock:
            self._faults.clear()
            self.settings.html_errors = False
            self.settings.next_host = None

    def _distort(self, distortion: ResponseMutation) -> None:
        with self._lock:
            self._faults.distort(distortion)

    def _fault(
        self,
        kind: FaultKind,
        times: int | None,
        path: str | None,
        method: str | None,
        **more: Any,
    ) -> None:
        with self._lock:
            self._faults.add(RequestMatcher(times, path, method), Fault(kind, **more))


def _headers(retry_after: float | None, more: Mapping[str, str] | None) -> Headers:
    sent: Headers = list((more or {}).items())
    if retry_after is not None:
        whole = float(retry_after).is_integer()
        sent.append(("Retry-After", str(int(retry_after) if whole else retry_after)))
    return sent
