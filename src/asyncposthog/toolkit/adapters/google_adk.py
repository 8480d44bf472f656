"""Tools for `Agent(tools=…)` of Google's Agent Development Kit."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncposthog.toolkit.tools import Tool
    from asyncposthog.toolkit.toolset import ToolSet

__all__ = ["tools"]


def tools(kit: ToolSet) -> list[Any]:
    """Return tools with the kit's schemas."""
    base: Any = import_module("google.adk.tools.base_tool")
    types: Any = import_module("google.genai.types")
    return [_tool(base, types, kit, tool) for tool in kit]


def _tool(base: Any, types: Any, kit: ToolSet, tool: Tool) -> Any:
    class KitTool(base.BaseTool):
        def _get_declaration(self) -> Any:
            return types.FunctionDeclaration(
                name=tool.name,
                description=tool.description,
                parameters_json_schema=dict(tool.input_schema),
            )

        async def run_async(self, *, args: dict[str, Any], tool_context: Any) -> Any:
            return (await kit.call(tool.name, args)).to_dict()

    return KitTool(name=tool.name, description=tool.description)
