"""Ready-made tools, under names that models and other tool sets know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncposthog.toolkit.tools import Tool

from . import analytics, definitions, people

if TYPE_CHECKING:
    from asyncposthog.toolkit.context import Context

__all__ = ["actions"]


def actions(context: Context) -> dict[str, Tool]:
    """Return the ready-made tools of a toolkit, by name."""
    tools = [*people.tools(context), *definitions.tools(context), *analytics.tools(context)]
    return {tool.name: tool for tool in tools}
