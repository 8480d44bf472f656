"""TracesQuery, TraceQuery, SessionQuery and TraceNeighborsQuery: events of language models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from posthog_emulator.hogql.parse import Expression
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .dates import bound, local_now, query_period
from .entities import hogql_node
from .insight_results import insight_result
from .properties import Values, property_tests
from .result import Result, encode_json
from .runner import QuerySession, run_rows
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields

__all__ = ["run_ai_session", "run_trace", "run_trace_neighbors", "run_traces"]

_FIELDS: Final = ("kind", "dateRange", "properties", "modifiers", "tags", "version", "response")
_TRACES: Final = (*_FIELDS, "filterTestAccounts", "filterSupportTraces", "groupKey",
                  "groupTypeIndex", "limit", "offset", "personId",
                  "showColumnConfigurator")  # fmt: skip
_ROWS: Final = 100
_MARGIN: Final = timedelta(minutes=10)
"""How much longer than the time range a trace may last."""
_NEAR: Final = timedelta(days=3)
"""How far from a trace its neighbors are looked for."""
_ID: Final = "properties.$ai_trace_id"
_EVENTS: Final = (
    "event IN ('$ai_span', '$ai_generation', '$ai_embedding', '$ai_metric', '$ai_feedback', "
    "'$ai_trace') AND isNotNull(properties.$ai_trace_id) AND properties.$ai_trace_id != ''"
)
_LATENCY: Final = "toFloat(properties.$ai_latency)"
_PARENT: Final = "toString(properties.$ai_parent_id)"
_LISTED: Final = f"event IN ('$ai_metric', '$ai_feedback') OR {_PARENT} = {_ID}"
"""The events that a list of traces shows."""
_ROOT: Final = "event = '$ai_trace'"
_PAID: Final = "event IN ('$ai_generation', '$ai_embedding')"


def _sum(name: str) -> str:
    return f"sumIf(toFloat(properties.$ai_{name}), {_PAID})"


# What nests deeply is computed of the rows: the parser takes long for it.
_COLUMNS: Final[Mapping[str, str]] = {
    "id": _ID,
    "aiSessionId": "any(nullIf(properties.$ai_session_id, ''))",
    "createdAt": "toString(min(timestamp))",
    "distinctId": f"argMinIf(distinct_id, timestamp, {_ROOT})",
    "inputTokens": _sum("input_tokens"),
    "outputTokens": _sum("output_tokens"),
    "inputCost": _sum("input_cost_usd"),
    "outputCost": _sum("output_cost_usd"),
    "requestCost": _sum("request_cost_usd"),
    "webSearchCost": _sum("web_search_cost_usd"),
    "totalCost": _sum("total_cost_usd"),
    "inputState": f"argMinIf(properties.$ai_input_state, timestamp, {_ROOT})",
    "outputState": f"argMinIf(properties.$ai_output_state, timestamp, {_ROOT})",
    "traceName": f"argMinIf(name, timestamp, {_ROOT})",
    "errorCount": "countIf(properties.$ai_is_error = 'true' OR isNotNull(properties.$ai_error))",
    "isSupportTrace": "max(properties.ai_support_impersonated = 'true')",
    "tools": "groupArrayIf(properties.$ai_tools_called, event = '$ai_generation')",
    "events": "groupArrayIf(tuple(toString(timestamp), toString(uuid), event, properties), listed)",
}
"""HogQL of the fields of a trace."""
_MORE: Final = (
    "argMin(distinct_id, timestamp)",
    "argMin(name, timestamp)",
    f"maxIf(latency, {_ROOT})",
    "countIf(latency > 0 AND event != '$ai_generation')",
    "sumIf(latency, latency > 0)",
    f"sumIf(latency, isNull(properties.$ai_parent_id) OR {_PARENT} = {_ID})",
)
"""HogQL of what fields are completed by."""
_SQL: Final = (
    f"SELECT {', '.join([*_COLUMNS.values(), *_MORE])} FROM (SELECT event, distinct_id, timestamp, "  # noqa: S608
    f"uuid, properties, {_LATENCY} AS latency, {{listed}} AS listed, coalesce(nullIf("
    "properties.$ai_span_name, ''), nullIf(properties.$ai_trace_name, '')) AS name "
    f"FROM events WHERE {_EVENTS} AND {{where}}) GROUP BY {_ID} HAVING {{having}} "
    f"ORDER BY min(timestamp) DESC, {_ID} LIMIT {{limit}} OFFSET {{offset}}"
)


def run_traces(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a TracesQuery: the traces of a time range, the latest first.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    _check(query, _TRACES)
    values, period = Values(session), query_period(session, query, "minute")
    tests = [*_within(values, period.start, period.end), *_filters(query, values)]
    if query.get("personId"):
        tests.append(f"toString(person_id) = {values.add(str(query['personId']))}")
    if query.get("groupKey"):
        index = int(query.get("groupTypeIndex") or 0)
        tests.append(f"$group_{index} = {values.add(str(query['groupKey']))}")
    chosen = f"{_ID} IN (SELECT {_ID} FROM events WHERE {' AND '.join([_EVENTS, *tests])})"  # noqa: S608
    where = [chosen, *_within(values, period.start - _MARGIN, period.end + _MARGIN)]
    having = " AND ".join(_within(values, period.start, period.end, "min(timestamp)"))
    return _traces(query, values, where, _LISTED, having)


def run_trace(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a TraceQuery: one trace with all its events.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    _check(query, (*_FIELDS, "traceId"))
    values, period = Values(session), query_period(session, query, "minute")
    where = [
        f"{_ID} = {values.add(str(query['traceId']))}", *_filters(query, values),
        *_within(values, period.start - _MARGIN, period.end + _MARGIN),
    ]  # fmt: skip
    start, end = values.add(period.start), values.add(period.end)
    having = f"min(timestamp) <= {end} AND max(timestamp) >= {start}"
    return _traces(query, values, where, "event != '$ai_trace'", having)


def run_ai_session(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a SessionQuery: the traces of a session of a language model, with all events.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    _check(query, (*_FIELDS, "sessionId", "limit", "offset"))
    values, within = Values(session), list[str]()
    if as_object(query.get("dateRange")).get("date_from"):
        period = query_period(session, query, "minute")
        within = _within(values, period.start, period.end)
    named = f"properties.$ai_session_id = {values.add(str(query['sessionId']))}"
    tests = " AND ".join([_EVENTS, named, *within])
    where = [f"{_ID} IN (SELECT {_ID} FROM events WHERE {tests})", *within]  # noqa: S608
    return _traces(query, values, where, "event != '$ai_trace'", "true")


def run_trace_neighbors(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a TraceNeighborsQuery: the traces before and after a trace.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    _check(query, (*_FIELDS, "traceId", "timestamp", "filterTestAccounts", "filterSupportTraces"))
    given = as_object(query.get("dateRange"))
    at = bound(query["timestamp"], local_now(session))
    start, end = at - _NEAR, at + _NEAR
    if given.get("date_from") or given.get("date_to"):
        period = query_period(session, query, "minute")
        start, end = period.start, period.end
    found: dict[str, Any] = {}
    for name, sign, order in (("older", "<", "DESC"), ("newer", ">", "ASC")):
        values = Values(session)
        now = values.add(at)
        tests = [
            _EVENTS, f"timestamp {sign}= {now}", *_within(values, start, end),
            *_filters(query, values),
        ]  # fmt: skip
        rows = run_rows(
            session,
            f"SELECT {_ID} AS id, toString(max(timestamp)) FROM events "  # noqa: S608
            f"WHERE {' AND '.join(tests)} GROUP BY id HAVING max(timestamp) {sign} {now} OR "
            f"(max(timestamp) = {now} AND id {sign} {values.add(str(query['traceId']))}) "
            f"ORDER BY max(timestamp) {order}, id {order} LIMIT 1",
            values.by_name,
        )
        key, latest = rows[0] if rows else (None, None)
        found |= {f"{name}TraceId": key,
                  f"{name}Timestamp": latest and _iso(latest, session)}  # fmt: skip
    rest = dict(found)
    return Result(encode_json(rest.pop("olderTraceId")), rest, field="olderTraceId")


def _check(query: Mapping[str, Any], known: tuple[str, ...]) -> None:
    kind = str(query["kind"])
    reject_unknown_fields(query, known, kind)
    reject_unknown_fields(as_object(query.get("modifiers")), IGNORED_MODIFIERS, f"{kind}.modifiers")


def _within(values: Values, start: datetime, end: datetime, column: str = "timestamp") -> list[str]:
    return [f"{column} >= {values.add(start)}", f"{column} <= {values.add(end)}"]


def _filters(query: Mapping[str, Any], values: Values) -> list[str]:
    tests = property_tests(query.get("properties"), values)
    if query.get("filterTestAccounts"):
        tests += property_tests(values.session.test_account_filters, values)
    if query.get("filterSupportTraces"):
        tests.append("ifNull(toString(properties.ai_support_impersonated), '') != 'true'")
    return tests


def _traces(
    query: Mapping[str, Any], values: Values, where: list[str], listed: str, having: str
) -> Result:
    """Return the traces of the events that meet `where`, with those that are `listed`."""
    limit, skipped = int(query.get("limit") or _ROWS), int(query.get("offset") or 0)
    if limit < 0 or skipped < 0:
        raise invalid("limit and offset must not be negative.")
    session, nodes = values.session, {"where": " AND ".join(where), "listed": listed,
                                      "having": having}  # fmt: skip
    parts = {name: Expression(hogql_node(text)) for name, text in nodes.items()}
    # The text is always the same, so that it is parsed once.
    page = {"limit": limit + 1, "offset": skipped}
    rows = run_rows(session, _SQL, {**values.by_name, **parts, **page})
    return insight_result(
        [_trace(row, session) for row in rows[:limit]],
        columns=[*_COLUMNS, "totalLatency"],
        hasMore=len(rows) > limit,
        limit=limit,
        offset=skipped,
    )


def _trace(columns: list[Any], session: QuerySession) -> dict[str, Any]:
    row = dict(zip(_COLUMNS, columns, strict=False))
    person, name, own, others, generations, children = columns[len(_COLUMNS) :]
    # The latency of the trace itself, or else of its generations, or of all its children.
    latency = own or (generations if not others and generations else children)
    costs = {key: value and round(value, 10) for key, value in row.items() if key.endswith("Cost")}
    tools = ",".join(text for text in row["tools"] if text).split(",")
    return {
        **row,
        **costs,
        "createdAt": _iso(row["createdAt"], session),
        "distinctId": row["distinctId"] or person,
        "traceName": row["traceName"] or name,
        "totalLatency": latency and round(latency, 2),
        "inputState": _state(row["inputState"]),
        "outputState": _state(row["outputState"]),
        "isSupportTrace": bool(row["isSupportTrace"]),
        "tools": [tool for tool in dict.fromkeys(tools) if tool],
        "events": [
            {"id": uuid, "event": event, "createdAt": _iso(at, session),
             "properties": json.loads(properties)}
            for at, uuid, event, properties in sorted(row["events"])
        ],
    }  # fmt: skip


def _state(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _iso(text: str, session: QuerySession) -> str:
    """Return a time of the project's time zone in ISO 8601."""
    zone = local_now(session).tzinfo
    return datetime.fromisoformat(text).replace(tzinfo=zone).isoformat()
