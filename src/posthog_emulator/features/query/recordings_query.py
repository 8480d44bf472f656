"""RecordingsQuery: session recordings by their time, their measures and the events in them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .dates import bound, local_now
from .entities import read_entity
from .properties import Values, property_node
from .result import Result, encode_json
from .runner import QuerySession
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields
from .web_query import run_page

__all__ = ["run_recordings"]

_FIELDS: Final = (
    "kind", "tags", "version", "modifiers", "response", "actions", "date_from", "date_to",
    "distinct_ids", "events", "filter_test_accounts", "having_predicates",
    "hide_viewed_recordings", "limit", "offset", "operand", "order", "order_direction",
    "person_uuid", "properties", "session_ids", "user_modified_filters",
)  # fmt: skip
_ROWS: Final = 50
_ORDERS: Final[Mapping[str, str]] = {
    **{name: name for name in ("click_count", "keypress_count", "mouse_activity_count",
                               "console_error_count", "active_seconds", "inactive_seconds",
                               "duration", "start_time")},
    "recording_duration": "duration",
    "recording_ttl": "start_time",
    "activity_score": (
        "(active_seconds + click_count + keypress_count + console_error_count) / "
        "nullIf(mouse_activity_count + duration + console_error_count + console_log_count + "
        "console_warn_count, 0)"
    ),
}  # fmt: skip


def run_recordings(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a RecordingsQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    reject_unknown_fields(query, _FIELDS, "RecordingsQuery")
    modifiers = as_object(query.get("modifiers"))
    reject_unknown_fields(modifiers, IGNORED_MODIFIERS, "RecordingsQuery.modifiers")
    order = str(query.get("order") or "start_time")
    if order not in _ORDERS:
        raise invalid(f"The emulator does not sort recordings by {order}.")
    values, direction = Values(session), "ASC" if query.get("order_direction") == "ASC" else "DESC"
    sql = (
        f"SELECT session_id FROM session_replay_events WHERE {_tests(session, query, values)} "  # noqa: S608
        f"ORDER BY {_ORDERS[order]} {direction}, session_id"
    )
    page = {**query, "limit": query.get("limit") or _ROWS}
    rows, head = run_page(session, sql, values.by_name, page)
    recordings = {recording["id"]: recording for recording in session.recordings}
    fields: dict[str, Any] = {
        "has_next": head["hasMore"], "next_cursor": None, "hogql": head["hogql"], "timings": [],
        "modifiers": {}, "error": None,
    }  # fmt: skip
    return Result(encode_json([recordings[row[0]] for row in rows]), fields, len(rows))


def _tests(session: QuerySession, query: Mapping[str, Any], values: Values) -> str:
    now, since = local_now(session), query.get("date_from") or "-3d"
    tests: list[str] = []
    if since != "all":
        tests.append(f"start_time >= {values.add(bound(since, now))}")
    until = bound(query["date_to"], now) if query.get("date_to") else now + timedelta(seconds=1)
    tests.append(f"start_time <= {values.add(until)}")
    if query.get("distinct_ids"):
        tests.append(f"distinct_id IN {values.add(list(query['distinct_ids']))}")
    elif query.get("person_uuid"):
        person = f"toUUID({values.add(str(query['person_uuid']))})"
        ids = f"SELECT distinct_id FROM person_distinct_ids WHERE person_id = {person}"  # noqa: S608
        tests.append(f"distinct_id IN ({ids})")
    if is_array(query.get("session_ids")):
        ids = list(query["session_ids"])
        tests.append(f"session_id IN {values.add(ids)}" if ids else "false")
    if query.get("hide_viewed_recordings"):
        tests.append("NOT viewed")
    operand = "OR" if query.get("operand") == "OR" else "AND"
    parts = [
        f"session_id IN (SELECT $session_id FROM events WHERE {values.add_node(node)})"  # noqa: S608
        for node in _event_nodes(session, query, operand)
    ]
    if parts:
        tests.append(f"({f' {operand} '.join(parts)})")
    having = _together(query.get("having_predicates"), operand)
    if having:
        tests.append(values.add_node(property_node(having, session)))
    return " AND ".join(tests)


def _event_nodes(session: QuerySession, query: Mapping[str, Any], operand: str) -> list[Any]:
    """Return the conditions on events, each of which an event of the recording's session meets."""
    nodes: list[Any] = []
    for name, kind in (("events", "EventsNode"), ("actions", "ActionsNode")):
        items: Any = query.get(name)
        for item in map(as_object, items if is_array(items) else []):
            key = "event" if kind == "EventsNode" else "id"
            node = {"kind": kind, key: item.get("id") or None, "properties": item.get("properties")}
            nodes.append(read_entity(session, node).condition)
    shown = _together(query.get("properties"), operand)
    if shown:
        nodes.append(property_node(shown, session))
    if query.get("filter_test_accounts") and session.test_account_filters:
        nodes.append(property_node(session.test_account_filters, session))
    return nodes


def _together(filters: Any, operand: str) -> Mapping[str, Any] | None:
    """Return filters as one group; None for no filters."""
    return {"type": operand, "values": filters} if is_array(filters) and filters else None
