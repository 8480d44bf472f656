"""The ClickHouse server of this process, and the databases of the emulators in it.

A process has one server, whose files are in a temporary directory. It is started by the first
database and ends with the process. An emulator has a database of its own.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, RLock
from typing import Any, Final
from uuid import uuid4

from pydantic_core import from_json

from .errors import (
    ClickHouseError,
    EngineUnavailableError,
    QueryCancelledError,
    clickhouse_error,
)
from .library import Connection, Library, forked_error, load_library, survive_fork
from .literals import bind, identifier, literal

__all__ = ["Cancellation", "Database", "is_running", "open_database"]

_MAX_MEMORY: Final = 2 * 1024**3
"""Bytes of memory that one query may use, unless its settings say otherwise."""
_KILL_INTERVAL: Final = 0.02
"""Seconds after which a query that has not ended is killed again: it may not have begun before."""
_MAX_POOLED: Final = 8
_MAX_IDLE: Final = 4
"""Number of empty databases that are kept for the next emulators: creating tables takes 30 ms."""

# Files, URLs and other servers are not granted: no query can reach them, whatever it says. The
# only files of a query are those that `export` and `insert_file` name.
_USERS: Final = """<clickhouse>
<profiles><default>
<fsync_metadata>0</fsync_metadata>
<max_memory_usage>{memory}</max_memory_usage>
<max_query_size>4294967296</max_query_size>
<max_ast_elements>4000000</max_ast_elements>
<max_expanded_ast_elements>4000000</max_expanded_ast_elements>
<mutations_sync>2</mutations_sync>
<lightweight_deletes_sync>2</lightweight_deletes_sync>
<async_insert>0</async_insert>
<log_queries>0</log_queries>
<output_format_json_quote_64bit_integers>0</output_format_json_quote_64bit_integers>
<output_format_json_quote_decimals>1</output_format_json_quote_decimals>
<output_format_decimal_trailing_zeros>1</output_format_decimal_trailing_zeros>
<output_format_json_quote_denormals>0</output_format_json_quote_denormals>
<output_format_json_escape_forward_slashes>0</output_format_json_escape_forward_slashes>
<output_format_json_named_tuples_as_objects>0</output_format_json_named_tuples_as_objects>
</default></profiles>
<quotas><default/></quotas>
<users><default>
<password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
<grants><query>GRANT SHOW, SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, KILL QUERY, OPTIMIZE,
SYSTEM, TABLE ENGINE ON *.*</query></grants>
</default></users>
</clickhouse>
"""
_CONFIG: Final = """<clickhouse>
<users_config>{users}</users_config>
<timezone>UTC</timezone>
<custom_local_disks_base_directory>/</custom_local_disks_base_directory>
<user_files_path>{files}</user_files_path>
<database_atomic_delay_before_drop_table_sec>0</database_atomic_delay_before_drop_table_sec>
<mark_cache_size>67108864</mark_cache_size>
<uncompressed_cache_size>0</uncompressed_cache_size>
</clickhouse>
"""


class Cancellation:
    """Cancels queries from another thread.

    Queries that are given the object end soon after `cancel`, and those that would begin later
    fail at once.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._running: dict[str, _Server] = {}
        self.is_cancelled = False

    def cancel(self) -> None:
        """Cancel running and later queries, and wait until the running ones have ended."""
        with self._changed:
            self.is_cancelled = True
            while self._running:
                for tag, server in list(self._running.items()):
                    server.kill(tag)
                self._changed.wait(_KILL_INTERVAL)

    @contextmanager
    def running(self, server: _Server, tag: str) -> Generator[None]:
        """Register a query while the block runs it.

        Raises:
            QueryCancelledError: `cancel` was called before.
        """
        with self._changed:
            if self.is_cancelled:
                raise QueryCancelledError(394, "QUERY_WAS_CANCELLED", "Query was cancelled.")
            self._running[tag] = server
        try:
            yield
        finally:
            with self._changed:
                del self._running[tag]
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class _IdleDatabase:
    """A database with empty tables."""

    tables: Mapping[str, str]
    name: str
    connection: Connection


