"""Trends, against counts of the same events in plain Python."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from .insight_events import NOW, ZONE, A, B, Event, Project, generated, project

SPAN = {"date_from": "2026-03-01", "date_to": "2026-03-12"}
DAYS = [f"2026-03-{day:02}" for day in range(1, 13)]
LAST = datetime(2026, 3, 12, 23, 59, 59, tzinfo=ZONE)


def within(events: Iterable[Event], name: str = "a") -> list[Event]:
    return [one for one in events if one.name == name and DAYS[0] <= one.day <= DAYS[-1]]


def by_day(events: Iterable[Event], count: Callable[[list[Event]], float]) -> list[float]:
    held: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        held[event.day].append(event)
    return [count(held[day]) if held[day] else 0 for day in DAYS]


def quantile(numbers: Sequence[float], share: float) -> float:
    """ClickHouse's: between the two nearest ranks."""
    numbers = sorted(numbers)
    place = share * (len(numbers) - 1)
    low = int(place)
    high = min(low + 1, len(numbers) - 1)
    return numbers[low] + (numbers[high] - numbers[low]) * (place - low)


def of_numbers(f: Callable[[list[float]], float]) -> Callable[[list[Event]], float]:
    return lambda events: f([float(one.properties["n"]) for one in events])


def per_actor(f: Callable[[list[float]], float]) -> Callable[[list[Event]], float]:
    return lambda events: f([float(n) for n in Counter(one.person for one in events).values()])


def orgs(events: Iterable[Event]) -> set[str]:
    return {one.properties["$groups"]["org"] for one in events if "$groups" in one.properties}


MATHS: dict[str, Callable[[list[Event]], float]] = {
    "total": len,
    "dau": lambda events: len({one.person for one in events}),
    "unique_session": lambda events: len({one.properties["$session_id"] for one in events}),
    "unique_group": lambda events: len(orgs(events)),
    "hogql": lambda events: 2 * len(events),
    "sum": of_numbers(sum),
    "avg": of_numbers(statistics.mean),
    "min": of_numbers(min),
    "max": of_numbers(max),
    "median": of_numbers(statistics.median),
    "p75": of_numbers(lambda numbers: quantile(numbers, 0.75)),
    "p99": of_numbers(lambda numbers: quantile(numbers, 0.99)),
    "avg_count_per_actor": per_actor(statistics.mean),
    "max_count_per_actor": per_actor(max),
    "median_count_per_actor": per_actor(statistics.median),
    "p90_count_per_actor": per_actor(lambda numbers: quantile(numbers, 0.9)),
}
MORE: dict[str, Any] = {
    "math_property": "n",
    "math_hogql": "count() * 2",
    "math_group_type_index": 0,
}


@pytest.mark.parametrize("math", MATHS)
def test_maths_by_day_and_in_total(math: str) -> None:
    node, wanted = {**A, **MORE, "math": math}, within(project().events)
    (found,) = project().trends(node, dateRange=SPAN)
    assert found["days"] == DAYS
    assert found["data"] == pytest.approx(by_day(wanted, MATHS[math]))
    assert found["count"] == pytest.approx(sum(found["data"]))
    (total,) = project().trends(node, dateRange=SPAN, trendsFilter={"display": "BoldNumber"})
    assert total["aggregated_value"] == pytest.approx(MATHS[math](wanted))
    assert (total["data"], total["count"]) == ([], 0)


@pytest.mark.parametrize(("math", "days"), [("weekly_active", 7), ("monthly_active", 30)])
def test_active_users(math: str, days: int) -> None:
    (found,) = project().trends({**A, "math": math}, dateRange=SPAN)
    wanted: list[int] = []
    for day in DAYS:
        start = datetime.fromisoformat(day).replace(tzinfo=ZONE)
        first, last = start - timedelta(days=days - 1), start + timedelta(days=1)
        active = [one for one in project().events if one.name == "a" and first < one.at <= last]
        wanted.append(len({one.person for one in active}))
    assert found["data"] == wanted
    (total,) = project().trends(
        {**A, "math": math}, dateRange=SPAN, trendsFilter={"display": "ActionsTable"}
    )
    active = [
        one for one in project().events
        if one.name == "a" and LAST - timedelta(days=days) <= one.at <= LAST
    ]  # fmt: skip
    assert total["aggregated_value"] == len({one.person for one in active})


