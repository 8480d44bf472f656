"""Resolve `{placeholders}`: values, `{filters}` and `{variables}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from .dialect import parse
from .problems import HogQLError
from .schema import TABLES
from .scope import TableSource
from .types import DATETIME64
from .values import Value, constant, quoted

if TYPE_CHECKING:
    from .expressions import Expressions

__all__ = ["Unbounded", "placeholder"]

_BOUNDS: Final = ("filters.dateRange.from", "filters.dateRange.to")
_FILTERED: Final = ("events", "groups", "sessions")
"""The tables that filters speak of; the first of these in FROM is meant."""


class Unbounded(HogQLError):
    """A bound of the filters' date range is not set; comparisons with it are true."""


def placeholder(expressions: Expressions, name: str) -> Value:
    """Return the value of a placeholder.

    Raises:
        HogQLError: The placeholder has no value.
        Unbounded: The placeholder is a bound that is not set.
    """
    context = expressions.translator.context
    first, _, rest = name.partition(".")
    if first == "filters" and "filters" not in context.values:
        return _filters(expressions, name)
    if first == "variables" and "variables" not in context.values:
        return constant(context.variable(rest))
    value: Any = context.values
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = ", ".join(sorted(context.values)) or "none"
            raise HogQLError(
                f"Placeholder {{{name}}} is not available in this context. "
                f"You can use the following: {known}"
            )
        value = cast("Mapping[str, Any]", value)[part]
    return constant(value)


def _filters(expressions: Expressions, name: str) -> Value:
    translator = expressions.translator
    if name in _BOUNDS:
        at = translator.context.date_range[_BOUNDS.index(name)]
        if at is None:
            raise Unbounded(
                f"The `{{{name}}}` placeholder must be used directly in a comparison "
                f"(e.g. `timestamp > {{{name}}}`) when the date range is not set."
            )
        return _moment(at)
    if name != "filters":
        raise HogQLError(
            f"Unsupported filters placeholder `{{{name}}}`. "
            f"Supported filters placeholders are: `{{filters}}`, `{{{_BOUNDS[0]}}}`, "
            f"`{{{_BOUNDS[1]}}}`."
        )
    tables = [s.table for s in expressions.scope.sources.values() if isinstance(s, TableSource)]
    table = next((one for one in _FILTERED if TABLES[one] in tables), None)
    if table is None:
        raise HogQLError(
            "Cannot use 'filters' placeholder in a SELECT clause that does not select from the "  # noqa: S608
            f"{', '.join(_FILTERED)} table."
        )
    outer = translator.context
    text, values = outer.filter(table)
    translator.context = replace(outer, values=values)
    try:
        return expressions.of(parse(f"SELECT {text}").expressions[0])
    finally:
        translator.context = outer


def _moment(at: datetime) -> Value:
    written = at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    text = f"toDateTime64('{written}', 6, 'UTC')"
    return Value(f"TIMESTAMP {quoted(written)}", DATETIME64, text)
