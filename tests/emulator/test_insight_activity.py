"""Retention, stickiness, lifecycle and paths, against the same events in plain Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from .insight_events import ZONE, A, B, Event, Project, project

SPAN = {"date_from": "2026-03-01", "date_to": "2026-03-12"}
DAYS = [date(2026, 3, day) for day in range(1, 13)]


def active(name: str) -> dict[str, set[date]]:
    """The days of each person's events."""
    found: dict[str, set[date]] = defaultdict(set)
    for one in project().events:
        if one.name == name:
            found[one.person].add(one.at.date())
    return found


def table(results: list[dict[str, Any]]) -> list[list[int]]:
    return [[cell["count"] for cell in row["values"]] for row in results]


def retention(**options: Any) -> dict[str, Any]:
    entities = {"targetEntity": {"id": "a", "type": "events"},
                "returningEntity": {"id": "b", "type": "events"}}  # fmt: skip
    return {"dateRange": SPAN, "retentionFilter": {"totalIntervals": 5, **entities, **options}}


@pytest.mark.parametrize("kind", ["retention_recurring", "retention_first_time"])
@pytest.mark.parametrize("cumulative", [False, True])
def test_retention_by_day(kind: str, cumulative: bool) -> None:
    starts, returns = active("a"), active("b")
    wanted = [[0] * 5 for _ in DAYS]
    range_days = [date(2026, 2, 17) + timedelta(days=n) for n in range(12)]
    for row, day in enumerate(range_days):
        for person, days in starts.items():
            if day not in days or (kind == "retention_first_time" and day != min(days)):
                continue
            wanted[row][0] += 1
            back = [n for n in range(1, 5) if day + timedelta(days=n) in returns[person]]
            for n in range(1, 5):
                wanted[row][n] += any(m >= n for m in back) if cumulative else n in back
    query = retention(retentionType=kind, cumulative=cumulative)
    query["dateRange"] = {"date_from": "2026-02-17", "date_to": "2026-02-28"}
    found = project().results("RetentionQuery", **query)
    assert table(found) == wanted
    assert sum(map(sum, wanted)) > 0
    assert [row["label"] for row in found] == [f"Day {n}" for n in range(12)]
    assert found[3]["date"].startswith("2026-02-20T00:00:00")
    shown = project().actors({"interval": 0}, "RetentionQuery", **query)
    assert len(shown) == wanted[0][0] > 0


def test_retention_by_week_with_defaults() -> None:
    weeks = {person: {day - timedelta(days=day.weekday()) for day in days}
             for person, days in active("a").items()}  # fmt: skip
    entity = {"id": "a", "type": "events"}
    filters = {"period": "Week", "totalIntervals": 3, "targetEntity": entity,
               "returningEntity": entity}  # fmt: skip
    found = project().results("RetentionQuery", retentionFilter=filters)
    # It is Saturday, 14 March: the last week began on Monday, the 9th.
    first = [date(2026, 2, 23) + timedelta(weeks=n) for n in range(3)]
    assert table(found) == [
        [sum(start in weeks[p] and start + timedelta(weeks=n) in weeks[p] for p in weeks)
         for n in range(3)]
        for start in first
    ]  # fmt: skip
    assert len(project().results("RetentionQuery", retentionFilter={})) == 8


def test_retention_of_repeated_returns_and_by_a_breakdown() -> None:
    counts = Counter((one.person, one.at.date()) for one in project().events if one.name == "b")
    starts = active("a")
    found = project().results("RetentionQuery", **retention(minimumOccurrences=2))
    assert [row[1] for row in table(found)] == [
        sum(day in days and counts[person, day + timedelta(days=1)] >= 2
            for person, days in starts.items())
        for day in DAYS
    ]  # fmt: skip
    broken = {"breakdown": "plan", "breakdown_limit": 2}
    found = project().results("RetentionQuery", **retention(), breakdownFilter=broken)
    pairs = {(one.properties.get("plan") or "", one.person, one.at.date())
             for one in project().events if one.name == "a" and one.at.date() in DAYS}  # fmt: skip
    sums = Counter(plan for plan, _, _ in pairs)
    shown = Counter[str]()
    for row in found:
        shown[row["breakdown_value"]] += row["values"][0]["count"]
    kept = sorted(sums, key=lambda plan: (-sums[plan], plan))[:2]
    rest = sum(sums.values()) - sum(sums[plan] for plan in kept)
    assert shown == {**{plan: sums[plan] for plan in kept},
                     "$$_posthog_breakdown_other_$$": rest}  # fmt: skip


