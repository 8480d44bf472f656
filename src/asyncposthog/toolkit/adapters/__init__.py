"""Tools as objects of agent frameworks. A framework is imported when its tools are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asyncposthog.toolkit.toolset import ToolSet

__all__ = ["FRAMEWORKS", "adapt"]

FRAMEWORKS: Final = {
    "anthropic": ("anthropic_sdk", "anthropic"),
    "claude-agent-sdk": ("claude_agent_sdk", "claude-agent-sdk"),
    "openai": ("openai_sdk", "openai"),
    "openai-agents": ("openai_agents", "openai-agents"),
    "pydantic-ai": ("pydantic_ai", "pydantic-ai-slim"),
    "langchain": ("langchain", "langchain-core"),
    "google-adk": ("google_adk", "google-adk"),
}
"""Module and distribution by the name of the framework."""


def adapt(kit: ToolSet, framework: str) -> Any:
    """Return the tools of a toolkit as objects of a framework.

    Raises:
        ImportError: The framework is not installed.
        ValueError: There is no such framework.
    """
    if framework not in FRAMEWORKS:
        names = ", ".join(FRAMEWORKS)
        raise ValueError(f"{framework!r} is no framework; use one of {names}")
    module, distribution = FRAMEWORKS[framework]
    adapter = import_module(f"{__name__}.{module}")
    try:
        return adapter.tools(kit)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"kit.tools({framework!r}) needs the package {distribution}: pip install {distribution}"
        ) from error
