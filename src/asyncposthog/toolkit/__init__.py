"""Tools for models: PostHog's whole API in six small tools, or any operation as a tool of its own.

See docs/agents.md. Public names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .kit import Toolkit
    from .parameters import ParameterType, ToolParameter
    from .results import ToolError, ToolResult
    from .safety import AuditRecord, WriteRequest
    from .scripts import script_tool
    from .tools import Tool, tool

__all__ = [
    "AuditRecord",
    "ParameterType",
    "Tool",
    "ToolError",
    "ToolParameter",
    "ToolResult",
    "Toolkit",
    "WriteRequest",
    "script_tool",
    "tool",
]

_MODULES: Final = {
    "AuditRecord": "safety",
    "ParameterType": "parameters",
    "Tool": "tools",
    "ToolError": "results",
    "ToolParameter": "parameters",
    "ToolResult": "results",
    "Toolkit": "kit",
    "WriteRequest": "safety",
    "script_tool": "scripts",
    "tool": "tools",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
