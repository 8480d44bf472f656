"""`ph.capture`: send events."""

from __future__ import annotations

import logging
import os
import sys
import weakref
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from threading import get_ident
from typing import Any, Final
from uuid import UUID

import anyio
import anyio.lowlevel
import httpx

from asyncposthog.config import Secret
from asyncposthog.core.executor import Executor
from asyncposthog.errors import CaptureError, ClosedError, ConfigurationError, EventLoopError
from asyncposthog.errors import TimeoutError as PostHogTimeoutError
from asyncposthog.hosts import Hosts
from asyncposthog.redact import Redactor
from asyncposthog.transport.clock import Clock
from asyncposthog.transport.exchange import Credentials
from asyncposthog.transport.in_flight_call import ClientContext

from .context import EventContext, current_context, event_context
from .delivery import Delivery, Outcome
from .events import EventBuilder
from .exceptions import describe_exception, is_captured, marked_captured
from .plan import EventBudget, Record, take_batch
from .protocol import SDK_INFO, Lane, capture_operation
from .queues import MemoryQueue, SpoolQueue
from .results import CaptureStats, EventResult
from .sender import Counters, Sender, tell_lost
from .settings import CaptureSettings
from .spool import Spool, spool_owner

__all__ = ["Capture"]

logger = logging.getLogger("asyncposthog")

_YIELD_EVERY: Final = 128
"""Events after which a loop that captures without a pause lets other tasks run."""
_STOP_TIMEOUT: Final = 5.0
_OPERATION: Final = capture_operation("v1", "events")


