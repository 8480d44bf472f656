"""Lists and timelines of sessions, heatmaps, and what filters and lists of actors offer."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from .insight_events import NOW, ZONE, Event, Project, project
from .test_web_overview import SPAN, session_id, site

TODAY = datetime(2026, 3, 14, 9, tzinfo=ZONE)
ISSUE = "0195a000-0000-7000-8000-000000000001"


def minutes(event: str, person: str, /, *at: float, **properties: Any) -> list[Event]:
    """Events so many minutes after nine o'clock."""
    return [Event(event, person, TODAY + timedelta(minutes=one), properties) for one in at]


FORMAL = session_id(TODAY.astimezone(UTC), 1)


@cache
def day() -> Project:
    """Events of a day: some in a session, some not."""
    return Project([
        *minutes("x", "ann", 0, 10, 45),
        *minutes("$pageview", "ann", 46, 47, **{"$session_id": FORMAL, "kind": "a"}),
        *minutes("x", "ann", 48),
        *minutes("x", "bob", 5, tags=["red", "blue"], on=True, name="a%b", size=3),
        *minutes("x", "bob", 6, name='say "hi"', size=3, **{"$set": {"city": "Rome"}}),
        *minutes("x", "eve", 7, **{"$set": {"city": "Rome"}}),
        *minutes("x", "ann", 8, **{"$set": {"city": "Oslo"}}),
        *minutes("$exception", "eve", 1, 2, 3, 4, browser="A", **{"$exception_issue_id": ISSUE}),
        *minutes("$exception", "eve", 1, 2, browser="B", **{"$exception_issue_id": ISSUE}),
        *minutes("$exception", "bob", 9, **{"$exception_issue_id": ISSUE}),
    ])  # fmt: skip


def test_timelines() -> None:
    query = {"kind": "SessionsTimelineQuery", "personId": day().person_ids["ann"]}
    entries = day().body(query)["results"]
    shown = [
        (
            entry["sessionId"],
            [datetime.fromisoformat(one["timestamp"]).minute for one in entry["events"]],
        )
        for entry in entries
    ]
    # Without a session, events belong together for half an hour, and not across a session.
    assert shown == [(None, [48]), (FORMAL, [47, 46]), (None, [45]), (None, [10, 8, 0])]
    (one, *_) = entries[1]["events"]
    assert (one["event"], one["distinct_id"], one["properties"]["kind"]) == (
        "$pageview",
        "ann",
        "a",
    )
    everyone = day().body({"kind": "SessionsTimelineQuery", "before": TODAY.isoformat()})
    assert (everyone["results"], everyone["hasMore"]) == ([], False)


def test_lists_of_sessions() -> None:
    sessions: dict[str, list[Event]] = defaultdict(list)
    for event in site().events:
        sessions[event.properties["$session_id"]].append(event)
    recent = {key: events for key, events in sessions.items() if events[0].at.day >= 8}

    def rows(**query: Any) -> list[list[Any]]:
        body = site().body({"kind": "SessionsQuery", "after": "2026-03-08", "limit": 99, **query})
        return body["results"]

    listed = rows(select=["session_id", "$session_duration"], orderBy=["$session_duration DESC"])
    seconds = {key: int((events[-1].at - events[0].at).total_seconds())
               for key, events in recent.items()}  # fmt: skip
    assert dict(map(tuple, listed)) == seconds
    assert [row[1] for row in listed] == sorted(seconds.values(), reverse=True)
    bought = {key for key, events in recent.items() if any(one.name == "bought" for one in events)}
    assert {row[0] for row in rows(select=["session.session_id"], event="bought")} == bought
    long = {"key": "$session_duration", "type": "session", "operator": "gt", "value": 600}
    assert len(rows(select=["session_id"], properties=[long])) == sum(
        one > 600 for one in seconds.values()
    )
    of_one = rows(select=["distinct_id"], personId=site().person_ids["p1"])
    assert of_one == [["p1"]] * sum(events[0].person == "p1" for events in recent.values())
    (total,) = rows(select=["count()"], where=["$pageview_count > 1"])
    assert total == [
        sum(sum(one.name == "$pageview" for one in events) > 1 for events in recent.values())
    ]
    ((star,), *_) = rows(select=["*"], orderBy=["$start_timestamp"])
    first = min(recent.values(), key=lambda events: events[0].at)
    assert datetime.fromisoformat(star["$start_timestamp"]) == first[0].at
    assert star["$entry_current_url"] == "/"
    refused = site().refusal("SessionsQuery", select=["person.properties.email"])
    assert "person.properties.email" in refused


def cells(found: dict[str, Any]) -> dict[tuple[int, int], int]:
    return {(one["row"], one["column"]): one["value"] for one in found["data"]}


