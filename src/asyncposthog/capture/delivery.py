"""Deliver events: requests, retries, and the division of refused requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias
from uuid import uuid4

import httpx

from asyncposthog.call import Call, CallOptions, Policy
from asyncposthog.errors import (
    ClosedError,
    ConfigurationError,
    EventLoopError,
    PostHogError,
    StatusError,
)
from asyncposthog.threads import run_in_thread
from asyncposthog.transport.encoding.request import PreparedRequest
from asyncposthog.transport.http import Transport
from asyncposthog.transport.in_flight_call import ClientContext
from asyncposthog.types import OMIT

from .compression import compress, zstd_function
from .events import format_time
from .plan import Bisection, Record, retry_delay
from .protocol import (
    Accepted,
    Answer,
    Lane,
    Refused,
    Retry,
    Split,
    Unsupported,
    Verdict,
    Version,
    answer_code,
    capture_operation,
    clock_skew,
    encode_v0,
    encode_v1,
    judge_v0,
    judge_v1,
    v1_headers,
)
from .results import EventStatus
from .settings import CaptureSettings

__all__ = ["Delivery", "Outcome", "Reason", "Report"]

logger = logging.getLogger("asyncposthog")

Reason: TypeAlias = Literal[
    "server_drop",
    "refused",
    "too_large",
    "quota",
    "retries_exhausted",
    "closed",
    "internal_error",
]

_THREAD_BYTES: Final = 256 * 1024
"""Bodies from this size are compressed in a thread: it takes about a millisecond, and a thread a
fifth of that."""
_MAX_QUIET_SKEW: Final = 300.0
"""Seconds of clock skew that are not worth a warning."""
_FINAL_ERRORS: Final = (ClosedError, ConfigurationError, EventLoopError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some events of a delivery."""

    records: Sequence[Record]
    status: EventStatus
    reason: Reason | None = None
    """Why they were given up; None if they were delivered."""
    detail: str | None = None
    error: PostHogError | None = None


Report: TypeAlias = Callable[[Outcome], None]


@dataclass(slots=True)
class _Attempts:
    """The attempts of one request."""

    lane: Lane
    historical: bool
    max_retries: int | None
    report: Report
    request_id: str = field(default_factory=lambda: str(uuid4()))
    created_at: str = ""
    count: int = 0
    error: PostHogError | None = None
    """The error of the last attempt."""


