"""The text printed by `python -m codegen report`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from .json_access import mapping, objects
from .json_schema import resolve
from .overrides import OperationOverrides
from .pipeline import GeneratedPackage
from .surface import Method, Resource, Surface
from .surface.responses import declared_response

__all__ = ["report", "unused_overrides"]

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_UNTYPED = frozenset({"JSON", "dict[str, JSON]", "_list[JSON]", "_list[dict[str, JSON]]"})
"""Annotations of results that say no more than that they are JSON."""


def report(generated: GeneratedPackage) -> str:
    """Return a line for each resource, then totals, skipped operations and warnings."""
    surface = generated.surface
    resources = [r for top in surface.resources for r in _resources_with_methods(top)]
    lines = [_line(resource) for resource in resources]
    reached = {o for m in surface.methods for o in m.operation.schema_operations}
    unreachable = sorted(set(surface.schema_operations) - reached)
    added = [m for m in surface.methods if m.operation.schema_gap_source]
    scoped = sum(
        bool(m.operation.scopes) or not m.operation.api_key_allowed for m in surface.methods
    )
    assumed = sum(m.assumed_scopes for m in surface.methods)
    kinds = Counter(generated.models.kinds.values())
    numbers = generated.models.statistics
    shares = _shares(surface)
    lines += [
        "",
        f"operations in the schema      {len(surface.schema_operations) + len(surface.skipped)}",
        f"callable                      {len(reached)}",
        f"skipped                       {len(unreachable) + len(surface.skipped)}",
        f"added by overrides            {len(added)}",
        f"methods                       {len(surface.methods)}",
        f"methods with a known scope    {scoped} ({scoped / len(surface.methods):.1%})",
        f"of them assumed               {assumed}",
        f"resources                     {len(resources)}",
        f"models                        {kinds['model']}",
        f"enums                         {kinds['enum']}",
        f"aliases                       {kinds['alias']}",
        f"fields typed                  {numbers.typed}",
        f"fields untyped                {numbers.untyped}",
        *(f"{label:<29} {count} ({count / total:.1%})" for label, count, total in shares),
        f"resources without a text      {sum(not r.doc for r in resources)}",
    ]
    lines += [f"error: openapi/docs.yaml: {error}" for error in generated.unmatched_docs]
    lines += [f"skipped: {name}: no method reaches it" for name in unreachable]
    lines += [f"skipped: {skipped.operation}: {skipped.reason}" for skipped in surface.skipped]
    if generated.unused_overrides:
        lines.append(unused_overrides(generated.unused_overrides))
    lines += [f"warning: {f.pointer}: {f.reason}" for f in generated.diagnostics]
    return "\n".join(lines)


def _shares(surface: Surface) -> list[tuple[str, int, int]]:
    """Return label, number of methods and total of what should grow, or should not."""
    methods = surface.methods
    total = max(len(methods), 1)
    untyped = [m for m in methods if m.returns in _UNTYPED]
    raw = {
        _PLACEHOLDER.sub("{}", f"{verb.upper()} {path}"): operation
        for path, item in surface.document["paths"].items()
        for verb, operation in item.items()
    }
    declared = [m for m in untyped if _declares_shape(m, raw, surface.document)]
    return [
        ("methods returning bare JSON", len(untyped), total),
        ("  the schema has no shape", len(untyped) - len(declared), total),
        ("  the schema has a shape", len(declared), total),
        ("docstring only a template", sum(m.template_only for m in methods), total),
    ]


def _declares_shape(
    method: Method, raw: Mapping[str, Mapping[str, Any]], document: Mapping[str, Any]
) -> bool:
    """Whether the schema says more about the result of a method than that it is JSON."""
    operation = method.operation
    key = _PLACEHOLDER.sub("{}", f"{operation.method} {operation.path}")
    components = mapping(mapping(document, "components"), "schemas")

    def has_shape(schema: Mapping[str, Any]) -> bool:
        flat = resolve(schema, components)
        if flat.get("type") == "array":
            return has_shape(mapping(flat, "items"))
        extra = flat.get("additionalProperties")
        if flat.get("properties"):
            # An envelope of a list is typed by its items.
            results = resolve(mapping(mapping(flat, "properties"), "results"), components)
            is_page = method.cursor and results.get("type") == "array"
            return not is_page or has_shape(mapping(results, "items"))
        if any(has_shape(s) for name in ("anyOf", "oneOf") for s in objects(flat, name)):
            return True
        scalars = {"string", "integer", "number", "boolean"}
        return flat.get("type") in scalars or (
            isinstance(extra, dict) and has_shape(mapping(flat, "additionalProperties"))
        )

    return has_shape(declared_response(raw.get(key, {}), OperationOverrides(key, {})).schema)


def unused_overrides(count: int) -> str:
    """Return a line that says how many overrides do not apply to a schema."""
    subject = "1 override does" if count == 1 else f"{count} overrides do"
    return f"{subject} not apply to this schema"


def _resources_with_methods(resource: Resource) -> Iterator[Resource]:
    if resource.methods:
        yield resource
    for child in resource.children:
        yield from _resources_with_methods(child)


def _line(resource: Resource) -> str:
    names = " ".join(sorted(method.name for method in resource.methods))
    return f"{'.'.join(resource.path):<44} {len(resource.methods):>3}  {names}"
