"""HogQL against SQL written by hand: the same rows for every query of the corpus."""

from __future__ import annotations

import re

import pytest

from posthog_emulator.hogql.calls import MACROS
from posthog_emulator.hogql.comparisons import NAMES
from posthog_emulator.hogql.functions.tables import aggregate_functions, scalar_functions
from tests.emulator.hogql.corpus import (
    Entry,
    Outcome,
    compare_expressions,
    compare_queries,
    entries,
    generated_aggregates,
)
from tests.helpers.clickhouse import engine_functions

EXPRESSIONS = {
    "scalars": [*entries("scalars.txt")],
    "aggregates": [one for one in entries("aggregates.txt") if not one.hogql.startswith("SELECT")],
    "generated": [one for one in generated_aggregates() if not one.hogql.startswith("SELECT")],
}
QUERIES = {
    "queries": [*entries("queries.txt")],
    "merges": [
        one
        for one in [*entries("aggregates.txt"), *generated_aggregates()]
        if one.hogql.startswith("SELECT")
    ],
}
LITE = "dictGet" not in engine_functions()
"""Whether the installed engine is the lite build."""


def _check(outcome: Outcome, name: str) -> None:
    print(
        f"{name}: {outcome.same} of {outcome.total} the same, {len(outcome.wrong)} wrong, "
        f"{len(outcome.refused)} refused, {len(outcome.lacking)} not in this engine"
    )
    assert outcome.wrong == []
    assert outcome.refused == []
    # Only the lite build lacks functions; of two the full build for this platform lacks too.
    assert LITE or len(outcome.lacking) <= 3, outcome.lacking


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions(name: str) -> None:
    _check(compare_expressions(EXPRESSIONS[name]), name)


@pytest.mark.parametrize("name", QUERIES)
def test_queries(name: str) -> None:
    _check(compare_queries(QUERIES[name]), name)


def test_every_function_is_in_the_corpus() -> None:
    everything: list[Entry] = [
        one for group in (*EXPRESSIONS.values(), *QUERIES.values()) for one in group
    ]
    called = set(re.findall(r"([A-Za-z_]\w*)\(", " ".join(one.hogql for one in everything)))
    known = {*scalar_functions(), *aggregate_functions(), *NAMES}
    # The casts whose names begin with `_` are all of one kind.
    missing = {name for name in known - called if not name.startswith("_")}
    assert missing == set()
    assert len(everything) >= 500
    assert not {"embedText", "isLikelyBot"} - set(MACROS)
