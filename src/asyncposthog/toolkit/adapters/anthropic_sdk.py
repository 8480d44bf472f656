"""Tools for `client.beta.messages.tool_runner(tools=…)` of the anthropic package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from anthropic import beta_async_tool

if TYPE_CHECKING:
    from asyncposthog.toolkit.kit import Toolkit
    from asyncposthog.toolkit.tools import Tool

__all__ = ["tools"]


def tools(kit: Toolkit) -> list[Any]:
    """Return runnable tools. `to_dict()` of each is its definition for `messages.create`."""
    return [_tool(kit, tool) for tool in kit]


def _tool(kit: Toolkit, tool: Tool) -> Any:
    async def call(**arguments: Any) -> str:
        return (await kit.call(tool.name, arguments)).text

    return beta_async_tool(
        call,
        name=tool.name,
        description=tool.description,
        input_schema=cast("Any", dict(tool.input_schema)),
    )
