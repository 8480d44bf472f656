"""ActorsQuery, GroupsQuery and data points, against the same events in plain Python."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import pytest

from posthog_emulator.http.errors import ApiError

from .insight_events import A, B, Project, project

POINT: dict[str, Any] = {
    "kind": "InsightActorsQuery",
    "source": {"kind": "TrendsQuery", "series": [A]},
    "day": "2026-03-10",
}
FUNNEL: dict[str, Any] = {"kind": "FunnelsQuery", "series": [A, B]}


def actors(**query: Any) -> dict[str, Any]:
    return project().body({"kind": "ActorsQuery", **query})


def names(body: dict[str, Any]) -> list[str]:
    return [row[0]["distinct_ids"][0] for row in body["results"]]


@cache
def companies() -> Project:
    """A project with three organizations."""
    found = Project([])
    found.store.append(1, [
        {"event": "$groupidentify", "distinct_id": "p", "timestamp": f"2026-03-1{number}T10:00:00Z",
         "properties": {"$group_type": "org", "$group_key": key, "$group_set": {"name": name}}}
        for number, (key, name) in enumerate([("o1", "Zebra"), ("o2", "Apple"), ("o3", "Pear")])
    ])  # fmt: skip
    return found


def test_persons_in_pages() -> None:
    everybody = {one.person for one in project().events}
    first, rest = actors(limit=4), actors(limit=100, offset=4)
    assert (first["hasMore"], rest["hasMore"]) == (True, False)
    assert (first["limit"], first["offset"], rest["offset"]) == (4, 0, 4)
    assert first["columns"] == ["person", "id", "created_at"]
    assert sorted(names(first) + names(rest)) == sorted(everybody)
    created = [row[2] for row in first["results"] + rest["results"]]
    assert created == sorted(created, reverse=True)
    person = first["results"][0][0]
    assert person["id"] == first["results"][0][1] == project().person_ids[names(first)[0]]


def test_persons_by_search_and_filters() -> None:
    assert names(actors(search="P1")) == ["p1"]
    in_cohort = actors(properties=[{"type": "cohort", "key": "id", "value": 7}])
    assert set(names(in_cohort)) == {"p0", "p1", "p2"}
    assert actors(select=["count()"])["results"] == [[len({e.person for e in project().events})]]


def test_persons_behind_a_data_point_with_the_number_of_their_events() -> None:
    wanted = Counter(
        one.person for one in project().events if one.name == "a" and one.day == "2026-03-10"
    )
    body = actors(select=["actor", "event_count"], source=POINT, orderBy=["event_count DESC"])
    found = {row[0]["distinct_ids"][0]: row[1] for row in body["results"]}
    assert found == wanted
    assert wanted
    counts = [row[1] for row in body["results"]]
    assert counts == sorted(counts, reverse=True)
    assert {row[0]: row[1] for row in project().body(POINT)["results"]} == {
        project().person_ids[name]: count for name, count in wanted.items()
    }


def test_persons_behind_a_funnel_step_and_a_query() -> None:
    point = {"kind": "FunnelsActorsQuery", "funnelStep": 1, "source": FUNNEL}
    (step, _) = project().results("FunnelsQuery", series=[A, B])
    assert len(actors(source=point)["results"]) == step["count"] > 0
    sql = "SELECT person_id AS actor_id FROM events WHERE event = {name} GROUP BY person_id"
    body = actors(source={"kind": "HogQLQuery", "query": sql, "values": {"name": "c"}})
    assert set(names(body)) == {one.person for one in project().events if one.name == "c"}


def test_groups() -> None:
    body = companies().body({"kind": "GroupsQuery", "group_type_index": 0})
    assert body["results"] == [["Apple", "o2"], ["Pear", "o3"], ["Zebra", "o1"]]
    assert body["columns"] == ["group_name", "key"]
    query = {"kind": "GroupsQuery", "group_type_index": 0, "select": ["group"], "search": "EA"}
    (row,) = companies().body(query)["results"]
    assert (row[0]["id"], row[0]["properties"]) == ("o3", {"name": "Pear"})
    assert companies().body({"kind": "GroupsQuery", "group_type_index": 1})["results"] == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"select": ["matched_recordings"]}, "matched_recordings"),
        ({"source": {"kind": "ExperimentActorsQuery"}}, "ExperimentActorsQuery"),
        ({"source": {**POINT, "source": {"kind": "PathsV2Query"}}}, "PathsV2Query"),
        ({"source": {**POINT, "funnelStep": 1}}, "funnelStep"),
        ({"limit": -1}, "limit"),
    ],
)
def test_what_is_not_computed_is_named(query: dict[str, Any], named: str) -> None:
    with pytest.raises(ApiError) as raised:
        actors(**query)
    assert raised.value.status == 400
    assert named in str(raised.value.detail)


def test_a_person_found_by_two_distinct_ids_is_one_row() -> None:
    found = Project([])
    found.store.append(1, [
        {"event": "seen", "distinct_id": "anon-x", "timestamp": "2026-03-10T10:00:00Z"},
        {"event": "$identify", "distinct_id": "user-x", "timestamp": "2026-03-10T10:00:01Z",
         "properties": {"$anon_distinct_id": "anon-x"}},
    ])  # fmt: skip
    (row,) = found.results("ActorsQuery", search="-X", select=["person"])
    assert row[0]["distinct_ids"] == ["anon-x", "user-x"]


def test_persons_behind_stickiness_and_correlation() -> None:
    days: dict[str, set[str]] = {}
    for one in project().events:
        if one.name == "a" and "2026-03-01" <= one.day <= "2026-03-12":
            days.setdefault(one.person, set()).add(one.day)
    number = len(next(iter(days.values())))
    span = {"date_from": "2026-03-01", "date_to": "2026-03-12"}
    sticky = {"kind": "StickinessQuery", "series": [A], "dateRange": span}
    body = actors(source={"kind": "StickinessActorsQuery", "day": number, "source": sticky})
    assert set(names(body)) == {name for name, found in days.items() if len(found) == number}
    (_, last) = project().results("FunnelsQuery", series=[A, B])
    correlation = {
        "kind": "FunnelCorrelationQuery", "funnelCorrelationType": "events",
        "source": {"kind": "FunnelsActorsQuery", "source": FUNNEL},
    }  # fmt: skip
    converted = {
        "kind": "FunnelCorrelationActorsQuery", "funnelCorrelationPersonConverted": True,
        "source": correlation,
    }  # fmt: skip
    assert len(actors(source=converted)["results"]) == last["count"] > 0
