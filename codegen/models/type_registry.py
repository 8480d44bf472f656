"""The tokens handed out, and what each stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from codegen.diagnostics import Diagnostic
from codegen.json_schema import Schema, reference_to

from .ir import Shape, Value

__all__ = ["SchemaLocation", "TypeRegistry"]

_MAX_INLINE_VALUES = 24
"""An inline enum with more values gets a name, so that it is written once."""


@dataclass(frozen=True, slots=True)
class SchemaLocation:
    """Where the schema being read stands."""

    owner: str
    """The component it is in."""
    pointer: str
    name: str
    """The class name an object found here would get."""
    variant: bool = False
    """Whether it is one of several objects in a union."""
    root: bool = True
    """Whether it is the component itself."""

    @property
    def component(self) -> str:
        """The component it is; empty for anything inside one."""
        return self.owner if self.root else ""

    def child(self, pointer: str, name: str = "", *, variant: bool = False) -> SchemaLocation:
        """Go deeper: `name` is added to the class name."""
        return SchemaLocation(
            self.owner, self.pointer + pointer, self.name + name, variant, root=False
        )


class TypeRegistry:
    """Every type of the document of tokens."""

    def __init__(self, taken: Iterable[str]) -> None:
        """Start with the class names that components have."""
        self.shapes: dict[str, Shape] = {}
        self.bodies: dict[str, dict[str, Any]] = {}
        """The object schemas datamodel-code-generator sees, by token."""
        self.diagnostics: list[Diagnostic] = []
        self._taken = set(taken)
        self._shared_literals: dict[tuple[Value, ...], str] = {}

    def new_token(self) -> str:
        """Hand out a token; what it stands for is added later."""
        token = f"T{len(self.bodies)}"
        self.bodies[token] = {"type": "object"}
        return token

    def add(self, shape: Shape, properties: Mapping[str, Schema]) -> None:
        """Say what a token stands for.

        A field with a tag is handed over as required, so that its type does not admit `None`.
        """
        self.shapes[shape.token] = shape
        self.bodies[shape.token] = {
            "type": "object",
            "properties": dict(properties),
            "required": [f.token for f in shape.fields if f.required or f.tag is not None],
        }

    def add_root(self, shape: Shape, schema: Schema) -> None:
        """Say that a token stands for a type that is no class."""
        self.add(shape, {"root": schema})
        self.bodies[shape.token]["required"] = ["root"]

    def literal_type(self, values: tuple[Value, ...], location: SchemaLocation) -> Schema:
        """Refer to a Literal that is written out where it is used, unless it is long."""
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

    def discriminated(self, variants: Iterable[str], by: str, location: SchemaLocation) -> Schema:
        """Refer to a union of tokens told apart by a field, written out where it is used."""
        token = self.new_token()
        shape = Shape(token=token, kind="union", name="", owner=location.owner, discriminator=by)
        self.add_root(shape, {"anyOf": [reference_to(variant) for variant in variants]})
        return reference_to(token)

    def unique(self, base_name: str) -> str:
        """Take a class name, with a number where it is taken."""
        name, number = base_name, 2
        while name in self._taken:
            name, number = f"{base_name}{number}", number + 1
        self._taken.add(name)
        return name

    def report(self, location: SchemaLocation, reason: str) -> None:
        """Note what is represented more loosely than the schema has it."""
        self.diagnostics.append(Diagnostic(location.pointer, reason))
