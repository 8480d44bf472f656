"""Events and properties in HogQL: names and values are never in its text."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog.recipes import Event
from asyncposthog.recipes.conditions import QueryBuilder, as_events
from asyncposthog.recipes.periods import last_days

# A mark that HogQL has nowhere, so that finding it means that the value is in the text.
MARKED = st.text(max_size=20).map(lambda text: f"§{text}§")


@given(MARKED, MARKED, MARKED, st.lists(MARKED, min_size=1, max_size=3))
@settings(max_examples=50)
def test_text_of_users_is_in_the_values_alone(
    event: str, name: str, value: str, texts: list[str]
) -> None:
    query = QueryBuilder()
    filtered = Event(event, {name: value, f"person.{name}": texts})
    condition = query.matches(filtered)
    assert "§" not in condition
    sent = list(query.values.values())
    assert event in sent
    assert name in sent
    assert value in sent
    assert texts in sent
    assert all(f"{{{key}}}" in condition for key in query.values)


def test_values_are_compared_by_their_type() -> None:
    query = QueryBuilder()
    condition = query.matches(Event("e", {"a": True, "b": 3, "c": "x", "person.d": ["y"]}))
    assert condition == (
        "(event = {v0} AND toString(properties[{v1}]) = {v2} AND toFloat(properties[{v3}]) = {v4} "
        "AND toString(properties[{v5}]) = {v6} AND toString(person.properties[{v7}]) IN {v8})"
    )
    assert list(query.values.values()) == ["e", "a", "true", "b", 3, "c", "x", "d", ["y"]]


def test_equal_values_share_a_placeholder_and_copies_do_not() -> None:
    query = QueryBuilder()
    assert query.bind("a") == query.bind("a") == "{v0}"
    # True equals 1 in Python, and is something else in HogQL.
    assert query.bind(1) != query.bind(True)
    other = query.copy()
    assert other.bind("b") == query.bind("c")
    assert (other.values["v3"], query.values["v3"]) == ("b", "c")
    assert query.during(last_days(1, datetime(2026, 1, 2, tzinfo=UTC))) == (
        "timestamp >= {v4} AND timestamp < {v5}"
    )


def test_the_label_of_an_event() -> None:
    assert str(Event("paid")) == "paid"
    assert str(Event("paid", {"plan": ["a", "b"], "new": True})) == "paid (plan=a|b, new=true)"
    event = Event("paid", {"plan": "a"}, label="Paid")
    assert str(event) == "Paid"
    assert pickle.loads(pickle.dumps(event)) == event


def test_invalid_events_are_rejected() -> None:
    for wrong in ("", None):
        with pytest.raises(ValueError, match="an event is a name"):
            Event(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one event"):
        as_events([])
    with pytest.raises(ValueError, match="'a' twice: give them different labels"):
        as_events(["a", Event("a")])
    for name in ("", "person."):
        with pytest.raises(ValueError, match="a property is a name"):
            QueryBuilder().property(name)
    with pytest.raises(TypeError, match="a list of texts"):
        QueryBuilder().equals("a", [])
