"""The scopes an operation needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from codegen.json_access import as_mapping, as_sequence, as_text, join_pointer

__all__ = ["security"]

_PERSONAL_API_KEY: Final = "PersonalAPIKeyAuth"


def security(
    raw: Any, pointer: str, report: Callable[[str, str], None]
) -> list[dict[str, list[str]]]:
    """Return one requirement with all scopes, sorted; an empty list where none is needed."""
    scopes: dict[str, set[str]] = {}
    is_public_too = False
    for index, value in enumerate(as_sequence(raw, pointer)):
        requirement = as_mapping(value, join_pointer(pointer, index))
        is_public_too = is_public_too or not requirement
        for scheme, listed in requirement.items():
            where = join_pointer(pointer, index, scheme)
            required = {as_text(scope, where) for scope in as_sequence(listed, where)}
            scopes.setdefault(scheme, set()).update(required)
    if not scopes:
        return []
    if is_public_too:
        report(pointer, "it may be called with a key or without; taken as with")
    if _PERSONAL_API_KEY in scopes:
        return [{_PERSONAL_API_KEY: sorted(scopes[_PERSONAL_API_KEY])}]
    report(pointer, f"no personal API key may call it, only {' or '.join(sorted(scopes))}")
    return [{scheme: sorted(required)} for scheme, required in sorted(scopes.items())]
