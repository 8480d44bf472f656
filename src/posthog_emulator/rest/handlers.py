"""What every kind of operation does, unless a special handler knows better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Answer, json_answer, text_answer
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.objects.plans import Kind
from posthog_emulator.objects.store import Row
from posthog_emulator.schema.catalogue import Schema
from posthog_emulator.schema.sampling import Unsatisfiable
from posthog_emulator.state import Call, Handler, fill

from .pagination import paged

__all__ = ["HANDLERS", "UNIQUE", "created", "item_answer", "schema_answer"]

UNIQUE: Mapping[str, tuple[str, str]] = {
    "/api/projects/{}/feature_flags/": (
        "key",
        "There is already a feature flag with this key.",
    ),
}
"""Fields no two live objects of a collection may share, and what is said when they would."""


def item_answer(call: Call, row: Row) -> Answer:
    """Answer with one object."""
    result = call.operation.result
    if result.kind == "none":
        return Answer(result.status)
    return json_answer(result.status, call.shape.shown(row.data, call.answer_schema))


def schema_answer(call: Call) -> Answer:
    """Answer with a body that is only made up from the schema."""
    call.fidelity = "schema"
    result = call.operation.result
    if result.kind == "none" or result.status == 204:
        return Answer(result.status)
    if result.kind == "text":
        return text_answer(result.status, "text", result.media)
    if result.kind == "bytes":
        return Answer(result.status, b"bytes", result.media)
    schema = call.world.catalogue.answer(call.operation)
    return json_answer(result.status, {} if schema is None else _sample_body(call, schema))


def _sample_body(call: Call, schema: Schema) -> Any:
    world = call.world
    name = call.operation.result.schema
    try:
        if name is not None and not call.operation.result.array:
            return world.rich.component(name)
        return world.rich.value(schema)
    except Unsatisfiable:
        # The server deviates from a schema nothing can meet; so do we.
        return {}


def created(call: Call, given: Mapping[str, Any] | None = None) -> Row:
    """Make a new object from the body of a call."""
    sent = _sent(call) if given is None else given
    _check_unique(call, sent, None)
    shape = call.shape
    kept = {**_from_path(call), **shape.accepted(_request_schema(call), sent)}
    return call.world.insert(call.collection, call.address, kept, call.project_id)


def _from_path(call: Call) -> dict[str, Any]:
    """Fields of a nested object that name its parents, as `dashboard_id`."""
    named: dict[str, Any] = {}
    parameters = [p.name for p in call.operation.path_parameters]
    for name, value in zip(reversed(parameters), reversed(call.parents), strict=False):
        types = call.world.catalogue.types(call.shape.properties.get(name, {}))
        if name == call.collection.key_field:
            continue
        if "integer" in types and value.isdigit():
            named[name] = int(value)
        elif "string" in types:
            named[name] = value
    return named


def _list(call: Call) -> Answer:
    call.locate()
    return paged(call)


def _create(call: Call) -> Answer:
    call.locate()
    return item_answer(call, created(call))


def _get(call: Call) -> Answer:
    return item_answer(call, call.row())


def _update(call: Call) -> Answer:
    row = call.row()
    sent = _sent(call)
    _check_unique(call, sent, row)
    row.data.update(call.shape.accepted(_request_schema(call), sent))
    _mark_deleted(call, row, sent)
    call.shape.touch(row.data, call.world)
    return item_answer(call, row)


def _replace(call: Call) -> Answer:
    row = call.row()
    sent = _sent(call)
    _check_unique(call, sent, row)
    shape = call.shape
    fresh = shape.new(call.world, {}, call.project_id)
    kept = {
        name: value
        for name, value in row.data.items()
        if name in {"id", "uuid", "short_id", call.collection.key_field}
        or shape.properties.get(name, {}).get("readOnly")
        or name not in fresh
    }
    row.data.clear()
    row.data.update({**fresh, **kept, **shape.accepted(_request_schema(call), sent)})
    _mark_deleted(call, row, sent)
    shape.touch(row.data, call.world)
    return item_answer(call, row)


def _mark_deleted(call: Call, row: Row, sent: Mapping[str, Any]) -> None:
    if call.collection.soft and isinstance(sent.get("deleted"), bool):
        row.deleted = row.data["deleted"] = sent["deleted"]


def _soft_delete(call: Call) -> Answer:
    row = call.row()
    row.deleted = row.data["deleted"] = call.plan.kind == "soft_delete"
    call.shape.touch(row.data, call.world)
    return item_answer(call, row)


def _delete(call: Call) -> Answer:
    row = call.row()
    call.bucket.remove(row.key)
    below = f"{call.address}{row.key}/"
    store = call.world.store
    for address in [a for a in store.buckets if a.startswith(below)]:
        del store.buckets[address]
    if call.operation.result.kind in {"none", "json"}:
        return Answer(call.operation.result.status)
    return item_answer(call, row)


def _one(call: Call) -> dict[str, Any]:
    call.locate(len(call.plan.steps) - call.plan.template.endswith("{}/"))
    if call.plan.template.endswith("{}/"):
        call.parents = (*call.parents, call.values[-1])
    held = call.world.store.singletons.get(call.singleton_path)
    if held is not None:
        return held
    schema = call.answer_schema
    made = call.world.shapes.made(schema) if schema is not None else None
    fresh = as_object(made)
    if call.plan.template.endswith("{}/") and call.operation.path_parameters:
        name = call.operation.path_parameters[-1].name
        if name in fresh and isinstance(fresh[name], str):
            fresh[name] = call.values[-1]
    call.world.store.singletons[call.singleton_path] = fresh
    return fresh


def _read_one(call: Call) -> Answer:
    held = _one(call)
    return _one_answer(call, held)


def _one_answer(call: Call, held: dict[str, Any]) -> Answer:
    result = call.operation.result
    if result.kind == "none":
        return Answer(result.status)
    if result.kind == "model" and not held:
        return schema_answer(call)
    known = call.world.catalogue.properties(call.answer_schema)
    shown = {name: value for name, value in held.items() if not known or name in known}
    missing = known.keys() - shown.keys()
    if missing and call.operation.result.schema is not None:
        made = call.world.plain.component(call.operation.result.schema)
        shown |= {name: made[name] for name in missing if name in made}
    return json_answer(result.status, shown)


def _write_one(call: Call) -> Answer:
    held = _one(call)
    catalogue = call.world.catalogue
    asked = catalogue.properties(_request_schema(call) or {})
    known = catalogue.properties(call.answer_schema)
    for name, value in _sent(call).items():
        ours = asked.get(name, {})
        if ours.get("readOnly") or ours.get("writeOnly") or (known and name not in known):
            continue
        if name not in known or call.world.shapes.checker(known[name])(value):
            held[name] = value
    return _one_answer(call, held)


def _delete_one(call: Call) -> Answer:
    _one(call)
    del call.world.store.singletons[call.singleton_path]
    if call.operation.result.status == 204 or call.operation.result.kind == "none":
        return Answer(call.operation.result.status)
    return schema_answer(call)


def _action(call: Call) -> Answer:
    steps = call.plan.steps
    # An action at an item's own path (POST …/{id}/) may be about one that does not exist yet.
    call.locate(len(steps) - call.plan.template.endswith("{}/"))
    if steps and not call.plan.template.endswith("{}/"):
        answer = _answer_with_item(call)
        if answer is not None:
            return answer
    return schema_answer(call)


def _answer_with_item(call: Call) -> Answer | None:
    """Answer an action on an item with that item, if that is what its schema promises."""
    schema = call.answer_schema
    step = call.plan.steps[-1]
    collection = call.world.plans.collections.get(step.template)
    if schema is None or collection is None or call.operation.result.array:
        return None
    shape = call.world.shapes.of(collection)
    if not shape.schemas or schema != shape.schemas[0]:
        return None
    above = fill(step.template, call.parents)
    row = call.world.store.bucket(above).find(call.parents[-1])
    if row is None:
        raise not_found()
    call.fidelity = "schema"
    return json_answer(call.operation.result.status, shape.shown(row.data, schema))


def _sent(call: Call) -> dict[str, Any]:
    body: Any = {} if call.body is None else call.body
    if not is_object(body):
        raise invalid(f"Invalid data. Expected a dictionary, but got {type(body).__name__}.")
    return {name: value for name, value in body.items() if name != "personal_api_key"}


def _request_schema(call: Call) -> Schema | None:
    body = call.operation.body
    if body is None or body.schema is None or body.schema not in call.world.catalogue:
        return None
    return {"$ref": f"#/components/schemas/{body.schema}"}


def _check_unique(call: Call, sent: Mapping[str, Any], own: Row | None) -> None:
    field, detail = UNIQUE.get(call.collection.template, ("", ""))
    value = sent.get(field)
    if value is None:
        return
    for row in call.bucket:
        if row is not own and not row.deleted and row.data.get(field) == value:
            raise invalid(detail, field, "unique")


HANDLERS: Mapping[Kind, Handler] = {
    "list": _list,
    "create": _create,
    "get": _get,
    "update": _update,
    "replace": _replace,
    "delete": _delete,
    "soft_delete": _soft_delete,
    "restore": _soft_delete,
    "read_one": _read_one,
    "write_one": _write_one,
    "delete_one": _delete_one,
    "action": _action,
}
