"""Tools for `Agent(tools=…)` of pydantic-ai."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncposthog.toolkit.tools import Tool, ToolSet

__all__ = ["tools"]

_sdk: Any = import_module("pydantic_ai")


def tools(kit: ToolSet) -> list[Any]:
    """Return tools with the kit's schemas."""
    return [_tool(kit, tool) for tool in kit]


def _tool(kit: ToolSet, tool: Tool) -> Any:
    async def call(**arguments: Any) -> dict[str, Any]:
        return (await kit.call(tool.name, arguments)).to_dict()

    return _sdk.Tool.from_schema(call, tool.name, tool.description, dict(tool.input_schema))
