"""Parse ClickHouse type names into a tree. Pure.

Responses name the type of each column: `Nullable(DateTime64(6, 'UTC'))`, `Array(Tuple(String,
Float64))`. The modules `convert` and `arrow` convert values by these types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NoReturn, cast

__all__ = ["ColumnType", "column_types", "parse_type", "parse_type_lenient"]

_WRAPPERS: Final = frozenset({"Nullable", "LowCardinality"})
_GEOMETRY: Final = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "MultiLineString": "Array(LineString)",
    "Polygon": "Array(Ring)",
    "MultiPolygon": "Array(Polygon)",
}
_DECIMALS: Final = {"Decimal32": 9, "Decimal64": 18, "Decimal128": 38, "Decimal256": 76}
_MAX_DEPTH: Final = 64
"""Maximum nesting of types. No real column comes near it; it prevents a RecursionError."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A ClickHouse type: its name, inner types and other parameters."""

    name: str
    """The name, such as `DateTime64` or `Array`; the whole text if it cannot be parsed."""
    items: tuple[ColumnType, ...] = ()
    """The inner types: one of an Array, key and value of a Map."""
    labels: tuple[str, ...] = ()
    """The names of the elements of a Tuple or Nested; empty if they have none."""
    parameters: tuple[int | float | str, ...] = ()
    """Numbers and strings: precision, scale, time zone, length, names of an Enum."""
    text: str = field(default="", compare=False)
    """The text of the server."""

    def __str__(self) -> str:
        """Return the text of the server."""
        return self.text or self.name

    @property
    def nullable(self) -> bool:
        """Whether the column may contain NULL."""
        return self.name == "Nullable" or (
            self.name == "LowCardinality" and bool(self.items) and self.items[0].nullable
        )

    @property
    def base(self) -> ColumnType:
        """The type without Nullable, LowCardinality and SimpleAggregateFunction around it.

        Aliases of composite types (Point, Nested) are expanded.
        """
        if self.name in _WRAPPERS and len(self.items) == 1:
            return self.items[0].base
        if self.name == "SimpleAggregateFunction" and len(self.items) == 2:
            return self.items[1].base
        if self.name in _GEOMETRY:
            return parse_type(_GEOMETRY[self.name])
        if self.name == "Nested" and self.items:
            inner = ColumnType("Tuple", self.items, self.labels)
            return ColumnType("Array", (inner,), text=self.text)
        return self

    @property
    def zone(self) -> str | None:
        """The time zone of a DateTime or DateTime64; None if it names none."""
        if not self.name.startswith("DateTime"):
            return None
        return next((p for p in self.parameters if isinstance(p, str)), None)

    @property
    def digits(self) -> int:
        """Fractional digits: of the seconds of a DateTime64, or the scale of a Decimal."""
        numbers = [p for p in self.parameters if isinstance(p, int)]
        if self.name == "DateTime64":
            return numbers[0] if numbers else 3
        if self.name in _DECIMALS:
            return numbers[0] if numbers else 0
        return numbers[1] if self.name == "Decimal" and len(numbers) > 1 else 0

    @property
    def precision(self) -> int:
        """Total digits of a Decimal."""
        if self.name in _DECIMALS:
            return _DECIMALS[self.name]
        numbers = [p for p in self.parameters if isinstance(p, int)]
        return numbers[0] if numbers else 10


def column_types(types: object, count: int) -> tuple[ColumnType, ...]:
    """Return the types of the columns of a response.

    Args:
        types: The `types` of the response: `[name, type]` pairs, types alone, or nothing.
        count: The number of columns; those without a type are `Unknown`.
    """
    entries = cast("list[object]", types) if isinstance(types, list) else []
    parsed = [parse_type_lenient(_type_text(entry)) for entry in entries[:count]]
    return (*parsed, *(ColumnType("Unknown") for _ in range(count - len(parsed))))


def _type_text(entry: object) -> object:
    if isinstance(entry, list | tuple):
        pair = cast("list[object]", entry)
        return pair[-1] if pair else ""
    return entry


