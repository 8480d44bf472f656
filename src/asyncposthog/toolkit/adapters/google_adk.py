"""Tools for `Agent(tools=…)` of Google's Agent Development Kit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.adk.tools.base_tool import BaseTool
from google.genai import types

if TYPE_CHECKING:
    from asyncposthog.toolkit.kit import Toolkit
    from asyncposthog.toolkit.tools import Tool

__all__ = ["tools"]


class _Tool(BaseTool):
    def __init__(self, kit: Toolkit, tool: Tool) -> None:
        super().__init__(name=tool.name, description=tool.description)
        self._kit = kit
        self._tool = tool

    def _get_declaration(self) -> types.FunctionDeclaration:
        return types.FunctionDeclaration(
            name=self._tool.name,
            description=self._tool.description,
            parameters_json_schema=dict(self._tool.input_schema),
        )

    async def run_async(self, *, args: dict[str, Any], tool_context: Any) -> Any:
        return (await self._kit.call(self._tool.name, args)).to_dict()


def tools(kit: Toolkit) -> list[BaseTool]:
    """Return tools with the kit's schemas."""
    return [_Tool(kit, tool) for tool in kit]
