"""Default handlers by kind of operation, used where a feature registers no handler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Response, json_response, text_response
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.objects.routing import Kind
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.schema.catalogue import Schema
from posthog_emulator.schema.sampling import Unsatisfiable
from posthog_emulator.state import ApiCall, Change, Handler, fill_path

from .activity import log_creation, log_deletion, log_update, snapshot
from .pagination import paginate

__all__ = [
    "DEFAULT_HANDLERS",
    "UNIQUE",
    "change_object",
    "create_object",
    "object_response",
    "sample_response",
]

UNIQUE: Mapping[str, tuple[str, str]] = {
    "/api/projects/{}/feature_flags/": (
        "key",
        "There is already a feature flag with this key.",
    ),
}
"""The field that must be unique among the live objects of a collection, and the error message."""


def object_response(call: ApiCall, row: StoredObject) -> Response:
    """Return a response with one object."""
    result = call.operation.result
    if result.kind == "none":
        return Response(result.status)
    call.derive([row])
    return json_response(
        result.status, call.object_schema.serialize(row.data, call.response_schema)
    )


def sample_response(call: ApiCall) -> Response:
    """Return a response with a sample body of the operation's schema."""
    call.fidelity = "schema"
    result = call.operation.result
    if result.kind == "none" or result.status == 204:
        return Response(result.status)
    if result.kind == "text":
        return text_response(result.status, "text", result.media)
    if result.kind == "bytes":
        return Response(result.status, b"bytes", result.media)
    schema = call.state.catalogue.response_schema(call.operation)
    return json_response(result.status, {} if schema is None else _sample_body(call, schema))


def _sample_body(call: ApiCall, schema: Schema) -> Any:
    state = call.state
    name = call.operation.result.schema
    try:
        if name is not None and not call.operation.result.array:
            return state.rich_samples.component(name)
        return state.rich_samples.value(schema)
    except Unsatisfiable:
        # No value meets such a schema, so the server violates it, too.
        return {}


def create_object(call: ApiCall, fields: Mapping[str, Any] | None = None) -> StoredObject:
    """Create an object from the body of a call and store it.

    Args:
        call: The call; its parents have been resolved.
        fields: The fields to use in place of the body.

    Raises:
        ApiError: 400, the value of a unique field is taken, or the server has another rule against
            the object.
    """
    sent = _body_fields(call) if fields is None else fields
    _check_unique(call, sent, None)
    change = Change(call.state, call.project, sent)
    call.lifecycle.check(change)
    writable = call.object_schema.writable_fields(_request_schema(call), sent)
    values = {**_parent_fields(call), **writable}
    row = call.state.insert(call.collection, call.collection_path, values, call.project_id)
    call.lifecycle.created(replace(change, row=row))
    log_creation(call, row)
    return row


def _parent_fields(call: ApiCall) -> dict[str, Any]:
    """Return the fields of a nested object that identify its parents, such as `dashboard_id`."""
    fields: dict[str, Any] = {}
    parameters = [p.name for p in call.operation.path_parameters]
    # From the end, because the path parameters may lack the project, which is a parent as well.
    for name, value in zip(reversed(parameters), reversed(call.parents), strict=False):
        types = call.state.catalogue.types(call.object_schema.properties.get(name, {}))
        if name == call.collection.key_field:
            continue
        if "integer" in types and value.isdigit():
            fields[name] = int(value)
        elif "string" in types:
            fields[name] = value
    return fields


def _list(call: ApiCall) -> Response:
    call.resolve_parents()
    return paginate(call)


def _create(call: ApiCall) -> Response:
    call.resolve_parents()
    return object_response(call, create_object(call))


def _get(call: ApiCall) -> Response:
    return object_response(call, call.get_object())


def _update(call: ApiCall) -> Response:
    row = call.get_object()
    sent = _body_fields(call)
    change_object(call, row, sent)
    return object_response(call, row)


