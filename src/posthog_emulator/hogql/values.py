"""Translated expressions: SQL for DuckDB, the type, and the text as HogQL writes it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from .problems import HogQLError
from .types import BOOL, FLOAT, NOTHING, STRING, UINT8, Type, array, common, of_integer

__all__ = [
    "Json", "Value", "constant", "identifier", "null", "quoted", "text_of", "truth",
]  # fmt: skip

UNSET: Final = object()


@dataclass(frozen=True, slots=True)
class Json:
    """The position of a value in a JSON text, such as a `properties` column."""

    root: str
    """The SQL of the text."""
    scope: str
    """Whose properties: `event`, `person`, `group`; empty when they have no types of their own."""
    keys: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """A translated expression."""

    sql: str
    """Fit to stand anywhere: parentheses are around it where it needs some."""
    type: Type
    text: str
    """As HogQL writes it."""
    truth: bool = False
    """Whether DuckDB has a BOOLEAN where ClickHouse has 0 or 1."""
    literal: Any = UNSET
    """The constant it is."""
    aggregate: bool = False
    window: bool = False
    json: Json | None = None
    name: str | None = None
    """The column's name in an answer, when it is not the text."""
    elements: tuple[Value, ...] = field(default=())
    """The elements of a tuple or array that is spelled out."""

    @property
    def is_constant(self) -> bool:
        """Whether it is a constant spelled out in the query, or a placeholder's value."""
        return self.literal is not UNSET

    @property
    def number(self) -> str:
        """The SQL of a number, of one that is a truth value in DuckDB also."""
        return f"CAST({self.sql} AS BIGINT)" if self.truth or self.type.name == "Bool" else self.sql

    @property
    def plain(self) -> str:
        """The SQL of the value as DuckDB is to keep it."""
        return f"CAST({self.sql} AS BIGINT)" if self.truth else self.sql

    @property
    def condition(self) -> str:
        """The SQL of the value as a condition.

        Raises:
            HogQLError: The value is neither a boolean nor a number.
        """
        # DuckDB needs a BOOLEAN for NULL as a condition.
        if self.truth or self.type.name in {"Bool", "Nothing"}:
            return f"CAST({self.sql} AS BOOLEAN)" if self.type.name == "Nothing" else self.sql
        if self.type.is_number:
            return f"({self.sql} <> 0)"
        raise HogQLError(
            f"Illegal type {self.type} of column for filter or condition. Must be UInt8 or Bool.",
            "illegal_type_of_column_for_filter",
        )

    def cast(self, type: Type) -> str:
        """Return the SQL of the value as another type."""
        wanted = type.duckdb
        if self.type.name == "Nothing":
            return f"CAST(NULL AS {wanted})"
        if not self.truth and self.type.plain == type.plain:
            return self.sql
        if self.type.is_integer and type.is_integer and not self.truth:
            return self.sql
        return f"CAST({self.plain} AS {wanted})"

    def called(self, name: str) -> Value:
        """Return the value with a column name."""
        return replace(self, name=name)


def quoted(text: str) -> str:
    """Return a string as a literal of DuckDB's SQL."""
    # DuckDB's SQL text cannot contain NUL; `chr(0)` is the only way to have it in a value.
    pieces = ["'" + piece.replace("'", "''") + "'" for piece in text.split("\0")]
    return pieces[0] if len(pieces) == 1 else f"({' || chr(0) || '.join(pieces)})"


_PLAIN: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
_ESCAPES: Final = {
    "\\": "\\\\", "'": "\\'", "\b": "\\b", "\f": "\\f", "\r": "\\r", "\n": "\\n", "\t": "\\t",
    "\0": "\\0", "\a": "\\a", "\v": "\\v",
}  # fmt: skip


def identifier(name: str) -> str:
    """Return a name as HogQL writes it."""
    if _PLAIN.match(name):
        return name
    return "`" + "".join(_ESCAPES.get(c, c) if c != "'" else c for c in name) + "`"


def text_of(value: Any) -> str:
    """Return a constant as HogQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return "'" + "".join(_ESCAPES.get(c, c) for c in value) + "'"
    return f"[{', '.join(text_of(item) for item in value)}]"


def null() -> Value:
    """Return NULL."""
    return Value("NULL", NOTHING, "NULL", literal=None)


def constant(value: Any) -> Value:
    """Return a constant of the query or of a placeholder.

    Raises:
        HogQLError: HogQL has no constants of this type.
    """
    if value is None:
        return null()
    kind = type(value).__name__
    text = "" if isinstance(value, Mapping) else text_of(value)
    if isinstance(value, bool):
        return Value("true" if value else "false", BOOL, text, literal=value)
    if isinstance(value, int):
        return Value(f"({value}::BIGINT)", of_integer(value), text, literal=value)
    if isinstance(value, float):
        if math.isfinite(value):
            return Value(f"({value!r}::DOUBLE)", FLOAT, text, literal=value)
        return Value(f"({quoted(str(value))}::DOUBLE)", FLOAT, text, literal=value)
    if isinstance(value, str):
        return Value(quoted(value), STRING, text, literal=value)
    if isinstance(value, list | tuple):
        return _list(cast("list[Any]", value), text)
    raise HogQLError(f"A value of type {kind} cannot be used in a query.")


def _list(value: Sequence[Any], text: str) -> Value:
    return _array([constant(item) for item in value], list(value), text)


def _array(items: list[Value], value: list[Any], text: str) -> Value:
    item = NOTHING.plain
    for element in items:
        item = common(item, element.type)
    if not items:
        return Value("CAST([] AS VARCHAR[])", array(item), text, literal=list(value))
    sql = f"[{', '.join(element.cast(item) for element in items)}]"
    return Value(sql, array(item), text, literal=list(value), elements=tuple(items))


def truth(sql: str, text: str, *parts: Value, nullable: bool = False) -> Value:
    """Return a condition, which is 0 or 1 in ClickHouse."""
    return Value(
        sql,
        UINT8.or_null(nullable),
        text,
        truth=True,
        aggregate=any(part.aggregate for part in parts),
        window=any(part.window for part in parts),
    )
