"""Filter, search and sort the rows of a list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.relative_dates import parse_date
from posthog_emulator.schema.parameters import PAGING_PARAMETERS, UNIVERSAL_PARAMETERS
from posthog_emulator.state import ApiCall

__all__ = [
    "RowFilter",
    "RowTest",
    "SortKey",
    "filter_for",
    "next_parameters",
    "select_rows",
    "sort_fields",
    "sort_key",
]

RowTest: TypeAlias = Callable[[StoredObject], bool]
RowFilter: TypeAlias = Callable[[ApiCall, str], RowTest]
"""Returns the test that rows have to pass, given the call and the name of the parameter."""

_QUERY_KINDS: Final[Mapping[str, str]] = {
    "FUNNELS": "FunnelsQuery",
    "LIFECYCLE": "LifecycleQuery",
    "PATHS": "PathsQuery",
    "RETENTION": "RetentionQuery",
    "SQL": "HogQLQuery",
    "STICKINESS": "StickinessQuery",
    "TRENDS": "TrendsQuery",
}
"""The query kind of each value of the parameter `insight`."""


def filter_for(call: ApiCall, name: str) -> RowFilter | None:
    """Return the filter of a parameter; None if it compares the field of its name, or is unknown.

    To add a filter to a list, enter it in `_FILTERS`.
    """
    return _FILTERS.get((call.operation.id, name))


def _requested_values(call: ApiCall, name: str) -> list[str]:
    """Return the values of a parameter: repeated, joined by commas, or as a JSON list."""
    requested: list[str] = []
    for value in call.query(name):
        if value.startswith("["):
            try:
                requested += map(str, json.loads(value))
            except ValueError:
                raise invalid("Must be a list of JSON.", name) from None
        else:
            requested += [part.strip() for part in value.split(",") if part.strip()]
    return requested


def _values_at(row: StoredObject, path: str) -> list[str]:
    """Return the values at a dotted path through objects and lists, as text, without nulls."""
    values: list[Any] = [row.data]
    for name in path.split("."):
        nested = [as_object(value).get(name) for value in values]
        values = [item for value in nested for item in (value if is_array(value) else [value])]
    return [str(value) for value in values if value is not None]


def _any_of(*paths: str) -> RowFilter:
    """Return a filter for rows with one of the requested values at one of the paths."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        requested = set(_requested_values(call, name))
        return lambda row: (
            not requested.isdisjoint(value for path in paths for value in _values_at(row, path))
        )

    return row_filter


def _none_of(path: str) -> RowFilter:
    """Return a filter for rows without any of the requested values at a path."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        excluded = set(_requested_values(call, name))
        return lambda row: excluded.isdisjoint(_values_at(row, path))

    return row_filter


def _compare_date(path: str, compare: Callable[[datetime, datetime], bool]) -> RowFilter:
    """Return a filter that compares the date at a path with the requested one."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        text = call.request.query_value(name) or ""
        date = parse_date(text, call.state.settings.clock().astimezone(UTC))
        if date is None:
            raise invalid(f"The emulator cannot parse the date {text!r}.", name)
        bound = date if date.tzinfo else date.replace(tzinfo=UTC)
        return lambda row: any(
            compare(_parse_timestamp(value), bound) for value in _values_at(row, path)
        )

    return row_filter


def _parse_timestamp(text: str) -> datetime:
    timestamp = datetime.fromisoformat(text)
    return timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)


def _at_or_after(path: str) -> RowFilter:
    return _compare_date(path, lambda value, bound: value >= bound)


def _at_or_before(path: str) -> RowFilter:
    return _compare_date(path, lambda value, bound: value <= bound)


def _by_value(test: Callable[[StoredObject, str], bool]) -> RowFilter:
    """Return a filter by a function of the row and the single requested value."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        value = call.request.query_value(name) or ""
        return lambda row: test(row, value)

    return row_filter


def _if_true(test: RowTest) -> RowFilter:
    """Return a filter that applies only if the parameter is true."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        enabled = (call.request.query_value(name) or "").lower() in {"true", "1"}
        return test if enabled else lambda _: True

    return row_filter


def _created_by_me(call: ApiCall, _: str) -> RowTest:
    user_id = str(call.state.accounts.account.user_id)
    return lambda row: user_id in _values_at(row, "created_by.id")


def _no_filter(_: ApiCall, __: str) -> RowTest:
    """Accept all rows: the parameter selects no rows, or the handler of the list evaluates it."""
    return lambda _: True


def _flag_active(call: ApiCall, name: str) -> RowTest:
    value = call.request.query_value(name) or ""
    if value == "STALE":
        return lambda row: row.data.get("status") == "STALE"
    return lambda row: str(row.data.get("active")).lower() == value


