"""Create and advance the runs and backfills of scheduled exports as the clock advances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.objects.store import ObjectCollection, StoredObject
from posthog_emulator.state import EmulatorState
from posthog_emulator.timestamps import format_utc

from . import files

__all__ = [
    "ACTIVE_STATUSES",
    "EXPORTS",
    "INTERVALS",
    "WEEKDAYS",
    "ExportInterval",
    "PendingBackfill",
    "cancel",
    "parse_timestamp",
    "pending_backfill",
    "run_due",
    "start_backfill",
    "start_schedule",
]

INTERVALS: Final = {
    "every 5 minutes": timedelta(minutes=5),
    "every 15 minutes": timedelta(minutes=15),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
WEEKDAYS: Final = (
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
)  # fmt: skip
_SUNDAY: Final = date(2023, 1, 1)
"""Any Sunday: weeks are counted from it."""


@dataclass(frozen=True, slots=True)
class ExportInterval:
    """The interval of a batch export, with the start of its days and weeks."""

    interval: str
    timezone: str = "UTC"
    offset_day: int = 0
    """The first day of a week; 0 is Sunday."""
    offset_hour: int = 0
    """The hour at which days and weeks start."""

    @classmethod
    def from_export(cls, export: Mapping[str, Any]) -> ExportInterval:
        """Return the interval of a batch export object."""
        return cls(
            str(export["interval"]),
            export.get("timezone") or "UTC",
            export.get("offset_day") or 0,
            export.get("offset_hour") or 0,
        )

    @property
    def is_calendar_based(self) -> bool:
        """Whether periods are calendar days or weeks, whose length in hours varies with DST."""
        return self.interval in {"day", "week"}

    def start_of(self, day: date) -> datetime:
        """Return the start of a day, or of the week that starts on it, in UTC."""
        zone = ZoneInfo(self.timezone)
        return datetime.combine(day, time(self.offset_hour), zone).astimezone(UTC)

    def boundary_at_or_before(self, timestamp: datetime) -> datetime:
        """Return the latest boundary that is not after a timestamp."""
        if not self.is_calendar_based:
            length = INTERVALS[self.interval]
            epoch = datetime(1970, 1, 1, tzinfo=UTC)
            return epoch + (timestamp.astimezone(UTC) - epoch) // length * length
        # Days and weeks are counted in the export's time zone, where they may have 23 or 25
        # hours; only shorter intervals can be computed in UTC.
        day = timestamp.astimezone(ZoneInfo(self.timezone)).date()
        if self.interval == "week":
            day -= timedelta(days=((day - _SUNDAY).days - self.offset_day) % 7)
        step = 1 if self.interval == "day" else 7
        # With an offset hour, the day may not have started yet at this time.
        while self.start_of(day) > timestamp:
            day -= timedelta(days=step)
        return self.start_of(day)

    def next_boundary(self, boundary: datetime) -> datetime:
        """Return the boundary after the given one."""
        if not self.is_calendar_based:
            return boundary + INTERVALS[self.interval]
        day = boundary.astimezone(ZoneInfo(self.timezone)).date()
        return self.start_of(day + INTERVALS[self.interval])

    def periods(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the periods between adjacent boundaries that lie within `start` and `end`.

        Periods that start before `start` or end after `end` are left out.
        """
        boundary = self.boundary_at_or_before(start)
        if boundary < start:
            boundary = self.next_boundary(boundary)
        while (following := self.next_boundary(boundary)) <= end:
            yield boundary, following
            boundary = following


EXPORTS: Final = "/api/projects/{}/batch_exports/"
ACTIVE_STATUSES: Final = frozenset({"Starting", "Running"})
_MAX_RUNS: Final = 5_000
"""Maximum number of runs created at once, however far the clock was advanced."""


@dataclass(slots=True)
class PendingBackfill:
    """A backfill, with the periods of its runs."""

    started_at: datetime
    periods: list[tuple[datetime, datetime]]
    runs_started: int = 0
    is_finished: bool = False


