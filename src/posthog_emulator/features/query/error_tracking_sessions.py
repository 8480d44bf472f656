"""ErrorTrackingBreakdownsQuery and ErrorTrackingIssueCorrelationQuery."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from posthog_emulator.json_types import as_object

from .breakdowns import NULL_VALUE
from .dates import bound, local_now
from .error_tracking import run_error_tracking
from .insight_results import all_rows, insight_result
from .properties import Values, property_tests
from .result import Result
from .runner import QuerySession
from .unknown_fields import check_query

__all__ = ["run_error_breakdowns", "run_error_correlation"]

_DAYS: Final = timedelta(days=7)
_RECENT: Final = timedelta(hours=6)
"""How far back correlations look."""
_VALUES: Final = 3
_ROWS: Final = 50


def run_error_breakdowns(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an ErrorTrackingBreakdownsQuery: the most frequent values of properties of an issue.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    check_query(query, "breakdownProperties", "dateRange", "filterGroup", "filterTestAccounts",
                "issueId", "maxValuesPerProperty")  # fmt: skip
    values, now = Values(session), local_now(session)
    span = as_object(query.get("dateRange"))
    first, last = span.get("date_from"), span.get("date_to")
    start = now - _DAYS if first in (None, "all") else bound(first, now)
    tests = [
        "event = '$exception'", f"toString(issue_id) = {values.add(str(query['issueId']))}",
        f"timestamp >= {values.add(start)}",
        f"timestamp <= {values.add(bound(last, now) if last else now)}",
        *property_tests(query.get("filterGroup"), values),
    ]  # fmt: skip
    if query.get("filterTestAccounts"):
        tests += property_tests(session.test_account_filters, values)
    names = [str(name) for name in query["breakdownProperties"]]
    pairs = ", ".join(
        f"tuple({values.add(name)}, "
        f"ifNull(toString(properties[{values.add(name)}]), '{NULL_VALUE}'))"
        for name in names
    )
    sql = (
        "SELECT pair.1 AS name, pair.2 AS value, count() AS total FROM ("  # noqa: S608
        f"SELECT arrayJoin([{pairs}]) AS pair FROM events WHERE {' AND '.join(tests)}) "
        "GROUP BY name, value ORDER BY total DESC, value"
    )
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, value, count in all_rows(session, sql, values) if names else ():
        found[name].append({"value": value, "count": count})
    given = query.get("maxValuesPerProperty")
    most = _VALUES if given is None else max(int(given), 0)
    results = {
        name: {"values": items[:most], "total_count": sum(one["count"] for one in items)}
        for name, items in sorted(found.items())
    }
    return insight_result(results)


def run_error_correlation(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an ErrorTrackingIssueCorrelationQuery: issues after which events tend to happen.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    check_query(query, "events")
    events = list(dict.fromkeys(str(name) for name in query["events"]))
    values = Values(session)
    recent = f"timestamp > {values.add(session.now - _RECENT)} AND notEmpty($session_id)"
    names = values.add([*events, "$exception"])
    sql = (
        "SELECT $session_id, event, ifNull(toString(issue_id), '') AS issue, "  # noqa: S608
        f"toString(min(timestamp)) FROM events WHERE {recent} AND event IN {names} "
        "GROUP BY $session_id, event, issue"
    )
    thrown: dict[str, dict[str, str]] = defaultdict(dict)
    done: dict[str, dict[str, str]] = {name: {} for name in events}
    for visit, event, issue, at in all_rows(session, sql, values):
        if event == "$exception" and issue:
            thrown[issue][visit] = at
        if event in done:
            done[event][visit] = min(at, done[event].get(visit, at))
    counted = f"SELECT uniqExact($session_id) FROM events WHERE {recent}"  # noqa: S608
    total = next(all_rows(session, counted, values))[0]
    results: list[dict[str, Any]] = []
    for item in _issues(session):
        errors = thrown.get(item["id"], {})
        for event, successes in done.items():
            both = sum(visit in errors and errors[visit] < at for visit, at in successes.items())
            counts = {
                "both": both,
                "success_only": len(successes.keys() - errors.keys()),
                "exception_only": len(errors.keys() - successes.keys()),
                "neither": total - len(errors.keys() | successes.keys()),
            }
            if all(counts.values()):
                ratio = both * counts["neither"] / counts["success_only"] / counts["exception_only"]
                results.append({**item, "event": event, "odds_ratio": ratio, "population": counts})
    results.sort(key=lambda one: -one["odds_ratio"])
    columns = ["id", "status", "name", "description", "first_seen", "assignee", "external_issues",
               "last_seen", "library", "odds_ratio", "population", "event"]  # fmt: skip
    return insight_result(results, columns=columns, hasMore=False, limit=_ROWS, offset=0)


def _issues(session: QuerySession) -> list[dict[str, Any]]:
    """Return the active issues, as an ErrorTrackingQuery has them."""
    query = {
        "kind": "ErrorTrackingQuery", "dateRange": {"date_from": "all"}, "orderBy": "last_seen",
        "status": "active", "volumeResolution": 0, "limit": 1_000_000,
    }  # fmt: skip
    items: list[dict[str, Any]] = json.loads(run_error_tracking(session, query).rows)
    return [{key: item[key] for key in item if key != "aggregations"} for item in items]
