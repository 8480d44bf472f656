"""A SQLAlchemy dialect: `create_engine("posthog://:phx_key@us.posthog.com/12345")`. Read-only.

Needs `asyncposthog[sqlalchemy]`. The URL has the API key as the password, the host, and the project
id as the database; `?scheme=http` is for a server on this machine. What is missing comes from the
environment, so that `posthog://` is enough if that is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import exc, types
from sqlalchemy.engine import default, reflection
from sqlalchemy.sql import compiler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import URL, Connection

    from asyncposthog.dbapi.connection import Table

__all__ = ["PostHogDialect"]

_TYPES: Final[Mapping[str, types.TypeEngine[Any]]] = {
    "integer": types.BigInteger(),
    "float": types.Float(),
    "decimal": types.Numeric(),
    "string": types.String(),
    "datetime": types.DateTime(timezone=True),
    "date": types.Date(),
    "boolean": types.Boolean(),
    "json": types.String(),  # the JSON text, as HogQL returns it
}
"""Types of columns; others are not converted."""
_URL_OPTIONS: Final = frozenset({"scheme", "timeout"})


class PostHogCompiler(compiler.SQLCompiler):
    """Writes HogQL."""

    def limit_clause(self, select: Any, **kw: Any) -> str:
        """Return the LIMIT, as a number.

        Raises:
            CompileError: The statement has an OFFSET, which the server rejects.
        """
        if select._offset_clause is not None:
            raise exc.CompileError(
                "PostHog rejects OFFSET for API keys: use a WHERE condition on a key"
            )
        if select._limit_clause is None:
            return ""
        limit = select._limit_clause.render_literal_execute()
        return f"\n LIMIT {self.process(limit, **kw)}"

    def for_update_clause(self, select: Any, **kw: Any) -> Any:
        """Return nothing: nothing can be locked."""
        return ""


class PostHogIdentifierPreparer(compiler.IdentifierPreparer):
    """Quotes names as HogQL does."""

    def __init__(self, dialect: Any, **kw: Any) -> None:
        """Use backticks."""
        super().__init__(dialect, initial_quote="`", escape_quote="`", **kw)


class PostHogDialect(default.DefaultDialect):
    """The dialect `posthog`, over `asyncposthog.dbapi`."""

    name = "posthog"
    driver = "asyncposthog"
    default_paramstyle = "qmark"
    statement_compiler = PostHogCompiler
    preparer = PostHogIdentifierPreparer
    supports_statement_cache = True
    supports_native_boolean = True
    supports_native_decimal = True
    supports_native_uuid = False
    supports_alter = False
    supports_sequences = False
    supports_empty_insert = False
    supports_sane_rowcount = False
    supports_sane_multi_rowcount = False
    insert_returning = update_returning = delete_returning = False
    max_identifier_length = 255

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return the DB-API module."""
        from asyncposthog import dbapi

        return dbapi

    def create_connect_args(self, url: URL) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of `dbapi.connect` for a URL.

        Raises:
            ArgumentError: The URL has a user, an option that is unknown, or an invalid one.
        """
        if url.username:
            # A URL shows its user in logs, and hides its password.
            raise exc.ArgumentError(
                "the API key belongs in the place of the password: "
                "posthog://:phx_key@host/project_id, with a colon before it"
            )
        options = dict(url.query)
        unknown = sorted(set(options) - _URL_OPTIONS)
        if unknown:
            raise exc.ArgumentError(f"{unknown[0]!r} is not an option of posthog:// URLs")
        scheme = options.get("scheme", "https")
        if scheme not in {"http", "https"}:
            raise exc.ArgumentError(f"scheme must be http or https, not {scheme!r}")
        settings: dict[str, Any] = {}
        if url.host:
            port = "" if url.port is None else f":{url.port}"
            settings["host"] = f"{scheme}://{url.host}{port}"
        if url.password:
            settings["api_key"] = str(url.password)
        if url.database:
            settings["project_id"] = url.database
        if "timeout" in options:
            try:
                settings["timeout"] = float(str(options["timeout"]))
            except ValueError:
                raise exc.ArgumentError("timeout must be a number of seconds") from None
        return [], settings

    def _get_server_version_info(self, connection: Connection) -> None:
        return None

    def _get_default_schema_name(self, connection: Connection) -> Any:
        return None

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Return True if a query works."""
        dbapi_connection.execute("SELECT 1").close()
        return True

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Return whether an error means that the connection is closed."""
        from asyncposthog.dbapi import InterfaceError

        return isinstance(e, InterfaceError) and "connection is closed" in str(e)

    @reflection.cache
    def _tables(self, connection: Connection, **kw: Any) -> dict[str, Table]:
        raw: Any = connection.connection.dbapi_connection
        return raw.tables()

    def _names(self, connection: Connection, schema: str | None, *, views: bool, **kw: Any) -> Any:
        """Return names of tables; a schema is what stands before the dot of a name."""
        tables = self._tables(connection, **kw)  # pyright: ignore[reportUnknownVariableType]
        names = [name for name, table in tables.items() if table.is_view == views]
        if schema is None:
            return [name for name in names if "." not in name]
        return [name.removeprefix(f"{schema}.") for name in names if name.startswith(f"{schema}.")]

    def get_schema_names(self, connection: Connection, **kw: Any) -> list[str]:
        """Return what stands before the dot of names of tables, such as `system`."""
        tables = self._tables(connection, **kw)
        return sorted({name.partition(".")[0] for name in tables if "." in name})

    def get_table_names(
        self, connection: Connection, schema: str | None = None, **kw: Any
    ) -> list[str]:
        """Return the names of the tables."""
        return self._names(connection, schema, views=False, **kw)

    def get_view_names(
        self, connection: Connection, schema: str | None = None, **kw: Any
    ) -> list[str]:
        """Return the names of the views."""
        return self._names(connection, schema, views=True, **kw)

    def has_table(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> bool:
        """Return whether there is a table or a view of that name."""
        name = table_name if schema is None else f"{schema}.{table_name}"
        return name in self._tables(connection, **kw)

    def get_columns(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> Any:
        """Return the columns of a table.

        Raises:
            NoSuchTableError: There is no such table.
        """
        name = table_name if schema is None else f"{schema}.{table_name}"
        table = self._tables(connection, **kw).get(name)
        if table is None:
            raise exc.NoSuchTableError(name)
        return [
            {
                "name": column,
                "type": _TYPES.get(kind, types.NULLTYPE),
                "nullable": True,
                "default": None,
            }
            for column, kind in table.columns.items()
        ]

    def get_pk_constraint(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> Any:
        """Return no primary key: the server names none."""
        return {"constrained_columns": [], "name": None}

    def get_foreign_keys(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> Any:
        """Return no foreign keys."""
        return []

    def get_indexes(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> Any:
        """Return no indexes."""
        return []
