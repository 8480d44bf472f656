"""A file that holds events until they are sent: an SQLite database, used by one thread.

The thread commits all events that came while it was busy at once, so that a commit serves many of
them. SQLite locks the file: no other process and no other client can use it at the same time, and
the lock of a process that dies is free.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

import anyio

from asyncposthog.errors import CaptureError, ConfigurationError

from .background import loop_caller
from .plan import Record
from .protocol import Lane

__all__ = ["Spool", "spool_owner"]

T = TypeVar("T")
OnCommit: TypeAlias = Callable[[Lane, int, Exception | None], None]

_APPLICATION_ID: Final = 0x61706873  # "aphs"
_VERSION: Final = 1
_TABLES: Final[dict[Lane, str]] = {"events": "events", "ai": "ai_events"}
_CACHE_KIBIBYTES: Final = 4096


def spool_owner(ingest_url: str, token: str) -> str:
    """Return the name of a project in its spool. It does not reveal the token."""
    return hashlib.sha256(f"{ingest_url}\n{token}".encode()).hexdigest()


class _Worker:
    """The thread, and what it shares with the event loop. It has no reference to the spool."""

    def __init__(self, path: Path, owner: str, synchronous: str) -> None:
        self.path = path
        self.commands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.lock = Lock()
        self.pending: _Group | None = None
        """The events of the next commit."""
        self._owner = owner
        self._synchronous = synchronous
        self._database: sqlite3.Connection | None = None
        self.thread = Thread(target=self._run, name="asyncposthog spool", daemon=True)

    def _run(self) -> None:
        while (command := self.commands.get()) is not None:
            command()
            del command  # it may refer to the event loop
        database, self._database = self._database, None
        if database is not None:
            # The last connection to a file removes its write-ahead log when it is closed.
            database.close()

    @property
    def database(self) -> sqlite3.Connection:
        assert self._database is not None
        return self._database

    def open(self) -> dict[Lane, int]:
        """Open or create the file; return the number of its events."""
        database: sqlite3.Connection | None = None
        try:
            database = sqlite3.connect(self.path, timeout=0, isolation_level=None)
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
            self._check(database)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(f"PRAGMA synchronous = {self._synchronous}")
            database.execute("BEGIN IMMEDIATE")  # takes the lock, for as long as it is open
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
            database.execute("CREATE TABLE IF NOT EXISTS owner (name TEXT NOT NULL)")
            for table in _TABLES.values():
                database.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} "
                    "(id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL, body BLOB NOT NULL)"
                )
            self._check_owner(database)
            counts: dict[Lane, int] = {
                lane: int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608
                for lane, table in _TABLES.items()
            }
            database.execute("COMMIT")
        except sqlite3.Error as error:
            if database is not None:
                database.close()
            raise _open_error(self.path, error) from None
        except BaseException:
            if database is not None:
                database.close()
            raise
        self._database = database
        return counts

    def _check(self, database: sqlite3.Connection) -> None:
        """Raise an error for a file that is not a spool."""
        application = database.execute("PRAGMA application_id").fetchone()[0]
        version = database.execute("PRAGMA user_version").fetchone()[0]
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != _APPLICATION_ID and (application or version or tables):
            raise ConfigurationError(
                f"{self.path} is a database of another program, not a spool of events.",
                suggestion="Give spool= the path of a file of its own.",
            )
        if version > _VERSION:
            raise ConfigurationError(
                f"{self.path} was written by a newer version of asyncposthog.",
                suggestion="Update asyncposthog, or give spool= another path.",
            )

    def _check_owner(self, database: sqlite3.Connection) -> None:
        row = database.execute("SELECT name FROM owner").fetchone()
        if row is None:
            database.execute("INSERT INTO owner VALUES (?)", (self._owner,))
        elif row[0] != self._owner:
            raise ConfigurationError(
                f"The spool {self.path} has events of another project or host.",
                suggestion="Use one file for each project, or the token that the events are for.",
            )

    def commit(self, tell: Callable[[_Group], None]) -> None:
        """Write all events that were appended since the last commit."""
        with self.lock:
            group, self.pending = self.pending, None
        if group is None:
            return
        try:
            self.database.execute("BEGIN IMMEDIATE")
            try:
                for lane, table in _TABLES.items():
                    rows = [
                        (record.uuid, record.body) for home, record in group.events if home == lane
                    ]
                    self.database.executemany(
                        f"INSERT INTO {table} (uuid, body) VALUES (?, ?)",  # noqa: S608
                        rows,
                    )
                self.database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            group.error = CaptureError(
                f"The spool {self.path} cannot be written: {error}.",
                suggestion="The events were not accepted. Check that the disk has space.",
            )
        tell(group)

    def read(self, lane: Lane, after: int, max_events: int, max_bytes: int) -> list[Record]:
        rows = self.database.execute(
            f"SELECT id, uuid, body FROM {_TABLES[lane]} WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608
            (after, max_events),
        )
        batch: list[Record] = []
        uuids: set[str] = set()
        size = 0
        for number, uuid, body in rows:
            size += len(body) + 1
            if batch and (size > max_bytes or uuid in uuids):
                break
            uuids.add(uuid)
            batch.append(Record(uuid, body, number))
        rows.close()
        return batch

    def remove(self, lane: Lane, ids: Sequence[int]) -> None:
        if not ids:
            return
        table = _TABLES[lane]
        self.database.execute("BEGIN IMMEDIATE")
        if ids[-1] - ids[0] == len(ids) - 1:
            self.database.execute(
                f"DELETE FROM {table} WHERE id BETWEEN ? AND ?",  # noqa: S608
                (ids[0], ids[-1]),
            )
        else:
            self.database.executemany(
                f"DELETE FROM {table} WHERE id = ?",  # noqa: S608
                [(number,) for number in ids],
            )
        self.database.execute("COMMIT")


class _Group:
    """Events that are committed together, and the event that their tasks wait for."""

    __slots__ = ("done", "error", "events")

    def __init__(self) -> None:
        self.events: list[tuple[Lane, Record]] = []
        self.done = anyio.Event()
        self.error: Exception | None = None


class Spool:
    """The spool of one client. Its methods are called in one event loop, except `open`."""

    def __init__(
        self, path: os.PathLike[str] | str, owner: str, synchronous: Literal["normal", "full"]
    ) -> None:
        """Keep the path; nothing is opened.

        Args:
            path: The file.
            owner: The name of the project, see `spool_owner`.
            synchronous: Whether a commit waits for the disk.
        """
        self._worker = _Worker(Path(path), owner, synchronous)
        self._on_commit: OnCommit = lambda lane, count, error: None
        self._call_in_loop: Callable[[Callable[[], object]], None] | None = None
        self.uncommitted = 0
        """Events that are not written yet."""
        # Without `aclose`, the thread ends at the end of the process, or with this object.
        self._finalizer = weakref.finalize(self, _stop, self._worker)

    @property
    def path(self) -> Path:
        """The file."""
        return self._worker.path

    async def open(self, on_commit: OnCommit) -> dict[Lane, int]:
        """Open or create the file; return the number of events that it has, by lane.

        Args:
            on_commit: Called when events were written, or could not be, with their lane, their
                number, and the error.

        Raises:
            ConfigurationError: It belongs to another project or program, or is in use.
            CaptureError: It cannot be opened.
        """
        self._on_commit = on_commit
        self._call_in_loop = loop_caller()
        self._worker.thread.start()
        return await self._run(self._worker.open)

    def append_nowait(self, lane: Lane, record: Record) -> _Group:
        """Write an event soon; return the group that it is committed with."""
        worker = self._worker
        with worker.lock:
            group = worker.pending
            if group is None:
                group = worker.pending = _Group()
                worker.commands.put(lambda: worker.commit(self._tell))
            group.events.append((lane, record))
        self.uncommitted += 1
        return group

    async def append(self, lane: Lane, record: Record) -> None:
        """Write an event, and return when it is in the file.

        Raises:
            CaptureError: It cannot be written.
        """
        group = self.append_nowait(lane, record)
        await group.done.wait()
        if group.error is not None:
            raise group.error

    def _tell(self, group: _Group) -> None:
        """In the thread: tell the event loop that a commit has ended."""
        assert self._call_in_loop is not None
        self._call_in_loop(lambda: self._committed(group))

    def _committed(self, group: _Group) -> None:
        self.uncommitted -= len(group.events)
        for lane in _TABLES:
            count = sum(home == lane for home, _ in group.events)
            if count:
                self._on_commit(lane, count, group.error)
        group.done.set()

    async def read(self, lane: Lane, after: int, max_events: int, max_bytes: int) -> list[Record]:
        """Return the next events after the one with the number `after`, in order."""
        worker = self._worker
        return await self._run(lambda: worker.read(lane, after, max_events, max_bytes))

    async def remove(self, lane: Lane, records: Sequence[Record]) -> None:
        """Remove events that need not be sent any more."""
        ids = sorted(record.id for record in records)
        worker = self._worker
        await self._run(lambda: worker.remove(lane, ids))

    async def aclose(self) -> None:
        """Write what is to be written, close the file, and end the thread."""
        if not self._finalizer.alive or not self._worker.thread.is_alive():
            self._finalizer.detach()
            return
        with suppress(CaptureError):
            await self._run(lambda: None)  # after everything that was begun
        # The thread closes the file now, which takes no time.
        self._finalizer()

    def forget(self) -> None:
        """Leave file and thread to the parent, in a process that was forked."""
        self._finalizer.detach()

    async def _run(self, function: Callable[[], T]) -> T:
        """Run a function in the thread, and return what it returns."""
        results: list[T] = []
        errors: list[Exception] = []
        ended = anyio.Event()
        call_in_loop = self._call_in_loop
        assert call_in_loop is not None

        def run() -> None:
            try:
                results.append(function())
            except Exception as error:
                errors.append(error)
            call_in_loop(ended.set)

        self._worker.commands.put(run)
        await ended.wait()
        if errors:
            error = errors.pop()
            if isinstance(error, sqlite3.Error):
                raise CaptureError(f"The spool {self.path} cannot be used: {error}.") from error
            raise error
        return results.pop()


def _stop(worker: _Worker) -> None:
    """End the thread of a spool, and wait for that."""
    worker.commands.put(None)
    if worker.thread.is_alive():
        worker.thread.join()


def _open_error(path: Path, error: sqlite3.Error) -> Exception:
    code = cast("Any", error).sqlite_errorcode if hasattr(error, "sqlite_errorcode") else None
    if code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return ConfigurationError(
            f"The spool {path} is in use by another process or client.",
            suggestion="Give each process a file of its own: its name may contain os.getpid().",
        )
    if code is not None and code & 0xFF in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return ConfigurationError(
            f"{path} is not a spool of events, or it is damaged: {error}.",
            suggestion="Give spool= the path of a file of its own.",
        )
    return CaptureError(
        f"The spool {path} cannot be opened: {error}.",
        suggestion="Check that its folder exists and can be written.",
    )
