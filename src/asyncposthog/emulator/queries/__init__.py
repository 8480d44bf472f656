"""What `/query/` does beyond translating: caching, jobs, limits, cancelling."""

from __future__ import annotations

from asyncposthog.emulator.queries.canned import Pattern, Rows
from asyncposthog.emulator.queries.desk import answer_with, is_cached
from asyncposthog.emulator.queries.running import cancelled, finished, running

__all__ = ["Pattern", "Rows", "answer_with", "cancelled", "finished", "is_cached", "running"]
