"""Tools for `Agent(tools=…)` of openai-agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents import FunctionTool

if TYPE_CHECKING:
    from asyncposthog.toolkit.kit import Toolkit
    from asyncposthog.toolkit.tools import Tool

__all__ = ["tools"]


def tools(kit: Toolkit) -> list[FunctionTool]:
    """Return function tools."""
    return [_tool(kit, tool) for tool in kit]


def _tool(kit: Toolkit, tool: Tool) -> FunctionTool:
    async def call(context: Any, arguments: str) -> str:
        return (await kit.call(tool.name, arguments)).text

    return FunctionTool(
        name=tool.name,
        description=tool.description,
        params_json_schema=dict(tool.input_schema),
        on_invoke_tool=call,
        strict_json_schema=False,
    )
