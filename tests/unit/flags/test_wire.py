"""Responses of `/flags` in all versions, and responses that are none."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog import DecodeError
from asyncposthog.flags.wire import parse_response

from .helpers import record

TEXT = st.text(max_size=5)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "flags", "featureFlags", "featureFlagPayloads", "errorsWhileComputingFlags", "quotaLimited",
    "requestId", "evaluatedAt", "minimalFlagCalledEvents", "key", "enabled", "variant", "reason",
    "metadata", "payload", "value", "failed", "code", "id", "version",
]  # fmt: skip
BODIES = st.recursive(
    JSON_VALUES,
    lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=12,
)


def parse(**body: Any) -> Any:
    return parse_response(json.dumps(body).encode())


@given(BODIES)
def test_whatever_the_server_sends_is_parsed_or_refused(body: Any) -> None:
    with suppress(DecodeError):
        parsed = parse_response(json.dumps(body).encode())
        for key, result in parsed.results.items():
            assert result.key == key
            assert isinstance(result.value, bool | str)
            assert isinstance(result.enabled, bool)
        assert not parsed.results.keys() & parsed.unavailable.keys()


@given(st.binary(max_size=20))
def test_bytes_that_are_no_json(content: bytes) -> None:
    with suppress(DecodeError):
        parse_response(content)


def test_typed_values_of_newer_versions() -> None:
    metadata = {"id": 1, "version": 2, "config_version": 2, "rule_type": "experiment",
                "rule_id": "r", "variant_key": "b"}  # fmt: skip
    parsed = parse(
        flags={
            "on": {"value": True, "metadata": metadata},
            "off": {"value": False},
            "variant": {"value": "b"},
            "number": {"value": 3.5, "metadata": {"payload": "ignored"}},
            "object": {"value": {"a": [1]}},
            "none": {"value": None},
            "failed": {"value": True, "failed": True},
        }
    )
    assert {key: result.value for key, result in parsed.results.items()} == {
        "on": True,
        "off": False,
        "variant": "b",
        "number": True,
        "object": True,
    }
    assert parsed.results["number"].payload == 3.5
    assert parsed.results["object"].payload == {"a": [1]}
    assert set(parsed.unavailable) == {"none", "failed"}
    on = parsed.results["on"]
    assert (on.config_version, on.rule_type, on.variant_key) == (2, "experiment", "b")


def test_legacy_responses() -> None:
    parsed = parse(
        featureFlags={"on": True, "off": False, "variant": "b", "odd": 3},
        featureFlagPayloads={"on": '{"a":1}', "variant": None, "off": [1]},
    )
    assert {key: result.value for key, result in parsed.results.items()} == {
        "on": True,
        "off": False,
        "variant": "b",
    }
    assert parsed.results["on"].payload == {"a": 1}
    assert parsed.results["off"].payload == [1]
    assert list(parsed.unavailable) == ["odd"]


@pytest.mark.parametrize("bad", [None, 1, "x", [], {}, {"enabled": "yes"}, {"enabled": None}])
def test_an_unreadable_record_spoils_only_itself(bad: Any) -> None:
    parsed = parse(flags={"bad": bad, "good": record("good")})
    assert list(parsed.results) == ["good"]
    assert list(parsed.unavailable) == ["bad"]


def test_a_disabled_flag_has_no_variant() -> None:
    assert parse(flags={"f": record("f", enabled=False, variant="b")}).results["f"].value is False


@pytest.mark.parametrize("at", [None, True, "now", 1e30, float("inf")])
def test_an_odd_time_is_ignored(at: Any) -> None:
    content = json.dumps({"flags": {}, "evaluatedAt": at}).encode()
    with suppress(DecodeError):
        assert parse_response(content).evaluated_at is None
