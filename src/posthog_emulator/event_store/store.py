"""The event store: captured events, and the persons and groups they speak of, in DuckDB."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from random import Random
from threading import RLock
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
"""The database of events, in the folder of an emulator that has one."""

_MAX_BUFFERED_ROWS: Final = 20_000
_MAX_BUFFERED_BYTES: Final = 32 * MIB
_MAX_RECENT_BYTES: Final = 32 * MIB
_MAX_MEMORY_GIB: Final = 2
"""GiB that DuckDB may take; beyond that it uses temporary files."""
_PROPERTIES_COLUMN: Final = list(TABLES["events"]).index("properties")
_TABLES = (
    "events", "persons", "person_records", "person_distinct_ids", "groups", "group_types",
    "cohort_people", "property_types",
)  # fmt: skip


class EventStore:
    """Events, persons and groups of every project, in one DuckDB.

    Events are taken in at once, with all they do to persons and groups, and written to DuckDB in
    bulk: when many wait, and before anything is read. It has a lock of its own, so that queries
    run beside each other and beside ingestion.

    Args:
        path: A file to keep it in, made if need be; memory by default.
        clock: Gives the moment.
        number: Gives the next person's number; counts on from the highest by default.
        found: Told of event names, properties and group types that are new.
        seed: Of the UUIDs of events that come without one.
        keep: How many captured events `recent` remembers, the latest of them; fewer where their
            properties are large.

    Raises:
        ImportError: DuckDB is missing; install `asyncposthog[emulator]`.
        ValueError: The file is no event store.
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
        """The latest events that came in by a capture endpoint, with their projects."""
        self._connection = _connect(path)
        for statement in ddl():
            self._connection.execute(statement)
        highest = self._connection.execute("SELECT max(number) FROM person_records").fetchall()
        self.last_person_number: int = highest[0][0] or 0
        """The highest number of a person when the store was opened, and since by its own count."""
        self._next_person_number = (
            self._increment_person_number if next_person_number is None else next_person_number
        )
        self._has_persisted = bool(self.last_person_number)
        self._projects: dict[int, ProjectEvents] = {}
        self._buffer: list[tuple[Any, ...]] = []
        self._buffered_bytes = 0
        """Bytes of the properties in `_rows`."""
        self._closed = False

    def project(self, team_id: int) -> ProjectEvents:
        """The persons, groups and properties of a project; hold `lock` while changing them."""
        with self._lock:
            known = self._projects.get(team_id)
            if known is None:
                known = self._projects[team_id] = ProjectEvents(
                    team_id,
                    self._connection,
                    self._next_person_number,
                    self._on_definition,
                    has_persisted=self._has_persisted,
                )
            return known

    def next_person_number(self) -> int:
        """The number of a new person."""
        return self._next_person_number()

    @property
    def lock(self) -> RLock:
        """Held while anything is changed or written."""
        return self._lock

    def now(self) -> int:
        """The moment, in microseconds since 1970."""
        return to_micros(self._clock())

    def new_uuid(self) -> str:
        """A new UUID of version 7, as the server gives to an event that has none."""
        milliseconds = self.now() // 1000
        bits = self._random.getrandbits(74)
        return (
            f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{bits >> 62:03x}-"
            f"{0x8000 | (bits >> 48 & 0x3FFF):04x}-{bits & 0xFFFFFFFFFFFF:012x}"
        )

    def append(self, team_id: int, events: Iterable[Mapping[str, Any]]) -> list[str]:
        """Let events happen that were written by hand.

        Args:
            team_id: The project.
            events: Dicts of `event` (its name), and perhaps `distinct_id`, `timestamp` (a
                `datetime` or ISO 8601 text; now by default), `uuid` and `properties`.

        Returns:
            Their UUIDs.

        Raises:
            ValueError: One of them is none; those before it have happened.
        """
        with self._lock:
            now = self.now()
            read = [parse_event(given, self.new_uuid(), now) for given in events]
            self.ingest(team_id, read)
            return [event.uuid for event in read]

    def ingest(self, team_id: int, events: list[Event], *, captured: bool = False) -> None:
        """Let events happen.

        Args:
            team_id: The project.
            events: The events, in the order they came.
            captured: Whether to remember them in `recent`.
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
        """Write everything that has happened to DuckDB."""
        with self._lock:
            behind = [project for project in self._projects.values() if project.is_dirty]
            if not behind and not self._buffer:
                return
            self._connection.begin()
            try:
                bulk.insert(self._connection, "events", self._buffer)
                for project in behind:
                    project.flush()
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()
            self._buffer, self._buffered_bytes = [], 0

    @contextmanager
    def bulk_load(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Fill the tables directly, all or nothing; whatever is in them is seen afterwards.

        Yields:
            The connection, in a transaction.
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
        """A connection for this thread, to a database that has everything; close it after use."""
        with self._lock:
            self.flush()
            return self._connection.cursor()

    def read(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._lock:
            self.flush()
            return self._connection.execute(sql, list(values)).fetchall()

    def write(self, sql: str, values: Iterable[Any] = ()) -> None:
        """Change the tables directly; not those of persons and groups."""
        with self._lock:
            self.flush()
            self._connection.execute(sql, list(values))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._projects.clear()
            self._buffer, self._buffered_bytes = [], 0
            self.recent.clear()
            for table in _TABLES:
                self._connection.execute(f"DELETE FROM {table}")  # noqa: S608
            self._has_persisted, self.last_person_number = False, 0

    def close(self) -> None:
        """Write what waits, and close the database."""
        with self._lock:
            if not self._closed:
                self.flush()
                self._closed = True
                self._connection.close()

    def _increment_person_number(self) -> int:
        self.last_person_number += 1
        return self.last_person_number


def _connect(path: str | os.PathLike[str] | None) -> duckdb.DuckDBPyConnection:
    try:
        duckdb = importlib.import_module("duckdb")
    except ImportError as error:
        message = "the emulator keeps events in DuckDB: pip install 'asyncposthog[emulator]'"
        raise ImportError(message) from error
    where = ":memory:" if path is None else os.fspath(path)
    try:
        connection: duckdb.DuckDBPyConnection = duckdb.connect(where)
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        # At a prompt it would be drawn between the lines of whoever uses the emulator.
        connection.execute("SET enable_progress_bar = false")
        _limit_memory(connection, temporary=path is None)
    except duckdb.Error as error:
        raise ValueError(f"{where} cannot be opened as an event store: {error}") from error
    return connection


def _limit_memory(connection: duckdb.DuckDBPyConnection, *, temporary: bool) -> None:
    """Bound what DuckDB keeps in memory: by default 80 % of the machine's."""
    ((most,),) = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    amount, unit = str(most).split()
    if unit == "TiB" or (unit == "GiB" and float(amount) > _MAX_MEMORY_GIB):
        connection.execute(f"SET GLOBAL memory_limit = '{_MAX_MEMORY_GIB}GiB'")
    if temporary:
        # By default it is `.tmp` in the current directory. It is made when it is first needed.
        folder = os.path.join(tempfile.gettempdir(), f"asyncposthog-{uuid4().hex}")
        quoted = folder.replace("'", "''")
        connection.execute(f"SET GLOBAL temp_directory = '{quoted}'")
    known = {
        name for (name,) in connection.execute("SELECT name FROM duckdb_settings()").fetchall()
    }
    for setting, amount in _ALLOCATOR_SETTINGS:
        if setting in known:  # other versions of DuckDB lack some
            connection.execute(f"SET GLOBAL {setting} = '{amount}'")


_ALLOCATOR_SETTINGS: Final = (
    ("allocator_flush_threshold", "8MiB"),
    ("allocator_bulk_deallocation_flush_threshold", "8MiB"),
)
"""When freed memory is given back to the system; by default hundreds of MiB are kept."""
