"""Functions that are printed otherwise than by the name of their table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, timedelta
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from ..channel_type import LOOKUPS, lookup
from ..context import Context
from ..errors import HogQLError
from ..escape import string
from ..properties import best_effort, untyped
from ..values import MOMENTS, Printed
from .aggregates import REDUCERS

__all__ = ["ALIASES", "REWRITES"]

Rewrite: TypeAlias = "Callable[[Sequence[Printed], Context], Printed]"

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?\Z")
_EXACT: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{1,6}\Z")
_PARTS: Final = {
    "year": "toYear", "month": "toMonth", "day": "toDayOfMonth", "hour": "toHour",
    "minute": "toMinute", "second": "toSecond", "dow": "toDayOfWeek", "doy": "toDayOfYear",
    "quarter": "toQuarter",
}  # fmt: skip
_UNITS: Final = frozenset({"second", "minute", "hour", "day", "week", "month", "quarter", "year"})
_SEMVER: Final = r"^\s*v?((0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*))(?:[-+][^\s]*)?\s*$"
_LANGUAGES: Final = [
    "aa",
    "Afar",
    "ab",
    "Abkhazian",
    "af",
    "Afrikaans",
    "ak",
    "Akan",
    "sq",
    "Albanian",
    "am",
    "Amharic",
    "ar",
    "Arabic",
    "hy",
    "Armenian",
    "az",
    "Azerbaijani",
    "eu",
    "Basque",
    "be",
    "Belarusian",
    "bn",
    "Bengali",
    "bs",
    "Bosnian",
    "br",
    "Breton",
    "bg",
    "Bulgarian",
    "my",
    "Burmese",
    "ca",
    "Catalan",
    "zh",
    "Chinese",
    "co",
    "Corsican",
    "hr",
    "Croatian",
    "cs",
    "Czech",
    "da",
    "Danish",
    "nl",
    "Dutch",
    "en",
    "English",
    "eo",
    "Esperanto",
    "et",
    "Estonian",
    "fi",
    "Finnish",
    "fr",
    "French",
    "gl",
    "Galician",
    "ka",
    "Georgian",
    "de",
    "German",
    "el",
    "Greek",
    "gu",
    "Gujarati",
    "ht",
    "Haitian",
    "ha",
    "Hausa",
    "he",
    "Hebrew",
    "hi",
    "Hindi",
    "hu",
    "Hungarian",
    "is",
    "Icelandic",
    "ig",
    "Igbo",
    "id",
    "Indonesian",
    "ga",
    "Irish",
    "it",
    "Italian",
    "ja",
    "Japanese",
    "kn",
    "Kannada",
    "kk",
    "Kazakh",
    "km",
    "Khmer",
    "ko",
    "Korean",
    "ku",
    "Kurdish",
    "lo",
    "Lao",
    "la",
    "Latin",
    "lv",
    "Latvian",
    "lt",
    "Lithuanian",
    "lb",
    "Luxembourgish",
    "mk",
    "Macedonian",
    "ms",
    "Malay",
    "ml",
    "Malayalam",
    "mt",
    "Maltese",
    "mi",
    "Maori",
    "mr",
    "Marathi",
    "mn",
    "Mongolian",
    "ne",
    "Nepali",
    "no",
    "Norwegian",
    "fa",
    "Persian",
    "pl",
    "Polish",
    "pt",
    "Portuguese",
    "pa",
    "Punjabi",
    "ro",
    "Romanian",
    "ru",
    "Russian",
    "sr",
    "Serbian",
    "sk",
    "Slovak",
    "sl",
    "Slovenian",
    "so",
    "Somali",
    "es",
    "Spanish",
    "sw",
    "Swahili",
    "sv",
    "Swedish",
    "tl",
    "Tagalog",
    "ta",
    "Tamil",
    "te",
    "Telugu",
    "th",
    "Thai",
    "tr",
    "Turkish",
    "uk",
    "Ukrainian",
    "ur",
    "Urdu",
    "uz",
    "Uzbek",
    "vi",
    "Vietnamese",
    "cy",
    "Welsh",
    "xh",
    "Xhosa",
    "yi",
    "Yiddish",
    "yo",
    "Yoruba",
    "zu",
    "Zulu",
]


def _sql(*args: Printed) -> str:
    return ", ".join(one.sql for one in args)


def _zone(context: Context) -> str:
    return string(context.timezone)


def _cast(clickhouse: str, kind: str) -> Rewrite:
    return lambda args, context: Printed(
        f"accurateCastOrNull({args[0].sql}, {string(clickhouse)})", kind
    )


def _strict(clickhouse: str, kind: str) -> Rewrite:
    return lambda args, context: Printed(f"{clickhouse}({args[0].sql})", kind, args[0].nullable)


def _to_decimal(args: Sequence[Printed], context: Context) -> Printed:
    scale = args[1].constant
    if not isinstance(scale, int):
        raise HogQLError("The scale of toDecimal must be a constant.")
    return Printed(f"accurateCastOrNull({args[0].sql}, 'Decimal64({scale})')", "number")


def _to_date(args: Sequence[Printed], context: Context) -> Printed:
    value = args[0]
    if value.kind in MOMENTS:
        return Printed(f"toDate({value.sql})", "date", value.nullable)
    text = value.sql if value.kind == "string" else f"toString({value.sql})"
    return Printed(f"toDateOrNull({text})", "date")


def _to_datetime(args: Sequence[Printed], context: Context) -> Printed:
    value = args[0]
    zone = args[1].sql if len(args) > 1 else _zone(context)
    if isinstance(value.constant, str):
        if _DATE.match(value.constant):
            return Printed(f"toDateTime({value.sql}, {zone})", "datetime", False)
        if _EXACT.match(value.constant):
            return Printed(f"toDateTime64({value.sql}, 6, {zone})", "datetime", False)
        return Printed(f"parseDateTime64BestEffort({value.sql}, 6, {zone})", "datetime", False)
    if value.kind in {*MOMENTS, "int", "float", "number"}:
        return Printed(f"toDateTime({value.sql}, {zone})", "datetime", value.nullable)
    return _parse(args, context)


def _parse(args: Sequence[Printed], context: Context) -> Printed:
    zone = context.timezone
    if len(args) > 1:
        if not isinstance(args[1].constant, str):
            raise HogQLError("The time zone must be a constant string.")
        zone = args[1].constant
    text = args[0].sql if args[0].kind == "string" else f"toString({args[0].sql})"
    return Printed(best_effort(text, zone), "datetime")


def _to_datetime64(args: Sequence[Printed], context: Context) -> Printed:
    scale = args[1].sql if len(args) > 1 else "6"
    zone = args[2].sql if len(args) > 2 else _zone(context)
    sql = f"toDateTime64({args[0].sql}, {scale}, {zone})"
    return Printed(sql, "datetime", args[0].nullable)


def _to_datetime_us(args: Sequence[Printed], context: Context) -> Printed:
    zone = args[1].sql if len(args) > 1 else _zone(context)
    return Printed(f"parseDateTime64BestEffortUSOrNull({args[0].sql}, 6, {zone})", "datetime")


def _parse_datetime(args: Sequence[Printed], context: Context) -> Printed:
    zone = args[2].sql if len(args) > 2 else _zone(context)
    return Printed(f"parseDateTimeOrNull({_sql(*args[:2])}, {zone})", "datetime")


def _now(args: Sequence[Printed], context: Context) -> Printed:
    # The emulator has a clock of its own.
    zone = context.timezone
    at = context.now.astimezone(UTC if zone == "UTC" else ZoneInfo(zone)).replace(tzinfo=None)
    sql = f"toDateTime64('{at.isoformat(' ', 'microseconds')}', 6, {_zone(context)})"
    if args:
        sql = f"toTimeZone({sql}, {args[0].sql})"
    return Printed(sql, "datetime", False)


def _day(shift: int) -> Rewrite:
    return lambda args, context: Printed(
        f"toDate('{(context.now.astimezone(UTC) + timedelta(days=shift)).date()}')", "date", False
    )


def _to_start_of_week(args: Sequence[Printed], context: Context) -> Printed:
    mode = args[1].sql if len(args) > 1 else "3" if context.week_start_day else "0"
    rest = f", {args[2].sql}" if len(args) > 2 else ""
    return Printed(f"toStartOfWeek({args[0].sql}, {mode}{rest})", "date", args[0].nullable)


def _to_time_zone(args: Sequence[Printed], context: Context) -> Printed:
    zone = args[1].sql if len(args) > 1 else _zone(context)
    return Printed(f"toTimeZone({args[0].sql}, {zone})", "datetime", args[0].nullable)


def _timezone(args: Sequence[Printed], context: Context) -> Printed:
    return _to_time_zone((args[1], args[0]), context)


def _date_bin(args: Sequence[Printed], context: Context) -> Printed:
    sql = f"toStartOfInterval({args[1].sql}, {args[0].sql}, {args[2].sql})"
    return Printed(sql, "datetime", args[1].nullable)


def _date_part(args: Sequence[Printed], context: Context) -> Printed:
    part, at = args[0].sql, args[1].sql
    arms = ", ".join(f"{part} = {string(one)}, {name}({at})" for one, name in _PARTS.items())
    return Printed(f"multiIf({arms}, NULL)", "int")


def _shifted(function: str) -> Rewrite:
    def rewrite(args: Sequence[Printed], context: Context) -> Printed:
        if len(args) == 2:
            return Printed(f"{function}({_sql(*args)})", args[0].kind, args[0].nullable)
        unit = str(args[0].constant).lower()
        if unit not in _UNITS:
            raise HogQLError(f"{args[0].sql} is no unit of time.")
        step = f"toInterval{unit.capitalize()}({args[1].sql})"
        return Printed(f"{function}({args[2].sql}, {step})", args[2].kind, args[2].nullable)

    return rewrite


def _to_timestamp(args: Sequence[Printed], context: Context) -> Printed:
    return Printed(f"toDateTime(fromUnixTimestamp({args[0].sql}))", "datetime", args[0].nullable)


def _make_timestamp(args: Sequence[Printed], context: Context) -> Printed:
    zone = args[6].sql if len(args) > 6 else _zone(context)
    return Printed(f"makeDateTime({_sql(*args[:6])}, {zone})", "datetime")


def _make_interval(args: Sequence[Printed], context: Context) -> Printed:
    units = ("Year", "Month", "Day", "Hour", "Minute", "Second")
    parts = [f"toInterval{unit}({one.sql})" for unit, one in zip(units, args, strict=True)]
    return Printed(f"({' + '.join(parts)})", "interval", False)


def _concat(args: Sequence[Printed], context: Context) -> Printed:
    parts: list[str] = []
    for one in args:
        if one.is_constant:
            if one.constant is None:
                parts.append("''")
            else:
                parts.append(one.sql if isinstance(one.constant, str) else f"toString({one.sql})")
        elif one.sql.startswith("toString("):
            parts.append(f"ifNull({one.sql}, '')")
        else:
            parts.append(f"ifNull(toString({one.sql}), '')")
    return Printed(f"concat({', '.join(parts)})", "string", False)


def _trim(side: str) -> Rewrite:
    names = {"LEADING": "trimLeft", "TRAILING": "trimRight", "BOTH": "trimBoth"}
    return lambda args, context: Printed(
        f"{names[side]}({_sql(*args)})", "string", args[0].nullable
    )


def _split_part(args: Sequence[Printed], context: Context) -> Printed:
    parts = f"splitByString({args[1].sql}, {args[0].sql})"
    return Printed(f"arrayElement({parts}, {args[2].sql})", "string", args[0].nullable)


def _language(args: Sequence[Printed], context: Context) -> Printed:
    codes = ", ".join(map(string, _LANGUAGES[::2]))
    names = ", ".join(map(string, _LANGUAGES[1::2]))
    return Printed(
        f"transform(toString({args[0].sql}), [{codes}], [{names}], 'Unknown')", "string",
        args[0].nullable,
    )  # fmt: skip


def _sortable_semver(args: Sequence[Printed], context: Context) -> Printed:
    text = f"assumeNotNull({args[0].sql})"
    found = f"coalesce(nullIf(extract({text}, {string(_SEMVER)}), ''), '_')"
    return Printed(f"arrayMap(x -> toInt64OrNull(x), splitByChar('.', {found}))", "array")


def _array_reduce(args: Sequence[Printed], context: Context) -> Printed:
    name = args[0].constant
    base = str(name).partition("(")[0]
    if (
        not isinstance(name, str)
        or base not in REDUCERS
        or not re.fullmatch(r"\w+(\([\d., ]+\))?", name)
    ):
        raise HogQLError(
            f"Invalid parametric function in 'arrayReduce', '{name}' is not supported."
        )
    return Printed(f"arrayReduce({_sql(*args)})")


def _to_float_or_zero(name: str) -> Rewrite:
    def rewrite(args: Sequence[Printed], context: Context) -> Printed:
        first = untyped(args[0])
        return Printed(f"{name}({_sql(first, *args[1:])})", "number", first.nullable)

    return rewrite


def _lookup(name: str) -> Rewrite:
    return lambda args, context: Printed(lookup(name, args[0].sql), "string")


def _convert_currency(args: Sequence[Printed], context: Context) -> Printed:
    # There is no table of rates: only an amount in its own currency can be converted.
    same = f"equals(toString({args[0].sql}), toString({args[1].sql}))"
    amount = f"toDecimal64(ifNull({args[2].sql}, 0), 10)"
    return Printed(f"if(ifNull({same}, 0), {amount}, toDecimal64(0, 10))", "number", False)


def _tumble(name: str) -> Rewrite:
    def rewrite(args: Sequence[Printed], context: Context) -> Printed:
        first = args[0].sql
        if name in {"tumble", "hop"} or len(args) > 1:
            first = f"toDateTime({first}, 'UTC')"
        rest = "".join(f", {one.sql}" for one in args[1:])
        return Printed(f"{name}({first}{rest})")

    return rewrite


REWRITES: Final[Mapping[str, Rewrite]] = {
    "toInt": _cast("Int64", "int"),
    "toFloat": _cast("Float64", "float"),
    "toUUID": _cast("UUID", "uuid"),
    "toNullableString": _cast("Nullable(String)", "string"),
    "toDecimal": _to_decimal,
    "_toInt8": _strict("toInt8", "int"),
    "_toInt16": _strict("toInt16", "int"),
    "_toInt32": _strict("toInt32", "int"),
    "_toInt64": _strict("toInt64", "int"),
    "_toUInt64": _strict("toUInt64", "int"),
    "_toUInt128": _strict("toUInt128", "int"),
    "_toDate": _strict("toDate", "date"),
    "_toNullableBool": _cast("Bool", "bool"),
    "toIntOrZero": _to_float_or_zero("toInt64OrZero"),
    "toFloatOrZero": _to_float_or_zero("toFloat64OrZero"),
    "toFloatOrDefault": _to_float_or_zero("toFloat64OrDefault"),
    "toDate": _to_date,
    "to_date": _to_date,
    "toDateTime": _to_datetime,
    "toDateTime64": _to_datetime64,
    "toDateTimeUS": _to_datetime_us,
    "parseDateTime": _parse_datetime,
    "parseDateTimeBestEffort": _parse,
    "now": _now,
    "current_timestamp": _now,
    "today": _day(0),
    "current_date": _day(0),
    "yesterday": _day(-1),
    "toStartOfWeek": _to_start_of_week,
    "toTimeZone": _to_time_zone,
    "timezone": _timezone,
    "date_bin": _date_bin,
    "date_part": _date_part,
    **{name: _shifted("plus") for name in ("dateAdd", "date_add", "timeStampAdd")},
    **{name: _shifted("minus") for name in ("dateSub", "date_subtract", "timeStampSub")},
    "to_timestamp": _to_timestamp,
    "make_timestamp": _make_timestamp,
    "make_timestamptz": _make_timestamp,
    "make_interval": _make_interval,
    "concat": _concat,
    "trim": _trim("BOTH"),
    "btrim": _trim("BOTH"),
    "ltrim": _trim("LEADING"),
    "trimLeft": _trim("LEADING"),
    "rtrim": _trim("TRAILING"),
    "trimRight": _trim("TRAILING"),
    "split_part": _split_part,
    "languageCodeToName": _language,
    "sortableSemver": _sortable_semver,
    "arrayReduce": _array_reduce,
    "convertCurrency": _convert_currency,
    **{name: _tumble(name) for name in (
        "tumble", "tumbleStart", "tumbleEnd", "hop", "hopStart", "hopEnd",
    )},
    **{name: _lookup(name) for name in LOOKUPS},
}  # fmt: skip
"""By HogQL name."""

ALIASES: Final[Mapping[str, str]] = {"sortablesemver": "sortableSemver"}
"""Spellings of any case that are not in a table."""
