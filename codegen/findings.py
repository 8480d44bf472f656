"""What a stage could not represent, and what it could not use at all."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "SchemaError"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
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
