"""What `/query/` does beyond translating: caching, jobs, limits, cancelling."""

from __future__ import annotations

from .state import add_stub, cancellable, cancelled_error, complete, is_cached
from .stubs import Pattern, Rows

__all__ = ["Pattern", "Rows", "add_stub", "cancellable", "cancelled_error", "complete", "is_cached"]
