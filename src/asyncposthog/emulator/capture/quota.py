"""Events that are dropped because the month's allowance is used up."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["is_over"]

_SURVEYS = frozenset({"survey sent", "survey shown", "survey dismissed"})


def is_over(event: str, limited: Collection[str]) -> bool:
    """Whether an event counts against something that is used up.

    Args:
        event: Its name.
        limited: What is used up: `events`, `exceptions`, `surveys`, `llm_events`.
    """
    if event == "$exception":
        return "exceptions" in limited
    if event.startswith("$ai_"):
        return "llm_events" in limited
    return event in _SURVEYS and "surveys" in limited
