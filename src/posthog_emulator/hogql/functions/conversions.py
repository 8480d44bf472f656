"""Type conversions. As in HogQL, text that is not a number or timestamp becomes NULL."""

from __future__ import annotations

import re
from functools import cache

from posthog_emulator.hogql.fields import best_effort, number_in
from posthog_emulator.hogql.operators import moment
from posthog_emulator.hogql.problems import HogQLError, illegal_type, untranslated
from posthog_emulator.hogql.types import BOOL, DATE, FLOAT, INT64, STRING, UUID, Type
from posthog_emulator.hogql.values import Value, quoted

from .table import Call, checked, function

__all__ = ["local", "moved", "text_sql", "zone"]

_ZONE = re.compile(r"[A-Za-z0-9_+\-/]{1,64}\Z")


@cache
def _time_zones() -> frozenset[str]:
    """Return the names of all time zones. Listing them reads a thousand files."""
    from zoneinfo import available_timezones

    return frozenset(available_timezones())


def zone(call: Call, index: int, default: str = "UTC") -> str:
    """Return the time zone given as an argument.

    Raises:
        HogQLError: The argument is not a constant, or not a time zone.
    """
    name = str(call.constant(index, str, default))
    if not _ZONE.match(name) or name not in _time_zones():
        raise HogQLError(f"Unknown time zone {name!r}", "bad_arguments")
    return name


def local(value: Value) -> str:
    """Return the SQL of a timestamp or date in the local time of its zone."""
    where = value.type.zone
    if where == "UTC" or not value.type.is_moment:
        return value.sql if value.type.is_moment else f"CAST({value.sql} AS TIMESTAMP)"
    return f"timezone('{where}', timezone('UTC', {value.sql}))"


def moved(sql: str, where: str) -> str:
    """Return the SQL of the UTC timestamp of a local time."""
    return sql if where == "UTC" else f"timezone('UTC', timezone('{where}', {sql}))"


def text_sql(value: Value) -> str:
    """Return the SQL of a value as ClickHouse writes it.

    Raises:
        HogQLError: The emulator does not convert this type to text.
    """
    kind = value.type
    if kind.name in {"String", "Nothing"}:
        return value.sql if kind.name == "String" else "CAST(NULL AS VARCHAR)"
    if kind.is_float:
        return _of_float(value.sql)
    if kind.name == "DateTime64" and kind.parameters[0]:
        written = f"strftime({local(value)}, '%Y-%m-%d %H:%M:%S.%f')"
        return (
            written if kind.parameters[0] == 6 else f"({written})[:{20 + int(kind.parameters[0])}]"
        )
    if kind.is_moment:
        return f"strftime({local(value)}, '%Y-%m-%d %H:%M:%S')"
    if kind.name in {"UUID", "Date", "Bool", "Decimal"} or kind.is_integer:
        return f"CAST({value.plain} AS VARCHAR)"
    raise untranslated(f"a {kind} as text")


def _of_float(sql: str) -> str:
    """Return the SQL of a float in the shortest notation, as ClickHouse writes it."""
    # ClickHouse writes an exponent from 1e21 on and below 1e-6, DuckDB from 1e15 on and below
    # 1e-4; in between, the digits come from a decimal.
    text = f"CAST({sql} AS VARCHAR)"
    large = f"CAST(CAST({text} AS DECIMAL(38, 4)) AS VARCHAR)"
    small = f"CAST(CAST({text} AS DECIMAL(38, 30)) AS VARCHAR)"
    return (
        f"(CASE WHEN isnan({sql}) THEN 'nan' "
        f"WHEN {sql} = trunc({sql}) AND abs({sql}) < 1e15 THEN printf('%.0f', {sql}) "
        f"WHEN abs({sql}) >= 1e15 AND abs({sql}) < 1e21 THEN rtrim(rtrim({large}, '0'), '.') "
        f"WHEN abs({sql}) >= 1e-6 AND abs({sql}) < 1e-4 THEN rtrim({small}, '0') "
        f"ELSE regexp_replace({text}, 'e\\+?(-?)0*', 'e\\1') END)"
    )


@function("toString", "toNullableString", least=1, most=2)
def _to_string(call: Call) -> Value:
    value = call.arguments[0]
    if len(call.arguments) == 2:
        if not value.type.is_moment:
            raise illegal_type(call.name, value.type, "a DateTime, as a time zone is given")
        name = zone(call, 1)
        parameters = (*value.type.parameters[:-1], name)
        value = Value(value.sql, Type(value.type.name, parameters=parameters), value.text)
    nullable = True if call.name == "toNullableString" else None
    return call.make(text_sql(value), STRING, nullable=nullable)


_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}"
_WHOLE = "regexp_full_match({0}, '[+-]?\\d{{1,19}}')"


