"""`ph.export.schedule`: batch exports that PostHog runs on a schedule, and their backfills."""

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

from .destinations import Destination, parse_destination

if TYPE_CHECKING:
    from asyncposthog import models as m
    from asyncposthog.pagination import Cursor

__all__ = ["Backfill", "BackfillProgress", "Interval", "ScheduledExport", "schedule"]

Interval: TypeAlias = Literal["hour", "day", "week", "every 5 minutes", "every 15 minutes"]
Model: TypeAlias = Literal["events", "persons", "sessions"]

_RUNNING_STATUSES: Final = frozenset({"Starting", "Running"})
_MIN_WAIT, _MAX_WAIT = 2.0, 30.0
_WEEKDAYS: Final = (
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillProgress:
    """Progress of a backfill. Passed to `on_progress` after each request for its state."""

    status: str
    """`Starting`, `Running`, `Completed`, …"""
    total_runs: int | None
    """Number of runs that it takes; None: not known yet."""
    finished_runs: int | None
    """Number of runs that have ended."""
    elapsed: float
    """Seconds spent waiting for it."""


OnProgress: TypeAlias = Callable[[BackfillProgress], Awaitable[object] | object]
"""Receives the progress of a backfill; a function or an async function."""


@dataclass(frozen=True, repr=False)
class Backfill:
    """Handle of a backfill."""

    id: str
    """UUID of the backfill."""
    export: ScheduledExport
    """The batch export that it belongs to."""

    def __repr__(self) -> str:
        """Show the id and the name of the export."""
        return f"<Backfill {self.id} of {self.export.name!r}>"

    async def get(self) -> m.BatchExportBackfill:
        """Return the current state.

        `GET …/batch_exports/{batch_export_id}/backfills/{id}/`; scope `batch_export:read`.

        Raises:
            PostHogError: The request failed after all retries.
        """
        return await self.export.resource.backfills.get(
            self.export.id, self.id, options=self.export.options
        )

    async def cancel(self) -> None:
        """Cancel the backfill.

        Raises:
            PostHogError: The request failed, for example because the backfill has ended.
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
        """Wait until the backfill is complete.

        Args:
            timeout: Seconds to wait, at most; None: no limit. The backfill continues after that,
                and can be waited for again.
            on_progress: Called after each request for its state.

        Returns:
            The final state.

        Raises:
            ExportError: The backfill failed or was cancelled.
            TimeoutError: The backfill is not complete after `timeout` seconds.
            PostHogError: A request failed after all retries.
        """
        clock = self.export.executor.transport.clock
        started_at, pause = clock.monotonic(), _MIN_WAIT
        while True:
            state = await self.get()
            status, elapsed = str(state.status), clock.monotonic() - started_at
            if on_progress is not None:
                result = on_progress(_progress(state, elapsed))
                if inspect.isawaitable(result):
                    await result
            if status == "Completed":
                return state
            if status not in _RUNNING_STATUSES:
                raise ExportError(
                    f"The backfill {self.id} of {self.export.name!r} ended as {status}.",
                    suggestion="See its runs: handle.runs(). Another backfill exports "
                    "rows again that reached the destination.",
                )
            remaining = None if timeout is None else timeout - elapsed
            if remaining is not None and remaining <= 0:
                raise errors.TimeoutError(
                    f"The backfill {self.id} of {self.export.name!r} is not complete after "
                    f"{timeout:g} s.",
                    operation="batch_exports.backfills.get",
                    suggestion="It continues; wait again with a longer timeout.",
                )
            await clock.sleep(pause if remaining is None else min(pause, remaining))
            pause = min(pause * 1.5, _MAX_WAIT)


@dataclass(frozen=True, repr=False)
class ScheduledExport:
    """Handle of a batch export that PostHog runs on a schedule."""

    record: m.BatchExport
    """State of the batch export when it was created or found."""
    executor: Executor
    options: RequestOptions | None = None
    created: bool = True
    """Whether it was created by the call, rather than found."""
    initial_backfill: Backfill | None = None
    """The backfill that was requested with the schedule."""

    def __repr__(self) -> str:
        """Show the name and the id."""
        return f"<ScheduledExport {self.name!r} {self.id}>"

    @property
    def id(self) -> str:
        """UUID of the batch export."""
        return str(self.record.id)

    @property
    def name(self) -> str:
        """Name of the batch export."""
        return str(self.record.name)

    @property
    def resource(self) -> BatchExports:
        """The operations on batch exports."""
        return BatchExports(self.executor)

    async def get(self) -> m.BatchExport:
        """Return the current state, with the latest ten runs.

        Raises:
            PostHogError: The request failed after all retries.
        """
        return await self.resource.get(self.id, options=self.options)

    async def pause(self) -> None:
        """Pause the runs until `unpause`.

        Raises:
            PostHogError: The request failed after all retries.
        """
        await self.resource.pause(self.id, options=self.options)

    async def unpause(self, *, backfill: bool = False) -> None:
        """Continue the runs.

        Args:
            backfill: Also run what was missed while it was paused.

        Raises:
            PostHogError: The request failed after all retries.
        """
        await self.resource.unpause(self.id, backfill=backfill, options=self.options)

    def runs(self, *, after: datetime | None = None) -> Cursor[m.BatchExportRun]:
        """Return the runs, the latest first.

        Args:
            after: Only runs created since then; by default the last seven days, as on the server.
        """
        since = OMIT if after is None else _require_aware(after, "after").isoformat()
        return self.resource.runs.list(self.id, after=since, options=self.options)

    async def delete(self) -> None:
        """Delete the batch export. The exported data stays where it is.

        Raises:
            PostHogError: The request failed after all retries.
        """
        await self.resource.delete(self.id, options=self.options)

    async def backfill(
        self, start: date | datetime, end: date | datetime | None = None
    ) -> Backfill:
        """Export earlier data, again if it was exported before.

        Args:
            start: Start of the range: a date for exports by the day or week, for others a datetime
                with a time zone.
            end: End of the range; None: until now.

        Raises:
            ValueError, TypeError: The arguments do not suit the interval of the export.
            PostHogError: The request failed after all retries, also because too many backfills have
                been running for a while.
        """
        first = _backfill_bound(self.record, start, "start")
        last = None if end is None else _backfill_bound(self.record, end, "end")
        clock, pause = self.executor.transport.clock, _MIN_WAIT
        for attempt in range(_MAX_ATTEMPTS):
            try:
                created_backfill = await self.resource.backfills.create(
                    self.id, start_at=first, end_at=last, options=self.options
                )
            except StatusError as error:
                if error.code != "too_many_concurrent_backfills" or attempt == _MAX_ATTEMPTS - 1:
                    raise
                await clock.sleep(pause)
                pause = min(pause * 1.5, _MAX_WAIT)
            else:
                return Backfill(str(created_backfill.backfill_id), self)
        raise AssertionError  # the last attempt returns or raises

    async def wait(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        on_progress: OnProgress | None = None,
    ) -> None:
        """Wait for the backfill that was requested with the schedule; see `Backfill.wait`.

        Raises:
            ValueError: There was none.
            ExportError: The backfill failed or was cancelled.
            TimeoutError: The backfill is not complete after `timeout` seconds.
        """
        if self.initial_backfill is None:
            raise ValueError(f"{self!r} has no backfill to wait for: pass backfill_from=, or use "
                             "handle.backfill()")  # fmt: skip
        await self.initial_backfill.wait(timeout=timeout, on_progress=on_progress)


_MAX_ATTEMPTS: Final = 60


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
    """Create a batch export, or find it; see `Export.schedule`."""
    if not isinstance(cast("object", name), str) or not name.strip():
        raise ValueError("a scheduled export needs a name")
    if if_exists not in {"error", "reuse"}:
        raise ValueError(f"if_exists must be 'error' or 'reuse', not {if_exists!r}")
    target = parse_destination(destination)
    requested: dict[str, Any] = {
        "interval": interval,
        "model": model,
        "filters": OMIT if filters is None else [dict(item) for item in filters],
        "timezone": OMIT if timezone is None else timezone,
        "offset_hour": OMIT if offset_hour is None else offset_hour,
        "offset_day": OMIT if offset_day is None else offset_day,
    }
    if backfill_from is not None:
        # For its errors: before the batch export is created, which would remain without a backfill.
        _format_bound(interval, timezone or "UTC", offset_day or 0, backfill_from, "backfill_from")
    resource = BatchExports(executor)
    body = target.to_body(_event_names(events, "events"), _event_names(exclude, "exclude"))
    existing = await _find_by_name(resource, name, options)
    if existing is None:
        record = await resource.create(name=name, destination=body, options=options, **requested)
        handle = ScheduledExport(record, executor, options)
    else:
        if if_exists == "error":
            raise ExportError(
                f"A batch export named {name!r} already exists ({existing.id}).",
                suggestion="Use if_exists='reuse' to use it, or choose another name.",
            )
        _check_same(existing, requested, body)
        handle = ScheduledExport(existing, executor, options, created=False)
    if backfill_from is None:
        return handle
    created_backfill = await _existing_backfill(handle, backfill_from) or await handle.backfill(
        backfill_from
    )
    return ScheduledExport(handle.record, executor, options, handle.created, created_backfill)


async def _find_by_name(
    resource: BatchExports, name: str, options: RequestOptions | None
) -> m.BatchExport | None:
    async for item in resource.list(options=options):
        if item.name == name:
            return item
    return None


async def _existing_backfill(handle: ScheduledExport, start: date | datetime) -> Backfill | None:
    """Return a complete or running backfill from the same start, if there is one."""
    if handle.created:
        return None
    requested = _backfill_start(handle.record, start)
    async for item in handle.resource.backfills.list(handle.id, options=handle.options):
        start_at = item.raw().get("start_at")
        if start_at is None or datetime.fromisoformat(str(start_at)) != requested:
            continue
        if item.status in _RUNNING_STATUSES or item.status == "Completed":
            return Backfill(str(item.id), handle)
    return None


def _check_same(
    existing: m.BatchExport, requested: Mapping[str, Any], destination: Mapping[str, Any]
) -> None:
    """Check that an existing batch export has the requested settings.

    Raises:
        ExportError: A setting differs.
    """
    fields = existing.raw()
    current_destination = cast("dict[str, Any]", fields.get("destination") or {})
    config = cast("dict[str, Any]", current_destination.get("config") or {})
    comparisons = [
        (key, fields.get(key), value) for key, value in requested.items() if value is not OMIT
    ]
    comparisons.append(("destination type", current_destination.get("type"), destination["type"]))
    # The server does not return secrets, so a setting that is missing may still be the same.
    comparisons += [
        (f"destination {key}", config[key], value)
        for key, value in cast("dict[str, Any]", destination["config"]).items()
        if key in config
    ]
    different = [f"{key} is {old!r}, not {new!r}" for key, old, new in comparisons if old != new]
    if different:
        raise ExportError(
            f"The batch export {existing.name!r} ({existing.id}) has other settings: "
            f"{'; '.join(different)}.",
            suggestion="Change it with ph.batch_exports.update(), or choose another name.",
        )


def _event_names(names: Sequence[str] | None, name: str) -> list[str] | None:
    if names is None:
        return None
    if isinstance(names, str) or not all(isinstance(cast("object", item), str) for item in names):
        raise TypeError(f"{name} must be a list of event names")
    return list(names)


def _backfill_bound(record: m.BatchExport, value: date | datetime, name: str) -> str:
    fields = record.raw()
    return _format_bound(
        str(fields["interval"]),
        str(fields.get("timezone") or "UTC"),
        int(fields.get("offset_day") or 0),
        value,
        name,
    )


def _format_bound(interval: str, zone: str, offset_day: int, value: object, name: str) -> str:
    """Return the start or end of a backfill in the form of the API: a date, or a date and time."""
    if interval not in {"day", "week"}:
        return _require_aware(value, name).isoformat()
    day = (
        _require_aware(value, name).astimezone(ZoneInfo(zone)).date()
        if isinstance(value, datetime)
        else value
    )
    if not isinstance(day, date):
        raise TypeError(f"{name} must be a date, not {type(value).__name__}")
    days_ahead = (day.isoweekday() - offset_day) % 7
    if interval == "week" and days_ahead:
        raise ValueError(
            f"{name} must be a {_WEEKDAYS[offset_day]}, the day on which the export's weeks start; "
            f"the one before {day} is {day - timedelta(days=days_ahead)}"
        )
    return day.isoformat()


def _backfill_start(record: m.BatchExport, value: date | datetime) -> datetime:
    """Return the time at which a backfill from a date or datetime starts."""
    fields = record.raw()
    if fields["interval"] not in {"day", "week"}:
        return _require_aware(value, "backfill_from")
    zone = ZoneInfo(str(fields.get("timezone") or "UTC"))
    day = value.astimezone(zone).date() if isinstance(value, datetime) else value
    return datetime(day.year, day.month, day.day, int(fields.get("offset_hour") or 0), tzinfo=zone)


def _require_aware(value: object, name: str) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime with a time zone, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(f"{name} has no time zone; add one: value.replace(tzinfo=UTC)")
    return value


def _progress(state: m.BatchExportBackfill, elapsed: float) -> BackfillProgress:
    progress = cast("dict[str, Any]", state.raw().get("progress") or {})
    total, finished = progress.get("total_runs"), progress.get("finished_runs")
    return BackfillProgress(
        status=str(state.status),
        total_runs=None if total is None else int(total),
        finished_runs=None if finished is None else int(finished),
        elapsed=elapsed,
    )
