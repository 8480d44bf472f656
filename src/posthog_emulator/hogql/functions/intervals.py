"""Intervals, and arithmetic with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from posthog_emulator.hogql import operators
from posthog_emulator.hogql.problems import HogQLError, illegal_type, untranslated
from posthog_emulator.hogql.types import INT64, INTERVALS, Type
from posthog_emulator.hogql.values import Value

from .conversions import local
from .table import FUNCTIONS, Call, Function, checked, function

__all__ = ["interval", "unit_of"]

_SHORT = {
    "ss": "second", "s": "second", "mi": "minute", "n": "minute", "hh": "hour", "h": "hour",
    "dd": "day", "d": "day", "wk": "week", "ww": "week", "mm": "month", "m": "month",
    "qq": "quarter", "q": "quarter", "yy": "year", "yyyy": "year",
}  # fmt: skip


def unit_of(call: Call, index: int) -> str:
    """Return the unit of time given as an argument.

    Raises:
        HogQLError: There is no such unit.
    """
    given = str(call.constant(index, str)).lower()
    unit = _SHORT.get(given, given.removesuffix("s"))
    if unit not in INTERVALS:
        raise HogQLError(f"{call.name} does not support '{given}' unit", "bad_arguments")
    return unit


def interval(unit: str, amount: Value, text: str) -> Value:
    """Return an interval of `amount` units."""
    if not amount.type.is_number:
        raise illegal_type(f"toInterval{unit.capitalize()}", amount.type, "a whole number")
    name = f"to_{unit}s"
    # DuckDB's functions take a DOUBLE, BIGINT or INTEGER, depending on the unit.
    if unit == "second":
        sql = f"to_seconds(CAST({amount.number} AS DOUBLE))"
    elif unit in {"hour", "minute"}:
        sql = f"{name}(CAST({amount.number} AS BIGINT))"
    else:
        sql = f"{name}(CAST({amount.number} AS INTEGER))"
    return operators.combined(sql, Type(f"Interval{unit.capitalize()}"), text, amount)


def _maker(unit: str) -> Callable[[Call], Value]:
    return lambda call: interval(unit, call.arguments[0], call.text)


def _adder(unit: str, sign: str) -> Callable[[Call], Value]:
    def make(call: Call) -> Value:
        checked(call, "dn")
        day, amount = call.arguments
        return operators.shift(day, interval(unit, amount, ""), sign, call.text)

    return make


for _unit in INTERVALS:
    _name = _unit.capitalize()
    FUNCTIONS[f"toInterval{_name}"] = Function(1, 1, _maker(_unit))
    FUNCTIONS[f"add{_name}s"] = Function(2, 2, _adder(_unit, "+"))
    FUNCTIONS[f"subtract{_name}s"] = Function(2, 2, _adder(_unit, "-"))


@function("dateAdd", "dateSub", "date_add", "date_sub", "date_subtract", "timestampAdd",
          "timestampSub", least=2, most=3)  # fmt: skip
def _date_add(call: Call) -> Value:
    sign = "-" if "sub" in call.name.lower() else "+"
    if len(call.arguments) == 2:
        day, by = call.arguments
        if not day.type.is_day or not by.type.is_interval:
            raise illegal_type(call.name, by.type, "a DateTime and an interval")
        return operators.shift(day, by, sign, call.text)
    unit, amount, day = unit_of(call, 0), call.arguments[1], call.arguments[2]
    if not day.type.is_day:
        raise illegal_type(call.name, day.type, "a Date or DateTime")
    return operators.shift(day, interval(unit, amount, ""), sign, call.text)


@function("dateDiff", "date_diff", least=3, most=4)
def _date_diff(call: Call) -> Value:
    unit = unit_of(call, 0)
    for value in call.arguments[1:3]:
        if not value.type.is_day and value.type.name != "Nothing":
            raise illegal_type(call.name, value.type, "a Date or DateTime")
    if len(call.arguments) == 4:
        raise untranslated(f"{call.name} in a time zone that is given; use toTimeZone,")
    zones = {value.type.zone for value in call.arguments[1:3] if value.type.is_moment}
    if len(zones) > 1:
        raise untranslated(f"{call.name} of moments in two time zones")
    start, end = (local(value) for value in call.arguments[1:3])
    if unit == "week":
        # ClickHouse counts the Mondays in between, DuckDB whole weeks.
        days = f"date_diff('day', date_trunc('week', {start}), date_trunc('week', {end}))"
        return call.make(f"({days} // 7)", INT64)
    if unit in {"second", "minute", "hour"} and zones - {"UTC"}:
        start, end = _elapsed(call, unit)
    return call.make(f"date_diff('{unit}', {start}, {end})", INT64)


def _elapsed(call: Call, unit: str) -> tuple[str, ...]:
    """Return the timestamps in UTC, so that changes of local time do not count as elapsed."""
    zone = next(value.type.zone for value in call.arguments[1:3] if value.type.is_moment)
    if not all(value.type.is_moment for value in call.arguments[1:3]):
        raise untranslated(f"{call.name} of a day and a moment in a time zone")
    if unit == "hour" and not _whole_hours(zone):
        raise untranslated(f"{call.name} in hours in {zone}, whose hours are not those of UTC")
    return tuple(value.sql for value in call.arguments[1:3])


def _whole_hours(zone: str) -> bool:
    """Return whether a zone's offset from UTC is whole hours, from 1970 to 2037."""
    from zoneinfo import ZoneInfo

    known = ZoneInfo(zone)
    months = (datetime(year, month, 1) for year in range(1970, 2038) for month in (1, 7))
    return not any((known.utcoffset(at) or timedelta()) % timedelta(hours=1) for at in months)


@function("age", least=3)
def _age(call: Call) -> Value:
    unit = unit_of(call, 0)
    for value in call.arguments[1:]:
        if not value.type.is_day:
            raise illegal_type(call.name, value.type, "a Date or DateTime")
    zones = {value.type.zone for value in call.arguments[1:] if value.type.is_moment}
    if len(zones) > 1:
        raise untranslated(f"{call.name} of moments in two time zones")
    start, end = (local(value) for value in call.arguments[1:])
    if unit in {"second", "minute", "hour"} and zones - {"UTC"}:
        start, end = _elapsed(call, "minute")
    return call.make(f"date_sub('{unit}', {start}, {end})", INT64)
