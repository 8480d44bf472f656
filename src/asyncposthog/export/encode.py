"""Rows become lines of JSON or CSV. Pure, and the hottest part of an export.

Columns are encoded as a whole: pydantic-core writes a list of strings in one go, and its result is
cut apart again where one string ends and the next begins, which is unmistakable in JSON. A column
that holds JSON as text goes into a line as it is once all of it was found to be objects.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from itertools import chain, repeat
from secrets import token_hex
from typing import Any, Final

from pydantic_core import SchemaValidator, core_schema, to_json

from .batch import Batch

__all__ = ["csv_header", "csv_lines", "json_lines"]

_MARK: Final = token_hex(4)
# Reads objects without making any: of all that is in them, only the mark becomes a Python value.
_OBJECTS: Final = SchemaValidator(
    core_schema.list_schema(
        core_schema.typed_dict_schema(
            {_MARK: core_schema.typed_dict_field(core_schema.int_schema(), required=False)},
            extra_behavior="ignore",
        )
    )
)


def json_lines(batch: Batch) -> bytes:
    """Return rows as JSON, one object a line, its columns in their order."""
    if not len(batch):
        return b""
    if batch.records is not None:
        return b"".join(to_json(record, inf_nan_mode="null") + b"\n" for record in batch.records)
    parts: list[Iterable[str]] = []
    before = "{"
    for place, (name, values) in enumerate(zip(batch.columns, batch.raw_columns, strict=True)):
        label = f"{before}{to_json(name).decode()}:"
        if place in batch.json and _are_objects(values):
            parts += [repeat(label), values]
            before = ","
        elif set(map(type, values)) == {str}:
            parts += [repeat(label + '"'), _escaped(values)]
            before = '",'
        else:
            tokens = _tokens(values, place in batch.json)
            parts += [repeat(label), tokens]
            before = ","
    parts.append(repeat(before.removesuffix(",") + "}\n"))
    return "".join(chain.from_iterable(zip(*parts, strict=False))).encode()


def _escaped(values: Sequence[str]) -> list[str]:
    """Return strings as JSON has them between quotes."""
    # A quote inside a string has a backslash before it, so this cuts between strings alone.
    return to_json(values)[2:-2].decode().split('","')


def _tokens(values: Sequence[Any], json: bool) -> list[str]:
    if json:
        return [
            value if _is_object(value) else to_json(value, inf_nan_mode="null").decode()
            for value in values
        ]
    return [to_json(value, inf_nan_mode="null").decode() for value in values]


def _is_object(value: Any) -> bool:
    return isinstance(value, str) and _are_objects((value,))


def _are_objects(values: Sequence[Any]) -> bool:
    """Tell whether each value is the text of one JSON object, on one line."""
    if set(map(type, values)) != {str}:
        return False
    # The marks make sure that each text is an object by itself: one that breaks off inside of an
    # object, and another that goes on with it, would swallow the mark between them.
    mark = f',{{"{_MARK}":0}},'
    text = "".join(("[", mark.join(values), "]"))
    if "\n" in text or "\r" in text or "NaN" in text or "Infinity" in text:
        return False
    try:
        found = _OBJECTS.validate_json(text)
    except ValueError:
        return False
    return not any(found[::2]) and found[1::2] == [{_MARK: 0}] * (len(values) - 1)


def csv_header(columns: Sequence[str]) -> bytes:
    """Return the first line of a CSV file."""
    return _csv([list(columns)])


def csv_lines(batch: Batch) -> bytes:
    """Return rows as CSV: null is empty, what is no text or number is JSON."""
    if not len(batch):
        return b""
    batch.check_columns()
    columns = [_plain(values) for values in batch.raw_columns]
    return _csv(zip(*columns, strict=True))


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
