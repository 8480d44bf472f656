"""The six default tools. Together they reach the whole API, and their definitions are small."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from asyncposthog.catalog.arguments import ArgumentError

from .operations import Refused, read_only_refusal
from .safety import PlanError, new_plan_id
from .tools import Noted, Tool

if TYPE_CHECKING:
    from asyncposthog.query.result import QueryResult

    from .context import Context

__all__ = ["core_tools"]

_DEFAULT_ROWS: Final = 1000
"""The LIMIT of a query that has none."""
_READS: Final = re.compile(
    r"^\s*(?:(?:--|//)[^\n]*\n|/\*.*?\*/|\s|\()*(?:select|with)\b", re.I | re.S
)
_QUESTION: Final = (
    "It does not turn a question into HogQL: write the query yourself and pass it as query, such "
    "as SELECT event, count() AS n FROM events WHERE timestamp >= now() - INTERVAL 30 DAY "
    "GROUP BY event ORDER BY n DESC LIMIT 10."
)
_AS_QUERY: Final = "Pass the HogQL as query."
_FILE_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
_PERIOD: Final = ("events", "persons", "sessions")


def core_tools(context: Context) -> list[Tool]:
    """Return the default tools of a toolkit."""
    return [
        _search(context),
        _describe(context),
        _read(context),
        # Hidden in a read-only toolkit, which then says why there is no such tool.
        _write(context),
        _query(context),
        _export(context),
    ]


def _object(required: tuple[str, ...] = (), **properties: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | ({"required": list(required)} if required else {})


_TEXT: Final = {"type": "string"}
_OPERATION: Final = {"type": "string", "description": "such as feature_flags.list"}
_ARGUMENTS: Final = {"type": "object", "description": "see describe_operation"}


def _mapping(arguments: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an argument that is an object; an empty one if it was left out.

    Raises:
        ArgumentError: It is an array.
    """
    value: object = arguments.get(name) or {}
    if not isinstance(value, Mapping):
        raise ArgumentError(
            f"{name} must be an object, not an array.", field=name, expected="object"
        )
    return cast("Mapping[str, Any]", value)


def _search(context: Context) -> Tool:
    async def run(arguments: dict[str, Any]) -> Any:
        found = context.operations.search(arguments["query"], min(arguments.get("limit", 5), 20))
        if not found:
            return Noted([], ("Nothing fits: describe the task in other words.",))
        return found

    return Tool(
        name="search_operations",
        description="Find PostHog API operations by what they do.",
        input_schema=_object(
            ("query",), query={"type": "string", "description": "the task, in words"},
            limit={"type": "integer"},
        ),
        run=run,
        tags=frozenset({"core"}),
    )  # fmt: skip


def _describe(context: Context) -> Tool:
    async def run(arguments: dict[str, Any]) -> Any:
        operation = context.operations.find(arguments["operation"])
        return context.operations.describe(operation, arguments.get("field"))

    return Tool(
        name="describe_operation",
        description="Arguments, types and result of an operation.",
        input_schema=_object(
            ("operation",), operation=_OPERATION,
            field={"type": "string", "description": "an argument to look into: filters.groups"},
        ),
        run=run,
        tags=frozenset({"core"}),
    )  # fmt: skip


def _read(context: Context) -> Tool:
    async def run(arguments: dict[str, Any]) -> Any:
        operation = context.operations.find(arguments["operation"])
        if operation.writes:
            if context.read_only:
                raise read_only_refusal(operation.id)
            raise Refused(
                f"{operation.id} changes something; read_operation only reads.",
                "not_a_read",
                "Use write_operation.",
            )
        call = context.operations.prepare(operation, _mapping(arguments, "arguments"))
        return await context.operations.read(
            call, arguments.get("fields"), _mapping(arguments, "page")
        )

    return Tool(
        name="read_operation",
        description="Run an operation that only reads.",
        input_schema=_object(
            ("operation",), operation=_OPERATION, arguments=_ARGUMENTS,
            fields={
                "type": "array", "items": _TEXT,
                "description": "only these fields of each object: saves space",
            },
            page={"type": "object", "description": "next_page of the previous result"},
        ),
        run=run,
        tags=frozenset({"core"}),
    )  # fmt: skip


def _write(context: Context) -> Tool:
    async def run(arguments: dict[str, Any]) -> Any:
        plan_id = arguments.get("plan_id")
        if plan_id:
            return await _carry_out(context, plan_id)
        if "operation" not in arguments:
            raise ArgumentError(
                "write_operation needs an operation, or the plan_id of a plan.",
                field="operation",
                expected="an id from search_operations",
            )
        operation = context.operations.find(arguments["operation"])
        if not operation.writes:
            raise Refused(f"{operation.id} only reads.", "not_a_write", "Use read_operation.")
        return await _plan(context, operation.id, _mapping(arguments, "arguments"))

    return Tool(
        name="write_operation",
        description="Change something. First call: returns a plan, nothing is changed. "
        "Second call, with plan_id alone: carries it out.",
        input_schema=_object(
            operation=_TEXT, arguments=_ARGUMENTS, plan_id=_TEXT
        ),
        run=run,
        writes=True,
        destructive=True,
        read_only=False,
        tags=frozenset({"core"}),
        asks_itself=True,
    )  # fmt: skip


