"""Ready-made tools, under names that models and other tool sets know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncposthog.toolkit.tools import Tool

from . import analytics, definitions, people

if TYPE_CHECKING:
    from asyncposthog.toolkit.kit import Toolkit

__all__ = ["actions"]


def actions(kit: Toolkit) -> dict[str, Tool]:
    """Return the ready-made tools of a toolkit, by name."""
    tools = [*people.tools(kit), *definitions.tools(kit), *analytics.tools(kit)]
    return {tool.name: tool for tool in tools}