@dataclass(slots=True)
class _ScheduleState:
    """Schedule data that the API does not show."""

    scheduled_until: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """By export: the end of the last period that has a run."""
    backfills: dict[str, PendingBackfill] = field(default_factory=dict[str, PendingBackfill])
    run_started_at: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """By run: the start of each active run."""


def _schedule_state(state: EmulatorState) -> _ScheduleState:
    return state.extensions.setdefault("batch_exports", _ScheduleState())


def start_schedule(
    state: EmulatorState, row: StoredObject, *, since: datetime | None = None
) -> None:
    """Start the runs of an export, from now or from `since`."""
    _schedule_state(state).scheduled_until[row.key] = since or state.settings.clock()


def pending_backfill(state: EmulatorState, key: str) -> PendingBackfill | None:
    """Return the runs of a backfill; None if it was not created by the API."""
    return _schedule_state(state).backfills.get(key)


def start_backfill(
    state: EmulatorState, key: str, periods: list[tuple[datetime, datetime]]
) -> None:
    """Start the runs of a backfill, one after the other."""
    _schedule_state(state).backfills[key] = PendingBackfill(state.settings.clock(), periods)


def run_due(state: EmulatorState, project: str, row: StoredObject) -> None:
    """Create and advance all runs of an export that are due."""
    # There is no background task: every read of an export brings its runs up to date.
    export, scheduled = row.data, _schedule_state(state)
    address = f"{EXPORTS.format(project)}{row.key}/"
    now, since = state.settings.clock(), scheduled.scheduled_until.get(row.key)
    runs = state.store.collection(f"{address}runs/")
    if since is not None and not export.get("paused"):
        interval = ExportInterval.from_export(export)
        for start, end in _due_periods(
            interval, since, min(now, parse_timestamp(export.get("end_at")) or now)
        ):
            start_at = parse_timestamp(export.get("start_at"))
            if start_at is None or start >= start_at:
                _add_run(state, row, address, start, end, end, None)
            scheduled.scheduled_until[row.key] = end
    # Before the runs below: a backfill creates runs, which may be due at once.
    for backfill in list(state.store.collection(f"{address}backfills/")):
        _advance_backfill(state, row, address, backfill)
    for run in runs:
        _update_run(state, int(project), row, run)
    newest = sorted(runs, key=lambda run: str(run.data.get("created_at")), reverse=True)
    export["latest_runs"] = [run.data for run in newest[:10]]


