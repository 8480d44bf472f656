"""Event store: events, persons and groups in ClickHouse."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from random import Random
from threading import RLock
from typing import Any, Final

from pydantic_core import from_json

from posthog_emulator.clickhouse.engine import Cancellation, Database, open_database
from posthog_emulator.clickhouse.errors import ClickHouseError
from posthog_emulator.clickhouse.inserts import insert_columns
from posthog_emulator.clickhouse.json_rows import JsonRows, query_json
from posthog_emulator.retention import MIB, BoundedLog
from posthog_emulator.timestamps import to_micros

from .cohorts import CohortStore
from .ingest import Event, NewDefinition, ProjectEvents, parse_event
from .tables import COLUMNS, FORMAT, TABLES

__all__ = ["EVENTS_DIRECTORY", "EventStore"]

EVENTS_DIRECTORY: Final = "events"
"""Name of the directory with the tables in an emulator's state directory."""

# Many rows per insert make ingestion fast; the byte limit bounds memory when events are large.
_MAX_BUFFERED_ROWS: Final = 20_000
_MAX_BUFFERED_BYTES: Final = 32 * MIB
_MAX_BATCHES: Final = 5
"""Batches of events after which changed persons are written as well."""
_MAX_RECENT_BYTES: Final = 32 * MIB
_COLUMNS: Final = list(COLUMNS["events"])
_PROPERTIES: Final = _COLUMNS.index("properties")
_TEAM: Final = _COLUMNS.index("team_id")
_DISTINCT_ID: Final = _COLUMNS.index("distinct_id")
_PERSON_ID: Final = _COLUMNS.index("person_id")
_RECENT: Final = [
    _COLUMNS.index(name)
    for name in (
        "team_id", "event", "distinct_id", "timestamp", "uuid", "properties", "person_mode"
    )
]  # fmt: skip
_FORMAT_FILE: Final = "format"