async def _plan(context: Context, operation_id: str, given: Mapping[str, Any]) -> Any:
    operation = context.operations.find(operation_id)
    call = context.operations.prepare(operation, given)
    call, request = await context.operations.preview(
        "write_operation", call, given, None if context.dry_run else new_plan_id()
    )
    shown: dict[str, Any] = {"request": f"{request.method} {request.url}", "body": request.body}
    if request.destructive:
        shown["destructive"] = True
    if context.dry_run:
        return Noted(shown, ("Dry run: this would be sent; nothing is carried out.",))
    plan = context.plans.add(operation, call, request, context.operations.now())
    shown = {"plan_id": plan.id, "expires_in_seconds": round(context.plans.seconds), **shown}
    return Noted(shown, ("Nothing was changed yet. Carry it out with plan_id.",))


async def _carry_out(context: Context, plan_id: str) -> Any:
    try:
        plan = context.plans.take(plan_id, context.operations.now())
    except PlanError as error:
        hint = "Read whether it was done. Make a new plan if it is to be done."
        raise Refused(str(error), error.code, hint) from None
    # The settings may have changed since the plan was made.
    context.operations.check(plan.operation)
    await context.approve_write(plan.request)
    result = await context.operations.run(plan.call)
    return {"done": plan.operation.id} if result is None else result


def _query(context: Context) -> Tool:
    async def run(arguments: dict[str, Any]) -> Any:
        sql = arguments["query"]
        text, limited = _bounded(sql)
        result = await context.client.query(
            text,
            timeout=context.query_timeout,
            name="asyncposthog toolkit",
        )
        return rows(result, limited)

    return Tool(
        name="query_posthog",
        description="Run HogQL (ClickHouse SQL, SELECT only) on events, persons, sessions, groups. "
        "Columns: event, timestamp, distinct_id, properties.NAME, person.properties.NAME. "
        "Aggregate, and use LIMIT.",
        input_schema=_object(("query",), query=_TEXT),
        run=run,
        tags=frozenset({"core", "query", "analytics"}),
        resource="query",
        scopes=("query:read",),
        hints={"question": _QUESTION, "sql": _AS_QUERY, "hogql": _AS_QUERY},
    )


def _bounded(sql: str) -> tuple[str, bool]:
    """Return a query with a LIMIT, and whether it was added.

    Raises:
        ArgumentError: It is not a SELECT.
    """
    if not _READS.match(sql):
        raise ArgumentError(
            "query_posthog only reads: the query must be a SELECT.",
            field="query",
            expected="HogQL that begins with SELECT or WITH",
        )
    from asyncposthog.query.sql_scan import scan_sql

    scan = scan_sql(sql)
    if scan.limits != (None,):
        return sql, False
    return f"{sql[: scan.end]}\nLIMIT {_DEFAULT_ROWS}", True


def rows(result: QueryResult, limited: bool = False) -> Noted:
    """Return the result of a query, with what was cut."""
    found = result.results
    notes: list[str] = []
    if result.truncated:
        notes.append(f"PostHog cut the result at {len(found or ())} rows: aggregate, or use LIMIT.")
    elif limited and isinstance(found, list) and len(found) >= _DEFAULT_ROWS:  # pyright: ignore[reportUnknownArgumentType]
        notes.append(
            f"LIMIT {_DEFAULT_ROWS} was added, and there may be more rows: aggregate, or set a "
            "LIMIT, or use export_data."
        )
    if result.raw.get("columns") is None:
        return Noted(found, tuple(notes))
    return Noted({"columns": list(result.columns), "rows": found}, tuple(notes))


def _export(context: Context) -> Tool:
    async def run(arguments: dict[str, Any]) -> Any:
        source, suffix = arguments["source"], arguments.get("format", "jsonl")
        job = _job(context, source, arguments)
        folder = await context.export_folder()
        stem = _FILE_NAME.sub("-", arguments.get("name") or source).strip(".-")[:80] or source
        path = await anyio.to_thread.run_sync(_free_path, folder, stem, suffix)
        if suffix == "csv":
            report = await job.to_csv(path)
        elif suffix == "parquet":
            report = await job.to_parquet(path)
        else:
            report = await job.to_jsonl(path)
        return {"file": str(path), "rows": report.rows}

    return Tool(
        name="export_data",
        description="Write many rows to a local file; returns its path.",
        input_schema=_object(
            ("source",),
            source={"enum": [*_PERIOD, "query"]},
            start={"type": "string", "description": "ISO date"},
            end=_TEXT,
            event=_TEXT,
            query={"type": "string", "description": "HogQL with a column uuid; no ORDER BY, LIMIT"},
            format={"enum": ["jsonl", "csv", "parquet"]},
        ),
        run=run,
        read_only=False,
        tags=frozenset({"core", "export"}),
        resource="query",
        scopes=("query:read",),
    )  # fmt: skip


def _job(context: Context, source: str, arguments: Mapping[str, Any]) -> Any:
    export = context.client.export
    if source == "query":
        if not arguments.get("query"):
            raise ArgumentError("source='query' needs a query.", field="query", expected="HogQL")
        return export.hogql(arguments["query"], key="uuid")
    period: list[datetime] = []
    for name in ("start", "end"):
        value = arguments.get(name)
        if not value:
            raise ArgumentError(
                f"source={source!r} needs {name}.", field=name, expected="a date such as 2026-01-31"
            )
        period.append(context.parse_time(name, value))
    if source == "events":
        return export.events(*period, event=arguments.get("event"))
    return export.persons(*period) if source == "persons" else export.sessions(*period)


def _free_path(folder: Path, stem: str, suffix: str) -> Path:
    """Return the path of a file that does not exist yet."""
    path = folder / f"{stem}.{suffix}"
    number = 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.{suffix}", number + 1
    return path