def _flag_type(row: StoredObject, flag_type: str) -> bool:
    variants = as_object(as_object(row.data.get("filters")).get("multivariate")).get("variants")
    if flag_type == "experiment":
        return bool(row.data.get("experiment_set"))
    if flag_type == "remote_config":
        return bool(row.data.get("is_remote_configuration"))
    return bool(variants) is (flag_type == "multivariant")


def _insight_type(row: StoredObject, insight_type: str) -> bool:
    query = as_object(row.data.get("query"))
    # Saved insights wrap their query in a node that says how to draw it.
    kind = as_object(query.get("source")).get("kind") or query.get("kind")
    if insight_type == "JSON":
        return bool(query) and kind not in _QUERY_KINDS.values()
    return kind == _QUERY_KINDS[insight_type]


def _in_folder(row: StoredObject, folder: str) -> bool:
    return str(row.data.get("path") or "").startswith(f"{folder}/")


def _for_parameters(row_filter: RowFilter, *names: str) -> dict[tuple[str, str], RowFilter]:
    """Return one filter for several parameters, each given as `operation.id:parameter`."""
    pairs = (name.partition(":") for name in names)
    return {(operation, parameter): row_filter for operation, _, parameter in pairs}


_LOGS = (
    "batch_exports.logs",
    "hog_flows.logs",
    "hog_functions.logs",
    "organizations.batch_exports.logs",
)

_FILTERS: Final[Mapping[tuple[str, str], RowFilter]] = {
    **_for_parameters(
        _no_filter,
        "batch_exports.runs.list:after",
        "batch_exports.runs.list:before",
        "batch_exports.runs.list:end",
        "batch_exports.runs.list:start",
        "error_tracking.issues.values:key",
        "file_system.list:search_name_only",
        "groups.activity:group_type_index",
        "integrations.github.branches:repo",
        "integrations.users:force_refresh",
        "insights.list:basic",
        "insights.list:refresh",
        "llm_prompts.list:content",
        "property_definitions.list:properties",
        "property_definitions.list:type",
        "session_recordings.list:order_direction",
        "users.integrations.github.branches:repo",
    ),
    **_for_parameters(_at_or_after("timestamp"), *(f"{name}:after" for name in _LOGS)),
    **_for_parameters(_at_or_before("timestamp"), *(f"{name}:before" for name in _LOGS)),
    ("activity_log.list", "scopes"): _any_of("scope"),
    ("advanced_activity_logs.list", "activities"): _any_of("activity"),
    ("advanced_activity_logs.list", "clients"): _any_of("client"),
    ("advanced_activity_logs.list", "end_date"): _at_or_before("created_at"),
    ("advanced_activity_logs.list", "item_ids"): _any_of("item_id"),
    ("advanced_activity_logs.list", "scopes"): _any_of("scope"),
    ("advanced_activity_logs.list", "start_date"): _at_or_after("created_at"),
    ("advanced_activity_logs.list", "users"): _any_of("user.id", "user.uuid"),
    ("change_requests.list", "requester"): _any_of("created_by.id"),
    ("conversations.tickets.list", "channel_source"): _any_of("channel_source"),
    ("conversations.tickets.list", "distinct_ids"): _any_of("distinct_id"),
    ("conversations.tickets.list", "priority"): _any_of("priority"),
    ("conversations.tickets.list", "status"): _any_of("status"),
    ("conversations.tickets.list", "tags"): _any_of("tags"),
    ("feature_flags.list", "active"): _flag_active,
    ("feature_flags.list", "excluded_properties"): _none_of("key"),
    ("feature_flags.list", "type"): _by_value(_flag_type),
    ("file_system.list", "created_at__gt"): _compare_date(
        "created_at", lambda value, bound: value > bound
    ),
    ("file_system.list", "created_at__lt"): _compare_date(
        "created_at", lambda value, bound: value < bound
    ),
    ("file_system.list", "not_type"): _by_value(lambda row, value: row.data.get("type") != value),
    ("file_system.list", "parent"): _by_value(_in_folder),
    ("file_system.list", "type__startswith"): _by_value(
        lambda row, value: str(row.data.get("type") or "").startswith(value)
    ),
    ("heatmaps.events", "date_from"): _at_or_after("timestamp"),
    ("heatmaps.events", "date_to"): _at_or_before("timestamp"),
    ("heatmaps.events", "url_exact"): _any_of("current_url"),
    ("hog_function_templates.list", "template_id"): _any_of("id"),
    ("hog_function_templates.list", "types"): _any_of("type"),
    ("insights.list", "created_date_from"): _at_or_after("created_at"),
    ("insights.list", "created_date_to"): _at_or_before("created_at"),
    ("insights.list", "date_from"): _at_or_after("last_modified_at"),
    ("insights.list", "date_to"): _at_or_before("last_modified_at"),
    ("insights.list", "insight"): _by_value(_insight_type),
    ("insights.list", "last_viewed_date_from"): _at_or_after("last_viewed_at"),
    ("insights.list", "last_viewed_date_to"): _at_or_before("last_viewed_at"),
    ("insights.list", "user"): _created_by_me,
    ("integrations.users", "user_id"): _any_of("id"),
    ("live_debugger_breakpoints.hits", "breakpoint_ids"): _any_of("breakpoint_id"),
    ("llm_analytics.trace_reviews.list", "definition_id"): _any_of("scores.definition_id"),
    ("llm_analytics.trace_reviews.list", "definition_id__in"): _any_of("scores.definition_id"),
    ("mcp_analytics.sessions.list", "date_from"): _at_or_after("session_start"),
    ("mcp_analytics.sessions.list", "date_to"): _at_or_before("session_start"),
    ("mcp_analytics.sessions.tool_calls", "date_from"): _at_or_after("timestamp"),
    ("notebooks.list", "date_from"): _at_or_after("last_modified_at"),
    ("notebooks.list", "date_to"): _at_or_before("last_modified_at"),
    ("notebooks.list", "user"): _created_by_me,
    ("persons.deletion_status", "status"): _by_value(
        lambda row, value: value in {"all", row.data.get("status")}
    ),
    ("property_definitions.list", "exclude_hidden"): _if_true(
        lambda row: not row.data.get("hidden")
    ),
    ("property_definitions.list", "excluded_properties"): _none_of("name"),
    ("property_definitions.list", "is_feature_flag"): _by_value(
        lambda row, value: (
            str(row.data.get("name")).startswith("$feature/") is (value.lower() in {"true", "1"})
        )
    ),
    ("session_recordings.list", "date_from"): _at_or_after("start_time"),
    ("session_recordings.list", "date_to"): _at_or_before("start_time"),
    ("session_recordings.list", "distinct_ids"): _any_of("distinct_id"),
    ("session_recordings.list", "person_uuid"): _any_of("person.uuid"),
    ("session_recordings.list", "session_ids"): _any_of("id"),
    ("subscriptions.list", "resource_type"): _by_value(
        lambda row, value: row.data.get(value) is not None
    ),
    ("surveys.responses.list", "since"): _at_or_after("submitted_at"),
    ("surveys.responses.list", "until"): _at_or_before("submitted_at"),
}


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
    for name, values in _filter_parameters(call):
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


