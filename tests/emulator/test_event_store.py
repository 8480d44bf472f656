"""The event store: what events do to persons, groups and properties, and what is then stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from posthog_emulator.event_store.property_types import detect_type
from posthog_emulator.event_store.store import EventStore

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
GROUP_TYPES = (
    "SELECT name, type FROM project_types FINAL WHERE scope = 'group_type' AND type != '' "
    "ORDER BY type"
)
PERSONS = "(SELECT * FROM person FINAL WHERE is_deleted = 0)"
DISTINCT_IDS = "(SELECT * FROM person_distinct_id2 FINAL WHERE is_deleted = 0)"


@pytest.fixture
def store() -> EventStore:
    return EventStore(clock=lambda: AT)


def event(name: str, distinct_id: str, **properties: Any) -> dict[str, Any]:
    return {"event": name, "distinct_id": distinct_id, "properties": properties}


def identify(who: str, anonymous: str, **properties: Any) -> dict[str, Any]:
    return event("$identify", who, **{"$anon_distinct_id": anonymous, **properties})


def company(key: str, properties: Any) -> dict[str, Any]:
    named = {"$group_type": "company", "$group_key": key, "$group_set": properties}
    return event("$groupidentify", "a", **named)


def people(store: EventStore) -> dict[str, Any]:
    """The properties of everybody, by their distinct ids."""
    rows = store.read(
        "SELECT arrayStringConcat(arraySort(groupArray(d.distinct_id)), ' '), any(p.properties) "
        f"FROM {PERSONS} AS p JOIN {DISTINCT_IDS} AS d ON d.person_id = p.id GROUP BY p.id"
    )
    return {ids: json.loads(properties) for ids, properties in rows}


def owners(store: EventStore) -> dict[str, int]:
    """How many events each person has, by one of their distinct ids."""
    rows = store.read(
        "SELECT d.name, count() FROM (SELECT person_id, min(distinct_id) AS name "
        f"FROM {DISTINCT_IDS} GROUP BY person_id) AS d "
        f"RIGHT JOIN {store.events_table(1)} AS e ON e.person_id = d.person_id GROUP BY 1"
    )
    return dict(rows)


def test_an_event_is_kept_to_the_microsecond(store: EventStore) -> None:
    given = {
        **event("signed up", "ada", plan="free", n=1),
        "timestamp": "2026-01-01T10:00:00.000001Z",
    }
    (uuid,) = store.append(7, [given])
    ((team, kept, name, who, happened, came, properties),) = store.read(
        "SELECT team_id, uuid, event, distinct_id, timestamp, created_at, properties FROM events"
    )
    assert (team, kept, name, who) == (7, uuid, "signed up", "ada")
    assert happened == "2026-01-01 10:00:00.000001"
    assert came == "2026-01-02 03:04:05.678901"
    assert json.loads(properties) == {"plan": "free", "n": 1}


def test_many_rows_go_in_as_few_do(store: EventStore) -> None:
    store.append(1, [event("e", f"user-{n % 50}", n=n) for n in range(5000)])
    store.append(1, [event("e", "user-0", n=5000)])
    assert store.read("SELECT count(), uniqExact(person_id) FROM events") == [(5001, 50)]
    total = "SELECT sum(JSONExtractInt(properties, 'n')) FROM events"
    assert store.read(total) == [(5000 * 5001 // 2,)]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "needs a name"),
        ({"event": ""}, "needs a name"),
        ({"event": "e", "properties": [1]}, "must be a dict"),
        ({"event": "e", "timestamp": "yesterday"}, "ISO 8601"),
        ({"event": "e", "uuid": "7"}, "cannot be an event"),
        ({"event": "e", "properties": {"x": "\ud800"}}, "cannot be an event"),
    ],
)
def test_what_is_no_event(store: EventStore, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        store.append(1, [event("before", "ada"), given])
    assert store.read("SELECT count() FROM events") == [(0,)]


def test_properties_are_set_and_unset(store: EventStore) -> None:
    store.append(1, [event("$set", "ada", **{"$set": {"plan": "free", "age": 36}})])
    store.append(1, [event("x", "ada", **{"$set_once": {"plan": "paid", "first": "x"}})])
    assert people(store) == {"ada": {"plan": "free", "age": 36, "first": "x"}}
    store.append(1, [event("$delete_person_property", "ada", **{"$unset": ["age"]})])
    store.append(1, [event("$exception", "ada", **{"$set": {"plan": "ignored"}})])
    assert people(store) == {"ada": {"plan": "free", "first": "x"}}
    assert store.read(f"SELECT version, is_identified FROM {PERSONS}") == [(3, 0)]


def test_identifying_merges_the_anonymous_person(store: EventStore) -> None:
    store.append(1, [event("seen", "anon", **{"$set": {"a": "anonymous", "b": "kept"}})])
    store.append(1, [event("seen", "ada", **{"$set": {"a": "her own"}})])
    store.flush()
    store.append(1, [identify("ada", "anon")])
    assert people(store) == {"ada anon": {"a": "her own", "b": "kept"}}
    assert owners(store) == {"ada": 3}
    assert store.read(f"SELECT is_identified FROM {PERSONS}") == [(1,)]


def test_identifying_somebody_new_joins_the_anonymous_person(store: EventStore) -> None:
    store.append(1, [event("seen", "anon"), identify("ada", "anon")])
    assert people(store) == {"ada anon": {}}
    assert owners(store) == {"ada": 2}


def test_who_was_identified_is_not_merged_but_by_force(store: EventStore) -> None:
    for who in ("ada", "bob"):
        store.append(1, [event("$identify", who, **{"$anon_distinct_id": f"{who}-0"})])
    store.append(1, [identify("ada", "bob")])
    assert set(people(store)) == {"ada ada-0", "bob bob-0"}
    store.append(1, [event("$merge_dangerously", "ada", alias="bob")])
    assert set(people(store)) == {"ada ada-0 bob bob-0"}
    assert owners(store) == {"ada": 4}


def test_an_alias_is_another_name(store: EventStore) -> None:
    store.append(
        1, [event("seen", "b"), event("$create_alias", "a", alias="b"), event("seen", "b")]
    )
    assert (people(store), owners(store)) == ({"a b": {}}, {"a": 3})


@pytest.mark.parametrize(
    "illegal", ["null", "Undefined", "  guest ", '"anonymous"', "[object Object]", "0"]
)
def test_nobody_is_not_a_person(store: EventStore, illegal: str) -> None:
    store.append(1, [event("x", illegal, **{"$set": {"a": 1}})])
    store.append(1, [identify("ada", illegal)])
    assert people(store) == {"ada": {}}


def test_events_without_a_profile_get_their_person_when_there_is_one(store: EventStore) -> None:
    quiet = {"$process_person_profile": False, "$set": {"a": 1}}
    store.append(1, [event("x", "anon", **quiet)])
    assert people(store) == {}
    store.append(1, [identify("ada", "anon")])
    store.append(1, [event("x", "anon", **quiet)])
    assert (people(store), owners(store)) == ({"ada anon": {}}, {"ada": 3})


def test_groups(store: EventStore) -> None:
    store.append(
        1,
        [
            company("acme", {"size": 3}),
            company("acme", {"tier": "gold"}),
            company("bad", [1]),
            event("x", "a", **{"$groups": {"team": "red", "company": "acme"}}),
        ],
    )  # fmt: skip
    assert store.read(GROUP_TYPES) == [("company", "0"), ("team", "1")]
    ((key, properties),) = store.read("SELECT group_key, group_properties FROM groups FINAL")
    assert (key, json.loads(properties)) == ("acme", {"size": 3, "tier": "gold"})
    rows = store.read("SELECT `$group_0`, `$group_1`, `$group_2` FROM events WHERE event = 'x'")
    assert rows == [("acme", "red", "")]


def test_a_sixth_group_type_is_overlooked(store: EventStore) -> None:
    store.append(1, [event("x", "a", **{"$groups": {f"type-{n}": "k" for n in range(6)}})])
    assert len(store.read(GROUP_TYPES)) == 5
    assert store.read("SELECT `$group_4` FROM events") == [("k",)]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("n", 1, "Numeric"), ("n", 1.5, "Numeric"), ("n", "1", "String"), ("b", True, "Boolean"),
        ("b", "false", "Boolean"), ("d", "2026-01-01", "DateTime"), ("n", None, None),
        ("d", "2026-01-01T10:00:00Z", "DateTime"), ("d", "2026-01-01 10:00:00", "DateTime"),
        ("sent_time", 1_700_000_000, "DateTime"), ("time_spent", 12, "Numeric"), ("l", [1], None),
        ("utm_campaign", 7, "String"), ("$feature/x", True, "String"), ("s", "", "String"),
        ("$feature_flag_response", True, "String"), ("o", {"a": 1}, None),
    ],
)  # fmt: skip
def test_types_are_guessed(name: str, value: Any, expected: str | None) -> None:
    assert detect_type(name, value) == expected


def test_the_first_value_decides_the_type(store: EventStore) -> None:
    store.append(1, [event("x", "a", n=None), event("x", "a", n=1), event("x", "a", n="text")])
    store.append(1, [event("x", "a", **{"$set": {"p": True}, "$group_0": "g"})])
    assert store.property_types(1) == {("event", "n"): "Numeric", ("person", "p"): "Boolean"}


def test_projects_know_nothing_of_each_other(store: EventStore) -> None:
    for team in (1, 2):
        store.append(team, [event("x", "ada", **{"$set": {"team": team}})])
    rows = store.read(f"SELECT team_id, properties FROM {PERSONS} ORDER BY 1")
    assert rows == [(1, '{"team":1}'), (2, '{"team":2}')]


def test_a_query_sees_everything(store: EventStore) -> None:
    store.append(1, [event("x", "ada")])
    answer = store.run_query("SELECT count() FROM events JOIN person ON id = person_id")
    assert answer.rows == b"[[1]]"


def test_a_file_is_taken_up_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "box"
    first = EventStore(path)
    first.append(1, [event("x", "anon", **{"$set": {"a": 1}, "$groups": {"company": "acme"}})])
    first.close()
    second = EventStore(path)
    second.append(1, [identify("ada", "anon", **{"$set": {"b": 2}})])
    second.append(1, [event("x", "bob", **{"$groups": {"team": "red"}})])
    assert people(second) == {"ada anon": {"a": 1, "b": 2}, "bob": {}}
    assert second.read("SELECT number FROM person_record FINAL ORDER BY 1") == [(1,), (2,)]
    assert second.read(GROUP_TYPES) == [("company", "0"), ("team", "1")]
    second.close()


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("milk, eggs, and a longer list of things so that it is no empty file" * 100)
    with pytest.raises(ValueError, match=r"cannot open .* as an event store"):
        EventStore(path)


def test_clearing(store: EventStore) -> None:
    store.append(1, [event("x", "ada", **{"$groups": {"company": "acme"}})])
    store.flush()
    store.clear()
    assert (people(store), store.read("SELECT count() FROM events")) == ({}, [(0,)])
    store.append(1, [event("x", "ada")])
    assert list(people(store)) == ["ada"]
