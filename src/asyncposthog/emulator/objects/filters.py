"""Which rows of a collection a list asks for, and in which order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, cast

from asyncposthog.emulator.guards import is_array, is_object
from asyncposthog.emulator.objects.meanings import meaning
from asyncposthog.emulator.objects.store import Row
from asyncposthog.emulator.schemas.parameters import EVERYWHERE, PAGING
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.web.problems import invalid

__all__ = ["SortKey", "chosen", "sort_key", "sort_keys"]

SortKey: TypeAlias = tuple[int, Any]

_SEARCHED = ("name", "key", "title", "description", "email", "distinct_ids", "group_key")
_ORDERINGS = ("ordering", "order_by", "order")
_NO_FILTERS = frozenset(
    {"search", "deleted", "limit", "offset", "page", "page_size", "id", *_ORDERINGS}
)


def chosen(call: Call) -> list[Row]:
    """The rows a list operation asks for, ordered, before paging."""
    deleted = (call.request.value("deleted") or "").lower() in {"true", "1"}
    rows = [row for row in call.bucket if row.deleted == deleted]
    search = call.request.value("search")
    if search:
        rows = [row for row in rows if _mentions(row, search.casefold())]
    for name, values in _field_filters(call):
        test = _test(call, name, values)
        rows = [row for row in rows if test(row)]
    for field, descending in reversed(sort_keys(call)):
        rows.sort(key=lambda row: sort_key(row, field), reverse=descending)
    return rows


def sort_keys(call: Call) -> list[tuple[str, bool]]:
    """The fields a list is to be ordered by, and whether from the highest down."""
    keys: list[tuple[str, bool]] = []
    # Recordings have the way beside the field, and it is down.
    ways = any(p.name == "order_direction" for p in call.operation.query_parameters)
    down = ways and call.request.value("order_direction") != "ASC"
    for name in _ORDERINGS:
        for value in call.query(name):
            for part in value.split(","):
                field = part.strip()
                if field.lstrip("-"):
                    keys.append((field.lstrip("-"), down or field.startswith("-")))
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
    skipped = PAGING[style] | EVERYWHERE | _NO_FILTERS
    for parameter in call.operation.query_parameters:
        if parameter.name in skipped:
            continue
        values = call.query(parameter.name)
        if values:
            yield parameter.name, values


def _test(call: Call, name: str, values: list[str]) -> Callable[[Row], bool]:
    """The test a filter puts rows to."""
    meant = meaning(call, name)
    if meant is not None:
        return meant(call, name)
    field = name.removesuffix("__in")
    if not call.shape.properties.keys() & {field, field.removesuffix("_id")}:
        return lambda _: _unknown(call, name)
    wanted = _flat(values, split=name.endswith("__in"))
    return lambda row: _matches(row, field, wanted)


def _unknown(call: Call, name: str) -> bool:
    """Reached when there is something to filter: an empty list is right whatever it means."""
    needed = any(p.required for p in call.operation.query_parameters if p.name == name)
    if call.world.settings.strict and not needed:
        raise invalid(
            f"The emulator does not know what '{name}' filters. "
            "Emulator(strict=False) overlooks it.",
            name,
        )
    call.fidelity = "schema"
    return True


def _matches(row: Row, field: str, wanted: set[str]) -> bool:
    held = row.data.get(field)
    if field not in row.data or is_object(held):
        inner = cast("Any", row.data.get(field.removesuffix("_id")))
        held = inner.get("id") if is_object(inner) else None
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
