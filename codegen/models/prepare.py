"""The document as datamodel-code-generator is to see it.

Every type is handed over as an object whose name and property names are tokens of our own making,
so that nothing a schema says (a name, a value, a text) passes through the generator into source.
What the tokens stand for is kept beside the document.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from codegen.diagnostics import Finding, GenerationError
from codegen.naming import words

from .fields import field_names, settle_names
from .ir import Field, ModelPlan, Prepared, Shape, ShapeKind, Value
from .schemas import Schema, alternatives, escape, resolve
from .tags import find_tags, literal_values
from .translate import Translator
from .type_registry import Ledger, Place

__all__ = ["prepare"]


def prepare(plan: ModelPlan, modelled: Iterable[str]) -> Prepared:
    """Turn components into a document of tokens.

    Args:
        plan: The document and its names.
        modelled: The components models are made of, closed under reference.

    Raises:
        GenerationError: Two properties of a model share a Python name, or one has none.
    """
    return _Preparation(plan, sorted(modelled)).run()


class _Preparation:
    """One run: what has been decided so far."""

    def __init__(self, plan: ModelPlan, modelled: list[str]) -> None:
        self._plan = plan
        self._modelled = modelled
        self._schemas: dict[str, Schema] = plan.document["components"]["schemas"]
        self._problems: list[Finding] = []
        self._settled: set[Finding] = set()
        names = {component: self._names_of(component) for component in modelled}
        self._raise_problems()
        self._tags = find_tags(self._schemas, modelled, names)
        self._ledger = Ledger(plan.names.values())
        self._tokens = {component: self._ledger.new_token() for component in modelled}
        self._translator = Translator(
            self._schemas, self._tokens, self._tags, self._ledger, self._hoist
        )

    def run(self) -> Prepared:
        for component in self._modelled:
            self._component(component)
        self._raise_problems()
        document: dict[str, Any] = {
            "openapi": "3.1.0",
            "info": {"title": "models", "version": "1"},
            "paths": {},
            "components": {"schemas": self._ledger.bodies},
        }
        findings = {*self._tags.findings, *self._ledger.findings, *self._settled}
        return Prepared(
            document=document, shapes=self._ledger.shapes, findings=tuple(sorted(findings))
        )

    def _raise_problems(self) -> None:
        if self._problems:
            raise GenerationError(self._problems)

    def _place(self, component: str) -> Place:
        pointer = f"#/components/schemas/{escape(component)}"
        return Place(component, pointer, self._plan.names[component])

    def _component(self, component: str) -> None:
        schema = self._schemas[component]
        token = self._tokens[component]
        place = replace(self._place(component), variant=component in self._tags.variants)
        values = literal_values(schema)
        if schema.get("properties") and alternatives(schema) is None:
            self._model(token, schema, place)
        elif values is not None:
            enum = self._shape(token, "enum", place, schema)
            self._ledger.add(replace(enum, values=values), {})
        else:
            alias = self._shape(token, "alias", place, schema)
            self._ledger.add_root(alias, self._translator.type(schema, place))

    def _hoist(self, schema: Schema, place: Place) -> str:
        token = self._ledger.new_token()
        self._model(token, schema, replace(place, name=self._ledger.unique(place.name)))
        return token

    def _model(self, token: str, schema: Schema, place: Place) -> None:
        told_by = self._tags.discriminating.get(place.component, {})
        missing: dict[str, Schema] = {wire: {"type": "string"} for wire in told_by}
        properties: dict[str, Schema] = missing | dict(schema["properties"])
        names = self._names(place, properties)
        required = set(cast("list[str]", schema.get("required") or ()))
        fields: list[Field] = []
        body: dict[str, Schema] = {}
        for index, (wire, name) in enumerate(names.items()):
            child, values = properties[wire], told_by.get(wire)
            pointer = f"/properties/{escape(wire)}"
            inner = place.below(pointer, _pascal(wire), variant=place.variant)
            # What is only written is never in an answer, whatever `required` says of requests.
            needed = wire in required and not child.get("writeOnly")
            field, tag = f"f{index}", self._tag(child, values, required=needed)
            body[field] = self._field_type(child, inner, values)
            needed = needed or values is not None
            fields.append(Field(token=field, wire=wire, name=name, required=needed, tag=tag))
        further = schema.get("additionalProperties")
        if isinstance(further, dict) and further:
            self._ledger.finding(place, "further properties are kept, but not typed")
        model = self._shape(token, "model", place, schema)
        self._ledger.add(replace(model, fields=tuple(fields)), body)

    def _shape(self, token: str, kind: ShapeKind, place: Place, schema: Schema) -> Shape:
        text = schema.get("description")
        return Shape(
            token=token,
            kind=kind,
            name=place.name,
            owner=place.owner,
            component=place.component,
            description=text if isinstance(text, str) else "",
        )

    def _names_of(self, component: str) -> dict[str, str]:
        return self._names(self._place(component), self._schemas[component].get("properties", ()))

    def _names(self, place: Place, properties: Iterable[str]) -> dict[str, str]:
        listed = list(properties)
        names, problems = field_names(
            place.name, listed, self._plan.field_names, self._plan.reserved
        )
        if self._plan.lenient:
            settled = settle_names(listed, names, self._plan.reserved)
            names = {wire: names.get(wire) or settled[wire] for wire in listed}
            problems = [(wire, f"its field is called {name!r}") for wire, name in settled.items()]
        found = [
            Finding(f"{place.pointer}/properties/{escape(wire)}", reason)
            for wire, reason in problems
        ]
        if self._plan.lenient:
            self._settled.update(found)
        else:
            self._problems.extend(found)
        return names

    def _single(self, schema: Schema) -> tuple[Value, ...]:
        """Return the value of a property that only ever has one."""
        declared = literal_values(resolve(schema, self._schemas)) or ()
        return declared if len(declared) == 1 else ()

    def _tag(
        self, schema: Schema, values: tuple[Value, ...] | None, *, required: bool
    ) -> Value | None:
        """Return the default of a property that names its variant."""
        if values is None and not required and "default" not in schema:
            return None
        closed = values or self._single(schema)
        return closed[0] if len(closed) == 1 else None

    def _field_type(self, schema: Schema, place: Place, values: tuple[Value, ...] | None) -> Schema:
        """Type a property: closed where it tells the variants of a union apart, else open."""
        closed = values or (self._single(schema) if place.variant else ())
        if closed:
            return self._translator.closed(schema, closed, place)
        return self._translator.type(schema, place)


def _pascal(wire: str) -> str:
    return "".join(word.capitalize() for word in words(wire))
