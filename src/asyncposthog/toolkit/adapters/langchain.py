"""Tools for agents of LangChain and LangGraph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.tools import StructuredTool

if TYPE_CHECKING:
    from asyncposthog.toolkit.kit import Toolkit
    from asyncposthog.toolkit.tools import Tool

__all__ = ["tools"]


def tools(kit: Toolkit) -> list[Any]:
    """Return structured tools. They are async: use `ainvoke`."""
    return [_tool(kit, tool) for tool in kit]


def _tool(kit: Toolkit, tool: Tool) -> Any:
    async def call(**arguments: Any) -> str:
        return (await kit.call(tool.name, arguments)).text

    return StructuredTool.from_function(
        coroutine=call,
        name=tool.name,
        description=tool.description,
        args_schema=dict(tool.input_schema),
    )
