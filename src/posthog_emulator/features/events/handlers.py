"""Event endpoints: list, get, and the most common values of a property."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from posthog_emulator.http.errors import ApiError, invalid, not_found
from posthog_emulator.http.messages import Response, json_response, text_response
from posthog_emulator.json_types import is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.pagination import paginate, parse_events_page
from posthog_emulator.schema.validation import matches_format
from posthog_emulator.state import ApiCall

from .property_filters import filter_sql, json_pointer, parse_filters

if TYPE_CHECKING:
    from posthog_emulator.event_store.persons import Person
    from posthog_emulator.features.persons.repository import PersonRepository

__all__ = ["OPERATION_HANDLERS", "most_common_values"]

_MAX_VALUES = 25


def most_common_values(
    call: ApiCall,
    table: str,
    key: str,
    search: str | None,
    conditions: Sequence[str],
    values: Sequence[Any],
) -> list[dict[str, Any]]:
    """Return the most common values of a property with their counts, most frequent first.

    Args:
        call: The call; its first path parameter is the project.
        table: `events`, `persons` or `groups`.
        key: The property.
        search: Text that the values must contain, ignoring case.
        conditions: Further conditions, as SQL.
        values: Parameters of these conditions.
    """
    property_sql = "json_extract_string(properties, ?)"
    where = " AND ".join(["team_id = ?", f"{property_sql} IS NOT NULL", *conditions])
    parameters: list[Any] = [
        json_pointer(key),
        int(call.path_values[0]),
        json_pointer(key),
        *values,
    ]
    if search:
        where += f" AND contains(lower({property_sql}), lower(?))"
        parameters += [json_pointer(key), search]
    rows = call.state.events.read(
        f"SELECT {property_sql} AS name, count(*) AS n FROM {table} WHERE {where} "  # noqa: S608
        "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?",
        [*parameters, _MAX_VALUES],
    )
    return [{"name": name, "count": count} for name, count in rows]


# The server includes events slightly ahead of its clock, and no others from the future.
_MAX_FUTURE = timedelta(seconds=5)


def _list(call: ApiCall) -> Response:
    from posthog_emulator.features.persons.serializers import EVENT_COLUMNS, event_row

    call.resolve_parents()
    page = parse_events_page(call)
    as_csv = call.request.query_value("format") == "csv"
    if as_csv and call.request.query_value("limit") is None:
        page = replace(page, limit=call.state.settings.max_events_per_page or page.limit)
    latest = page.before or call.state.settings.clock() + _MAX_FUTURE
    conditions, values = ["team_id = ?", "timestamp < ?"], [_project_id(call), _naive_utc(latest)]
    if page.after is not None:
        conditions, values = [*conditions, "timestamp > ?"], [*values, _naive_utc(page.after)]
    for sql, parameters in _filters(call):
        conditions.append(sql)
        values += parameters
    direction = "ASC" if page.ascending else "DESC"
    rows = call.state.events.read(
        f"SELECT {EVENT_COLUMNS} FROM events WHERE {' AND '.join(conditions)} "  # noqa: S608
        f"ORDER BY timestamp {direction}, rowid {direction} LIMIT ? OFFSET ?",
        # One row more than requested shows whether there is another page.
        [*values, page.limit + 1, page.offset],
    )
    events = _attach_persons(call, [event_row(columns) for columns in rows])
    return _csv(call, events[: page.limit]) if as_csv else paginate(call, events)


def _csv(call: ApiCall, events: Sequence[StoredObject]) -> Response:
    """Respond with CSV. Nested fields have columns such as `properties.$browser`."""
    rows = [_flatten(event.data) for event in events]
    # The columns are the union of all fields, in order of first appearance.
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows([row.get(name) for name in names] for row in rows)
    return text_response(call.operation.result.status, out.getvalue(), "text/csv")


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if is_object(item) and item:
            flat |= _flatten(item, f"{prefix}{name}.")
        else:
            text = item is None or isinstance(item, str)
            flat[f"{prefix}{name}"] = item if text else json.dumps(item, ensure_ascii=False)
    return flat


def _filters(call: ApiCall) -> list[tuple[str, list[Any]]]:
    request = call.request
    for name in ("select", "where"):
        if request.query_value(name) is not None:
            raise invalid(
                f"The emulator does not support the parameter '{name}' of the events list.", name
            )
    filters: list[tuple[str, list[Any]]] = []
    for name in ("event", "distinct_id"):
        value = request.query_value(name)
        if value:
            filters.append((f"{name} = ?", [value]))
    person = request.query_value("person_id")
    if person:
        match = (
            _person_repository(call).find(person)
            if person.isdigit() or matches_format("uuid", person)
            else None
        )
        filters.append(("person_id = ?::UUID", [match.uuid]) if match else ("false", []))
    for property_filter in parse_filters(request.query_value("properties")):
        sql, parameters = filter_sql("properties", property_filter)
        if property_filter.get("type") == "person":
            sql, parameters = filter_sql("p.properties", property_filter)
            sql = f"person_id IN (SELECT p.id FROM persons p WHERE {sql})"  # noqa: S608
        filters.append((sql, parameters))
    return filters


def _attach_persons(call: ApiCall, rows: list[StoredObject]) -> list[StoredObject]:
    """Add the person to each event if the request has `include_person`."""
    if (call.request.query_value("include_person") or "").lower() not in {"true", "1"}:
        return rows
    repository = _person_repository(call)
    for row in rows:
        distinct_id = row.data["distinct_id"]
        for person in repository.find_by_distinct_ids([distinct_id]):
            row.data["person"] = _person_summary(person, distinct_id)
    return rows


def _person_summary(person: Person, distinct_id: str) -> dict[str, Any]:
    return {
        "is_identified": person.identified,
        "distinct_ids": [distinct_id],
        "properties": dict(person.properties),
    }


def _get(call: ApiCall) -> Response:
    call.resolve_parents(1)
    if not matches_format("uuid", call.path_values[1]):
        # The server bypasses its usual error envelope here: `attr` is missing, and the code is
        # `invalid` where other endpoints have `invalid_input`.
        body = {"detail": "Invalid UUID", "code": "invalid", "type": "validation_error"}
        raise ApiError(400, body=body)
    row = call.state.store.collection(f"/api/projects/{call.path_values[0]}/events/").find(
        call.path_values[1]
    )
    if row is None:
        raise not_found()
    distinct_id = row.data["distinct_id"]
    for person in _person_repository(call).find_by_distinct_ids([distinct_id]):
        row.data["person"] = _person_summary(person, distinct_id)
    return json_response(call.operation.result.status, row.data)


def _values(call: ApiCall) -> Response:
    call.resolve_parents()
    names = call.query("event_name")
    if not names:
        raise invalid("This field is required.", "event_name", "required")
    key = call.request.query_value("key")
    if not key:
        raise invalid("This field is required.", "key", "required")
    values = most_common_values(
        call,
        "events",
        key,
        call.request.query_value("value"),
        ["event IN (SELECT unnest(?::VARCHAR[]))"],
        [names],
    )
    return json_response(200, {"results": values, "refreshing": False})


def _person_repository(call: ApiCall) -> PersonRepository:
    from posthog_emulator.features.persons.repository import PersonRepository

    return PersonRepository(call.state.events, _project_id(call))


def _project_id(call: ApiCall) -> int:
    return int(call.path_values[0])


def _naive_utc(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "events.list": OperationHandler(_list),
    "events.get": OperationHandler(_get),
    "events.values": OperationHandler(_values),
}
