"""The rest of the functions, and that none of them goes untried."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .hogql_client import HogQLTester

AT = "toDateTime64('2026-02-03 04:05:06.789', 3)"
DAY = "toDate('2026-02-28')"
MOMENT = "Nullable(DateTime64(6, 'UTC'))"

VALUES = [
    ("toNullableString(1)", "1", "Nullable(String)"),
    ("_toInt64(2.9)", 2, "Int64"),
    ("toInt64OrZero('x')", 0, "Int64"),
    ("toInt64OrNull('7')", 7, "Nullable(Int64)"),
    ("toFloat64OrNull('x')", None, "Nullable(Float64)"),
    ("toFloatOrDefault('x', 2.5)", 2.5, "Float64"),
    ("toUUIDOrNull('x')", None, "Nullable(UUID)"),
    ("to_date('2026-01-02')", "2026-01-02", "Nullable(Date)"),
    ("toDateOrNull('x')", None, "Nullable(Date)"),
    ("parseDateTime64BestEffort('2026-01-02 03:04')", "2026-01-02T03:04:00Z", MOMENT),
    ("parseDateTime64BestEffortOrNull('x')", None, MOMENT),
    ("parseDateTimeBestEffort('2026-01-02')", "2026-01-02T00:00:00Z", MOMENT),
    ("parseDateTimeBestEffortOrNull('')", None, MOMENT),
    (f"toTimezone({AT}, 'Asia/Tokyo')", "2026-02-03T13:05:06.789000+09:00",
     "DateTime64(3, 'Asia/Tokyo')"),
    ("array(1, 2)", [1, 2], "Array(UInt8)"),
    ("arrayElement(['a', 'b'], -1)", "b", "String"),
    ("arrayReverse([1, 2])", [2, 1], "Array(UInt8)"),
    ("arrayPopBack([1, 2])", [1], "Array(UInt8)"),
    ("arrayPopBack([])", [], "Array(Nothing)"),
    ("arrayPopFront([1, 2])", [2], "Array(UInt8)"),
    ("arraySort(arrayIntersect([1, 2, 2, 3], [2, 3, 4]))", [2, 3], "Array(UInt8)"),
    ("arrayPushBack([1], 300)", [1, 300], "Array(UInt16)"),
    ("arrayPushFront(['b'], 'a')", ["a", "b"], "Array(String)"),
    ("emptyArrayInt64()", [], "Array(Int64)"),
    ("arrayMin([3, 1])", 1, "UInt8"),
    ("arrayLast(x -> x < 3, [1, 2, 3])", 2, "UInt8"),
    ("notIn(1, (2, 3))", 1, "UInt8"),
    (f"{DAY} + toIntervalWeek(1)", "2026-03-07", "Nullable(Date)"),
    (f"{DAY} + toIntervalQuarter(1)", "2026-05-28", "Nullable(Date)"),
    (f"{DAY} - toIntervalYear(2)", "2024-02-28", "Nullable(Date)"),
    ("now() + toIntervalSecond(1)", "2026-01-08T12:00:01Z", "DateTime64(6, 'UTC')"),
    ("now() - toIntervalMinute(1)", "2026-01-08T11:59:00Z", "DateTime64(6, 'UTC')"),
    ("addSeconds(now(), 5)", "2026-01-08T12:00:05Z", "DateTime64(6, 'UTC')"),
    ("subtractSeconds(now(), 5)", "2026-01-08T11:59:55Z", "DateTime64(6, 'UTC')"),
    ("addMinutes(now(), 5)", "2026-01-08T12:05:00Z", "DateTime64(6, 'UTC')"),
    ("subtractMinutes(now(), 5)", "2026-01-08T11:55:00Z", "DateTime64(6, 'UTC')"),
    ("addHours(now(), 13)", "2026-01-09T01:00:00Z", "DateTime64(6, 'UTC')"),
    ("subtractHours(now(), 13)", "2026-01-07T23:00:00Z", "DateTime64(6, 'UTC')"),
    (f"addDays({DAY}, 1)", "2026-03-01", "Nullable(Date)"),
    (f"addWeeks({DAY}, -1)", "2026-02-21", "Nullable(Date)"),
    (f"subtractWeeks({DAY}, 1)", "2026-02-21", "Nullable(Date)"),
    ("subtractMonths(toDate('2026-03-31'), 1)", "2026-02-28", "Nullable(Date)"),
    (f"addQuarters({DAY}, 2)", "2026-08-28", "Nullable(Date)"),
    (f"subtractQuarters({DAY}, 1)", "2025-11-28", "Nullable(Date)"),
    ("addYears(toDate('2024-02-29'), 1)", "2025-02-28", "Nullable(Date)"),
    (f"subtractYears({DAY}, 1)", "2025-02-28", "Nullable(Date)"),
    (f"date_add({DAY}, interval 1 day)", "2026-03-01", "Nullable(Date)"),
    (f"date_sub('week', 1, {DAY})", "2026-02-21", "Nullable(Date)"),
    (f"date_subtract({DAY}, interval 1 month)", "2026-01-28", "Nullable(Date)"),
    (f"timestampAdd({DAY}, interval 1 day)", "2026-03-01", "Nullable(Date)"),
    (f"timestampSub({DAY}, interval 1 day)", "2026-02-27", "Nullable(Date)"),
    (f"date_diff('day', {DAY}, toDate('2026-03-01'))", 1, "Nullable(Int64)"),
    (f"toStartOfMinute({AT})", "2026-02-03T04:05:00Z", "DateTime('UTC')"),
    (f"toStartOfSecond({AT})", "2026-02-03T04:05:06Z", "DateTime64(3, 'UTC')"),
    (f"toStartOfFiveMinutes({AT})", "2026-02-03T04:05:00Z", "DateTime('UTC')"),
    (f"toStartOfTenMinutes({AT})", "2026-02-03T04:00:00Z", "DateTime('UTC')"),
    ("toStartOfISOYear(toDate('2027-01-02'))", "2025-12-29", "Nullable(Date)"),
    ("toLastDayOfWeek(toDate('2026-01-08'))", "2026-01-10", "Nullable(Date)"),
    (f"date_trunc('year', {AT})", "2026-01-01", "Date"),
    (f"toYear({AT})", 2026, "UInt16"),
    (f"toQuarter({AT})", 1, "UInt8"),
    (f"toMonth({AT})", 2, "UInt8"),
    (f"toDayOfYear({AT})", 34, "UInt16"),
    (f"toDayOfMonth({AT})", 3, "UInt8"),
    (f"toMinute({AT})", 5, "UInt8"),
    (f"toSecond({AT})", 6, "UInt8"),
    ("toISOYear(toDate('2027-01-01'))", 2026, "Nullable(UInt16)"),
    (f"monthName({AT})", "February", "String"),
    ("timeZoneOf(now())", "UTC", "String"),
    ("timezoneOf(toTimeZone(now(), 'Asia/Tokyo'))", "Asia/Tokyo", "String"),
    ("toUnixTimestamp64Micro(now())", 1767873600000000, "Int64"),
    ("fromUnixTimestamp64Micro(1500000)", "1970-01-01T00:00:01.500000Z", "DateTime64(6, 'UTC')"),
    ("now64()", "2026-01-08T12:00:00Z", "DateTime64(6, 'UTC')"),
    ("current_timestamp()", "2026-01-08T12:00:00Z", "DateTime64(6, 'UTC')"),
    ("current_date()", "2026-01-08", "Date"),
    (f"to_char({AT}, '%Y')", "2026", "String"),
    ("makeDate(2026, 1, 2)", "2026-01-02", "Date"),
    ("make_date(2026, 12, 31)", "2026-12-31", "Date"),
    ("JSONType('{\"a\": [1]}', 'a')", "Array", "String"),
    ("JSONType('{\"a\": 1.5}', 'a')", "Double", "String"),
    ("notEquals(1, 2)", 1, "UInt8"),
    ("less(1, 2)", 1, "UInt8"),
    ("greater(1, 2)", 0, "UInt8"),
    ("lessOrEquals(2, 2)", 1, "UInt8"),
    ("greaterOrEquals(1, 2)", 0, "UInt8"),
    ("or(0, 1)", 1, "UInt8"),
    ("not(1)", 0, "UInt8"),
    ("plus(1, 2)", 3, "UInt16"),
    ("multiply(3, 4)", 12, "UInt16"),
    ("divide(1, 4)", 0.25, "Float64"),
    ("mod(7, 4)", 3, "UInt8"),
    ("ifnull(NULL, 1)", 1, "UInt8"),
    ("nullif(1, 1)", None, "Nullable(UInt8)"),
    ("isnull(NULL)", 1, "UInt8"),
    ("isNotNull(NULL)", 0, "UInt8"),
    ("toNullable(1)", 1, "Nullable(UInt8)"),
    ("like('abc', 'a%')", 1, "UInt8"),
    ("notLike('abc', 'a%')", 0, "UInt8"),
    ("ilike('ABC', 'a%')", 1, "UInt8"),
    ("notILike('ABC', 'a%')", 0, "UInt8"),
    ("exp(0)", 1.0, "Float64"),
    ("cbrt(27)", 3.0, "Float64"),
    ("cbrt(-8)", -2.0, "Float64"),
    ("cbrt(0)", 0.0, "Float64"),
    ("cbrt(NULL)", None, "Nullable(Float64)"),
    ("sin(0) + cos(0) + tan(0) + asin(0) + atan(0)", 1.0, "Float64"),
    ("acos(1)", 0.0, "Float64"),
    ("acos(2)", None, "Float64"),
    ("ln(1)", 0.0, "Float64"),
    ("log2(8)", 3.0, "Float64"),
    ("log10(1000)", 3.0, "Float64"),
    ("power(2, 3)", 8.0, "Float64"),
    ("round(pi(), 4)", 3.1416, "Float64"),
    ("bitOr(12, 3)", 15, "UInt8"),
    ("ceiling(1.2)", 2.0, "Float64"),
    ("truncate(1.7)", 1.0, "Float64"),
    ("isFinite(1 / 0)", 0, "UInt8"),
    ("lowerUTF8('Ä')", "ä", "String"),
    ("reverseUTF8('äb')", "bä", "String"),
    ("trimBoth(' a ')", "a", "String"),
    ("trimLeft(' a ')", "a ", "String"),
    ("trimRight(' a ')", " a", "String"),
    ("positionUTF8('äh', 'h')", 2, "UInt64"),
    ("base64Encode('abc')", "YWJj", "String"),
    ("levenshteinDistance('abc', 'abd')", 1, "UInt64"),
    ("editDistance('', 'abc')", 3, "UInt64"),
    ("locate('b', 'abc')", 2, "UInt64"),
    ("substr('abc', 2, 1)", "b", "String"),
    ("mid('abc', 2)", "bc", "String"),
    ("leftUTF8('äb', 1)", "ä", "String"),
    ("rightUTF8('bä', 1)", "ä", "String"),
    ("concatWithSeparator('-', 'a', 'b')", "a-b", "String"),
    ("concat_ws(', ', 'a', 'b')", "a, b", "String"),
    ("splitByRegexp('[0-9]+', 'a12b3c')", ["a", "b", "c"], "Array(String)"),
    ("multiSearchAny('abc', ['x', 'c'])", 1, "UInt8"),
    ("multiSearchAnyCaseInsensitive('ABC', ['x', 'c'])", 1, "UInt8"),
    ("isValidUTF8('ä')", 1, "UInt8"),
    ("uniqCombined(1)", 1, "UInt64"),
    ("uniqHLL12('a')", 1, "UInt64"),
]  # fmt: skip

TOTALS = [
    ("groupBitOr(number)", 3, "UInt64"),
    ("groupBitXor(number)", 0, "UInt64"),
    ("corr(number, number * 2)", 1.0, "Float64"),
    ("covarPop(number, number)", 1.25, "Float64"),
    ("covarSamp(number, number)", 5 / 3, "Float64"),
]

REFUSED = ["arrayCompact([1])", "positiveModulo(-1, 3)", "groupBitAnd(1)"]


@pytest.fixture(scope="module")
def ask() -> HogQLTester:
    return HogQLTester()


@pytest.mark.parametrize(("expression", "value", "kind"), VALUES)
def test_a_function(ask: HogQLTester, expression: str, value: Any, kind: str) -> None:
    assert ask.rows(f"SELECT {expression}") == [[value]]
    assert ask.types(f"SELECT {expression}") == [kind]


@pytest.mark.parametrize(("expression", "value", "kind"), TOTALS)
def test_a_total(ask: HogQLTester, expression: str, value: Any, kind: str) -> None:
    sql = f"SELECT {expression} FROM numbers(4)"
    assert ask.rows(sql)[0][0] == pytest.approx(value)
    assert ask.types(sql) == [kind]


@pytest.mark.parametrize("expression", REFUSED)
def test_a_function_that_is_refused(ask: HogQLTester, expression: str) -> None:
    assert "stub_query" in ask.refusal(f"SELECT {expression}").detail


def test_every_function_is_tried() -> None:
    from posthog_emulator.hogql import functions
    from posthog_emulator.hogql.functions.table import AGGREGATES, FUNCTIONS, SPECIAL

    functions.load()
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py"))
    called = set(re.findall(r"([A-Za-z_][A-Za-z0-9_]*)\(", tests))
    names = {*FUNCTIONS, *AGGREGATES, *SPECIAL}
    assert {name for name in names if name not in called and f"{name}If" not in called} == set()
