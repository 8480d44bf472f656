"""Error tracking endpoints: issues, fingerprints, and queries with numbers of exceptions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from posthog_emulator.features.cohorts.stored_cohorts import cohorts_collection
from posthog_emulator.features.hogql_rows import query_rows
from posthog_emulator.http.errors import ApiError, invalid, not_found
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.relative_dates import parse_date
from posthog_emulator.rest.activity import copy_fields, field_changes, log_activity
from posthog_emulator.rest.handlers import DEFAULT_HANDLERS
from posthog_emulator.rest.pagination import paginate
from posthog_emulator.state import ApiCall
from posthog_emulator.timestamps import format_utc

from .exceptions import summarize
from .issues import (
    SCOPE,
    create_issue,
    fingerprint_collection,
    fingerprints_of,
    issue_collection,
    merge_issues,
    split_issue,
)

__all__ = ["OPERATION_HANDLERS"]

_STATUSES: Final = frozenset({"active", "resolved", "suppressed"})
_MAX_GROUPS: Final = 50_000


def _find_new_issues(call: ApiCall) -> None:
    """Create the issues of exceptions that did not come by a capture endpoint, such as a demo's."""
    try:
        rows = query_rows(
            call,
            "SELECT properties.$exception_fingerprint AS fingerprint, "  # noqa: S608
            "argMin(toString(properties.$exception_list), timestamp), toString(min(timestamp)) "
            f"FROM events WHERE event = '$exception' GROUP BY fingerprint LIMIT {_MAX_GROUPS}",
            {},
        )
    except ApiError:
        # Issues are read in projects, too, whose events cannot be queried.
        return
    existing = {
        row.data.get("fingerprint") for row in fingerprint_collection(call.state, call.project)
    }
    for fingerprint, listed, first in rows:
        if fingerprint and fingerprint not in existing:
            properties = {"$exception_fingerprint": fingerprint, "$exception_list": listed}
            create_issue(call.state, call.project, summarize(properties), _iso(first))


def _iso(text: str) -> str:
    return format_utc(datetime.fromisoformat(text).replace(tzinfo=UTC))


def _list(call: ApiCall) -> Response:
    call.resolve_parents()
    _find_new_issues(call)
    return DEFAULT_HANDLERS["list"](call)


def _get(call: ApiCall) -> Response:
    _find_new_issues(call)
    fingerprint = call.request.query_value("fingerprint")
    if fingerprint is not None:
        record = fingerprint_collection(call.state, call.project).find(fingerprint, "fingerprint")
        issue_id = None if record is None else record.data.get("issue_id")
        if issue_id is not None and issue_id != call.path_values[1]:
            return json_response(308, {"issue_id": issue_id})
    return DEFAULT_HANDLERS["get"](call)


def _issue(call: ApiCall) -> StoredObject:
    call.resolve_parents(1)
    row = issue_collection(call.state, call.project).rows.get(call.path_values[1])
    if row is None:
        raise not_found("Issue not found")
    return row


def _issues(call: ApiCall, ids: Any) -> list[StoredObject]:
    rows = issue_collection(call.state, call.project).rows
    matches = [rows.get(str(issue_id)) for issue_id in (ids if is_array(ids) else [])]
    present = [row for row in matches if row is not None]
    if len(present) != len(matches):
        raise not_found("Issue not found")
    return present


def _success(call: ApiCall, **more: Any) -> Response:
    return json_response(call.operation.result.status, {"success": True, **more})


def _change(call: ApiCall, row: StoredObject, activity: str, **fields: Any) -> None:
    before = copy_fields(row.data)
    row.data.update(fields)
    changes = field_changes(SCOPE, before, row.data)
    if changes:
        log_activity(call.state, call.project, SCOPE, activity, row.data, changes)


def _assignee(call: ApiCall) -> dict[str, Any] | None:
    assignee = as_object(call.body).get("assignee")
    if assignee is None:
        return None
    value = as_object(assignee)
    return {"id": value.get("id"), "type": value.get("type")}


def _assign(call: ApiCall) -> Response:
    _change(call, _issue(call), "assigned", assignee=_assignee(call))
    return _success(call)


def _bulk_update(call: ApiCall) -> Response:
    call.resolve_parents()
    body = as_object(call.body)
    status = body.get("status")
    if body.get("action") == "set_status" and status not in _STATUSES:
        raise invalid("Invalid status")
    for row in _issues(call, body.get("ids")):
        if body.get("action") == "set_status":
            _change(call, row, "updated", status=status)
        else:
            _change(call, row, "assigned", assignee=_assignee(call))
    return _success(call)


def _merge(call: ApiCall) -> Response:
    row = _issue(call)
    ids: list[Any] = as_object(call.body).get("ids") or []
    others = _issues(call, [issue_id for issue_id in dict.fromkeys(ids) if issue_id != row.key])
    merge_issues(call.state, call.project, row, others)
    return _success(call)


