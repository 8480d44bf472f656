"""Event endpoints: list, get, and the most common values of a property."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from posthog_emulator.http.errors import ApiError, invalid, not_found
from posthog_emulator.http.messages import Response, json_response, text_response
from posthog_emulator.json_types import is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.pagination import paginate, parse_events_page
from posthog_emulator.schema.validation import matches_format
from posthog_emulator.state import ApiCall

from .property_filters import contains_sql, filter_sql, parse_filters, property_sql

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
        table: `events`, `person` or `groups`.
        key: The property.
        search: Text that the values must contain, ignoring case.
        conditions: Further conditions, as SQL.
        values: The values of their placeholders.
    """
    column = "group_properties" if table == "groups" else "properties"
    property_text, path = property_sql(column, key)
    conditions, parameters = ["team_id = ?", *conditions], [_project_id(call), *values]
    if table == "person":
        conditions.append("is_deleted = 0")
    final = "" if table == "events" else "FINAL"
    name_conditions = ["name IS NOT NULL"]
    if search:
        name_conditions.append(contains_sql("name"))
    rows = call.state.events.read(
        f"SELECT name, count() AS n FROM (SELECT {property_text} AS name FROM {table} {final} "  # noqa: S608
        f"WHERE {' AND '.join(conditions)}) WHERE {' AND '.join(name_conditions)} "
        "GROUP BY name ORDER BY n DESC, name LIMIT ?",
        [*path, *parameters, *([search] if search else []), _MAX_VALUES],
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
    conditions, values = ["team_id = ?", "timestamp < ?"], [_project_id(call), latest]
    if page.after is not None:
        conditions, values = [*conditions, "timestamp > ?"], [*values, page.after]
    for sql, parameters in _filters(call):
        conditions.append(sql)
        values += parameters
    direction = "ASC" if page.ascending else "DESC"
    store = call.state.events
    rows = store.read(
        f"SELECT {EVENT_COLUMNS} FROM {store.events_table(_project_id(call))} "  # noqa: S608
        f"WHERE {' AND '.join(conditions)} "
        f"ORDER BY timestamp {direction}, _number {direction} LIMIT ? OFFSET ?",
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
        filters.append(("person_id = toUUID(?)", [match.uuid]) if match else ("0", []))
    for property_filter in parse_filters(request.query_value("properties")):
        sql, parameters = filter_sql("properties", property_filter)
        if property_filter.get("type") == "person":
            persons = "SELECT id FROM person FINAL WHERE team_id = ? AND is_deleted = 0"
            sql = f"person_id IN ({persons} AND {sql})"
            parameters = [_project_id(call), *parameters]
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
        ["event IN ?"],
        [names],
    )
    return json_response(200, {"results": values, "refreshing": False})


def _person_repository(call: ApiCall) -> PersonRepository:
    from posthog_emulator.features.persons.repository import PersonRepository

    return PersonRepository(call.state.events, _project_id(call))


def _project_id(call: ApiCall) -> int:
    return int(call.path_values[0])


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "events.list": OperationHandler(_list),
    "events.get": OperationHandler(_get),
    "events.values": OperationHandler(_values),
}