def change_object(call: ApiCall, row: StoredObject, sent: Mapping[str, Any]) -> None:
    """Change an object as a PATCH does.

    Args:
        call: The call.
        row: The object.
        sent: The fields of the request.

    Raises:
        ApiError: 400, the server has a rule against the change.
    """
    _check_unique(call, sent, row)
    change = Change(call.state, call.project, sent, row)
    call.lifecycle.check(change)
    before = snapshot(call, row)
    row.data.update(call.object_schema.writable_fields(_request_schema(call), sent))
    _set_deleted(call, row, sent)
    call.object_schema.mark_updated(row.data, call.state)
    call.lifecycle.updated(replace(change, before=before or {}))
    log_update(call, row, before)


def _replace(call: ApiCall) -> Response:
    row = call.get_object()
    sent = _body_fields(call)
    _check_unique(call, sent, row)
    change = Change(call.state, call.project, sent, row)
    call.lifecycle.check(change)
    before = snapshot(call, row)
    schema = call.object_schema
    defaults = schema.create(call.state, {}, call.project_id)
    # PUT resets writable fields that are absent, but identity and read-only fields stay.
    retained = {
        name: value
        for name, value in row.data.items()
        if name in {"id", "uuid", "short_id", call.collection.key_field}
        or schema.properties.get(name, {}).get("readOnly")
        or name not in defaults
    }
    writable = schema.writable_fields(_request_schema(call), sent)
    # In place: callers of `Emulator.add` hold this dict.
    row.data.clear()
    row.data.update({**defaults, **retained, **writable})
    _set_deleted(call, row, sent)
    schema.mark_updated(row.data, call.state)
    call.lifecycle.updated(replace(change, before=before or {}))
    log_update(call, row, before)
    return object_response(call, row)


def _set_deleted(call: ApiCall, row: StoredObject, sent: Mapping[str, Any]) -> None:
    if call.collection.soft_delete and isinstance(sent.get("deleted"), bool):
        row.deleted = row.data["deleted"] = sent["deleted"]


def _soft_delete_or_restore(call: ApiCall) -> Response:
    row = call.get_object()
    change_object(call, row, {"deleted": call.plan.kind == "soft_delete"})
    return object_response(call, row)


def _delete(call: ApiCall) -> Response:
    row = call.get_object()
    change = Change(call.state, call.project, {}, row)
    call.lifecycle.check(change)
    call.objects.remove(row.key)
    # Nested objects are deleted as well. Ids are not reused, but keys chosen by clients may be.
    prefix = f"{call.collection_path}{row.key}/"
    store = call.state.store
    for path in [path for path in store.collections if path.startswith(prefix)]:
        del store.collections[path]
    call.lifecycle.deleted(change)
    log_deletion(call, row)
    if call.operation.result.kind in {"none", "json"}:
        return Response(call.operation.result.status)
    return object_response(call, row)


def _singleton(call: ApiCall) -> dict[str, Any]:
    """Return the object at the path of the call. It is created on first use."""
    call.resolve_parents(len(call.plan.placeholders) - call.plan.template.endswith("{}/"))
    if call.plan.template.endswith("{}/"):
        call.parents = (*call.parents, call.path_values[-1])
    stored = call.state.store.singletons.get(call.singleton_path)
    if stored is not None:
        return stored
    schema = call.response_schema
    created = as_object(call.state.object_schemas.sample(schema) if schema is not None else None)
    if call.plan.template.endswith("{}/") and call.operation.path_parameters:
        name = call.operation.path_parameters[-1].name
        if name in created and isinstance(created[name], str):
            created[name] = call.path_values[-1]
    call.state.store.singletons[call.singleton_path] = created
    return created


def _read_singleton(call: ApiCall) -> Response:
    return _singleton_response(call, _singleton(call))


