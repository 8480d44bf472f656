"""When a scheduled export runs, and for which stretch of time."""

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

from . import files

__all__ = [
    "ACTIVE_STATUSES",
    "EXPORTS",
    "INTERVALS",
    "WEEKDAYS",
    "ExportInterval",
    "PendingBackfill",
    "cancel",
    "format_timestamp",
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


@dataclass(frozen=True, slots=True)
class ExportInterval:
    """How often, and where days and weeks begin."""

    interval: str
    timezone: str = "UTC"
    offset_day: int = 0
    """The day weeks begin with; 0 is Sunday."""
    offset_hour: int = 0
    """The hour days and weeks begin at."""

    @classmethod
    def from_export(cls, export: Mapping[str, Any]) -> ExportInterval:
        """That of a batch export."""
        return cls(
            str(export["interval"]),
            export.get("timezone") or "UTC",
            export.get("offset_day") or 0,
            export.get("offset_hour") or 0,
        )

    @property
    def is_calendar_based(self) -> bool:
        """Whether it goes by days, which are not all of one length."""
        return self.interval in {"day", "week"}

    def start_of(self, day: date) -> datetime:
        """When a day, or a week, begins."""
        zone = ZoneInfo(self.timezone)
        return datetime.combine(day, time(self.offset_hour), zone).astimezone(UTC)

    def boundary_at_or_before(self, moment: datetime) -> datetime:
        """The latest boundary that is not after a moment."""
        if not self.is_calendar_based:
            length = INTERVALS[self.interval]
            epoch = datetime(1970, 1, 1, tzinfo=UTC)
            return epoch + (moment.astimezone(UTC) - epoch) // length * length
        day = moment.astimezone(ZoneInfo(self.timezone)).date()
        if self.interval == "week":
            day -= timedelta(days=((day - _SUNDAY).days - self.offset_day) % 7)
        step = 1 if self.interval == "day" else 7
        while self.start_of(day) > moment:
            day -= timedelta(days=step)
        return self.start_of(day)

    def next_boundary(self, boundary: datetime) -> datetime:
        """The boundary that follows one."""
        if not self.is_calendar_based:
            return boundary + INTERVALS[self.interval]
        day = boundary.astimezone(ZoneInfo(self.timezone)).date()
        return self.start_of(day + INTERVALS[self.interval])

    def periods(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Every stretch from one boundary to the next that lies between two moments.

        One that begins before `start` is left out, as is one that ends after `end`.
        """
        edge = self.boundary_at_or_before(start)
        if edge < start:
            edge = self.next_boundary(edge)
        while (following := self.next_boundary(edge)) <= end:
            yield edge, following
            edge = following


EXPORTS: Final = "/api/projects/{}/batch_exports/"
ACTIVE_STATUSES: Final = frozenset({"Starting", "Running"})
_MAX_RUNS: Final = 5_000
"""How many runs of one export come at a time, however far the clock went on."""


@dataclass(slots=True)
class PendingBackfill:
    """A backfill under way: which runs are to come, and when."""

    started_at: datetime
    periods: list[tuple[datetime, datetime]]
    runs_started: int = 0
    is_finished: bool = False


@dataclass(slots=True)
class _ScheduleState:
    """What is known of exports beyond what the API shows."""

    scheduled_until: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """Up to where each export's runs have come."""
    backfills: dict[str, PendingBackfill] = field(default_factory=dict[str, PendingBackfill])
    run_started_at: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When each run that is not over began."""


def _state(state: EmulatorState) -> _ScheduleState:
    held: _ScheduleState | None = state.extensions.get("batch_exports")
    if held is None:
        held = state.extensions["batch_exports"] = _ScheduleState()
    return held


def start_schedule(
    state: EmulatorState, row: StoredObject, *, since: datetime | None = None
) -> None:
    """Let the runs of an export come from now on, or from earlier."""
    _state(state).scheduled_until[row.key] = since or state.settings.clock()


def pending_backfill(state: EmulatorState, key: str) -> PendingBackfill | None:
    """A backfill's runs, if it was asked for by the API."""
    return _state(state).backfills.get(key)


def start_backfill(
    state: EmulatorState, key: str, periods: list[tuple[datetime, datetime]]
) -> None:
    """Let the runs of a backfill come, one after the other."""
    _state(state).backfills[key] = PendingBackfill(state.settings.clock(), periods)


def run_due(state: EmulatorState, project: str, row: StoredObject) -> None:
    """Let everything happen to an export that has become due by now."""
    export, scheduled = row.data, _state(state)
    address = f"{EXPORTS.format(project)}{row.key}/"
    now, since = state.settings.clock(), scheduled.scheduled_until.get(row.key)
    runs = state.store.collection(f"{address}runs/")
    if since is not None and not export.get("paused"):
        rhythm = ExportInterval.from_export(export)
        for start, end in _due_periods(
            rhythm, since, min(now, parse_timestamp(export.get("end_at")) or now)
        ):
            begins = parse_timestamp(export.get("start_at"))
            if begins is None or start >= begins:
                _add_run(state, row, address, start, end, end, None)
            scheduled.scheduled_until[row.key] = end
    for backfill in list(state.store.collection(f"{address}backfills/")):
        _advance_backfill(state, row, address, backfill)
    for run in runs:
        _update_run(state, int(project), row, run)
    newest = sorted(runs, key=lambda one: str(one.data.get("created_at")), reverse=True)
    export["latest_runs"] = [run.data for run in newest[:10]]


def _due_periods(
    rhythm: ExportInterval, since: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The stretches that ended after one moment and not after another; the latest of them."""
    edge = rhythm.boundary_at_or_before(since)
    found: list[tuple[datetime, datetime]] = []
    while (following := rhythm.next_boundary(edge)) <= until:
        found.append((edge, following))
        edge = following
    yield from found[-_MAX_RUNS:]


def _advance_backfill(
    state: EmulatorState, export: StoredObject, address: str, backfill: StoredObject
) -> None:
    due = pending_backfill(state, backfill.key)
    if due is None or due.is_finished:
        return
    seconds, now = state.settings.export_seconds, state.settings.clock()
    passed = (now - due.started_at).total_seconds()
    total = len(due.periods)
    begun = total if seconds <= 0 else min(total, int(passed / seconds) + 1)
    for place in range(due.runs_started, begun):
        start, end = due.periods[place]
        at = due.started_at + timedelta(seconds=place * seconds)
        _add_run(state, export, address, start, end, at, backfill.key)
    due.runs_started = begun
    data, finished = backfill.data, passed >= total * seconds
    data["status"] = "Completed" if finished else "Running" if passed > 0 else "Starting"
    done = total if finished else min(total, int(passed / seconds)) if seconds > 0 else total
    share = round(done / total, 1) if total else 1.0
    data["progress"] = {"total_runs": total, "finished_runs": done, "progress": share}
    data["last_updated_at"] = format_timestamp(now)
    if finished:
        due.is_finished = True
        ended = due.started_at + timedelta(seconds=total * seconds)
        data["finished_at"] = format_timestamp(ended)


def _add_run(
    state: EmulatorState,
    export: StoredObject,
    address: str,
    start: datetime,
    end: datetime,
    created_at: datetime,
    backfill: str | None,
) -> None:
    key, moment = state.uuid(), format_timestamp(created_at)
    data: dict[str, Any] = {
        "id": key,
        "batch_export": export.key,
        "backfill": backfill,
        "status": "Starting",
        "data_interval_start": format_timestamp(start),
        "data_interval_end": format_timestamp(end),
        "created_at": moment,
        "last_updated_at": moment,
        "finished_at": None,
        "cursor": None,
        "latest_error": None,
        "records_completed": None,
        "records_failed": None,
        "records_total_count": None,
        "bytes_exported": None,
    }
    state.store.put(f"{address}runs/", key, data)
    _state(state).run_started_at[key] = created_at


def _update_run(
    state: EmulatorState, team_id: int, export: StoredObject, run: StoredObject
) -> None:
    """Bring a run to the state it has by now."""
    scheduled, settings = _state(state), state.settings
    at = scheduled.run_started_at.get(run.key)
    if at is None or run.data["status"] not in ACTIVE_STATUSES:
        return
    passed = (settings.clock() - at).total_seconds()
    if passed < settings.export_seconds:
        run.data["status"] = "Running" if passed > 0 else "Starting"
        return
    del scheduled.run_started_at[run.key]
    ended = format_timestamp(at + timedelta(seconds=settings.export_seconds))
    run.data |= {"finished_at": ended, "last_updated_at": ended}
    if settings.export_error is not None:
        run.data |= {"status": "Failed", "latest_error": settings.export_error}
        return
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
    """Cancel a run, or a backfill with those of its runs that are not over."""
    now = format_timestamp(state.settings.clock())
    ended = {"status": "Cancelled", "finished_at": now, "last_updated_at": now}
    row.data |= ended
    due = pending_backfill(state, row.key)
    if due is not None:
        due.is_finished = True
        row.data["progress"] = None
    for run in runs or ():
        if run.data.get("backfill") == row.key and run.data["status"] in ACTIVE_STATUSES:
            run.data |= ended
    return json_response(200, {"cancelled": True})


def parse_timestamp(text: Any) -> datetime | None:
    """The moment a field holds; None for none."""
    if not text:
        return None
    moment = datetime.fromisoformat(str(text))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def format_timestamp(moment: datetime) -> str:
    """A moment as the server writes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