class Capture:
    """Send events to the project. Call it to queue one: `await ph.capture("paid", "ada")`.

    Events are sent in the background, in batches. A call returns when the event is queued, or, with
    a spool, when it is on disk; it waits while the queue is full. Closing the client sends what is
    queued, within `CaptureSettings.close_timeout`.

    Arguments that the server would not accept raise `TypeError` or `ValueError` at once. All
    methods raise `ClosedError` after the client was closed, and `ConfigurationError` without a
    project token.
    """

    def __init__(self, executor: Executor, settings: CaptureSettings | None) -> None:
        """Check the project token; nothing is opened.

        Raises:
            ConfigurationError: There is no project token.
        """
        self.settings = settings or CaptureSettings()
        self._spool_path = self.settings.spool
        token = executor.settings.project_api_key
        if token is None:
            raise ConfigurationError(
                "No project token was given, which capture needs.",
                suggestion=(
                    "Pass project_api_key='phc_…' or set POSTHOG_PROJECT_API_KEY. The token is in "
                    f"{executor.settings.hosts.app}/settings/project."
                ),
            )
        self._executor = executor
        self._transport = executor.transport
        self._clock = executor.transport.clock
        self._token = token
        self._hosts = executor.settings.hosts
        self._project = hash((self._hosts.ingest, token.reveal()))
        """Stands for the project in exceptions that were captured, without its token."""
        self._start_empty()
        _captures.add(self)

    def _start_empty(self) -> None:
        self._counters = Counters()
        self._builder = EventBuilder(self.settings, self._clock.time)
        self._delivery = Delivery(
            self._transport,
            _client_context(self._executor, self._token),
            self._token.reveal(),
            self.settings,
            self._executor.settings.max_retry_after,
        )
        limit = self.settings.max_events_per_minute
        self._budget = None if limit is None else EventBudget(limit, self._clock.monotonic())
        self._senders: dict[Lane, Sender] = {}
        self._spool: Spool | None = None
        self._opening = anyio.Lock()
        self._recovered: dict[Lane, int] = {}
        self._thread: int | None = None
        self._closed = False
        self._calls = 0
        self._sending_now = 0

    # Queue an event

    async def __call__(
        self,
        event: str,
        distinct_id: str | int | UUID | None = None,
        *,
        properties: Mapping[str, object] | None = None,
        timestamp: datetime | str | None = None,
        groups: Mapping[str, object] | None = None,
        uuid: UUID | str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> str | None:
        """Queue an event; wait while the queue is full.

        If the call is cancelled while it waits, the event is not queued. With a spool it may be.

        Args:
            event: The name, 1 to 200 characters.
            distinct_id: Who did it, 1 to 200 characters. Required, unless the context has one.
            properties: Properties. Models, dataclasses, enums, dates, UUIDs and Decimals are
                converted; NaN and infinities become null.
            timestamp: When it happened, with a time zone; by default now.
            groups: The group of the event for each group type: `{"company": "acme"}`.
            uuid: The UUID of the event, by which repeats are recognised; by default a new one.
            options: `cookieless_mode`, `disable_skew_correction`, `process_person_profile` (bool)
                and `product_tour_id` (str).

        Returns:
            The UUID; None if a setting had the event dropped: see `stats.dropped`.

        Raises:
            TypeError, ValueError: The event cannot be sent.
            CaptureError: The spool cannot be written.
        """
        record = self._build(
            "events", event, distinct_id, properties, timestamp, groups, uuid, options
        )
        sender = self._senders.get("events")
        self._calls += 1
        # Nearly all events take this way, which has no task switch and no further coroutine.
        if (
            record is not None
            and sender is not None
            and not sender.dead
            and self._calls % _YIELD_EVERY
            and sender.queue.try_put(record)
        ):
            return record.uuid
        return await self._put("events", record)

    def nowait(
        self,
        event: str,
        distinct_id: str | int | UUID | None = None,
        *,
        properties: Mapping[str, object] | None = None,
        timestamp: datetime | str | None = None,
        groups: Mapping[str, object] | None = None,
        uuid: UUID | str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> str | None:
        """Queue an event without waiting. If the queue is full, an event is dropped and counted.

        It is called in the event loop of the client. See `__call__` for the arguments. With a
        spool, an event of a process that is killed within the next milliseconds is lost, and the
        first event must not be queued by this method.

        Returns:
            The UUID; None if the event was dropped: see `stats.dropped`.

        Raises:
            TypeError, ValueError: The event cannot be sent.
        """
        record = self._build(
            "events", event, distinct_id, properties, timestamp, groups, uuid, options
        )
        if record is None:
            return None
        if not self._sender("events").queue.offer(record):
            self._counters.dropped["queue_full"] += 1
            return None
        return record.uuid

    async def ai(
        self,
        event: str,
        distinct_id: str | int | UUID | None = None,
        *,
        properties: Mapping[str, object] | None = None,
        timestamp: datetime | str | None = None,
        groups: Mapping[str, object] | None = None,
        uuid: UUID | str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> str | None:
        """Queue an AI event, such as `$ai_generation`, for the endpoint of AI events.

        It may have 8 MiB instead of 900 KiB. See `__call__` for the arguments.
        """
        if isinstance(event, str) and not event.startswith("$ai_"):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"{event!r} is no AI event: their names start with $ai_")
        record = self._build("ai", event, distinct_id, properties, timestamp, groups, uuid, options)
        self._calls += 1
        return await self._put("ai", record)

    async def identify(
        self,
        distinct_id: str | int | UUID | None = None,
        properties: Mapping[str, object] | None = None,
        *,
        set_once: Mapping[str, object] | None = None,
        anonymous_id: str | None = None,
        **fields: Any,
    ) -> str | None:
        """Set properties of a person, and link an anonymous id to it.

        Args:
            distinct_id: The person.
            properties: Properties to set.
            set_once: Properties to set unless the person has them.
            anonymous_id: The id that the person's events had before.
            fields: `timestamp`, `uuid`, `groups` and `options` of the event.
        """
        merged: dict[str, object] = {"$set": dict(properties or {})}
        if set_once:
            merged["$set_once"] = dict(set_once)
        if anonymous_id is not None:
            merged["$anon_distinct_id"] = anonymous_id
        return await self("$identify", distinct_id, properties=merged, **fields)

    async def alias(self, previous_id: str, distinct_id: str, **fields: Any) -> str | None:
        """Link two ids: `distinct_id` becomes another id of the person `previous_id`."""
        properties = {"distinct_id": previous_id, "alias": distinct_id}
        return await self("$create_alias", previous_id, properties=properties, **fields)

    async def group_identify(
        self,
        group_type: str,
        group_key: str,
        properties: Mapping[str, object] | None = None,
        *,
        distinct_id: str | int | UUID | None = None,
        **fields: Any,
    ) -> str | None:
        """Create a group, or set its properties.

        Args:
            group_type: The type, such as `company`.
            group_key: The group.
            properties: Properties to set.
            distinct_id: Who the event is about; by default an id of the group.
            fields: `timestamp`, `uuid` and `options` of the event.
        """
        if not group_type or not group_key:
            raise ValueError("group_type and group_key must not be empty")
        merged = {
            "$group_type": group_type,
            "$group_key": group_key,
            "$group_set": dict(properties or {}),
        }
        if distinct_id is None:
            distinct_id = f"${group_type}_{group_key}"[:200]
        return await self("$groupidentify", distinct_id, properties=merged, **fields)

    async def set(
        self,
        distinct_id: str | int | UUID | None = None,
        properties: Mapping[str, object] | None = None,
        **fields: Any,
    ) -> str | None:
        """Set properties of a person."""
        return await self(
            "$set", distinct_id, properties={"$set": dict(properties or {})}, **fields
        )

    async def set_once(
        self,
        distinct_id: str | int | UUID | None = None,
        properties: Mapping[str, object] | None = None,
        **fields: Any,
    ) -> str | None:
        """Set properties of a person that it does not have."""
        merged = {"$set_once": dict(properties or {})}
        return await self("$set_once", distinct_id, properties=merged, **fields)

    async def unset(
        self,
        distinct_id: str | int | UUID | None,
        names: Iterable[str],
        **fields: Any,
    ) -> str | None:
        """Remove properties of a person."""
        if isinstance(names, str):
            raise TypeError("names must be a list of names, not one str")
        merged = {"$unset": [*names]}
        return await self("$delete_person_property", distinct_id, properties=merged, **fields)

    async def exception(
        self,
        error: BaseException | None = None,
        distinct_id: str | int | UUID | None = None,
        *,
        properties: Mapping[str, object] | None = None,
        handled: bool = True,
        **fields: Any,
    ) -> str | None:
        """Queue an exception, with its stack, causes and members of groups, for error tracking.

        Args:
            error: The exception; by default the one that is being handled.
            distinct_id: Who met it. Without one, and without one in the context, the event makes
                no person.
            properties: Properties in addition.
            handled: Whether the program has handled it.
            fields: `timestamp`, `uuid`, `groups` and `options` of the event.

        Returns:
            The UUID; None if it was captured for this project before, or dropped by a setting.

        Raises:
            TypeError, ValueError, CaptureError: No exception, or the event cannot be queued.
        """
        error = sys.exception() if error is None else error
        if isinstance(error, BaseException) and is_captured(error, self._project):
            return None
        described = describe_exception(
            error,
            handled=handled,
            in_app_include=self.settings.in_app_include,
            project_root=self.settings.project_root,
        )
        merged: dict[str, object] = {**described, **(properties or {})}
        context = current_context()
        if distinct_id is None and (context is None or context.distinct_id is None):
            distinct_id = os.urandom(16).hex()
            merged.setdefault("$process_person_profile", False)
        assert error is not None  # describe_exception has checked it
        with marked_captured(error, self._project):
            return await self("$exception", distinct_id, properties=merged, **fields)

    # Send an event at once

    async def immediate(
        self,
        event: str,
        distinct_id: str | int | UUID | None = None,
        *,
        properties: Mapping[str, object] | None = None,
        timestamp: datetime | str | None = None,
        groups: Mapping[str, object] | None = None,
        uuid: UUID | str | None = None,
        options: Mapping[str, object] | None = None,
        max_retries: int = 3,
    ) -> EventResult:
        """Send an event now, and return what the server has answered for it.

        It passes by the queue and the spool. The arguments are those of `__call__`, and
        `max_retries`: repeats of the request.

        Raises:
            PostHogError: There was no answer, after all retries.
            TypeError, ValueError: The event cannot be sent.
        """
        record = self._build(
            "events", event, distinct_id, properties, timestamp, groups, uuid, options
        )
        if record is None:
            return EventResult(None, "drop", "before_send or max_events_per_minute")
        results = await self.send_records([record], "events", max_retries)
        result = results[record.uuid]
        if result.status == "failed" and result.error is not None:
            raise result.error
        return result

    async def batch(
        self,
        events: Iterable[Mapping[str, object]],
        *,
        ai: bool = False,
        historical: bool = False,
        max_retries: int = 3,
    ) -> list[EventResult]:
        """Send events now, and return a result for each, in order. An invalid one is not sent.

        Args:
            events: Mappings of the arguments of `__call__`: `{"event": …, "distinct_id": …}`.
            ai: Whether they are AI events.
            historical: Whether they are old events, which PostHog stores without watching for
                sudden growth.
            max_retries: Repeats of each request.
        """
        lane: Lane = "ai" if ai else "events"
        self._check_open()
        context = current_context()
        results: list[EventResult | Record] = []
        for fields in events:
            try:
                record = self._builder.build_from_mapping(fields, context, ai=ai)
            except (TypeError, ValueError) as error:
                results.append(EventResult(None, "invalid", str(error)))
                continue
            dropped = self._admit(record)
            results.append(
                record
                if record is not None and dropped is None
                else EventResult(None, "drop", dropped)
            )
        records = [result for result in results if isinstance(result, Record)]
        answers = await self.send_records(records, lane, max_retries, historical=historical)
        return [answers[r.uuid] if isinstance(r, Record) else r for r in results]

    async def send_records(
        self,
        records: Sequence[Record],
        lane: Lane,
        max_retries: int,
        *,
        historical: bool = False,
    ) -> dict[str, EventResult]:
        """Send events that are built, and return the result of each by its UUID.

        Args:
            records: The events.
            lane: The endpoint.
            max_retries: Repeats of each request.
            historical: Whether they are old events that are migrated.
        """
        self._check_open()
        results: dict[str, EventResult] = {}
        answered = 0

        def report(outcome: Outcome) -> None:
            nonlocal answered
            answered += len(outcome.records)
            self._counters.record(outcome)
            detail = outcome.detail or outcome.reason
            for record in outcome.records:
                results[record.uuid] = EventResult(
                    record.uuid, outcome.status, detail, outcome.error
                )

        waiting = deque(records)
        self._counters.accepted += len(records)
        self._sending_now += len(records)
        try:
            while waiting:
                group = take_batch(
                    waiting, self.settings.max_batch_events, self.settings.max_batch_bytes
                )
                await self._delivery.deliver(
                    group, report, lane=lane, historical=historical, max_retries=max_retries
                )
        finally:
            self._sending_now -= len(records)
            # Of a call that was cancelled, the caller knows that it has no answer.
            self._counters.accepted -= len(records) - answered
        return results

    # The state

    def context(
        self,
        *,
        distinct_id: str | int | UUID | None = None,
        session_id: str | None = None,
        groups: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        fresh: bool = False,
    ) -> AbstractContextManager[EventContext]:
        """Add to the events that are captured in the block, and in tasks that are started in it.

        Args:
            distinct_id: The default `distinct_id`.
            session_id: The session, sent as `$session_id`.
            groups: Groups, by type.
            properties: Properties. Those of an event itself take precedence.
            fresh: Whether to ignore an enclosing context instead of adding to it.
        """
        return event_context(
            distinct_id=distinct_id,
            session_id=session_id,
            groups=groups,
            properties=properties,
            fresh=fresh,
        )

    @property
    def owner(self) -> str:
        """A name of the project and host that does not reveal the token."""
        return spool_owner(self._hosts.ingest, self._token.reveal())

    @property
    def clock(self) -> Clock:
        """The clock of the client."""
        return self._clock

    @property
    def stats(self) -> CaptureStats:
        """The counters, as they are now."""
        counters, delivery, senders = self._counters, self._delivery, self._senders.values()
        return CaptureStats(
            accepted=counters.accepted,
            recovered=counters.recovered,
            queued=sum(sender.queue.size for sender in senders),
            in_flight=self._sending_now + sum(sender.in_flight for sender in senders),
            sent=counters.sent,
            warned=counters.warned,
            retried=delivery.retried,
            requests=delivery.requests,
            lost=dict(counters.lost),
            dropped=dict(counters.dropped),
            quota_limited=delivery.quota_limited,
            protocol=delivery.version,
            clock_skew=delivery.clock_skew,
        )

    async def open(self) -> None:
        """Open the spool, and begin to send the events that it has.

        `async with AsyncPostHog(…)` and the first event do this, so it is rarely needed.

        Raises:
            ConfigurationError: The spool belongs to another project or program, or is in use.
            CaptureError: The spool cannot be opened.
        """
        self._check_open()
        path = self.settings.spool
        if path is None or self._spool is not None:
            return
        async with self._opening:
            if self._spool is not None:
                return
            spool = Spool(path, self.owner, self.settings.spool_synchronous)
            try:
                self._recovered = await spool.open(self._committed)
            except BaseException:
                await spool.aclose()
                raise
            self._spool = spool
        for lane, count in self._recovered.items():
            if count:
                self._sender(lane).recovered(count)

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send what is queued without delay, and wait until it is delivered or given up.

        Args:
            timeout: Seconds to wait; None: no limit.

        Raises:
            TimeoutError: It takes longer. The events stay queued.
        """
        self._check_open()
        await self.open()
        with anyio.move_on_after(timeout) as scope:
            await self._flush()
        if scope.cancelled_caught:
            stats = self.stats
            raise PostHogTimeoutError(
                f"{stats.queued + stats.in_flight:,} events were not sent within {timeout:g} s.",
                suggestion="They stay queued. stats tells how many, and on_error what is given up.",
            )

    async def _flush(self) -> None:
        async with anyio.create_task_group() as group:
            for sender in self._senders.values():
                group.start_soon(sender.flush)

    async def aclose(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send what is queued, within a deadline; then give up the rest and tell `on_error`.

        Closing the client does this. Events in a spool are not given up, but sent by the next
        client that opens it.

        Args:
            timeout: Seconds to wait; by default `CaptureSettings.close_timeout`.
        """
        if self._closed:
            return
        self._closed = True
        timeout = self.settings.close_timeout if timeout is None else timeout
        for sender in self._senders.values():
            sender.close_soon()
        try:
            # Shielded: clients are often closed in a task that is being cancelled, and what led to
            # that is in the events.
            with anyio.move_on_after(timeout, shield=True):
                await self._flush()
        finally:
            with anyio.move_on_after(_STOP_TIMEOUT, shield=True):
                await self._end()

    async def _end(self) -> None:
        for sender in self._senders.values():
            await sender.stop()
        spool, event_count = self._spool, 0
        for sender in self._senders.values():
            left = [*sender.leftover, *sender.queue.drain()]
            sender.leftover.clear()
            if spool is not None:
                event_count += len(left) + sender.queue.size
            elif left:
                outcome = Outcome(left, "failed", "closed", "the client was closed")
                self._counters.record(outcome)
                await tell_lost(self.settings, outcome)
        if spool is not None:
            if event_count:
                logger.info("capture: %d events stay in the spool %s", event_count, spool.path)
            await spool.aclose()

    # Inner parts

    def _check_open(self) -> None:
        if self._closed or self._transport.is_closed:
            raise ClosedError(
                "The client is closed, and takes no more events.",
                suggestion="Capture inside `async with`, or build a new AsyncPostHog.",
            )
        if self._thread != get_ident():
            if self._thread is not None:
                raise EventLoopError(
                    "The event was captured in another thread than the first one.",
                    suggestion="Call capture in the event loop of the client.",
                )
            # Raises a RuntimeError where no event loop is running.
            anyio.lowlevel.current_token()
            self._executor.check_allowed(_OPERATION)
            self._thread = get_ident()

    def _build(
        self,
        lane: Lane,
        event: str,
        distinct_id: object,
        properties: Mapping[str, object] | None,
        timestamp: object,
        groups: Mapping[str, object] | None,
        uuid: object,
        options: Mapping[str, object] | None,
    ) -> Record | None:
        """Return an event that is to be queued; None if a setting dropped it."""
        if self._closed or self._thread != get_ident():
            self._check_open()
        record = self._builder.build(
            event,
            distinct_id,
            properties,
            timestamp=timestamp,
            uuid=uuid,
            groups=groups,
            options=options,
            context=current_context(),
            ai=lane == "ai",
        )
        if record is not None and self._budget is None:
            return record
        return record if self._admit(record) is None else None

    def _admit(self, record: Record | None) -> str | None:
        """Return why an event is dropped, and count it; None: it is not."""
        if record is None:
            self._counters.dropped["before_send"] += 1
            return "before_send"
        if self._budget is not None and not self._budget.try_spend(self._clock.monotonic()):
            if not self._counters.dropped["rate_limit"]:
                logger.warning(
                    "capture: more than max_events_per_minute=%d: events are dropped",
                    self.settings.max_events_per_minute,
                )
            self._counters.dropped["rate_limit"] += 1
            return "rate_limit"
        return None

    async def _put(self, lane: Lane, record: Record | None) -> str | None:
        if not self._calls % _YIELD_EVERY:
            # Before the event is queued: a call that is cancelled here has not queued it.
            await anyio.lowlevel.checkpoint()
        if record is None:
            return None
        if self._spool_path is not None and self._spool is None:
            await self.open()
        queue = self._sender(lane).queue
        if not queue.try_put(record):
            await queue.put(record)
        return record.uuid

    def _sender(self, lane: Lane) -> Sender:
        sender = self._senders.get(lane)
        if sender is None:
            sender = self._senders[lane] = self._new_sender(lane)
        if sender.failure is not None:
            raise CaptureError(
                "Events are not sent any more: the sender has failed.",
                suggestion="This is a mistake in asyncposthog; its cause is in the log.",
            ) from sender.failure
        if sender.dead and not self._closed:
            raise EventLoopError(
                "The event loop in which the first event was captured has ended.",
                suggestion="Build one AsyncPostHog for each event loop.",
            )
        return sender

    def _new_sender(self, lane: Lane) -> Sender:
        settings = self.settings
        queue: MemoryQueue | SpoolQueue
        if settings.spool is None:
            queue = MemoryQueue(
                settings.max_queue_events,
                settings.max_queue_bytes,
                settings.when_full,
                lambda: self._dropped_oldest(lane),
            )
        elif self._spool is None:
            raise ConfigurationError(
                "The spool is not open.",
                suggestion="Use the client in `async with`, or `await ph.capture.open()` first.",
            )
        else:
            queue = SpoolQueue(
                self._spool, lane, settings.max_queue_events, self._recovered.get(lane, 0)
            )
        sender = Sender(queue, lane, self._delivery, settings, self._counters)
        if isinstance(queue, MemoryQueue):
            queue.on_added = sender.added
        sender.start()
        return sender

    def _dropped_oldest(self, lane: Lane) -> None:
        self._counters.dropped["queue_full"] += 1
        self._counters.accepted -= 1
        self._senders[lane].skipped()

    def _committed(self, lane: Lane, count: int, error: Exception | None) -> None:
        """Note that the spool has written events, or could not."""
        if error is not None:
            logger.error("capture: %d events were not accepted: %s", count, error)
            self._counters.dropped["spool_error"] += count
            return
        sender = self._senders[lane]
        assert isinstance(sender.queue, SpoolQueue)
        sender.queue.size += count
        sender.added(count)

    def start_over_after_fork(self) -> None:
        """Forget everything that belongs to the parent process, in a child that was forked."""
        if self._spool is not None:
            self._spool.forget()
        self._transport.start_over_after_fork()
        self._start_empty()


def _client_context(executor: Executor, token: Secret) -> ClientContext:
    """Return the settings of requests to the ingest host, with the project token as the key."""
    settings = executor.settings
    ingest = settings.hosts.ingest
    headers = httpx.Headers(
        {
            "Host": httpx.URL(ingest).netloc.decode(),
            "Accept": "application/json",
            "Accept-Encoding": executor.transport.accept_encoding(),
            "User-Agent": SDK_INFO,
        }
    )
    for name, value in settings.headers:
        headers[name] = value
    return ClientContext(
        credentials=Credentials(token, (ingest,), headers),
        headers=headers,
        # The paths of capture are below the ingest host.
        hosts=Hosts(ingest, ingest, settings.hosts.region),
        key_kind="project",
        redactor=Redactor([settings.api_key.reveal(), token.reveal()]),
        middleware=executor.middleware,
        on_retry=executor.on_retry,
        max_bytes=settings.max_response_bytes,
    )


_captures: weakref.WeakSet[Capture] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for capture in [*_captures]:
        capture.start_over_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