class EventStore:
    """Events, persons and groups of all projects in one ClickHouse database.

    Ingestion updates persons and groups in memory at once; rows are written to ClickHouse in bulk,
    when many are buffered and before every read. The store has its own lock, so that queries run
    in parallel with each other and with ingestion.

    Args:
        path: The directory of the tables, created if missing; a temporary one by default.
        clock: Returns the current time.
        next_person_number: Returns the number of the next person; counts up from the highest
            number in the database by default.
        on_definition: Called with new event names, properties and group types.
        seed: Seed of the UUIDs of events that come without one.
        max_recent: Number of captured events that `recent` returns; fewer if their properties
            are large.

    Raises:
        EngineMissingError: ClickHouse is missing (install `asyncposthog[emulator]`), or has no
            build for this platform.
        EngineUnavailableError: ClickHouse cannot be used in this process.
        ValueError: The directory is not an event store, or one of another version.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        next_person_number: Callable[[], int] | None = None,
        on_definition: Callable[[NewDefinition], None] = lambda _: None,
        seed: int = 0,
        max_recent: int = 10_000,
    ) -> None:
        self._lock = RLock()
        self._clock = clock
        self._on_definition = on_definition
        self._random = Random(seed)  # noqa: S311
        self._recent: BoundedLog[list[Sequence[Any]]] = BoundedLog(max_recent, _MAX_RECENT_BYTES)
        """The columns `_RECENT` of the latest batches received by the capture endpoints."""
        self._max_recent = max_recent
        self._database = _open(path)
        self.last_person_number: int = 0
        """The highest person number in the database, or the last one given out by default."""
        self._last_event = self._last_version = 0
        self._has_persisted = False
        if path is not None:
            self._read_counters()
        self._next_person_number = (
            self._increment_person_number if next_person_number is None else next_person_number
        )
        self._projects: dict[int, ProjectEvents] = {}
        self.cohorts = CohortStore(self._database, self._lock, self.next_version)
        """The members of cohorts."""
        self._buffer = _empty_columns()
        """The columns of events that are not written yet."""
        self._buffered_bytes = 0
        """Size of their properties, in bytes."""
        self._batches = 0
        """The number of batches that were written since changed persons were."""
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None
        """The batch that is being written."""
        self._closed = False

    def _read_counters(self) -> None:
        ((self.last_person_number, records),) = self._database.rows(
            "SELECT max(number), max(version) FROM person_record"
        )
        ((self._last_event,),) = self._database.rows("SELECT max(_number) FROM events")
        versions = [records]
        for table in (
            "person_distinct_id2",
            "person_distinct_id_overrides",
            "cohortpeople",
            "project_types",
        ):
            ((version,),) = self._database.rows(f"SELECT max(version) FROM {table}")  # noqa: S608
            versions.append(version)
        ((number,),) = self._database.rows("SELECT max(_number) FROM person_static_cohort")
        self._last_version = max(*versions, number)
        self._has_persisted = bool(
            self.last_person_number or self._last_event or self._last_version
        )

    def project(self, team_id: int) -> ProjectEvents:
        """Return persons, groups and property types of a project; hold `lock` to change them."""
        with self._lock:
            project = self._projects.get(team_id)
            if project is None:
                project = self._projects[team_id] = ProjectEvents(
                    team_id,
                    self._database,
                    self._next_person_number,
                    self.next_version,
                    self._on_definition,
                    has_persisted=self._has_persisted,
                )
            return project

    def next_person_number(self) -> int:
        """Return the number of a new person."""
        return self._next_person_number()

    def last_event_number(self) -> int:
        """Return the number of the latest event that was written."""
        with self._lock:
            ((number,),) = self._database.rows("SELECT max(_number) FROM events")
            return number

    def next_version(self) -> int:
        """Return a number above all earlier ones, for the columns `version`."""
        self._last_version += 1
        return self._last_version

    @property
    def lock(self) -> RLock:
        """The lock that is held during every change and write."""
        return self._lock

    def now(self) -> int:
        """Return the current time in microseconds since 1970."""
        return to_micros(self._clock())

    def new_uuid(self) -> str:
        """Return a new version 7 UUID, as the server assigns to events without one."""
        # Built by hand: clock and random bits are the emulator's, so that runs are reproducible.
        milliseconds = self.now() // 1000
        bits = self._random.getrandbits(74)
        return (
            f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{bits >> 62:03x}-"
            f"{0x8000 | (bits >> 48 & 0x3FFF):04x}-{bits & 0xFFFFFFFFFFFF:012x}"
        )

    def append(self, team_id: int, events: Iterable[Mapping[str, Any]]) -> list[str]:
        """Ingest events given as dicts.

        Args:
            team_id: The project.
            events: Dicts with `event` (the name) and optionally `distinct_id`, `timestamp` (a
                `datetime` or ISO 8601 text; now by default), `uuid` and `properties`.

        Returns:
            The UUIDs of the events.

        Raises:
            ValueError: An event is invalid; none of them is ingested.
        """
        with self._lock:
            now = self.now()
            parsed = [parse_event(fields, self.new_uuid(), now) for fields in events]
            self.ingest(team_id, parsed)
            return [event.uuid for event in parsed]

    def ingest(self, team_id: int, events: list[Event], *, captured: bool = False) -> None:
        """Ingest parsed events.

        Args:
            team_id: The project.
            events: The events, in order of arrival.
            captured: Whether they came by a capture endpoint: `recent` returns these.
        """
        if not events:
            return
        with self._lock:
            columns = self.project(team_id).ingest(events, self.now(), self._last_event)
            self._last_event += len(events)
            for buffered, added in zip(self._buffer, columns, strict=True):
                buffered += added
            size = sum(map(len, columns[_PROPERTIES]))
            self._buffered_bytes += size
            if captured:
                # Columns of text and numbers: other than dicts of properties, they are no work
                # for the garbage collector.
                self._recent.append([columns[n] for n in _RECENT], size, len(events))
            if (
                len(self._buffer[0]) >= _MAX_BUFFERED_ROWS
                or self._buffered_bytes >= _MAX_BUFFERED_BYTES
            ):
                self._write_behind()

    def recent(
        self, team_id: int, event: str | None = None, distinct_id: str | None = None
    ) -> Iterator[Event]:
        """Yield the latest events that the capture endpoints received, the newest first.

        Args:
            team_id: The project.
            event: Yield only events with this name.
            distinct_id: Yield only events with this distinct id.
        """
        batches = ([*zip(*columns, strict=True)] for columns in reversed(self._recent))
        rows = chain.from_iterable(map(reversed, batches))
        # The log drops whole batches, and may have some events more.
        for team, name, person, at, uuid, properties, mode in islice(rows, self._max_recent):
            if team == team_id and event in {None, name} and distinct_id in {None, person}:
                yield Event(name, person, at, uuid, from_json(properties), mode == "full")

    def _write_behind(self) -> None:
        """Write the buffered events in another thread, while more are ingested."""
        self._wait_for_writes()
        self._reassign_buffered()
        if self._batches >= _MAX_BATCHES:
            # Changed persons stay in memory until they are written.
            self._flush_projects()
        self._batches += 1
        self._database.check()
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, "asyncposthog-events")
        columns, self._buffer, self._buffered_bytes = self._buffer, _empty_columns(), 0
        self._pending = self._writer.submit(
            insert_columns, self._database, "events", COLUMNS["events"], columns, apart=True
        )

    def _wait_for_writes(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def flush(self) -> None:
        """Write buffered events and changed persons and groups to ClickHouse."""
        with self._lock:
            self._wait_for_writes()
            if self._buffer[0]:
                self._reassign_buffered()
                insert_columns(self._database, "events", COLUMNS["events"], self._buffer)
                self._buffer, self._buffered_bytes = _empty_columns(), 0
            self._flush_projects()

    def _flush_projects(self) -> None:
        """Write changed persons and groups, after the events before their changes."""
        self._batches = 0
        for project in self._projects.values():
            if project.is_dirty:
                project.flush(self.now())

    def _reassign_buffered(self) -> None:
        """Set the person of buffered events whose distinct id got another person meanwhile."""
        for team_id, project in self._projects.items():
            moved = project.persons.moved
            if not moved:
                continue
            pairs = zip(self._buffer[_TEAM], self._buffer[_DISTINCT_ID], strict=True)
            for number, (team, distinct_id) in enumerate(pairs):
                person = moved.get(distinct_id)
                if person is not None and team == team_id:
                    self._buffer[_PERSON_ID][number] = person.uuid

    @contextmanager
    def bulk_load(self) -> Generator[Database]:
        """Fill the tables directly, and reload the caches afterwards.

        Yields:
            The database.
        """
        with self._lock:
            self.flush()
            try:
                yield self._database
            finally:
                # The allocator keeps what a bulk load needed, several times what is needed later.
                self._database.release_memory()
                self._read_counters()
                for project in self._projects.values():
                    project.reload()

    def database(self) -> Database:
        """Flush, and return the database, for queries from any thread."""
        with self._lock:
            self.flush()
            return self._database

    def read(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query of this package, as JSON has their values.

        Args:
            sql: The query, with a question mark for each value.
            values: The values.
        """
        with self._lock:
            self.flush()
            return self._database.rows(sql, values)

    def write(self, sql: str, values: Iterable[Any] = ()) -> None:
        """Execute a statement that changes events.

        Persons and groups are cached, so a change of their tables would be overwritten.
        """
        with self._lock:
            self.flush()
            self._database.execute(sql, values)

    def run_query(
        self,
        sql: str,
        *,
        settings: Mapping[str, object] | None = None,
        cancellation: Cancellation | None = None,
    ) -> JsonRows:
        """Run a query of a user in ClickHouse SQL; callable from any thread.

        Args:
            sql: One SELECT, without FORMAT, SETTINGS and INTO OUTFILE, whose tables have no
                database.
            settings: The settings of ClickHouse, such as `max_execution_time` (seconds),
                `max_memory_usage` (bytes) and `max_rows_to_read`.
            cancellation: Cancels the query from another thread.

        Returns:
            The rows as JSON, with the names and the ClickHouse types of the columns.

        Raises:
            ClickHouseError: The query is rejected, fails, reaches a limit or is cancelled.
        """
        # Without the lock: queries run beside each other, and beside ingestion.
        return query_json(self.database(), sql, settings=settings, cancellation=cancellation)

    def engine_functions(self) -> frozenset[str]:
        """Return the names of the functions that this build of ClickHouse has."""
        return self._database.function_names()

    def has_overrides(self, team_id: int) -> bool:
        """Return whether a project has events whose person is in `person_distinct_id_overrides`."""
        with self._lock:
            self.flush()
            return self.project(team_id).persons.has_overrides

    def property_types(self, team_id: int) -> dict[tuple[str, str], str]:
        """Return the types of a project's properties, by scope and name."""
        with self._lock:
            return self.project(team_id).property_types.all()

    def events_table(self, team_id: int) -> str:
        """Return the SQL of the events of all projects, with their current `person_id`."""
        if not self.has_overrides(team_id):
            return "events"
        return (
            "(SELECT e.* EXCEPT (person_id), "  # noqa: S608
            "if(empty(o.distinct_id), e.person_id, o.person_id) AS person_id "
            "FROM events AS e LEFT JOIN (SELECT distinct_id, "
            "argMax(person_id, version) AS person_id FROM person_distinct_id_overrides "
            f"WHERE team_id = {int(team_id)} GROUP BY distinct_id) AS o "
            "ON o.distinct_id = e.distinct_id)"
        )

    def clear(self) -> None:
        """Delete everything."""
        with self._lock:
            self._wait_for_writes()
            self._projects.clear()
            self.cohorts.clear()
            self._buffer, self._buffered_bytes = _empty_columns(), 0
            self._recent.clear()
            self._database.empty(TABLES)
            self._has_persisted, self.last_person_number = False, 0

    def close(self) -> None:
        """Flush and close the database."""
        with self._lock:
            if not self._closed:
                try:
                    self.flush()
                finally:
                    self._closed = True
                    if self._writer is not None:
                        self._writer.shutdown()
                    self._database.close()

    def _increment_person_number(self) -> int:
        self.last_person_number += 1
        return self.last_person_number


def _empty_columns() -> list[list[Any]]:
    return [[] for _ in _COLUMNS]


def _open(path: str | os.PathLike[str] | None) -> Database:
    if path is None:
        return open_database(TABLES)
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker = folder / _FORMAT_FILE
        if marker.exists():
            version = marker.read_text(encoding="utf-8").strip()
            if version != str(FORMAT):
                raise ValueError(
                    f"{folder} has tables of version {version[:20]}, and this emulator "
                    f"{FORMAT}; move it away to start with an empty one"
                )
        elif any(folder.iterdir()):
            raise ValueError(f"cannot open {folder} as an event store: it has other files")
        else:
            marker.write_text(f"{FORMAT}\n", encoding="utf-8")
        return open_database(TABLES, folder)
    except (OSError, ClickHouseError) as error:
        raise ValueError(f"cannot open {folder} as an event store: {error}") from error