def _split(call: ApiCall) -> Response:
    row = _issue(call)
    parts: list[Any] = as_object(call.body).get("fingerprints") or []
    new_ids = split_issue(call.state, call.project, row, [as_object(part) for part in parts])
    return _success(call, new_issue_ids=new_ids)


def _set_cohort(call: ApiCall) -> Response:
    row = _issue(call)
    cohort_id = as_object(call.body).get("cohortId")
    if cohort_id is None:
        raise invalid("Please provide a cohort id")
    cohort = cohorts_collection(call.state, call.project).rows.get(str(cohort_id))
    if cohort is None or cohort.deleted:
        raise not_found("Cohort not found")
    row.data["cohort"] = {"id": cohort.data["id"], "name": cohort.data.get("name") or ""}
    return _success(call)


def _exists(call: ApiCall) -> Response:
    call.resolve_parents()
    _find_new_issues(call)
    exists = bool(issue_collection(call.state, call.project).rows)
    return json_response(call.operation.result.status, {"exists": exists})


def _values(call: ApiCall) -> Response:
    call.resolve_parents()
    _find_new_issues(call)
    key = call.request.query_value("key") or ""
    part = (call.request.query_value("value") or "").lower()
    # The properties of filters have names of their own.
    field = {"issue_name": "name", "issue_description": "description"}.get(key, key)
    issues = issue_collection(call.state, call.project)
    values = dict.fromkeys(str(row.data[field]) for row in issues if row.data.get(field))
    rows = [StoredObject(value, {"name": value}, 0) for value in values if part in value.lower()]
    own = [row for row in call.objects if part in str(row.data.get("name")).lower()]
    return paginate(call, [*rows, *own])


def _resolve_fingerprint(call: ApiCall) -> Response:
    call.resolve_parents()
    _find_new_issues(call)
    fingerprint = call.request.query_value("fingerprint") or ""
    row = fingerprint_collection(call.state, call.project).find(fingerprint, "fingerprint")
    if row is None:
        raise not_found("Fingerprint not found")
    return json_response(call.operation.result.status, row.data)


def _numbers(call: ApiCall) -> dict[str, dict[str, Any]]:
    """Return the numbers of exceptions in the requested time range, by the id of the issue."""
    start, end = _date_range(call)
    rows = query_rows(
        call,
        "SELECT properties.$exception_fingerprint AS fingerprint, toString(uuid), "  # noqa: S608
        "distinct_id, properties.$session_id, toString(timestamp), properties.$lib "
        "FROM events WHERE event = '$exception' AND timestamp >= toDateTime64({start}, 6, 'UTC') "
        "AND timestamp <= toDateTime64({end}, 6, 'UTC') "
        f"ORDER BY timestamp LIMIT {_MAX_GROUPS}",
        {"start": format_utc(start), "end": format_utc(end)},
    )
    issues = {
        row.data.get("fingerprint"): str(row.data.get("issue_id"))
        for row in fingerprint_collection(call.state, call.project)
    }
    grouped: dict[str, list[list[Any]]] = {}
    for row in rows:
        if row[0] in issues:
            grouped.setdefault(issues[row[0]], []).append(row)
    return {issue_id: _summary(rows) for issue_id, rows in grouped.items()}


def _summary(rows: list[list[Any]]) -> dict[str, Any]:
    return {
        "occurrences": len(rows),
        "users": len({row[2] for row in rows}),
        "sessions": len({row[3] for row in rows if row[3]}),
        "last_seen": _iso(rows[-1][4]),
        "library": rows[-1][5],
    }


def _date_range(call: ApiCall) -> tuple[datetime, datetime]:
    now = call.state.settings.clock().astimezone(UTC)
    date_range = as_object(as_object(call.body).get("dateRange"))
    texts = (date_range.get("date_from") or "-7d", date_range.get("date_to"))
    start, end = (None if text is None else parse_date(str(text), now) for text in texts)
    if start is None:
        raise invalid(f"The emulator cannot parse the date {texts[0]!r}.", "dateRange__date_from")
    return start, end or now


_UNSUPPORTED: Final = ("filterGroup", "filePath", "library", "personId", "release", "url", "user")


def _check_filters(call: ApiCall, names: tuple[str, ...]) -> None:
    body = as_object(call.body)
    for name in names:
        if body.get(name):
            raise invalid(f"The emulator does not implement the filter '{name}'.", name)


def _query_issues(call: ApiCall) -> Response:
    call.resolve_parents()
    _check_filters(call, _UNSUPPORTED)
    _find_new_issues(call)
    body, numbers = as_object(call.body), _numbers(call)
    items = [
        _list_item(row, numbers[row.key])
        for row in issue_collection(call.state, call.project)
        if row.key in numbers and _is_selected(call, row, body)
    ]
    order = str(body.get("orderBy") or "occurrences")

    def sort_key(item: Mapping[str, Any]) -> Any:
        return item[order] if order in item else item["aggregations"][order]

    items.sort(key=sort_key, reverse=body.get("orderDirection") != "ASC")
    return _page(call, items, 25)


