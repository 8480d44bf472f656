"""The schema of a collection's objects: create, update and serialize them as the server does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from posthog_emulator.json_types import as_object, is_array, is_mapping, is_object
from posthog_emulator.objects.routing import CollectionSpec, OperationPlans
from posthog_emulator.schema.catalogue import Catalogue, Schema, ref_name
from posthog_emulator.schema.sampling import SampleGenerator, Unsatisfiable
from posthog_emulator.schema.validation import Validators

__all__ = ["DEFAULTS", "ObjectSchema", "ObjectSchemas", "ServerValues", "WriteOnlyFields"]

_FieldTree: TypeAlias = "dict[str, _FieldTree | None]"
"""Fields to remove (None), and objects in which to remove fields."""

_MAX_DEPTH = 4


class WriteOnlyFields:
    """Removes the write-only fields of a schema from values, at any depth up to four objects.

    Args:
        catalogue: The component schemas.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._trees: dict[str, _FieldTree] = {}

    def strip(self, value: Any, schema: Schema) -> Any:
        """Return a value without write-only fields; the value itself if there are none."""
        key = ref_name(schema) or json.dumps(schema, sort_keys=True)
        tree = self._trees.get(key)
        if tree is None:
            tree = self._trees[key] = self._tree(schema, _MAX_DEPTH, ())
        return _strip(value, tree) if tree else value

    def _tree(self, schema: Any, depth: int, ancestors: tuple[str, ...]) -> _FieldTree:
        flat = self._catalogue.resolve(schema)
        name = ref_name(schema) if is_mapping(schema) else None
        # Schemas recurse: a dashboard has tiles, which have insights, which have dashboards.
        if name in ancestors or not depth:
            return {}
        ancestors = ancestors if name is None else (*ancestors, name)
        items = flat.get("items")
        if items is not None:
            return self._tree(items, depth, ancestors)
        tree: _FieldTree = {}
        properties: Mapping[str, Schema] = self._catalogue.properties(flat)
        for field, sub in properties.items():
            if sub.get("writeOnly"):
                tree[field] = None
            else:
                subtree = self._tree(sub, depth - 1, ancestors)
                if subtree:
                    tree[field] = subtree
        return tree


def _strip(value: Any, tree: _FieldTree) -> Any:
    if is_array(value):
        return [_strip(item, tree) for item in value]
    if not is_object(value):
        return value
    stripped: dict[str, Any] = {}
    for name, item in value.items():
        if name not in tree:
            stripped[name] = item
            continue
        subtree = tree[name]
        if subtree is not None:
            stripped[name] = _strip(item, subtree)
    return stripped


_TIMESTAMPS = frozenset(
    {"created_at", "updated_at", "last_updated_at", "last_modified_at", "modified_at"}
)
_UPDATE_TIMESTAMPS = _TIMESTAMPS - {"created_at"}
_USERS = frozenset({"created_by", "last_modified_by", "modified_by", "updated_by"})
_UPDATE_USERS = _USERS - {"created_by"}
_PROJECTS = frozenset({"team", "team_id", "project", "project_id"})
_ORGANIZATIONS = frozenset({"organization", "organization_id"})
_ANNOTATIONS = frozenset({"readOnly", "writeOnly", "default", "deprecated", "description", "title"})
_EMPTY: Schema = {}

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "/api/projects/{}/feature_flags/": {"active": True, "can_edit": True},
    "/api/projects/{}/insights/": {"filters": {}},
}
"""Values that the server sets for absent fields, where the schema declares no default."""

ALWAYS_VISIBLE: Mapping[str, frozenset[str]] = {
    "/api/projects/{}/experiments/": frozenset({"saved_metrics_ids"}),
    "/api/projects/{}/insights/": frozenset({"filters"}),
}
"""Fields that older clients read in every response, whatever the schema of the response says."""


class ServerValues(Protocol):
    """The values that the server assigns to the fields of an object."""

    def now(self) -> str:
        """Return the current time as ISO 8601 text."""
        ...

    def next_id(self, template: str) -> int:
        """Return the next integer id of the collections with a path template."""
        ...

    def uuid(self) -> str:
        """Return a new UUID."""
        ...

    def current_user(self) -> Mapping[str, Any]:
        """Return the fields of the user."""
        ...

    @property
    def organization_id(self) -> str:
        """The organization's UUID."""
        ...


@dataclass(frozen=True, slots=True)
class _View:
    """How one response schema shows a stored object."""

    names: frozenset[str]
    """The fields it shows; empty if it shows all fields."""
    samples: Mapping[str, Any]
    """Values of the fields that the stored object may lack."""
    checks: Mapping[str, tuple[Callable[[Any], bool], Any]]
    """Fields of another type in this schema: a validator, and the value to use if it fails."""


