"""What a framework needs of a toolkit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from .results import ToolResult
from .tools import Tool

__all__ = ["ToolSet"]


class ToolSet(Protocol):
    """Tools that can be called by name: what a framework needs of a toolkit."""

    def __iter__(self) -> Iterator[Tool]:
        """Iterate over the tools."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any] | str | None = None) -> ToolResult:
        """Run a tool and return its result."""
        ...
