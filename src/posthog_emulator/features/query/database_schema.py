"""DatabaseSchemaQuery and HogQLAutocomplete: the tables of HogQL, and what may be typed next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.functions.tables import aggregate_functions, scalar_functions
from posthog_emulator.hogql.parse import Node, children, parse_expression, parse_select
from posthog_emulator.hogql.schema import TABLES
from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import is_array

from .result import Result, encode_json
from .runner import QuerySession, run_hogql
from .system_tables import system_columns
from .unknown_fields import check_query

__all__ = ["run_autocomplete", "run_database_schema"]

_TYPES: Final = {
    "string": "string", "uuid": "string", "int": "integer", "float": "float", "bool": "boolean",
    "datetime": "datetime", "date": "date", "array": "array",
}  # fmt: skip
"""Types of fields, by the kind of a column."""
_CLICKHOUSE: Final = (
    ("String", "string"), ("UUID", "string"), ("DateTime", "datetime"), ("Date", "date"),
    ("Array", "array"), ("Float", "float"), ("Decimal", "decimal"), ("Bool", "boolean"),
    ("Int", "integer"), ("UInt", "integer"),
)  # fmt: skip
"""Types of fields, by how the ClickHouse type of a column begins."""
_SHOWN: Final = {"datetime": "DateTime", "json": "Object", "lazy_table": "Table"}
"""Types as autocompletion shows them, where these are not just capitalized."""
_PLAIN: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
_WRAPPED: Final = re.compile(r"[@\-!$+]")
_MARK: Final = "__cursor__"
_TRIED: Final = (_MARK, f"{_MARK}}}", f"{_MARK} FROM events")
"""What completes a query that is being typed; in turn, until it parses."""
_MOST: Final = 220
"""How many properties are suggested."""


def run_database_schema(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a DatabaseSchemaQuery: the tables of HogQL with their fields.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    check_query(query, "includeFields", "tables")
    selection: Any = query.get("tables")
    names = [*TABLES, *system_columns(), *session.views]
    tables: dict[str, Any] = {}
    for name in names:
        if is_array(selection) and name not in selection:
            continue
        with_fields = query.get("includeFields") is not False
        tables[name] = {
            "id": name,
            "name": name,
            "type": "view" if name in session.views else
                    "system" if name.startswith("system.") else "posthog",
            "fields": _fields(session, name) if with_fields else {},
            "row_count": None,
        }  # fmt: skip
        if name in session.views:
            tables[name]["query"] = {"kind": "HogQLQuery", "query": session.views[name]}
    return Result(encode_json(tables), {"joins": []}, len(tables), "tables")


def _fields(session: QuerySession, table: str) -> dict[str, dict[str, Any]]:
    """Return the fields of a table or view, by name; nothing of an unknown one."""
    if table not in TABLES:
        columns = system_columns().get(table)
        types = _view_types(session, table) if columns is None else columns
        return {name: _field(name, _type_of(kind)) for name, kind in types.items()}
    table_schema = TABLES[table]
    fields = {
        name: _field(name, "json" if column.scope else _TYPES.get(column.kind, "unknown"))
        for name, column in table_schema.columns.items()
        if not column.hidden
    }
    for name, lazy in table_schema.lazy.items():
        inner = [key for key, column in TABLES[lazy.table].columns.items() if not column.hidden]
        fields[name] = {**_field(name, "lazy_table"), "table": lazy.table, "fields": inner}
    return fields


def _field(name: str, kind: str) -> dict[str, Any]:
    value = name if _PLAIN.match(name) else f"`{name}`"
    return {"name": name, "hogql_value": value, "type": kind, "schema_valid": True}


def _type_of(clickhouse: str) -> str:
    plain = clickhouse.removeprefix("Nullable(")
    return next((kind for start, kind in _CLICKHOUSE if plain.startswith(start)), "unknown")


def _view_types(session: QuerySession, view: str) -> dict[str, str]:
    if view not in session.views:
        return {}
    try:
        result = run_hogql(session, f"SELECT * FROM ({session.views[view]}) LIMIT 0", {})  # noqa: S608
    except ApiError:
        # A view may be broken: its table is listed without fields.
        return {}
    return dict(result.head["types"])


def run_autocomplete(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a HogQLAutocomplete: tables, fields, properties and functions at a position.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    check_query(query, "endPosition", "filters", "language", "query", "sourceQuery",
                "startPosition")  # fmt: skip
    language, text = query["language"], str(query["query"])
    if language not in ("hogQL", "hogQLExpr"):
        raise invalid(f"The emulator supports hogQL and hogQLExpr only, not {language}.")
    start, end = int(query["startPosition"]), int(query["endPosition"])
    suggestions: list[dict[str, Any]] = []
    more = False
    for typed in _TRIED:
        place = _place(f"{text[:end]}{typed}{text[end:]}", is_query=language == "hogQL")
        if place is not None:
            suggestions, more = _suggested(session, *place, text[start:end])
        if suggestions:
            break
    return Result(
        encode_json(suggestions), {"incomplete_list": more}, len(suggestions), "suggestions"
    )


def _place(text: str, *, is_query: bool) -> tuple[list[str], Node | None, str] | None:
    """Return the names before the cursor, the query around it, and what its field is part of."""
    try:
        tree = parse_select(text) if is_query else parse_expression(text)
    except HogQLError:
        return None
    if not is_query:
        tree = {**parse_select("SELECT 1 FROM events"), "select": [tree]}
    for node, select, parent in _walk(tree, None, ""):
        chain = [str(part) for part in node.get("chain") or ()] if node["node"] == "Field" else []
        for number, name in enumerate(chain):
            if _MARK in name:
                return chain[:number], select, parent
    return None


def _walk(node: Node, select: Node | None, parent: str) -> Iterator[tuple[Node, Node | None, str]]:
    yield node, select, parent
    inner = node if node["node"] == "SelectQuery" else select
    for child in children(node):
        yield from _walk(child, inner, str(node["node"]))


def _suggested(
    session: QuerySession, chain: list[str], select: Node | None, parent: str, typed: str
) -> tuple[list[dict[str, Any]], bool]:
    """Return what may follow, and whether there is more."""
    if parent == "JoinExpr":
        names = [*TABLES, *system_columns(), *session.views]
        prefix = "".join(f"{name}." for name in chain)
        rest = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        return [_item(name, "Folder", "Table") for name in rest], False
    if parent == "Placeholder":
        prefix = "" if chain == ["variables"] else "variables."
        codes = sorted(str(variable.get("code_name")) for variable in session.variables.values())
        return [_item(f"{prefix}{name}", "Constant", "Variable") for name in codes], False
    tables = dict(_tables(None if select is None else select.get("select_from")))
    if not tables:
        return [], False
    if not chain and any(alias for alias in tables):
        return [_item(alias, "Folder", "Table") for alias in tables if alias], False
    names = list(chain)
    table = (
        tables.pop(names.pop(0)) if names and names[0] in tables else next(iter(tables.values()))
    )
    while names and table in TABLES and names[0] in TABLES[table].lazy:
        table = TABLES[table].lazy[names.pop(0)].table
    column = TABLES[table].columns.get(names[0]) if names and table in TABLES else None
    if column is not None and column.scope:
        return _properties(session, column.scope, typed)
    if names:
        return [], False
    fields = [
        _item(name, "Variable", _SHOWN.get(definition["type"], definition["type"].capitalize()),
              f"`{name}`" if _WRAPPED.search(name) else name)
        for name, definition in _fields(session, table).items()
    ]  # fmt: skip
    return [*fields, *([] if chain else _functions())], False


def _tables(join: Node | None) -> Iterator[tuple[str, str]]:
    """Yield the aliases (empty for none) and names of the tables of a query."""
    while join:
        table: Node = join.get("table") or {"node": ""}
        if table["node"] == "Field":
            yield str(join.get("alias") or ""), ".".join(str(part) for part in table["chain"])
        join = join.get("next_join")


def _functions() -> list[dict[str, Any]]:
    names = sorted({*scalar_functions(), *aggregate_functions()})
    return [_item(name, "Function", None, f"{name}()") for name in names]


def _properties(session: QuerySession, scope: str, typed: str) -> tuple[list[dict[str, Any]], bool]:
    types = session.store().property_types(session.team_id)
    names = sorted(name for kind, name in types if kind == scope and typed in name)
    items = [_item(name, "Variable", types[scope, name]) for name in names[:_MOST]]
    return items, len(names) > _MOST


def _item(label: str, kind: str, detail: str | None, text: str | None = None) -> dict[str, Any]:
    return {"insertText": text or label, "label": label, "kind": kind, "detail": detail}
