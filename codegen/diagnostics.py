"""Errors of generation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Diagnostic", "GenerationError", "SchemaError"]


class GenerationError(ValueError):
    """The document is readable, but no code can be made of it until an override mends it.

    All problems found are reported together, one a line: JSON pointer, then reason.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics)))
        """Everything found, sorted by pointer."""
        lines = [f"  {diagnostic.pointer}: {diagnostic.reason}" for diagnostic in self.diagnostics]
        heading = f"{len(lines)} problem(s) to mend in openapi/overrides.yaml:"
        super().__init__("\n".join([heading, *lines]))


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One thing in a document that a stage had to leave out or to interpret."""

    pointer: str
    """Where it stands: a JSON pointer (RFC 6901) into the document the stage was given."""
    reason: str
    """What it is and what became of it."""


class SchemaError(ValueError):
    """A document that cannot be used at all.

    Args:
        where: The file or URL, a JSON pointer after `#`, or both.
        reason: What is wrong there, without a full stop.
        remedy: What to do about it, without a full stop.
    """

    def __init__(self, where: str, reason: str, remedy: str) -> None:
        super().__init__(f"{where}: {reason}. {remedy}.")
        self.where = where
        self.reason = reason
        self.remedy = remedy
