"""Render `resources/`: a module for each family, a class for each resource, its methods."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from codegen.surface.tree import Argument, Method, Resource, Surface

from .method_docstring import method_docstring
from .registry import constant_names
from .text import BANNER, docstring

__all__ = ["resource_files"]

_TYPES = ("JSON", "OMIT", "FileInput", "Id", "Omit", "RequestOptions", "Timestamp")


def resource_files(surface: Surface) -> dict[str, str]:
    """Return the text of each file of `resources/`, by path in the package."""
    files = {f"resources/{r.family}.py": _module(r) for r in surface.resources}
    files["resources/__init__.py"] = _index(surface)
    return files


def _module(resource: Resource) -> str:
    classes = list(_classes(resource, constant_names(resource)))
    body = "\n\n".join(classes)
    has_methods = "registry." in body
    imports = ["from __future__ import annotations", ""]
    typing = [name for name in ("Literal", "TYPE_CHECKING") if _uses(body, name)]
    if "m." in body or "Cursor[" in body:
        typing = sorted({*typing, "TYPE_CHECKING"})
    if _uses(body, "Mapping") or _uses(body, "Sequence"):
        names = [n for n in ("Mapping", "Sequence") if _uses(body, n)]
        imports.append(f"from collections.abc import {', '.join(names)}")
    if resource.children:
        imports.append("from functools import cached_property")
    if typing:
        imports.append(f"from typing import {', '.join(typing)}")
    if _uses(body, "UUID"):
        imports.append("from uuid import UUID")
    imports.append("")
    if has_methods:
        imports.append(f"from ..registry.families import {resource.family} as registry")
    imports.append("from asyncposthog.core.resource import Resource")
    types = [name for name in _TYPES if _uses(body, name)]
    if types:
        imports.append(f"from asyncposthog.types import {', '.join(types)}")
    # For type checkers only, so that importing a resource does not import its models.
    lazy: list[str] = []
    if re.search(r"\bm\.\w", body):
        lazy.append("    from .. import models as m")
    if _uses(body, "Model"):
        lazy.append("    from asyncposthog.model import Model")
    if "Cursor[" in body:
        lazy.append("    from asyncposthog.pagination import Cursor")
    if lazy:
        imports += ["", "if TYPE_CHECKING:", *lazy]
    names = ", ".join(repr(name) for name in sorted(_class_names(resource)))
    # In a class with a method `list`, the builtin is not visible to the annotations after it.
    alias = ["", "_list = list"] if _uses(body, "_list") else []
    return "\n".join([
        BANNER,
        f'"""The `{resource.family}` resource."""',
        "",
        *imports,
        "",
        f"__all__ = [{names}]",
        *alias,
        "",
        body,
        "",
    ])  # fmt: skip


def _uses(body: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){name}\b", body) is not None


def _class_names(resource: Resource) -> Iterator[str]:
    yield resource.class_name
    for child in resource.children:
        yield from _class_names(child)


def _classes(resource: Resource, constant_name_of: Mapping[str, str]) -> Iterator[str]:
    """Yield the source of each class, nested resources first, so that names exist when used."""
    for child in resource.children:
        yield from _classes(child, constant_name_of)
    lines = [f"class {resource.class_name}(Resource):"]
    lines.append(docstring(_about(resource), 4))
    for child in resource.children:
        lines += [
            "",
            "    @cached_property",
            f"    def {child.path[-1]}(self) -> {child.class_name}:",
            docstring(_about(child), 8),
            f"        return {child.class_name}(self._executor)",
        ]
    for method in resource.methods:
        lines += ["", _method(method, constant_name_of[method.operation.id])]
    yield "\n".join(lines)


def _about(resource: Resource) -> str:
    return resource.doc or f"Operations on `{'.'.join(resource.path)}`."


def _method(method: Method, constant: str) -> str:
    parameters = [f"self, {''.join(f'{a}, ' for a in _positional(method))}"]
    keywords = [_keyword(a) for a in method.arguments if a.location != "path"]
    if method.operation.pages_in_any_order:
        keywords.append("concurrency: int = 1")
    keywords.append("options: RequestOptions | None = None")
    signature = parameters[0] + "*, " + ", ".join(keywords)
    verb, returns = ("def", f"Cursor[{method.returns}]") if method.cursor else (
        "async def", method.returns,
    )  # fmt: skip
    call = ", ".join([f"registry.{constant}", *_passed(method)])
    run = f"return self._cursor({call})" if method.cursor else f"return await self._call({call})"
    if returns == "None":
        run = f"await self._call({call})"
    return "\n".join([
        f"    {verb} {method.name}({signature}) -> {returns}:",
        docstring(method_docstring(method), 8),
        f"        {run}",
    ])  # fmt: skip


def _positional(method: Method) -> list[str]:
    path = [a for a in method.arguments if a.location == "path"]
    return [f"{a.python_name}: {a.annotation}" for a in path] + (["/"] if path else [])


def _keyword(argument: Argument) -> str:
    if argument.required:
        return f"{argument.python_name}: {argument.annotation}"
    return f"{argument.python_name}: {argument.annotation} | Omit = OMIT"


def _passed(method: Method) -> list[str]:
    passed: list[str] = []
    path = [a.python_name for a in method.arguments if a.location == "path"]
    if path:
        passed.append(f"({', '.join(path)},)")
    for keyword, where in (("query", "query"), ("headers", "header"), ("body", "field")):
        pairs = [a for a in method.arguments if a.location == where]
        if pairs:
            items = ", ".join(f"{a.wire_name!r}: {a.python_name}" for a in pairs)
            passed.append(f"{keyword}={{{items}}}")
    passed += [f"body={a.python_name}" for a in method.arguments if a.location == "body"]
    if method.operation.pages_in_any_order:
        passed.append("concurrency=concurrency")
    passed.append("options=options")
    return passed


def _index(surface: Surface) -> str:
    lines = [
        BANNER,
        '"""All top-level resources, as lazily imported attributes of the client."""',
        "",
        "from __future__ import annotations",
        "",
        "from functools import cached_property",
        "from typing import TYPE_CHECKING",
        "",
        "if TYPE_CHECKING:",
        "    from asyncposthog.core.executor import Executor",
    ]
    lines += [f"    from .{r.family} import {r.class_name}" for r in surface.resources]
    lines += [
        "",
        '__all__ = ["Resources"]',
        "",
        "",
        "class Resources:",
        '    """The top-level resources of the client."""',
        "",
        "    _executor: Executor",
    ]
    for resource in surface.resources:
        lines += [
            "",
            "    @cached_property",
            f"    def {resource.family}(self) -> {resource.class_name}:",
            docstring(_about(resource), 8),
            f"        from .{resource.family} import {resource.class_name}",
            "",
            f"        return {resource.class_name}(self._executor)",
        ]
    return "\n".join([*lines, ""])
