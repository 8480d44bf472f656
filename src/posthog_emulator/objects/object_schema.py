"""Fields that are only written: what an object keeps, and no answer shows."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from posthog_emulator.json_types import as_object, is_array, is_mapping, is_object
from posthog_emulator.objects.plans import Collection, Plans
from posthog_emulator.schema.catalogue import Catalogue, Schema, ref_name
from posthog_emulator.schema.sampling import SampleGenerator, Unsatisfiable
from posthog_emulator.schema.validation import Validators

__all__ = ["DEFAULTS", "ObjectSchemas", "Server", "Shape", "WriteOnlyFields"]

Hidden: TypeAlias = "dict[str, Hidden | None]"
"""Fields to leave out (None), and those to look into."""

_DEPTH = 4


class WriteOnlyFields:
    """Knows what the schemas of a catalogue keep to themselves."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[str, Hidden] = {}

    def without(self, value: Any, schema: Schema) -> Any:
        """A value as an answer may show it; the value itself where there is nothing to hide."""
        key = ref_name(schema) or json.dumps(schema, sort_keys=True)
        hidden = self._known.get(key)
        if hidden is None:
            hidden = self._known[key] = self._hidden(schema, _DEPTH, ())
        return _without(value, hidden) if hidden else value

    def _hidden(self, schema: Any, depth: int, above: tuple[str, ...]) -> Hidden:
        flat = self._catalogue.resolve(schema)
        name = ref_name(schema) if is_mapping(schema) else None
        if name in above or not depth:
            return {}
        above = above if name is None else (*above, name)
        items = flat.get("items")
        if items is not None:
            return self._hidden(items, depth, above)
        hidden: Hidden = {}
        properties: Mapping[str, Schema] = self._catalogue.properties(flat)
        for field, sub in properties.items():
            if sub.get("writeOnly"):
                hidden[field] = None
            else:
                inner = self._hidden(sub, depth - 1, above)
                if inner:
                    hidden[field] = inner
        return hidden


def _without(value: Any, hidden: Hidden) -> Any:
    if is_array(value):
        return [_without(item, hidden) for item in value]
    if not is_object(value):
        return value
    shown: dict[str, Any] = {}
    for name, item in value.items():
        if name not in hidden:
            shown[name] = item
            continue
        inner = hidden[name]
        if inner is not None:
            shown[name] = _without(item, inner)
    return shown


_NOW = frozenset({"created_at", "updated_at", "last_updated_at", "last_modified_at", "modified_at"})
_TOUCHED = _NOW - {"created_at"}
_PEOPLE = frozenset({"created_by", "last_modified_by", "modified_by", "updated_by"})
_PROJECTS = frozenset({"team", "team_id", "project", "project_id"})
_ORGANIZATIONS = frozenset({"organization", "organization_id"})
_NOTES = frozenset({"readOnly", "writeOnly", "default", "deprecated", "description", "title"})
_NOTHING: Schema = {}

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "/api/projects/{}/feature_flags/": {"active": True, "can_edit": True},
}
"""What the server sets where nothing was said and the schema has no default."""


class Server(Protocol):
    """What a shape asks of the emulator to fill the fields a server fills."""

    def now(self) -> str:
        """The moment, as ISO 8601 text."""
        ...

    def number(self, template: str) -> int:
        """The next number of a collection."""
        ...

    def uuid(self) -> str:
        """A new UUID."""
        ...

    def person(self) -> Mapping[str, Any]:
        """The user, by field name."""
        ...

    @property
    def organization_id(self) -> str:
        """The organization's UUID."""
        ...


@dataclass(frozen=True, slots=True)
class _View:
    """How a full object is shown by one schema."""

    names: frozenset[str]
    """Fields it shows; empty when it shows whatever there is."""
    made: Mapping[str, Any]
    """Fields it needs that the object does not have."""
    checks: Mapping[str, tuple[Callable[[Any], bool], Any]]
    """Fields that mean something else here: a test, and a value for when it fails."""


