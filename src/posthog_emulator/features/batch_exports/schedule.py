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
    "ACTIVE",
    "EXPORTS",
    "LENGTHS",
    "WEEKDAYS",
    "ExportInterval",
    "PendingBackfill",
    "advance",
    "begin",
    "cancelled",
    "due_of",
    "read",
    "schedule",
    "written",
]

LENGTHS: Final = {
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
    def of(cls, export: Mapping[str, Any]) -> ExportInterval:
        """That of a batch export."""
        return cls(
            str(export["interval"]),
            export.get("timezone") or "UTC",
            export.get("offset_day") or 0,
            export.get("offset_hour") or 0,
        )

    @property
    def dated(self) -> bool:
        """Whether it goes by days, which are not all of one length."""
        return self.interval in {"day", "week"}

    def begins(self, day: date) -> datetime:
        """When a day, or a week, begins."""
        zone = ZoneInfo(self.timezone)
        return datetime.combine(day, time(self.offset_hour), zone).astimezone(UTC)

    def before(self, moment: datetime) -> datetime:
        """The latest boundary that is not after a moment."""
        if not self.dated:
            length = LENGTHS[self.interval]
            epoch = datetime(1970, 1, 1, tzinfo=UTC)
            return epoch + (moment.astimezone(UTC) - epoch) // length * length
        day = moment.astimezone(ZoneInfo(self.timezone)).date()
        if self.interval == "week":
            day -= timedelta(days=((day - _SUNDAY).days - self.offset_day) % 7)
        step = 1 if self.interval == "day" else 7
        while self.begins(day) > moment:
            day -= timedelta(days=step)
        return self.begins(day)

    def after(self, boundary: datetime) -> datetime:
        """The boundary that follows one."""
        if not self.dated:
            return boundary + LENGTHS[self.interval]
        day = boundary.astimezone(ZoneInfo(self.timezone)).date()
        return self.begins(day + LENGTHS[self.interval])

    def stretches(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Every stretch from one boundary to the next that lies between two moments.

        One that begins before `start` is left out, as is one that ends after `end`.
        """
        edge = self.before(start)
        if edge < start:
            edge = self.after(edge)
        while (following := self.after(edge)) <= end:
            yield edge, following
            edge = following


EXPORTS: Final = "/api/projects/{}/batch_exports/"
ACTIVE: Final = frozenset({"Starting", "Running"})
_MOST: Final = 5_000
"""How many runs of one export come at a time, however far the clock went on."""


@dataclass(slots=True)
class PendingBackfill:
    """A backfill under way: which runs are to come, and when."""

    began: datetime
    stretches: list[tuple[datetime, datetime]]
    started: int = 0
    over: bool = False


@dataclass(slots=True)
class _State:
    """What is known of exports beyond what the API shows."""

    next: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """Up to where each export's runs have come."""
    backfills: dict[str, PendingBackfill] = field(default_factory=dict[str, PendingBackfill])
    begun: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When each run that is not over began."""


def _state(state: EmulatorState) -> _State:
    held: _State | None = state.extensions.get("batch_exports")
    if held is None:
        held = state.extensions["batch_exports"] = _State()
    return held


def schedule(state: EmulatorState, row: StoredObject, *, since: datetime | None = None) -> None:
    """Let the runs of an export come from now on, or from earlier."""
    _state(state).next[row.key] = since or state.settings.clock()


def due_of(state: EmulatorState, key: str) -> PendingBackfill | None:
    """A backfill's runs, if it was asked for by the API."""
    return _state(state).backfills.get(key)


def begin(state: EmulatorState, key: str, stretches: list[tuple[datetime, datetime]]) -> None:
    """Let the runs of a backfill come, one after the other."""
    _state(state).backfills[key] = PendingBackfill(state.settings.clock(), stretches)


def advance(state: EmulatorState, project: str, row: StoredObject) -> None:
    """Let everything happen to an export that has become due by now."""
    export, exports_state = row.data, _state(state)
    address = f"{EXPORTS.format(project)}{row.key}/"
    now, since = state.settings.clock(), exports_state.next.get(row.key)
    runs = state.store.collection(f"{address}runs/")
    if since is not None and not export.get("paused"):
        rhythm = ExportInterval.of(export)
        for start, end in _coming(rhythm, since, min(now, read(export.get("end_at")) or now)):
            begins = read(export.get("start_at"))
            if begins is None or start >= begins:
                _run(state, row, address, start, end, end, None)
            exports_state.next[row.key] = end
    for backfill in list(state.store.collection(f"{address}backfills/")):
        _advance_backfill(state, row, address, backfill)
    for run in runs:
        _settle(state, int(project), row, run)
    newest = sorted(runs, key=lambda one: str(one.data.get("created_at")), reverse=True)
    export["latest_runs"] = [run.data for run in newest[:10]]


def _coming(
    rhythm: ExportInterval, since: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The stretches that ended after one moment and not after another; the latest of them."""
    edge = rhythm.before(since)
    found: list[tuple[datetime, datetime]] = []
    while (following := rhythm.after(edge)) <= until:
        found.append((edge, following))
        edge = following
    yield from found[-_MOST:]


def _advance_backfill(
    state: EmulatorState, export: StoredObject, address: str, backfill: StoredObject
) -> None:
    due = due_of(state, backfill.key)
    if due is None or due.over:
        return
    seconds, now = state.settings.export_seconds, state.settings.clock()
    passed = (now - due.began).total_seconds()
    total = len(due.stretches)
    begun = total if seconds <= 0 else min(total, int(passed / seconds) + 1)
    for place in range(due.started, begun):
        start, end = due.stretches[place]
        at = due.began + timedelta(seconds=place * seconds)
        _run(state, export, address, start, end, at, backfill.key)
    due.started = begun
    data, finished = backfill.data, passed >= total * seconds
    data["status"] = "Completed" if finished else "Running" if passed > 0 else "Starting"
    done = total if finished else min(total, int(passed / seconds)) if seconds > 0 else total
    share = round(done / total, 1) if total else 1.0
    data["progress"] = {"total_runs": total, "finished_runs": done, "progress": share}
    data["last_updated_at"] = written(now)
    if finished:
        due.over = True
        ended = due.began + timedelta(seconds=total * seconds)
        data["finished_at"] = written(ended)


def _run(
    state: EmulatorState,
    export: StoredObject,
    address: str,
    start: datetime,
    end: datetime,
    at: datetime,
    backfill: str | None,
) -> None:
    key, moment = state.uuid(), written(at)
    data: dict[str, Any] = {
        "id": key,
        "batch_export": export.key,
        "backfill": backfill,
        "status": "Starting",
        "data_interval_start": written(start),
        "data_interval_end": written(end),
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
    _state(state).begun[key] = at


def _settle(state: EmulatorState, team_id: int, export: StoredObject, run: StoredObject) -> None:
    """Bring a run to the state it has by now."""
    exports_state, settings = _state(state), state.settings
    at = exports_state.begun.get(run.key)
    if at is None or run.data["status"] not in ACTIVE:
        return
    passed = (settings.clock() - at).total_seconds()
    if passed < settings.export_seconds:
        run.data["status"] = "Running" if passed > 0 else "Starting"
        return
    del exports_state.begun[run.key]
    ended = written(at + timedelta(seconds=settings.export_seconds))
    run.data |= {"finished_at": ended, "last_updated_at": ended}
    if settings.export_error is not None:
        run.data |= {"status": "Failed", "latest_error": settings.export_error}
        return
    rows = files.count(state.events, _selection(team_id, export.data, run.data))
    run.data |= {
        "status": "Completed",
        "records_completed": rows,
        "records_failed": 0,
        "records_total_count": rows,
    }


def _selection(team_id: int, export: dict[str, Any], run: dict[str, Any]) -> files.Selection:
    config = as_object(as_object(export.get("destination")).get("config"))
    start, end = read(run["data_interval_start"]), read(run["data_interval_end"])
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
        past=run["backfill"] is not None,
    )


def cancelled(
    state: EmulatorState, row: StoredObject, bucket: ObjectCollection | None = None
) -> Response:
    """Cancel a run, or a backfill with those of its runs that are not over."""
    now = written(state.settings.clock())
    ended = {"status": "Cancelled", "finished_at": now, "last_updated_at": now}
    row.data |= ended
    due = due_of(state, row.key)
    if due is not None:
        due.over = True
        row.data["progress"] = None
    for run in bucket or ():
        if run.data.get("backfill") == row.key and run.data["status"] in ACTIVE:
            run.data |= ended
    return json_response(200, {"cancelled": True})


def read(text: Any) -> datetime | None:
    """The moment a field holds; None for none."""
    if not text:
        return None
    moment = datetime.fromisoformat(str(text))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def written(moment: datetime) -> str:
    """A moment as the server writes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
