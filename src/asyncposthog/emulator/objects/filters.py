"""Which rows of a collection a list asks for, and in which order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias, cast

from asyncposthog.emulator.guards import is_array, is_object
from asyncposthog.emulator.objects.store import Row
from asyncposthog.emulator.schemas.parameters import EVERYWHERE, PAGING
from asyncposthog.emulator.state.world import Call

__all__ = ["SortKey", "chosen", "sort_key", "sort_keys"]

SortKey: TypeAlias = tuple[int, Any]

_SEARCHED = ("name", "key", "title", "description", "email", "distinct_ids", "group_key")
_ORDERINGS = ("ordering", "order_by", "order")
_MISSING = object()


def chosen(call: Call) -> list[Row]:
    """The rows a list operation asks for, ordered, before paging."""
    deleted = (call.request.value("deleted") or "").lower() in {"true", "1"}
    rows = [row for row in call.bucket if row.deleted == deleted]
    search = call.request.value("search")
    if search:
        rows = [row for row in rows if _mentions(row, search.casefold())]
    for name, values in _field_filters(call):
        rows = [row for row in rows if _matches(row, name, values)]
    for field, descending in reversed(sort_keys(call)):
        rows.sort(key=lambda row: sort_key(row, field), reverse=descending)
    return rows


def sort_keys(call: Call) -> list[tuple[str, bool]]:
    """The fields a list is to be ordered by, and whether from the highest down."""
    keys: list[tuple[str, bool]] = []
    for name in _ORDERINGS:
        for value in call.query(name):
            for part in value.split(","):
                field = part.strip()
                if field.lstrip("-"):
                    keys.append((field.lstrip("-"), field.startswith("-")))
    return keys


def sort_key(row: Row, field: str) -> SortKey:
    """A value to order by, whatever types the rows hold: nulls last, then by type."""
    value = row.data.get(field)
    if isinstance(value, bool | int | float):
        return 0, value
    if isinstance(value, str):
        return 1, value
    return (3, 0) if value is None else (2, json.dumps(value, sort_keys=True))


def _mentions(row: Row, text: str) -> bool:
    for name in _SEARCHED:
        value = row.data.get(name)
        parts = value if is_array(value) else [value]
        if any(isinstance(part, str) and text in part.casefold() for part in parts):
            return True
    return False


def _field_filters(call: Call) -> Iterable[tuple[str, list[str]]]:
    style = call.operation.pagination.style if call.operation.pagination else "single"
    skipped = (
        PAGING[style] | EVERYWHERE | {"search", "deleted", "limit", "offset", "id", *_ORDERINGS}
    )
    for parameter in call.operation.query_parameters:
        if parameter.name in skipped:
            continue
        values = call.query(parameter.name)
        if values:
            yield parameter.name, values


def _matches(row: Row, name: str, values: list[str]) -> bool:
    """Whether a row passes a filter; True when the parameter names no field of it."""
    field = name.removesuffix("__in")
    held = row.data.get(field, _MISSING)
    if held is _MISSING or is_object(held):
        inner = cast("Any", row.data.get(field.removesuffix("_id")))
        held = inner.get("id", _MISSING) if is_object(inner) else _MISSING
    if held is _MISSING:
        return True
    wanted = _flat(values, split=name.endswith("__in"))
    parts = held if is_array(held) else [held]
    return any(_text(part) in wanted for part in parts)


def _flat(values: list[str], *, split: bool) -> set[str]:
    flat: set[str] = set()
    for value in values:
        if value.startswith("["):
            try:
                flat |= {_text(item) for item in json.loads(value)}
                continue
            except ValueError:
                pass
        flat |= set(value.split(",")) if split else {value}
    return flat


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
