"""Replace tokens by types in annotations."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .dcg import Annotations, flatten, join
from .ir import Shape, Value

__all__ = [
    "OWN_TYPE_MARK",
    "UNION_MARK",
    "NamedType",
    "UnionType",
    "call",
    "is_untyped",
    "literal",
    "names_in",
    "subscript",
    "type_shapes",
]

OWN_TYPE_MARK = "@"
"""Prefix of generated types in annotations. No Python name has it, so that the two do not clash."""


UNION_MARK = "%"
"""Prefix of the token of a discriminated union in annotations."""


@dataclass(frozen=True, slots=True)
class UnionType:
    """A discriminated union."""

    annotation: ast.expr
    """`Annotated[A | B, Field(discriminator=...)]`. Generated types start with `@`."""
    discriminator: str
    wire: str
    variants: tuple[tuple[Value, str], ...]
    """The values of the discriminator, each with the public name of its variant."""


@dataclass(frozen=True, slots=True)
class NamedType:
    """A named type with the annotations of its fields."""

    shape: Shape
    annotations: Mapping[str, ast.expr]
    """By the token of the field, or `root` for an alias or enum. Generated types start with `@`,
    discriminated unions with `%`."""
    dependencies: frozenset[str]
    """Public names of the generated types in the annotations, those in unions included."""
    unions: Mapping[str, UnionType]
    """The discriminated unions in the annotations, by token."""


def type_shapes(shapes: Mapping[str, Shape], annotations: Annotations) -> dict[str, NamedType]:
    """Return all named types by name, with inline types replaced by their definition."""
    named_types: dict[str, NamedType] = {}
    replacer = _TokenReplacer(shapes, annotations)
    # Sorted, so that the result does not depend on the order of components in the document.
    for token, shape in sorted(shapes.items(), key=lambda item: item[1].name):
        if not shape.name:
            continue
        field_annotations = {
            name: replacer.visit(node) for name, node in annotations[token].items()
        }
        if shape.kind == "enum":
            field_annotations = {"root": literal(shape.values)}
        mentioned = {name for node in field_annotations.values() for name in names_in(node)}
        unions = {
            name.removeprefix(UNION_MARK): replacer.union(name.removeprefix(UNION_MARK))
            for name in sorted(mentioned)
            if name.startswith(UNION_MARK)
        }
        mentioned.update(name for union in unions.values() for name in names_in(union.annotation))
        dependencies = {
            name.removeprefix(OWN_TYPE_MARK) for name in mentioned if name.startswith(OWN_TYPE_MARK)
        }
        named_types[shape.name] = NamedType(
            shape, field_annotations, frozenset(dependencies), unions
        )
    return named_types


class _TokenReplacer(ast.NodeTransformer):
    """Replaces a token by a name, a `Literal` or a discriminated union."""

    def __init__(self, shapes: Mapping[str, Shape], annotations: Annotations) -> None:
        self._shapes = shapes
        self._annotations = annotations

    def visit_Name(self, node: ast.Name) -> ast.expr:
        shape = self._shapes.get(node.id)
        # Any name that is not a token is one of Python's: `list`, `str`, `Any`.
        if shape is None:
            return node
        if shape.name:
            return ast.Name(OWN_TYPE_MARK + shape.name, ast.Load())
        if shape.kind == "literal":
            return literal(shape.values)
        return ast.Name(UNION_MARK + node.id, ast.Load())

    def union(self, token: str) -> UnionType:
        """Return the discriminated union of a token."""
        shape = self._shapes[token]
        assert shape.discriminator is not None
        variants = self.visit(self._annotations[token]["root"])
        discriminator = call("Field", {"discriminator": shape.discriminator})
        return UnionType(
            subscript("Annotated", [variants, discriminator]),
            shape.discriminator,
            shape.wire,
            tuple((value, self._shapes[variant].name) for value, variant in shape.variants),
        )

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        # Replacing tokens can repeat a member of a union, or bring in `Any`.
        return join([self.visit(member) for member in flatten(node)])


def literal(values: Iterable[Value]) -> ast.expr:
    """Return `Literal[...]`."""
    return subscript("Literal", [ast.Constant(value) for value in values])


def subscript(name: str, parts: list[ast.expr]) -> ast.expr:
    """Return `name[parts]`."""
    inner = parts[0] if len(parts) == 1 else ast.Tuple(parts, ast.Load())
    return ast.Subscript(ast.Name(name, ast.Load()), inner, ast.Load())


def call(name: str, keywords: Mapping[str, Value | None]) -> ast.expr:
    """Return `name(key=value, ...)` with constant values."""
    arguments = [ast.keyword(key, ast.Constant(value)) for key, value in keywords.items()]
    return ast.Call(ast.Name(name, ast.Load()), [], arguments)


def names_in(node: ast.expr) -> Iterator[str]:
    """Yield every name in an expression."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id


def is_untyped(node: ast.expr) -> bool:
    """Whether an annotation is `Any`."""
    return isinstance(node, ast.Name) and node.id == "Any"
