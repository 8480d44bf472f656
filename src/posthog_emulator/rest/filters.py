"""What the filters of lists mean that are not simply a field's name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.objects.store import Row
from posthog_emulator.relative_dates import moment
from posthog_emulator.schema.parameters import EVERYWHERE, PAGING
from posthog_emulator.state import Call

__all__ = ["RowFilter", "SortKey", "chosen", "filter_for", "sort_key", "sort_keys"]

RowFilter: TypeAlias = Callable[[Call, str], Callable[[Row], bool]]
"""Given the call and the parameter's name, the test that a row has to pass."""

_KINDS: Final[Mapping[str, str]] = {
    "FUNNELS": "FunnelsQuery",
    "LIFECYCLE": "LifecycleQuery",
    "PATHS": "PathsQuery",
    "RETENTION": "RetentionQuery",
    "SQL": "HogQLQuery",
    "STICKINESS": "StickinessQuery",
    "TRENDS": "TrendsQuery",
}


def filter_for(call: Call, name: str) -> RowFilter | None:
    """What a filter means; None where a field of its name, or nothing, is all there is."""
    return _MEANINGS.get((call.operation.id, name))


def _wanted(call: Call, name: str) -> list[str]:
    """The values asked for: repeated, joined by commas or as a list of JSON."""
    wanted: list[str] = []
    for value in call.query(name):
        if value.startswith("["):
            try:
                wanted += map(str, json.loads(value))
            except ValueError:
                raise invalid("Must be a list of JSON.", name) from None
        else:
            wanted += [part.strip() for part in value.split(",") if part.strip()]
    return wanted


def _held(row: Row, path: str) -> list[str]:
    """What a row holds at a path through objects and lists, as texts."""
    found: list[Any] = [row.data]
    for name in path.split("."):
        deeper = [as_object(one).get(name) for one in found]
        found = [item for one in deeper for item in (one if is_array(one) else [one])]
    return [str(one) for one in found if one is not None]


def _one_of(*paths: str) -> RowFilter:
    def within(call: Call, name: str) -> Callable[[Row], bool]:
        wanted = set(_wanted(call, name))
        return lambda row: not wanted.isdisjoint(v for path in paths for v in _held(row, path))

    return within


def _none_of(path: str) -> RowFilter:
    def without(call: Call, name: str) -> Callable[[Row], bool]:
        unwanted = set(_wanted(call, name))
        return lambda row: unwanted.isdisjoint(_held(row, path))

    return without


def _when(path: str, fits: Callable[[datetime, datetime], bool]) -> RowFilter:
    def at(call: Call, name: str) -> Callable[[Row], bool]:
        text = call.request.value(name) or ""
        bound = moment(text, call.world.settings.clock().astimezone(UTC))
        if bound is None:
            raise invalid(f"{text!r} is no date the emulator reads.", name)
        limit = bound if bound.tzinfo else bound.replace(tzinfo=UTC)
        return lambda row: any(fits(_timestamp(one), limit) for one in _held(row, path))

    return at