def test_stickiness() -> None:
    days = {person: len(held & set(DAYS)) for person, held in active("a").items()}
    (found,) = project().results("StickinessQuery", series=[A], dateRange=SPAN)
    assert found["data"] == [sum(n == day for n in days.values()) for day in range(1, 13)]
    assert (found["days"][0], found["labels"][:2]) == (1, ["1 day", "2 days"])
    assert found["count"] == sum(n > 0 for n in days.values())
    most = max(days.values())
    shown = project().actors({"day": most}, "StickinessQuery", series=[A], dateRange=SPAN)
    assert shown == {person for person, n in days.items() if n == most}
    more = {"computedAs": "cumulative", "stickinessCriteria": {"operator": "gte", "value": 2}}
    counts = Counter((one.person, one.at.date()) for one in project().events if one.name == "a")
    # Pairs of days, counted back from the last.
    pairs = Counter[tuple[str, int]]()
    for (person, day), count in counts.items():
        if day in DAYS:
            pairs[person, (DAYS[-1] - day).days // 2] += count
    often = Counter(person for (person, _), count in pairs.items() if count >= 2)
    (found,) = project().results(
        "StickinessQuery", series=[A], dateRange=SPAN, intervalCount=2, stickinessFilter=more
    )
    assert found["data"] == [sum(n >= day for n in often.values()) for day in range(1, 7)]
    assert found["labels"][1] == "2 days or more"


def test_stickiness_of_the_days_before() -> None:
    both = project().results(
        "StickinessQuery", series=[A, B], dateRange=SPAN, compareFilter={"compare": True}
    )
    assert [(one["label"], one["compare_label"]) for one in both] == [
        ("a", "current"), ("b", "current"), ("a", "previous"), ("b", "previous")
    ]  # fmt: skip
    before = {day - timedelta(days=12) for day in DAYS}
    days = {person: len(held & before) for person, held in active("b").items()}
    assert both[3]["data"] == [sum(n == day for n in days.values()) for day in range(1, 13)]


def test_lifecycle() -> None:
    created = {
        name: datetime.fromtimestamp(float(at), ZONE).date()
        for name, at in project().store.read(
            "SELECT d.distinct_id, toUnixTimestamp(p.created_at) FROM person AS p FINAL "
            "JOIN person_distinct_id2 AS d FINAL ON d.person_id = p.id"
        )
    }
    wanted = {status: [0] * 12 for status in ("new", "returning", "resurrecting", "dormant")}
    yesterday = timedelta(days=1)
    for person, days in active("a").items():
        seen = {day for day in days if DAYS[0] - yesterday <= day <= DAYS[-1]}
        for n, day in enumerate(DAYS):
            if day in seen:
                status = "returning" if day - yesterday in seen else "resurrecting"
                if day == min(seen) == created[person]:
                    status = "new"
                wanted[status][n] += 1
            elif day - yesterday in seen:
                wanted["dormant"][n] -= 1
    found = project().results("LifecycleQuery", series=[A], dateRange=SPAN)
    assert {one["status"]: one["data"] for one in found} == wanted
    assert [one["label"] for one in found] == [f"a - {status}" for status in wanted]
    point = {"day": "2026-03-05", "status": "dormant"}
    shown = project().actors(point, "LifecycleQuery", series=[A], dateRange=SPAN)
    assert len(shown) == -wanted["dormant"][4]
    small = Project([Event("a", "p1", datetime(2026, 3, day, 12, tzinfo=ZONE)) for day in (2, 5)])
    found = small.results("LifecycleQuery", series=[A], dateRange=SPAN)
    assert {one["status"]: one["count"] for one in found} == {
        "new": 1, "returning": 0, "resurrecting": 1, "dormant": -2
    }  # fmt: skip


def visits(**texts: str) -> Project:
    """Page views one minute apart; a dot is half an hour without any."""
    events: list[Event] = []
    for person, text in texts.items():
        at = datetime(2026, 3, 12, 8, tzinfo=ZONE)
        for letter in text:
            at += timedelta(minutes=30 if letter == "." else 1)
            url = {"$current_url": f"https://x.io/{letter}/"}
            if letter != ".":
                events.append(Event("$pageview", person, at, url))
    return Project(events)


def edges(small: Project, **options: Any) -> dict[tuple[str, str], int]:
    filters = {"includeEventTypes": ["$pageview"], **options}
    found = small.results("PathsQuery", pathsFilter=filters)
    return {
        (one["source"].replace("https://x.io/", ""), one["target"].replace("https://x.io/", "")):
        one["value"]
        for one in found
    }  # fmt: skip


def nodes(*paths: str) -> dict[tuple[str, str], int]:
    """The edges of paths that are given by their letters."""
    counts = Counter[tuple[str, str]]()
    for path in paths:
        counts.update(pairwise(f"{n}_{letter}" for n, letter in enumerate(path, 1)))
    return dict(counts)


def test_paths() -> None:
    small = visits(p1="abbcdefg", p2="ab.ac", p3="bcb", p4="a")
    assert edges(small) == nodes("abcde", "ab", "ac", "bcb")
    assert edges(small, stepLimit=3) == nodes("abc", "ab", "ac", "bcb")
    point = {"startPoint": "https://x.io/b"}
    assert edges(small, **point) == nodes("bcdef", "bcb")
    assert edges(small, endPoint="https://x.io/c/") == nodes("abc", "ac", "bc")
    assert edges(small, **point, endPoint="https://x.io/g") == {
        ("1_b", "2_c"): 1, ("2_c", "3_..."): 1, ("3_...", "4_f"): 1, ("4_f", "5_g"): 1
    }  # fmt: skip
    assert edges(small, excludeEvents=["https://x.io/b"]) == nodes("acdef", "ac")
    assert edges(small, minEdgeWeight=2) == {("1_a", "2_b"): 2}
    assert edges(small, edgeLimit=1) == {("1_a", "2_b"): 2}
    rule = {"regex": "/[d-g]$", "alias": "/late"}
    assert ("3_c", "4_late") in edges(small, localPathCleaningFilters=[rule])
    assert edges(visits(p1="ab"), pathGroupings=["https://x.io/*"]) == {}
    (edge,) = visits(p1="abbc").results("PathsQuery", pathsFilter={"stepLimit": 2})
    # Of repeated pages the last counts: two minutes from a to b.
    assert edge["average_conversion_time"] == 120_000
    assert (edge["source"], edge["value"]) == ("1_https://x.io/a", 1)
    shown = small.actors({}, "PathsQuery", pathsFilter={"pathStartKey": "1_https://x.io/b"})
    assert shown == {"p3"}


def test_paths_of_other_events() -> None:
    at = datetime(2026, 3, 12, 8, tzinfo=ZONE)
    names = [("$screen", {"$screen_name": "Home"}), ("$autocapture", {}), ("buy", {"to": "it"})]
    small = Project([Event(name, "p1", at + timedelta(minutes=n), properties)
                     for n, (name, properties) in enumerate(names)])  # fmt: skip

    def found(**options: Any) -> list[tuple[str, str]]:
        results = small.results("PathsQuery", pathsFilter=options)
        return [(one["source"], one["target"]) for one in results]

    assert found() == [("1_Home", "2_$autocapture"), ("2_$autocapture", "3_buy")]
    assert found(includeEventTypes=["$screen", "custom_event"]) == [("1_Home", "2_buy")]
    text = {"includeEventTypes": ["hogql"], "pathsHogQLExpression": "properties.to"}
    assert found(**text) == [("1_Home", "2_"), ("2_", "3_it")]


def test_refusals() -> None:
    for wanted, kind, fields in (
        ("`timeWindowMode`", "RetentionQuery", retention(timeWindowMode="24_hour_windows")),
        ("`retentionCustomBrackets`", "RetentionQuery", retention(retentionCustomBrackets=[1, 3])),
        ("Action ID 6 does not exist!", "RetentionQuery",
         retention(targetEntity={"id": 6, "type": "actions"})),
        ("`funnelPathsFilter`", "PathsQuery",
         {"pathsFilter": {}, "funnelPathsFilter": {"funnelSource": {}}}),
        ("`showFullUrls`", "PathsQuery", {"pathsFilter": {"showFullUrls": True}}),
        ("one series", "LifecycleQuery", {"series": [A, B]}),
        ("math 'sum'", "StickinessQuery", {"series": [{**A, "math": "sum"}]}),
    ):  # fmt: skip
        assert wanted in project().refusal(kind, **fields)


def test_retention_of_cohorts_groups_actions_and_first_occurrences() -> None:
    starts = active("a")
    cohorts = {"breakdown": [7, 8, "all"], "breakdown_type": "cohort"}
    found = project().results("RetentionQuery", **retention(), breakdownFilter=cohorts)
    for cohort, people in ((7, {"p0", "p1", "p2"}), ("all", set(starts))):
        rows = [row for row in found if row["breakdown_value"] == cohort]
        assert [row["values"][0]["count"] for row in rows] == [
            sum(day in starts[person] for person in people) for day in DAYS
        ]
    groups: dict[str, set[date]] = defaultdict(set)
    for one in project().events:
        if one.name == "a" and "$groups" in one.properties:
            groups[one.properties["$groups"]["org"]].add(one.at.date())
    found = project().results("RetentionQuery", **retention(), aggregation_group_type_index=0)
    assert [row[0] for row in table(found)] == [
        sum(day in days for days in groups.values()) for day in DAYS
    ]
    action = retention(targetEntity={"id": 5, "type": "actions"})
    found = project().results("RetentionQuery", **action)
    either = active("b")
    assert [row[0] for row in table(found)] == [
        sum(day in starts[person] or day in either[person] for person in {*starts, *either})
        for day in DAYS
    ]
    plan = [{"key": "plan", "value": "x", "operator": "exact", "type": "event"}]
    first: dict[str, Event] = {}
    matching: dict[str, Event] = {}
    for one in project().events:
        if one.name == "a":
            first.setdefault(one.person, one)
            if one.properties.get("plan") == "x":
                matching.setdefault(one.person, one)
    target = {"id": "a", "type": "events", "properties": plan}
    for kind, wanted in (
        ("retention_first_time", list(matching.values())),
        ("retention_first_ever_occurrence",
         [one for one in first.values() if one.properties.get("plan") == "x"]),
    ):  # fmt: skip
        query = retention(retentionType=kind, targetEntity=target)
        query["dateRange"] = {"date_from": "2026-02-16", "date_to": "2026-03-12"}
        found = project().results("RetentionQuery", **query)
        counts = Counter(one.day for one in wanted)
        assert [row[0] for row in table(found)] == [counts[row["date"][:10]] for row in found]
        assert sum(counts.values()) > 0


def test_lifecycle_of_groups_by_week() -> None:
    weeks: dict[str, set[date]] = defaultdict(set)
    for one in project().events:
        if one.name == "a" and "$groups" in one.properties:
            day = one.at.date()
            weeks[one.properties["$groups"]["org"]].add(day - timedelta(days=day.weekday()))
    found = project().results(
        "LifecycleQuery", series=[A], interval="week", aggregation_group_type_index=0,
        dateRange={"date_from": "2026-02-23"},
    )  # fmt: skip
    data = {one["status"]: one["data"] for one in found}
    starts = [date(2026, 2, 23) + timedelta(weeks=n) for n in range(3)]
    for n, start in enumerate(starts):
        present = sum(data[status][n] for status in ("new", "returning", "resurrecting"))
        assert present == sum(start in held for held in weeks.values())
        assert data["returning"][n] <= sum(
            start - timedelta(weeks=1) in held for held in weeks.values()
        )
