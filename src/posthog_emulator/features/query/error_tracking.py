"""ErrorTrackingQuery: the issues of captured exceptions, with how often and when they occur."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from posthog_emulator.hogql.parse import call, field
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .breakdowns import NULL_VALUE
from .dates import bound, local_now
from .insight_results import MAX_ROWS, all_rows, insight_result
from .properties import Values, property_tests
from .result import Result
from .runner import QuerySession, run_rows
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields

__all__ = ["run_error_breakdowns", "run_error_tracking"]

_FIELDS: Final = (
    "kind", "tags", "version", "modifiers", "response", "dateRange", "filterGroup",
    "filterTestAccounts", "issueId", "limit", "offset", "orderBy", "orderDirection", "personId",
    "searchQuery", "status", "useQueryV2", "useQueryV3", "volumeResolution", "withAggregations",
    "withFirstEvent", "withLastEvent",
)  # fmt: skip
_BREAKDOWN_FIELDS: Final = (
    "kind", "tags", "version", "modifiers", "response", "breakdownProperties", "dateRange",
    "filterGroup", "filterTestAccounts", "issueId", "maxValuesPerProperty",
)  # fmt: skip
_BREAKDOWN_DAYS: Final = timedelta(days=7)
_BREAKDOWN_VALUES: Final = 3
_ROWS: Final = 50
_MOST_TOKENS: Final = 10
_MOST_BUCKETS: Final = 1_000
_OLDEST: Final = timedelta(days=1460)
"""How far `all` goes back."""
_SEARCHED: Final = ("$exception_list", "$exception_types", "$exception_values",
                    "$exception_type", "$exception_message")  # fmt: skip
_EVENT: Final = "tuple(toString(uuid), distinct_id, toString(timestamp), properties)"
_EVENT_FIELDS: Final = ("uuid", "distinct_id", "timestamp", "properties")


def run_error_tracking(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an ErrorTrackingQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    reject_unknown_fields(query, _FIELDS, "ErrorTrackingQuery")
    modifiers = as_object(query.get("modifiers"))
    reject_unknown_fields(modifiers, IGNORED_MODIFIERS, "ErrorTrackingQuery.modifiers")
    limit, skipped = int(query.get("limit") or _ROWS), int(query.get("offset") or 0)
    resolution = int(query["volumeResolution"])
    if limit < 0 or skipped < 0 or not 0 <= resolution <= _MOST_BUCKETS:
        raise invalid(
            "limit and offset must not be negative, and volumeResolution must be from 0 to "
            f"{_MOST_BUCKETS:,}."
        )
    start, end = _range(session, query)
    issues, items = _known_issues(session), list[dict[str, Any]]()
    for row in _rows(session, query, start, end, resolution):
        issue = issues.get(row[0], {})
        if query.get("status") in (None, "all", issue.get("status") or "active"):
            items.append(_item(query, row, issue, start, (end - start) / max(resolution, 1)))
    order = str(query["orderBy"])
    # Descending by default, except by the time that an issue was first seen at.
    direction = query.get("orderDirection") or ("ASC" if order == "first_seen" else "DESC")
    items.sort(key=lambda item: item["id"])
    items.sort(
        key=lambda item: item[order] if order in item else item["aggregations"][order],
        reverse=direction == "DESC",
    )
    if query.get("withAggregations") is False:
        items = [{**item, "aggregations": None} for item in items]
    return insight_result(
        items[skipped : skipped + limit],
        columns=[],
        hasMore=len(items) > skipped + limit,
        limit=limit,
        offset=skipped,
    )


def run_error_breakdowns(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an ErrorTrackingBreakdownsQuery: the values of properties of an issue's exceptions.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    kind = str(query["kind"])
    reject_unknown_fields(query, _BREAKDOWN_FIELDS, kind)
    modifiers = as_object(query.get("modifiers"))
    reject_unknown_fields(modifiers, IGNORED_MODIFIERS, f"{kind}.modifiers")
    start, end = _range(session, query, _BREAKDOWN_DAYS)
    most = query.get("maxValuesPerProperty")
    most = _BREAKDOWN_VALUES if most is None else int(most)
    breakdowns: dict[str, Any] = {}
    for name in query["breakdownProperties"]:
        values = Values(session)
        value = values.add_node(call("toString", field("properties", str(name))))
        rows = run_rows(
            session,
            f"SELECT ifNull({value}, {values.add(NULL_VALUE)}) AS value, count() AS total "  # noqa: S608
            f"FROM events WHERE {' AND '.join(_tests(session, query, start, end, values))} "
            f"GROUP BY value ORDER BY total DESC, value",
            values.by_name,
            max_rows=MAX_ROWS,
        )
        if rows:
            shown = [{"value": text, "count": count} for text, count in rows[:most]]
            total = sum(count for _, count in rows)
            breakdowns[str(name)] = {"values": shown, "total_count": total}
    return insight_result(breakdowns)


def _range(
    session: QuerySession, query: Mapping[str, Any], oldest: timedelta = _OLDEST
) -> tuple[datetime, datetime]:
    date_range, now = as_object(query.get("dateRange")), local_now(session)
    reject_unknown_fields(date_range, ("date_from", "date_to", "explicitDate"), "dateRange")
    first, last = date_range.get("date_from"), date_range.get("date_to")
    start = now - oldest if first in (None, "", "all") else bound(first, now)
    return start, bound(last, now) if last else now


def _known_issues(session: QuerySession) -> dict[str, dict[str, Any]]:
    """Return the issues that the project has as objects, by id."""
    table = session.system_table("error_tracking_issues")
    if table is None:
        return {}
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {str(row["id"]): row for row in rows}


def _tests(
    session: QuerySession,
    query: Mapping[str, Any],
    start: datetime,
    end: datetime,
    values: Values,
) -> list[str]:
    """Return the conditions on exceptions."""
    tests = [
        "event = '$exception'", "isNotNull(issue_id)",
        f"timestamp >= {values.add(start)}", f"timestamp <= {values.add(end)}",
        *property_tests(query.get("filterGroup"), values),
    ]  # fmt: skip
    if query.get("filterTestAccounts"):
        tests += property_tests(session.test_account_filters, values)
    if query.get("issueId"):
        tests.append(f"toString(issue_id) = {values.add(str(query['issueId']).lower())}")
    return tests


def _rows(
    session: QuerySession,
    query: Mapping[str, Any],
    start: datetime,
    end: datetime,
    resolution: int,
) -> list[list[Any]]:
    values = Values(session)
    tests = _tests(session, query, start, end, values)
    if query.get("personId"):
        tests.append(f"toString(person_id) = {values.add(str(query['personId']))}")
    for token in str(query.get("searchQuery") or "").split()[:_MOST_TOKENS]:
        text = values.add(token.lower())
        places = [f"position(lower(ifNull(toString(properties.{name}), '')), {text}) > 0"
                  for name in _SEARCHED]  # fmt: skip
        tests.append(f"({' OR '.join(places)})")
    width = (end - start).total_seconds() / max(resolution, 1)
    bucket = "0"
    if width > 0:
        since = f"dateDiff('millisecond', {values.add(start)}, timestamp) / 1000"
        bucket = f"least(toInt(floor(({since}) / {width})), {max(resolution, 1) - 1})"
    sql = (
        "SELECT toString(issue_id) AS issue, count(DISTINCT uuid), "  # noqa: S608
        "count(DISTINCT nullIf($session_id, '')), count(DISTINCT distinct_id), "
        "toString(min(timestamp)), toString(max(timestamp)), "
        f"groupArray({bucket}), argMin({_EVENT}, timestamp), argMax({_EVENT}, timestamp), "
        "argMax(coalesce(properties.$exception_type, "
        "JSONExtractString(ifNull(properties.$exception_types, ''), 1), ''), timestamp), "
        "argMax(coalesce(properties.$exception_message, "
        "JSONExtractString(ifNull(properties.$exception_values, ''), 1), ''), timestamp), "
        "argMax(properties.$lib, timestamp) "
        f"FROM events WHERE {' AND '.join(tests)} GROUP BY issue"
    )
    return list(all_rows(session, sql, values))


def _item(
    query: Mapping[str, Any],
    row: list[Any],
    issue: Mapping[str, Any],
    start: datetime,
    width: timedelta,
) -> dict[str, Any]:
    key, occurrences, sessions, users, first, last, buckets, oldest, newest, kind, text, lib = row
    volume = [0] * int(query["volumeResolution"])
    for bucket in buckets if volume else ():
        volume[bucket] += 1
    item: dict[str, Any] = {
        "id": key,
        "name": issue.get("name") or kind or None,
        "description": issue.get("description") or text or None,
        "status": issue.get("status") or "active",
        "assignee": None,
        "external_issues": [],
        "first_seen": _iso(first, start),
        "last_seen": _iso(last, start),
        "library": lib,
        "aggregations": {
            "occurrences": occurrences,
            "sessions": sessions,
            "users": users,
            "volumeRange": volume,
            "volume_buckets": [
                {"label": (start + place * width).isoformat(), "value": value}
                for place, value in enumerate(volume)
            ],
        },
    }
    for name, event in (("First", oldest), ("Last", newest)):
        if query.get(f"with{name}Event"):
            item[f"{name.lower()}_event"] = dict(zip(_EVENT_FIELDS, event, strict=True))
    return item


def _iso(text: str, start: datetime) -> str:
    """Return a time of the project's time zone in ISO 8601."""
    return datetime.fromisoformat(text).replace(tzinfo=start.tzinfo).isoformat()