class ObjectSchema:
    """The schema of one collection's objects, merged from all response schemas of its items.

    Args:
        collection: The description of the collection.
        schemas: The response schemas of an item, the most complete first.
        registry: The schemas of all collections.
    """

    def __init__(
        self, collection: CollectionSpec, schemas: list[Schema], registry: ObjectSchemas
    ) -> None:
        self._collection = collection
        self._registry = registry
        self.schemas = schemas
        self.properties: dict[str, Schema] = {}
        template: dict[str, Any] = {}
        # The most complete schema comes last, so that its properties and samples win.
        for schema in reversed(schemas):
            template.update(as_object(registry.sample(schema)))
            self.properties.update(registry.catalogue.properties(schema))
        self.accepts_any_field = not self.properties
        # As text, because a copy by json.loads is several times faster than copy.deepcopy.
        self._template = json.dumps(template)
        self._views: dict[str, _View] = {}
        self._field_checks: dict[tuple[str, int], Callable[[Any], bool] | None] = {}
        self._types = {name: registry.catalogue.types(sub) for name, sub in self.properties.items()}

    def create(
        self, server: ServerValues, fields: Mapping[str, Any], project_id: int | None
    ) -> dict[str, Any]:
        """Return a new object: sample values, then values of the server, then the given fields."""
        data: dict[str, Any] = json.loads(self._template)
        self._fill_server_fields(data, server, project_id)
        data.update(DEFAULTS.get(self._collection.template, _EMPTY))
        data.update(fields)
        # The sample of `deleted` is whatever its schema allows.
        if "deleted" in data and "deleted" not in fields:
            data["deleted"] = False
        return data

    def key_of(self, data: Mapping[str, Any], server: ServerValues) -> str:
        """Return the path segment that identifies an object; a new UUID if it has none."""
        value: Any = data
        for part in self._collection.key_field.split("__"):
            value = value.get(part) if is_mapping(value) else None
        return str(value) if value not in (None, "") else server.uuid()

    def writable_fields(self, request: Schema | None, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a request body that are stored in the object.

        Left out are read-only and write-only fields, fields that no response has, and values that
        are valid in the request but not in the response, such as an id in place of an object.
        """
        declared = self._registry.catalogue.properties(request) if request is not None else {}
        fields: dict[str, Any] = {}
        for name, value in sent.items():
            request_schema = declared.get(name, _EMPTY)
            response_schema = self.properties.get(name)
            if request_schema.get("readOnly") or request_schema.get("writeOnly"):
                continue
            if response_schema is None:
                if self.accepts_any_field:
                    fields[name] = value
                continue
            complete = self._registry.complete_nested(response_schema, value)
            if self._is_valid(name, request_schema, response_schema, complete):
                fields[name] = complete
        return fields

    def _is_valid(
        self, name: str, request_schema: Schema, response_schema: Schema, value: Any
    ) -> bool:
        key = (name, id(request_schema))
        if key not in self._field_checks:
            # The body was validated by the request's schema: an equal one need not be checked.
            same = _constraints(request_schema) == _constraints(response_schema)
            self._field_checks[key] = None if same else self._registry.checker(response_schema)
        check = self._field_checks[key]
        return check is None or check(value)

    def mark_updated(self, data: dict[str, Any], server: ServerValues) -> None:
        """Set the timestamps, the user and the version that the server changes on an update."""
        for name in _UPDATE_TIMESTAMPS & data.keys():
            data[name] = server.now()
        version = data.get("version")
        if isinstance(version, int) and not isinstance(version, bool):
            data["version"] = version + 1
        for name in _UPDATE_USERS & data.keys():
            self._set(data, name, dict(server.current_user()))

    def serialize(self, data: dict[str, Any], schema: Schema | None) -> dict[str, Any]:
        """Return an object as a response schema shows it, without write-only fields."""
        if schema is None:
            return data
        return self._registry.write_only.strip(self._apply_view(data, schema), schema)

    def _apply_view(self, data: dict[str, Any], schema: Schema) -> dict[str, Any]:
        if self.schemas and schema == self.schemas[0]:
            return data
        view = self._view(schema)
        if not view.names:
            return data
        visible = {name: value for name, value in data.items() if name in view.names}
        for name, value in view.samples.items():
            visible.setdefault(name, value)
        for name, (check, value) in view.checks.items():
            if name in visible and not check(visible[name]):
                visible[name] = value
        return visible

    def _view(self, schema: Schema) -> _View:
        key = ref_name(schema) or json.dumps(schema, sort_keys=True)
        view = self._views.get(key)
        if view is None:
            properties = self._registry.catalogue.properties(schema)
            visible = ALWAYS_VISIBLE.get(self._collection.template, frozenset())
            samples = as_object(self._registry.sample(schema))
            checks = {
                name: (self._registry.checker(sub), samples.get(name))
                for name, sub in properties.items()
                if name in self.properties
                and _constraints(sub) != _constraints(self.properties[name])
            }
            view = self._views[key] = _View(frozenset(properties) | visible, samples, checks)
        return view

    def _fill_server_fields(
        self, data: dict[str, Any], server: ServerValues, project_id: int | None
    ) -> None:
        now = server.now()
        for name, schema in self.properties.items():
            if name not in data:
                continue
            if name in _TIMESTAMPS:
                self._set(data, name, now)
            elif name in _USERS:
                self._set(data, name, dict(server.current_user()))
            elif name in _PROJECTS and project_id is not None:
                self._set(data, name, project_id)
            elif name in _ORGANIZATIONS:
                self._set(data, name, server.organization_id)
            elif name == "version" and schema.get("readOnly"):
                self._set(data, name, 1)
            elif name == "uuid":
                self._set(data, name, server.uuid())
            elif name == "short_id":
                # Short ids have eight characters on the server.
                self._set(data, name, server.uuid().replace("-", "")[-8:])
        key_field = self._collection.key_field
        if key_field in {"id", "uuid"} or self.properties.get(key_field, _EMPTY).get("readOnly"):
            self._assign_id(data, key_field, server)
        if key_field != "id" and "id" in self.properties:
            self._assign_id(data, "id", server)
        outer, nested, inner = key_field.partition("__")
        if nested and isinstance(data.get(outer), dict):
            data[outer][inner] = server.uuid()

    def _assign_id(self, data: dict[str, Any], name: str, server: ServerValues) -> None:
        types = self._types.get(name, set())
        if not types or types & {"integer", "number"}:
            data[name] = server.next_id(self._collection.template)
        # These two have got their values above, by name.
        elif name not in {"short_id", "uuid"}:
            data[name] = server.uuid()

    def _set(self, data: dict[str, Any], name: str, value: Any) -> None:
        """Set a field in the form that its schema allows; leave it if there is none."""
        types = self._types[name]
        if is_object(value):
            # A user: as an object, or by id, or by UUID, depending on the schema.
            if "object" in types:
                data[name] = self._registry.fit(self.properties[name], value)
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
    """The object schemas of all collections, each built on first use.

    Args:
        plans: The plans of the operations.
        catalogue: The component schemas.
        samples: Generates the values of fields that are not given.
        validators: The validators of the component schemas.
    """

    def __init__(
        self,
        plans: OperationPlans,
        catalogue: Catalogue,
        samples: SampleGenerator,
        validators: Validators,
    ) -> None:
        self.catalogue = catalogue
        self._plans = plans
        self._samples = samples
        self._validators = validators
        self._schemas: dict[str, ObjectSchema] = {}
        self._nested: dict[str, tuple[str, frozenset[str]]] = {}
        """The sample of nested objects, as JSON, and the fields they declare, by their schema."""
        self.write_only = WriteOnlyFields(catalogue)

    def get(self, collection: CollectionSpec) -> ObjectSchema:
        """Return the object schema of a collection."""
        schema = self._schemas.get(collection.template)
        if schema is None:
            schema = ObjectSchema(collection, self._plans.item_schemas(collection), self)
            self._schemas[collection.template] = schema
        return schema

    def sample(self, schema: Schema) -> Any:
        """Return a plain sample value of a schema; None if none can be generated."""
        name = ref_name(schema)
        try:
            return self._samples.component(name) if name else self._samples.value(schema)
        except Unsatisfiable:
            return None

    def complete_nested(self, schema: Any, value: Any) -> Any:
        """Return a value with the required fields that the server adds to nested objects."""
        flat = self.catalogue.resolve(schema)
        branches: Any = flat.get("anyOf") or flat.get("oneOf")
        if branches and (is_object(value) or is_array(value)):
            # Which branch was meant shows only when the value is complete.
            for branch in branches:
                complete = self.complete_nested(branch, value)
                if self.checker(branch)(complete):
                    return complete
            return value
        if is_array(value):
            return [self.complete_nested(flat.get("items"), item) for item in value]
        if not is_object(value):
            return value
        properties: Mapping[str, Any] = flat.get("properties", {})
        others: Any = flat.get("additionalProperties")
        others = others if is_mapping(others) else _EMPTY
        complete = {
            name: self.complete_nested(properties.get(name, others), inner)
            for name, inner in value.items()
        }
        for name in flat.get("required", ()):
            sub = properties.get(name)
            if name not in complete and is_mapping(sub) and not sub.get("writeOnly"):
                complete[name] = self.sample(sub)
        return complete

    def checker(self, schema: Schema) -> Callable[[Any], bool]:
        """Return a function that validates a value by a response schema."""
        return self._validators.checker(schema, "response")

    def fit(self, schema: Schema, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return an object of a schema: the fields it declares, and samples for the others."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._nested:
            sample = as_object(self.sample(self.catalogue.object_branch(schema)))
            self._nested[key] = json.dumps(sample), frozenset(self.catalogue.properties(schema))
        sample_text, declared = self._nested[key]
        return {
            # Parsed anew, because callers change the object.
            **json.loads(sample_text),
            **{name: fields[name] for name in fields if not declared or name in declared},
        }


def _constraints(schema: Schema) -> dict[str, Any]:
    """Return a schema without the keywords that do not affect which values are valid."""
    return {key: value for key, value in schema.items() if key not in _ANNOTATIONS}


def seeded_uuid(seed: int, number: int) -> str:
    """Return the n-th UUID of a seed."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{number}"))
