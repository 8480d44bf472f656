"""ClickHouse type names, and conversion of columns to Python."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.query.clickhouse import ColumnType, column_types, parse_type, parse_type_lenient
from asyncposthog.query.convert import convert_column, value_converter

UUID_TEXT = "01902f5c-0000-7000-8000-00000000abcd"


def column(name: str, *values: Any) -> list[Any]:
    misfits: list[Any] = []
    converted = list(convert_column(parse_type(name), values, misfits.append))
    assert not misfits
    return converted


@pytest.mark.parametrize(
    ("text", "name", "items", "parameters"),
    [
        ("String", "String", [], ()),
        ("DateTime64(6, 'UTC')", "DateTime64", [], (6, "UTC")),
        ("Nullable(UInt8)", "Nullable", ["UInt8"], ()),
        ("Array(Tuple(String, Float64))", "Array", ["Tuple(String, Float64)"], ()),
        ("Map(LowCardinality(String), Array(Int64))", "Map",
         ["LowCardinality(String)", "Array(Int64)"], ()),
        ("Decimal(18, 4)", "Decimal", [], (18, 4)),
        ("Enum8('a' = 1, 'b\\'c' = -2, '' = 0)", "Enum8", [], ("a", "b'c", "")),
        ("AggregateFunction(quantiles(0.5, 0.9), UInt64)", "AggregateFunction",
         ["quantiles(0.5, 0.9)", "UInt64"], ()),
        ("JSON(max_dynamic_paths=8)", "JSON", [], ()),
        ("  Array ( String )  ", "Array", ["String"], ()),
        ("Tuple()", "Tuple", [], ()),
    ],
)  # fmt: skip
def test_types(text: str, name: str, items: list[str], parameters: tuple[Any, ...]) -> None:
    kind = parse_type(text)
    assert (kind.name, [str(i) for i in kind.items], kind.parameters) == (name, items, parameters)


def test_labels() -> None:
    kind = parse_type('Tuple(a String, `b c` Nullable(UInt8), "d" Date)')
    assert kind.labels == ("a", "b c", "d")
    assert [str(i) for i in kind.items] == ["String", "Nullable(UInt8)", "Date"]


@pytest.mark.parametrize(
    "text",
    ["", "Array(", "Array)", "Array(String", "Foo)", "(String)", "Array(,)",
     "Tuple(a String, UInt8)", "Enum8('a", "String String", "Decimal(18 4)", "é",
     "Nullable(" * 200 + "String" + ")" * 200],
)  # fmt: skip
def test_text_that_is_not_a_type(text: str) -> None:
    with pytest.raises(ValueError, match="not a ClickHouse type"):
        parse_type(text)
    assert parse_type_lenient(text) == ColumnType(text)
    assert list(convert_column(parse_type_lenient(text), [1, "a", None])) == [1, "a", None]


def test_properties() -> None:
    assert parse_type("LowCardinality(Nullable(String))").nullable
    assert not parse_type("Array(Nullable(String))").nullable
    assert parse_type("LowCardinality(Nullable(String))").base == parse_type("String")
    assert parse_type("SimpleAggregateFunction(max, DateTime)").base == parse_type("DateTime")
    assert parse_type("Point").base == parse_type("Tuple(Float64, Float64)")
    assert parse_type("Nested(a String, b UInt8)").base == parse_type(
        "Array(Tuple(a String, b UInt8))"
    )
    assert parse_type("DateTime('Europe/Berlin')").zone == "Europe/Berlin"
    assert (parse_type("DateTime").zone, parse_type("String").zone) == (None, None)
    digits = {"DateTime64(6)": 6, "DateTime64": 3, "DateTime": 0, "Decimal(18, 4)": 4,
              "Decimal64(3)": 3, "Decimal(5)": 0, "String": 0}  # fmt: skip
    assert {text: parse_type(text).digits for text in digits} == digits
    precision = {"Decimal(18, 4)": 18, "Decimal32(2)": 9, "Decimal256(2)": 76, "Decimal": 10}
    assert {text: parse_type(text).precision for text in precision} == precision


def test_column_types() -> None:
    pairs = [["a", "String"], ["b", "UInt8"]]
    assert column_types(pairs, 2) == (parse_type("String"), parse_type("UInt8"))
    assert column_types(["String", "Date"], 2) == (parse_type("String"), parse_type("Date"))
    unknown = ColumnType("Unknown")
    assert column_types(None, 2) == (unknown, unknown)
    assert column_types([["a", "String"]], 2) == (parse_type("String"), unknown)
    assert column_types([["a", None], [], "]"], 3)[0] == unknown


_NAMES = st.sampled_from(
    ["String", "UInt64", "Int8", "Float64", "Bool", "UUID", "Date", "DateTime64(6, 'UTC')",
     "DateTime('Asia/Kolkata')", "Decimal(18, 4)", "FixedString(3)", "Enum8('a' = 1)"]
)  # fmt: skip


def _nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        inner.map("Nullable({})".format),
        inner.map("Array({})".format),
        st.lists(inner, min_size=1, max_size=3).map(lambda i: f"Tuple({', '.join(i)})"),
        inner.map("Map(String, {})".format),
    )


TYPES = st.recursive(_NAMES, _nested, max_leaves=6)


@given(TYPES)
def test_parsing_keeps_the_text(text: str) -> None:
    assert str(parse_type(text)) == text
    assert parse_type(f" {text.replace(', ', ' ,  ')} ") == parse_type(text)


@given(st.text(max_size=40))
def test_any_text_is_accepted_by_the_lenient_parser(text: str) -> None:
    kind = parse_type_lenient(text)
    assert list(convert_column(kind, [None])) == [None]


def test_native_json_values_are_not_converted() -> None:
    for name, values in [
        ("UInt64", (1, 2**63, None)),
        ("Float64", (1.5, None)),
        ("Bool", (True, None)),
        ("String", ("a", None)),
        ("Array(String)", (["a"], None)),
        ("Array(Array(Nullable(Int8)))", ([[1, None]],)),
        ("Map(String, Int64)", ({"a": 1},)),
        ("IPv4", ("1.2.3.4",)),
        ("JSON", ({"a": 1},)),
        ("Unheard(Of)", (1, "a")),
    ]:
        assert column(name, *values) == list(values)
    assert convert_column(parse_type("UInt64"), values := [1, 2]) is values


def test_times() -> None:
    exact = datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)
    assert column(
        "Nullable(DateTime64(6, 'UTC'))",
        "2026-01-02T03:04:05.123456Z",
        "2026-01-02T03:04:05.123456+00:00",
        "2026-01-02 03:04:05.123456",
        None,
    ) == [exact, exact, exact, None]
    berlin = column("DateTime('Europe/Berlin')", "2026-07-01T12:00:00Z", "2026-07-01T12:00:00")
    assert berlin[0] == datetime(2026, 7, 1, 14, tzinfo=ZoneInfo("Europe/Berlin"))
    assert [d.tzinfo for d in berlin] == [ZoneInfo("Europe/Berlin")] * 2
    assert [d.hour for d in berlin] == [14, 12]
    offset = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert column("DateTime", offset.isoformat(), 0) == [offset, datetime(1970, 1, 1, tzinfo=UTC)]
    assert column("DateTime('Not/AZone')", "2026-01-01T00:00:00")[0].tzinfo is UTC
    assert column("Date", "2026-01-02", "2026-01-02T00:00:00Z", None) == [
        date(2026, 1, 2), date(2026, 1, 2), None]  # fmt: skip


def test_numbers_and_ids() -> None:
    assert column("UUID", UUID_TEXT, None) == [UUID(UUID_TEXT), None]
    assert column("Decimal(18, 4)", "1.50", 2, 0.1, None) == [
        Decimal("1.50"), Decimal(2), Decimal("0.1"), None]  # fmt: skip
    assert column("UInt256", str(2**200), 1) == [2**200, 1]
    assert column("Float64", 1, "inf", 2.5) == [1.0, float("inf"), 2.5]
    assert [type(v) for v in column("Float64", 1, 2.5)] == [float, float]
    assert column("Bool", 1, 0, None, "true") == [True, False, None, True]


def test_nested() -> None:
    assert column("Array(UUID)", [UUID_TEXT, None], []) == [[UUID(UUID_TEXT), None], []]
    assert column("Tuple(String, Date)", ["a", "2026-01-02"]) == [("a", date(2026, 1, 2))]
    assert column("Tuple(a Date, b String)", {"b": "x", "a": "2026-01-02"}) == [
        (date(2026, 1, 2), "x")]  # fmt: skip
    assert column("Array(Tuple(String, Float64))", [["a", 1.5]]) == [[("a", 1.5)]]
    assert column("Map(UInt8, Date)", {"1": "2026-01-02", "2": None}) == [
        {1: date(2026, 1, 2), 2: None}]  # fmt: skip
    assert column("Map(Date, String)", [["2026-01-02", "a"]]) == [{date(2026, 1, 2): "a"}]
    assert column("Nested(a UInt8, b String)", [[1, "x"]]) == [[(1, "x")]]
    assert column("Point", [1.5, 2.5]) == [(1.5, 2.5)]


@pytest.mark.parametrize(
    ("name", "bad"),
    [("UUID", "x"), ("Date", "yesterday"), ("DateTime", "soon"), ("DateTime", ["a"]),
     ("Decimal(4, 2)", "much"), ("Decimal(4, 2)", True), ("UInt8", "many"), ("UInt8", 1.5),
     ("Float64", "much"), ("Bool", "perhaps"), ("Bool", 2), ("Array(Date)", "2026-01-01"),
     ("Array(Date)", ["x"]), ("Tuple(String, Date)", ["a"]), ("Map(UInt8, String)", 7)],
)  # fmt: skip
def test_values_that_do_not_match_are_kept_and_reported(name: str, bad: Any) -> None:
    misfits: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(convert_column(parse_type(name), [None, bad], misfits.append)) == [None, bad]
        assert list(convert_column(parse_type(name), [bad])) == [bad]
    assert misfits == [bad]


_MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2299, 12, 31), timezones=st.just(UTC))


@given(st.lists(st.none() | _MOMENTS))
def test_microseconds_survive(moments: list[datetime | None]) -> None:
    texts = [m and m.isoformat().replace("+00:00", "Z") for m in moments]
    assert list(convert_column(parse_type("DateTime64(6, 'UTC')"), texts)) == moments


@given(st.lists(st.none() | st.uuids()), st.lists(st.none() | st.decimals(allow_nan=False)))
def test_ids_and_decimals_survive(ids: list[UUID | None], sums: list[Decimal | None]) -> None:
    assert list(convert_column(parse_type("UUID"), [i and str(i) for i in ids])) == ids
    texts = [None if d is None else str(d) for d in sums]
    assert list(convert_column(parse_type("Decimal(38, 6)"), texts)) == sums


def test_converters_are_cached() -> None:
    kind = parse_type("Array(Tuple(UUID, Date))")
    assert value_converter(kind) is value_converter(kind)
