"""Rows become lines of JSON or CSV. Pure, and the hottest part of an export.

Columns are encoded as a whole: pydantic-core writes a list of strings in one go, and its result is
cut apart again where one string ends and the next begins, which is unmistakable in JSON. A column
that holds JSON as text goes into a line as it is once all of it was found to be objects.
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

# Reads each text by itself, and makes nothing of what is in its object.
_OBJECTS: Final = SchemaValidator(
    core_schema.list_schema(
        core_schema.json_schema(core_schema.typed_dict_schema({}, extra_behavior="ignore"))
    )
)
_ROWS: Final = 500
"""Rows encoded at a time: what they become stays in the processor's cache."""
_NUMBERLESS: Final = re.compile(r"[:,\[{\s]-?(?:NaN|Infinity)")
_FIXED: Final = frozenset({"UUID", "DateTime", "DateTime64", "Date", "Date32"})
"""Types whose values have nothing in them that JSON would escape."""


def json_lines(batch: Batch) -> bytes:
    """Return rows as JSON, one object a line, its columns in their order."""
    return _by_slices(batch, _json_lines)


def _by_slices(batch: Batch, encode: Callable[[Batch], bytes]) -> bytes:
    # One piece of memory that grows, and is handed over without a copy. Many small ones would stay
    # with the process when they are free again.
    lines = BytesIO()
    for at in range(0, len(batch), _ROWS):
        lines.write(encode(batch.cut(at, at + _ROWS)))
    return lines.getvalue()


def _json_lines(batch: Batch) -> bytes:
    if batch.records is not None:
        return b"".join(to_json(record, inf_nan_mode="null") + b"\n" for record in batch.records)
    parts: list[Iterable[str]] = []
    before = "{"
    for place, (name, values) in enumerate(zip(batch.columns, batch.raw_columns, strict=True)):
        label = f"{before}{to_json(name).decode()}:"
        if place in batch.json and _are_objects(values):
            parts += [repeat(label), values]
            before = ","
        elif (text := _joined(values)) is not None:
            fixed = batch.types[place].base.name in _FIXED
            parts += [repeat(label + '"'), _escaped(values, text, fixed)]
            before = '",'
        else:
            parts += [repeat(label), _tokens(values, place in batch.json)]
            before = ","
    parts.append(repeat(before.removesuffix(",") + "}\n"))
    return "".join(chain.from_iterable(zip(*parts, strict=False))).encode()


def _joined(values: Sequence[Any]) -> str | None:
    """Return values as one text; None where not all of them are text."""
    try:
        return "".join(values)
    except TypeError:
        return None


def _escaped(values: Sequence[str], text: str, fixed: bool) -> Sequence[str]:
    """Return strings as JSON has them between quotes."""
    if fixed and text.isascii() and '"' not in text and "\\" not in text:
        return values
    # A quote inside a string has a backslash before it, so this cuts between strings alone.
    return to_json(values)[2:-2].decode().split('","')


def _tokens(values: Sequence[Any], json: bool) -> list[str]:
    return [
        value
        if json and isinstance(value, str) and _are_objects((value,))
        else to_json(value, inf_nan_mode="null").decode()
        for value in values
    ]


def _are_objects(values: Sequence[Any]) -> bool:
    """Tell whether each value is the text of a JSON object, on one line."""
    text = _joined(values)
    if text is None or "\n" in text or "\r" in text:
        return False
    # pydantic-core takes these for numbers, and JSON has them not.
    if ("NaN" in text or "Infinity" in text) and _NUMBERLESS.search(text):
        return False
    try:
        _OBJECTS.validate_python(values)
    except ValueError:
        return False
    return True


def csv_header(columns: Sequence[str]) -> bytes:
    """Return the first line of a CSV file; nothing where no column is known."""
    if not columns:
        return b""
    return _csv([list(columns)])


def csv_lines(batch: Batch) -> bytes:
    """Return rows as CSV: null is empty, what is no text or number is JSON."""
    if len(batch):
        batch.check_columns()
    return _by_slices(batch, _csv_lines)


def _csv_lines(batch: Batch) -> bytes:
    return _csv(zip(*map(_plain, batch.raw_columns), strict=True))


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _plain(values: Sequence[Any]) -> Sequence[Any]:
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
