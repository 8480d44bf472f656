"""Printing modules.

Source is built as syntax trees and printed by `ast.unparse`, the one way a string of the schema
gets into it: as a constant.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from codegen.render.header import BANNER

from .split import Module
from .types import OURS, Typed, call, subscript

__all__ = ["render_module", "summary"]

_HOMES: Mapping[str, str] = {
    "Annotated": "typing",
    "Any": "typing",
    "Field": "pydantic",
    "Literal": "typing",
    "TypeAlias": "typing",
    "TypeAliasType": "typing_extensions",
    "UUID": "uuid",
    "date": "datetime",
    "datetime": "datetime",
    "time": "datetime",
}
_THIRD_PARTY = frozenset({"pydantic", "typing_extensions"})
_LONGEST_SUMMARY = 240


def summary(text: str) -> str:
    """Cut a description down to its first paragraph, on one line, of some 240 characters."""
    paragraph = re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0]
    line = " ".join("".join(c if c.isprintable() else " " for c in paragraph).split())
    if len(line) <= _LONGEST_SUMMARY:
        return line
    return line[:_LONGEST_SUMMARY].rpartition(" ")[0].rstrip(" ,;:") + " …"


def render_module(
    module: Module, types: Mapping[str, Typed], homes: Mapping[str, str], package: str
) -> str:
    """Print one module.

    Args:
        module: What it holds.
        types: All types by public name.
        homes: The module each public name lives in.
        package: The package that holds `model.Model`.
    """
    names = {name for own in module.names for name in (own, *types[own].needs)}
    spelling = _Spelling(names)
    body: list[ast.stmt] = []
    for name in module.names:
        body.extend(_definition(types[name], name in module.recursive, spelling))
    parts = [
        f"{BANNER}\n{_print(_docstring(_label(module)))}",
        "from __future__ import annotations",
        *_imports(module, types, homes, package, spelling),
        f"__all__ = {sorted(module.names)!r}",
        *(_print(statement) for statement in body),
    ]
    return "\n\n".join(parts) + "\n"


def _label(module: Module) -> str:
    if not module.users:
        return "Models of most queries."
    shown = ", ".join(f"`{user}`" for user in module.users[:4])
    more = len(module.users) - 4
    kind = "Requests" if module.path.endswith("_requests") else "Models"
    return f"{kind} of {shown}{f' and {more} more' if more > 0 else ''}."


@dataclass(slots=True)
class _Spelling:
    """How names from elsewhere are written in one module, so that none hides another."""

    ours: Collection[str]
    """The names of our own types in it."""
    used: dict[str, str] = field(default_factory=dict[str, str])
    """The name imported, by the name it is written as."""

    def spell(self, name: str, hidden: Collection[str] = ()) -> str:
        """Write a name where the names in `hidden` mean something else.

        Raises:
            ValueError: It is no name we know where to import from.
        """
        if name != "Model" and name not in _HOMES and not hasattr(builtins, name):
            raise ValueError(f"no module is known to define {name!r}")
        written = name
        while written in self.ours or written in hidden:
            written = f"{written}_"
        if written != name or not hasattr(builtins, name):
            self.used[written] = name
        return written


class _Rename(ast.NodeTransformer):
    def __init__(self, spelling: _Spelling, hidden: Collection[str]) -> None:
        self._spelling = spelling
        self._hidden = hidden

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id.startswith(OURS):
            return ast.Name(node.id.removeprefix(OURS), ast.Load())
        return ast.Name(self._spelling.spell(node.id, self._hidden), ast.Load())


def _definition(typed: Typed, recursive: bool, spelling: _Spelling) -> list[ast.stmt]:
    if typed.shape.kind == "model":
        return [_class(typed, spelling)]
    target = ast.Name(typed.shape.name, ast.Store())
    value = _Rename(spelling, ()).visit(typed.annotations["root"])
    if recursive:
        kind = ast.Name(spelling.spell("TypeAliasType"), ast.Load())
        arguments: list[ast.expr] = [
            ast.Constant(typed.shape.name),
            ast.Constant(ast.unparse(value)),
        ]
        return [ast.Assign([target], ast.Call(kind, arguments, []), lineno=0)]
    alias = ast.Name(spelling.spell("TypeAlias"), ast.Load())
    return [ast.AnnAssign(target, alias, value, simple=1), *_documentation(typed)]


def _class(typed: Typed, spelling: _Spelling) -> ast.ClassDef:
    shape = typed.shape
    hidden = frozenset(f.name for f in shape.fields)
    rename = _Rename(spelling, hidden)
    body: list[ast.stmt] = _documentation(typed)
    for own in shape.fields:
        annotation = typed.annotations[own.token]
        if own.wire != own.name:
            annotation = subscript("Annotated", [annotation, call("Field", {"alias": own.wire})])
        default: ast.expr | None = None
        if own.tag is not None or not own.required:
            default = ast.Constant(own.tag)
        target = ast.Name(own.name, ast.Store())
        body.append(ast.AnnAssign(target, rename.visit(annotation), default, simple=1))
    base = ast.Name(spelling.spell("Model"), ast.Load())
    return ast.ClassDef(shape.name, [base], [], body or [ast.Pass()], [])


def _documentation(typed: Typed) -> list[ast.stmt]:
    text = summary(typed.shape.description)
    return [_docstring(text)] if text else []


def _docstring(text: str) -> ast.Expr:
    return ast.Expr(ast.Constant(text))


def _imports(
    module: Module,
    types: Mapping[str, Typed],
    homes: Mapping[str, str],
    package: str,
    spelling: _Spelling,
) -> list[str]:
    """Print imports in the customary sections: standard library, others, ours, near ones."""
    sections: list[dict[str, set[str]]] = [{}, {}, {}, {}]
    for written, name in spelling.used.items():
        home = f"{package}.model" if name == "Model" else _HOMES.get(name, "builtins")
        section = sections[2 if name == "Model" else int(home in _THIRD_PARTY)]
        section.setdefault(home, set()).add(name if written == name else f"{name} as {written}")
    dots = "." * (module.path.count(".") + 1)
    for name in module.names:
        for needed in types[name].needs:
            if homes[needed] != module.path:
                sections[3].setdefault(dots + homes[needed], set()).add(needed)
    return [_import_lines(section) for section in sections if section]


def _import_lines(wanted: Mapping[str, Iterable[str]]) -> str:
    return "\n".join(
        f"from {home} import {', '.join(sorted(names))}" for home, names in sorted(wanted.items())
    )


def _print(statement: ast.stmt) -> str:
    module = ast.Module([statement], [])
    return ast.unparse(ast.fix_missing_locations(module))
