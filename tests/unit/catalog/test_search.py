"""Searching operations: the phrasings written before the search, names, filters, near matches."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncposthog import registry
from asyncposthog.catalog.search import near_matches, search, summary

PHRASINGS = Path(__file__).resolve().parents[3] / "benchmarks" / "agents_phrasings.tsv"


def phrasings() -> list[tuple[str, set[str]]]:
    lines = PHRASINGS.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if not line.startswith("#")]
    return [(text, set(ids.split())) for text, ids in pairs]


def test_the_operation_meant_is_among_the_first_five() -> None:
    found = 0
    for text, meant in phrasings():
        found += bool(meant & {match.operation.id for match in search(text)})
    assert len(phrasings()) == 100
    assert found >= 95


def test_every_operation_is_found_by_its_id() -> None:
    # A sample of each family; the path of the code is the same for all.
    for family in registry.FAMILIES:
        operation = next(o for o in registry.operations() if o.id.startswith(f"{family}."))
        assert search(operation.id)[0].operation is operation


def test_only_permitted_operations_are_found() -> None:
    matches = search("feature flag", 20, where=lambda operation: not operation.writes)
    assert matches
    assert not any(match.operation.writes for match in matches)


def test_the_best_match_comes_first_and_the_limit_is_kept() -> None:
    matches = search("create a dashboard", 3)
    assert len(matches) == 3
    assert matches[0].operation.id == "dashboards.create"
    assert [m.score for m in matches] == sorted((m.score for m in matches), reverse=True)


@pytest.mark.parametrize("text", ["", "?!", "the of and", "zzzxqy"])
def test_what_says_nothing_finds_nothing(text: str) -> None:
    assert search(text) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("feature_flag.list", "feature_flags.list"),
        ("flags.list", "feature_flags.list"),
        ("survey.create", "surveys.create"),
        ("cohorts.get_persons", "cohorts.persons"),
    ],
)
def test_near_matches_of_a_wrong_name(name: str, meant: str) -> None:
    assert meant in near_matches(name)


def test_every_operation_has_a_summary() -> None:
    for operation in registry.operations():
        assert summary(operation).endswith(".")
        assert len(summary(operation)) < 400, operation.id
