"""Funnels, against definitions by exhaustive search and against answers known by hand."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthog_emulator.features.query.correlation import odds_ratio
from posthog_emulator.features.query.funnel_steps import FunnelEvent, FunnelSteps

from .insight_events import ZONE, A, B, Event, Project, generated, project

START = datetime(2026, 3, 9, 12, tzinfo=ZONE)
C: dict[str, Any] = {"kind": "EventsNode", "event": "c"}


def reached(masks: Sequence[tuple[int, int]], count: int, window: int, order: str) -> int:
    """The number of steps that the best choice of events makes, by trying all."""
    best = 0
    for size in range(1, count + 1):
        for chosen in combinations(range(len(masks)), size):
            times = [masks[place][0] for place in chosen]
            if times[-1] - times[0] > window:
                continue
            if order == "strict" and chosen[-1] - chosen[0] != size - 1:
                continue
            if order == "unordered":
                continue
            if all(masks[place][1] >> step & 1 for step, place in enumerate(chosen)):
                best = size
    if order == "unordered":
        for place, (at, _) in enumerate(masks):
            held = 0
            for other, mask in masks[place:]:
                held |= mask if other - at <= window else 0
            best = max(best, held.bit_count())
    return best


@given(
    gaps=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 7)), max_size=8),
    window=st.integers(0, 12),
    order=st.sampled_from(["ordered", "strict", "unordered"]),
)
def test_the_furthest_step_is_that_of_the_best_choice_of_events(
    gaps: list[tuple[int, int]], window: int, order: str
) -> None:
    events, at = list[FunnelEvent](), 0
    for gap, mask in gaps:
        at += gap
        if mask or order == "strict":
            events.append(FunnelEvent(at, mask))
    found = FunnelSteps(3, window, order).attempt(events)
    wanted = reached([event[:2] for event in events], 3, window, order)
    assert (0 if found is None else found.reached) == wanted
    if found is not None:
        times = [at for at in found.times if at is not None]
        assert times == sorted(times)
        assert times[-1] - times[0] <= window


def sequence(text: str, **steps: Any) -> tuple[int | None, ...] | None:
    """The minutes at which the steps a, b, c are done by events one minute apart; x excludes."""
    bits = {"a": 1, "b": 2, "c": 4, "x": 8, "-": 0}
    events = [
        FunnelEvent(minute * 60, bits[letter])
        for minute, letter in enumerate(text)
        if letter != "." and (letter != "-" or steps.get("order") == "strict")
    ]
    options: dict[str, Any] = {"window": 3600, **steps}
    found = FunnelSteps(3, **options).attempt(events)
    return None if found is None else tuple(None if at is None else at // 60 for at in found.times)


def test_known_answers() -> None:
    # The latest start that reaches a step is the one that counts.
    assert sequence("aab") == (1, 2)
    assert sequence("abac") == (0, 1, 3)
    assert sequence("a..b", window=120) == (0,)
    assert sequence("a.ab..c", window=240) == (2, 3, 6)
    assert sequence("bca") == (2,)
    assert sequence("a-bc", order="strict") == (0,)
    assert sequence("a-abc", order="strict") == (2, 3, 4)
    assert sequence("cba", order="unordered") == (0, 1, 2)
    # An event between the first two steps excludes.
    between: dict[str, Any] = {"exclusions": [(0, 1)]}
    assert sequence("axbc", **between) is None
    assert sequence("xabxc", **between) == (1, 2, 4)
    assert sequence("axabc", **between) == (2, 3, 4)
    assert sequence("ax", **between) is None
    assert sequence("abxc", exclusions=[(0, 2)]) is None
    assert sequence("abcx", exclusions=[(0, 2)]) == (0, 1, 2)
    assert sequence("bxac", order="unordered", exclusions=[(0, 2)]) == (2, 3)
    # Optional steps may be left out, and count when they are done.
    assert sequence("ac", optional={1}) == (0, None, 1)
    assert sequence("abc", optional={1}) == (0, 1, 2)
    assert sequence("ac-", optional={1}, order="strict") == (0, None, 1)


def test_events_of_one_time_come_in_the_order_of_the_steps() -> None:
    steps = FunnelSteps(3, 100)
    found = steps.attempt([FunnelEvent(5, 4), FunnelEvent(5, 2), FunnelEvent(5, 1)])
    assert found is not None
    assert found.reached == 3
    # One event is one step only, though it matches two.
    found = steps.attempt([FunnelEvent(5, 3), FunnelEvent(5, 4)])
    assert found is not None
    assert found.reached == 1


def people(texts: dict[str, str], **plans: str) -> Project:
    """Persons with events one hour apart; capital letters are of the plan `pro`."""
    return Project(
        [
            Event(letter.lower(), person, START + timedelta(hours=hour),
                  {"plan": plans.get(person) or ("pro" if letter.isupper() else "free")})
            for person, text in texts.items()
            for hour, letter in enumerate(text)
            if letter != "."
        ]
    )  # fmt: skip


def counts(results: list[dict[str, Any]]) -> list[int]:
    return [step["count"] for step in results]


def test_counts_and_times_of_generated_events() -> None:
    window = timedelta(hours=30)
    times: list[list[int]] = [[], [], []]
    for person in {one.person for one in project().events}:
        events = [(int(one.at.timestamp()), 1 << "abc".index(one.name))
                  for one in project().events if one.person == person]  # fmt: skip
        for step in range(reached(events, 3, int(window.total_seconds()), "ordered")):
            times[step].append(1)
    found = project().results(
        "FunnelsQuery", series=[A, B, C], dateRange={"date_from": "-30d"},
        funnelsFilter={"funnelWindowInterval": 30, "funnelWindowIntervalUnit": "hour"},
    )  # fmt: skip
    assert counts(found) == [len(step) for step in times]
    assert [step["name"] for step in found] == ["a", "b", "c"]
    small = people({"p1": "a.b", "p2": "a...b", "p3": "a......b", "p4": "a"})
    _, second = small.results("FunnelsQuery", series=[A, B])
    hours = [2, 4, 7]
    assert second["average_conversion_time"] == pytest.approx(3600 * statistics.mean(hours))
    assert second["median_conversion_time"] == 3600 * 4
    assert [actor["average_conversion_time"] for actor in small.results(
        "FunnelsQuery", series=[A, C])] == [None, None]  # fmt: skip


def test_kinds_of_order() -> None:
    small = people({"p1": "ab", "p2": "acb", "p3": "ba", "p4": "a", "p5": "c"})

    def funnel(**options: Any) -> list[dict[str, Any]]:
        return small.results("FunnelsQuery", series=[A, B], funnelsFilter=options)

    assert counts(funnel()) == [4, 2]
    assert counts(funnel(funnelOrderType="strict")) == [4, 1]
    either = funnel(funnelOrderType="unordered")
    assert counts(either) == [4, 3]
    assert [step["name"] for step in either] == ["Completed 1 step", "Completed 2 steps"]
    exclusion = {**C, "funnelFromStep": 0, "funnelToStep": 1}
    assert counts(funnel(exclusions=[exclusion])) == [3, 1]
    first = [{**A, "math": "first_time_for_user"}, B]
    again = people({"p1": "a.a.b", "p2": "ab"})
    half_hour = {"funnelWindowInterval": 2, "funnelWindowIntervalUnit": "hour"}
    assert counts(again.results("FunnelsQuery", series=first, funnelsFilter=half_hour)) == [2, 1]


def test_attribution_of_a_breakdown() -> None:
    small = people({"p1": "Ab", "p2": "aB", "p3": "Aab", "p4": "a"})

    def funnel(kind: str, value: int = 0) -> dict[str, list[int]]:
        found = small.results(
            "FunnelsQuery", series=[A, B], breakdownFilter={"breakdown": "plan"},
            funnelsFilter={"breakdownAttributionType": kind, "breakdownAttributionValue": value},
        )  # fmt: skip
        return {steps[0]["breakdown_value"][0]: counts(steps) for steps in found}

    assert funnel("first_touch") == {"pro": [2, 2], "free": [2, 1]}
    assert funnel("last_touch") == {"pro": [1, 1], "free": [3, 2]}
    assert funnel("all_events") == {"free": [3, 1], "pro": [2, 0]}
    assert funnel("step", 1) == {"free": [2, 2], "pro": [1, 1], "": [1, 0]}
    ranked = small.results(
        "FunnelsQuery", series=[A, B], breakdownFilter={"breakdown": "plan", "breakdown_limit": 1}
    )
    assert [steps[0]["breakdown_value"] for steps in ranked] == [["pro"], ["Other"]]
    cohort = {"breakdown": [7, "all"], "breakdown_type": "cohort"}
    found = small.results("FunnelsQuery", series=[A, B], breakdownFilter=cohort)
    assert [(steps[0]["breakdown_value"], counts(steps)) for steps in found] == [
        (7, [2, 2]), ("all", [4, 3])
    ]  # fmt: skip


def test_trends_of_a_funnel() -> None:
    day = "." * 23
    small = people({"p1": f"ab{day}a", "p2": f"a{day}b", "p3": f".{day}ab"})
    span = {"date_from": "2026-03-09", "date_to": "2026-03-11"}
    query: dict[str, Any] = {
        "series": [A, B], "dateRange": span,
        "funnelsFilter": {"funnelVizType": "trends", "funnelWindowInterval": 2,
                          "funnelWindowIntervalUnit": "hour"},
    }  # fmt: skip
    (found,) = small.results("FunnelsQuery", **query)
    # On the first day one of two converts within two hours; on the second, one of two.
    assert (found["days"], found["data"]) == (
        ["2026-03-09", "2026-03-10", "2026-03-11"], [50.0, 50.0, 0]
    )  # fmt: skip
    point = {"funnelTrendsEntrancePeriodStart": "2026-03-09", "funnelTrendsDropOff": True}
    assert small.actors(point, "FunnelsQuery", **query) == {"p2"}
    query["funnelsFilter"] = {**query["funnelsFilter"], "funnelOrderType": "unordered"}
    (found,) = small.results("FunnelsQuery", **query)
    assert found["data"] == [50.0, 33.33, 0]


def test_time_to_convert() -> None:
    small = people({"p1": "ab", "p2": "a.b", "p3": "a..b", "p4": "a.........b"})
    kind = {"funnelVizType": "time_to_convert", "binCount": 3}
    found = small.results("FunnelsQuery", series=[A, B], funnelsFilter=kind)
    # From 1 to 10 hours, in bins of 3 hours; the last edge has what is on it.
    assert found["bins"] == [[3600, 3], [14_400, 0], [25_200, 0], [36_000, 1]]
    assert found["average_conversion_time"] == 3600 * 4
    del kind["binCount"]
    assert len(small.results("FunnelsQuery", series=[A, B], funnelsFilter=kind)["bins"]) == 3
    assert small.results("FunnelsQuery", series=[A, C], funnelsFilter=kind)["bins"] == []


def test_actors_of_steps_and_of_drop_offs() -> None:
    small = people({"p1": "abc", "p2": "ab", "p3": "a", "p4": "c"})
    query = {"series": [A, B, C]}
    for step, wanted in (
        (1, {"p1", "p2", "p3"}), (2, {"p1", "p2"}), (3, {"p1"}), (-2, {"p3"}), (-3, {"p2"}),
    ):  # fmt: skip
        assert small.actors({"funnelStep": step}, "FunnelsQuery", **query) == wanted


def test_refusals() -> None:
    def refusal(series: Sequence[Any] = (A, B), **options: Any) -> str:
        return project().refusal("FunnelsQuery", series=list(series), funnelsFilter=options)

    optional = {**B, "optionalInFunnel": True}
    exclusion = {**C, "funnelFromStep": 0, "funnelToStep": 1}
    for wanted, found in (
        ("at least two steps", refusal([A])),
        ("funnelFromStep is out of bounds. It must be between 0 and 0.", refusal(funnelFromStep=5)),
        ("funnelToStep is out of bounds. It must be between 1 and 1.", refusal(funnelToStep=2)),
        ("cannot be optional", refusal([optional, A])),
        ("part of funnel steps", refusal(exclusions=[{**exclusion, "event": "a"}])),
        ("Exclusion event range", refusal(exclusions=[{**exclusion, "funnelFromStep": 1}])),
        ("Partial Exclusions", refusal([A, B, A], exclusions=[exclusion],
                                       funnelOrderType="unordered")),
        ("Only the first step", refusal(funnelOrderType="unordered", breakdownAttributionValue=1,
                                        breakdownAttributionType="step")),
        ("does not exist", refusal([A, {"kind": "ActionsNode", "id": 6}])),
        ("`customAggregationTarget`", refusal(customAggregationTarget=True)),
    ):  # fmt: skip
        assert wanted in found


def test_correlation() -> None:
    rng = random.Random(3)
    texts: dict[str, str] = {}
    for number in range(60):
        helped = rng.random() < 0.5
        done = rng.random() < (0.8 if helped else 0.3)
        texts[f"p{number}"] = f"a{'h' if helped else 'n'}{'b' if done else '.'}h"
    small = people(texts)
    window = {"funnelWindowInterval": 2, "funnelWindowIntervalUnit": "hour"}
    funnel = {"kind": "FunnelsQuery", "series": [A, B], "funnelsFilter": window}
    found = small.results(
        "FunnelCorrelationQuery", funnelCorrelationType="events",
        source={"kind": "FunnelsActorsQuery", "source": funnel},
    )  # fmt: skip
    # The last event of all is outside the window, or after success.
    done = [text for text in texts.values() if text[2] == "b"]
    failed = [text for text in texts.values() if text[2] == "."]
    for item, letter, kind in zip(found["events"], "hn", ("success", "failure"), strict=True):
        success, failure = (sum(text[1] == letter for text in group) for group in (done, failed))
        assert (item["event"]["event"], item["correlation_type"]) == (letter, kind)
        assert (item["success_count"], item["failure_count"]) == (success, failure)
        assert item["odds_ratio"] == odds_ratio(success, failure, len(done), len(failed))
    assert found["skewed"] is False
    assert odds_ratio(3, 0, 3, 1) == (4 / 1) / (1 / 2)


def test_correlation_with_properties_and_its_persons() -> None:
    small = Project(
        [
            Event(name, person, START + timedelta(minutes=minute),
                  {"size": minute, "$set": {"team": "red" if person < "p3" else "blue"}})
            for person, text in {"p1": "ahb", "p2": "ahb", "p3": "ah", "p4": "a"}.items()
            for minute, name in enumerate(text)
        ]
    )  # fmt: skip
    source = {"kind": "FunnelsActorsQuery", "source": {"kind": "FunnelsQuery", "series": [A, B]}}

    def found(kind: str, **fields: Any) -> dict[str, tuple[int, int]]:
        results = small.results(
            "FunnelCorrelationQuery", funnelCorrelationType=kind, source=source, **fields
        )
        return {
            one["event"]["event"]: (one["success_count"], one["failure_count"])
            for one in results["events"]
        }

    teams = {"team::red": (2, 0), "team::blue": (0, 2)}
    assert found("properties", funnelCorrelationNames=["team"]) == teams
    everything = {"funnelCorrelationNames": ["$all"]}
    assert teams.items() <= found("properties", **everything).items()
    sizes = {"funnelCorrelationEventNames": ["h"],
             "funnelCorrelationEventExcludePropertyNames": ["$set"]}  # fmt: skip
    assert found("event_with_properties", **sizes) == {"h::size::1": (2, 1)}
    assert found("events", funnelCorrelationExcludeEventNames=["h"]) == {}

    def persons(**point: Any) -> set[str]:
        query = {"funnelCorrelationType": "events", "source": source}
        return small.actors(point, "FunnelCorrelationQuery", **query)

    entity = {"kind": "EventsNode", "event": "h"}
    assert persons(funnelCorrelationPersonConverted=False) == {"p3", "p4"}
    assert persons(funnelCorrelationPersonEntity=entity) == {"p1", "p2", "p3"}
    assert persons(
        funnelCorrelationPersonEntity=entity, funnelCorrelationPersonConverted=False
    ) == {"p3"}
    team = [{"key": "team", "value": "blue", "operator": "exact", "type": "person"}]
    assert persons(funnelCorrelationPropertyValues=team) == {"p3", "p4"}


def test_generated_groups_in_a_funnel() -> None:
    groups: dict[str, list[Event]] = {}
    for one in generated():
        if "$groups" in one.properties:
            groups.setdefault(one.properties["$groups"]["org"], []).append(one)
    wanted = [0, 0]
    for events in groups.values():
        masks = [(int(one.at.timestamp()), 1 << "abc".index(one.name)) for one in events]
        starts = [at for at, mask in masks if mask == 1]
        wanted[0] += bool(starts)
        wanted[1] += any(
            mask == 2 and 0 < at - start <= 3600 for start, (at, mask) in product(starts, masks)
        )
    found = project().results(
        "FunnelsQuery", series=[A, B], aggregation_group_type_index=0,
        dateRange={"date_from": "-30d"},
        funnelsFilter={"funnelWindowInterval": 1, "funnelWindowIntervalUnit": "hour"},
    )  # fmt: skip
    assert counts(found) == wanted


def test_funnels_agree_with_the_functions_of_the_database() -> None:
    """ClickHouse's own function counts ordered steps by hand-written SQL on the same rows."""
    names = ["x", "y", "z"]
    rng = random.Random(11)
    events = [
        Event(rng.choice(names), f"p{rng.randrange(60)}", START + timedelta(seconds=second * 7))
        for second in rng.sample(range(20_000), 1500)
    ]
    big = Project(sorted(events, key=lambda event: event.at))
    series = [{"kind": "EventsNode", "event": name} for name in names]
    for hours in (1, 4, 30):
        rows = big.store.read(
            f"SELECT level, count() FROM (SELECT person_id, windowFunnel({hours * 3600})"
            "(toDateTime(timestamp), event = 'x', event = 'y', event = 'z') AS level "
            "FROM events GROUP BY person_id) WHERE level > 0 GROUP BY level"
        )
        levels = {int(level): int(count) for level, count in rows}
        window = {"funnelWindowInterval": hours, "funnelWindowIntervalUnit": "hour"}
        found = big.results("FunnelsQuery", series=series, funnelsFilter=window)
        assert counts(found) == [
            sum(count for level, count in levels.items() if level >= step) for step in (1, 2, 3)
        ]
        assert 0 < counts(found)[2] <= counts(found)[1]
