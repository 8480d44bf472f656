"""The functions of HogQL: their names in ClickHouse, arguments, and the kinds of their results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from posthog_emulator.hogql.data_files import sections

__all__ = ["Function", "aggregate_functions", "expand", "scalar_functions"]


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
    """Minimum and maximum number of parameters, if it must have some."""


_COUNT: Final = r"(\d+)(?:-(\d+)|(\+))?"
_ENTRY: Final = re.compile(
    rf"([^:>;=°~]+)(°?)(~?)(?::{_COUNT})?(?:>(\w+))?(?:;{_COUNT})?(?:=(\w+))?\Z"
)
_SUFFIXES: Final = ("", "Array", "Map", "State", "Merge", "ForEach", "ArgMin", "ArgMax")
_ENDINGS: Final = ("", "If", "OrDefault", "OrDefaultIf", "OrNull", "OrNullIf")
_FOLDER: Final = Path(__file__).parent


def expand(text: str) -> Iterator[str]:
    """Yield the words of a text in brace notation: `{a,b}c` is `ac bc`."""
    for word in text.split():
        inner = re.search(r"\{([^{}]*)\}", word)
        if inner is None:
            yield word
            continue
        parts = (word[: inner.start()] + part + word[inner.end() :] for part in inner[1].split(","))
        yield from expand(" ".join(parts))


def _limits(least: str | None, most: str | None, plus: str | None) -> tuple[int, int | None]:
    first = 1 if least is None else int(least)
    return first, None if plus else int(most) if most else first


def _read(kind: str, text: str) -> Iterator[tuple[str, Function]]:
    """Yield names and functions; see the comments of the data files for the notation."""
    for word in expand(text):
        entry = _ENTRY.match(word)
        assert entry is not None, word
        name, case, zone, *count, clickhouse, first, last, plus, own = entry.groups()
        parameters = None if first is None else _limits(first, last, plus)
        least, most = _limits(*count)
        yield (
            name,
            Function(
                clickhouse or name, least, most, own or kind, bool(case), bool(zone), parameters
            ),
        )


@cache
def scalar_functions() -> Mapping[str, Function]:
    """Return the functions of single rows by name."""
    functions: dict[str, Function] = {}
    for kind, lines in sections(_FOLDER / "scalars.txt").items():
        functions.update(_read(kind, " ".join(lines)))
    return functions


@cache
def aggregate_functions() -> Mapping[str, Function]:
    """Return the functions of many rows by name."""
    functions: dict[str, Function] = {}
    for kind, lines in sections(_FOLDER / "aggregates.txt").items():
        for name, function in _read(kind, " ".join(lines)):
            for suffix in _SUFFIXES if kind == "bases" else ("",):
                for ending in _ENDINGS if kind == "bases" else ("",):
                    more = ending.endswith("If") + suffix.startswith("Arg")
                    functions[name + suffix + ending] = replace(
                        function,
                        name=function.name + suffix + ending,
                        least=function.least + more,
                        most=None if function.most is None else function.most + more,
                        kind=function.kind if not suffix and ending in {"", "If"} else "unknown",
                    )
            if kind != "bases":
                functions[name] = function
    return functions