def next_parameters(call: ApiCall) -> dict[str, str]:
    """Return the fields of the response with the values for the next page, by parameter.

    These are the fields `next_<parameter>`; `next` is the next value of `cursor`.
    """
    pagination = call.operation.pagination
    if pagination is None or pagination.style != "next_values":
        return {}
    catalogue = call.state.catalogue
    fields = catalogue.properties(catalogue.response_schema(call.operation))
    names = {p.name: f"next_{p.name}" for p in call.operation.query_parameters}
    found = {name: field for name, field in names.items() if field in fields}
    return found if found or "next" not in fields else {"cursor": "next"}


def _filter_parameters(call: ApiCall) -> Iterable[tuple[str, list[str]]]:
    style = call.operation.pagination.style if call.operation.pagination else "single"
    skipped = PAGING_PARAMETERS[style] | UNIVERSAL_PARAMETERS | _NOT_FILTERS
    skipped |= next_parameters(call).keys()
    for parameter in call.operation.query_parameters:
        if parameter.name in skipped:
            continue
        values = call.query(parameter.name)
        if values:
            yield parameter.name, values


def _row_test(call: ApiCall, name: str, values: list[str]) -> RowTest:
    row_filter = filter_for(call, name)
    if row_filter is not None:
        return row_filter(call, name)
    field = name.removesuffix("__in")
    if not call.object_schema.properties.keys() & {
        field,
        field.removesuffix("_id"),
    } or _lacks_id(call, field):
        # Not rejected here but with the first row: an empty list is right whatever the filter
        # means.
        return lambda _: _unknown_filter(call, name)
    requested = _comparable_values(values, split=name.endswith("__in"))
    return lambda row: _has_value(row, field, requested)


def _lacks_id(call: ApiCall, field: str) -> bool:
    """Return whether a field is an object without an id that a parameter could stand for."""
    schema = call.object_schema.properties.get(field)
    if schema is None:
        return False
    branch = call.state.catalogue.object_branch(schema)
    return bool(branch.get("properties")) and "id" not in branch["properties"]


def _unknown_filter(call: ApiCall, name: str) -> bool:
    """Accept a row although the filter is not implemented.

    Raises:
        ApiError: 400 in strict mode, unless the parameter is required.
    """
    required = any(p.required for p in call.operation.query_parameters if p.name == name)
    if call.state.settings.strict and not required:
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
