"""Conversion of columns to Arrow."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given

from asyncposthog.query.arrow import arrow_array, arrow_schema, arrow_type
from asyncposthog.query.clickhouse import parse_type, parse_type_lenient

from .test_clickhouse import TYPES

UUID_TEXT = "01902f5c-0000-7000-8000-00000000abcd"
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("UInt64", pa.uint64()),
        ("Nullable(Int8)", pa.int8()),
        ("Float32", pa.float32()),
        ("Bool", pa.bool_()),
        ("LowCardinality(String)", pa.string()),
        ("UUID", pa.string()),
        ("Enum8('a' = 1)", pa.string()),
        ("Date", pa.date32()),
        ("DateTime", pa.timestamp("us", "UTC")),
        ("DateTime64(6, 'Europe/Berlin')", pa.timestamp("us", "Europe/Berlin")),
        ("DateTime64(9, 'UTC')", pa.timestamp("ns", "UTC")),
        ("Decimal(18, 4)", pa.decimal128(18, 4)),
        ("Decimal256(4)", pa.decimal256(76, 4)),
        ("UInt128", pa.decimal256(39, 0)),
        ("UInt256", pa.string()),
        ("IntervalDay", pa.int64()),
        ("Nothing", pa.null()),
        ("Array(Nullable(Date))", pa.list_(pa.date32())),
        ("Map(String, UInt8)", pa.map_(pa.string(), pa.uint8())),
        ("Tuple(UInt8, String)", pa.struct([("1", pa.uint8()), ("2", pa.string())])),
        ("Nested(a UInt8)", pa.list_(pa.struct([("a", pa.uint8())]))),
        ("JSON", pa.string()),
        ("Variant(String, UInt8)", pa.string()),
        ("Tuple()", pa.string()),
    ],
)
def test_types(name: str, expected: pa.DataType) -> None:
    assert arrow_type(parse_type(name)) == expected


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("UInt64", [2**64 - 1, None], [2**64 - 1, None]),
        ("UInt64", ["18446744073709551615"], [2**64 - 1]),
        ("Float64", [1, 2.5, None, "inf"], [1.0, 2.5, None, float("inf")]),
        ("Bool", [True, None], [True, None]),
        ("Bool", [1, 0], [True, False]),
        ("UUID", [UUID_TEXT, None], [UUID_TEXT, None]),
        ("String", ["a", {"b": 1}, 7, None], ["a", '{"b":1}', "7", None]),
        ("DateTime64(6, 'UTC')", ["2026-01-02T03:04:05.123456Z", None], [MOMENT, None]),
        ("DateTime64(6, 'UTC')", ["2026-01-02 03:04:05.123456"], [MOMENT]),
        ("DateTime", ["2026-01-02T05:04:05.123456+02:00"], [MOMENT]),
        ("Date", ["2026-01-02", None], [date(2026, 1, 2), None]),
        ("Date", ["2026-01-02T00:00:00Z"], [date(2026, 1, 2)]),
        ("Decimal(18, 4)", ["1.5", 2, 0.1, None],
         [Decimal("1.5000"), Decimal("2.0000"), Decimal("0.1000"), None]),
        ("UInt128", [2**100, "7"], [Decimal(2**100), Decimal(7)]),
        ("Array(Date)", [["2026-01-02", None], None, []], [[date(2026, 1, 2), None], None, []]),
        ("Array(String)", [["a"], []], [["a"], []]),
        ("Tuple(UInt8, String)", [[1, "a"], None], [{"1": 1, "2": "a"}, None]),
        ("Tuple(a UInt8, b Date)", [{"a": 1, "b": None}], [{"a": 1, "b": None}]),
        ("Map(UInt8, Date)", [{"1": "2026-01-02"}], [[(1, date(2026, 1, 2))]]),
        ("Nothing", [None, None], [None, None]),
        ("Variant(String, UInt8)", ["a", 1, [1]], ["a", "1", "[1]"]),
        ("UInt8", [], []),
    ],
)  # fmt: skip
def test_arrays(name: str, values: list[Any], expected: list[Any]) -> None:
    array = arrow_array(parse_type(name), values)
    assert array.type == arrow_type(parse_type(name))
    assert array.to_pylist() == expected


def test_nanoseconds_survive() -> None:
    array = arrow_array(parse_type("DateTime64(9, 'UTC')"), ["2026-01-02T03:04:05.123456789Z"])
    assert array.cast(pa.int64()).to_pylist()[0] % 10**9 == 123456789


@pytest.mark.parametrize(
    ("name", "bad"),
    [("UInt8", 300), ("UInt8", 1.5), ("Int64", "x"), ("Float64", "x"), ("Date", "x"),
     ("DateTime", "x"), ("Decimal(4, 2)", "123.456"), ("Array(UInt8)", 7),
     ("Tuple(UInt8, UInt8)", [1]), ("Map(String, UInt8)", 7), ("Bool", "x"), ("Nothing", 1)],
)  # fmt: skip
def test_values_that_do_not_match_the_type(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match="is no") as caught:
        arrow_array(parse_type(name), [None, bad])
    assert repr(bad) in str(caught.value)
    assert str(parse_type(name)) in str(caught.value)


def test_schema() -> None:
    schema = arrow_schema(["a", "b"], [parse_type("String"), parse_type_lenient("What(")])
    assert schema == pa.schema([("a", pa.string()), ("b", pa.string())])


@given(TYPES)
def test_every_type_has_an_array(text: str) -> None:
    kind = parse_type(text)
    array = arrow_array(kind, [None])
    assert array.type == arrow_type(kind)
    assert array.null_count == 1


def test_uuids_as_text_or_arrow_uuids() -> None:
    kind, text = parse_type("Nullable(UUID)"), parse_type("String")
    odd = UUID_TEXT.replace("-", "").upper()
    array = arrow_array(kind, [UUID_TEXT, None, odd], uuids=True)
    assert array.type == pa.uuid()
    assert array.to_pylist() == [UUID(UUID_TEXT), None, UUID(UUID_TEXT)]
    assert arrow_array(kind, [], uuids=True).to_pylist() == []
    assert arrow_array(text, [UUID_TEXT], uuids=True).type == pa.string()
    assert arrow_schema(["a", "b"], [kind, text], uuids=True).types == [pa.uuid(), pa.string()]
    for bad in ("no", 7, UUID_TEXT + "0"):
        with pytest.raises(ValueError, match="is not a UUID"):
            arrow_array(kind, [UUID_TEXT, bad], uuids=True)