class _Server:
    """The server, its directory and its open connections."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = RLock()
        # Weak, because connections belong to databases; strong ones would be closed nowhere.
        self._connections: dict[int, Connection] = {}
        self.numbers = itertools.count(1)
        self.idle: list[_IdleDatabase] = []
        """Databases with empty tables, which no emulator uses."""
        self.functions: frozenset[str] | None = None
        """The names of all functions, once they were asked for."""
        self._library: Library = load_library()
        self.directory = Path(tempfile.mkdtemp(prefix="asyncposthog-clickhouse-"))
        users, config = self.directory / "users.xml", self.directory / "config.xml"
        users.write_text(_USERS.format(memory=_MAX_MEMORY), encoding="utf-8")
        files = self.directory / "files"
        config.write_text(_CONFIG.format(users=users, files=files), encoding="utf-8")
        self._address = f"{self.directory / 'server'}?config-file={config}"
        try:
            # Open until the end: the server stops with its last connection.
            self.base = self.connect()
        except EngineUnavailableError:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self._killer = self.connect()
        self._killer_lock = RLock()

    def connect(self) -> Connection:
        """Return a new connection.

        Raises:
            EngineUnavailableError: Something else in this process uses chdb.
        """
        try:
            connection = self._library.connect(self._address)
        except RuntimeError as error:
            raise EngineUnavailableError(
                "the emulator cannot start ClickHouse, which a process can have once only: "
                f"something else uses chdb ({clickhouse_error(str(error)).message})"
            ) from None
        with self.lock:
            self._connections[id(connection)] = connection
        return connection

    def close(self, connection: Connection) -> None:
        """Close a connection."""
        with self.lock:
            self._connections.pop(id(connection), None)
        connection.close()

    def kill(self, tag: str) -> None:
        """Kill the query with a tag if it runs; do not wait for its end."""
        with self._killer_lock:
            sql = f"KILL QUERY WHERE startsWith(query, {literal(_comment(tag))}) ASYNC"
            run(self._killer, sql)

    def connections(self) -> list[Connection]:
        """Return all open connections."""
        return list(self._connections.values())

    def remove_directory(self) -> None:
        """Delete the files of the server."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _comment(tag: str) -> str:
    return f"/* {tag} */"


def run(connection: Connection, sql: str | bytes, format: str = "Null") -> bytes:
    """Run a query on a connection and return the formatted result.

    Raises:
        ClickHouseError: The query is rejected or fails.
    """
    try:
        return connection.query(sql, format).bytes()
    except RuntimeError as error:
        text = str(error)
    except UnicodeDecodeError as error:
        # The message of an exception that quotes invalid UTF-8 of the query.
        text = error.object.decode(errors="replace")
    raise clickhouse_error(text)


_lock = RLock()
_server: _Server | None = None


def _running_server() -> _Server:
    """Return the server of this process, started by the first call."""
    global _server
    with _lock:
        if _server is None:
            _server = _Server()
            os.register_at_fork(after_in_child=_after_fork)
            atexit.register(_at_exit)
        elif _server.process != os.getpid():
            raise forked_error()
        return _server


def is_running() -> bool:
    """Return whether the server of this process has been started."""
    return _server is not None and _server.process == os.getpid()


def _after_fork() -> None:
    global _lock
    # Another thread may have held it when the process was forked.
    _lock = RLock()
    if _server is not None:
        survive_fork(_server.connections())


def _at_exit() -> None:
    server = _server
    if server is not None and server.process == os.getpid():
        # The server stops with its last connection. Left running, its threads would still work
        # while the library is being unloaded, and crash.
        for connection in server.connections():
            server.close(connection)
        server.remove_directory()


def open_database(
    tables: Mapping[str, str], directory: str | os.PathLike[str] | None = None
) -> Database:
    """Open a database with its tables.

    Args:
        tables: The definition of each table: its columns in parentheses and its engine.
        directory: The directory of its files, which is created if it is missing. Tables that it
            has already keep their rows. None for a temporary database.

    Raises:
        EngineMissingError: chdb is missing, or has no build for this platform.
        EngineUnavailableError: The engine cannot be used in this process.
        ClickHouseError: The directory has tables with other columns.
        OSError: The directory cannot be used.
    """
    server = _running_server()
    if directory is None:
        return _open_temporary(server, tables)
    database = Database(server, f"emulator_{next(server.numbers)}")
    folder = Path(directory).absolute()
    for name, definition in tables.items():
        database.execute(_attach_statement(folder / name, name, definition))
    database.keep_files(tables)
    return database


def _open_temporary(server: _Server, tables: Mapping[str, str]) -> Database:
    """Open a database with empty tables: one that was closed, or else a new one."""
    with server.lock:
        idle = next((one for one in server.idle if one.tables == tables), None)
        if idle is not None:
            server.idle.remove(idle)
    if idle is not None:
        return Database(server, idle.name, idle.connection, tables)
    database = Database(server, f"emulator_{next(server.numbers)}", tables=tables)
    for name, definition in tables.items():
        database.execute(f"CREATE TABLE {identifier(name)} {definition}")
    database.is_empty = True
    return database


