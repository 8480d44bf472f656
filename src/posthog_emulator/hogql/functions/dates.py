"""Date and time functions: parts, rounding and formatting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from typing import Final

from posthog_emulator.hogql.problems import HogQLError, illegal_type, untranslated
from posthog_emulator.hogql.types import DATE, DATETIME64, INT64, STRING, Type
from posthog_emulator.hogql.values import Value, quoted

from .conversions import local, moved, zone
from .intervals import unit_of
from .table import FUNCTIONS, Call, Function, checked, function

__all__: list[str] = []

_DAYS: Final = ("week", "month", "quarter", "year")
"""Units whose start is a Date, not a DateTime."""
_CLOCK: Final = ("second", "minute", "hour")


def _in_zone(call: Call, index: int) -> tuple[Value, str]:
    """Return the timestamp of a call with the requested time zone."""
    value = call.arguments[0]
    where = zone(call, index, value.type.zone)
    if value.type.is_moment:
        parameters = (*value.type.parameters[:-1], where)
        value = Value(value.sql, Type(value.type.name, parameters=parameters), value.text)
    return value, where


def _beginning(call: Call, sql: str, unit: str, where: str) -> Value:
    """Return the start of a unit, given the SQL of its local time."""
    if unit in _DAYS:
        return call.make(f"CAST({sql} AS DATE)", DATE)
    return call.make(moved(sql, where), Type("DateTime", parameters=(where,)))


def _truncated(call: Call, unit: str, index: int) -> Value:
    value, where = _in_zone(call, index)
    at = local(value)
    if where != "UTC" and value.type.is_moment and unit in _CLOCK:
        # When daylight saving time ends, one local hour occurs twice: local time cannot be
        # converted back, so the start is computed by subtracting the elapsed part.
        sql = _since(value.sql, at, f"date_trunc('{unit}', {at})")
        return call.make(sql, Type("DateTime", parameters=(where,)))
    return _beginning(call, f"date_trunc('{unit}', {at})", unit, where)


def _since(sql: str, at: str, start: str) -> str:
    """Return the SQL of a timestamp moved back by the difference of two local times."""
    return f"({sql} - to_microseconds(epoch_us({at}) - epoch_us({start})))"


def _starter(unit: str) -> Function:
    def make(call: Call) -> Value:
        checked(call, "ds")
        return _truncated(call, unit, 1)

    return Function(1, 2, make)


for _unit in ("minute", "hour", "day", "month", "quarter", "year"):
    FUNCTIONS[f"toStartOf{_unit.capitalize()}"] = _starter(_unit)
FUNCTIONS["toMonday"] = _starter("week")
FUNCTIONS["toStartOfISOYear"] = Function(
    1, 1, lambda call: call.make(f"CAST(date_trunc('isoyear', {_at(call)}) AS DATE)", DATE)
)


def _at(call: Call) -> str:
    checked(call, "d")
    return local(call.arguments[0])


@function("toStartOfSecond", least=1)
def _second(call: Call) -> Value:
    checked(call, "m")
    value = call.arguments[0]
    return call.make(f"date_trunc('second', {value.sql})", value.type)


for _minutes, _name in ((5, "Five"), (10, "Ten"), (15, "Fifteen")):

    def _make_minutes(minutes: int) -> Function:
        def make(call: Call) -> Value:
            checked(call, "m")
            value, where = _in_zone(call, 9)
            at = local(value)
            sql = _since(value.sql, at, _bucket(at, minutes, "minute"))
            return call.make(sql, Type("DateTime", parameters=(where,)))

        return Function(1, 1, make)

    FUNCTIONS[f"toStartOf{_name}Minutes"] = _make_minutes(_minutes)


def _bucket(sql: str, count: int, unit: str) -> str:
    origin = "1970-01-05" if unit == "week" else "1970-01-01"  # weeks begin on Mondays
    step = f"to_{unit}s({count})"
    return f"time_bucket({step}, {sql}, TIMESTAMP '{origin} 00:00:00')"


@function("toStartOfWeek", "toLastDayOfWeek", least=1, most=2)
def _week(call: Call) -> Value:
    checked(call, "dn")
    mode = call.constant(1, int, 0)
    if not 0 <= mode <= 9:
        raise HogQLError(f"Invalid week mode {mode}.", "bad_arguments")
    at = local(call.arguments[0])
    # Weeks start on Mondays in odd modes, on Sundays in even ones; HogQL's default is mode 0.
    start = f"date_trunc('week', {at})"
    if mode % 2 == 0:
        start = f"(date_trunc('week', {at} + INTERVAL 1 DAY) - INTERVAL 1 DAY)"
    if call.name == "toLastDayOfWeek":
        start = f"({start} + INTERVAL 6 DAY)"
    return call.make(f"CAST({start} AS DATE)", DATE)


@function("toStartOfInterval", least=2, most=3)
def _start_of_interval(call: Call) -> Value:
    checked(call, "d**")
    by = call.arguments[1]
    if not by.type.is_interval:
        raise illegal_type(call.name, by.type, "an interval")
    found = re.fullmatch(r"to_(\w+)s\(CAST\(\((\d+)::BIGINT\) AS \w+\)\)", by.sql)
    if found is None or int(found[2]) < 1:
        raise untranslated("toStartOfInterval with an interval that is no constant above 0")
    unit, count = found[1], int(found[2])
    value, where = _in_zone(call, 2)
    if count == 1:
        return _truncated(call, unit, 2)
    if unit == "hour" and where != "UTC":
        raise untranslated("toStartOfInterval of several hours in a zone other than UTC")
    at = local(value)
    if where != "UTC" and value.type.is_moment and unit in _CLOCK:
        sql = _since(value.sql, at, _bucket(at, count, unit))
        return call.make(sql, Type("DateTime", parameters=(where,)))
    return _beginning(call, _bucket(at, count, unit), unit, where)


@function("dateTrunc", "date_trunc", least=2, most=3)
def _date_trunc(call: Call) -> Value:
    unit = unit_of(call, 0)
    value = call.arguments[1]
    if not value.type.is_day:
        raise illegal_type(call.name, value.type, "a Date or DateTime")
    inner = Call(call.name, call.arguments[1:])
    made = _truncated(inner, unit, 1)
    if value.type.name == "Date" and unit == "day":
        made = inner.make(value.sql, DATE)
    return Value(made.sql, made.type, call.text, aggregate=made.aggregate, window=made.window)


_PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "toYear": ("year({0})", "UInt16"),
    "toQuarter": ("quarter({0})", "UInt8"),
    "toMonth": ("month({0})", "UInt8"),
    "toDayOfYear": ("dayofyear({0})", "UInt16"),
    "toDayOfMonth": ("day({0})", "UInt8"),
    "toDayOfWeek": ("isodow({0})", "UInt8"),
    "toHour": ("hour({0})", "UInt8"),
    "toMinute": ("minute({0})", "UInt8"),
    "toSecond": ("second({0})", "UInt8"),
    "toISOYear": ("isoyear({0})", "UInt16"),
    "toISOWeek": ("week({0})", "UInt8"),
    "toYYYYMM": ("year({0}) * 100 + month({0})", "UInt32"),
    "toYYYYMMDD": ("year({0}) * 10000 + month({0}) * 100 + day({0})", "UInt32"),
}


def _part(template: str, type: str) -> Function:
    def make(call: Call) -> Value:
        return call.make(f"CAST({template.format(_at(call))} AS BIGINT)", Type(type))

    return Function(1, 1, make)


for _name, (_template, _type) in _PARTS.items():
    FUNCTIONS[_name] = _part(_template, _type)


@function("toLastDayOfMonth", least=1)
def _last_day(call: Call) -> Value:
    return call.make(f"last_day({_at(call)})", DATE)


@function("monthName", least=1)
def _month_name(call: Call) -> Value:
    return call.make(f"monthname({_at(call)})", STRING)


@function("timeZoneOf", "timezoneOf", least=1)
def _zone_of(call: Call) -> Value:
    checked(call, "m")
    return call.make(quoted(call.arguments[0].type.zone), STRING)


@function("toUnixTimestamp", "toUnixTimestamp64Milli", "toUnixTimestamp64Micro", least=1, most=2)
def _unix(call: Call) -> Value:
    value = call.arguments[0]
    if value.type.name == "String":
        raise untranslated(f"{call.name} of text; toDateTime reads it,")
    exact = call.name != "toUnixTimestamp"
    if exact and value.type.name != "DateTime64":
        raise illegal_type(call.name, value.type, "a DateTime64")
    checked(call, "ds")
    if call.name.endswith("Micro"):
        return call.make(f"epoch_us({value.sql})", INT64)
    if call.name.endswith("Milli"):
        return call.make(f"(epoch_us({value.sql}) // 1000)", INT64)
    at = f"CAST({value.sql} AS TIMESTAMP)"
    return call.make(f"CAST(floor(epoch_us({at}) / 1000000) AS BIGINT)", Type("UInt32"))


@function("fromUnixTimestamp64Milli", "fromUnixTimestamp64Micro", "fromUnixTimestamp", least=1)
def _from_unix(call: Call) -> Value:
    checked(call, "i")
    scale = {"fromUnixTimestamp64Milli": 1000, "fromUnixTimestamp64Micro": 1}.get(
        call.name, 1000000
    )
    kind = {1000: Type("DateTime64", parameters=(3, "UTC")), 1: DATETIME64}.get(scale)
    sql = f"make_timestamp({call.arguments[0].number} * {scale})"
    return call.make(sql, kind or Type("DateTime", parameters=("UTC",)))


@function("now", "now64", "current_timestamp", least=0, most=1)
def _now(call: Call) -> Value:
    at = call.now.astimezone(UTC).replace(tzinfo=None)
    sql = f"TIMESTAMP '{at.isoformat(sep=' ', timespec='microseconds')}'"
    return call.make(sql, Type("DateTime64", parameters=(6, zone(call, 0))))


@function("today", "current_date", "yesterday", least=0)
def _today(call: Call) -> Value:
    day = call.now.astimezone(UTC).date().isoformat()
    sql = f"DATE '{day}'"
    return call.make(f"({sql} - 1)" if call.name == "yesterday" else sql, DATE)


_FORMATS: Final[Mapping[str, str]] = {
    "Y": "%Y", "y": "%y", "m": "%m", "d": "%d", "H": "%H", "i": "%M", "S": "%S", "s": "%S",
    "f": "%f", "j": "%j", "a": "%a", "b": "%b", "M": "%B", "W": "%A", "p": "%p", "I": "%I",
    "h": "%I", "w": "%w", "u": "%u", "F": "%Y-%m-%d", "T": "%H:%M:%S", "D": "%m/%d/%y",
    "R": "%H:%M", "n": "\n", "t": "\t", "%": "%%",
}  # fmt: skip


@function("formatDateTime", "to_char", least=2, most=3)
def _format(call: Call) -> Value:
    checked(call, "ds")
    value, _ = _in_zone(call, 2)
    template, made, at = str(call.constant(1, str)), "", 0
    while at < len(template):
        mark = template[at]
        if mark != "%":
            made, at = made + mark, at + 1
            continue
        letter = template[at + 1 : at + 2]
        if letter not in _FORMATS:
            raise untranslated(f"%{letter} in formatDateTime")
        if letter == "f" and value.type.name != "DateTime64":
            raise untranslated("%f in formatDateTime of what is no DateTime64")
        made, at = made + _FORMATS[letter], at + 2
    return call.make(f"strftime({local(value)}, {quoted(made)})", STRING)


@function("makeDate", "make_date", least=3)
def _make_date(call: Call) -> Value:
    checked(call, "iii")
    year, month, day = (f"CAST({value.number} AS INTEGER)" for value in call.arguments)
    return call.make(f"make_date({year}, {month}, {day})", DATE)