class Shape:
    """One collection's objects."""

    def __init__(self, collection: Collection, schemas: list[Schema], tools: ObjectSchemas) -> None:
        self._collection = collection
        self._tools = tools
        self.schemas = schemas
        self.properties: dict[str, Schema] = {}
        template: dict[str, Any] = {}
        for schema in reversed(schemas):
            made = tools.made(schema)
            template.update(as_object(made))
            self.properties.update(tools.catalogue.properties(schema))
        self.open = not self.properties
        self._template = json.dumps(template)
        self._views: dict[str, _View] = {}
        self._tests: dict[tuple[str, int], Callable[[Any], bool] | None] = {}
        self._types = {name: tools.catalogue.types(sub) for name, sub in self.properties.items()}

    def new(
        self, server: Server, given: Mapping[str, Any], project_id: int | None
    ) -> dict[str, Any]:
        """A new object: what the server sets, then what was given."""
        data: dict[str, Any] = json.loads(self._template)
        self._fill_server_fields(data, server, project_id)
        data.update(DEFAULTS.get(self._collection.template, _NOTHING))
        data.update(given)
        if "deleted" in data and "deleted" not in given:
            data["deleted"] = False
        return data

    def key(self, data: Mapping[str, Any], server: Server) -> str:
        """What stands for an object in a path."""
        value: Any = data
        for part in self._collection.key_field.split("__"):
            value = value.get(part) if is_mapping(value) else None
        return str(value) if value not in (None, "") else server.uuid()

    def accepted(self, request: Schema | None, sent: Mapping[str, Any]) -> dict[str, Any]:
        """What of a request body ends up in the object.

        Read-only and write-only fields do not, nor fields the server does not know, nor values
        that mean something else in the request than in the answer.
        """
        asked = self._tools.catalogue.properties(request) if request is not None else {}
        kept: dict[str, Any] = {}
        for name, value in sent.items():
            ours = asked.get(name, _NOTHING)
            theirs = self.properties.get(name)
            if ours.get("readOnly") or ours.get("writeOnly"):
                continue
            if theirs is None:
                if self.open:
                    kept[name] = value
                continue
            whole = self._tools.completed(theirs, value)
            if self._fits(name, ours, theirs, whole):
                kept[name] = whole
        return kept

    def _fits(self, name: str, ours: Schema, theirs: Schema, value: Any) -> bool:
        key = (name, id(ours))
        if key not in self._tests:
            same = _meaning(ours) == _meaning(theirs)
            self._tests[key] = None if same else self._tools.checker(theirs)
        test = self._tests[key]
        return test is None or test(value)

    def touch(self, data: dict[str, Any], server: Server) -> None:
        """Record that an object has changed: its times, its version, who did it."""
        for name in _TOUCHED & data.keys():
            data[name] = server.now()
        version = data.get("version")
        if isinstance(version, int) and not isinstance(version, bool):
            data["version"] = version + 1
        for name in {"last_modified_by", "modified_by", "updated_by"} & data.keys():
            self._set(data, name, dict(server.person()))

    def shown(self, data: dict[str, Any], schema: Schema | None) -> dict[str, Any]:
        """An object as one schema shows it, without what is only written."""
        if schema is None:
            return data
        return self._tools.concealment.without(self._fitted(data, schema), schema)

    def _fitted(self, data: dict[str, Any], schema: Schema) -> dict[str, Any]:
        if self.schemas and schema == self.schemas[0]:
            return data
        view = self._view(schema)
        if not view.names:
            return data
        out = {name: value for name, value in data.items() if name in view.names}
        for name, value in view.made.items():
            out.setdefault(name, value)
        for name, (test, value) in view.checks.items():
            if name in out and not test(out[name]):
                out[name] = value
        return out

    def _view(self, schema: Schema) -> _View:
        key = ref_name(schema) or json.dumps(schema, sort_keys=True)
        view = self._views.get(key)
        if view is None:
            properties = self._tools.catalogue.properties(schema)
            made = self._tools.made(schema)
            made = as_object(made)
            checks = {
                name: (self._tools.checker(sub), made.get(name))
                for name, sub in properties.items()
                if name in self.properties and _meaning(sub) != _meaning(self.properties[name])
            }
            view = self._views[key] = _View(frozenset(properties), made, checks)
        return view

    def _fill_server_fields(
        self, data: dict[str, Any], server: Server, project_id: int | None
    ) -> None:
        now = server.now()
        for name, schema in self.properties.items():
            if name not in data:
                continue
            if name in _NOW:
                self._set(data, name, now)
            elif name in _PEOPLE:
                self._set(data, name, dict(server.person()))
            elif name in _PROJECTS and project_id is not None:
                self._set(data, name, project_id)
            elif name in _ORGANIZATIONS:
                self._set(data, name, server.organization_id)
            elif name == "version" and schema.get("readOnly"):
                self._set(data, name, 1)
            elif name == "uuid":
                self._set(data, name, server.uuid())
            elif name == "short_id":
                self._set(data, name, server.uuid().replace("-", "")[-8:])
        field = self._collection.key_field
        if field in {"id", "uuid"} or self.properties.get(field, _NOTHING).get("readOnly"):
            self._identify(data, field, server)
        if field != "id" and "id" in self.properties:
            self._identify(data, "id", server)
        outer, nested, inner = field.partition("__")
        if nested and isinstance(data.get(outer), dict):
            data[outer][inner] = server.uuid()

    def _identify(self, data: dict[str, Any], name: str, server: Server) -> None:
        types = self._types.get(name, set())
        if not types or types & {"integer", "number"}:
            data[name] = server.number(self._collection.template)
        elif name not in {"short_id", "uuid"}:
            data[name] = server.uuid()

    def _set(self, data: dict[str, Any], name: str, value: Any) -> None:
        """Set a field as far as its schema allows such a value."""
        types = self._types[name]
        if is_object(value):
            if "object" in types:
                user = value
                data[name] = self._tools.person(self.properties[name], user)
            elif "integer" in types:
                data[name] = value["id"]
            elif "string" in types:
                data[name] = value["uuid"]
        elif isinstance(value, int):
            if types & {"integer", "number"}:
                data[name] = value
        elif "string" in types:
            data[name] = value


