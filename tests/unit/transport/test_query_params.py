"""Query strings and header parameters."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from asyncposthog.operation import Operation, Parameter
from asyncposthog.transport.encoding.query_params import encode_headers, encode_query
from asyncposthog.types import OMIT


class Colour(enum.Enum):
    RED = "red"


class Filter(BaseModel):
    kind_: str = Field(alias="kind")
    value: int | None = None


def query(name: str, value: object, **parameter: Any) -> str:
    declared = (Parameter(name=name, python_name=name, location="query", **parameter),)
    operation = Operation(id="things.list", method="GET", path="/", owner=None, parameters=declared)
    return encode_query(operation, {name: value})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x y", "a=x%20y"),
        ("", "a="),
        ("a&b=c+d", "a=a%26b%3Dc%2Bd"),
        (True, "a=true"),
        (False, "a=false"),
        (3, "a=3"),
        (1.5, "a=1.5"),
        (Decimal("1.50"), "a=1.50"),
        (UUID(int=1), "a=00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "a=red"),
        (date(2026, 1, 2), "a=2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "a=2026-01-02T03%3A04%3A05%2B00%3A00"),
        (
            datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            "a=2026-01-02T00%3A00%3A00%2B02%3A00",
        ),
        (OMIT, ""),
        ([1, 2], "a=1&a=2"),
        ((True, Colour.RED), "a=true&a=red"),
    ],
)
def test_values(value: object, text: str) -> None:
    assert query("a", value, type="array") == text


def test_joined_arrays() -> None:
    assert query("a", [1, "x y"], type="array", explode=False) == "a=1,x%20y"
    with pytest.raises(ValueError, match="item with a comma"):
        query("a", ["x,y"], type="array", explode=False)


def test_json_in_a_string_parameter() -> None:
    assert query("a", {"b": [1, None]}) == "a=%7B%22b%22%3A%5B1%2Cnull%5D%7D"
    assert query("a", [{"b": True}]) == "a=%5B%7B%22b%22%3Atrue%7D%5D"
    assert query("a", Filter(kind="x")) == "a=%7B%22kind%22%3A%22x%22%7D"


def test_presence() -> None:
    assert query("delete_events", True, presence_only=True) == "delete_events=true"
    assert query("delete_events", False, presence_only=True) == ""
    for value in ("false", 0, None):
        with pytest.raises(TypeError):
            query("delete_events", value, presence_only=True)


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (None, TypeError, "leave it out"),
        ([], ValueError, "leave it out"),
        (b"x", TypeError, "it is bytes"),
        (object(), TypeError, "it is object"),
        (datetime(2026, 1, 2), ValueError, "without a time zone"),
        (float("nan"), ValueError, "not a finite number"),
        ([None], TypeError, "NoneType"),
        ("\ud800", ValueError, "surrogate"),
    ],
)
def test_refused(value: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        query("since", value, type="array")
    assert str(caught.value).startswith("things.list: since ")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("limit", 0, ValueError),
        ("limit", -1, ValueError),
        ("limit", True, TypeError),
        ("limit", 1.5, TypeError),
        ("limit", None, TypeError),
        ("offset", -1, ValueError),
        ("page", 0, ValueError),
        ("page_size", 0, ValueError),
    ],
)
def test_ranges(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        query(name, value, type="integer")


def test_ranges_that_pass() -> None:
    assert query("limit", 1) == "limit=1"
    assert query("offset", 0) == "offset=0"
    # What the server's own `next` says comes back as text.
    assert query("limit", "100") == "limit=100"


def test_undeclared_parameters_pass() -> None:
    operation = Operation(id="things.list", method="GET", path="/", owner=None)
    assert encode_query(operation, {"new": [1, 2], "also[]": "x"}) == "new=1&new=2&also[]=x"


def test_headers() -> None:
    operation = Operation(id="things.list", method="GET", path="/", owner=None)
    assert encode_headers(operation, {"X-A": True, "X-B": OMIT, "X-C": 7}) == [
        ("X-A", "true"),
        ("X-C", "7"),
    ]
    for value in ("a\r\nX-Evil: 1", "é", "a\0"):
        with pytest.raises(ValueError, match="X-A"):
            encode_headers(operation, {"X-A": value})
    with pytest.raises(TypeError):
        encode_headers(operation, {"X-A": None})


_TEXT = st.text(st.characters(exclude_categories=("Cs",)))


@given(st.dictionaries(_TEXT.filter(lambda n: n not in {"limit", "page"}), _TEXT, max_size=5))
def test_round_trip(values: dict[str, str]) -> None:
    operation = Operation(id="things.list", method="GET", path="/", owner=None)
    text = encode_query(operation, dict(values))
    sent = httpx.URL(f"https://ph.example.org/?{text}").raw_path.decode()
    assert sent.partition("?")[2] == text
    assert dict(parse_qsl(text, keep_blank_values=True)) == values
