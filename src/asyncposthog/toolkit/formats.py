"""Definitions of tools in the forms that APIs take. Pure."""

from __future__ import annotations

from typing import Any

from .tools import Tool

__all__ = ["definition", "mcp_annotations", "title"]


def title(tool: Tool) -> str:
    """Return the name of a tool for people."""
    return tool.name.replace("_", " ").capitalize()


def mcp_annotations(tool: Tool) -> dict[str, Any]:
    """Return MCP's annotations of a tool."""
    return {
        "title": title(tool),
        "readOnlyHint": tool.read_only,
        "destructiveHint": tool.destructive,
        "idempotentHint": tool.read_only,
        "openWorldHint": True,
    }


def definition(tool: Tool, format: str) -> dict[str, Any]:
    """Return the definition of a tool.

    Raises:
        ValueError: There is no such format.
    """
    schema = dict(tool.input_schema)
    if format in {"json", "anthropic"}:
        return {"name": tool.name, "description": tool.description, "input_schema": schema}
    if format == "mcp":
        return {
            "name": tool.name,
            "description": tool.description,
            "inputSchema": schema,
            "annotations": mcp_annotations(tool),
        }
    function = {"name": tool.name, "description": tool.description, "parameters": schema}
    if format == "openai":
        return {"type": "function", **function, "strict": False}
    if format == "openai-chat":
        return {"type": "function", "function": function}
    raise ValueError(f"{format!r} is no format; use json, anthropic, openai, openai-chat or mcp")