def _attach_statement(folder: Path, name: str, definition: str) -> str:
    """Return the statement that opens a table whose files are in a directory of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    new = str(uuid4())
    stored = [path for path in (folder / "store").glob("*/*-*") if path.is_dir()]
    if stored:
        # A new name for the files: the server knows tables by it, and a copy of the directory may
        # be open as well.
        target = folder / "store" / new[:3] / new
        target.parent.mkdir(exist_ok=True)
        stored[0].rename(target)
    path = f"{folder}{os.sep}"
    disk = f"emulator_{hashlib.sha256(path.encode()).hexdigest()[:24]}"
    verb = "ATTACH" if stored else "CREATE"
    return (
        f"{verb} TABLE {identifier(name)} UUID '{new}' {definition} "
        f"SETTINGS disk = disk(name = '{disk}', type = 'local', path = {literal(path)})"
    )


class Database:
    """A database of the server. Use `open_database` to open one.

    Statements of `execute`, `insert` and `rows` run one after the other; queries of `select` run
    in parallel, from any thread.
    """

    def __init__(
        self,
        server: _Server,
        name: str,
        connection: Connection | None = None,
        tables: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._server = server
        self._lock = RLock()
        self._tables = tables
        """The tables that are emptied when the database is closed; None drops it."""
        self.is_empty = connection is not None
        """Whether nothing was executed since the tables were created or emptied."""
        self._running = 0
        """Number of queries of `select` that run."""
        self._connection = server.connect() if connection is None else connection
        self._pool: dict[str, list[Connection]] = {}
        self._kept: list[str] = []
        if connection is None:
            run(self._connection, f"CREATE DATABASE {name}")
            run(self._connection, f"USE {name}")
        # A database that is not closed is dropped when nothing refers to it any more.
        self._finalizer = weakref.finalize(
            self, _drop_database, server, name, self._connection, self._pool, self._kept
        )
        self._finalizer.atexit = False

    def keep_files(self, tables: Iterable[str]) -> None:
        """Keep the files of tables when the database is closed."""
        self._kept += tables

    @property
    def is_closed(self) -> bool:
        """Whether the database is closed."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Empty or drop the database, or detach its files if it has a directory."""
        with self._lock:
            if self.is_closed or not self._recycle():
                self._finalizer()

    def _recycle(self) -> bool:
        """Keep the database, with empty tables, for another emulator; return whether it is kept."""
        server, tables = self._server, self._tables
        # A query that still runs must not see what another emulator stores.
        if tables is None or self._running or server.process != os.getpid():
            return False
        try:
            if {name for (name,) in self.rows("SHOW TABLES")} != set(tables):
                return False
            self.empty(tables)
        except ClickHouseError:
            return False
        with server.lock:
            if len(server.idle) >= _MAX_IDLE:
                return False
            self._finalizer.detach()
            server.idle.append(_IdleDatabase(tables, self.name, self._connection))
        for connections in self._pool.values():
            for connection in connections:
                server.close(connection)
        self._pool.clear()
        return True

    def execute(self, sql: str | bytes, values: Iterable[Any] = ()) -> None:
        """Execute a statement.

        Args:
            sql: The statement. Question marks are placeholders, unless it is `bytes`.
            values: The values of the placeholders.

        Raises:
            ClickHouseError: The statement is rejected or fails.
        """
        with self._lock:
            connection = self._checked()
            self.is_empty = False
            run(connection, sql if isinstance(sql, bytes) else bind(sql, values))

    def empty(self, tables: Iterable[str]) -> None:
        """Delete the rows of all its tables.

        Args:
            tables: The names of all tables.

        Raises:
            ClickHouseError: A statement fails.
        """
        with self._lock:
            connection = self._checked()
            # Truncating takes time even without rows, and tests empty their emulator often.
            # After TRUNCATE ALL TABLES, a later DELETE never ends.
            if not self.is_empty:
                for name in tables:
                    run(connection, f"TRUNCATE TABLE {identifier(name)}")
                self.is_empty = True

    def rows(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query as Python values, as JSON has them.

        Raises:
            ClickHouseError: The query is rejected or fails.
        """
        with self._lock:
            text = run(self._checked(), bind(sql, values), "JSONCompact")
        return [tuple(row) for row in from_json(text)["data"]]

    def function_names(self) -> frozenset[str]:
        """Return the names of the functions that this build of ClickHouse has."""
        if self._server.functions is None:
            rows = self.rows("SELECT name FROM system.functions")
            self._server.functions = frozenset(name for (name,) in rows)
        return self._server.functions

    def select(
        self,
        sql: str,
        format: str,
        *,
        settings: Mapping[str, object] | None = None,
        cancellation: Cancellation | None = None,
    ) -> bytes:
        """Run a query that can only read, and return the formatted result.

        Args:
            sql: One SELECT or DESCRIBE, without FORMAT, SETTINGS and INTO OUTFILE.
            format: The format, such as `JSONCompact`.
            settings: The settings of ClickHouse.
            cancellation: Cancels the query from another thread.

        Raises:
            ClickHouseError: The query is rejected, fails, reaches a limit or is cancelled.
        """
        server, tag = self._server, uuid4().hex
        token = Cancellation() if cancellation is None else cancellation
        with self._counted(), token.running(server, tag):
            key, connection = self._acquire(settings or {})
            try:
                text = run(connection, f"{_comment(tag)} {sql}", format)
            except BaseException:
                # Its state is uncertain after a failure, and a new one costs little.
                server.close(connection)
                raise
            self._release(key, connection)
            return text

    def execute_apart(self, sql: str | bytes) -> None:
        """Execute a statement on a connection of its own, in parallel with others.

        Raises:
            ClickHouseError: The statement is rejected or fails.
        """
        self._checked()
        connection = self._server.connect()
        try:
            run(connection, f"USE {self.name}")
            run(connection, sql)
        finally:
            self.is_empty = False
            self._server.close(connection)

    @contextmanager
    def _counted(self) -> Generator[None]:
        """Count a query while the block runs it."""
        with self._lock:
            self._checked()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    @contextmanager
    def insert_file(self) -> Generator[Path]:
        """Give the path of a file for `INSERT … FROM INFILE`, which is deleted afterwards."""
        self._checked()
        path = self._server.directory / f"insert-{next(self._server.numbers)}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def export(self, sql: str, path: Path, options: str) -> None:
        """Write the result of a query to a file, replacing it.

        Args:
            sql: A SELECT of this package.
            path: The file.
            options: What follows the file name, such as `FORMAT Parquet`.

        Raises:
            ClickHouseError: The query is rejected or fails.
        """
        self.execute_apart(f"{sql} INTO OUTFILE {literal(os.fspath(path))} TRUNCATE {options}")

    def release_memory(self) -> None:
        """Return unused memory of ClickHouse to the system."""
        # Not every build has this allocator.
        with suppress(ClickHouseError):
            self.execute("SYSTEM JEMALLOC PURGE")

    def check(self) -> None:
        """Check that the database can be used in this process.

        Raises:
            EngineUnavailableError: It is closed, or the process was forked.
        """
        self._checked()

    def _checked(self) -> Connection:
        if self._server.process != os.getpid():
            raise forked_error()
        if self.is_closed:
            raise EngineUnavailableError("the event store of the emulator is closed")
        return self._connection

    def _acquire(self, settings: Mapping[str, object]) -> tuple[str, Connection]:
        changes = "".join(f"{name} = {literal(value)}, " for name, value in settings.items())
        with self._lock:
            idle = self._pool.get(changes)
            if idle:
                return changes, idle.pop()
        connection = self._server.connect()
        try:
            # `readonly` comes last: after it no setting can be changed.
            run(connection, f"USE {self.name}")
            run(connection, f"SET {changes}readonly = 1")
        except BaseException:
            self._server.close(connection)
            raise
        return changes, connection

    def _release(self, key: str, connection: Connection) -> None:
        with self._lock:
            pooled = sum(len(idle) for idle in self._pool.values())
            if self._finalizer.alive and pooled < _MAX_POOLED:
                self._pool.setdefault(key, []).append(connection)
                return
        self._server.close(connection)


def _drop_database(
    server: _Server,
    name: str,
    connection: Connection,
    pool: dict[str, list[Connection]],
    kept: Sequence[str],
) -> None:
    if server.process != os.getpid():
        return
    for idle in pool.values():
        for pooled in idle:
            server.close(pooled)
    pool.clear()
    # Of a database that cannot be dropped, the server's directory goes at exit.
    with suppress(Exception):
        for table in kept:
            run(connection, f"DETACH TABLE {identifier(table)} SYNC")
        run(connection, f"DROP DATABASE {name}")
    server.close(connection)
