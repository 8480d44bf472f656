"""Render modules of models.

Source is built as syntax trees and printed by `ast.unparse`, so a string of the schema can only
become a constant.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from codegen.render.text import BANNER

from .split import Module
from .types import OWN_TYPE_MARK, NamedType, call, subscript

__all__ = ["render_module", "summary"]

_IMPORTED_FROM: Mapping[str, str] = {
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
_MAX_SUMMARY = 240


def summary(text: str) -> str:
    """Return the first paragraph of a description on one line of at most about 240 characters."""
    paragraph = re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0]
    line = " ".join("".join(c if c.isprintable() else " " for c in paragraph).split())
    if len(line) <= _MAX_SUMMARY:
        return line
    return line[:_MAX_SUMMARY].rpartition(" ")[0].rstrip(" ,;:") + " …"


def render_module(
    module: Module, types: Mapping[str, NamedType], exports: Mapping[str, str], package: str
) -> str:
    """Return the text of one module.

    Args:
        module: The names in the module.
        types: All types by public name.
        exports: The module that defines each public name.
        package: The package that holds `model.Model`.
    """
    names = {
        name for type_name in module.names for name in (type_name, *types[type_name].dependencies)
    }
    spelling = _Spelling(names)
    body: list[ast.stmt] = []
    for name in module.names:
        body.extend(_definition(types[name], name in module.recursive, spelling))
    parts = [
        f"{BANNER}\n{_unparse(_docstring(_label(module)))}",
        "from __future__ import annotations",
        *_imports(module, types, exports, package, spelling),
        f"__all__ = {sorted(module.names)!r}",
        *(_unparse(statement) for statement in body),
    ]
    return "\n\n".join(parts) + "\n"


def _label(module: Module) -> str:
    if not module.users:
        return "Models of most queries."
    listed = ", ".join(f"`{user}`" for user in module.users[:4])
    more = len(module.users) - 4
    kind = "Requests" if module.path.endswith("_requests") else "Models"
    return f"{kind} of {listed}{f' and {more} more' if more > 0 else ''}."


@dataclass(slots=True)
class _Spelling:
    """How imported names are written in one module, so that no name hides another."""

    own_names: Collection[str]
    """The generated types that are defined or used in the module."""
    used: dict[str, str] = field(default_factory=dict[str, str])
    """Imported names, by the name they are written as."""

    def spell(self, name: str, hidden: Collection[str] = ()) -> str:
        """Return how to write a name where the names in `hidden` mean something else.

        Raises:
            ValueError: It is not known where to import the name from.
        """
        if name != "Model" and name not in _IMPORTED_FROM and not hasattr(builtins, name):
            raise ValueError(f"it is not known where to import {name!r} from")
        written = name
        while written in self.own_names or written in hidden:
            written = f"{written}_"
        if written != name or not hasattr(builtins, name):
            self.used[written] = name
        return written


class _Rename(ast.NodeTransformer):
    def __init__(self, spelling: _Spelling, hidden: Collection[str]) -> None:
        self._spelling = spelling
        self._hidden = hidden

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id.startswith(OWN_TYPE_MARK):
            return ast.Name(node.id.removeprefix(OWN_TYPE_MARK), ast.Load())
        return ast.Name(self._spelling.spell(node.id, self._hidden), ast.Load())


def _definition(named_type: NamedType, recursive: bool, spelling: _Spelling) -> list[ast.stmt]:
    if named_type.shape.kind == "model":
        return [_class(named_type, spelling)]
    target = ast.Name(named_type.shape.name, ast.Store())
    value = _Rename(spelling, ()).visit(named_type.annotations["root"])
    # A plain alias cannot refer to itself: pydantic resolves the name of a `TypeAliasType` lazily.
    if recursive:
        kind = ast.Name(spelling.spell("TypeAliasType"), ast.Load())
        arguments: list[ast.expr] = [
            ast.Constant(named_type.shape.name),
            ast.Constant(ast.unparse(value)),
        ]
        return [ast.Assign([target], ast.Call(kind, arguments, []), lineno=0)]
    alias = ast.Name(spelling.spell("TypeAlias"), ast.Load())
    return [ast.AnnAssign(target, alias, value, simple=1), *_documentation(named_type)]


def _class(named_type: NamedType, spelling: _Spelling) -> ast.ClassDef:
    shape = named_type.shape
    # In a class body, a field with a default hides a module name that later annotations use.
    hidden = frozenset(f.name for f in shape.fields)
    rename = _Rename(spelling, hidden)
    body: list[ast.stmt] = _documentation(named_type)
    for model_field in shape.fields:
        annotation = named_type.annotations[model_field.token]
        if model_field.wire != model_field.name:
            annotation = subscript(
                "Annotated", [annotation, call("Field", {"alias": model_field.wire})]
            )
        default: ast.expr | None = None
        if model_field.tag is not None or not model_field.required:
            default = ast.Constant(model_field.tag)
        target = ast.Name(model_field.name, ast.Store())
        body.append(ast.AnnAssign(target, rename.visit(annotation), default, simple=1))
    base = ast.Name(spelling.spell("Model"), ast.Load())
    return ast.ClassDef(shape.name, [base], [], body or [ast.Pass()], [])


def _documentation(named_type: NamedType) -> list[ast.stmt]:
    text = summary(named_type.shape.description)
    return [_docstring(text)] if text else []


def _docstring(text: str) -> ast.Expr:
    return ast.Expr(ast.Constant(text))


def _imports(
    module: Module,
    types: Mapping[str, NamedType],
    exports: Mapping[str, str],
    package: str,
    spelling: _Spelling,
) -> list[str]:
    """Return imports in sections: standard library, third party, `asyncposthog`, models."""
    sections: list[dict[str, set[str]]] = [{}, {}, {}, {}]
    for written, name in spelling.used.items():
        source = f"{package}.model" if name == "Model" else _IMPORTED_FROM.get(name, "builtins")
        section = sections[2 if name == "Model" else int(source in _THIRD_PARTY)]
        section.setdefault(source, set()).add(name if written == name else f"{name} as {written}")
    dots = "." * (module.path.count(".") + 1)
    for name in module.names:
        for dependency in types[name].dependencies:
            if exports[dependency] != module.path:
                sections[3].setdefault(dots + exports[dependency], set()).add(dependency)
    return [_import_lines(section) for section in sections if section]


def _import_lines(imports: Mapping[str, Iterable[str]]) -> str:
    return "\n".join(
        f"from {module} import {', '.join(sorted(names))}"
        for module, names in sorted(imports.items())
    )


def _unparse(statement: ast.stmt) -> str:
    module = ast.Module([statement], [])
    return ast.unparse(ast.fix_missing_locations(module))
