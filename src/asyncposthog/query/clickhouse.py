"""ClickHouse type names, read into a small tree. Pure.

Answers name the type of each column: `Nullable(DateTime64(6, 'UTC'))`, `Array(Tuple(String,
Float64))`. `convert` makes Python values of them, `arrow` makes Arrow's.
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
"""Types inside types beyond which a name is not read: nobody's columns, and no recursion error."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type: its name, the types inside it, and its other parameters."""

    name: str
    """`DateTime64`, `Array`; for what cannot be read, the whole text."""
    items: tuple[ColumnType, ...] = ()
    """The types inside: of an Array its one, of a Map key and value."""
    labels: tuple[str, ...] = ()
    """Names of the elements of a Tuple or Nested; empty where they have none."""
    parameters: tuple[int | float | str, ...] = ()
    """Numbers and strings: precision, scale, zone, length, the names of an Enum."""
    text: str = field(default="", compare=False)
    """As the server wrote it."""

    def __str__(self) -> str:
        """Read as the server wrote it."""
        return self.text or self.name

    @property
    def nullable(self) -> bool:
        """Whether NULL is among its values."""
        return self.name == "Nullable" or (
            self.name == "LowCardinality" and bool(self.items) and self.items[0].nullable
        )

    @property
    def base(self) -> ColumnType:
        """The type without Nullable, LowCardinality and SimpleAggregateFunction around it.

        Names that stand for a type of other types (Point, Nested) are written out.
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
        """The time zone of a DateTime or DateTime64, if it names one."""
        if not self.name.startswith("DateTime"):
            return None
        return next((p for p in self.parameters if isinstance(p, str)), None)

    @property
    def digits(self) -> int:
        """Digits behind the point: of the seconds of a DateTime64, of a Decimal its scale."""
        numbers = [p for p in self.parameters if isinstance(p, int)]
        if self.name == "DateTime64":
            return numbers[0] if numbers else 3
        if self.name in _DECIMALS:
            return numbers[0] if numbers else 0
        return numbers[1] if self.name == "Decimal" and len(numbers) > 1 else 0

    @property
    def precision(self) -> int:
        """Digits that a Decimal holds altogether."""
        if self.name in _DECIMALS:
            return _DECIMALS[self.name]
        numbers = [p for p in self.parameters if isinstance(p, int)]
        return numbers[0] if numbers else 10


def column_types(types: object, count: int) -> tuple[ColumnType, ...]:
    """Return the types of an answer's columns.

    Args:
        types: The answer's `types`: `[name, type]` pairs, types alone, or nothing.
        count: How many columns there are; those whose type is missing are `Unknown`.
    """
    given = cast("list[object]", types) if isinstance(types, list) else []
    read = [parse_type_lenient(_name(entry)) for entry in given[:count]]
    return (*read, *(ColumnType("Unknown") for _ in range(count - len(read))))


def _name(entry: object) -> object:
    if isinstance(entry, list | tuple):
        pair = cast("list[object]", entry)
        return pair[-1] if pair else ""
    return entry


def parse_type_lenient(text: object) -> ColumnType:
    """Read a type; what cannot be read becomes a type of that name, with nothing inside."""
    if not isinstance(text, str):
        return ColumnType("Unknown")
    try:
        return parse_type(text)
    except ValueError:
        return ColumnType(text, text=text)


@lru_cache(maxsize=512)
def parse_type(text: str) -> ColumnType:
    """Read a type.

    Raises:
        ValueError: It is not written as ClickHouse writes types.
    """
    reader = _TypeParser(text)
    found = reader.type(0)
    reader.end()
    return found


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
    """The tokens of a type name, taken one by one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.at = 0

    def type(self, depth: int) -> ColumnType:
        """Read a type and what it has in parentheses."""
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
            self.at += 1
        elif kind == "string":
            parameters.append(value)
            self.at += 1
            if self._accept("="):  # an Enum's number for the name
                self.at += 1
        elif kind in {"word", "quoted"} and self._peek(1)[0] == "word":
            labels.append(value)
            self.at += 1
            items.append(self.type(depth))
        elif kind == "word" and self._peek(1) == ("mark", "="):
            self.at += 3  # a setting, as max_types=8
        else:
            items.append(self.type(depth))

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        place = self.at + ahead
        return self.tokens[place][:2] if place < len(self.tokens) else ("end", "")

    def _next(self) -> tuple[str, str, int]:
        if self.at >= len(self.tokens):
            self._syntax_error(len(self.text))
        kind, value, start, _ = self.tokens[self.at]
        self.at += 1
        return kind, value, start

    def _accept(self, mark: str) -> bool:
        found = self._peek() == ("mark", mark)
        self.at += found
        return found

    def _position(self) -> int:
        return self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text)

    def _end(self) -> int:
        return self.tokens[min(self.at, len(self.tokens)) - 1][3]

    def end(self) -> None:
        """Refuse what follows."""
        if self.at < len(self.tokens):
            self._syntax_error(self._position())

    def _syntax_error(self, where: int) -> NoReturn:
        raise ValueError(f"{self.text[:200]!r} is no ClickHouse type: see character {where + 1}")


def _tokens(text: str) -> Iterator[tuple[str, str, int, int]]:
    place = 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"{text[:200]!r} is no ClickHouse type: see character {place + 1}")
        kind = found.lastgroup or "mark"
        value = found[kind]
        if kind in {"string", "quoted"}:
            value = _ESCAPE.sub(lambda m: m[1] or "'", value)
        start = found.start(kind) - (kind in {"string", "quoted"})
        yield kind, value, start, found.end()
        place = found.end()
