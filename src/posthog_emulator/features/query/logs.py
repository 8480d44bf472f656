"""LogsQuery, LogAttributesQuery and LogValuesQuery: the log records of a project."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .dates import bound, local_now, query_period
from .insight_results import insight_result
from .properties import Values, property_tests
from .result import Result
from .runner import QuerySession, run_rows
from .unknown_fields import check_query

__all__ = ["run_log_attributes", "run_log_values", "run_logs"]

_FILTERS: Final = ("dateRange", "filterGroup", "serviceNames", "severityLevels", "limit", "offset")
_ROWS: Final = 100
_MOST: Final = 2_000
_UTC: Final = "formatDateTime({}, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC')"
_COLUMNS: Final[Mapping[str, str]] = {
    **{name: name for name in ("uuid", "trace_id", "span_id", "body", "attributes")},
    "timestamp": _UTC.format("timestamp"),
    "observed_timestamp": _UTC.format("observed_timestamp"),
    **{name: name for name in ("severity_text", "severity_number", "level",
                               "resource_attributes", "event_name")},
}  # fmt: skip
_MAPS: Final = ("attributes", "resource_attributes")
_TEXT: Final = "replaceRegexpAll(JSONExtractRaw({}, {}), '^\"|\"$', '')"


def run_logs(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a LogsQuery: log records, the latest first.

    Raises:
        ApiError: 400, the query is invalid or uses something that the emulator does not support.
    """
    check_query(query, *_FILTERS, "after", "excludeAttributes", "orderBy", "searchTerm",
                "sparklineBreakdownBy", "sparklineRankBy")  # fmt: skip
    values = Values(session)
    source, tests = _source(query, values)
    if query.get("searchTerm"):
        tests.append(f"position(lower(body), {values.add(str(query['searchTerm']).lower())}) > 0")
    sign, order = (">", "ASC") if query.get("orderBy") == "earliest" else ("<", "DESC")
    if query.get("after"):
        at, key = _cursor(str(query["after"]))
        moment = values.add(bound(at, local_now(session)))
        tests.append(
            f"(timestamp {sign} {moment} OR (timestamp = {moment} "
            f"AND uuid {sign} {values.add(key)}))"
        )
    limit, skipped = _page(query)
    rows = run_rows(
        session,
        f"SELECT {', '.join(_COLUMNS.values())} FROM ({source}) WHERE {' AND '.join(tests)} "  # noqa: S608
        f"ORDER BY timestamp {order}, uuid {order} LIMIT {limit + 1} OFFSET {skipped}",
        values.by_name,
    )
    results: list[dict[str, Any]] = []
    for row in rows[:limit]:
        item = dict(zip(_COLUMNS, row, strict=True))
        for name in _MAPS:
            item[name] = {} if query.get("excludeAttributes") else json.loads(item[name])
        results.append(item)
    more, cursor = len(rows) > limit, None
    if more and results:
        last = {name: results[-1][name] for name in ("timestamp", "uuid")}
        cursor = base64.b64encode(json.dumps(last).encode()).decode()
    return insight_result(results, hasMore=more, limit=limit, offset=skipped, nextCursor=cursor)


