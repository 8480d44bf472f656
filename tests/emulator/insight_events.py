"""Generated events of a small project, and insights computed of them without any HTTP."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from posthog_emulator.event_store.store import EventStore
from posthog_emulator.features.query.dispatch import compute
from posthog_emulator.features.query.insights import INSIGHT_ACTORS
from posthog_emulator.features.query.runner import QuerySession, run_rows
from posthog_emulator.hogql.context import Action, Cohort
from posthog_emulator.http.errors import ApiError

ZONE = ZoneInfo("America/New_York")
NOW = datetime(2026, 3, 14, 16, 30, tzinfo=UTC)
"""Six days after the clocks went forward in New York."""
A: dict[str, Any] = {"kind": "EventsNode", "event": "a"}
B: dict[str, Any] = {"kind": "EventsNode", "event": "b"}


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was captured."""

    name: str
    person: str
    at: datetime
    """In the time zone of the project."""
    properties: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def day(self) -> str:
        """The day in the project's time zone."""
        return self.at.strftime("%Y-%m-%d")


def generated(count: int = 400, people: int = 9, seed: int = 7) -> list[Event]:
    """Random events of the 26 days before now, in order."""
    rng = random.Random(seed)
    events: list[Event] = []
    for number in range(count):
        at = NOW - timedelta(seconds=rng.randrange(26 * 86_400))
        properties: dict[str, Any] = {"n": number % 17}
        plan = rng.choice(["x", "y", "z", "", None])
        if plan is not None:
            properties["plan"] = plan
        if rng.random() < 0.8:
            properties["$groups"] = {"org": f"o{rng.randrange(4)}"}
        person = f"p{min(rng.randrange(people), rng.randrange(people))}"
        properties["$session_id"] = f"s{person}{at.day}"
        events.append(Event(rng.choice("aaabbc"), person, at.astimezone(ZONE), properties))
    return sorted(events, key=lambda event: event.at)


class Project:
    """A project with events."""

    def __init__(self, events: list[Event], timezone: str = "America/New_York") -> None:
        self.events = events
        self.store = EventStore(clock=lambda: NOW)
        self.store.append(
            1,
            [
                {"event": one.name, "distinct_id": one.person, "timestamp": one.at.isoformat(),
                 "properties": one.properties}
                for one in events
            ],
        )  # fmt: skip
        self.session = QuerySession(
            team_id=1,
            now=NOW,
            store=lambda: self.store,
            timezone=timezone,
            week_start_day=1,
            group_types={0: "org"},
            actions={5: Action("either", [{"event": "a"}, {"event": "b"}])},
            cohorts={7: Cohort("first three"), 8: Cohort("nobody")},
        )
        rows = self.store.read("SELECT DISTINCT distinct_id, toString(person_id) FROM events")
        self.person_ids = {str(name): str(uuid) for name, uuid in rows}
        for name in ("p0", "p1", "p2"):
            if name in self.person_ids:
                self.store.write(
                    "INSERT INTO cohortpeople (team_id, cohort_id, person_id, sign, version) "
                    "VALUES (1, 7, ?, 1, 1)",
                    [self.person_ids[name]],
                )

    def body(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """The response to a query."""
        return json.loads(compute(self.session, query).body({}))

    def results(self, kind: str, **fields: Any) -> Any:
        """The results of a query."""
        return self.body({"kind": kind, **fields})["results"]

    def trends(self, *series: Mapping[str, Any], **fields: Any) -> list[dict[str, Any]]:
        """The results of a TrendsQuery."""
        return self.results("TrendsQuery", series=list(series), **fields)

    def refusal(self, kind: str, **fields: Any) -> str:
        """What is said to a query that is refused."""
        with pytest.raises(ApiError) as raised:
            self.results(kind, **fields)
        assert raised.value.status == 400
        return str(raised.value.detail)

    def actors(self, point: Mapping[str, Any], kind: str, **fields: Any) -> set[str]:
        """The distinct ids of the persons behind a data point."""
        found = INSIGHT_ACTORS[kind](self.session, {"kind": kind, **fields}, point)
        rows = run_rows(self.session, found.sql, found.values)
        names = {uuid: name for name, uuid in self.person_ids.items()}
        return {names.get(str(row[0]), str(row[0])) for row in rows}


@cache
def project() -> Project:
    """The project of `generated` events."""
    return Project(generated())
