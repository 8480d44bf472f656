"""Which resource families use which components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen.annotations import references

__all__ = ["usage"]


def usage(
    roots: Mapping[str, set[str]], components: Mapping[str, Any]
) -> dict[str, frozenset[str]]:
    """Spread each user over everything its roots reach.

    Args:
        roots: Components each user names directly.
        components: All components.

    Returns:
        The users of each component that has any.
    """
    edges = {name: references(schema) for name, schema in components.items()}
    users: dict[str, set[str]] = {}
    for user, direct in roots.items():
        pending, seen = list(direct), set[str]()
        while pending:
            name = pending.pop()
            if name in seen or name not in edges:
                continue
            seen.add(name)
            users.setdefault(name, set()).add(user)
            pending += edges[name]
    return {name: frozenset(found) for name, found in sorted(users.items())}
