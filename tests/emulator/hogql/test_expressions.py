"""Expressions and functions of HogQL, against values worked out by hand."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulator.hogql.hogql_database import Asker


@pytest.fixture(scope="module")
def ask() -> Asker:
    return Asker()


VALUES: list[tuple[str, Any]] = [
    # numbers
    ("1 + 2 * 3", 7),
    ("5 - 6", -1),
    ("7 / 2", 3.5),
    ("1 / 0", None),
    ("intDiv(7, 2)", 3),
    ("intDiv(-7, 2)", -3),
    ("-7 % 3", -1),
    ("round(2.5)", 2.0),
    ("round(3.14159, 2)", 3.14),
    ("floor(-1.5)", -2.0),
    ("abs(-3)", 3),
    ("greatest(1, 5)", 5),
    ("least(2, NULL)", 2),
    ("pow(2, 10)", 1024.0),
    ("isNaN(0 / 0)", 1),
    ("0x1F", 31),
    # conditions
    ("1 = 1", 1),
    ("true", True),
    ("NULL = 1", 0),
    ("NULL != 1", 1),
    ("NOT 1 = 2", 1),
    ("1 = 1 AND 2 = 3 OR 4 = 4", 1),
    ("if(1 > 2, 'a', 'b')", "b"),
    ("multiIf(0, 'a', 1, 'b', 'c')", "b"),
    ("CASE 3 WHEN 1 THEN 'a' WHEN 3 THEN 'b' END", "b"),
    ("1 > 2 ? 'a' : 'b'", "b"),
    ("coalesce(NULL, 4)", 4),
    ("ifNull(NULL, 'x')", "x"),
    ("nullIf(1, 1)", None),
    ("assumeNotNull(toInt('x'))", 0),
    ("empty('')", 1),
    ("notEmpty([1])", 1),
    ("2 BETWEEN 1 AND 3", 1),
    ("2 IN (1, 2)", 1),
    ("3 NOT IN (1, 2)", 1),
    ("in(2, (1, 2))", 1),
    ("and(1, equals(2, 2))", 1),
    # text
    ("lower('ÄBC')", "Äbc"),
    ("upper('abc')", "ABC"),
    ("length('é')", 2),
    ("lengthUTF8('é')", 1),
    ("concat('a', NULL, 1)", "a1"),
    ("'a' || 'b'", "ab"),
    ("substring('hello', 2, 3)", "ell"),
    ("substring('hello', -3, 3)", "llo"),
    ("position('hello', 'l')", 3),
    ("position('ähl', 'h')", 3),
    ("replaceAll('a.b.c', '.', '-')", "a-b-c"),
    ("replaceOne('a.b.c', '.', '-')", "a-b.c"),
    ("splitByChar(',', 'a,b,')", ["a", "b", ""]),
    ("trim('  a ')", "a"),
    ("startsWith('hello', 'he')", 1),
    ("'hello' LIKE 'h_llo'", 1),
    ("'HELLO' ILIKE 'h%'", 1),
    ("'a%b' LIKE 'a\\\\%b'", 1),
    ("match('abc', '^a.c$')", 1),
    ("extract('v12.3', '(\\\\d+)')", "12"),
    ("extractAll('a1b22', '\\\\d+')", ["1", "22"]),
    ("replaceRegexpAll('a1b2', '[0-9]', '')", "ab"),
    ("toString(1.0)", "1"),
    ("toString(0.1)", "0.1"),
    ("toString(toDate('2026-01-02'))", "2026-01-02"),
    ("toInt('12')", 12),
    ("toInt('x')", None),
    ("toIntOrZero('x')", 0),
    ("toFloat('1.5')", 1.5),
    ("toFloatOrZero('x')", 0.0),
    ("toUUID('no')", None),
    # arrays and tuples
    ("[1, 2][1]", 1),
    ("[1, 2][5]", 0),
    ("[1, 2, 3][-1]", 3),
    ("(1, 'a')", [1, "a"]),
    ("tuple(1, 'a').2", "a"),
    ("has([1, 2], 2)", 1),
    ("indexOf(['a', 'b'], 'b')", 2),
    ("arrayMap(x -> x * 2, [1, 2])", [2, 4]),
    ("arrayMap((x, y) -> x + y, [1, 2], [10, 20])", [11, 22]),
    ("arrayFilter(x -> x > 1, [1, 2, 3])", [2, 3]),
    ("arrayExists(x -> x = 2, [1, 2])", 1),
    ("arrayAll(x -> x > 0, [1, 0])", 0),
    ("arrayCount(x -> x > 1, [1, 2, 3])", 2),
    ("arraySum([1, 2, 3])", 6),
    ("arrayFirst(x -> x > 1, [1, 2, 3])", 2),
    ("arraySort([3, 1, 2])", [1, 2, 3]),
    ("arrayDistinct([1, 2, 1])", [1, 2]),
    ("arrayStringConcat(['a', 'b'], '-')", "a-b"),
    ("arrayConcat([1], [2, 3])", [1, 2, 3]),
    ("arraySlice([1, 2, 3, 4], 2, 2)", [2, 3]),
    ("arrayZip([1, 2], ['a', 'b'])", [[1, "a"], [2, "b"]]),
    ("range(3)", [0, 1, 2]),
    # moments
    ("today()", "2026-01-08"),
    ("now()", "2026-01-08T12:00:00Z"),
    ("now() - interval 7 day", "2026-01-01T12:00:00Z"),
    ("today() - toIntervalMonth(1)", "2025-12-08"),
    ("toDateTime('2026-01-01T01:00:00.5+01:00')", "2026-01-01T00:00:00.500000Z"),
    ("toDateTime(concat('non', 'sense'))", None),
    ("toDateTime64('2026-01-01 00:00:00.123456', 6, 'UTC')", "2026-01-01T00:00:00.123456Z"),
    ("fromUnixTimestamp64Milli(1700000000123)", "2023-11-14T22:13:20.123000Z"),
    ("toUnixTimestamp64Milli(toDateTime64('2026-01-01 00:00:00.5', 6))", 1767225600500),
    ("toUnixTimestamp(toDateTime('2026-01-01'))", 1767225600),
    ("toStartOfDay(now())", "2026-01-08T00:00:00Z"),
    ("toStartOfHour(toDateTime('2026-01-01 10:20:30'))", "2026-01-01T10:00:00Z"),
    ("toStartOfFifteenMinutes(toDateTime('2026-01-01 10:20:30'))", "2026-01-01T10:15:00Z"),
    ("toStartOfWeek(toDate('2026-01-08'))", "2026-01-04"),
    ("toStartOfWeek(toDate('2026-01-08'), 1)", "2026-01-05"),
    ("toMonday(toDate('2026-01-08'))", "2026-01-05"),
    ("toStartOfMonth(now())", "2026-01-01"),
    ("dateTrunc('quarter', toDateTime('2026-05-09'))", "2026-04-01"),
    ("toStartOfInterval(now(), interval 5 minute)", "2026-01-08T12:00:00Z"),
    ("toStartOfInterval(toDateTime('2026-01-01 10:22:00'), interval 10 minute)",
     "2026-01-01T10:20:00Z"),
    ("dateDiff('day', toDateTime('2026-01-01 23:00'), toDateTime('2026-01-02 01:00'))", 1),
    ("dateDiff('hour', toDate('2026-01-01'), toDate('2026-01-02'))", 24),
    ("dateAdd('day', 3, toDate('2026-01-30'))", "2026-02-02"),
    ("addMonths(toDate('2026-01-31'), 1)", "2026-02-28"),
    ("formatDateTime(toDateTime('2026-01-02 03:04:05'), '%Y/%m/%d %H:%i:%S')",
     "2026/01/02 03:04:05"),
    ("toTimeZone(now(), 'Europe/Berlin')", "2026-01-08T13:00:00+01:00"),
    ("toHour(toTimeZone(now(), 'America/New_York'))", 7),
    ("toDayOfWeek(toDate('2026-01-08'))", 4),
    ("toYYYYMM(now())", 202601),
    # JSON
    ("JSONExtractString('{\"a\": \"x\"}', 'a')", "x"),
    ("JSONExtractString('{\"a\": 1}', 'a')", "1"),
    ("JSONExtractInt('{\"a\": {\"b\": [5, 6]}}', 'a', 'b', 2)", 6),
    ("JSONExtractFloat('{\"a\": 1.5}', 'a')", 1.5),
    ("JSONExtractBool('{\"a\": true}', 'a')", True),
    ("JSONExtractRaw('{\"a\": [1,2]}', 'a')", "[1,2]"),
    ("JSONExtract('{\"a\": [1,2]}', 'a', 'Array(Int64)')", [1, 2]),
    ("JSONHas('{\"a\": null}', 'a')", 1),
    ("JSONHas('broken', 'a')", 0),
    ("JSONLength('{\"a\": [1,2,3]}', 'a')", 3),
]  # fmt: skip


def test_values(ask: Asker) -> None:
    found = ask.values([expression for expression, _ in VALUES])
    wrong = {
        expression: (values, value)
        for (expression, value), values in zip(VALUES, found, strict=True)
        if values != [value]
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("1", "UInt8"),
        ("-300", "Int16"),
        ("1 + 1", "UInt16"),
        ("1.5", "Float64"),
        ("'a'", "String"),
        ("NULL", "Nullable(Nothing)"),
        ("true", "UInt8"),
        ("1 = 1", "UInt8"),
        ("[1, 2]", "Array(UInt8)"),
        ("(1, 'a')", "Tuple(UInt8, String)"),
        ("toInt('1')", "Nullable(Int64)"),
        ("now()", "DateTime64(6, 'UTC')"),
        ("toStartOfDay(now())", "DateTime('UTC')"),
        ("toTimeZone(now(), 'Europe/Berlin')", "DateTime64(6, 'Europe/Berlin')"),
        ("today()", "Date"),
        ("toDecimal('1.50', 2)", "Nullable(Decimal(18, 2))"),
    ],
)
def test_types(ask: Asker, expression: str, name: str) -> None:
    assert ask.types(f"SELECT {expression}") == [name]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
CONSTANTS = st.one_of(
    TEXTS,
    st.text(st.sampled_from("'\\\"`{};-/*\0\n$" + string.ascii_letters)),
    st.booleans(),
    st.none(),
    st.integers(-(2**62), 2**62),
    st.floats(-1e60, 1e60),
    st.lists(TEXTS, max_size=4),
)


@settings(max_examples=150, deadline=None)
@given(CONSTANTS)
def test_a_placeholder_stands_for_exactly_its_value(value: Any) -> None:
    found = SHARED.one("{x}", {"x": value})
    assert found == value or found == pytest.approx(value, rel=1e-12, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_a_text_never_becomes_more_than_a_text(value: str) -> None:
    rows = SHARED.rows("SELECT count() FROM events WHERE event = {x}", {"x": value})
    known = {"$pageview": 2, "signup": 2}
    assert rows == [[known.get(value, 0)]]


@settings(max_examples=100, deadline=None)
@given(TEXTS.filter(lambda name: name not in {"n", "paid", "when"}))
def test_a_property_may_have_any_name(name: str) -> None:
    sql = "SELECT count() FROM events WHERE properties[{x}] = 'z'"
    assert SHARED.rows(sql, {"x": name}) == [[0]]


SHARED = Asker()
