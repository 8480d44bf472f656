"""Import of old events."""

from .importer import ImportReport

__all__ = ["ImportReport"]