class Delivery:
    """Delivers events to one project."""

    def __init__(
        self,
        transport: Transport,
        context: ClientContext,
        token: str,
        settings: CaptureSettings,
        max_retry_after: float,
    ) -> None:
        """Keep the settings; nothing is sent.

        Args:
            transport: The transport of the client.
            context: Its settings, for the host and the token of capture.
            token: The project token.
            settings: The settings of capture.
            max_retry_after: The longest wait, in seconds, that the server may request.
        """
        self._transport = transport
        self._context = context
        self._token = token
        self._max_retry_after = max_retry_after
        self._clock = transport.clock
        self._options = CallOptions(
            policy=Policy(timeout=settings.request_timeout, max_retries=0),
            strict=False,
            project_id=None,
            organization_id=None,
        )
        self._fixed_version: Version | None = (
            None if settings.protocol == "auto" else settings.protocol
        )
        self._compression = settings.compression
        self._zstd_refused = False
        self._skew_reported = False
        self._quota_reported = False
        self.version: Version | None = self._fixed_version
        """The protocol of the instance; None until it is known."""
        self.requests = 0
        self.retried = 0
        self.quota_limited = False
        self.clock_skew: float | None = None

    async def deliver(
        self,
        records: Sequence[Record],
        report: Report,
        *,
        lane: Lane = "events",
        historical: bool = False,
        max_retries: int | None = None,
    ) -> None:
        """Send events, and report the outcome of each exactly once.

        If this is cancelled, the events that were not reported may or may not have been accepted.

        Args:
            records: The events of a request; no two have the same UUID.
            report: Called with the outcomes as they become known.
            lane: The endpoint.
            historical: Whether the events are old ones that are migrated.
            max_retries: Repeats of each request; None: no limit.
        """
        bisection = Bisection()
        bisection.add(records)
        while bisection.groups:
            group = bisection.groups.pop()
            attempts = _Attempts(lane, historical, max_retries, report)
            verdict = await self._deliver_group(group, attempts)
            if isinstance(verdict, Split):
                given_up = bisection.refuse(group)
                if given_up:
                    detail = None if attempts.error is None else attempts.error.code
                    report(Outcome(given_up, "drop", verdict.reason, detail, attempts.error))
            else:
                bisection.accept()

    async def _deliver_group(self, records: Sequence[Record], attempts: _Attempts) -> Verdict:
        """Send a request until it is answered; report on its events unless it must be split."""
        report, pending = attempts.report, records
        while True:
            attempts.count += 1
            try:
                verdict = await self._attempt(pending, attempts)
            except _FINAL_ERRORS as error:
                report(Outcome(pending, "failed", "closed", type(error).__name__, error))
                return Refused("refused")
            if isinstance(verdict, Split):
                return verdict
            if isinstance(verdict, Refused):
                self._note_quota(verdict.reason == "quota")
                code = None if attempts.error is None else attempts.error.code
                report(Outcome(pending, "drop", verdict.reason, code, attempts.error))
                return verdict
            if isinstance(verdict, Accepted):
                self._note_quota(verdict.quota_limited)
                pending = _report_results(pending, verdict, report)
                if not pending:
                    return verdict
            if attempts.max_retries is not None and attempts.count > attempts.max_retries:
                report(Outcome(pending, "failed", "retries_exhausted", None, attempts.error))
                return verdict
            retry_after = None if isinstance(verdict, Unsupported) else verdict.retry_after
            delay = retry_delay(
                attempts.count, self._clock.random(), retry_after, self._max_retry_after
            )
            logger.debug("capture: %d events again in %.1f s", len(pending), delay)
            await self._clock.sleep(delay)
            self.retried += len(pending)

    async def _attempt(self, records: Sequence[Record], attempts: _Attempts) -> Verdict:
        """Make one attempt, with the other protocol if the instance lacks the first."""
        if self.version != "v0":
            verdict = await self._attempt_v1(records, attempts)
            if not isinstance(verdict, Unsupported):
                return verdict
            if self.version == "v1":  # found meanwhile, by another request
                return Retry()
        verdict = await self._attempt_v0(records, attempts)
        # Neither of both: the host may be wrong, or a proxy is answering for it.
        return Retry() if isinstance(verdict, Unsupported) else verdict

    async def _attempt_v1(self, records: Sequence[Record], attempts: _Attempts) -> Verdict:
        now = format_time(self._clock.time())
        attempts.created_at = attempts.created_at or now
        body = encode_v1(records, attempts.created_at, historical=attempts.historical)
        headers = v1_headers(attempts.count, attempts.request_id, now)
        answer = await self._post("v1", attempts, body, headers)
        if answer is None:
            return Retry()
        verdict = judge_v1(answer, len(records), proven=self.version == "v1")
        if self.version is None and (isinstance(verdict, Accepted) or answer.code is not None):
            self.version = "v1"
        return verdict

    async def _attempt_v0(self, records: Sequence[Record], attempts: _Attempts) -> Verdict:
        sent_at = format_time(self._clock.time())
        body = encode_v0(records, self._token, sent_at, historical=attempts.historical)
        answer = await self._post("v0", attempts, body, ())
        if answer is None:
            return Retry()
        verdict = judge_v0(answer, proven=self.version == "v0")
        if self.version is None and isinstance(verdict, Accepted):
            self.version = "v0"
            logger.info("capture: the instance has no capture v1; v0 is used instead")
        return verdict

    async def _post(
        self,
        version: Version,
        attempts: _Attempts,
        body: bytes,
        headers: tuple[tuple[str, str], ...],
    ) -> Answer | None:
        """Send a request; return its answer, or None if there is none.

        Raises:
            ClosedError, ConfigurationError, EventLoopError: The client cannot send.
        """
        encoding = self._encoding(version)
        answer = await self._post_encoded(version, attempts, body, headers, encoding)
        if answer is not None and answer.status == 415 and encoding == "zstd":
            self._zstd_refused = True
            answer = await self._post_encoded(version, attempts, body, headers, "gzip")
        return answer

    async def _post_encoded(
        self,
        version: Version,
        attempts: _Attempts,
        body: bytes,
        headers: tuple[tuple[str, str], ...],
        encoding: str | None,
    ) -> Answer | None:
        if encoding is not None:
            if len(body) < _THREAD_BYTES:
                body = compress(body, encoding)
            else:
                body = await run_in_thread(compress, body, encoding)
            headers = (*headers, ("Content-Encoding", encoding))
        operation = capture_operation(version, attempts.lane)
        request = PreparedRequest(
            operation.method,
            operation.path,
            (*headers, ("Content-Type", "application/json")),
            body,
        )
        call = Call(operation, (), None, None, OMIT, self._options)
        self.requests += 1
        try:
            response = await self._transport.send(self._context, call, request)
        except StatusError as error:
            attempts.error = error
            content = b"" if error.response is None else error.response.content
            error_headers = httpx.Headers() if error.response is None else error.response.headers
            answer = Answer(
                error.status or 0, error_headers, content, answer_code(content), error.retry_after
            )
            error.code = error.code or answer.code
        except _FINAL_ERRORS:
            raise
        except PostHogError as error:
            attempts.error = error
            return None
        else:
            attempts.error = None
            text = response.headers.get("Retry-After", "")
            retry_after = float(text) if text.isascii() and text.isdigit() else None
            answer = Answer(
                response.status_code, response.headers, response.content, None, retry_after
            )
        self._note_clock(answer)
        return answer

    def _encoding(self, version: Version) -> str | None:
        if self._compression in {"none", "gzip"}:
            return None if self._compression == "none" else "gzip"
        usable = version == "v1" and not self._zstd_refused and zstd_function() is not None
        return "zstd" if usable else "gzip"

    def _note_quota(self, limited: bool) -> None:
        if limited and not self.quota_limited:
            logger.warning(
                "capture: the project has reached its billing limit, and PostHog drops events"
            )
        self.quota_limited = limited

    def _note_clock(self, answer: Answer) -> None:
        skew = clock_skew(answer.headers.get("date"), self._clock.time())
        if skew is None:
            return
        self.clock_skew = skew
        if abs(skew) > _MAX_QUIET_SKEW and not self._skew_reported:
            self._skew_reported = True
            logger.warning(
                "capture: the clock of this machine differs from the server's by %.0f s; "
                "PostHog corrects the timestamps of events by that",
                abs(skew),
            )


def _report_results(records: Sequence[Record], accepted: Accepted, report: Report) -> list[Record]:
    """Report what the server has answered for each event; return those to be sent again."""
    results = accepted.results
    if not results:
        report(Outcome(records, "ok"))
        return []
    delivered: list[Record] = []
    again: list[Record] = []
    for record in records:
        # The server has accepted an event that it does not mention, and one whose result has a
        # name of the future: only `retry` asks for a repeat.
        result, details = results.get(record.uuid, ("ok", None))
        if result == "ok":
            delivered.append(record)
        elif result == "retry":
            again.append(record)
        elif result in {"drop", "limited"}:
            reason: Reason = (
                "quota"
                if result == "limited" or details == "billing_limit_exceeded"
                else "server_drop"
            )
            report(Outcome([record], "drop", reason, details or result))
        else:
            report(Outcome([record], "warning", None, details or result))
    if delivered:
        report(Outcome(delivered, "ok"))
    return again