def test_first_times() -> None:
    plans = [{"key": "plan", "value": "x", "operator": "exact", "type": "event"}]
    events = [one for one in project().events if one.name == "a"]
    first: dict[str, Event] = {}
    matching: dict[str, Event] = {}
    for event in events:
        first.setdefault(event.person, event)
        if event.properties.get("plan") == "x":
            matching.setdefault(event.person, event)
    early = {"date_from": "2026-02-16", "date_to": "2026-03-12"}
    for math, wanted in (
        (
            "first_time_for_user",
            [one for one in first.values() if one.properties.get("plan") == "x"],
        ),
        ("first_matching_event_for_user", list(matching.values())),
    ):
        (found,) = project().trends({**A, "math": math, "properties": plans}, dateRange=early)
        days = Counter(one.day for one in wanted if one.day <= DAYS[-1])
        assert dict(zip(found["days"], found["data"], strict=True)) == {
            day: days.get(day, 0) for day in found["days"]
        }
        assert sum(found["data"]) > 0
        (late,) = project().trends({**A, "math": math, "properties": plans}, dateRange=SPAN)
        assert late["count"] == sum(one.day in DAYS for one in wanted)


def test_intervals_across_a_change_of_the_clocks() -> None:
    events = [one for one in project().events if one.name == "a"]
    span = {"date_from": "2026-03-07", "date_to": "2026-03-09T23:00:00"}
    (hours,) = project().trends(A, dateRange=span, interval="hour")
    wanted = Counter(one.at.strftime("%Y-%m-%d %H:00:00") for one in events)
    assert len(hours["days"]) == 24 + 23 + 24
    assert "2026-03-08 02:00:00" not in hours["days"]
    assert hours["data"] == [
        0 if day == "2026-03-09 23:00:00" else wanted[day] for day in hours["days"]
    ]
    # Weeks begin on Mondays in this project; the first one is partial.
    (weeks,) = project().trends(A, dateRange=SPAN, interval="week")
    assert weeks["days"] == ["2026-02-23", "2026-03-02", "2026-03-09"]
    starts = Counter((one.at - timedelta(days=one.at.weekday())).strftime("%Y-%m-%d")
                     for one in within(events))  # fmt: skip
    assert weeks["data"] == [starts[day] for day in weeks["days"]]
    # A month is counted from its start.
    (month,) = project().trends(A, dateRange={"date_from": "2026-03-05"}, interval="month")
    assert month["data"] == [sum(one.at.month == 3 for one in events)]


def test_the_last_second_of_a_range_counts_as_a_whole() -> None:
    at = datetime(2026, 3, 12, 23, 59, 59, tzinfo=ZONE)
    small = Project([Event("a", "p0", at), Event("a", "p0", at.replace(microsecond=500_000))])
    (found,) = small.trends(A, dateRange=SPAN)
    assert found["count"] == 1


def test_smoothing_and_running_totals() -> None:
    data = by_day(within(project().events), len)
    (smooth,) = project().trends(A, dateRange=SPAN, trendsFilter={"smoothingIntervals": 3})
    wanted = [sum(data[max(0, n - 2) : n + 1]) // len(data[max(0, n - 2) : n + 1])
              for n in range(len(data))]  # fmt: skip
    assert smooth["data"] == wanted
    running = {"display": "ActionsLineGraphCumulative"}
    (found,) = project().trends(A, dateRange=SPAN, trendsFilter=running)
    assert found["data"] == [sum(data[: n + 1]) for n in range(len(data))]
    assert found["count"] == found["data"][-1]
    (people,) = project().trends({**A, "math": "dau"}, dateRange=SPAN, trendsFilter=running)
    assert people["data"] == [
        len({one.person for one in within(project().events) if one.day <= day}) for day in DAYS
    ]


