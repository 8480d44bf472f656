"""Tools for `client.beta.messages.tool_runner(tools=…)` of the anthropic package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncposthog.toolkit.tools import Tool
    from asyncposthog.toolkit.toolset import ToolSet

__all__ = ["tools"]


def tools(kit: ToolSet) -> list[Any]:
    """Return runnable tools. `to_dict()` of each is its definition for `messages.create`."""
    sdk: Any = import_module("anthropic")
    return [_tool(sdk, kit, tool) for tool in kit]


def _tool(sdk: Any, kit: ToolSet, tool: Tool) -> Any:
    async def call(**arguments: Any) -> str:
        return (await kit.call(tool.name, arguments)).text

    return sdk.beta_async_tool(
        call,
        name=tool.name,
        description=tool.description,
        input_schema=dict(tool.input_schema),
    )
