"""Functions that are printed otherwise than by the name of their table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, timedelta
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from posthog_emulator.hogql.channel_type import LOOKUPS, lookup
from posthog_emulator.hogql.context import Context
from posthog_emulator.hogql.data_files import data_lines
from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.escape import string
from posthog_emulator.hogql.properties import best_effort, untyped
from posthog_emulator.hogql.values import MOMENTS, Printed

__all__ = ["rewritten"]

Rewrite: TypeAlias = "Callable[[Sequence[Printed], Context], Printed]"

_SLOT: Final = re.compile(r"\{(\w+)\}")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?\Z")
_EXACT: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{1,6}\Z")
_UNITS: Final = frozenset({"second", "minute", "hour", "day", "week", "month", "quarter", "year"})
_REDUCER: Final = re.compile(
    r"(sum|avg|min|max|count|uniq|uniqExact|any|anyLast|median|groupArray|groupUniqArray|"
    r"groupBit(And|Or|Xor)|(stddev|var)(Pop|Samp)|(sum|avg|min|max|count|uniq|any)If|arg(Min|Max)|"
    r"quantiles?)(\([\d., ]+\))?"
)
"""What `arrayReduce` takes."""


@cache
def _templates() -> Mapping[tuple[str, int], tuple[str, str]]:
    templates: dict[tuple[str, int], tuple[str, str]] = {}
    for line in data_lines(Path(__file__).parent / "templates.txt"):
        name, kind, sql = line.split(" ", 2)
        base, _, count = name.partition("/")
        templates[base, int(count)] = (kind, sql)
    return templates


def rewritten(name: str, args: Sequence[Printed], context: Context) -> Printed | None:
    """Return a call that is printed in a way of its own; None for all others.

    Raises:
        HogQLError: An argument is wrong.
    """
    rewrite = _REWRITES.get(name)
    if rewrite is not None:
        return rewrite(args, context)
    template = _templates().get((name, len(args)))
    if template is None:
        return None
    kind, sql = template

    def filled(slot: re.Match[str]) -> str:
        key = slot[1]
        return args[int(key)].sql if key.isdigit() else _CONTEXT[key](context)

    nullable = "OrNull(" in sql or "NULL" in sql or any(arg.nullable for arg in args)
    kind = args[int(kind)].kind if kind.isdigit() else kind
    return Printed(_SLOT.sub(filled, sql), kind, nullable)


def _now(context: Context) -> str:
    # The emulator has a clock of its own.
    zone = context.timezone
    at = context.now.astimezone(UTC if zone == "UTC" else ZoneInfo(zone)).replace(tzinfo=None)
    return f"toDateTime64('{at.isoformat(' ', 'microseconds')}', 6, {string(zone)})"


_CONTEXT: Final[Mapping[str, Callable[[Context], str]]] = {
    "tz": lambda context: string(context.timezone),
    "now": _now,
    "today": lambda context: f"toDate('{context.now.astimezone(UTC).date()}')",
    "yesterday": lambda context: (
        f"toDate('{(context.now.astimezone(UTC) - timedelta(days=1)).date()}')"
    ),
    "week": lambda context: "3" if context.week_start_day else "0",
}


def _to_decimal(args: Sequence[Printed], context: Context) -> Printed:
    if not isinstance(args[1].constant, int):
        raise HogQLError("The scale of toDecimal must be a constant.")
    return Printed(f"accurateCastOrNull({args[0].sql}, 'Decimal64({args[1].constant})')", "number")


def _to_date(args: Sequence[Printed], context: Context) -> Printed:
    value = args[0]
    if value.kind in MOMENTS:
        return Printed(f"toDate({value.sql})", "date", value.nullable)
    text = value.sql if value.kind == "string" else f"toString({value.sql})"
    return Printed(f"toDateOrNull({text})", "date")


def _to_datetime(args: Sequence[Printed], context: Context) -> Printed:
    value = args[0]
    zone = args[1].sql if len(args) > 1 else string(context.timezone)
    if isinstance(value.constant, str):
        if _DATE.match(value.constant):
            return Printed(f"toDateTime({value.sql}, {zone})", "datetime", False)
        name = "toDateTime64" if _EXACT.match(value.constant) else "parseDateTime64BestEffort"
        return Printed(f"{name}({value.sql}, 6, {zone})", "datetime", False)
    if value.kind in {*MOMENTS, "int", "float", "number"}:
        return Printed(f"toDateTime({value.sql}, {zone})", "datetime", value.nullable)
    return _parse(args, context)


def _parse(args: Sequence[Printed], context: Context) -> Printed:
    zone = args[1].constant if len(args) > 1 else context.timezone
    if not isinstance(zone, str):
        raise HogQLError("The time zone must be a constant string.")
    text = args[0].sql if args[0].kind == "string" else f"toString({args[0].sql})"
    return Printed(best_effort(text, zone), "datetime")


def _shifted(function: str) -> Rewrite:
    def rewrite(args: Sequence[Printed], context: Context) -> Printed:
        if len(args) == 2:
            return Printed(f"{function}({args[0].sql}, {args[1].sql})", args[0].kind)
        unit = str(args[0].constant).lower()
        if unit not in _UNITS:
            raise HogQLError(f"{args[0].sql} is no unit of time.")
        step = f"toInterval{unit.capitalize()}({args[1].sql})"
        return Printed(f"{function}({args[2].sql}, {step})", args[2].kind, args[2].nullable)

    return rewrite


def _concat(args: Sequence[Printed], context: Context) -> Printed:
    def part(value: Printed) -> str:
        if not value.is_constant:
            text = value.sql if value.sql.startswith("toString(") else f"toString({value.sql})"
            return f"ifNull({text}, '')"
        if value.constant is None:
            return "''"
        return value.sql if isinstance(value.constant, str) else f"toString({value.sql})"

    return Printed(f"concat({', '.join(map(part, args))})", "string", False)


def _array_reduce(args: Sequence[Printed], context: Context) -> Printed:
    name = args[0].constant
    if not isinstance(name, str) or not _REDUCER.fullmatch(name):
        raise HogQLError(
            f"Invalid parametric function in 'arrayReduce', '{name}' is not supported."
        )
    return Printed(f"arrayReduce({', '.join(arg.sql for arg in args)})")


def _of_text(name: str) -> Rewrite:
    def rewrite(args: Sequence[Printed], context: Context) -> Printed:
        first = untyped(args[0])
        rest = "".join(f", {arg.sql}" for arg in args[1:])
        return Printed(f"{name}({first.sql}{rest})", "number", first.nullable)

    return rewrite


def _lookup(name: str) -> Rewrite:
    return lambda args, context: Printed(lookup(name, args[0].sql), "string")


def _window(name: str) -> Rewrite:
    def rewrite(args: Sequence[Printed], context: Context) -> Printed:
        first = args[0].sql
        if name in {"tumble", "hop"} or len(args) > 1:
            first = f"toDateTime({first}, 'UTC')"
        return Printed(f"{name}({', '.join([first, *(arg.sql for arg in args[1:])])})")

    return rewrite


_REWRITES: Final[Mapping[str, Rewrite]] = {
    "toDecimal": _to_decimal,
    "toIntOrZero": _of_text("toInt64OrZero"),
    "toFloatOrZero": _of_text("toFloat64OrZero"),
    "toFloatOrDefault": _of_text("toFloat64OrDefault"),
    "toDate": _to_date,
    "to_date": _to_date,
    "toDateTime": _to_datetime,
    "parseDateTimeBestEffort": _parse,
    **{name: _shifted("plus") for name in ("dateAdd", "date_add", "timeStampAdd")},
    **{name: _shifted("minus") for name in ("dateSub", "date_subtract", "timeStampSub")},
    "concat": _concat,
    "arrayReduce": _array_reduce,
    **{name: _window(name) for name in (
        "tumble", "tumbleStart", "tumbleEnd", "hop", "hopStart", "hopEnd",
    )},
    **{name: _lookup(name) for name in LOOKUPS},
}  # fmt: skip
