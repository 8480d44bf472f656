"""What `/query/` does beyond translating: caching, jobs, limits, cancelling."""

from __future__ import annotations

from .state import answer_with, cancelled, finished, is_cached, running
from .stubs import Pattern, Rows

__all__ = ["Pattern", "Rows", "answer_with", "cancelled", "finished", "is_cached", "running"]
