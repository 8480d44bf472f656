"""Tools for `Agent(tools=…)` of openai-agents."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncposthog.toolkit.tools import Tool
    from asyncposthog.toolkit.toolset import ToolSet

__all__ = ["tools"]


def tools(kit: ToolSet) -> list[Any]:
    """Return function tools."""
    sdk: Any = import_module("agents")
    return [_tool(sdk, kit, tool) for tool in kit]


def _tool(sdk: Any, kit: ToolSet, tool: Tool) -> Any:
    async def call(context: Any, arguments: str) -> str:
        return (await kit.call(tool.name, arguments)).text

    return sdk.FunctionTool(
        name=tool.name,
        description=tool.description,
        params_json_schema=dict(tool.input_schema),
        on_invoke_tool=call,
        strict_json_schema=False,
    )
