"""A few events as they are given to the emulator."""

from __future__ import annotations

from typing import Any

SESSION_1 = "01945d6a-0000-7000-8000-000000000001"
SESSION_2 = "01945d6a-0000-7000-8000-000000000002"


def uuid(number: int) -> str:
    """Return a UUID for a number."""
    return f"00000000-0000-0000-0000-{number:012d}"


def _event(number: int, name: str, person: str, at: str, **properties: Any) -> dict[str, Any]:
    return {
        "uuid": uuid(number),
        "event": name,
        "distinct_id": person,
        "timestamp": at,
        "properties": properties,
    }


EVENTS = [
    _event(1, "$pageview", "ann", "2026-01-01T00:00:00Z", **{
        "$browser": "Chrome", "$session_id": SESSION_1, "n": 5,
        "nested": {"a": {"b": [1, "x"]}}, "$current_url": "https://a.io/1",
        "$set": {"email": "ann@a.io"}, "paid": True,
    }),
    _event(2, "$pageview", "bob", "2026-01-01T00:05:00.500Z", **{
        "$browser": "Firefox", "$session_id": SESSION_2, "empty": "",
        "$set": {"email": "bob@b.io"}, "when": "2026-01-05T10:00:00Z",
    }),
    _event(3, "signup", "ann", "2026-01-02T10:00:00.123456Z", plan="pro", n=7, **{
        "$session_id": SESSION_1, "$current_url": "https://a.io/2",
    }),
    _event(4, "signup", "bob", "2026-01-03T10:00:00Z", plan=None, paid=False),
]  # fmt: skip
