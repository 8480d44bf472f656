"""Tools for `Agent(tools=…)` of pydantic-ai."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncposthog.toolkit.tools import Tool
    from asyncposthog.toolkit.toolset import ToolSet

__all__ = ["tools"]


def tools(kit: ToolSet) -> list[Any]:
    """Return tools with the kit's schemas."""
    sdk: Any = import_module("pydantic_ai")
    return [_tool(sdk, kit, tool) for tool in kit]


def _tool(sdk: Any, kit: ToolSet, tool: Tool) -> Any:
    async def call(**arguments: Any) -> dict[str, Any]:
        return (await kit.call(tool.name, arguments)).to_dict()

    return sdk.Tool.from_schema(call, tool.name, tool.description, dict(tool.input_schema))
