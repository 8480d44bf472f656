"""Three-way merges of JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.flags.merge import merge

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from("ab"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_one_editor_wins(original: Any, changed: Any) -> None:
    assert merge(original, changed, original) == (changed, [])
    assert merge(original, original, changed) == (changed, [])
    assert merge(original, changed, changed) == (changed, [])


@given(VALUES, VALUES, VALUES)
def test_a_merge_without_conflict_has_no_sides(original: Any, mine: Any, theirs: Any) -> None:
    merged, conflicts = merge(original, mine, theirs)
    other, other_conflicts = merge(original, theirs, mine)
    assert sorted(conflicts) == sorted(other_conflicts)
    if not conflicts:
        assert merged == other


@pytest.mark.parametrize(
    ("original", "mine", "theirs", "merged", "conflicts"),
    [
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}, []),
        ({"a": 1}, {}, {"a": 1, "b": 2}, {"b": 2}, []),
        ({"a": 1}, {}, {"a": 2}, {}, ["f.a"]),
        ({"a": 1}, {"a": 2}, {}, {"a": 2}, ["f.a"]),
        ({}, {"a": {"x": 1}}, {"a": {"y": 1}}, {"a": {"x": 1, "y": 1}}, []),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 2]}, ["f.a"]),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 3}}, {"a": {"b": 2}}, ["f.a.b"]),
        ({"a": 1}, {"a": True}, {"a": 1, "b": 0}, {"a": True, "b": 0}, []),
        (None, {"a": 1}, None, {"a": 1}, []),
    ],
)
def test_objects_are_merged_key_by_key(
    original: Any, mine: Any, theirs: Any, merged: Any, conflicts: list[str]
) -> None:
    assert merge(original, mine, theirs, "f") == (merged, conflicts)
