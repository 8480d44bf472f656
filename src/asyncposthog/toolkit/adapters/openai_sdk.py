"""Tools for `client.responses.create(tools=…)` of the openai package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncposthog.toolkit.kit import Toolkit

__all__ = ["tools"]


def tools(kit: Toolkit) -> list[dict[str, Any]]:
    """Return definitions. `kit.call(item.name, item.arguments)` answers a function call."""
    return kit.definitions("openai")
