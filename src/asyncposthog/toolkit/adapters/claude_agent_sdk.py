"""A server of tools for `ClaudeAgentOptions(mcp_servers={"posthog": …})` of claude-agent-sdk."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from asyncposthog._version import __version__
from asyncposthog.toolkit.formats import mcp_annotations

if TYPE_CHECKING:
    from asyncposthog.toolkit.tools import Tool
    from asyncposthog.toolkit.toolset import ToolSet

__all__ = ["tools"]


def tools(kit: ToolSet) -> Any:
    """Return an in-process server. Claude names its tools `mcp__posthog__NAME`."""
    sdk: Any = import_module("claude_agent_sdk")
    types: Any = import_module("mcp.types")
    made = [_tool(sdk, types, kit, tool) for tool in kit]
    return sdk.create_sdk_mcp_server("posthog", version=__version__, tools=made)


def _tool(sdk: Any, types: Any, kit: ToolSet, tool: Tool) -> Any:
    async def call(arguments: dict[str, Any]) -> dict[str, Any]:
        result = await kit.call(tool.name, arguments)
        content = [{"type": "text", "text": result.text}]
        return {"content": content, **({} if result.successful else {"is_error": True})}

    mark = sdk.tool(
        tool.name,
        tool.description,
        dict(tool.input_schema),
        annotations=types.ToolAnnotations.model_validate(mcp_annotations(tool)),
    )
    return mark(call)
