"""A server of tools for `ClaudeAgentOptions(mcp_servers={"posthog": …})` of claude-agent-sdk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from claude_agent_sdk import create_sdk_mcp_server
from claude_agent_sdk import tool as sdk_tool
from mcp.types import ToolAnnotations

from asyncposthog._version import __version__
from asyncposthog.toolkit.formats import mcp_annotations

if TYPE_CHECKING:
    from asyncposthog.toolkit.kit import Toolkit
    from asyncposthog.toolkit.tools import Tool

__all__ = ["tools"]


def tools(kit: Toolkit) -> Any:
    """Return an in-process server. Claude names its tools `mcp__posthog__NAME`."""
    made = [_tool(kit, tool) for tool in kit]
    return create_sdk_mcp_server("posthog", version=__version__, tools=made)


def _tool(kit: Toolkit, tool: Tool) -> Any:
    async def call(arguments: dict[str, Any]) -> dict[str, Any]:
        result = await kit.call(tool.name, arguments)
        content = [{"type": "text", "text": result.text}]
        return {"content": content, **({} if result.successful else {"is_error": True})}

    marked = sdk_tool(
        tool.name,
        tool.description,
        cast("Any", dict(tool.input_schema)),
        annotations=ToolAnnotations.model_validate(mcp_annotations(tool)),
    )
    return marked(call)
