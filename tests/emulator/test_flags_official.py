"""Our evaluation beside that of PostHog's own package: they have to agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from posthog import feature_flags as official
from posthog.types import UnresolvedFlagReason

from posthog_emulator.features.flags.conditions import EvaluationError, matches
from posthog_emulator.features.flags.evaluator import Evaluator, Subject
from posthog_emulator.features.flags.hashing import (
    hash_fraction,
    in_holdout,
    in_rollout,
    variant_for,
)
from posthog_emulator.relative_dates import parse_date, parse_version

WORDS = st.sampled_from(["", "a", "A", "paid", "Paid ", "ähm", "1", "1.5", "true", "False", "x.y"])
NUMBERS = st.integers(-3, 300) | st.sampled_from([0.5, 1.0, 2.25, -1.5])
DATES = st.sampled_from(
    ["2026-01-01", "2025-12-31T23:00:00Z", "2026-01-01 10:00:00 +02:00", "-7d", "3m", "1y", "-48h",
     "2w", "2024", "2026-02-30", "soon"]
)  # fmt: skip
VERSIONS = st.sampled_from(
    [
        "1.2.3",
        "1.2",
        "1",
        "v1.3.0",
        "0.0.3",
        "0.2.0",
        "2.0.0-beta",
        "1.02.0",
        "x",
        "1.2.3.4",
        " 1.2",
    ]
)
RANGES = st.sampled_from(["1.*", "1.2.*", "*"])
PATTERNS = st.sampled_from(["a", "^a$", "[", "p.*d", "(a|b)", "x\\.y$", "(?:1)+", "^$", "\\d"])
SCALARS = WORDS | NUMBERS | st.booleans() | st.none() | DATES | VERSIONS
LISTS = st.lists(SCALARS, max_size=3)
VALUES = SCALARS | LISTS | st.dictionaries(WORDS, SCALARS, max_size=2)
IDS = st.text(max_size=12) | st.uuids().map(str)
KEYS = st.text("abc-_.é", min_size=1, max_size=8)

FILTERS = st.one_of(
    st.tuples(
        st.sampled_from(official.EQUALITY_OPERATORS), SCALARS | st.lists(SCALARS, max_size=3)
    ),
    st.tuples(st.sampled_from([o for o in official.STRING_OPERATORS if "regex" not in o]), SCALARS),
    st.tuples(st.sampled_from(["regex", "not_regex"]), PATTERNS),
    st.tuples(st.sampled_from(official.NUMERIC_OPERATORS), NUMBERS | WORDS),
    st.tuples(st.sampled_from(official.DATE_OPERATORS), DATES),
    st.tuples(st.sampled_from(official.SEMVER_COMPARISON_OPERATORS), VERSIONS),
    st.tuples(
        st.sampled_from(official.SEMVER_RANGE_OPERATORS),
        VERSIONS | RANGES,
    ),
).map(lambda pair: {"key": "p", "type": "person", "operator": pair[0], "value": pair[1]})


@given(KEYS, IDS, st.sampled_from(["", "variant"]))
def test_the_hash(key: str, identifier: str, salt: str) -> None:
    assert hash_fraction(f"{key}.", identifier, salt) == official._hash(key, identifier, salt)


def test_the_hash_never_moves() -> None:
    assert hash_fraction("simple-flag.", "distinct_id") == 0.3457103347480679
    assert hash_fraction("simple-flag.", "distinct_id", "variant") == 0.5441445815159149


@given(IDS, st.floats(-10, 110))
def test_holdouts(identifier: str, percentage: float) -> None:
    flag = {"key": "f", "filters": {"holdout": {"id": 1, "exclusion_percentage": percentage}}}
    held = official._get_holdout_variant(flag, identifier) is not None
    assert in_holdout(identifier, percentage) == held


@given(KEYS, IDS, st.lists(st.integers(0, 60), max_size=4))
def test_variants(key: str, identifier: str, shares: list[int]) -> None:
    variants = [{"key": str(n), "rollout_percentage": share} for n, share in enumerate(shares)]
    flag = {"key": key, "filters": {"multivariate": {"variants": variants}}}
    assert variant_for(key, identifier, variants) == official.get_matching_variant(flag, identifier)


def deferred(condition: dict[str, Any], value: Any) -> bool:
    """Tell whether their client leaves to the server what the server can judge."""
    try:
        official.match_property(condition, {"p": value})
    except official.InconclusiveMatchError:
        # The server reads a number as a Unix time.
        is_date = condition["operator"] in official.DATE_OPERATORS
        return "regex" in condition["operator"] or (is_date and isinstance(value, int | float))
    return False


@given(FILTERS, VALUES)
def test_one_filter(condition: dict[str, Any], value: Any) -> None:
    ours: bool | None
    try:
        ours = matches(condition, {"p": value}, datetime.now(UTC))
    except EvaluationError:
        ours = None
    try:
        theirs = official.match_property(condition, {"p": value})
    except official.InconclusiveMatchError as error:
        # What their client leaves to the server: a filter that makes no sense, which the server
        # cannot judge either, and a value that does not, which is no match.
        unsupported = error.reason == UnresolvedFlagReason.UNSUPPORTED_DEFINITION
        theirs = ours if deferred(condition, value) else None if unsupported else False
    assert ours == theirs, (condition, value)


CONDITIONS = st.fixed_dictionaries(
    {
        "properties": st.lists(FILTERS, max_size=2),
        "rollout_percentage": st.none() | st.integers(0, 100),
        "variant": st.none() | st.sampled_from(["0", "1", "gone"]),
    }
)
SHARES = st.sampled_from([[], [100], [50, 50], [33, 33]]).map(
    lambda shares: [
        {"key": str(place), "rollout_percentage": share} for place, share in enumerate(shares)
    ]
)
FLAGS = st.fixed_dictionaries(
    {
        "id": st.just(1),
        "key": KEYS,
        "active": st.just(True),
        "filters": st.fixed_dictionaries(
            {
                "groups": st.lists(CONDITIONS, max_size=3),
                "early_exit": st.booleans(),
                "multivariate": st.fixed_dictionaries({"variants": SHARES}),
            }
        ),
    }
)


@given(FLAGS, IDS, VALUES)
def test_one_flag(flag: dict[str, Any], distinct_id: str, value: Any) -> None:
    held = {"p": value, "distinct_id": distinct_id}
    ours = Evaluator([flag], Subject(distinct_id, held), datetime.now(UTC)).evaluate(flag["key"])
    try:
        theirs = official.match_feature_flag_properties(
            flag, distinct_id, held, bucketing_value=distinct_id
        )
    except official.InconclusiveMatchError:
        return  # left to the server
    filters = [one for group in flag["filters"]["groups"] for one in group["properties"]]
    # Of a condition that is left to the server their client makes nothing, where another matches.
    if not ours.failed and not any(deferred(one, value) for one in filters):
        assert ours.value == theirs


@given(st.sampled_from(["a", "b"]), IDS, st.integers(0, 100))
def test_rollout(key: str, identifier: str, percentage: int) -> None:
    out = official._hash(key, identifier) > percentage / 100
    assert in_rollout(key, identifier, percentage) != out


@given(st.integers(0, 400), st.sampled_from("hdwmy"))
def test_relative_dates(count: int, unit: str) -> None:
    text = f"-{count}{unit}"
    before = datetime.now(UTC)
    theirs = official.relative_date_parse_for_feature_flag_matching(text)
    ours = parse_date(text, before)
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None:
        assert abs((ours - theirs).total_seconds()) < 60


@given(VERSIONS | st.text("0123456789.v-+ ", max_size=8))
def test_versions(text: str) -> None:
    try:
        theirs = official.parse_semver(text)
    except ValueError:
        theirs = None
    assert parse_version(text) == theirs
