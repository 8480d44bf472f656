"""Filter, search and sort the rows of a list."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias, cast

from asyncposthog.operation import Operation
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import is_array, is_object
from posthog_emulator.objects.object_schema import ObjectSchema
from posthog_emulator.objects.routing import OperationPlan
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.schema.parameters import PAGING_PARAMETERS, UNIVERSAL_PARAMETERS
from posthog_emulator.state import ApiCall, EmulatorState

from .list_filters import FILTERS
from .row_tests import RowFilter, RowTest

__all__ = [
    "RowFilter",
    "RowTest",
    "SortKey",
    "filter_for",
    "filter_parameters",
    "ignored_parameters",
    "next_parameters",
    "select_rows",
    "sort_fields",
    "sort_key",
]


def filter_for(call: ApiCall, name: str) -> RowFilter | None:
    """Return the filter of a parameter; None if it compares the field of its name, or is unknown.

    To add a filter to a list, enter it in `FILTERS`.
    """
    return FILTERS.get((call.operation.id, name))


SortKey: TypeAlias = tuple[int, Any]

_SEARCHED_FIELDS = ("name", "key", "title", "description", "email", "distinct_ids", "group_key")
_SORT_PARAMETERS = ("ordering", "order_by", "order")
_NOT_FILTERS = frozenset(
    {"search", "deleted", "limit", "offset", "page", "page_size", "id", *_SORT_PARAMETERS}
)


def select_rows(call: ApiCall, source: Iterable[StoredObject] | None = None) -> list[StoredObject]:
    """Return the rows of a list operation, filtered and sorted, before paging.

    Args:
        call: The call; its parents have been resolved.
        source: The rows to choose from; by default those of the collection.
    """
    deleted = (call.request.query_value("deleted") or "").lower() in {"true", "1"}
    # A list has either live or soft-deleted objects, never both.
    rows = [row for row in (call.objects if source is None else source) if row.deleted == deleted]
    call.derive(rows)
    search = call.request.query_value("search")
    if search:
        rows = [row for row in rows if _contains_text(row, search.casefold())]
    for name in filter_parameters(call.state, call.operation):
        values = call.query(name)
        if not values:
            continue
        test = _row_test(call, name, values)
        rows = [row for row in rows if test(row)]
    # Sorting is stable: the last key first, so that the first key decides.
    for field, descending in reversed(sort_fields(call)):
        rows.sort(key=lambda row: sort_key(row, field), reverse=descending)
    return rows


def sort_fields(call: ApiCall) -> list[tuple[str, bool]]:
    """Return the fields that a list is sorted by, each with whether it is descending."""
    fields: list[tuple[str, bool]] = []
    # Session recordings have the direction in a parameter of its own, descending by default.
    has_direction = any(p.name == "order_direction" for p in call.operation.query_parameters)
    descending = has_direction and call.request.query_value("order_direction") != "ASC"
    for name in _SORT_PARAMETERS:
        for value in call.query(name):
            for part in value.split(","):
                field = part.strip()
                if field.lstrip("-"):
                    fields.append((field.lstrip("-"), descending or field.startswith("-")))
    return fields


def sort_key(row: StoredObject, field: str) -> SortKey:
    """Return the sort key of a field of any type: numbers, strings, other values, nulls last."""
    value = row.data.get(field)
    if isinstance(value, bool | int | float):
        return 0, value
    if isinstance(value, str):
        return 1, value
    return (3, 0) if value is None else (2, json.dumps(value, sort_keys=True))


def _contains_text(row: StoredObject, text: str) -> bool:
    for name in _SEARCHED_FIELDS:
        value = row.data.get(name)
        parts = value if is_array(value) else [value]
        if any(isinstance(part, str) and text in part.casefold() for part in parts):
            return True
    return False


def next_parameters(state: EmulatorState, operation: Operation) -> dict[str, str]:
    """Return the fields of the response with the values for the next page, by parameter.

    These are the fields `next_<parameter>`; `next` is the next value of `cursor`.
    """
    if operation.pagination is None or operation.pagination.style != "next_values":
        return {}
    fields = state.catalogue.properties(state.catalogue.response_schema(operation))
    names = {p.name: f"next_{p.name}" for p in operation.query_parameters}
    parameters = {name: field for name, field in names.items() if field in fields}
    return parameters if parameters or "next" not in fields else {"cursor": "next"}


def filter_parameters(state: EmulatorState, operation: Operation) -> list[str]:
    """Return the names of the query parameters of a list that select rows by something."""
    style = operation.pagination.style if operation.pagination else "single"
    skipped = PAGING_PARAMETERS[style] | UNIVERSAL_PARAMETERS | _NOT_FILTERS
    skipped |= next_parameters(state, operation).keys()
    return [p.name for p in operation.query_parameters if p.name not in skipped]


def ignored_parameters(state: EmulatorState, plan: OperationPlan) -> list[str]:
    """Return the filters of a list that the emulator does not implement."""
    if plan.collection is None:
        return []
    schema = state.object_schemas.get(plan.collection)
    operation = plan.operation
    return [
        name
        for name in filter_parameters(state, operation)
        if (operation.id, name) not in FILTERS and not _is_field(state, schema, name)
    ]


def _is_field(state: EmulatorState, schema: ObjectSchema, name: str) -> bool:
    """Return whether a parameter stands for a field of the objects, or for the id in a field."""
    field = name.removesuffix("__in")
    if not schema.properties.keys() & {field, field.removesuffix("_id")}:
        return False
    declared = schema.properties.get(field)
    if declared is None:
        return True
    # An object without an id has nothing that a parameter could be compared with.
    branch = state.catalogue.object_branch(declared)
    return not branch.get("properties") or "id" in branch["properties"]


def _row_test(call: ApiCall, name: str, values: list[str]) -> RowTest:
    row_filter = filter_for(call, name)
    if row_filter is not None:
        return row_filter(call, name)
    if not _is_field(call.state, call.object_schema, name):
        # Not rejected here but with the first row: an empty list is right whatever the filter
        # means.
        return lambda _: _unknown_filter(call, name)
    field = name.removesuffix("__in")
    requested = _comparable_values(values, split=name.endswith("__in"))
    return lambda row: _has_value(row, field, requested)


def _unknown_filter(call: ApiCall, name: str) -> bool:
    """Accept a row although the filter is not implemented.

    Raises:
        ApiError: 400 in strict mode, unless the parameter is required.
    """
    required = any(p.required for p in call.operation.query_parameters if p.name == name)
    if call.strict and not required:
        raise invalid(
            f"The emulator does not implement the filter '{name}'. "
            "Use Emulator(strict=False) to ignore it.",
            name,
        )
    call.fidelity = "schema"
    return True


def _has_value(row: StoredObject, field: str, requested: set[str]) -> bool:
    value = row.data.get(field)
    if field not in row.data or is_object(value):
        # `dashboard_id=3` and `dashboard=3` compare the id of a nested object `dashboard`.
        nested = cast("Any", row.data.get(field.removesuffix("_id")))
        value = nested.get("id") if is_object(nested) else None
    parts = value if is_array(value) else [value]
    return any(_comparable(part) in requested for part in parts)


def _comparable_values(values: list[str], *, split: bool) -> set[str]:
    comparable: set[str] = set()
    for value in values:
        if value.startswith("["):
            try:
                comparable |= {_comparable(item) for item in json.loads(value)}
                continue
            except ValueError:
                # Not a list, but a text that begins with a bracket.
                pass
        comparable |= set(value.split(",")) if split else {value}
    return comparable


def _comparable(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
