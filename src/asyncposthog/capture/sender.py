"""Send the events of a queue in the background."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import anyio

from asyncposthog.errors import PostHogError

from .background import BackgroundTask
from .delivery import Delivery, Outcome
from .plan import Record
from .protocol import Lane
from .queues import EventQueue
from .results import LostEvents
from .settings import CaptureSettings

__all__ = ["Counters", "Sender", "tell_lost"]

logger = logging.getLogger("asyncposthog")

_READ_RETRY_DELAY: Final = 5.0
"""Seconds after which a spool that cannot be read is tried again."""


class Counters:
    """The counters of all queues of a client."""

    def __init__(self) -> None:
        self.accepted = 0
        self.recovered = 0
        self.sent = 0
        self.warned = 0
        self.lost: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def record(self, outcome: Outcome) -> None:
        """Count the events of an outcome."""
        if outcome.reason is not None:
            self.lost[outcome.reason] += len(outcome.records)
            return
        self.sent += len(outcome.records)
        if outcome.status == "warning":
            self.warned += len(outcome.records)


class Sender:
    """Takes events from one queue, and delivers them, a few requests at a time.

    It never ends by itself, nor by an exception: a batch whose
    delivery fails in an unforeseen way is given up and reported like others.
    """

    def __init__(
        self,
        queue: EventQueue,
        lane: Lane,
        delivery: Delivery,
        settings: CaptureSettings,
        counters: Counters,
    ) -> None:
        """Keep what belongs to the sender; nothing runs yet."""
        self.queue = queue
        self.in_flight = 0
        """Events that were taken and are not settled."""
        self.leftover: list[Record] = []
        """Events whose delivery was interrupted."""
        self.dead = False
        """Whether the task of the sender has ended, with the event loop or by `stop`."""
        self.failure: Exception | None = None
        """The error that has ended it, which is a mistake in this package."""
        self._lane: Lane = lane
        self._delivery = delivery
        self._settings = settings
        self._counters = counters
        self._flush_at = settings.flush_at
        self._task: BackgroundTask | None = None
        self._wake = anyio.Event()
        self._progress = anyio.Event()
        self._due_since: float | None = None
        self._flush_until = 0
        self._added = 0
        self._taken = 0
        self._open_batches: dict[int, int] = {}
        """The number of events taken before each batch that is being delivered, by its number."""
        self._closing = False

    def start(self) -> None:
        """Start to send. Called in a task, before the first event is added."""
        self._task = BackgroundTask(self._run, f"asyncposthog capture {self._lane}")

    def added(self, count: int) -> None:
        """Note that events were accepted, and added to the queue."""
        self._counters.accepted += count
        self._added += count
        size = self.queue.size
        if size <= count or size - count < self._flush_at <= size:
            self._wake.set()

    def recovered(self, count: int) -> None:
        """Note that the queue has events of an earlier process."""
        self.added(count)
        self._counters.accepted -= count
        self._counters.recovered += count

    def skipped(self) -> None:
        """Note that the oldest event of the queue was dropped."""
        self._taken += 1

    async def flush(self) -> None:
        """Send what is queued now without delay, and wait until it is settled."""
        target = self._flush_until = self._added
        self._wake.set()
        while self._settled() < target and not self.dead:
            if self._progress.is_set():
                self._progress = anyio.Event()
            await self._progress.wait()

    def _settled(self) -> int:
        """Return how many of the first events are settled, all of them."""
        return min(self._open_batches.values(), default=self._taken)

    def close_soon(self) -> None:
        """Send everything that comes from now on without delay."""
        self._closing = True
        self._wake.set()

    async def stop(self) -> None:
        """End the deliveries, wherever they are. Their events are in `leftover` then."""
        if self._task is not None:
            await self._task.stop()

    async def _run(self) -> None:
        slots = anyio.Semaphore(self._settings.concurrency)
        try:
            async with anyio.create_task_group() as deliveries:
                while True:
                    await slots.acquire()
                    batch: list[Record] = []
                    while not batch:
                        await self._wait_until_due()
                        batch = await self._take()
                    number = self._taken
                    self._open_batches[number] = number
                    self._taken += len(batch)
                    self.in_flight += len(batch)
                    self._due_since = anyio.current_time()
                    deliveries.start_soon(self._deliver, batch, number, slots)
        except Exception as error:
            # Not raised: nothing waits for this task, and trio would end the program.
            logger.exception("capture: sending has ended by an error of asyncposthog")
            self.failure = error
        finally:
            self.dead = True
            self._progress.set()
            if not self._closing and (count := self.queue.size + self.in_flight):
                logger.warning(
                    "capture: the event loop ended before the client was closed: %d events were "
                    "not sent. Use `async with AsyncPostHog()`, or call `await ph.aclose()`",
                    count,
                )

    async def _take(self) -> list[Record]:
        """Take the events of the next request; none if the spool cannot be read."""
        settings = self._settings
        try:
            return await self.queue.take(settings.max_batch_events, settings.max_batch_bytes)
        except PostHogError:
            logger.exception("capture: the events of the spool cannot be read; they stay there")
            await anyio.sleep(_READ_RETRY_DELAY)
            return []

    async def _wait_until_due(self) -> None:
        """Wait until there are enough events for a request, or they have waited long enough."""
        settings = self._settings
        while True:
            size = self.queue.size
            if size:
                if size >= settings.flush_at or self._closing or self._taken < self._flush_until:
                    return
                now = anyio.current_time()
                if self._due_since is None:
                    self._due_since = now
                remaining = self._due_since + settings.flush_interval - now
                if remaining <= 0:
                    return
            else:
                self._due_since, remaining = None, None
            self._wake = anyio.Event()
            with anyio.move_on_after(remaining):
                await self._wake.wait()

    async def _deliver(self, batch: list[Record], number: int, slots: anyio.Semaphore) -> None:
        outcomes: list[Outcome] = []
        try:
            try:
                await self._delivery.deliver(
                    batch,
                    outcomes.append,
                    lane=self._lane,
                    historical=self._settings.historical,
                    max_retries=self._settings.max_retries,
                )
            except Exception as error:
                logger.exception("capture: a request failed unexpectedly")
                rest = _without(batch, outcomes)
                detail = f"{type(error).__name__}: {error}"
                outcomes.append(Outcome(rest, "failed", "internal_error", detail))
            await self._settle(outcomes)
        finally:
            settled = [outcome for outcome in outcomes if outcome.reason != "closed"]
            for outcome in settled:
                self._counters.record(outcome)
            self.leftover += _without(batch, settled)
            self.in_flight -= len(batch)
            del self._open_batches[number]
            slots.release()
            self._progress.set()

    async def _settle(self, outcomes: Sequence[Outcome]) -> None:
        settled = [outcome for outcome in outcomes if outcome.reason != "closed"]
        try:
            await self.queue.settle([r for outcome in settled for r in outcome.records])
        except PostHogError:
            # The file has them still, so they are sent again at the next start.
            logger.exception("capture: events that were sent cannot be removed from the spool")
        for lost in _merged(outcome for outcome in settled if outcome.reason is not None):
            await tell_lost(self._settings, lost)


def _merged(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return one outcome for all events that were lost for the same reason."""
    merged: dict[tuple[object, object], Outcome] = {}
    for outcome in outcomes:
        key = (outcome.reason, outcome.detail)
        first = merged.get(key)
        records = outcome.records if first is None else [*first.records, *outcome.records]
        merged[key] = replace(outcome, records=records)
    return [*merged.values()]


def _without(batch: Sequence[Record], outcomes: Sequence[Outcome]) -> list[Record]:
    """Return the events of a batch that no outcome is about."""
    if sum(len(outcome.records) for outcome in outcomes) == len(batch):
        return []
    done = {record.uuid for outcome in outcomes for record in outcome.records}
    return [record for record in batch if record.uuid not in done]


async def tell_lost(settings: CaptureSettings, outcome: Outcome) -> None:
    """Report events that were given up to the log and to `on_error`."""
    logger.warning(
        "capture: %d events were given up: %s%s",
        len(outcome.records),
        outcome.reason,
        f" ({outcome.detail})" if outcome.detail else "",
    )
    if settings.on_error is None:
        return
    lost = LostEvents(
        outcome.reason or "internal_error",
        outcome.detail,
        outcome.error,
        tuple(record.body for record in outcome.records),
    )
    try:
        result = settings.on_error(lost)
        if inspect.isawaitable(result):
            await result
    except Exception:
        logger.exception("capture: on_error failed")
