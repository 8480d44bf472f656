"""WebOverviewQuery, against the same sessions in plain Python."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import pytest

from .insight_events import ZONE, Event, Project

SPAN = {"date_from": "2026-03-08", "date_to": "2026-03-11"}
FIRST = datetime(2026, 3, 1, tzinfo=ZONE)


def session_id(at: datetime, number: int) -> str:
    """A UUID of version 7, as SDKs make them for sessions."""
    bits = (int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | number
    return str(UUID(int=bits))


@cache
def site() -> Project:
    """Sessions of two weeks: page views, then perhaps a purchase."""
    rng, events = random.Random(3), list[Event]()
    for number in range(60):
        at = FIRST + timedelta(minutes=rng.randrange(13 * 1440))
        more = {"$session_id": session_id(at.astimezone(UTC), number), "$current_url": "/"}
        person = f"p{rng.randrange(9)}"
        for _ in range(rng.choice([1, 1, 2, 5])):
            events.append(Event("$pageview", person, at, more))
            at += timedelta(seconds=rng.randrange(1, 900))
        if rng.random() < 0.4:
            events.append(Event("bought", person, at, more))
    return Project(events)


def sessions(first: int, last: int) -> list[list[Event]]:
    """The sessions that start on days of March."""
    found: dict[str, list[Event]] = {}
    for one in site().events:
        found.setdefault(one.properties["$session_id"], []).append(one)
    return [events for events in found.values() if first <= events[0].at.day <= last]


def overview(**query: Any) -> dict[str, dict[str, Any]]:
    items = site().results("WebOverviewQuery", properties=[], dateRange=SPAN, **query)
    return {item["key"]: item for item in items}


def expected(first: int, last: int) -> list[float]:
    known = sessions(first, last)
    views = [sum(one.name == "$pageview" for one in events) for events in known]
    seconds = [(events[-1].at - events[0].at).total_seconds() for events in known]
    # A bounce is a session of one view and less than ten seconds.
    bounced = [views[n] == 1 and seconds[n] < 10 for n in range(len(known))]
    return [len({events[0].person for events in known}), sum(views), len(known),
            sum(seconds) / len(known), 100 * sum(bounced) / len(known)]  # fmt: skip


def test_visitors_views_and_sessions_of_two_periods() -> None:
    found = overview(compareFilter={"compare": True})
    keys = ["visitors", "views", "sessions", "session duration", "bounce rate"]
    assert [found[key]["value"] for key in keys] == pytest.approx(expected(8, 11))
    assert [found[key]["previous"] for key in keys] == pytest.approx(expected(4, 7))
    value, before = found["views"]["value"], found["views"]["previous"]
    assert found["views"]["changeFromPreviousPct"] == round(100 * (value - before) / before)
    assert list(found) == keys
    assert found["bounce rate"]["isIncreaseBad"] is True


def test_without_a_comparison_nothing_is_previous() -> None:
    assert {item["previous"] for item in overview().values()} == {None}


def test_conversions() -> None:
    found = overview(conversionGoal={"customEventName": "bought"})
    known = sessions(8, 11)
    people = {events[0].person for events in known}
    bought = [one.person for events in known for one in events if one.name == "bought"]
    assert {key: item["value"] for key, item in found.items()} == pytest.approx({
        "visitors": len(people),
        "total conversions": len(bought),
        "unique conversions": len(set(bought)),
        "conversion rate": 100 * len(set(bought)) / len(people),
    })  # fmt: skip


def test_what_is_not_computed_is_named() -> None:
    refused = site().refusal("WebOverviewQuery", properties=[], includeRevenue=True)
    assert "includeRevenue" in refused
    gone = site().refusal("WebOverviewQuery", properties=[], conversionGoal={"actionId": 99})
    assert gone == "Action ID 99 does not exist!"
