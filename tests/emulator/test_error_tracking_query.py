"""ErrorTrackingQuery, against the same exceptions in plain Python."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

from .insight_events import NOW, ZONE, Event, Project

ISSUES = [f"0195a000-0000-7000-8000-00000000000{n}" for n in range(3)]
TYPES = ["ValueError", "KeyError", "TimeoutError"]
FIRST = datetime(2026, 3, 1, tzinfo=ZONE)
LAST = FIRST + timedelta(days=4)
QUERY: dict[str, Any] = {
    "orderBy": "occurrences",
    "volumeResolution": 8,
    "dateRange": {"date_from": FIRST.isoformat(), "date_to": LAST.isoformat()},
}


@cache
def project() -> Project:
    rng, events = random.Random(5), list[Event]()
    for _ in range(120):
        number = min(rng.randrange(3), rng.randrange(3))
        at = FIRST + timedelta(seconds=rng.randrange(6 * 86_400))
        more = {
            "$exception_issue_id": ISSUES[number],
            "$exception_types": [TYPES[number]],
            "$exception_values": [f"it failed {number}"],
            "$session_id": rng.choice(["s1", "s2", "s3", ""]),
            "$lib": "web",
        }
        events.append(Event("$exception", f"p{rng.randrange(5)}", at, more))
    return Project([*events, Event("$exception", "p1", FIRST), Event("a", "p1", FIRST)])


def within() -> dict[str, list[Event]]:
    """The exceptions in the time range, by issue."""
    found: dict[str, list[Event]] = defaultdict(list)
    for one in project().events:
        issue = one.properties.get("$exception_issue_id")
        if issue and FIRST <= one.at <= LAST:
            found[issue].append(one)
    return found


def ids(**query: Any) -> list[str]:
    items = project().results("ErrorTrackingQuery", **{**QUERY, **query})
    return [item["id"] for item in items]


def test_issues_are_counted() -> None:
    items = project().results("ErrorTrackingQuery", **QUERY)
    assert len(items) == 3
    for item in items:
        events = within()[item["id"]]
        volume = [0] * 8
        for one in events:
            volume[int((one.at - FIRST) / timedelta(hours=12))] += 1
        totals = item["aggregations"]
        assert totals["occurrences"] == len(events)
        assert totals["users"] == len({one.person for one in events})
        assert totals["sessions"] == len({one.properties["$session_id"] for one in events} - {""})
        assert totals["volumeRange"] == volume
        assert [one["value"] for one in totals["volume_buckets"]] == volume
        assert totals["volume_buckets"][1]["label"] == "2026-03-01T12:00:00-05:00"
        assert datetime.fromisoformat(item["first_seen"]) == min(one.at for one in events)
        assert datetime.fromisoformat(item["last_seen"]) == max(one.at for one in events)
        number = ISSUES.index(item["id"])
        assert (item["name"], item["description"]) == (TYPES[number], f"it failed {number}")
        assert (item["status"], item["library"]) == ("active", "web")


def test_issues_are_sorted_and_paged() -> None:
    def ranked(key: Callable[[list[Event]], Any]) -> list[str]:
        return sorted(within(), key=lambda issue: key(within()[issue]), reverse=True)

    by_count = ranked(len)
    assert ids() == by_count
    assert ids(orderDirection="ASC") == by_count[::-1]
    assert ids(orderBy="last_seen") == ranked(lambda events: max(one.at for one in events))
    newest = ranked(lambda events: min(one.at for one in events))
    assert ids(orderBy="first_seen") == newest[::-1]
    assert ids(orderBy="first_seen", orderDirection="DESC") == newest
    body = project().body({"kind": "ErrorTrackingQuery", **QUERY, "limit": 1, "offset": 1})
    assert [item["id"] for item in body["results"]] == by_count[1:2]
    assert body["hasMore"] is True


def test_issues_are_filtered() -> None:
    assert ids(searchQuery="FAILED keyerror") == [ISSUES[1]]
    assert ids(searchQuery="valueerror keyerror") == []
    assert ids(issueId=ISSUES[2]) == [ISSUES[2]]
    assert ids(status="resolved") == []
    group = {"type": "AND", "values": [{"type": "AND", "values": [
        {"key": "$exception_types", "type": "event", "operator": "icontains", "value": "Timeout"}
    ]}]}  # fmt: skip
    assert set(ids(filterGroup=group)) == {ISSUES[2]}


def test_first_and_last_events_are_included_when_asked_for() -> None:
    (item,) = project().results(
        "ErrorTrackingQuery", **QUERY, issueId=ISSUES[0], withFirstEvent=True, withLastEvent=True,
        withAggregations=False,
    )  # fmt: skip
    events = sorted(within()[ISSUES[0]], key=lambda one: one.at)
    assert item["first_event"]["distinct_id"] == events[0].person
    assert item["last_event"]["distinct_id"] == events[-1].person
    assert item["aggregations"] is None


def test_what_is_not_computed_is_named() -> None:
    assert "groupKey" in project().refusal("ErrorTrackingQuery", **QUERY, groupKey="o1")


@pytest.mark.anyio
async def test_an_issue_of_the_project_has_its_own_name_and_status(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    emulator = Emulator()
    at = datetime.now(ZONE)
    emulator.state.events.append(1, [
        {"event": "$exception", "distinct_id": "p1", "timestamp": at.isoformat(),
         "properties": {"$exception_issue_id": issue, "$exception_types": ["ValueError"]}}
        for issue in ISSUES[:2]
    ])  # fmt: skip
    emulator.state.store.put(
        "/api/projects/1/error_tracking/issues/",
        ISSUES[0],
        {"id": ISSUES[0], "name": "Checkout", "status": "resolved"},
    )
    query = {**QUERY, "kind": "ErrorTrackingQuery", "dateRange": {"date_from": "all"}}
    async with connect(emulator) as http:
        names: dict[str, list[str]] = {}
        for status in ("all", "active", "resolved"):
            body = {"query": {**query, "status": status}}
            answer = await http.post("/api/projects/1/query/", json=body)
            names[status] = sorted(item["name"] for item in answer.json()["results"])
    assert names == {
        "all": ["Checkout", "ValueError"], "active": ["ValueError"], "resolved": ["Checkout"],
    }  # fmt: skip


def test_values_of_properties_of_an_issue() -> None:
    query = {"issueId": ISSUES[0], "dateRange": QUERY["dateRange"],
             "breakdownProperties": ["$session_id", "$lib", "nothing"]}  # fmt: skip
    found = project().results("ErrorTrackingBreakdownsQuery", **query, maxValuesPerProperty=2)
    events = within()[ISSUES[0]]
    visits = Counter(one.properties["$session_id"] for one in events)
    first = sorted(visits.items(), key=lambda item: (-item[1], item[0]))[:2]
    assert found["$session_id"] == {
        "values": [{"value": value, "count": count} for value, count in first],
        "total_count": len(events),
    }
    everything = {"total_count": len(events)}
    assert found["$lib"] == {"values": [{"value": "web", "count": len(events)}], **everything}
    nothing = {"value": "$$_posthog_breakdown_null_$$", "count": len(events)}
    assert found["nothing"] == {"values": [nothing], **everything}


def test_issues_that_come_before_an_event() -> None:
    # In each session: the minutes of the exceptions of the first issue, and of the event.
    sessions = [
        ([1], [2]), ([1], [3]), ([5], [2]), ([], [4]), ([], [1]), ([3], []), ([], []), ([], [])
    ]  # fmt: skip
    events: list[Event] = []
    for number, (errors, successes) in enumerate(sessions):
        visit = {"$session_id": f"v{number}"}
        start = NOW.astimezone(ZONE) - timedelta(hours=1)
        error = {**visit, "$exception_issue_id": ISSUES[0], "$exception_types": ["ValueError"]}
        named = [("view", visit, [0]), ("$exception", error, errors), ("paid", visit, successes)]
        events += [
            Event(name, "p1", start + timedelta(minutes=minute), given)
            for name, given, minutes in named
            for minute in minutes
        ]
    old = NOW.astimezone(ZONE) - timedelta(hours=7)
    events.append(Event("paid", "p1", old, {"$session_id": "before"}))
    body = Project(events).body(
        {"kind": "ErrorTrackingIssueCorrelationQuery", "events": ["paid", "view", "unknown"]}
    )
    # Every session has a view: nothing can be said of it.
    (item,) = body["results"]
    assert (item["id"], item["event"], item["name"]) == (ISSUES[0], "paid", "ValueError")
    assert item["population"] == {"both": 2, "success_only": 2, "exception_only": 1, "neither": 2}
    assert item["odds_ratio"] == 2.0
    assert "aggregations" not in item
