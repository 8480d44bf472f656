"""Render modules of models.

Source is built as syntax trees and printed by `ast.unparse`, so a string of the schema can only
become a constant.
"""

from __future__ import annotations

import ast
import builtins
import copy
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from codegen.render.text import BANNER, docstring

from .ir import ComponentDoc
from .split import Module
from .types import OWN_TYPE_MARK, UNION_MARK, NamedType, UnionType, call, subscript

__all__ = ["render_module", "summary"]

_IMPORTED_FROM: Mapping[str, str] = {
    "TYPE_CHECKING": "typing",
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
_OWN_NAMES = frozenset({"Model", "deferred_union"})
_THIRD_PARTY = frozenset({"pydantic", "typing_extensions"})
_MAX_SUMMARY = 240
_MARK = "_DOCSTRING_"
_MARKED = re.compile(rf"^( *){_MARK}([0-9]+)$", re.MULTILINE)
"""A mark: the only statements that are a name alone."""


def summary(text: str) -> str:
    """Return the first paragraph of a description on one line of at most about 240 characters."""
    paragraph = re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0]
    line = " ".join("".join(c if c.isprintable() else " " for c in paragraph).split())
    if len(line) <= _MAX_SUMMARY:
        return line
    return line[:_MAX_SUMMARY].rpartition(" ")[0].rstrip(" ,;:") + " …"


