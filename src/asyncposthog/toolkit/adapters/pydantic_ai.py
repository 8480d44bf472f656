"""Tools for `Agent(tools=…)` of pydantic-ai."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_ai import Tool as AgentTool

if TYPE_CHECKING:
    from asyncposthog.toolkit.kit import Toolkit
    from asyncposthog.toolkit.tools import Tool

__all__ = ["tools"]


def tools(kit: Toolkit) -> list[AgentTool[Any]]:
    """Return tools with the kit's schemas."""
    return [_tool(kit, tool) for tool in kit]


def _tool(kit: Toolkit, tool: Tool) -> AgentTool[Any]:
    async def call(**arguments: Any) -> dict[str, Any]:
        return (await kit.call(tool.name, arguments)).to_dict()

    return AgentTool.from_schema(call, tool.name, tool.description, dict(tool.input_schema))
