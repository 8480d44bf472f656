"""Connections of the DB-API: an event loop in a thread, with the connections of a client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, cast

from asyncposthog.client import AsyncPostHog
from asyncposthog.core.background import BackgroundLoop
from asyncposthog.core.resource import get_executor
from asyncposthog.query.service import QueryService

from . import errors
from .cursor import Cursor
from .errors import InterfaceError, NotSupportedError, translated_errors

__all__ = ["Connection", "Table", "connect"]

_NOT_COLUMNS: Final = frozenset({
    "lazy_table", "virtual_table", "field_traverser", "view", "materialized_view",
})  # fmt: skip
"""Types of fields that are joined tables, or lead to columns of them."""


def connect(
    client: AsyncPostHog | None = None, *, timeout: float | None = None, **settings: Any
) -> Connection:
    """Return a connection that reads with HogQL. Nothing is sent before the first statement.

    Args:
        client: The client whose settings and rate limits are used. It can be used and closed
            independently. None: one is built.
        timeout: Seconds that a statement may take, for each page of 50,000 rows; None: no limit
            but those of the client and the server.
        **settings: Settings of the client that is built: `api_key`, `project_id`, `host`, …; by
            default from the environment.

    Raises:
        OperationalError: A setting is missing or invalid.
        TypeError: Settings were given beside a client.
    """
    if client is not None and settings:
        raise TypeError(
            f"connect() takes a client or settings, not both: {', '.join(sorted(settings))}"
        )
    with translated_errors():
        return Connection(AsyncPostHog(**settings) if client is None else client, timeout=timeout)


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view."""

    name: str
    is_view: bool
    columns: Mapping[str, str]
    """The type of each column: `string`, `integer`, `float`, `decimal`, `datetime`, `date`,
    `boolean`, `array`, `json` or another name that the server uses."""


def _table(name: str, entry: Mapping[str, Any]) -> Table:
    fields = cast("Mapping[str, Mapping[str, Any]]", entry.get("fields") or {})
    columns = {
        column: str(field.get("type"))
        for column, field in fields.items()
        if field.get("type") not in _NOT_COLUMNS
    }
    return Table(name, str(entry.get("type", "")).endswith("view"), columns)


class Connection:
    """A connection of PEP 249. Threads may share it; a cursor is for one thread at a time.

    There are no transactions: `commit` and `rollback` do nothing. As a context manager it is closed
    at the end.
    """

    Warning: Final = errors.Warning
    Error: Final = errors.Error
    InterfaceError: Final = errors.InterfaceError
    DatabaseError: Final = errors.DatabaseError
    DataError: Final = errors.DataError
    OperationalError: Final = errors.OperationalError
    IntegrityError: Final = errors.IntegrityError
    InternalError: Final = errors.InternalError
    ProgrammingError: Final = errors.ProgrammingError
    NotSupportedError: Final = errors.NotSupportedError

    def __init__(self, client: AsyncPostHog, *, timeout: float | None) -> None:
        """Start the event loop; see `connect`."""
        executor = get_executor(client.query).for_other_event_loop()
        self._loop = BackgroundLoop()
        self._loop.on_close(partial(executor.transport.aclose, cancel=True))
        self._host = executor.settings.host
        self.query: Final = QueryService(executor)
        """The queries of the connection, for its event loop."""
        self.timeout: Final = timeout

    @property
    def loop(self) -> BackgroundLoop:
        """The event loop.

        Raises:
            InterfaceError: The connection is closed.
        """
        if self._loop.is_closed:
            raise InterfaceError("the connection is closed: open another with connect()")
        return self._loop

    def cursor(self) -> Cursor:
        """Return a cursor.

        Raises:
            InterfaceError: The connection is closed.
        """
        _ = self.loop
        return Cursor(self)

    def execute(self, operation: str, parameters: Any = None) -> Cursor:
        """Execute a statement with a new cursor, and return the cursor."""
        return self.cursor().execute(operation, parameters)

    def tables(self) -> dict[str, Table]:
        """Return the tables and views of the project by name, as the server describes them.

        Raises:
            InterfaceError: The connection is closed.
            OperationalError: The server cannot be reached, or refuses the key.
        """
        with translated_errors():
            result = self.loop.run(partial(self.query, {"kind": "DatabaseSchemaQuery"}))
        entries = cast("Mapping[str, Any]", result.raw.get("tables") or {})
        return {name: _table(name, entry) for name, entry in sorted(entries.items())}

    def commit(self) -> None:
        """Do nothing: nothing is written.

        Raises:
            InterfaceError: The connection is closed.
        """
        _ = self.loop

    def rollback(self) -> None:
        """Do nothing: nothing is written.

        Raises:
            InterfaceError: The connection is closed.
        """
        _ = self.loop

    def close(self) -> None:
        """Cancel running statements, and close the connections to the server."""
        self._loop.close()

    def __enter__(self) -> Self:
        """Return the connection."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def __repr__(self) -> str:
        """Return the host, and whether it is closed."""
        state = "closed" if self._loop.is_closed else "open"
        return f"<asyncposthog.dbapi.Connection to {self._host}: {state}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Raise an error: a connection belongs to one process.

        Raises:
            NotSupportedError: Always.
        """
        raise NotSupportedError("a connection cannot be pickled: open one in each process")