@function("toInt", "_toInt64", "toIntOrZero", "toInt64OrZero", "toInt64OrNull", least=1)
def _to_int(call: Call) -> Value:
    value = call.arguments[0]
    kind = value.type
    if kind.name == "String":
        sql = f"(CASE WHEN {_WHOLE.format(value.sql)} THEN TRY_CAST({value.sql} AS BIGINT) END)"
    elif call.name.endswith(("OrZero", "OrNull")):
        raise illegal_type(call.name, kind, "a String")
    elif kind.is_float:
        sql = (
            f"(CASE WHEN {value.sql} = trunc({value.sql}) THEN TRY_CAST({value.sql} AS BIGINT) END)"
        )
        if call.name == "_toInt64":
            sql = f"CAST(trunc({value.sql}) AS BIGINT)"
    elif kind.is_number or kind.name == "Nothing":
        sql = value.number if kind.is_number else "CAST(NULL AS BIGINT)"
    elif kind.name == "Date":
        sql = f"date_diff('day', DATE '1970-01-01', {value.sql})"
    elif kind.is_moment:
        sql = f"CAST(floor(epoch({value.sql})) AS BIGINT)"
    else:
        raise illegal_type(call.name, kind, "a number or a String")
    if call.name.endswith("OrZero"):
        return call.make(f"coalesce({sql}, 0)", INT64, nullable=False)
    if call.name == "_toInt64":
        if kind.name == "String":
            raise untranslated("_toInt64 of a String; toInt reads one")
        return call.make(sql, INT64)
    return call.make(sql, INT64, nullable=True)


@function("toFloat", "toFloatOrZero", "toFloat64OrNull", "toFloatOrDefault", least=1, most=2)
def _to_float(call: Call) -> Value:
    value = call.arguments[0]
    if value.type.name == "String":
        sql = number_in(value.sql)
    elif value.type.is_number:
        sql = value.cast(FLOAT)
    elif value.type.is_moment:
        sql = f"epoch({value.sql})"
    elif value.type.name == "Nothing":
        sql = "CAST(NULL AS DOUBLE)"
    else:
        raise illegal_type(call.name, value.type, "a number or a String")
    if call.name in {"toFloatOrZero", "toFloatOrDefault"}:
        default = call.arguments[1].cast(FLOAT) if len(call.arguments) == 2 else "0::DOUBLE"
        return call.make(f"coalesce({sql}, {default})", FLOAT, nullable=False)
    if len(call.arguments) == 2:
        raise HogQLError(f"Function '{call.name}' expects exactly 1 argument, found 2")
    return call.make(sql, FLOAT, nullable=True)


@function("toDecimal", least=2)
def _to_decimal(call: Call) -> Value:
    value, scale = call.arguments[0], call.constant(1, int)
    if not 0 <= scale <= 18:
        raise HogQLError("The scale of toDecimal must be from 0 to 18.")
    checked(call, "n" if value.type.name != "String" else "s")
    kind = Type("Decimal", parameters=(18, scale))
    return call.make(f"TRY_CAST({value.plain} AS DECIMAL(18, {scale}))", kind, nullable=True)


@function("toBool", least=1)
def _to_bool(call: Call) -> Value:
    value = call.arguments[0]
    if value.type.name == "String":
        read = f"lower({value.sql})"
        yes, no = "('true', '1', 't', 'y', 'yes', 'on')", "('false', '0', 'f', 'n', 'no', 'off')"
        sql = (
            f"(CASE WHEN {read} IN {yes} THEN true WHEN {read} IN {no} THEN false "
            f"WHEN {value.sql} IS NOT NULL "
            "THEN CAST(error('Cannot parse boolean value') AS BOOLEAN) END)"
        )
        return call.make(sql, BOOL)
    return call.make(value.condition, BOOL)


@function("toUUID", "toUUIDOrNull", least=1)
def _to_uuid(call: Call) -> Value:
    value = call.arguments[0]
    if value.type.name not in {"String", "UUID", "Nothing"}:
        raise illegal_type(call.name, value.type, "a String")
    if value.type.name == "UUID":
        return call.make(value.sql, UUID, nullable=True)
    whole = f"regexp_full_match({value.sql}, '{_UUID}')"
    sql = f"(CASE WHEN {whole} THEN TRY_CAST({value.sql} AS UUID) END)"
    return call.make(sql, UUID, nullable=True)


def _day_in(sql: str) -> str:
    """Return the SQL of a date in text; the query fails if the text may be a timestamp."""
    # ClickHouse parses more formats here. NULL would be wrong silently, so the query fails.
    told = quoted("toDate of text that is not just a day; use toDate(toDateTime(...))")
    return (
        f"(CASE WHEN regexp_full_match({sql}, '\\d{{4}}-\\d\\d-\\d\\d') "
        f"THEN TRY_CAST({sql} AS DATE) "
        f"WHEN regexp_matches({sql}, '^\\s*\\d{{4}}[-/.]?\\d\\d?[-/.]?\\d\\d?') "
        f"THEN CAST(error({told}) AS DATE) END)"
    )


