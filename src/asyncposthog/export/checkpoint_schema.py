"""What the parts of a checkpoint look like: predicates on JSON data. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite
from typing import Any, Final, TypeAlias, cast

from asyncposthog.export.engines.base import Tally

from .checksum import MASK
from .timestamps import parse_clickhouse

__all__ = [
    "Shape",
    "function_state",
    "is_object",
    "job_note",
    "list_position",
    "memory_state",
    "nothing",
    "optional",
    "parquet_state",
    "query_position",
    "settled_range",
    "tally_state",
    "text_state",
]

Shape: TypeAlias = Callable[[object], bool]
"""Returns whether a value is of the shape."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MOST: Final = (1 << 63) - 1


def text(value: object) -> bool:
    """Return whether a value is text."""
    return isinstance(value, str)


def count(value: object) -> bool:
    """Return whether a value is a number of things."""
    return type(value) is int and 0 <= value <= _MOST


def is_object(value: object) -> bool:
    """Return whether a value is an object."""
    return isinstance(value, dict)


def nothing(value: object) -> bool:
    """Return whether a value is null."""
    return value is None


def optional(shape: Shape) -> Shape:
    """Return the shape that may also be null."""
    return lambda value: value is None or shape(value)


def record(shapes: Mapping[str, Shape]) -> Shape:
    """Return the shape of an object that has exactly these fields."""

    def fits(value: object) -> bool:
        if not isinstance(value, dict):
            return False
        found = cast("dict[str, object]", value)
        return found.keys() == shapes.keys() and all(
            shape(found[name]) for name, shape in shapes.items()
        )

    return fits


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(text, cast("list[object]", value)))


def _boolean(value: object) -> bool:
    return isinstance(value, bool)


def _sum(value: object) -> bool:
    return type(value) is int and 0 <= value <= MASK


def _digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _seconds(value: object) -> bool:
    return type(value) in {int, float} and isfinite(value_ := cast("float", value)) and value_ >= 0


def _parameter(value: object) -> bool:
    return isinstance(value, str | int | float) or _texts(value)


_page_fields = record({"query": is_object, "after": optional(text)})
_page_that_overlaps = record({"query": is_object, "after": optional(text), "skip": _texts})


def _page(value: object) -> bool:
    if not (_page_fields(value) or _page_that_overlaps(value)):
        return False
    state = cast("dict[str, Any]", value)
    # A page that says nothing is the first: the list would be exported once more.
    if bool(state["query"]) == (state["after"] is not None):
        return False
    return all(map(_parameter, state["query"].values()))


def _moment(value: object) -> bool:
    try:
        parse_clickhouse(cast("str", value))
    except (TypeError, ValueError):
        return False
    return True


settled_range: Final = record({"from": optional(_moment), "end": _moment, "until": _moment})
"""What is decided when an export of queries or files begins."""
query_position: Final = record({"time": _moment, "key": optional(text)})
"""Where an export of queries or files goes on."""
list_position: Final = record({"columns": _texts, "next": optional(_page), "rows": optional(count)})
"""Where an export of a list goes on."""
function_state: Final = record({"rows": count, "sum": _sum})
"""What the sink of a function has counted."""

_text_fields = record(
    {"offset": count, "sha256": _digest, "rows": count, "sum": _sum, "columns": optional(_texts)}
)


def text_state(value: object) -> bool:
    """Return whether a value is the state of a file of JSONL or CSV."""
    if not _text_fields(value):
        return False
    state = cast("dict[str, Any]", value)
    # Without columns, the header of a CSV file would be written once more.
    return state["columns"] is not None or not state["offset"]


_parquet_file = record(
    {"name": text, "day": optional(text), "rows": count, "bytes": count, "sha256": _digest}
)


def parquet_state(value: object) -> bool:
    """Return whether a value is the state of a folder of Parquet files."""
    if not _parquet_fields(value):
        return False
    state = cast("dict[str, Any]", value)
    numbers: dict[str | None, int] = {}
    for file in state["files"]:
        day, number = file["day"], numbers.get(file["day"], 0)
        numbers[day] = number + 1
        if day is not None and not _moment(f"{day} 00:00:00"):
            return False
        if file["name"] != f"{'' if day is None else f'date={day}/'}part-{number:05d}.parquet":
            return False
    return state["rows"] == sum(file["rows"] for file in state["files"])


def _parquet_files(value: object) -> bool:
    return isinstance(value, list) and all(map(_parquet_file, cast("list[object]", value)))


_parquet_fields = record({"files": _parquet_files, "rows": count, "sum": _sum})

_job_part = record({"rows": count, "kept": count, "sha256": _digest})
_job_begun = record({"id": text})
_job_files = {"id": text, "files": _texts, "records": optional(count)}
_job_finished = record(_job_files)
_job_fetched = record({**_job_files, "parts": is_object})


def job_note(value: object) -> bool:
    """Return whether a value is what is noted of a file download."""
    if not _job_fetched(value):
        return _job_begun(value) or _job_finished(value)
    state = cast("dict[str, Any]", value)
    numbers = set(map(str, range(len(state["files"]))))
    return state["parts"].keys() <= numbers and all(map(_job_part, state["parts"].values()))


_OF_TYPES: Final[Mapping[str, Shape]] = {
    "int": count,
    "int | None": optional(count),
    "float": _seconds,
    "bool": _boolean,
    "list[str]": _texts,
}

tally_state: Final = record({field.name: _OF_TYPES[str(field.type)] for field in fields(Tally)})
"""The counters of an export."""


def memory_state(stem: str) -> Shape:
    """Return the shape of what is remembered of rows that were delivered.

    Args:
        stem: What the names of its files begin with.
    """
    name = re.compile(re.escape(stem) + r"[1-9][0-9]{0,8}")
    fits = record(
        {
            "file": lambda value: isinstance(value, str) and name.fullmatch(value) is not None,
            "base": count,
            "size": count,
            "sha256": _digest,
            "until": optional(_moment),
        }
    )

    def consistent(value: object) -> bool:
        if not fits(value):
            return False
        state = cast("dict[str, Any]", value)
        return state["base"] <= state["size"]

    return consistent