def _due_periods(
    interval: ExportInterval, since: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield the latest periods that ended after `since` and not after `until`."""
    boundary = interval.boundary_at_or_before(since)
    periods: list[tuple[datetime, datetime]] = []
    while (following := interval.next_boundary(boundary)) <= until:
        periods.append((boundary, following))
        boundary = following
    # After a jump of the clock by years only the latest runs are of interest.
    yield from periods[-_MAX_RUNS:]


def _advance_backfill(
    state: EmulatorState, export: StoredObject, address: str, backfill: StoredObject
) -> None:
    pending = pending_backfill(state, backfill.key)
    if pending is None or pending.is_finished:
        return
    seconds, now = state.settings.export_seconds, state.settings.clock()
    elapsed = (now - pending.started_at).total_seconds()
    total = len(pending.periods)
    # Runs follow one another without a gap: run n starts n times the duration after the first.
    runs_due = total if seconds <= 0 else min(total, int(elapsed / seconds) + 1)
    for position in range(pending.runs_started, runs_due):
        start, end = pending.periods[position]
        at = pending.started_at + timedelta(seconds=position * seconds)
        _add_run(state, export, address, start, end, at, backfill.key)
    pending.runs_started = runs_due
    data, finished = backfill.data, elapsed >= total * seconds
    data["status"] = "Completed" if finished else "Running" if elapsed > 0 else "Starting"
    done = total if finished else min(total, int(elapsed / seconds)) if seconds > 0 else total
    share = round(done / total, 1) if total else 1.0
    data["progress"] = {"total_runs": total, "finished_runs": done, "progress": share}
    data["last_updated_at"] = format_utc(now)
    if finished:
        pending.is_finished = True
        finished_at = pending.started_at + timedelta(seconds=total * seconds)
        data["finished_at"] = format_utc(finished_at)


def _add_run(
    state: EmulatorState,
    export: StoredObject,
    address: str,
    start: datetime,
    end: datetime,
    created_at: datetime,
    backfill: str | None,
) -> None:
    key, timestamp = state.uuid(), format_utc(created_at)
    data: dict[str, Any] = {
        "id": key,
        "batch_export": export.key,
        "backfill": backfill,
        "status": "Starting",
        "data_interval_start": format_utc(start),
        "data_interval_end": format_utc(end),
        "created_at": timestamp,
        "last_updated_at": timestamp,
        "finished_at": None,
        "cursor": None,
        "latest_error": None,
        "records_completed": None,
        "records_failed": None,
        "records_total_count": None,
        "bytes_exported": None,
    }
    state.store.put(f"{address}runs/", key, data)
    _schedule_state(state).run_started_at[key] = created_at


def _update_run(
    state: EmulatorState, team_id: int, export: StoredObject, run: StoredObject
) -> None:
    """Update the status of a run for the current time."""
    scheduled, settings = _schedule_state(state), state.settings
    at = scheduled.run_started_at.get(run.key)
    if at is None or run.data["status"] not in ACTIVE_STATUSES:
        return
    elapsed = (settings.clock() - at).total_seconds()
    if elapsed < settings.export_seconds:
        run.data["status"] = "Running" if elapsed > 0 else "Starting"
        return
    # Finished: from now on the run is never looked at again.
    del scheduled.run_started_at[run.key]
    finished_at = format_utc(at + timedelta(seconds=settings.export_seconds))
    run.data |= {"finished_at": finished_at, "last_updated_at": finished_at}
    if settings.export_error is not None:
        run.data |= {"status": "Failed", "latest_error": settings.export_error}
        return
    # Scheduled exports write no files: only the number of rows is visible through the API.
    rows = files.count_rows(state.events, _selection(team_id, export.data, run.data))
    run.data |= {
        "status": "Completed",
        "records_completed": rows,
        "records_failed": 0,
        "records_total_count": rows,
    }


def _selection(team_id: int, export: dict[str, Any], run: dict[str, Any]) -> files.Selection:
    config = as_object(as_object(export.get("destination")).get("config"))
    start, end = (
        parse_timestamp(run["data_interval_start"]),
        parse_timestamp(run["data_interval_end"]),
    )
    assert start is not None
    assert end is not None
    include, exclude = config.get("include_events"), config.get("exclude_events")
    return files.Selection(
        team_id,
        str(export.get("model") or "events"),
        start,
        end,
        include if is_array(include) else (),
        exclude if is_array(exclude) else (),
        by_timestamp=run["backfill"] is not None,
    )


def cancel(
    state: EmulatorState, row: StoredObject, runs: ObjectCollection | None = None
) -> Response:
    """Cancel a run, or a backfill together with its active runs."""
    now = format_utc(state.settings.clock())
    cancelled = {"status": "Cancelled", "finished_at": now, "last_updated_at": now}
    row.data |= cancelled
    pending = pending_backfill(state, row.key)
    if pending is not None:
        pending.is_finished = True
        row.data["progress"] = None
    for run in runs or ():
        if run.data.get("backfill") == row.key and run.data["status"] in ACTIVE_STATUSES:
            run.data |= cancelled
    return json_response(200, {"cancelled": True})


def parse_timestamp(text: Any) -> datetime | None:
    """Parse the timestamp of a field; None if it is empty."""
    if not text:
        return None
    timestamp = datetime.fromisoformat(str(text))
    return timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
