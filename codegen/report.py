"""The text printed by `python -m codegen report`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .pipeline import GeneratedPackage
from .surface import Resource

__all__ = ["report", "unused_overrides"]


def report(generated: GeneratedPackage) -> str:
    """Return a line for each resource, then totals, skipped operations and warnings."""
    surface = generated.surface
    resources = [r for top in surface.resources for r in _resources_with_methods(top)]
    lines = [_line(resource) for resource in resources]
    reached = {o for m in surface.methods for o in m.operation.schema_operations}
    unreachable = sorted(set(surface.schema_operations) - reached)
    added = [m for m in surface.methods if m.operation.schema_gap_source]
    kinds = Counter(generated.models.kinds.values())
    numbers = generated.models.statistics
    lines += [
        "",
        f"operations in the schema      {len(surface.schema_operations) + len(surface.skipped)}",
        f"callable                      {len(reached)}",
        f"skipped                       {len(unreachable) + len(surface.skipped)}",
        f"added by overrides            {len(added)}",
        f"methods                       {len(surface.methods)}",
        f"resources                     {len(resources)}",
        f"models                        {kinds['model']}",
        f"enums                         {kinds['enum']}",
        f"aliases                       {kinds['alias']}",
        f"fields typed                  {numbers.typed}",
        f"fields untyped                {numbers.untyped}",
    ]
    lines += [f"skipped: {name}: no method reaches it" for name in unreachable]
    lines += [f"skipped: {skipped.operation}: {skipped.reason}" for skipped in surface.skipped]
    if generated.unused_overrides:
        lines.append(unused_overrides(generated.unused_overrides))
    lines += [f"warning: {f.pointer}: {f.reason}" for f in generated.diagnostics]
    return "\n".join(lines)


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