@function("toDate", "to_date", "toDateOrNull", least=1)
def _to_date(call: Call) -> Value:
    value = call.arguments[0]
    if value.type.name == "Date":
        return call.make(value.sql, DATE)
    if value.type.is_moment:
        return call.make(f"CAST({local(value)} AS DATE)", DATE)
    if value.type.name == "String":
        return call.make(_day_in(value.sql), DATE, nullable=True)
    if value.type.is_integer:
        raise untranslated("toDate of a number")
    raise illegal_type(call.name, value.type, "a String, Date or DateTime")


@function("toDateTime", "parseDateTime64BestEffort", "parseDateTime64BestEffortOrNull",
          "parseDateTimeBestEffort", "parseDateTimeBestEffortOrNull", least=1, most=2)  # fmt: skip
def _to_datetime(call: Call) -> Value:
    value = call.arguments[0]
    if value.type.name == "String":
        return _read(call, value, zone(call, 1))
    where = zone(call, 1)
    if call.name != "toDateTime":
        raise illegal_type(call.name, value.type, "a String")
    if value.type.is_moment:
        where = zone(call, 1, value.type.zone)
        sql = f"date_trunc('second', {value.sql})"
    elif value.type.name == "Date":
        sql = moved(f"CAST({value.sql} AS TIMESTAMP)", where)
    elif value.type.is_integer:
        sql = f"make_timestamp({value.number} * 1000000)"
    elif value.type.name == "Nothing":
        sql = "CAST(NULL AS TIMESTAMP)"
    else:
        raise illegal_type(call.name, value.type, "a String, number, Date or DateTime")
    return call.make(sql, Type("DateTime", parameters=(where,)))


def _read(call: Call, value: Value, where: str) -> Value:
    """Parse a timestamp in text; NULL if it is not one."""
    kind = Type("DateTime64", parameters=(6, where))
    if isinstance(value.literal, str):
        read = moment(value.literal)
        if read is None and value.literal.strip().isdigit():
            return call.make(best_effort(value.sql), kind, nullable=True)
        if read is None:
            return call.make("CAST(NULL AS TIMESTAMP)", kind, nullable=True)
        sql = f"TIMESTAMP '{read}'"
        zoned = re.search(r"(Z|[+-]\d\d:?\d\d)\s*\Z", value.literal[10:])
        return call.make(sql if zoned else moved(sql, where), kind, nullable=True)
    if where != "UTC":
        raise untranslated(f"{call.name} of text that is no constant, in a zone other than UTC")
    return call.make(best_effort(value.sql), kind, nullable=True)


@function("toDateTime64", least=1, most=3)
def _to_datetime64(call: Call) -> Value:
    value, where = call.arguments[0], zone(call, 2)
    digits = call.constant(1, int, 6)
    if not 0 <= digits <= 6:
        raise untranslated("toDateTime64 of more than 6 digits")
    kind = Type("DateTime64", parameters=(digits, where))
    if isinstance(value.literal, str):
        read = moment(value.literal)
        if read is None:
            raise HogQLError(
                f"Cannot parse DateTime from string '{value.literal}'", "cannot_parse_datetime"
            )
        head, _, fraction = read.partition(".")
        kept = head + (f".{fraction[:digits]}" if fraction and digits else "")
        sql = f"TIMESTAMP '{kept}'"
        zoned = re.search(r"(Z|[+-]\d\d:?\d\d)\s*\Z", value.literal[10:])
        return call.make(sql if zoned else moved(sql, where), kind)
    scale = 10 ** (6 - digits)
    if value.type.is_moment:
        cut = f"make_timestamp(epoch_us({value.sql}) // {scale} * {scale})"
        return call.make(value.sql if scale == 1 else cut, kind)
    if value.type.name == "Date":
        return call.make(moved(f"CAST({value.sql} AS TIMESTAMP)", where), kind)
    if value.type.is_number:
        exact = f"CAST(round({value.cast(FLOAT)} * 1000000) AS BIGINT)"
        micros = exact if value.type.is_float else f"{value.number} * 1000000"
        return call.make(f"make_timestamp({micros})", kind)
    if value.type.name == "String":
        raise untranslated("toDateTime64 of text that is no constant; toDateTime reads it,")
    raise illegal_type(call.name, value.type, "a String, number, Date or DateTime")


@function("toTimeZone", "toTimezone", least=2)
def _to_zone(call: Call) -> Value:
    checked(call, "m")
    value, where = call.arguments[0], zone(call, 1)
    parameters = (*value.type.parameters[:-1], where)
    return call.make(value.sql, Type(value.type.name, parameters=parameters))
