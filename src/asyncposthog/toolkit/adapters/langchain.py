"""Tools for agents of LangChain and LangGraph."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncposthog.toolkit.tools import Tool
    from asyncposthog.toolkit.toolset import ToolSet

__all__ = ["tools"]


def tools(kit: ToolSet) -> list[Any]:
    """Return structured tools. They are async: use `ainvoke`."""
    sdk: Any = import_module("langchain_core.tools")
    return [_tool(sdk, kit, tool) for tool in kit]


def _tool(sdk: Any, kit: ToolSet, tool: Tool) -> Any:
    async def call(**arguments: Any) -> str:
        return (await kit.call(tool.name, arguments)).text

    return sdk.StructuredTool.from_function(
        coroutine=call,
        name=tool.name,
        description=tool.description,
        args_schema=dict(tool.input_schema),
    )