NOTHING, OTHER = "$$_posthog_breakdown_null_$$", "$$_posthog_breakdown_other_$$"


def test_a_breakdown_with_a_limit() -> None:
    counts = Counter(one.properties.get("plan") or NOTHING for one in within(project().events))
    found = project().trends(A, dateRange=SPAN, breakdownFilter={"breakdown": "plan"})
    named = sorted((one for one in counts if one != NOTHING), key=lambda one: (-counts[one], one))
    assert [one["breakdown_value"] for one in found] == [*named, NOTHING]
    assert {one["breakdown_value"]: one["count"] for one in found} == counts
    limited = {"breakdown": "plan", "breakdown_limit": 2}
    body = project().body(
        {"kind": "TrendsQuery", "series": [A, B], "dateRange": SPAN, "breakdownFilter": limited}
    )
    found = [one for one in body["results"] if one["action"]["order"] == 0]
    rest = sum(counts[one] for one in [*named[2:], NOTHING])
    assert [one["breakdown_value"] for one in found] == [*named[:2], OTHER]
    assert (found[2]["count"], body["hasMore"]) == (rest, True)
    assert found[0]["label"] == f"a - {named[0]}"
    hidden = {**limited, "breakdown_hide_other_aggregation": True}
    assert len(project().trends(A, dateRange=SPAN, breakdownFilter=hidden)) == 2


def test_breakdowns_of_all_kinds() -> None:
    events = within(project().events)

    def counts(**given: Any) -> dict[Any, float]:
        found = project().trends(A, dateRange=SPAN, breakdownFilter=given)
        return {str(one["breakdown_value"]): one["count"] for one in found}

    def wanted(value: Callable[[Event], Any]) -> dict[str, int]:
        return dict(Counter(str(value(one)) for one in events))

    pairs = [{"property": "plan"}, {"property": "distinct_id", "type": "event_metadata"}]
    assert counts(breakdowns=pairs, breakdown_limit=100) == wanted(
        lambda one: [one.properties.get("plan") or NOTHING, one.person]
    )
    parity = {"breakdown": "toInt(properties.n) % 2", "breakdown_type": "hogql"}
    assert counts(**parity) == wanted(lambda one: one.properties["n"] % 2)
    bins = counts(breakdown="n", breakdown_histogram_bin_count=4)
    assert bins == wanted(
        lambda one: (
            f"[{4.0 * min(3, one.properties['n'] // 4)},"
            f"{16.01 if one.properties['n'] >= 12 else 4.0 * (one.properties['n'] // 4 + 1)}]"
        )
    )
    cohorts = counts(breakdown=[7, "all"], breakdown_type="cohort")
    few = sum(one.person in {"p0", "p1", "p2"} for one in events)
    assert cohorts == {"7": few, "all": len(events)}


def test_addresses_are_normalized() -> None:
    at = datetime(2026, 3, 12, 12, tzinfo=ZONE)
    urls = ["http://x/a/", "http://x/a?", "http://x/a", "/", "?"]
    small = Project([Event("a", "p0", at, {"url": url}) for url in urls])
    given = {"breakdown": "url", "breakdown_normalize_url": True}
    found = small.trends(A, dateRange=SPAN, breakdownFilter=given)
    assert {one["breakdown_value"]: one["count"] for one in found} == {"http://x/a": 3, "/": 2}


