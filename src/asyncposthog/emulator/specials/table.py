"""The entry of the table of special handlers."""

from __future__ import annotations

from dataclasses import dataclass

from asyncposthog.emulator.state.world import Handler

__all__ = ["Special"]


@dataclass(frozen=True, slots=True)
class Special:
    """A handler of its own for one operation."""

    handler: Handler
    validates: bool = True
    """Whether the body is checked against the schema first; if not, the handler does it."""
