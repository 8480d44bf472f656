"""Prepare the document for datamodel-code-generator.

Every type is passed on as an object whose name and property names are tokens (`T0`, `f0`). No
string of the schema passes through that generator into source code; what the tokens stand for is
stored beside the document.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from codegen.diagnostics import Diagnostic, GenerationError
from codegen.json_access import join_pointer
from codegen.json_schema import Schema, alternatives, component_pointer, resolve
from codegen.naming import pascal_case

from .fields import fallback_field_names, field_names
from .ir import Field, ModelPlan, Prepared, Shape, ShapeKind, Value
from .tags import find_tags, literal_values
from .translate import Translator
from .type_registry import SchemaLocation, TypeRegistry

__all__ = ["prepare"]


def prepare(plan: ModelPlan, modelled: Iterable[str]) -> Prepared:
    """Return a document of tokens for components.

    Args:
        plan: The document and its names.
        modelled: The components that get a model, with all they refer to.

    Raises:
        GenerationError: Two properties of a model have the same Python name, or one has none.
    """
    return _Preparation(plan, sorted(modelled)).run()


class _Preparation:
    """The state of one call of `prepare`."""

    def __init__(self, plan: ModelPlan, modelled: list[str]) -> None:
        self._plan = plan
        self._modelled = modelled
        self._schemas: dict[str, Schema] = plan.document["components"]["schemas"]
        self._errors: list[Diagnostic] = []
        # A set, because the fields of a component are named twice: for its tags and for its model.
        self._fallback_diagnostics: set[Diagnostic] = set()
        # Names first: discriminators need them, and all errors are reported together.
        names = {component: self._names_of(component) for component in modelled}
        self._raise_errors()
        self._tags = find_tags(self._schemas, modelled, names)
        self._type_registry = TypeRegistry(plan.names.values())
        self._tokens = {component: self._type_registry.new_token() for component in modelled}
        self._translator = Translator(
            self._schemas, self._tokens, self._tags, self._type_registry, self._promote_inline
        )

    def run(self) -> Prepared:
        for component in self._modelled:
            self._component(component)
        self._raise_errors()
        document: dict[str, Any] = {
            "openapi": "3.1.0",
            "info": {"title": "models", "version": "1"},
            "paths": {},
            "components": {"schemas": self._type_registry.bodies},
        }
        diagnostics = {
            *self._tags.diagnostics,
            *self._type_registry.diagnostics,
            *self._fallback_diagnostics,
        }
        return Prepared(
            document=document,
            shapes=self._type_registry.shapes,
            diagnostics=tuple(sorted(diagnostics)),
        )

    def _raise_errors(self) -> None:
        if self._errors:
            raise GenerationError(self._errors)

    def _location(self, component: str) -> SchemaLocation:
        return SchemaLocation(component, component_pointer(component), self._plan.names[component])

    def _component(self, component: str) -> None:
        schema = self._schemas[component]
        token = self._tokens[component]
        location = replace(self._location(component), variant=component in self._tags.variants)
        values = literal_values(schema)
        if schema.get("properties") and alternatives(schema) is None:
            self._model(token, schema, location)
        elif values is not None:
            enum = self._shape(token, "enum", location, schema)
            self._type_registry.add(replace(enum, values=values), {})
        else:
            alias = self._shape(token, "alias", location, schema)
            self._type_registry.add_root(alias, self._translator.type(schema, location))

    def _promote_inline(self, schema: Schema, location: SchemaLocation) -> str:
        token = self._type_registry.new_token()
        self._model(
            token, schema, replace(location, name=self._type_registry.unique(location.name))
        )
        return token

    def _model(self, token: str, schema: Schema, location: SchemaLocation) -> None:
        tag_values = self._tags.discriminating.get(location.component, {})
        # A union may map values to a property that the variant does not declare.
        missing: dict[str, Schema] = {wire: {"type": "string"} for wire in tag_values}
        properties: dict[str, Schema] = missing | dict(schema["properties"])
        names = self._names(location, properties)
        required = set(cast("list[str]", schema.get("required") or ()))
        fields: list[Field] = []
        body: dict[str, Schema] = {}
        for index, (wire, name) in enumerate(names.items()):
            property_schema, values = properties[wire], tag_values.get(wire)
            pointer = join_pointer("", "properties", wire)
            inner = location.child(pointer, pascal_case(wire), variant=location.variant)
            # `required` of a write-only property is about requests: a response does not have it.
            is_required = wire in required and not property_schema.get("writeOnly")
            field, tag = f"f{index}", self._tag(property_schema, values, required=is_required)
            body[field] = self._field_type(property_schema, inner, values)
            is_required = is_required or values is not None
            fields.append(Field(token=field, wire=wire, name=name, required=is_required, tag=tag))
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and extra:
            self._type_registry.report(location, "additional properties are kept, but not typed")
        model = self._shape(token, "model", location, schema)
        self._type_registry.add(replace(model, fields=tuple(fields)), body)

    def _shape(
        self, token: str, kind: ShapeKind, location: SchemaLocation, schema: Schema
    ) -> Shape:
        text = schema.get("description")
        return Shape(
            token=token,
            kind=kind,
            name=location.name,
            owner=location.owner,
            component=location.component,
            description=text if isinstance(text, str) else "",
        )

    def _names_of(self, component: str) -> dict[str, str]:
        return self._names(
            self._location(component), self._schemas[component].get("properties", ())
        )

    def _names(self, location: SchemaLocation, properties: Iterable[str]) -> dict[str, str]:
        listed = list(properties)
        names, conflicts = field_names(
            location.name, listed, self._plan.field_names, self._plan.reserved
        )
        if self._plan.lenient:
            fallback = fallback_field_names(listed, names, self._plan.reserved)
            names = {wire: names.get(wire) or fallback[wire] for wire in listed}
            conflicts = [(wire, f"its field is called {name!r}") for wire, name in fallback.items()]
        diagnostics = [
            Diagnostic(join_pointer(location.pointer, "properties", wire), reason)
            for wire, reason in conflicts
        ]
        if self._plan.lenient:
            self._fallback_diagnostics.update(diagnostics)
        else:
            self._errors.extend(diagnostics)
        return names

    def _only_value(self, schema: Schema) -> tuple[Value, ...]:
        """Return the only value of a property, or ()."""
        declared = literal_values(resolve(schema, self._schemas)) or ()
        return declared if len(declared) == 1 else ()

    def _tag(
        self, schema: Schema, values: tuple[Value, ...] | None, *, required: bool
    ) -> Value | None:
        """Return the default of a property that names its variant, or None."""
        if values is None and not required and "default" not in schema:
            return None
        closed = values or self._only_value(schema)
        return closed[0] if len(closed) == 1 else None

    def _field_type(
        self, schema: Schema, location: SchemaLocation, values: tuple[Value, ...] | None
    ) -> Schema:
        """Return the type of a property: closed if it distinguishes variants, else open."""
        closed = values or (self._only_value(schema) if location.variant else ())
        if closed:
            return self._translator.closed(schema, closed, location)
        return self._translator.type(schema, location)