class ObjectSchemas:
    """The shapes of all collections, each made when first needed."""

    def __init__(
        self, plans: Plans, catalogue: Catalogue, plain: SampleGenerator, validators: Validators
    ) -> None:
        self.catalogue = catalogue
        self._plans = plans
        self._plain = plain
        self._validators = validators
        self._made: dict[str, Shape] = {}
        self.concealment = WriteOnlyFields(catalogue)

    def of(self, collection: Collection) -> Shape:
        """The shape of a collection."""
        shape = self._made.get(collection.template)
        if shape is None:
            shape = Shape(collection, self._plans.item_schemas(collection), self)
            self._made[collection.template] = shape
        return shape

    def made(self, schema: Schema) -> Any:
        """A plain value of a schema; None when it has none."""
        name = ref_name(schema)
        try:
            return self._plain.component(name) if name else self._plain.value(schema)
        except Unsatisfiable:
            return None

    def completed(self, schema: Any, value: Any) -> Any:
        """A value as sent, with what the server adds inside it: ids of nested objects and such."""
        flat = self.catalogue.resolve(schema)
        branches: Any = flat.get("anyOf") or flat.get("oneOf")
        if branches and (is_object(value) or is_array(value)):
            for branch in branches:
                whole = self.completed(branch, value)
                if self.checker(branch)(whole):
                    return whole
            return value
        if is_array(value):
            return [self.completed(flat.get("items"), item) for item in value]
        if not is_object(value):
            return value
        properties: Mapping[str, Any] = flat.get("properties", {})
        out = {
            name: self.completed(properties[name], inner) if name in properties else inner
            for name, inner in value.items()
        }
        for name in flat.get("required", ()):
            sub = properties.get(name)
            if name not in out and is_mapping(sub) and not sub.get("writeOnly"):
                out[name] = self.made(sub)
        return out

    def checker(self, schema: Schema) -> Callable[[Any], bool]:
        """A test for values of an answer's schema."""
        return self._validators.checker(schema, "response")

    def person(self, schema: Schema, user: Mapping[str, Any]) -> dict[str, Any]:
        """The user in the form a schema wants."""
        made = self.made(self.catalogue.object_branch(schema))
        known = self.catalogue.properties(schema)
        filled = as_object(made)
        return {**filled, **{name: user[name] for name in user if not known or name in known}}


def _meaning(schema: Schema) -> dict[str, Any]:
    """A schema without what does not bear on which values it admits."""
    return {key: value for key, value in schema.items() if key not in _NOTES}


def seeded_uuid(seed: int, number: int) -> str:
    """The n-th UUID of a seed."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{number}"))
