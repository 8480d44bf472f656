"""Validators of the parts of a checkpoint: predicates on JSON data. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite
from typing import Any, Final, TypeAlias, cast

from asyncposthog.export.engines.base import ExportStats

from .checksum import MASK
from .timestamps import parse_clickhouse

__all__ = [
    "Validator",
    "callback_state",
    "delivered_state",
    "is_null",
    "is_object",
    "job_state",
    "lake_state",
    "list_position",
    "optional",
    "parquet_state",
    "query_bounds",
    "query_position",
    "stats_state",
    "text_state",
]

Validator: TypeAlias = Callable[[object], bool]
"""Returns whether a value is valid."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MAX_INT: Final = (1 << 63) - 1


def is_text(value: object) -> bool:
    """Return whether a value is a string."""
    return isinstance(value, str)


def is_count(value: object) -> bool:
    """Return whether a value is an integer from 0 to 2**63 - 1."""
    # type() rather than isinstance(): True is an int as well.
    return type(value) is int and 0 <= value <= _MAX_INT


def is_object(value: object) -> bool:
    """Return whether a value is a JSON object."""
    return isinstance(value, dict)


def is_null(value: object) -> bool:
    """Return whether a value is null."""
    return value is None


def optional(validator: Validator) -> Validator:
    """Return a validator that accepts null as well."""
    return lambda value: value is None or validator(value)


def object_of(validators: Mapping[str, Validator]) -> Validator:
    """Return a validator of an object with exactly these fields."""

    def matches(value: object) -> bool:
        if not isinstance(value, dict):
            return False
        fields = cast("dict[str, object]", value)
        return fields.keys() == validators.keys() and all(
            validator(fields[name]) for name, validator in validators.items()
        )

    return matches


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(map(is_text, cast("list[object]", value)))


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool)


def _is_checksum(value: object) -> bool:
    return type(value) is int and 0 <= value <= MASK


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_seconds(value: object) -> bool:
    return type(value) in {int, float} and isfinite(value_ := cast("float", value)) and value_ >= 0


def _is_parameter(value: object) -> bool:
    return isinstance(value, str | int | float) or _is_text_list(value)


_is_page = object_of({"query": is_object, "after": optional(is_text)})
_is_overlapping_page = object_of(
    {"query": is_object, "after": optional(is_text), "skip": _is_text_list}
)


def _is_page_state(value: object) -> bool:
    if not (_is_page(value) or _is_overlapping_page(value)):
        return False
    state = cast("dict[str, Any]", value)
    # A page state without either is that of the first page: the list would be exported again.
    if bool(state["query"]) == (state["after"] is not None):
        return False
    return all(map(_is_parameter, state["query"].values()))


def _is_timestamp(value: object) -> bool:
    try:
        parse_clickhouse(cast("str", value))
    except (TypeError, ValueError):
        return False
    return True


query_bounds: Final = object_of(
    {"start": optional(_is_timestamp), "end": _is_timestamp, "started_at": _is_timestamp}
)
"""Time range of an export by queries or files."""
query_position: Final = object_of({"time": _is_timestamp, "key": optional(is_text)})
"""Position of an export by queries or files."""
list_position: Final = object_of(
    {"columns": _is_text_list, "next": optional(_is_page_state), "rows": optional(is_count)}
)
"""Position of an export of a list."""
callback_state: Final = object_of({"rows": is_count, "sum": _is_checksum})
"""State of the sink that calls a function."""

lake_state: Final = object_of({"commits": is_count, "rows": is_count, "sum": _is_checksum})
"""State of the sink that appends to a lake table."""

_is_text_state = object_of(
    {
        "offset": is_count,
        "sha256": _is_sha256,
        "rows": is_count,
        "sum": _is_checksum,
        "columns": optional(_is_text_list),
    }
)


def text_state(value: object) -> bool:
    """Return whether a value is the state of a JSONL or CSV file."""
    if not _is_text_state(value):
        return False
    state = cast("dict[str, Any]", value)
    # Without columns, the header of a CSV file would be written again.
    return state["columns"] is not None or not state["offset"]


_is_parquet_file = object_of(
    {
        "name": is_text,
        "day": optional(is_text),
        "rows": is_count,
        "bytes": is_count,
        "sha256": _is_sha256,
    }
)


def parquet_state(value: object) -> bool:
    """Return whether a value is the state of a folder of Parquet files."""
    if not _is_parquet_state(value):
        return False
    state = cast("dict[str, Any]", value)
    # Names are checked against the rule that makes them: they become paths, and a damaged one must
    # not lead out of the folder.
    numbers: dict[str | None, int] = {}
    for file in state["files"]:
        day, number = file["day"], numbers.get(file["day"], 0)
        numbers[day] = number + 1
        if day is not None and not _is_timestamp(f"{day} 00:00:00"):
            return False
        if file["name"] != f"{'' if day is None else f'date={day}/'}part-{number:05d}.parquet":
            return False
    return state["rows"] == sum(file["rows"] for file in state["files"])


def _is_parquet_file_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_parquet_file, cast("list[object]", value)))


_is_parquet_state = object_of(
    {"files": _is_parquet_file_list, "rows": is_count, "sum": _is_checksum}
)

_is_job_part = object_of({"rows": is_count, "selected": is_count, "sha256": _is_sha256})
_is_started_job = object_of({"id": is_text})
_job_files = {"id": is_text, "files": _is_text_list, "records": optional(is_count)}
_is_finished_job = object_of(_job_files)
_is_fetched_job = object_of({**_job_files, "parts": is_object})


def job_state(value: object) -> bool:
    """Return whether a value is the state of a download job."""
    if not _is_fetched_job(value):
        return _is_started_job(value) or _is_finished_job(value)
    state = cast("dict[str, Any]", value)
    numbers = set(map(str, range(len(state["files"]))))
    return state["parts"].keys() <= numbers and all(map(_is_job_part, state["parts"].values()))


_TYPE_VALIDATORS: Final[Mapping[str, Validator]] = {
    "int": is_count,
    "int | None": optional(is_count),
    "float": _is_seconds,
    "bool": _is_boolean,
    "list[str]": _is_text_list,
}

stats_state: Final = object_of(
    {field.name: _TYPE_VALIDATORS[str(field.type)] for field in fields(ExportStats)}
)
"""Counters of an export."""


def delivered_state(stem: str) -> Validator:
    """Return a validator of the state of the delivered keys.

    Args:
        stem: The prefix of the names of its files.
    """
    name = re.compile(re.escape(stem) + r"[1-9][0-9]{0,8}")
    matches = object_of(
        {
            "file": lambda value: isinstance(value, str) and name.fullmatch(value) is not None,
            "previous_records": is_count,
            "records": is_count,
            "sha256": _is_sha256,
            "delivered_until": optional(_is_timestamp),
        }
    )

    def consistent(value: object) -> bool:
        if not matches(value):
            return False
        state = cast("dict[str, Any]", value)
        return state["previous_records"] <= state["records"]

    return consistent