def test_heatmaps() -> None:
    series = {"kind": "EventsNode", "event": "a"}
    query = {"series": [series], "dateRange": SPAN}
    known = [one for one in project().events if one.name == "a" and 8 <= one.at.day <= 11]
    at = [(one.at.isoweekday(), one.at.hour) for one in known]
    found = project().results("CalendarHeatmapQuery", **query)
    assert cells(found) == Counter(at)
    rows = {one["row"]: one["value"] for one in found["rowAggregations"]}
    assert rows == Counter(weekday for weekday, _ in at)
    hours = {one["column"]: one["value"] for one in found["columnAggregations"]}
    assert hours == Counter(hour for _, hour in at)
    assert found["allAggregations"] == len(known)
    query["series"] = [{**series, "math": "dau"}]
    people: dict[tuple[int, int], set[str]] = defaultdict(set)
    for one in known:
        people[one.at.isoweekday(), one.at.hour].add(one.person)
    unique = project().results("CalendarHeatmapQuery", **query)
    assert cells(unique) == {cell: len(who) for cell, who in people.items()}
    assert unique["allAggregations"] == len({one.person for one in known})
    # Counted at the start of their sessions, which here are days of a person.
    starts: dict[tuple[int, int], set[str]] = defaultdict(set)
    seen: set[str] = set()
    for one in project().events:
        if one.name == "a" and one.properties["$session_id"] not in seen:
            seen.add(one.properties["$session_id"])
            if one in known:
                starts[one.at.isoweekday(), one.at.hour].add(one.person)
    begun = project().results(
        "CalendarHeatmapQuery", calendarHeatmapFilter={"bucketBySessionStart": True}, **query
    )
    assert cells(begun) == {cell: len(who) for cell, who in starts.items()}
    goal = project().results("CalendarHeatmapQuery", conversionGoal={"actionId": 5}, **query)
    assert goal["allAggregations"] == len(
        {one.person for one in project().events if one.name in "ab" and 8 <= one.at.day <= 11}
    )


def options(source: dict[str, Any]) -> dict[str, Any]:
    point = {"kind": "InsightActorsQuery", "source": {"dateRange": SPAN, **source}}
    return project().body({"kind": "InsightActorsQueryOptions", "source": point})


def test_options_of_actors() -> None:
    series = [{"kind": "EventsNode", "event": "a"}, {"kind": "ActionsNode", "id": 5}]
    trends = {"kind": "TrendsQuery", "series": series}
    found = options({**trends, "compareFilter": {"compare": True}})
    assert [one["label"] for one in found["day"]] == [f"{day}-Mar-2026" for day in range(8, 12)]
    # The clocks go forward on the first of these days.
    assert found["day"][1]["value"] == "2026-03-09T00:00:00-04:00"
    assert found["series"] == [{"label": "a", "value": 0}, {"label": "either", "value": 1}]
    assert [one["value"] for one in found["compare"]] == ["current", "previous"]
    assert (found["breakdown"], found["status"], found["interval"]) == (None, None, None)
    plans = options({**trends, "breakdownFilter": {"breakdown": "plan"}})["breakdown"]
    assert {one["value"]: one["label"] for one in plans} == {
        **{one: one for one in "xyz"}, "$$_posthog_breakdown_null_$$": "None (i.e. no value)",
    }  # fmt: skip
    few = options({**trends, "breakdownFilter": {"breakdown": "plan", "breakdown_limit": 1}})
    assert few["breakdown"][-1]["label"] == "Other (i.e. all remaining values)"
    two = [{"property": "plan"}, {"property": "nothing"}]
    several = options({**trends, "breakdownFilter": {"breakdowns": two}})["breakdowns"]
    assert [len(one["values"]) for one in several] == [4, 1]
    cohorts = {"breakdown_type": "cohort", "breakdown": [7, "all"]}
    assert options({**trends, "breakdownFilter": cohorts})["breakdown"] == [
        {"label": "first three", "value": 7}, {"label": "all users", "value": "all"},
    ]  # fmt: skip
    bins = {"breakdown": "n", "breakdown_histogram_bin_count": 2}
    assert options({**trends, "breakdownFilter": bins})["breakdown"][-1]["value"] == '["",""]'
    assert options({**trends, "trendsFilter": {"display": "BoldNumber"}})["day"] is None
    lifecycle = options({"kind": "LifecycleQuery", "series": series[:1]})
    assert [one["value"] for one in lifecycle["status"]] == [
        "dormant", "new", "resurrecting", "returning"
    ]  # fmt: skip
    assert set(options({"kind": "PathsQuery"}).values()) == {None}


def offered(kind: str, key: str, **more: Any) -> list[Any]:
    query = {"property_type": kind, "property_key": key, **more}
    return day().results("PropertyValuesQuery", **query)


def test_values_of_properties() -> None:
    names = [one["name"] for one in offered("event", "name")]
    assert names == ["a%b", 'say "hi"']
    assert offered("event", "name", search_value="%") == [{"name": "a%b"}]
    assert offered("event", "tags") == [{"name": "red"}, {"name": "blue"}]
    assert offered("event", "on") == [{"name": "true"}]
    assert offered("event", "size") == [{"name": 3}]
    assert offered("event", "name", event_names=["$pageview"]) == []
    events = offered("event", "event", is_column=True, search_value="$")
    assert events == [{"name": "$pageview"}, {"name": "$exception"}]
    assert offered("person", "city") == [{"name": "Rome", "count": 2}, {"name": "Oslo", "count": 1}]
    assert offered("person", "city", search_value="os") == [{"name": "Oslo", "count": 1}]


def test_breakdowns_of_an_issue() -> None:
    query = {"issueId": ISSUE.upper(), "breakdownProperties": ["browser", "none"],
             "maxValuesPerProperty": 2}  # fmt: skip
    nothing = "$$_posthog_breakdown_null_$$"
    assert day().results("ErrorTrackingBreakdownsQuery", **query) == {
        "browser": {"values": [{"value": "A", "count": 4}, {"value": "B", "count": 2}],
                    "total_count": 7},
        "none": {"values": [{"value": nothing, "count": 7}], "total_count": 7},
    }  # fmt: skip
    past = {"dateRange": {"date_to": (NOW - timedelta(days=1)).isoformat()}}
    assert day().results("ErrorTrackingBreakdownsQuery", **query, **past) == {}
