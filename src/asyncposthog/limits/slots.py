"""How many queries a project runs at a time. Pure."""

from __future__ import annotations

from typing import Final

from asyncposthog.errors import ConfigurationError
from asyncposthog.operation import Operation

from .rules import Rule

__all__ = ["QUEUE_SECONDS", "SLOTS", "needs_slot", "read_slots", "slot_rule"]

SLOTS: Final = 3
"""Queries of one project that the server runs at a time."""
QUEUE_SECONDS: Final = 30.0
"""Seconds for which the server keeps one more waiting, before it refuses it."""

_BUCKET: Final = "api_queries_burst"
# POSTs charged as queries that do not run one.
_IDLE: Final = ("endpoints", "upgrade", "check_auth_for_async", "last_execution_times",
                "materialization_preview")  # fmt: skip


def needs_slot(operation: Operation) -> bool:
    """Tell whether an operation runs a query while its caller waits."""
    return (
        operation.method == "POST"
        and _BUCKET in operation.buckets
        and operation.path.rstrip("/").rpartition("/")[2] not in _IDLE
    )


def slot_rule(owner: str, slots: int) -> Rule:
    """Return the budget that queries of one project hold while they run."""
    return Rule(f"{owner}/slots", "slots", slots, 0.0)


def read_slots(value: object) -> int:
    """Check how many queries may run at a time.

    Raises:
        ConfigurationError: It is less than 1.
        TypeError: It is no int.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"query_slots must be an int, not {type(value).__name__}")
    if value < 1:
        raise ConfigurationError(
            f"query_slots must be 1 or more, not {value}: no query could ever run.",
            suggestion="PostHog runs 3 queries of a project at a time.",
        )
    return value
