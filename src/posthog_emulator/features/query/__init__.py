"""The query endpoint: dispatch by kind, result cache, async queries, cancellation, stubs."""

from __future__ import annotations

from .state import add_stub, cancellable, cancelled_error, complete, is_cached
from .stubs import Pattern, Rows

__all__ = ["Pattern", "Rows", "add_stub", "cancellable", "cancelled_error", "complete", "is_cached"]