def test_formulas() -> None:
    a, b = (by_day(within(project().events, name), len) for name in "ab")
    formulas = [
        ("A + B", [x + y for x, y in zip(a, b, strict=True)]),
        ("a / (B - b)", [0] * len(a)),
        ("-A * 2.5 + 1", [1 - 2.5 * x for x in a]),
        ("B / A * 100", [y / x * 100 if x else 0 for x, y in zip(a, b, strict=True)]),
    ]
    found = project().trends(
        A, B, dateRange=SPAN, trendsFilter={"formulas": [text for text, _ in formulas]}
    )
    for one, (text, data) in zip(found, formulas, strict=True):
        assert one["label"] == f"Formula ({text})"
        assert (one["data"], one["action"]) == (pytest.approx(data), None)
    node = {"formula": "A", "custom_name": "all of a"}
    broken = {"breakdown": "plan"}
    found = project().trends(
        A, B, dateRange=SPAN, trendsFilter={"formulaNodes": [node]}, breakdownFilter=broken
    )
    plain = project().trends(A, dateRange=SPAN, breakdownFilter=broken)
    assert [one["data"] for one in found] == [one["data"] for one in plain]
    for text in ("A +", "C", "A.b", "__import__('os')", "A if B else A", "9**9**9**9 + A + D"):
        assert "is no formula" in project().refusal(
            "TrendsQuery", series=[A, B], trendsFilter={"formula": text}
        )


def test_a_comparison_with_the_days_before() -> None:
    counts = Counter(one.day for one in project().events if one.name == "a")
    compared = project().trends(A, dateRange={"date_from": "-7d"}, compareFilter={"compare": True})
    current, previous = compared
    assert (current["compare_label"], previous["compare_label"]) == ("current", "previous")
    assert (current["days"][0], current["days"][-1]) == ("2026-03-07", "2026-03-14")
    # Whole weeks are compared by their days.
    assert (previous["days"][0], previous["days"][-1]) == ("2026-02-28", "2026-03-07")
    for one in compared:
        assert one["data"] == [counts[day] for day in one["days"]]
    month = {"compare": True, "compare_to": "-2w"}
    _, before = project().trends(A, dateRange=SPAN, compareFilter=month)
    assert (before["days"][0], before["days"][-1]) == ("2026-02-15", "2026-02-26")


def test_actions_groups_of_nodes_and_filters() -> None:
    events = project().events
    action = {"kind": "ActionsNode", "id": 5}
    either = sum(one.name in "ab" and one.day in DAYS for one in events)
    (found,) = project().trends(action, dateRange=SPAN)
    assert (found["count"], found["label"]) == (either, "either")
    (gone,) = project().trends({"kind": "ActionsNode", "id": 6}, A, dateRange=SPAN)
    assert gone["label"] == "a"
    node = {"kind": "GroupNode", "operator": "OR", "nodes": [A, {**B, "properties": [
        {"key": "n", "value": 8, "operator": "gt", "type": "event"}]}]}  # fmt: skip
    (found,) = project().trends(node, dateRange=SPAN)
    assert found["count"] == sum(
        one.day in DAYS and (one.name == "a" or (one.name == "b" and one.properties["n"] > 8))
        for one in events
    )
    assert "DataWarehouseNode" in project().refusal(
        "TrendsQuery", series=[{"kind": "DataWarehouseNode", "id": "t"}]
    )


def test_actors_of_a_data_point() -> None:
    point = {"series": 0, "day": "2026-03-08", "breakdown": "x"}
    given: dict[str, Any] = {"series": [A], "dateRange": SPAN,
                             "breakdownFilter": {"breakdown": "plan"}}  # fmt: skip
    events = within(project().events)
    for math in ("total", "dau", "sum"):
        fields = {**given, "series": [{**A, "math": math, "math_property": "n"}]}
        assert project().actors(point, "TrendsQuery", **fields) == {
            one.person for one in events
            if one.day == "2026-03-08" and one.properties.get("plan") == "x"
        }  # fmt: skip
    groups = {"series": [{**A, "math": "unique_group", "math_group_type_index": 0}]}
    assert project().actors({"day": "2026-03-08"}, "TrendsQuery", dateRange=SPAN, **groups) == orgs(
        one for one in events if one.day == "2026-03-08"
    )
    weekly: dict[str, Any] = {"series": [{**A, "math": "weekly_active"}], "dateRange": SPAN}
    (found,) = project().trends(*weekly["series"], dateRange=SPAN)
    at = found["days"].index("2026-03-08")
    shown = project().actors({"day": "2026-03-08"}, "TrendsQuery", **weekly)
    assert len(shown) == found["data"][at]
    firsts: dict[str, Any] = {
        "series": [{**A, "math": "first_time_for_user"}],
        "dateRange": {"date_from": "-60d"},
    }
    (found,) = project().trends(*firsts["series"], dateRange=firsts["dateRange"])
    at = next(n for n, count in enumerate(found["data"]) if count)
    shown = project().actors({"day": found["days"][at]}, "TrendsQuery", **firsts)
    assert len(shown) == found["data"][at]


