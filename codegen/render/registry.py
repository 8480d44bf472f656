"""Render the registry: every operation as data, one module for each family."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from codegen.graph import reachable
from codegen.json_schema import reference_graph
from codegen.surface.tree import Method, Resource, Surface

from .method_docstring import argument_text, method_paragraphs
from .text import BANNER

__all__ = ["constant_names", "registry_files"]

_MODULE_NAMES = frozenset({"OPERATIONS"})
"""Names that the module of a family defines beside its operations."""


def constant_names(resource: Resource) -> dict[str, str]:
    """Return the name of each operation's constant: `error_tracking.issues.get` → `ISSUES_GET`."""
    names: dict[str, str] = {}
    taken = set(_MODULE_NAMES)
    for operation in sorted(m.operation.id for m in _methods(resource)):
        name = operation.partition(".")[2].replace(".", "_").upper()
        # The names `a.b_c` and `a.b.c` give the same constant.
        while name in taken:
            name = f"{name}_"
        taken.add(name)
        names[operation] = name
    return names


def registry_files(
    surface: Surface,
    fields: Mapping[str, Mapping[str, str]] | None = None,
    *,
    standalone: bool = False,
) -> dict[str, str]:
    """Return the text of each file of the registry, by path in the package.

    Args:
        surface: The surface to render.
        fields: What the fields of components mean, by component and field.
        standalone: Whether the files belong to a package of their own. Its operations then name
            the package, because their models are not those of `asyncposthog`.
    """
    files = {f"registry/families/{r.family}.py": _family(r, standalone) for r in surface.resources}
    files["registry/families/__init__.py"] = (
        f'{BANNER}\n"""One module for each family of operations."""\n'
    )
    files["registry/__init__.py"] = _index(surface)
    files["registry/schemas.json"] = _schemas(surface)
    files["registry/docs.json"] = _docs(surface, fields or {})
    return files


def _family(resource: Resource, standalone: bool) -> str:
    methods = sorted(_methods(resource), key=lambda method: method.operation.id)
    names_by_operation = constant_names(resource)
    used = {"Operation"}
    definitions: list[str] = []
    for method in methods:
        name = names_by_operation[method.operation.id]
        literal = _literal(method.operation, used)
        # Results are decoded with the models of the package that an operation names.
        if standalone:
            literal = f"{literal[:-1]}, package=_PACKAGE)"
        definitions.append(f"{name} = {literal}")
    names = ", ".join(names_by_operation[method.operation.id] for method in methods)
    return "\n".join([
        BANNER,
        f'"""The operations of `{resource.family}`."""',
        "",
        "from __future__ import annotations",
        "",
        f"from asyncposthog.operation import {', '.join(sorted(used))}",
        "",
        *(["_PACKAGE = __name__.rpartition('.registry.')[0]", ""] if standalone else []),
        *definitions,
        "",
        f"OPERATIONS: tuple[Operation, ...] = ({names},)",
        "",
    ])  # fmt: skip


def _methods(resource: Resource) -> Iterator[Method]:
    yield from resource.methods
    for child in resource.children:
        yield from _methods(child)


def _literal(value: Any, used: set[str]) -> str:
    """Return the source of a frozen dataclass: a call with the fields that are not the default."""
    if is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        used.add(name)
        arguments = [
            f"{field.name}={_literal(getattr(value, field.name), used)}"
            for field in fields(value)
            if field.default is MISSING or getattr(value, field.name) != field.default
        ]
        return f"{name}({', '.join(arguments)})"
    if isinstance(value, tuple):
        items = [_literal(item, used) for item in value]  # pyright: ignore[reportUnknownVariableType]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    return repr(value)


