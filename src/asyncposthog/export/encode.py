"""Encode rows as lines of JSON or CSV. Pure, and the hottest part of an export.

Columns are encoded as a whole: pydantic-core encodes a list of strings in one call, and its result
is split where one string ends and the next starts, which is unambiguous in JSON. A column that
holds JSON as text is copied into the line once all of its values are known to be objects.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO, StringIO
from itertools import chain, repeat
from typing import Any, Final

from pydantic_core import SchemaValidator, core_schema, to_json

from .batch import Batch

__all__ = ["csv_header", "csv_lines", "json_lines"]

# Parses each text of a list without building Python objects for the content.
_OBJECT_LIST: Final = SchemaValidator(
    core_schema.list_schema(
        core_schema.json_schema(core_schema.typed_dict_schema({}, extra_behavior="ignore"))
    )
)
_CHUNK_ROWS: Final = 500
"""Rows encoded at a time: their encoded form then fits into the processor's cache."""
_NON_FINITE: Final = re.compile(r"[:,\[{\s]-?(?:NaN|Infinity)")
_ESCAPE_FREE_TYPES: Final = frozenset({"UUID", "DateTime", "DateTime64", "Date", "Date32"})
"""Types whose values contain nothing that JSON would escape."""


def json_lines(batch: Batch) -> bytes:
    """Return rows as JSON, one object per line, with the columns in order."""
    return _encode_in_chunks(batch, _json_lines)


def _encode_in_chunks(batch: Batch, encode: Callable[[Batch], bytes]) -> bytes:
    # One buffer that grows and is returned without a copy. Many small allocations would fragment
    # the heap, and stay with the process when they are freed.
    lines = BytesIO()
    for start in range(0, len(batch), _CHUNK_ROWS):
        lines.write(encode(batch.slice(start, start + _CHUNK_ROWS)))
    return lines.getvalue()


def _json_lines(batch: Batch) -> bytes:
    if batch.records is not None:
        return b"".join(to_json(record, inf_nan_mode="null") + b"\n" for record in batch.records)
    parts: list[Iterable[str]] = []
    separator = "{"
    for index, (name, values) in enumerate(zip(batch.columns, batch.raw_columns, strict=True)):
        prefix = f"{separator}{to_json(name).decode()}:"
        if index in batch.json and _are_json_objects(values):
            parts += [repeat(prefix), values]
            separator = ","
        elif (text := _join_text(values)) is not None:
            escape_free = batch.types[index].base.name in _ESCAPE_FREE_TYPES
            parts += [repeat(prefix + '"'), _escape(values, text, escape_free)]
            separator = '",'
        else:
            parts += [repeat(prefix), _json_tokens(values, index in batch.json)]
            separator = ","
    parts.append(repeat(separator.removesuffix(",") + "}\n"))
    return "".join(chain.from_iterable(zip(*parts, strict=False))).encode()


def _join_text(values: Sequence[Any]) -> str | None:
    """Return values as one text; None if one of them is not text."""
    try:
        return "".join(values)
    except TypeError:
        return None


def _escape(values: Sequence[str], text: str, escape_free: bool) -> Sequence[str]:
    """Return strings as they appear in JSON between quotes."""
    if escape_free and text.isascii() and '"' not in text and "\\" not in text:
        return values
    # A quote inside a string has a backslash before it, so this splits between strings only.
    return to_json(values)[2:-2].decode().split('","')


def _json_tokens(values: Sequence[Any], json: bool) -> list[str]:
    return [
        value
        if json and isinstance(value, str) and _are_json_objects((value,))
        else to_json(value, inf_nan_mode="null").decode()
        for value in values
    ]


def _are_json_objects(values: Sequence[Any]) -> bool:
    """Return whether each value is the text of a JSON object on one line."""
    # A line break inside would split the line of JSON in two.
    text = _join_text(values)
    if text is None or "\n" in text or "\r" in text:
        return False
    # pydantic-core parses these as numbers, but they are not valid JSON.
    if ("NaN" in text or "Infinity" in text) and _NON_FINITE.search(text):
        return False
    try:
        _OBJECT_LIST.validate_python(values)
    except ValueError:
        return False
    return True


def csv_header(columns: Sequence[str]) -> bytes:
    """Return the first line of a CSV file; nothing if no column is known."""
    if not columns:
        return b""
    return _csv([list(columns)])


def csv_lines(batch: Batch) -> bytes:
    """Return rows as CSV. Null is empty, and values that are not text or int are JSON.

    Raises:
        ExportError: A row has a field that is not a column.
    """
    if len(batch):
        batch.check_columns()
    return _encode_in_chunks(batch, _csv_lines)


def _csv_lines(batch: Batch) -> bytes:
    return _csv(zip(*map(_csv_values, batch.raw_columns), strict=True))


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _csv_values(values: Sequence[Any]) -> Sequence[Any]:
    if set(map(type, values)) <= {str, int}:
        return values
    return [
        value
        if type(value) in {str, int}
        else ""
        if value is None
        else to_json(value, inf_nan_mode="null").decode()
        for value in values
    ]
