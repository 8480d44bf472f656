"""The scopes an operation needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from codegen.json_access import as_mapping, as_sequence, as_text, child

__all__ = ["security"]

_OURS: Final = "PersonalAPIKeyAuth"


def security(raw: Any, at: str, report: Callable[[str, str], None]) -> list[dict[str, list[str]]]:
    """Return one requirement with all scopes, sorted; an empty list where none is needed."""
    scopes: dict[str, set[str]] = {}
    open_too = False
    for index, value in enumerate(as_sequence(raw, at)):
        requirement = as_mapping(value, child(at, index))
        open_too = open_too or not requirement
        for scheme, listed in requirement.items():
            where = child(at, index, scheme)
            found = {as_text(scope, where) for scope in as_sequence(listed, where)}
            scopes.setdefault(scheme, set()).update(found)
    if not scopes:
        return []
    if open_too:
        report(at, "it may be called with a key or without; taken as with")
    if _OURS in scopes:
        return [{_OURS: sorted(scopes[_OURS])}]
    report(at, f"no personal API key may call it, only {' or '.join(sorted(scopes))}")
    return [{scheme: sorted(found)} for scheme, found in sorted(scopes.items())]
