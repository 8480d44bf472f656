"""What the steps on one schema need from the whole document."""

from __future__ import annotations

from typing import Any, Protocol

from .keywords import Schema

__all__ = ["Context"]


class Context(Protocol):
    """The document around a schema."""

    def normalise(self, raw: Any, pointer: str) -> Schema:
        """Return the normalised form of a schema."""
        ...

    def resolve(self, reference: str) -> Schema | None:
        """Return the normalised component a reference names, or None inside a cycle."""
        ...

    def report(self, pointer: str, reason: str) -> None:
        """Note something that cannot be represented."""
        ...