def parse_type_lenient(text: object) -> ColumnType:
    """Return a parsed type; if it cannot be parsed, a type with the text as its name."""
    if not isinstance(text, str):
        return ColumnType("Unknown")
    try:
        return parse_type(text)
    except ValueError:
        return ColumnType(text, text=text)


@lru_cache(maxsize=512)
def parse_type(text: str) -> ColumnType:
    """Return a parsed type.

    Raises:
        ValueError: The text is not a ClickHouse type.
    """
    parser = _TypeParser(text)
    parsed = parser.type(0)
    parser.end()
    return parsed


_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?)
      | '(?P<string>(?:[^'\\]|\\.|'')*)'
      | [`"](?P<quoted>(?:[^`"\\]|\\.)*)[`"]
      | (?P<mark>[(),=])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)|''", re.DOTALL)


class _TypeParser:
    """A recursive-descent parser of one type name."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.index = 0

    def type(self, depth: int) -> ColumnType:
        """Parse a type and its arguments in parentheses."""
        kind, name, start = self._next()
        if kind != "word" or depth > _MAX_DEPTH:
            self._syntax_error(start)
        items: list[ColumnType] = []
        labels: list[str] = []
        parameters: list[int | float | str] = []
        if self._accept("("):
            while not self._accept(")"):
                self._argument(items, labels, parameters, depth + 1)
                if not self._accept(",") and self._peek() != ("mark", ")"):
                    self._syntax_error(self._position())
        if labels and len(labels) != len(items):
            self._syntax_error(start)
        whole = self.text[start : self._end()].strip()
        return ColumnType(name, tuple(items), tuple(labels), tuple(parameters), whole)

    def _argument(
        self,
        items: list[ColumnType],
        labels: list[str],
        parameters: list[int | float | str],
        depth: int,
    ) -> None:
        kind, value = self._peek()
        if kind == "number":
            parameters.append(float(value) if "." in value else int(value))
            self.index += 1
        elif kind == "string":
            parameters.append(value)
            self.index += 1
            if self._accept("="):  # The number of an Enum value, which is not needed.
                self.index += 1
        elif kind in {"word", "quoted"} and self._peek(1)[0] == "word":
            labels.append(value)
            self.index += 1
            items.append(self.type(depth))
        elif kind == "word" and self._peek(1) == ("mark", "="):
            self.index += 3  # A setting, such as max_types=8.
        else:
            items.append(self.type(depth))

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        index = self.index + ahead
        return self.tokens[index][:2] if index < len(self.tokens) else ("end", "")

    def _next(self) -> tuple[str, str, int]:
        if self.index >= len(self.tokens):
            self._syntax_error(len(self.text))
        kind, value, start, _ = self.tokens[self.index]
        self.index += 1
        return kind, value, start

    def _accept(self, mark: str) -> bool:
        accepted = self._peek() == ("mark", mark)
        self.index += accepted
        return accepted

    def _position(self) -> int:
        return self.tokens[self.index][2] if self.index < len(self.tokens) else len(self.text)

    def _end(self) -> int:
        return self.tokens[min(self.index, len(self.tokens)) - 1][3]

    def end(self) -> None:
        """Raise if text follows the type."""
        if self.index < len(self.tokens):
            self._syntax_error(self._position())

    def _syntax_error(self, position: int) -> NoReturn:
        raise _invalid_type(self.text, position)


def _tokens(text: str) -> Iterator[tuple[str, str, int, int]]:
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise _invalid_type(text, position)
        kind = match.lastgroup or "mark"
        value = match[kind]
        if kind in {"string", "quoted"}:
            value = _ESCAPE.sub(lambda m: m[1] or "'", value)
        start = match.start(kind) - (kind in {"string", "quoted"})
        yield kind, value, start, match.end()
        position = match.end()


def _invalid_type(text: str, position: int) -> ValueError:
    return ValueError(f"{text[:200]!r} is not a ClickHouse type: see character {position + 1}")
