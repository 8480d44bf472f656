"""ErrorTrackingIssueCorrelationQuery."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from .error_tracking import run_error_tracking
from .insight_results import all_rows, insight_result
from .properties import Values
from .result import Result
from .runner import QuerySession
from .unknown_fields import check_query

__all__ = ["run_error_correlation"]

_DAYS: Final = timedelta(days=7)
_RECENT: Final = timedelta(hours=6)
"""How far back correlations look."""
_VALUES: Final = 3
_ROWS: Final = 50


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
    results.sort(key=lambda result: -result["odds_ratio"])
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
