"""A small event store, and HogQL asked of it without any HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from posthog_emulator.event_store.store import EventStore
from posthog_emulator.features.query.result import Result
from posthog_emulator.features.query.runner import QuerySession, run_hogql
from posthog_emulator.http.errors import ApiError

NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)


def uuid(number: int) -> str:
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
        "$browser": "Chrome", "$session_id": "s1", "n": 5, "nested": {"a": {"b": [1, "x"]}},
        "$current_url": "https://a.io/1", "$set": {"email": "ann@a.io"}, "paid": True,
    }),
    _event(2, "$pageview", "bob", "2026-01-01T00:05:00.500Z", **{
        "$browser": "Firefox", "$session_id": "s2", "empty": "",
        "$set": {"email": "bob@b.io"}, "when": "2026-01-05T10:00:00Z",
    }),
    _event(3, "signup", "ann", "2026-01-02T10:00:00.123456Z", plan="pro", n=7, **{
        "$session_id": "s1", "$current_url": "https://a.io/2",
    }),
    _event(4, "signup", "bob", "2026-01-03T10:00:00Z", plan=None, paid=False),
]  # fmt: skip


def store() -> EventStore:
    """Four events of two persons in project 1, and one of another project."""
    made = EventStore(clock=lambda: NOW)
    made.append(1, EVENTS)
    made.append(2, [_event(9, "secret", "eve", "2026-01-01T00:00:00Z")])
    made.write(
        "INSERT INTO cohort_people SELECT 1, 7, person_id FROM person_distinct_ids "
        "WHERE team_id = 1 AND distinct_id = 'ann'"
    )
    return made


class HogQLTester:
    """Asks queries of project 1."""

    def __init__(self) -> None:
        self.store = store()
        self.allow_offset = True

    def whole(self, sql: str, values: Mapping[str, Any] | None = None) -> Result:
        """The answer to a query."""
        session = QuerySession(
            team_id=1,
            now=NOW,
            store=lambda: self.store,
            cohorts={7: "vip"},
            stubs=[],
            allow_offset=self.allow_offset,
        )
        return run_hogql(session, sql, values or {})

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[list[Any]]:
        """The rows of a query."""
        found: list[list[Any]] = json.loads(self.whole(sql, values).rows)
        return found

    def one(self, expression: str, values: Mapping[str, Any] | None = None) -> Any:
        """The value of an expression that speaks of no table."""
        return self.rows(f"SELECT {expression}", values)[0][0]

    def types(self, sql: str) -> list[str]:
        """The types of a query's columns."""
        return [kind for _, kind in self.whole(sql).head["types"]]

    def columns(self, sql: str) -> list[str]:
        """The names of a query's columns."""
        return list(self.whole(sql).head["columns"])

    def refusal(self, sql: str, values: Mapping[str, Any] | None = None) -> ApiError:
        """What is said to a query that is refused."""
        try:
            self.whole(sql, values)
        except ApiError as problem:
            return problem
        raise AssertionError(f"not refused: {sql}")
