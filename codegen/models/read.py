"""Reading datamodel-code-generator's output back as data.

Nothing of its text is passed on. Only annotations are taken, and only those of the few forms that
a document of tokens can lead to; anything else is an error.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["Annotations", "flatten", "join", "read_annotations"]

Annotations: TypeAlias = Mapping[str, Mapping[str, ast.expr]]


def read_annotations(source: str) -> dict[str, dict[str, ast.expr]]:
    """Return the annotation of each field, by class and field.

    Raises:
        ValueError: The text holds something other than imports and plain classes.
    """
    classes: dict[str, dict[str, ast.expr]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            classes[node.name] = dict(_fields(node))
        elif not isinstance(node, ast.ImportFrom | ast.Expr):
            raise ValueError(f"line {node.lineno}: unexpected {type(node).__name__}")
        elif isinstance(node, ast.Expr) and not _is_rebuild(node.value):
            raise ValueError(f"line {node.lineno}: unexpected expression")
    return classes


def _is_rebuild(node: ast.expr) -> bool:
    """Whether it is `X.model_rebuild()`: dropped, because it would build models twice."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "model_rebuild"
    )


def _fields(node: ast.ClassDef) -> list[tuple[str, ast.expr]]:
    found: list[tuple[str, ast.expr]] = []
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found.append((statement.target.id, _checked(_without_field(statement.annotation))))
        elif not isinstance(statement, ast.Assign | ast.Pass):
            raise ValueError(f"line {statement.lineno}: unexpected {type(statement).__name__}")
    return found


def _without_field(annotation: ast.expr) -> ast.expr:
    """Unwrap `Annotated[T, Field(...)]`, which the generator writes around null."""
    if (
        isinstance(annotation, ast.Subscript)
        and isinstance(annotation.value, ast.Name)
        and annotation.value.id == "Annotated"
        and isinstance(annotation.slice, ast.Tuple)
    ):
        return annotation.slice.elts[0]
    return annotation


def _checked(annotation: ast.expr) -> ast.expr:
    allowed = (
        ast.Name,
        ast.Subscript,
        ast.Tuple,
        ast.BinOp,
        ast.BitOr,
        ast.Load,
    )
    for node in ast.walk(annotation):
        is_none = isinstance(node, ast.Constant) and node.value is None
        if not is_none and not isinstance(node, allowed):
            raise ValueError(f"unexpected {type(node).__name__} in {ast.unparse(annotation)}")
    return annotation


def flatten(annotation: ast.expr) -> list[ast.expr]:
    """Return the members of a union written with `|`, at any nesting."""
    if isinstance(annotation, ast.BinOp):
        return [*flatten(annotation.left), *flatten(annotation.right)]
    return [annotation]


def join(members: list[ast.expr]) -> ast.expr:
    """Write a union: every member once, and `Any` alone."""
    unique = list({ast.dump(member): member for member in members}.values())
    if any(isinstance(member, ast.Name) and member.id == "Any" for member in unique):
        return ast.Name("Any", ast.Load())
    joined = unique[0]
    for member in unique[1:]:
        joined = ast.BinOp(joined, ast.BitOr(), member)
    return joined
