"""Group endpoints: find a group, change its properties, list property values."""

from __future__ import annotations

from collections.abc import Mapping

from posthog_emulator.event_store.groups import Group
from posthog_emulator.features.events.handlers import most_common_values
from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.state import ApiCall

__all__ = ["OPERATION_HANDLERS"]


def _requested_group(call: ApiCall) -> Group:
    call.resolve_parents()
    index, key = (
        call.request.query_value("group_type_index") or "",
        call.request.query_value("group_key"),
    )
    groups = call.state.events.project(int(call.path_values[0])).groups
    group = groups.find(int(index), key) if index.isdigit() and key is not None else None
    if group is None:
        raise not_found()
    return group


def _find(call: ApiCall) -> Response:
    return _group_response(call, _requested_group(call))


def _update_property(call: ApiCall) -> Response:
    group, body = _requested_group(call), as_object(call.body)
    key = body.get("key")
    if not isinstance(key, str):
        raise invalid("This field is required.", "key", "required")
    _update_properties(call, group, {key: body.get("value")}, None)
    return _group_response(call, group)


def _delete_property(call: ApiCall) -> Response:
    group, name = _requested_group(call), as_object(call.body).get("$unset")
    if not isinstance(name, str):
        raise invalid("This field is required.", "$unset", "required")
    _update_properties(call, group, {}, name)
    return _group_response(call, group)


def _update_properties(
    call: ApiCall, group: Group, properties: Mapping[str, object], unset: str | None
) -> None:
    store = call.state.events
    # Persons and groups may be changed under the store's lock only.
    with store.lock:
        project = store.project(int(call.path_values[0]))
        group.properties.update(properties)
        if unset is not None:
            group.properties.pop(unset, None)
        project.groups.mark_dirty(group)
        project.property_types.record("group", properties)


def _property_values(call: ApiCall) -> Response:
    call.resolve_parents()
    index = call.request.query_value("group_type_index") or "0"
    values = most_common_values(
        call,
        "groups",
        call.request.query_value("key") or "",
        call.request.query_value("value"),
        ["group_type_index = ?"],
        [int(index)],
    )
    return json_response(200, {"results": values, "refreshing": False})


def _group_response(call: ApiCall, group: Group) -> Response:
    from posthog_emulator.features.persons.serializers import group_row

    return json_response(call.operation.result.status, group_row(group, 0).data)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "groups.get": OperationHandler(_find),
    "groups.update_property": OperationHandler(_update_property),
    "groups.delete_property": OperationHandler(_delete_property),
    "groups.property_values": OperationHandler(_property_values),
}
