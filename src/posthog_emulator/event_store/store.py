"""Event store: events, persons and groups in DuckDB."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from random import Random
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from posthog_emulator.retention import MIB, BoundedLog
from posthog_emulator.timestamps import to_micros

from . import bulk
from .ingest import Event, NewDefinition, ProjectEvents, parse_event
from .tables import TABLES, ddl

if TYPE_CHECKING:
    import duckdb

__all__ = ["EVENTS_FILE", "EventStore"]

EVENTS_FILE: Final = "events.duckdb"
"""File name of the database in an emulator's state directory."""

# Many rows per insert make ingestion fast; the byte limit bounds memory when events are large.
_MAX_BUFFERED_ROWS: Final = 20_000
_MAX_BUFFERED_BYTES: Final = 32 * MIB
_MAX_RECENT_BYTES: Final = 32 * MIB
_MAX_MEMORY_GIB: Final = 2
"""DuckDB's memory limit in GiB; beyond it DuckDB spills to temporary files."""
_PROPERTIES_COLUMN: Final = list(TABLES["events"]).index("properties")
_TABLES = (
    "events", "persons", "person_records", "person_distinct_ids", "groups", "group_types",
    "cohort_people", "property_types",
)  # fmt: skip


class EventStore:
    """Events, persons and groups of all projects in one DuckDB database.

    Ingestion updates persons and groups in memory at once; rows are written to DuckDB in bulk,
    when many are buffered and before every read. The store has its own lock, so that queries run
    in parallel with each other and with ingestion.

    Args:
        path: The database file, created if missing; in memory by default.
        clock: Returns the current time.
        next_person_number: Returns the number of the next person; counts up from the highest
            number in the database by default.
        on_definition: Called with new event names, properties and group types.
        seed: Seed of the UUIDs of events that come without one.
        max_recent: Number of captured events that `recent` keeps; fewer if their properties are
            large.

    Raises:
        ImportError: DuckDB is missing; install `asyncposthog[emulator]`.
        ValueError: The file is not an event store.
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
        self.recent: BoundedLog[tuple[int, Event]] = BoundedLog(max_recent, _MAX_RECENT_BYTES)
        """The latest events received by the capture endpoints, each with its project."""
        self._connection = _connect(path)
        for statement in ddl():
            self._connection.execute(statement)
        highest = self._connection.execute("SELECT max(number) FROM person_records").fetchall()
        self.last_person_number: int = highest[0][0] or 0
        """The highest person number in the database, or the last one given out by default."""
        self._next_person_number = (
            self._increment_person_number if next_person_number is None else next_person_number
        )
        self._has_persisted = bool(self.last_person_number)
        self._projects: dict[int, ProjectEvents] = {}
        self._buffer: list[tuple[Any, ...]] = []
        self._buffered_bytes = 0
        """Size of the properties in `_buffer`, in bytes."""
        self._closed = False

    def project(self, team_id: int) -> ProjectEvents:
        """Return persons, groups and property types of a project; hold `lock` to change them."""
        with self._lock:
            project = self._projects.get(team_id)
            if project is None:
                project = self._projects[team_id] = ProjectEvents(
                    team_id,
                    self._connection,
                    self._next_person_number,
                    self._on_definition,
                    has_persisted=self._has_persisted,
                )
            return project

    def next_person_number(self) -> int:
        """Return the number of a new person."""
        return self._next_person_number()

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
            captured: Whether to add them to `recent`.
        """
        with self._lock:
            rows = self.project(team_id).ingest(events, self.now())
            self._buffer += rows
            for event, row in zip(events, rows, strict=True):
                size = len(row[_PROPERTIES_COLUMN])
                self._buffered_bytes += size
                if captured:
                    self.recent.append((team_id, event), size)
            if (
                len(self._buffer) >= _MAX_BUFFERED_ROWS
                or self._buffered_bytes >= _MAX_BUFFERED_BYTES
            ):
                self.flush()

    def flush(self) -> None:
        """Write buffered events and changed persons and groups to DuckDB, in one transaction."""
        with self._lock:
            dirty = [project for project in self._projects.values() if project.is_dirty]
            if not dirty and not self._buffer:
                return
            self._connection.begin()
            try:
                # Events first: flushing merged persons updates the rows of their events.
                bulk.insert(self._connection, "events", self._buffer)
                for project in dirty:
                    project.flush()
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()
            self._buffer, self._buffered_bytes = [], 0

    @contextmanager
    def bulk_load(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Fill the tables directly in one transaction, and reload the caches afterwards.

        Yields:
            The connection.
        """
        with self._lock:
            self.flush()
            self._connection.begin()
            try:
                yield self._connection
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()
            self._has_persisted = True
            for project in self._projects.values():
                project.reload()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Flush, and return a connection for the current thread; close it after use."""
        with self._lock:
            # A cursor is a connection of its own: it sees committed rows only.
            self.flush()
            return self._connection.cursor()

    def read(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._lock:
            self.flush()
            return self._connection.execute(sql, list(values)).fetchall()

    def write(self, sql: str, values: Iterable[Any] = ()) -> None:
        """Execute a statement that changes events or cohort members."""
        with self._lock:
            # Persons and groups are cached: a change of their tables would be overwritten.
            self.flush()
            self._connection.execute(sql, list(values))

    def clear(self) -> None:
        """Delete everything."""
        with self._lock:
            self._projects.clear()
            self._buffer, self._buffered_bytes = [], 0
            self.recent.clear()
            for table in _TABLES:
                self._connection.execute(f"DELETE FROM {table}")  # noqa: S608
            self._has_persisted, self.last_person_number = False, 0

    def close(self) -> None:
        """Flush and close the database."""
        with self._lock:
            if not self._closed:
                self.flush()
                self._closed = True
                self._connection.close()

    def _increment_person_number(self) -> int:
        self.last_person_number += 1
        return self.last_person_number


def _connect(path: str | os.PathLike[str] | None) -> duckdb.DuckDBPyConnection:
    duckdb = _duckdb()
    where = ":memory:" if path is None else os.fspath(path)
    try:
        connection: duckdb.DuckDBPyConnection = duckdb.connect(where)
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        # In an interactive session DuckDB would draw it into the user's output.
        connection.execute("SET enable_progress_bar = false")
        _limit_memory(connection, temporary=path is None)
    except duckdb.Error as error:
        raise ValueError(f"cannot open {where} as an event store: {error}") from error
    return connection


def _duckdb() -> ModuleType:
    try:
        return importlib.import_module("duckdb")
    except ImportError as error:
        message = "the emulator needs DuckDB: pip install 'asyncposthog[emulator]'"
        raise ImportError(message) from error


def _limit_memory(connection: duckdb.DuckDBPyConnection, *, temporary: bool) -> None:
    """Limit the memory of DuckDB, whose default is 80 % of the machine's."""
    ((limit,),) = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    amount, unit = str(limit).split()
    if unit == "TiB" or (unit == "GiB" and float(amount) > _MAX_MEMORY_GIB):
        connection.execute(f"SET GLOBAL memory_limit = '{_MAX_MEMORY_GIB}GiB'")
    if temporary:
        # The default of a database in memory is `.tmp` in the current directory. DuckDB creates
        # the directory only when it spills.
        folder = os.path.join(tempfile.gettempdir(), f"asyncposthog-{uuid4().hex}")
        quoted = folder.replace("'", "''")
        connection.execute(f"SET GLOBAL temp_directory = '{quoted}'")
    for setting, amount in _ALLOCATOR_SETTINGS:
        with suppress(_duckdb().CatalogException):  # not every version of DuckDB has both
            connection.execute(f"SET GLOBAL {setting} = '{amount}'")


_ALLOCATOR_SETTINGS: Final = (
    ("allocator_flush_threshold", "8MiB"),
    ("allocator_bulk_deallocation_flush_threshold", "8MiB"),
)
"""Thresholds for returning freed memory to the system; the defaults keep hundreds of MiB."""