def _index(surface: Surface) -> str:
    families = "".join(f"    {resource.family!r},\n" for resource in surface.resources)
    others = "".join(
        f"    {key!r}: {value!r},\n" for key, value in _other_families(surface).items()
    )
    limits = "".join(
        f"    {name!r}: {dict(sorted(limit.items()))!r},\n"
        for name, limit in sorted(_limits(surface.buckets).items())
    )
    return f'''{BANNER}
"""All operations of the API as data. A family is imported when it is first used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from asyncposthog.operation import Operation

__all__ = ["BUCKETS", "FAMILIES", "OTHER_FAMILIES", "docs", "find", "operations", "schemas"]

FAMILIES: tuple[str, ...] = (
{families})

# Families by the first segment of the paths of their operations, if the family is named otherwise.
OTHER_FAMILIES: Mapping[str, tuple[str, ...]] = {{
{others}}}

BUCKETS: Mapping[str, Mapping[str, Any]] = {{
{limits}}}


def operations() -> Iterator[Operation]:
    """Yield every operation, family by family."""
    for family in FAMILIES:
        yield from import_module(f"{{__name__}}.families.{{family}}").OPERATIONS


@cache
def _by_id() -> dict[str, Operation]:
    return {{operation.id: operation for operation in operations()}}


def find(id: str) -> Operation:
    """Return the operation with a public name, such as `feature_flags.list`.

    Raises:
        KeyError: There is no operation with this name.
    """
    return _by_id()[id]


@cache
def schemas() -> Mapping[str, Any]:
    """Return the JSON schemas of request and response bodies, by component."""
    return _load("schemas.json")["components"]["schemas"]


@cache
def docs() -> Mapping[str, Any]:
    """Return what operations, resources and fields mean.

    `operations` has for each id a `text`, and `args` by the names of the API; `resources` a text
    for each resource; `fields` texts by component and field.
    """
    return _load("docs.json")


def _load(name: str) -> Any:
    # Imported here because the client itself never needs these files.
    import json
    from importlib import resources

    return json.loads(resources.files(__name__).joinpath(name).read_text(encoding="utf-8"))
'''


def _other_families(surface: Surface) -> dict[str, tuple[str, ...]]:
    """Return the families that hold operations of a path segment, unless both have one name.

    An alias of an operation that the family of its segment has is not counted.
    """
    families: dict[str, set[tuple[str, str]]] = {}
    for method in surface.methods:
        operation = method.operation
        family = operation.id.partition(".")[0]
        families.setdefault(family, set()).add((operation.method, operation.path))
    others: dict[str, set[str]] = {}
    for method in surface.methods:
        operation = method.operation
        segment = _first_segment(operation.path)
        family = operation.id.partition(".")[0]
        if family != segment and (operation.method, operation.path) not in families.get(
            segment, ()
        ):
            others.setdefault(segment, set()).add(family)
    return {segment: tuple(sorted(names)) for segment, names in sorted(others.items())}


def _first_segment(path: str) -> str:
    """Return the first segment of a path after its project, as a Python name."""
    project, _, rest = path.removeprefix("/api/").partition("/{project_id}/")
    if project != "projects":
        rest = path.removeprefix("/api/")
    return rest.partition("/")[0].replace("-", "_") or "projects"


def _limits(buckets: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: {key: limit.get(key) for key in ("requests", "seconds", "per") if key in limit}
        for name, limit in buckets.items()
    }


def _schemas(surface: Surface) -> str:
    """Return `schemas.json`: the schemas reachable from bodies and responses, one on each line."""
    components = surface.document["components"]["schemas"]
    roots = [
        name
        for method in surface.methods
        for name in (
            method.operation.result.schema,
            method.operation.body.schema if method.operation.body else None,
        )
        if name
    ]
    names = reachable(roots, reference_graph(components))
    # One schema on each line, so that a diff shows which schemas changed.
    lines = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(components[name], sort_keys=True, separators=(',', ':'))}"
        for name in sorted(names)
    )
    # JSON has no comments, but JSON Schema has a keyword for them.
    comment = json.dumps(BANNER.lstrip("# "))
    return f'{{"$comment":{comment},"components":{{"schemas":{{\n{lines}\n}}}}}}\n'


def _docs(surface: Surface, fields: Mapping[str, Mapping[str, str]]) -> str:
    """Return `docs.json`: what operations, resources and fields mean, one entry on each line."""
    operations = {
        method.operation.id: {
            "text": " ".join(method_paragraphs(method, csv_note=False)),
            "args": {
                argument.wire_name: text
                for argument in method.arguments
                if (text := argument_text(argument))
            },
        }
        for method in surface.methods
    }
    resources = {
        ".".join(resource.path): resource.doc
        for root in surface.resources
        for resource in _resources(root)
        if resource.doc
    }
    sections = {
        "operations": operations,
        "resources": resources,
        "fields": {name: dict(texts) for name, texts in fields.items() if texts},
    }
    body = ",\n".join(
        f"{json.dumps(section)}:{{\n{_json_lines(entries)}\n}}"
        for section, entries in sections.items()
    )
    return f'{{"$comment":{json.dumps(BANNER.lstrip("# "))},\n{body}}}\n'


def _json_lines(entries: Mapping[str, Any]) -> str:
    return ",\n".join(
        f"{json.dumps(name)}:"
        f"{json.dumps(entries[name], sort_keys=True, separators=(',', ':'), ensure_ascii=False)}"
        for name in sorted(entries)
    )


def _resources(resource: Resource) -> Iterator[Resource]:
    yield resource
    for child in resource.children:
        yield from _resources(child)
