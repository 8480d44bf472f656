"""DatabaseSchemaQuery: the tables that HogQL reads, with their columns and types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.hogql.schema import TABLES, Table
from posthog_emulator.json_types import is_array

from .result import Result, encode_json
from .runner import QuerySession
from .unknown_fields import reject_unknown_fields

__all__ = ["run_database_schema"]

_TYPES: Final = {
    "int": "integer",
    "float": "float",
    "decimal": "decimal",
    "datetime": "datetime",
    "date": "date",
    "bool": "boolean",
    "array": "array",
}
"""Types of the response by the kind of a column; others are strings."""
_HIDDEN: Final = "raw_"
"""Prefix of tables that the server does not list."""


def run_database_schema(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a DatabaseSchemaQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    known = {"kind", "modifiers", "tags", "version", "response", "tables", "includeFields"}
    reject_unknown_fields(query, known, "DatabaseSchemaQuery")
    names = query.get("tables")
    wanted = set(names) if is_array(names) else None
    with_fields = query.get("includeFields") is not False
    tables = {
        name: _table(name, table, with_fields=with_fields)
        for name, table in TABLES.items()
        if not name.startswith(_HIDDEN) and (wanted is None or name in wanted)
    }
    return Result(encode_json(tables), {"joins": []}, field="tables")


def _table(name: str, table: Table, *, with_fields: bool) -> dict[str, Any]:
    fields = {
        column: {
            "name": column,
            "hogql_value": column if column.isidentifier() else f"`{column}`",
            "type": "json" if spec.scope else _TYPES.get(spec.kind, "string"),
            "schema_valid": True,
        }
        for column, spec in table.columns.items()
        if not spec.hidden
    }
    lazy = {
        column: {
            "name": column,
            "hogql_value": column,
            "type": "lazy_table",
            "schema_valid": True,
            "table": join.table,
            "fields": [name for name, spec in _columns_of(join.table) if not spec.hidden],
        }
        for column, join in table.lazy.items()
    }
    return {
        "type": "posthog",
        "id": name,
        "name": name,
        "fields": {**fields, **lazy} if with_fields else {},
    }


def _columns_of(table: str) -> list[tuple[str, Any]]:
    return list(TABLES[table].columns.items()) if table in TABLES else []
