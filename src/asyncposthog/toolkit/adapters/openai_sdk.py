"""Tools for `client.responses.create(tools=…)` of the openai package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncposthog.toolkit.formats import definition

if TYPE_CHECKING:
    from asyncposthog.toolkit.toolset import ToolSet

__all__ = ["tools"]


def tools(kit: ToolSet) -> list[dict[str, Any]]:
    """Return definitions. `kit.call(item.name, item.arguments)` answers a function call."""
    return [definition(tool, "openai") for tool in kit]
