"""Parse the names of ClickHouse types, such as `Array(Nullable(Float64))`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["ColumnType", "parse_type"]

_NESTED: Final = frozenset({"Array", "LowCardinality", "Map", "Nullable", "Tuple"})


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type with its arguments."""

    name: str
    """The name without arguments, such as `Array`."""
    items: tuple[ColumnType, ...] = ()
    """The types inside an `Array`, `Map`, `Nullable`, `LowCardinality` or `Tuple`."""
    arguments: tuple[str, ...] = ()
    """The arguments of other types, as they are written."""

    @property
    def zone(self) -> str:
        """The time zone of a `DateTime` or `DateTime64`; the server's is UTC."""
        last = self.arguments[-1] if self.arguments else ""
        return last[1:-1] if last.startswith("'") else "UTC"


@lru_cache(maxsize=1024)
def parse_type(text: str) -> ColumnType:
    """Parse the name of a type."""
    name, bracket, rest = text.strip().partition("(")
    if not bracket:
        return ColumnType(name)
    parts = tuple(part.strip() for part in _split(rest[: rest.rindex(")")]))
    if name not in _NESTED:
        return ColumnType(name, (), parts)
    if name == "Tuple":
        parts = tuple(_without_label(part) for part in parts)
    return ColumnType(name, tuple(parse_type(part) for part in parts))


def _split(text: str) -> list[str]:
    """Split at the commas that are in no brackets and no quotes."""
    parts, depth, start, quote = list[str](), 0, 0, ""
    position = 0
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'`\"":
            quote = character
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    parts.append(text[start:])
    return parts


def _without_label(part: str) -> str:
    """Return the type of a tuple's element, which may have a name before it."""
    if part.startswith("`"):
        position = 1
        while part[position] != "`":
            position += 2 if part[position] == "\\" else 1
        return part[position + 1 :].strip()
    label, space, rest = part.partition(" ")
    return rest.strip() if space and "(" not in label and "'" not in label else part
