"""Values of properties become the JSON that they mean."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from asyncposthog.capture.values import convert, encode


class Plan(StrEnum):
    PRO = "pro"


class Level(IntEnum):
    HIGH = 3


class Shape(Enum):
    ROUND = ("round", 1)


class Address(BaseModel):
    city: str
    price: Decimal


@dataclass
class Seat:
    row: int
    since: date


IDENTITY = UUID("01890000-0000-7000-8000-000000000001")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Plan.PRO, "pro"),
        (Level.HIGH, 3),
        (Shape.ROUND, ["round", 1]),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (IDENTITY, str(IDENTITY)),
        (Decimal("12.50"), 12.5),
        (Decimal("NaN"), None),
        (b"text", "text"),
        (("a", 1), ["a", 1]),
        (deque([1, 2]), [1, 2]),
        ({"only"}, ["only"]),
        (range(3), [0, 1, 2]),
        (PurePosixPath("a/b"), "a/b"),
        (Address(city="Utrecht", price=Decimal("2.5")), {"city": "Utrecht", "price": 2.5}),
        (Seat(3, date(2026, 1, 2)), {"row": 3, "since": "2026-01-02"}),
        ({2: "a", None: "b", True: "c", IDENTITY: "d"},
         {"2": "a", "null": "b", "true": "c", str(IDENTITY): "d"}),
        (float("inf"), None),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values(value: Any, expected: Any) -> None:
    found = json.loads(encode(convert({"a": {"b": [value]}, "c": value})))
    assert found == {"a": {"b": [expected]}, "c": expected}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), children
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=30)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON))
def test_json_stays_as_it_is(properties: dict[str, Any]) -> None:
    assert json.loads(encode(convert(properties))) == properties


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({"cart": {"items": [1, {"what": object()}]}}, "properties.cart.items.1.what is of the"),
        ({"kind": Address}, "properties.kind is the class Address"),
        ({"raw": b"\xff"}, "properties.raw is bytes that are not UTF-8"),
        ({"map": {("a",): 1}}, "properties.map is a mapping with a key of the type tuple"),
    ],
)
def test_the_error_of_a_value_names_its_path(properties: dict[str, Any], path: str) -> None:
    with pytest.raises(TypeError, match=path):
        convert(properties)


def test_a_container_that_contains_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="properties contains itself"):
        convert({"loop": loop})


@pytest.mark.parametrize("event", [{"a": {"b": ["\ud800"]}}, {"a": {"b": {"\udfff": 1}}}])
def test_the_error_of_invalid_text_names_its_path(event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"as JSON at a\.b"):
        encode(event)