def _singleton_response(call: ApiCall, stored: dict[str, Any]) -> Response:
    result = call.operation.result
    if result.kind == "none":
        return Response(result.status)
    if result.kind == "model" and not stored:
        return sample_response(call)
    declared = call.state.catalogue.properties(call.response_schema)
    visible = {name: value for name, value in stored.items() if not declared or name in declared}
    # Operations on one path may have different schemas: fill in what this one has in addition.
    missing = declared.keys() - visible.keys()
    if missing and call.operation.result.schema is not None:
        sample = call.state.plain_samples.component(call.operation.result.schema)
        visible |= {name: sample[name] for name in missing if name in sample}
    return json_response(result.status, visible)


def _write_singleton(call: ApiCall) -> Response:
    stored = _singleton(call)
    catalogue = call.state.catalogue
    request_fields = catalogue.properties(_request_schema(call) or {})
    response_fields = catalogue.properties(call.response_schema)
    for name, value in _body_fields(call).items():
        field = request_fields.get(name, {})
        if field.get("readOnly") or field.get("writeOnly"):
            continue
        if response_fields and name not in response_fields:
            continue
        checker = call.state.object_schemas.checker
        if name not in response_fields or checker(response_fields[name])(value):
            stored[name] = value
    return _singleton_response(call, stored)


def _delete_singleton(call: ApiCall) -> Response:
    _singleton(call)
    del call.state.store.singletons[call.singleton_path]
    if call.operation.result.status == 204 or call.operation.result.kind == "none":
        return Response(call.operation.result.status)
    return sample_response(call)


def _action(call: ApiCall) -> Response:
    placeholders = call.plan.placeholders
    # An action at an item's own path (POST …/{id}/) may be about one that does not exist yet.
    call.resolve_parents(len(placeholders) - call.plan.template.endswith("{}/"))
    if placeholders and not call.plan.template.endswith("{}/"):
        response = _item_of_action(call)
        if response is not None:
            return response
    return sample_response(call)


def _item_of_action(call: ApiCall) -> Response | None:
    """Return a response with the item that an action is about, if the schema is that item's."""
    schema = call.response_schema
    placeholder = call.plan.placeholders[-1]
    collection = call.state.plans.collections.get(placeholder.template)
    if schema is None or collection is None or call.operation.result.array:
        return None
    object_schema = call.state.object_schemas.get(collection)
    if not object_schema.schemas or schema != object_schema.schemas[0]:
        return None
    path = fill_path(placeholder.template, call.parents)
    row = call.state.store.collection(path).find(call.parents[-1])
    if row is None:
        raise not_found()
    # The item is the stored one, but what the action does to it is unknown.
    call.fidelity = "schema"
    return json_response(call.operation.result.status, object_schema.serialize(row.data, schema))


def _body_fields(call: ApiCall) -> dict[str, Any]:
    body: Any = {} if call.body is None else call.body
    if not is_object(body):
        raise invalid(f"Invalid data. Expected a dictionary, but got {type(body).__name__}.")
    return {name: value for name, value in body.items() if name != "personal_api_key"}


def _request_schema(call: ApiCall) -> Schema | None:
    body = call.operation.body
    if body is None or body.schema is None or body.schema not in call.state.catalogue:
        return None
    return {"$ref": f"#/components/schemas/{body.schema}"}


def _check_unique(call: ApiCall, sent: Mapping[str, Any], updated: StoredObject | None) -> None:
    field, detail = UNIQUE.get(call.collection.template, ("", ""))
    value = sent.get(field)
    if value is None:
        return
    for row in call.objects:
        if row is not updated and not row.deleted and row.data.get(field) == value:
            raise invalid(detail, field, "unique")


DEFAULT_HANDLERS: Mapping[Kind, Handler] = {
    "list": _list,
    "create": _create,
    "get": _get,
    "update": _update,
    "replace": _replace,
    "delete": _delete,
    "soft_delete": _soft_delete_or_restore,
    "restore": _soft_delete_or_restore,
    "read_singleton": _read_singleton,
    "write_singleton": _write_singleton,
    "delete_singleton": _delete_singleton,
    "action": _action,
}