def run_log_attributes(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a LogAttributesQuery: names of attributes, the most frequent first.

    Raises:
        ApiError: 400, the query is invalid or uses something that the emulator does not support.
    """
    check_query(query, *_FILTERS, "attributeType", "search")
    column, kind = _column(query)
    keys = f"arrayJoin(mapKeys(JSONExtract({column}, 'Map(String, String)')))"
    names = _counted(session, query, keys)
    limit, skipped = _page(query)
    items = [
        {"name": name, "propertyFilterType": kind, "matchedOn": "key", "matchedValue": None}
        for name in names[skipped : skipped + limit]
    ]
    return insight_result(items, count=len(names))


def run_log_values(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a LogValuesQuery: values of an attribute, the most frequent first.

    Raises:
        ApiError: 400, the query is invalid or uses something that the emulator does not support.
    """
    check_query(query, *_FILTERS, "attributeKey", "attributeType", "search")
    column, _ = _column(query)
    names = _counted(session, query, _TEXT.format(column, "{key}"), str(query["attributeKey"]))
    limit, skipped = _page(query)
    return insight_result([{"id": name, "name": name} for name in names[skipped : skipped + limit]])


def _counted(
    session: QuerySession, query: Mapping[str, Any], text: str, key: str = ""
) -> list[str]:
    """Return texts of log records that contain `search`, the most frequent first."""
    values = Values(session)
    source, tests = _source(query, values)
    search = values.add(str(query.get("search") or "").lower())
    rows = run_rows(
        session,
        f"SELECT text, count() AS total FROM (SELECT {text} AS text FROM ({source}) "  # noqa: S608
        f"WHERE {' AND '.join(tests)}) WHERE text != '' AND position(lower(text), {search}) > 0 "
        "GROUP BY text ORDER BY total DESC, text LIMIT 50000",
        {**values.by_name, "key": key},
    )
    return [str(row[0]) for row in rows]


def _column(query: Mapping[str, Any]) -> tuple[str, str]:
    if query.get("attributeType") == "resource":
        return "resource_attributes", "log_resource_attribute"
    return "attributes", "log_attribute"


def _source(query: Mapping[str, Any], values: Values) -> tuple[str, list[str]]:
    """Return the query of the log records, and conditions on its columns."""
    period = query_period(values.session, query, "minute")
    tests = [f"timestamp >= {values.add(period.start)}", f"timestamp <= {values.add(period.end)}"]
    service = _TEXT.format("resource_attributes", "'service.name'")
    for name, column in (("serviceNames", service), ("severityLevels", "level")):
        if query.get(name):
            tests.append(f"{column} IN {values.add(tuple(str(one) for one in query[name]))}")
    extra: list[str] = []
    tests += property_tests(_columns_of(query.get("filterGroup"), extra, values), values)
    return f"SELECT {', '.join(['*', *extra])} FROM logs", tests  # noqa: S608


def _columns_of(filters: Any, extra: list[str], values: Values) -> Any:
    """Return filters by attributes as filters by columns, which are added to `extra`."""
    if is_array(filters):
        return [_columns_of(entry, extra, values) for entry in filters]
    entry = as_object(filters)
    if "key" not in entry:
        if not entry:
            return []
        return {**entry, "values": _columns_of(entry.get("values") or [], extra, values)}
    name, kind = str(entry["key"]), str(entry.get("type"))
    if kind == "log":
        name = {"message": "body", "severity_level": "level"}.get(name, name)
        return {**entry, "type": "data_warehouse", "key": name}
    if kind not in ("log_attribute", "log_resource_attribute"):
        raise invalid(f"The emulator does not filter log records by {kind!r}.")
    column = "attributes" if kind == "log_attribute" else "resource_attributes"
    text = f"nullIf({_TEXT.format(column, values.add(name))}, '')"
    numbers = _numbers(entry.get("value")) if kind == "log_attribute" else None
    # Attributes are compared as numbers if all that they are compared with are.
    extra.append(f"{text if numbers is None else f'toFloat({text})'} AS filtered_{len(extra)}")
    value = entry.get("value") if numbers is None else numbers
    return {**entry, "type": "data_warehouse", "key": f"filtered_{len(extra) - 1}", "value": value}


def _numbers(value: Any) -> list[float] | None:
    items: Any = value if is_array(value) else [value]
    try:
        return [float(item) for item in items] or None
    except (TypeError, ValueError):
        return None


def _cursor(text: str) -> tuple[str, str]:
    try:
        position = as_object(json.loads(base64.b64decode(text)))
        return str(position["timestamp"]), str(position["uuid"])
    except (ValueError, KeyError):
        raise invalid("Invalid cursor format.", "query__after") from None


def _page(query: Mapping[str, Any]) -> tuple[int, int]:
    limit, skipped = int(query.get("limit") or _ROWS), int(query.get("offset") or 0)
    if limit < 0 or skipped < 0:
        raise invalid("limit and offset must not be negative.")
    return min(limit, _MOST), skipped
