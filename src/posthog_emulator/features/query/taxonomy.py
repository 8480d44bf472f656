"""Taxonomy queries: events, the properties of an event or of persons, and their values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from posthog_emulator.hogql.parse import Expression, call, field
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .dates import add_units, local_now, start_of
from .properties import Values, written
from .result import Result, encode_json
from .runner import QuerySession, run_rows
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields

__all__ = ["TAXONOMY_KINDS", "run_taxonomy"]

_RANGE: Final = timedelta(days=30)
"""How far back events are looked at."""
_MAX_ITEMS: Final = 500
_SAMPLE_VALUES: Final = 5
"""The default number of values of each property."""
_EVENT_VALUES: Final = 10
_PERSON_VALUES: Final = 20
_INTERNAL: Final = (
    r"^(\$set|\$set_once|\$unset|\$time|\$sent_at|\$groups|\$ip|distinct_id|token|\$feature/.*)$"
)
"""Properties that describe the sending of an event, not the event."""
_FIELDS: Final = {"kind", "modifiers", "tags", "version", "response"}


def run_taxonomy(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a query of one of `TAXONOMY_KINDS`.

    Raises:
        ApiError: 400, the query is invalid or uses something that the emulator does not support.
    """
    kind = str(query["kind"])
    reject_unknown_fields(as_object(query.get("modifiers")), IGNORED_MODIFIERS, f"{kind}.modifiers")
    return TAXONOMY_KINDS[kind](session, query)


