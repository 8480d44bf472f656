"""Errors and warnings of the generator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = [
    "FIX_DOCUMENT",
    "FIX_WITH_OVERRIDES",
    "USE_SERVED_SCHEMA",
    "Diagnostic",
    "GenerationError",
    "SchemaError",
]

USE_SERVED_SCHEMA: Final = "Give the document a PostHog instance serves at /api/schema/"
FIX_WITH_OVERRIDES: Final = "in the document, or in a file given with --overrides"
FIX_DOCUMENT: Final = "Fix the document, or get a fresh one with `python -m codegen fetch`"


class GenerationError(ValueError):
    """The document is valid, but no code can be generated from it without an override.

    The message lists all diagnostics, one a line: JSON pointer, then reason.

    Args:
        diagnostics: What prevents generation.
        remedy: Where to fix it.
    """

    def __init__(
        self, diagnostics: Iterable[Diagnostic], remedy: str = "in openapi/overrides.yaml"
    ) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics)))
        """What prevents generation, sorted by pointer."""
        lines = [f"  {diagnostic.pointer}: {diagnostic.reason}" for diagnostic in self.diagnostics]
        heading = f"{len(lines)} problem(s) to fix {remedy}:"
        super().__init__("\n".join([heading, *lines]))


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """A part of a document that a stage dropped, interpreted or cannot use."""

    pointer: str
    """Its JSON pointer (RFC 6901) in the document given to the stage."""
    reason: str
    """What is wrong with it, and what was done about it."""


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
