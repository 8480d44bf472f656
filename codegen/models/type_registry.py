"""The tokens of a document and the type each token stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from codegen.diagnostics import Diagnostic
from codegen.json_schema import Schema, reference_to

from .ir import Shape, Value

__all__ = ["SchemaLocation", "TypeRegistry"]

_MAX_INLINE_VALUES = 24
"""An inline enum with more values than this gets a name, so that it is written only once."""


@dataclass(frozen=True, slots=True)
class SchemaLocation:
    """The position of a schema, and the class name it would get."""

    owner: str
    """The component that contains it."""
    pointer: str
    name: str
    """The class name of an inline object at this position."""
    variant: bool = False
    """Whether it is one of several objects in a union."""
    root: bool = True
    """Whether it is the component itself."""

    @property
    def component(self) -> str:
        """The name of the component it is; empty inside a component."""
        return self.owner if self.root else ""

    def child(self, pointer: str, name: str = "", *, variant: bool = False) -> SchemaLocation:
        """Return the location of a subschema; `name` is appended to the class name."""
        return SchemaLocation(
            self.owner, self.pointer + pointer, self.name + name, variant, root=False
        )


class TypeRegistry:
    """All types of a document of tokens."""

    def __init__(self, taken: Iterable[str]) -> None:
        """Store the class names that are taken by components."""
        self.shapes: dict[str, Shape] = {}
        self.bodies: dict[str, dict[str, Any]] = {}
        """The object schemas passed to datamodel-code-generator, by token."""
        self.diagnostics: list[Diagnostic] = []
        self._taken = set(taken)
        self._shared_literals: dict[tuple[Value, ...], str] = {}

    def new_token(self) -> str:
        """Return a new token. Its type is added later, because types can be recursive."""
        # The empty body reserves the number for types that are translated before this one is added.
        token = f"T{len(self.bodies)}"
        self.bodies[token] = {"type": "object"}
        return token

    def add(self, shape: Shape, properties: Mapping[str, Schema]) -> None:
        """Set the type of a token.

        A field with a tag is passed on as required, so that its type does not include `None`.
        """
        self.shapes[shape.token] = shape
        self.bodies[shape.token] = {
            "type": "object",
            "properties": dict(properties),
            "required": [f.token for f in shape.fields if f.required or f.tag is not None],
        }

    def add_root(self, shape: Shape, schema: Schema) -> None:
        """Set the type of a token to an alias: a type that is not a class."""
        self.add(shape, {"root": schema})
        self.bodies[shape.token]["required"] = ["root"]

    def literal_type(self, values: tuple[Value, ...], location: SchemaLocation) -> Schema:
        """Return a reference to a `Literal`, which is inline or, if it is long, has a name."""
        # Equal long enums share one name, wherever they occur.
        if values in self._shared_literals:
            return reference_to(self._shared_literals[values])
        token = self.new_token()
        long = len(values) > _MAX_INLINE_VALUES
        if long:
            self._shared_literals[values] = token
        shape = Shape(
            token=token,
            kind="enum" if long else "literal",
            name=self.unique(location.name) if long else "",
            owner=location.owner,
            values=values,
        )
        self.add(shape, {})
        return reference_to(token)

    def discriminated(
        self,
        variants: Mapping[str, tuple[Value, ...]],
        name: str,
        wire: str,
        location: SchemaLocation,
    ) -> Schema:
        """Return a reference to an inline union with a discriminator field.

        Args:
            variants: The values of the field that name each variant, by its token.
            name: The Python name of the field.
            wire: Its wire name.
            location: The position of the union.
        """
        token = self.new_token()
        values = tuple((value, variant) for variant, own in variants.items() for value in own)
        shape = Shape(
            token=token,
            kind="union",
            name="",
            owner=location.owner,
            discriminator=name,
            wire=wire,
            variants=values,
        )
        self.add_root(shape, {"anyOf": [reference_to(variant) for variant in variants]})
        return reference_to(token)

    def unique(self, base_name: str) -> str:
        """Reserve a class name, with a number if it is taken, and return it."""
        name, number = base_name, 2
        while name in self._taken:
            name, number = f"{base_name}{number}", number + 1
        self._taken.add(name)
        return name

    def report(self, location: SchemaLocation, reason: str) -> None:
        """Report a schema that is represented by a wider type."""
        self.diagnostics.append(Diagnostic(location.pointer, reason))
