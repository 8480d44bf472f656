"""`ph.export.schedule`: PostHog exports by itself, from now on, and what was before if asked to."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast
from zoneinfo import ZoneInfo

from asyncposthog import errors
from asyncposthog.core.executor import Executor
from asyncposthog.errors import ExportError, StatusError
from asyncposthog.resources.batch_exports import BatchExports
from asyncposthog.types import JSON, OMIT, RequestOptions

from .destinations import Destination, as_destination

if TYPE_CHECKING:
    from asyncposthog import models as m
    from asyncposthog.pagination import Cursor

__all__ = ["Backfill", "BackfillProgress", "Interval", "ScheduledExport", "schedule"]

Interval: TypeAlias = Literal["hour", "day", "week", "every 5 minutes", "every 15 minutes"]
Model: TypeAlias = Literal["events", "persons", "sessions"]

_UNDER_WAY: Final = frozenset({"Starting", "Running"})
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 30.0
_WEEKDAYS: Final = (
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillProgress:
    """How far a backfill is. Given to `on_progress` after every look at it."""

    status: str
    """`Starting`, `Running`, `Completed`, …"""
    total_runs: int | None
    """How many runs it takes; None: not known yet."""
    finished_runs: int | None
    """How many of them are over."""
    elapsed: float
    """Seconds that were waited for it."""


OnProgress: TypeAlias = Callable[[BackfillProgress], Awaitable[object] | object]
"""Told how far a backfill is; a function or an async function."""


@dataclass(frozen=True, repr=False)
class Backfill:
    """A backfill that was begun."""

    id: str
    """Its UUID."""
    export: ScheduledExport
    """What it belongs to."""

    def __repr__(self) -> str:
        """Name it."""
        return f"<Backfill {self.id} of {self.export.name!r}>"

    async def get(self) -> m.BatchExportBackfill:
        """Return its state.

        Raises:
            PostHogError: It cannot be had.
        """
        return await self.export.resource.backfills.get(
            self.export.id, self.id, options=self.export.options
        )

    async def cancel(self) -> None:
        """Stop it.

        Raises:
            PostHogError: It is over, for one.
        """
        await self.export.resource.backfills.cancel(
            self.export.id, self.id, options=self.export.options
        )

    async def wait(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        on_progress: OnProgress | None = None,
    ) -> m.BatchExportBackfill:
        """Wait until it is complete.

        Args:
            timeout: Seconds to wait at most; None: as long as it takes. It goes on when they are
                over, and can be waited for again.
            on_progress: Told after every look at it.

        Returns:
            Its last state.

        Raises:
            ExportError: It failed or was cancelled.
            TimeoutError: It is not complete yet.
            PostHogError: Its state cannot be had.
        """
        clock = self.export.executor.transport.clock
        began, pause = clock.monotonic(), _FIRST_WAIT
        while True:
            state = await self.get()
            status, elapsed = str(state.status), clock.monotonic() - began
            if on_progress is not None:
                result = on_progress(_progress(state, elapsed))
                if inspect.isawaitable(result):
                    await result
            if status == "Completed":
                return state
            if status not in _UNDER_WAY:
                raise ExportError(
                    f"The backfill {self.id} of {self.export.name!r} ended as {status}.",
                    suggestion="See its runs: handle.runs(). Backfilling again repeats what "
                    "reached the destination already.",
                )
            left = None if timeout is None else timeout - elapsed
            if left is not None and left <= 0:
                raise errors.TimeoutError(
                    f"The backfill {self.id} of {self.export.name!r} is not complete after "
                    f"{timeout:g} s.",
                    operation="batch_exports.backfills.get",
                    suggestion="It goes on: wait again, with a longer timeout.",
                )
            await clock.sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.5, _LONGEST_WAIT)


@dataclass(frozen=True, repr=False)
class ScheduledExport:
    """An export that PostHog runs by itself."""

    record: m.BatchExport
    """What the server said of it when it was created or found."""
    executor: Executor
    options: RequestOptions | None = None
    created: bool = True
    """Whether it was created just now, rather than found."""
    backfilled: Backfill | None = None
    """The backfill that was asked for."""

    def __repr__(self) -> str:
        """Name it."""
        return f"<ScheduledExport {self.name!r} {self.id}>"

    @property
    def id(self) -> str:
        """Its UUID."""
        return str(self.record.id)

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.record.name)

    @property
    def resource(self) -> BatchExports:
        """The operations on batch exports."""
        return BatchExports(self.executor)

    async def get(self) -> m.BatchExport:
        """Return it as it is now, with its latest ten runs.

        Raises:
            PostHogError: It cannot be had.
        """
        return await self.resource.get(self.id, options=self.options)

    async def pause(self) -> None:
        """Stop its runs until `unpause`.

        Raises:
            PostHogError: The call failed.
        """
        await self.resource.pause(self.id, options=self.options)

    async def unpause(self, *, backfill: bool = False) -> None:
        """Let it run again.

        Args:
            backfill: Make up for the runs that were missed.

        Raises:
            PostHogError: The call failed.
        """
        await self.resource.unpause(self.id, backfill=backfill, options=self.options)

    def runs(self, *, after: datetime | None = None) -> Cursor[m.BatchExportRun]:
        """List its runs, the latest first.

        Args:
            after: Those created since then; by default the last seven days, as the server has it.
        """
        since = OMIT if after is None else _aware(after, "after").isoformat()
        return self.resource.runs.list(self.id, after=since, options=self.options)

    async def delete(self) -> None:
        """Delete it. What it exported stays where it is.

        Raises:
            PostHogError: The call failed.
        """
        await self.resource.delete(self.id, options=self.options)

    async def backfill(
        self, start: date | datetime, end: date | datetime | None = None
    ) -> Backfill:
        """Export what was before, again if it was exported already.

        Args:
            start: From when on: a date for exports by the day or week, for others a datetime with
                a zone.
            end: Until when; None: until now.

        Raises:
            ValueError, TypeError: They do not fit the export's interval.
            PostHogError: The call failed; when too many backfills are running, after waiting for
                a while.
        """
        first = _backfill_bound(self.record, start, "start")
        last = None if end is None else _backfill_bound(self.record, end, "end")
        clock, pause = self.executor.transport.clock, _FIRST_WAIT
        for attempt in range(_ATTEMPTS):
            try:
                begun = await self.resource.backfills.create(
                    self.id, start_at=first, end_at=last, options=self.options
                )
            except StatusError as error:
                if error.code != "too_many_concurrent_backfills" or attempt == _ATTEMPTS - 1:
                    raise
                await clock.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_WAIT)
            else:
                return Backfill(str(begun.backfill_id), self)
        raise AssertionError  # the last attempt returns or raises

    async def wait(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        on_progress: OnProgress | None = None,
    ) -> None:
        """Wait for the backfill that was asked for with the schedule; see `Backfill.wait`.

        Raises:
            ValueError: There was none.
            ExportError: It failed or was cancelled.
            TimeoutError: It is not complete yet.
        """
        if self.backfilled is None:
            raise ValueError(f"{self!r} has no backfill to wait for: give backfill_from, or use "
                             "handle.backfill()")  # fmt: skip
        await self.backfilled.wait(timeout=timeout, on_progress=on_progress)


_ATTEMPTS: Final = 60


async def schedule(
    executor: Executor,
    name: str,
    *,
    destination: Destination | Mapping[str, Any],
    interval: Interval,
    model: Model,
    events: Sequence[str] | None,
    exclude: Sequence[str] | None,
    filters: Sequence[Mapping[str, JSON]] | None,
    timezone: str | None,
    offset_hour: int | None,
    offset_day: int | None,
    backfill_from: date | datetime | None,
    if_exists: Literal["error", "reuse"],
    options: RequestOptions | None,
) -> ScheduledExport:
    """Create a scheduled export, or find it; see `Export.schedule`."""
    if not isinstance(cast("object", name), str) or not name.strip():
        raise ValueError("a scheduled export needs a name")
    if if_exists not in {"error", "reuse"}:
        raise ValueError(f"if_exists must be 'error' or 'reuse', not {if_exists!r}")
    target = as_destination(destination)
    wanted: dict[str, Any] = {
        "interval": interval,
        "model": model,
        "filters": OMIT if filters is None else [dict(one) for one in filters],
        "timezone": OMIT if timezone is None else timezone,
        "offset_hour": OMIT if offset_hour is None else offset_hour,
        "offset_day": OMIT if offset_day is None else offset_day,
    }
    if backfill_from is not None:
        # For its complaints, before anything is created.
        _edge_of(interval, timezone or "UTC", offset_day or 0, backfill_from, "backfill_from")
    resource = BatchExports(executor)
    body = target.body(_names(events, "events"), _names(exclude, "exclude"))
    found = await _find_by_name(resource, name, options)
    if found is None:
        record = await resource.create(name=name, destination=body, options=options, **wanted)
        handle = ScheduledExport(record, executor, options)
    else:
        if if_exists == "error":
            raise ExportError(
                f"There is a batch export named {name!r} already ({found.id}).",
                suggestion="Use if_exists='reuse' to go on with it, or choose another name.",
            )
        _check_same(found, wanted, body)
        handle = ScheduledExport(found, executor, options, created=False)
    if backfill_from is None:
        return handle
    begun = await _begun(handle, backfill_from) or await handle.backfill(backfill_from)
    return ScheduledExport(handle.record, executor, options, handle.created, begun)


async def _find_by_name(
    resource: BatchExports, name: str, options: RequestOptions | None
) -> m.BatchExport | None:
    async for one in resource.list(options=options):
        if one.name == name:
            return one
    return None


async def _begun(handle: ScheduledExport, start: date | datetime) -> Backfill | None:
    """Return a backfill from the same moment that need not be asked for a second time."""
    if handle.created:
        return None
    wanted = _moment(handle.record, start)
    async for one in handle.resource.backfills.list(handle.id, options=handle.options):
        begins = one.raw().get("start_at")
        if begins is None or datetime.fromisoformat(str(begins)) != wanted:
            continue
        if one.status in _UNDER_WAY or one.status == "Completed":
            return Backfill(str(one.id), handle)
    return None


def _check_same(
    found: m.BatchExport, wanted: Mapping[str, Any], destination: Mapping[str, Any]
) -> None:
    """Refuse to go on with an export that is another than asked for."""
    held = found.raw()
    own = cast("dict[str, Any]", held.get("destination") or {})
    config = cast("dict[str, Any]", own.get("config") or {})
    pairs = [(key, held.get(key), value) for key, value in wanted.items() if value is not OMIT]
    pairs.append(("destination type", own.get("type"), destination["type"]))
    # Secrets are not told, so a setting that is missing may still be the same.
    pairs += [
        (f"destination {key}", config[key], value)
        for key, value in cast("dict[str, Any]", destination["config"]).items()
        if key in config
    ]
    different = [f"{key} is {old!r}, not {new!r}" for key, old, new in pairs if old != new]
    if different:
        raise ExportError(
            f"The batch export {found.name!r} ({found.id}) is another than asked for: "
            f"{'; '.join(different)}.",
            suggestion="Change it with ph.batch_exports.update(), or choose another name.",
        )


def _names(given: Sequence[str] | None, what: str) -> list[str] | None:
    if given is None:
        return None
    if isinstance(given, str) or not all(isinstance(cast("object", one), str) for one in given):
        raise TypeError(f"{what} must be a list of names of events")
    return list(given)


def _backfill_bound(record: m.BatchExport, value: date | datetime, what: str) -> str:
    held = record.raw()
    return _edge_of(
        str(held["interval"]),
        str(held.get("timezone") or "UTC"),
        int(held.get("offset_day") or 0),
        value,
        what,
    )


def _edge_of(interval: str, zone: str, offset_day: int, value: object, what: str) -> str:
    """Return a backfill's beginning or end as the server wants it: a date, or a full date-time."""
    if interval not in {"day", "week"}:
        return _aware(value, what).isoformat()
    day = (
        _aware(value, what).astimezone(ZoneInfo(zone)).date()
        if isinstance(value, datetime)
        else value
    )
    if not isinstance(day, date):
        raise TypeError(f"{what} must be a date, not {type(value).__name__}")
    ahead = (day.isoweekday() - offset_day) % 7
    if interval == "week" and ahead:
        raise ValueError(
            f"{what} must be a {_WEEKDAYS[offset_day]}, the day on which the export's weeks begin; "
            f"the one before {day} is {day - timedelta(days=ahead)}"
        )
    return day.isoformat()


def _moment(record: m.BatchExport, value: date | datetime) -> datetime:
    """Return the moment that a backfill from a date or datetime begins at."""
    held = record.raw()
    if held["interval"] not in {"day", "week"}:
        return _aware(value, "backfill_from")
    zone = ZoneInfo(str(held.get("timezone") or "UTC"))
    day = value.astimezone(zone).date() if isinstance(value, datetime) else value
    return datetime(day.year, day.month, day.day, int(held.get("offset_hour") or 0), tzinfo=zone)


def _aware(value: object, what: str) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"{what} must be a datetime with a zone, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(f"{what} has no zone; give it one: value.replace(tzinfo=UTC)")
    return value


def _progress(state: m.BatchExportBackfill, elapsed: float) -> BackfillProgress:
    told = cast("dict[str, Any]", state.raw().get("progress") or {})
    total, finished = told.get("total_runs"), told.get("finished_runs")
    return BackfillProgress(
        status=str(state.status),
        total_runs=None if total is None else int(total),
        finished_runs=None if finished is None else int(finished),
        elapsed=elapsed,
    )
