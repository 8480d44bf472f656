"""Project tokens: checked for shape, and looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncposthog.emulator.state.world import PROJECTS

if TYPE_CHECKING:
    from asyncposthog.emulator.state.world import World

__all__ = ["project_of", "shape_problem"]

_LONGEST = 64


def shape_problem(token: str) -> str | None:
    """What is wrong with the look of a token; None if nothing is."""
    if not token:
        return "empty"
    if "\0" in token:
        return "null_byte"
    if not token.isascii():
        return "not_ascii"
    if len(token) > _LONGEST:
        return "too_long"
    return "personal_api_key" if token.startswith("phx_") else None


def project_of(world: World, token: str) -> int | None:
    """The project with a token; None where nobody has it."""
    for row in world.store.bucket(PROJECTS):
        held: Any = row.data.get("api_token")
        if held == token and not row.deleted:
            return int(row.data["id"])
    return None