def _events(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a TeamTaxonomyQuery: the events of the last 30 days, the most frequent first."""
    reject_unknown_fields(query, _FIELDS | {"limit", "offset"}, "TeamTaxonomyQuery")
    values = Values(session)
    limit, offset = _page(query)
    rows = run_rows(
        session,
        f"SELECT event, count() AS total FROM events WHERE {_recent(values)} GROUP BY event "  # noqa: S608
        f"ORDER BY total DESC, event LIMIT {limit + 1} OFFSET {offset}",
        values.by_name,
    )
    items = [{"event": event, "count": count} for event, count in rows[:limit]]
    return _result(items, hasMore=len(rows) > limit, limit=limit, offset=offset)


def _event_properties(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an EventTaxonomyQuery: the properties of an event, the most frequent first."""
    own = {"event", "actionId", "properties", "maxPropertyValues", "limit", "offset"}
    reject_unknown_fields(query, _FIELDS | own, "EventTaxonomyQuery")
    values = Values(session)
    tests = [_recent(values)]
    if query.get("actionId") is not None:
        tests.append(f"matchesAction({int(query['actionId'])})")
    elif query.get("event"):
        tests.append(f"event = {values.add(str(query['event']))}")
    else:
        raise invalid("An EventTaxonomyQuery needs an event or an actionId.")
    names = _names(query)
    keep = (
        f"key IN {values.add(tuple(names))}"
        if names
        else f"NOT match(key, {values.add(_INTERNAL)})"
    )
    limit, offset = _page(query)
    rows = run_rows(
        session,
        f"SELECT key, {_samples(query)}, uniqExact(value), count() AS total FROM ("  # noqa: S608
        f"SELECT key, {_TEXT} AS value FROM (SELECT properties, "
        "arrayJoin(mapKeys(JSONExtract(properties, 'Map(String, String)'))) AS key "
        f"FROM events WHERE {' AND '.join(tests)}) WHERE {keep}) WHERE value != '' "
        f"GROUP BY key ORDER BY total DESC, key LIMIT {limit + 1} OFFSET {offset}",
        values.by_name,
    )
    items = [
        {"property": key, "sample_values": samples, "sample_count": count}
        for key, samples, count, _ in rows[:limit]
    ]
    return _result(items, hasMore=len(rows) > limit, limit=limit, offset=offset)


def _actor_properties(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an ActorsPropertyTaxonomyQuery: values of properties of persons or groups."""
    own = {"properties", "groupTypeIndex", "maxPropertyValues"}
    reject_unknown_fields(query, _FIELDS | own, "ActorsPropertyTaxonomyQuery")
    names = _names(query)
    if not names:
        raise invalid("An ActorsPropertyTaxonomyQuery needs properties.")
    values = Values(session)
    index = query.get("groupTypeIndex")
    source = "persons" if index is None else f"(SELECT * FROM groups WHERE index = {int(index)})"  # noqa: S608
    columns: list[str] = []
    for name in names:
        text = values.add(Expression(call("toString", field("properties", name))))
        columns += [_samples(query, text), f"uniqExact(nullIf({text}, ''))"]
    (row,) = run_rows(session, f"SELECT {', '.join(columns)} FROM {source}", values.by_name)  # noqa: S608
    items = [{"sample_values": row[n], "sample_count": row[n + 1]} for n in range(0, len(row), 2)]
    return _result(items)


def _property_values(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a PropertyValuesQuery: values of a property of recent events, or of persons."""
    own = {"event_names", "is_column", "property_key", "property_type", "search_value"}
    reject_unknown_fields(query, _FIELDS | own, "PropertyValuesQuery")
    values, key = Values(session), str(query["property_key"])
    of_events, search = query["property_type"] == "event", str(query.get("search_value") or "")
    column = (key,) if of_events and query.get("is_column") else ("properties", key)
    if not of_events and key == "distinct_id":
        column = ("pdi", key)
    text = values.add(Expression(call("toString", field(*column))))
    tests = [f"position(lower(value), {values.add(search.lower())}) > 0"]
    source, within = "persons", "1 = 1"
    if of_events:
        now = local_now(session)
        source, within = (
            "events",
            f"timestamp >= {values.add(add_units(start_of(now, 'day'), 'day', -7))}",
        )
        if query.get("event_names"):
            within += f" AND event IN {values.add(tuple(str(one) for one in query['event_names']))}"
    order = "length(value), value" if of_events and search else "total DESC, value"
    rows = run_rows(
        session,
        f"SELECT value, count() AS total FROM (SELECT {text} AS value FROM {source} "  # noqa: S608
        f"WHERE {within}) WHERE isNotNull(value) AND value != '' AND {' AND '.join(tests)} "
        f"GROUP BY value ORDER BY {order} LIMIT {10 if of_events else 20}",
        values.by_name,
    )
    items = [
        {"name": name} if of_events else {"name": name, "count": total}
        for value, total in rows
        for name in _plain(value)
    ]
    return _result(items)


def _plain(text: str) -> list[Any]:
    """Return the value in a text, or the values of the list in it."""
    # Quotes inside of the text of a property are escaped.
    text = text.replace('\\"', '"')
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    found = value if is_array(value) else [value]
    return [str(one).lower() if isinstance(one, bool) else one for one in found]


_TEXT: Final = "replaceRegexpAll(JSONExtractRaw(properties, key), '^\"|\"$', '')"


def _samples(query: Mapping[str, Any], value: str = "value") -> str:
    given = query.get("maxPropertyValues")
    count = _SAMPLE_VALUES if given is None else int(given)
    return f"arraySlice(arraySort(groupUniqArray(nullIf({value}, ''))), 1, {count})"


def _recent(values: Values) -> str:
    return f"timestamp >= {values.add(written(values.session.now - _RANGE))}"


def _names(query: Mapping[str, Any]) -> list[str]:
    names: Any = query.get("properties")
    return [str(name) for name in names] if is_array(names) else []


def _page(query: Mapping[str, Any]) -> tuple[int, int]:
    limit, offset = int(query.get("limit") or _MAX_ITEMS), int(query.get("offset") or 0)
    if limit < 0 or offset < 0:
        raise invalid("limit and offset must not be negative.")
    return min(limit, _MAX_ITEMS), offset


def _result(items: list[dict[str, Any]], **more: Any) -> Result:
    head: dict[str, Any] = {"hogql": None, "error": None, "timings": [], "modifiers": {}, **more}
    return Result(encode_json(items), head, len(items))


TAXONOMY_KINDS: Final = {
    "TeamTaxonomyQuery": _events,
    "EventTaxonomyQuery": _event_properties,
    "ActorsPropertyTaxonomyQuery": _actor_properties,
    "PropertyValuesQuery": _property_values,
}
"""The function of each kind."""
