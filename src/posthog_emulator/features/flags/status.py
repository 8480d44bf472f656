"""The status of a feature flag: active, stale, archived or deleted, and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from posthog_emulator.json_types import as_object

from .rules import full_rollout_reason

__all__ = ["flag_status"]

_STALE_DAYS: Final = 30


def flag_status(flag: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """Return the status of a flag in lower case, and the reason.

    Args:
        flag: The flag.
        now: The current time, with a time zone.
    """
    if flag.get("deleted"):
        return "deleted", "Flag has been deleted"
    if flag.get("archived"):
        return "archived", "Flag has been archived"
    if not flag.get("active"):
        return "active", "Flag is disabled (not evaluated for staleness)"
    called_at = _parse(flag.get("last_called_at"))
    if called_at is not None:
        days = (now - called_at).days
        if now - called_at > timedelta(days=_STALE_DAYS):
            return "stale", f"Flag has not been called in {days} days"
        if days <= 0:
            return "active", "Flag was called today"
        return "active", f"Flag was last called {days} day{'' if days == 1 else 's'} ago"
    created_at = _parse(flag.get("created_at"))
    if created_at is not None and now - created_at > timedelta(days=_STALE_DAYS):
        reason = full_rollout_reason(as_object(flag.get("filters")))
        if reason is not None:
            return "stale", reason
    return "active", "Flag has no usage data yet"


def _parse(value: Any) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return parsed if parsed.tzinfo else None
