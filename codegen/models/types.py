"""From tokens back to types."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .dcg import Annotations, flatten, join
from .ir import Shape, Value

__all__ = [
    "OURS",
    "Typed",
    "call",
    "is_untyped",
    "literal",
    "names_in",
    "subscript",
    "type_shapes",
]

OURS = "@"
"""Before a name in an annotation: it is a type of ours, not one of Python's."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A named type with the annotations of its fields."""

    shape: Shape
    annotations: Mapping[str, ast.expr]
    """By the field's token; `root` for an alias or an enum. Types of ours carry the mark `@`."""
    needs: frozenset[str]
    """Public names of the types of ours it mentions."""


def type_shapes(shapes: Mapping[str, Shape], annotations: Annotations) -> dict[str, Typed]:
    """Return every named type, by name, with what is written out in place written out."""
    typed: dict[str, Typed] = {}
    inline = _Inline(shapes, annotations)
    for token, shape in sorted(shapes.items(), key=lambda item: item[1].name):
        if not shape.name:
            continue
        own = {name: inline.visit(node) for name, node in annotations[token].items()}
        if shape.kind == "enum":
            own = {"root": literal(shape.values)}
        mentioned = {name for node in own.values() for name in names_in(node)}
        needs = {name.removeprefix(OURS) for name in mentioned if name.startswith(OURS)}
        typed[shape.name] = Typed(shape, own, frozenset(needs))
    return typed


class _Inline(ast.NodeTransformer):
    """Replaces tokens: by a name, a Literal or a discriminated union."""

    def __init__(self, shapes: Mapping[str, Shape], annotations: Annotations) -> None:
        self._shapes = shapes
        self._annotations = annotations

    def visit_Name(self, node: ast.Name) -> ast.expr:
        shape = self._shapes.get(node.id)
        if shape is None:
            return node
        if shape.name:
            return ast.Name(OURS + shape.name, ast.Load())
        if shape.kind == "choice":
            return literal(shape.values)
        variants = self.visit(self._annotations[node.id]["root"])
        told_apart = call("Field", {"discriminator": shape.discriminator})
        return subscript("Annotated", [variants, told_apart])

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        return join([self.visit(member) for member in flatten(node)])


def literal(values: Iterable[Value]) -> ast.expr:
    """Write `Literal[...]`."""
    return subscript("Literal", [ast.Constant(value) for value in values])


def subscript(name: str, parts: list[ast.expr]) -> ast.expr:
    """Write `name[parts]`."""
    inner = parts[0] if len(parts) == 1 else ast.Tuple(parts, ast.Load())
    return ast.Subscript(ast.Name(name, ast.Load()), inner, ast.Load())


def call(name: str, keywords: Mapping[str, Value | None]) -> ast.expr:
    """Write `name(key=value, ...)` with constants."""
    given = [ast.keyword(key, ast.Constant(value)) for key, value in keywords.items()]
    return ast.Call(ast.Name(name, ast.Load()), [], given)


def names_in(node: ast.expr) -> Iterator[str]:
    """Yield every name in an expression."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id


def is_untyped(node: ast.expr) -> bool:
    """Whether an annotation is `Any`."""
    return isinstance(node, ast.Name) and node.id == "Any"