def render_module(
    module: Module,
    types: Mapping[str, NamedType],
    exports: Mapping[str, str],
    package: str,
    docs: Mapping[str, ComponentDoc],
    deferred: Collection[str] = (),
) -> str:
    """Return the text of one module.

    Args:
        module: The names in the module.
        types: All types by public name.
        exports: The module that defines each public name.
        package: The package that holds `model.Model`.
        docs: What components and their properties mean.
        deferred: The tokens of the unions whose variants are imported when a value has them.
    """
    names = {
        name for type_name in module.names for name in (type_name, *types[type_name].dependencies)
    }
    spelling = _Spelling(names, deferred)
    texts = _Texts(docs)
    body: list[ast.stmt] = []
    for name in module.names:
        body.extend(_definition(types[name], name in module.recursive, spelling, texts))
    aliases = _union_aliases(spelling)
    needed = {name for type_name in module.names for name in types[type_name].dependencies}
    parts = [
        f"{BANNER}\n{_unparse(_docstring(_label(module)))}",
        "from __future__ import annotations",
        *_imports(module, spelling.types_used, exports, package, spelling),
        *_typing_imports(module, needed - spelling.types_used, exports),
        f"__all__ = {sorted(module.names)!r}",
        *aliases,
        *(texts.fill(_unparse(statement)) for statement in body),
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
    deferred: Collection[str] = ()
    """The tokens of the unions to defer."""
    used: dict[str, str] = field(default_factory=dict[str, str])
    """Imported names, by the name they are written as."""
    types_used: set[str] = field(default_factory=set[str])
    """The generated types that have to be imported when the module is."""
    unions: dict[str, tuple[str, UnionType]] = field(default_factory=dict[str, Any])
    """The names of the deferred unions, by their annotations."""

    def spell(self, name: str, hidden: Collection[str] = ()) -> str:
        """Return how to write a name where the names in `hidden` mean something else.

        Raises:
            ValueError: It is not known where to import the name from.
        """
        reserved = name in _OWN_NAMES or name in _IMPORTED_FROM or hasattr(builtins, name)
        if not reserved:
            raise ValueError(f"it is not known where to import {name!r} from")
        written = name
        while written in self.own_names or written in hidden:
            written = f"{written}_"
        if written != name or not hasattr(builtins, name):
            self.used[written] = name
        return written

    def union_name(self, union: UnionType) -> str:
        """Return the private name of a deferred union in this module."""
        key = ast.dump(union.annotation)
        if key not in self.unions:
            taken = {name for name, _ in self.unions.values()}
            stem = f"_{union.variants[0][1]}Union"
            name, number = stem, 2
            while name in taken:
                name, number = f"{stem}{number}", number + 1
            self.unions[key] = name, union
        return self.unions[key][0]


class _Rename(ast.NodeTransformer):
    def __init__(
        self,
        spelling: _Spelling,
        unions: Mapping[str, UnionType],
        hidden: Collection[str] = (),
        *,
        runtime: bool = True,
    ) -> None:
        self._spelling = spelling
        self._unions = unions
        self._hidden = hidden
        self._runtime = runtime

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id.startswith(OWN_TYPE_MARK):
            name = node.id.removeprefix(OWN_TYPE_MARK)
            if self._runtime:
                self._spelling.types_used.add(name)
            return ast.Name(name, ast.Load())
        if node.id.startswith(UNION_MARK):
            token = node.id.removeprefix(UNION_MARK)
            if token in self._spelling.deferred:
                return ast.Name(self._spelling.union_name(self._unions[token]), ast.Load())
            return self.visit(copy.deepcopy(self._unions[token].annotation))
        return ast.Name(self._spelling.spell(node.id, self._hidden), ast.Load())


@dataclass(slots=True)
class _Texts:
    """The docstrings of one module.

    `ast.unparse` writes a string that is not the first statement of a body on one line, whatever
    its length. So each text is a mark in the syntax tree, and replaced in the source.
    """

    docs: Mapping[str, ComponentDoc]
    texts: list[str] = field(default_factory=list[str])

    def mark(self, text: str) -> list[ast.stmt]:
        """Return the statement for a text; none for an empty one."""
        if not text:
            return []
        self.texts.append(text)
        return [ast.Expr(ast.Name(f"{_MARK}{len(self.texts) - 1}", ast.Load()))]

    def of_type(self, named_type: NamedType) -> list[ast.stmt]:
        """Return the docstring of a class or an alias: ours, or the schema's description."""
        doc = self.docs.get(named_type.shape.component)
        own = doc.text if doc else ""
        return self.mark(own or summary(named_type.shape.description))

    def of_field(self, named_type: NamedType, wire: str) -> list[ast.stmt]:
        """Return the docstring of a field."""
        doc = self.docs.get(named_type.shape.component)
        return self.mark(doc.fields.get(wire, "") if doc else "")

    def fill(self, source: str) -> str:
        """Replace the marks in the source of one statement."""

        def text_of(match: re.Match[str]) -> str:
            return docstring(self.texts[int(match.group(2))], len(match.group(1)))

        return _MARKED.sub(text_of, source)


def _definition(
    named_type: NamedType, recursive: bool, spelling: _Spelling, texts: _Texts
) -> list[ast.stmt]:
    if named_type.shape.kind == "model":
        return [_class(named_type, spelling, texts)]
    target = ast.Name(named_type.shape.name, ast.Store())
    value = _Rename(spelling, named_type.unions).visit(named_type.annotations["root"])
    # A plain alias cannot refer to itself: pydantic resolves the name of a `TypeAliasType` lazily.
    if recursive:
        kind = ast.Name(spelling.spell("TypeAliasType"), ast.Load())
        arguments: list[ast.expr] = [
            ast.Constant(named_type.shape.name),
            ast.Constant(ast.unparse(value)),
        ]
        return [ast.Assign([target], ast.Call(kind, arguments, []), lineno=0)]
    alias = ast.Name(spelling.spell("TypeAlias"), ast.Load())
    return [ast.AnnAssign(target, alias, value, simple=1), *texts.of_type(named_type)]


def _class(named_type: NamedType, spelling: _Spelling, texts: _Texts) -> ast.ClassDef:
    shape = named_type.shape
    # In a class body, a field with a default hides a module name that later annotations use.
    hidden = frozenset(f.name for f in shape.fields)
    rename = _Rename(spelling, named_type.unions, hidden)
    body = texts.of_type(named_type)
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
        body += texts.of_field(named_type, model_field.wire)
    base = ast.Name(spelling.spell("Model"), ast.Load())
    return ast.ClassDef(shape.name, [base], [], body or [ast.Pass()], [])


def _docstring(text: str) -> ast.Expr:
    return ast.Expr(ast.Constant(text))


def _union_aliases(spelling: _Spelling) -> list[str]:
    """Return the definitions of the deferred unions of a module."""
    if not spelling.unions:
        return []
    names = {"TYPE_CHECKING", "TypeAlias", "deferred_union"}
    written = {name: spelling.spell(name) for name in sorted(names)}
    checked: list[ast.stmt] = []
    executed: list[ast.stmt] = []
    for name, union in list(spelling.unions.values()):
        rename = _Rename(spelling, {}, runtime=False)
        # A string, because its variants may be defined below.
        text = ast.unparse(rename.visit(copy.deepcopy(union.annotation)))
        target = ast.Name(name, ast.Store())
        alias = ast.Name(written["TypeAlias"], ast.Load())
        checked.append(ast.AnnAssign(target, alias, ast.Constant(text), simple=1))
        variants = ast.Dict(
            [ast.Constant(value) for value, _ in union.variants],
            [ast.Constant(variant) for _, variant in union.variants],
        )
        fields = [ast.Constant(union.wire), ast.Constant(union.discriminator)]
        arguments: list[ast.expr] = [ast.Name("__name__", ast.Load()), *fields, variants]
        function = ast.Name(written["deferred_union"], ast.Load())
        executed.append(ast.Assign([target], ast.Call(function, arguments, []), lineno=0))
    test = ast.Name(written["TYPE_CHECKING"], ast.Load())
    return [_unparse(ast.If(test, checked, executed))]


def _imports(
    module: Module,
    names: Iterable[str],
    exports: Mapping[str, str],
    package: str,
    spelling: _Spelling,
) -> list[str]:
    """Return imports in sections: standard library, third party, `asyncposthog`, models."""
    sections: list[dict[str, set[str]]] = [{}, {}, {}, {}]
    own = {"Model": f"{package}.model", "deferred_union": f"{package}.modeling.deferred"}
    for written, name in spelling.used.items():
        source = own.get(name) or _IMPORTED_FROM.get(name, "builtins")
        section = sections[2 if name in own else int(source in _THIRD_PARTY)]
        section.setdefault(source, set()).add(name if written == name else f"{name} as {written}")
    sections[3] = _model_imports(module, names, exports)
    return [_import_lines(section) for section in sections if section]


def _typing_imports(
    module: Module, names: Iterable[str], exports: Mapping[str, str]
) -> Iterator[str]:
    """Yield the imports that only type checkers need."""
    lines = _import_lines(_model_imports(module, names, exports))
    if lines:
        yield "if TYPE_CHECKING:\n" + "\n".join(f"    {line}" for line in lines.splitlines())


def _model_imports(
    module: Module, names: Iterable[str], exports: Mapping[str, str]
) -> dict[str, set[str]]:
    dots = "." * (module.path.count(".") + 1)
    imports: dict[str, set[str]] = {}
    for name in names:
        if exports[name] != module.path:
            imports.setdefault(dots + exports[name], set()).add(name)
    return imports


def _import_lines(imports: Mapping[str, Iterable[str]]) -> str:
    return "\n".join(
        f"from {module} import {', '.join(sorted(names))}"
        for module, names in sorted(imports.items())
    )


def _unparse(statement: ast.stmt) -> str:
    module = ast.Module([statement], [])
    return ast.unparse(ast.fix_missing_locations(module))
