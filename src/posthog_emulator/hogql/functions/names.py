"""Read the compact notation of the tables of functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Function", "expand", "lines", "read", "sections"]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of HogQL."""

    name: str
    """Its name in ClickHouse."""
    least: int
    """Minimum number of arguments."""
    most: int | None
    """Maximum number of arguments; None: any number."""
    kind: str
    """Kind of the result; see `values.py`. A digit: that of the argument of this number."""
    any_case: bool = False
    """Whether the name is found in any case."""
    with_zone: bool = False
    """Whether the time zone is appended when there is room for one argument more."""
    parameters: tuple[int, int | None] | None = None
    """Number of parameters, if it must have some."""


_ENTRY: Final = re.compile(r"([^:>°~]+)(°?)(~?)(?::(\d+)(?:(-)(\d+)|(\+))?)?(?:>(\w+))?\Z")


def expand(text: str) -> Iterator[str]:
    """Yield the words of a text in brace notation: `{a,b}c` is `ac bc`."""
    for word in text.split():
        yield from _expand(word)


def _expand(word: str) -> Iterator[str]:
    start = word.find("{")
    if start < 0:
        yield word
        return
    depth, parts, last = 0, list[str](), start + 1
    for at in range(start, len(word)):
        letter = word[at]
        if letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
        if (letter == "," and depth == 1) or (letter == "}" and depth == 0):
            parts.append(word[last:at])
            last = at + 1
            if depth == 0:
                break
    for part in parts:
        yield from _expand(word[:start] + part + word[last:])


def read(kind: str, text: str) -> Iterator[tuple[str, Function]]:
    """Yield names and functions of a text.

    Args:
        kind: The kind of their results.
        text: Words `name:1-2>clickHouseName`. Without numbers, there is one argument; `:2+` means
            two or more. `°` after the name: any case is meant; `~`: the time zone is appended.
    """
    for word in expand(text):
        found = _ENTRY.match(word)
        if found is None:
            raise ValueError(f"not an entry of a table of functions: {word}")
        name, case, zone, least, dash, most, plus, clickhouse = found.groups()
        first = 1 if least is None else int(least)
        last = None if plus else int(most) if dash else first
        yield name, Function(clickhouse or name, first, last, kind, bool(case), bool(zone))


def lines(file: str) -> Iterator[str]:
    """Yield the lines of a data file beside this module, without comments."""
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    yield from (line for line in text.splitlines() if line and not line.startswith("#"))


def sections(file: str) -> dict[str, str]:
    """Return the text of each section of a data file, by the title in brackets above it."""
    found: dict[str, str] = {}
    title = ""
    for line in lines(file):
        if line.startswith("["):
            title = line.strip("[]")
        else:
            found[title] = f"{found.get(title, '')} {line}"
    return found