def _is_selected(call: ApiCall, row: StoredObject, body: Mapping[str, Any]) -> bool:
    status = body.get("status") or "active"
    if status not in {"all", row.data.get("status")}:
        return False
    if is_object(body.get("assignee")):
        assignee = as_object(row.data.get("assignee"))
        if str(assignee.get("id")) != str(as_object(body["assignee"]).get("id")):
            return False
    fingerprints = body.get("fingerprint")
    if fingerprints:
        own = {record.data["fingerprint"] for record in _own_fingerprints(call, row.key)}
        if own.isdisjoint(fingerprints if is_array(fingerprints) else [fingerprints]):
            return False
    text = f"{row.data.get('name')} {row.data.get('description')}".lower()
    return all(word in text for word in str(body.get("searchQuery") or "").lower().split())


def _own_fingerprints(call: ApiCall, issue_id: str) -> list[StoredObject]:
    return fingerprints_of(call.state, call.project, issue_id)


def _list_item(row: StoredObject, numbers: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("id", "name", "description", "status", "severity", "assignee", "first_seen")
    counts = {name: numbers[name] for name in ("occurrences", "users", "sessions")}
    return {
        **{name: row.data.get(name) for name in fields},
        "last_seen": numbers["last_seen"],
        "library": numbers["library"],
        "source": None,
        "aggregations": counts,
    }


def _page(call: ApiCall, items: list[dict[str, Any]], default: int) -> Response:
    body = as_object(call.body)
    limit, offset = int(body.get("limit") or default), int(body.get("offset") or 0)
    page: dict[str, Any] = {
        "results": items[offset : offset + limit],
        "hasMore": len(items) > offset + limit,
        "limit": limit,
        "offset": offset,
    }
    if page["hasMore"]:
        page["nextOffset"] = offset + limit
    return json_response(call.operation.result.status, page)


def _query_issue(call: ApiCall) -> Response:
    call.resolve_parents()
    _find_new_issues(call)
    issue_id = str(as_object(call.body).get("issueId"))
    row = issue_collection(call.state, call.project).rows.get(issue_id)
    if row is None:
        raise not_found("Issue not found")
    none = {"occurrences": 0, "users": 0, "sessions": 0, "last_seen": None, "library": None}
    item = _list_item(row, _numbers(call).get(issue_id, none))
    return json_response(
        call.operation.result.status, {**item, "impact": item["aggregations"], "function": None}
    )


def _query_events(call: ApiCall) -> Response:
    call.resolve_parents()
    _check_filters(call, ("filterGroup", "searchQuery"))
    body = as_object(call.body)
    start, end = _date_range(call)
    direction = "ASC" if body.get("orderDirection") == "ASC" else "DESC"
    own = [row.data["fingerprint"] for row in _own_fingerprints(call, str(body.get("issueId")))]
    rows = query_rows(
        call,
        "SELECT toString(uuid), distinct_id, toString(timestamp), properties FROM events "  # noqa: S608
        "WHERE event = '$exception' AND properties.$exception_fingerprint IN {own} "
        "AND timestamp >= toDateTime64({start}, 6, 'UTC') "
        "AND timestamp <= toDateTime64({end}, 6, 'UTC') "
        f"ORDER BY timestamp {direction} LIMIT {_MAX_GROUPS}",
        {"own": own or [""], "start": format_utc(start), "end": format_utc(end)},
    )
    events = [
        {
            "uuid": event_uuid,
            "distinct_id": distinct_id,
            "timestamp": _iso(at),
            "properties": json.loads(packed) if isinstance(packed, str) else packed,
        }
        for event_uuid, distinct_id, at, packed in rows
    ]
    return _page(call, events, 1)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "error_tracking.issues.list": OperationHandler(_list),
    "error_tracking.issues.get": OperationHandler(_get),
    "error_tracking.issues.assign": OperationHandler(_assign),
    "error_tracking.issues.bulk_update": OperationHandler(_bulk_update),
    "error_tracking.issues.merge": OperationHandler(_merge),
    "error_tracking.issues.split": OperationHandler(_split),
    "error_tracking.issues.set_cohort": OperationHandler(_set_cohort),
    "error_tracking.issues.exists": OperationHandler(_exists),
    "error_tracking.issues.values": OperationHandler(_values),
    "error_tracking.fingerprints.resolve": OperationHandler(_resolve_fingerprint),
    "error_tracking.query.list_issues": OperationHandler(_query_issues),
    "error_tracking.query.get_issue": OperationHandler(_query_issue),
    "error_tracking.query.list_issue_events": OperationHandler(_query_events),
}