def _timestamp(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _since(path: str) -> RowFilter:
    return _when(path, lambda held, bound: held >= bound)


def _until(path: str) -> RowFilter:
    return _when(path, lambda held, bound: held <= bound)


def _is(test: Callable[[Row, str], bool]) -> RowFilter:
    """A filter that compares each row with the one value that was given."""

    def such(call: Call, name: str) -> Callable[[Row], bool]:
        value = call.request.value(name) or ""
        return lambda row: test(row, value)

    return such


def _if(test: Callable[[Row], bool]) -> RowFilter:
    """A filter that is either on or off."""

    def switched(call: Call, name: str) -> Callable[[Row], bool]:
        on = (call.request.value(name) or "").lower() in {"true", "1"}
        return test if on else lambda _: True

    return switched


def _created_by_me(call: Call, _: str) -> Callable[[Row], bool]:
    own = str(call.world.accounts.account.user_id)
    return lambda row: own in _held(row, "created_by.id")


def _no_filter(_: Call, __: str) -> Callable[[Row], bool]:
    """It says how the rows are shown, or is heeded where the list is answered."""
    return lambda _: True


def _active(call: Call, name: str) -> Callable[[Row], bool]:
    wanted = call.request.value(name) or ""
    if wanted == "STALE":
        raise invalid("The emulator does not know which flags are stale.", name)
    return lambda row: str(row.data.get("active")).lower() == wanted


def _flag_type(row: Row, wanted: str) -> bool:
    variants = as_object(as_object(row.data.get("filters")).get("multivariate")).get("variants")
    if wanted == "experiment":
        return bool(row.data.get("experiment_set"))
    if wanted == "remote_config":
        return bool(row.data.get("is_remote_configuration"))
    return bool(variants) is (wanted == "multivariant")


def _insight(row: Row, wanted: str) -> bool:
    query = as_object(row.data.get("query"))
    kind = as_object(query.get("source")).get("kind") or query.get("kind")
    if wanted == "JSON":
        return bool(query) and kind not in _KINDS.values()
    return kind == _KINDS[wanted]


def _below(row: Row, parent: str) -> bool:
    return str(row.data.get("path") or "").startswith(f"{parent}/")


def _for_parameters(meant: RowFilter, *names: str) -> dict[tuple[str, str], RowFilter]:
    """The same meaning for several parameters, each written `operation.id:parameter`."""
    pairs = (one.partition(":") for one in names)
    return {(operation, name): meant for operation, _, name in pairs}


_LOGS = (
    "batch_exports.logs",
    "hog_flows.logs",
    "hog_functions.logs",
    "organizations.batch_exports.logs",
)

_MEANINGS: Final[Mapping[tuple[str, str], RowFilter]] = {
    **_for_parameters(
        _no_filter,
        "batch_exports.runs.list:after",
        "batch_exports.runs.list:before",
        "batch_exports.runs.list:end",
        "batch_exports.runs.list:start",
        "error_tracking.issues.values:key",
        "file_system.list:search_name_only",
        "groups.activity:group_type_index",
        "insights.list:basic",
        "insights.list:refresh",
        "llm_prompts.list:content",
        "property_definitions.list:properties",
        "property_definitions.list:type",
        "session_recordings.list:order_direction",
    ),
    **_for_parameters(_since("timestamp"), *(f"{name}:after" for name in _LOGS)),
    **_for_parameters(_until("timestamp"), *(f"{name}:before" for name in _LOGS)),
    ("activity_log.list", "scopes"): _one_of("scope"),
    ("advanced_activity_logs.list", "activities"): _one_of("activity"),
    ("advanced_activity_logs.list", "clients"): _one_of("client"),
    ("advanced_activity_logs.list", "end_date"): _until("created_at"),
    ("advanced_activity_logs.list", "item_ids"): _one_of("item_id"),
    ("advanced_activity_logs.list", "scopes"): _one_of("scope"),
    ("advanced_activity_logs.list", "start_date"): _since("created_at"),
    ("advanced_activity_logs.list", "users"): _one_of("user.id", "user.uuid"),
    ("change_requests.list", "requester"): _one_of("created_by.id"),
    ("conversations.tickets.list", "channel_source"): _one_of("channel_source"),
    ("conversations.tickets.list", "distinct_ids"): _one_of("distinct_id"),
    ("conversations.tickets.list", "priority"): _one_of("priority"),
    ("conversations.tickets.list", "status"): _one_of("status"),
    ("conversations.tickets.list", "tags"): _one_of("tags"),
    ("feature_flags.list", "active"): _active,
    ("feature_flags.list", "excluded_properties"): _none_of("key"),
    ("feature_flags.list", "type"): _is(_flag_type),
    ("file_system.list", "created_at__gt"): _when("created_at", lambda held, bound: held > bound),
    ("file_system.list", "created_at__lt"): _when("created_at", lambda held, bound: held < bound),
    ("file_system.list", "not_type"): _is(lambda row, value: row.data.get("type") != value),
    ("file_system.list", "parent"): _is(_below),
    ("file_system.list", "type__startswith"): _is(
        lambda row, value: str(row.data.get("type") or "").startswith(value)
    ),
    ("hog_function_templates.list", "template_id"): _one_of("id"),
    ("hog_function_templates.list", "types"): _one_of("type"),
    ("insights.list", "created_date_from"): _since("created_at"),
    ("insights.list", "created_date_to"): _until("created_at"),
    ("insights.list", "date_from"): _since("last_modified_at"),
    ("insights.list", "date_to"): _until("last_modified_at"),
    ("insights.list", "insight"): _is(_insight),
    ("insights.list", "last_viewed_date_from"): _since("last_viewed_at"),
    ("insights.list", "last_viewed_date_to"): _until("last_viewed_at"),
    ("insights.list", "user"): _created_by_me,
    ("llm_analytics.trace_reviews.list", "definition_id"): _one_of("scores.definition_id"),
    ("llm_analytics.trace_reviews.list", "definition_id__in"): _one_of("scores.definition_id"),
    ("notebooks.list", "date_from"): _since("last_modified_at"),
    ("notebooks.list", "date_to"): _until("last_modified_at"),
    ("notebooks.list", "user"): _created_by_me,
    ("persons.deletion_status", "status"): _is(
        lambda row, value: value in {"all", row.data.get("status")}
    ),
    ("property_definitions.list", "exclude_hidden"): _if(lambda row: not row.data.get("hidden")),
    ("property_definitions.list", "excluded_properties"): _none_of("name"),
    ("property_definitions.list", "is_feature_flag"): _is(
        lambda row, value: (
            str(row.data.get("name")).startswith("$feature/") is (value.lower() in {"true", "1"})
        )
    ),
    ("session_recordings.list", "date_from"): _since("start_time"),
    ("session_recordings.list", "date_to"): _until("start_time"),
    ("session_recordings.list", "distinct_ids"): _one_of("distinct_id"),
    ("session_recordings.list", "person_uuid"): _one_of("person.uuid"),
    ("session_recordings.list", "session_ids"): _one_of("id"),
    ("subscriptions.list", "resource_type"): _is(
        lambda row, value: row.data.get(value) is not None
    ),
}


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
    meant = filter_for(call, name)
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