def test_the_earliest_event_begins_all_time() -> None:
    first = generated()[0]
    (found,) = project().trends(
        {"kind": "EventsNode", "event": None}, dateRange={"date_from": "all"}
    )
    assert (found["days"][0], found["label"]) == (first.day, "All events")
    assert found["count"] == len(project().events)
    assert NOW.astimezone(ZONE).strftime("%Y-%m-%d") == found["days"][-1]


def test_the_duration_of_sessions() -> None:
    ids = [f"0195{number:04x}-0000-7000-8000-000000000000" for number in range(3)]
    noon = datetime(2026, 3, 12, 12, tzinfo=ZONE)
    lengths = [60, 120, 600]
    small = Project(
        [
            Event("a", "p0", noon + timedelta(seconds=seconds), {"$session_id": name})
            for name, length in zip(ids, lengths, strict=True)
            for seconds in (0, length)
        ]
    )
    for math, wanted in (("avg", 260), ("median", 120), ("sum", 780), ("max", 600)):
        node = {**A, "math": math, "math_property": "$session_duration"}
        (found,) = small.trends(node, dateRange=SPAN)
        assert found["data"] == [*[0] * 11, wanted]


def test_breakdowns_by_persons_groups_sessions_and_cleaned_paths() -> None:
    noon = datetime(2026, 3, 12, 12, tzinfo=ZONE)
    session = {"$session_id": "01950001-0000-7000-8000-000000000000"}
    small = Project(
        [
            Event("$groupidentify", "p0", noon, {"$group_type": "org", "$group_key": "o1",
                                                 "$group_set": {"size": 9}}),
            Event("a", "p0", noon, {"$set": {"team": "red"}, "$groups": {"org": "o1"},
                                    "path": "/user/12", **session}),
            Event("a", "p1", noon, {"$set": {"team": "blue"}, "path": "/user/7/"}),
            Event("a", "p0", noon + timedelta(seconds=90), {"path": "/about", **session}),
        ]
    )  # fmt: skip
    small.session.path_cleaning = [
        {"regex": r"^/user/\d+/?$", "alias": "/user/<id>", "order": 1},
        {"regex": "about", "alias": "team", "order": 0},
    ]

    def counts(**given: Any) -> dict[str, float]:
        found = small.trends(A, dateRange=SPAN, breakdownFilter=given)
        return {one["breakdown_value"]: one["count"] for one in found}

    assert counts(breakdown="team", breakdown_type="person") == {"red": 2, "blue": 1}
    group = {"breakdown": "size", "breakdown_type": "group", "breakdown_group_type_index": 0}
    assert counts(**group) == {"9": 1, NOTHING: 2}
    assert counts(breakdown="path", breakdown_path_cleaning=True) == {"/user/<id>": 2, "/team": 1}
    duration = counts(breakdown="$session_duration", breakdown_type="session")
    assert duration == {"90": 2, "0": 1}


def test_a_world_map_has_room_for_all_countries() -> None:
    noon = datetime(2026, 3, 12, 12, tzinfo=ZONE)
    small = Project([Event("a", "p0", noon, {"country": f"c{n}"}) for n in range(60)])
    given = {"breakdown": "country"}
    display = {"display": "WorldMap"}
    found = small.trends(A, dateRange=SPAN, breakdownFilter=given, trendsFilter=display)
    assert [one["aggregated_value"] for one in found] == [1] * 60
    found = small.trends(A, dateRange=SPAN, breakdownFilter=given)
    assert (len(found), found[-1]["count"]) == (26, 35)
