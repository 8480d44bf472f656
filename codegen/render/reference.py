"""Render `docs/reference.md`: every method with its endpoint, scope, limits and pagination."""

from __future__ import annotations

from codegen.surface.tree import Method, Surface

from .text import BANNER

__all__ = ["reference"]


def reference(surface: Surface) -> str:
    """Return the page: one table for each top-level resource."""
    lines = [
        f"<!-- {BANNER.lstrip('# ')} -->",
        "# Reference",
        "",
        f"{len(surface.methods)} methods on {len(surface.resources)} top-level resources. Limits"
        " are rate-limit buckets. `[unknown]` means that PostHog's schema lists no scope.",
        "",
    ]
    by_family: dict[str, list[Method]] = {}
    for method in surface.methods:
        by_family.setdefault(method.operation.id.split(".")[0], []).append(method)
    for family, methods in sorted(by_family.items()):
        lines += [
            f"## {family}",
            "",
            "| method | endpoint | scope | limits | pages |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [_row(method) for method in methods]
        lines.append("")
    return "\n".join(lines)


def _row(method: Method) -> str:
    operation = method.operation
    path = operation.path.removeprefix("/api").replace("|", "\\|")
    scope = ", ".join(operation.scopes) or (
        "no key" if not operation.api_key_allowed else "[unknown]"
    )
    detect_pagination = operation.pagination.style if operation.pagination else ""
    cells = (
        f"`{operation.id}`",
        f"`{operation.method} {path}`",
        scope,
        ", ".join(operation.buckets),
        detect_pagination,
    )
    return "| " + " | ".join(cells) + " |"
