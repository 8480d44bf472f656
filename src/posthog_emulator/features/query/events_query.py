"""EventsQuery and SessionsQuery: selected columns of events and sessions, as lists show them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .dates import bound
from .properties import Values, property_tests, written
from .result import Result, encode_json
from .runner import QuerySession, run_hogql
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields

if TYPE_CHECKING:
    from posthog_emulator.hogql.parse import Node

__all__ = ["run_events"]

_ALLOWED: Final = (
    "kind", "select", "where", "orderBy", "after", "before", "event", "limit", "offset",
    "properties", "fixedProperties", "filterTestAccounts", "personId", "tags", "version",
    "modifiers",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Source:
    """What a query of a kind lists."""

    table: str
    time: str
    star: Sequence[str]
    """The columns of `*`."""
    own_fields: Sequence[str]
    """Fields that are supported besides those of both kinds."""


_SOURCES: Final[Mapping[str, _Source]] = {
    "EventsQuery": _Source(
        "events", "timestamp",
        ("uuid", "event", "properties", "timestamp", "team_id", "distinct_id", "elements_chain",
         "created_at"),
        ("events",),
    ),
    "SessionsQuery": _Source(
        "sessions", "$start_timestamp",
        ("session_id", "distinct_id", "$start_timestamp", "$end_timestamp", "$session_duration",
         "$entry_current_url", "$end_current_url", "$pageview_count", "$autocapture_count",
         "$screen_count", "$is_bounce"),
        ("actionId", "eventProperties", "response"),
    ),
}  # fmt: skip
_ROWS: Final = 100
_MOST: Final = 50_000


def run_events(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an EventsQuery or a SessionsQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    from posthog_emulator.hogql.errors import HogQLError

    kind = str(query["kind"])
    source = _SOURCES[kind]
    reject_unknown_fields(query, (*_ALLOWED, *source.own_fields), kind)
    modifiers = as_object(query.get("modifiers"))
    reject_unknown_fields(modifiers, IGNORED_MODIFIERS, f"{kind}.modifiers")
    selection = _texts(query, "select") or ["*"]
    values = Values(session)
    try:
        columns = [_column(text, values, source) for text in selection]
        sql = _sql(session, query, selection, columns, values)
    except HogQLError as error:
        raise invalid(error.detail, None, error.code) from None
    limit, skipped = _page(query)
    # One row more than requested shows whether there are more.
    sql += f" LIMIT {limit + 1} OFFSET {skipped}"
    result = run_hogql(session, sql, values.by_name, allow_offset=True, max_rows=_MOST + 1)
    rows: list[list[Any]] = json.loads(result.rows)
    more = len(rows) > limit
    rows = rows[:limit]
    _dress(session, source, selection, rows)
    names = [c.name or text for c, text in zip(columns, selection, strict=True)]
    head: dict[str, Any] = {
        "columns": names,
        "types": [kind for _, kind in result.head["types"]],
        "hasMore": more,
        "limit": limit,
        "offset": skipped,
        "hogql": result.head["hogql"],
        "timings": [],
        "modifiers": {},
        "error": None,
    }
    if source.table == "events":
        head["nextCursor"] = _cursor(query, selection, rows) if more else None
    return Result(encode_json(rows), head, len(rows))


def _texts(query: Mapping[str, Any], name: str) -> list[str]:
    value: Any = query.get(name)
    return [str(item) for item in value] if is_array(value) else []


def _page(query: Mapping[str, Any]) -> tuple[int, int]:
    limit, skipped = query.get("limit"), query.get("offset")
    limit = _ROWS if limit is None else int(limit)
    if limit < 0 or (skipped or 0) < 0:
        raise invalid("limit and offset must not be negative.")
    return min(limit or _ROWS, _MOST), int(skipped or 0)


def _called(text: str) -> str:
    return text.split("--")[0].strip()


@dataclass(frozen=True, slots=True)
class _Part:
    """An expression of the query."""

    shown: str
    """Placeholder of the expression with its name."""
    inner: str
    """Placeholder of the expression alone."""
    name: str | None
    aggregates: bool


def _part(node: Node, values: Values) -> _Part:
    from posthog_emulator.hogql.calls import has_aggregate
    from posthog_emulator.hogql.parse import Expression

    has_alias = node["node"] == "Alias"
    inner = node["expr"] if has_alias else node
    return _Part(
        values.add(Expression(node)), values.add(Expression(inner)),
        node["alias"] if has_alias else None, has_aggregate(inner),
    )  # fmt: skip


def _column(text: str, values: Values, source: _Source) -> _Part:
    from posthog_emulator.hogql.parse import parse_expression

    name = _called(text)
    of_person = source.table == "sessions" and name.split(".")[0] == "person"
    if name == "person_display_name" or of_person:
        raise invalid(f"The emulator does not compute the column `{name}` of {source.table}.")
    if text == "*":
        return _part(parse_expression(f"tuple({', '.join(source.star)})"), values)
    return _part(
        parse_expression("distinct_id" if name == "person" else _own(text, source)), values
    )


def _own(text: str, source: _Source) -> str:
    """Return an expression on sessions without the name of their table in front."""
    return text.removeprefix("session.") if source.table == "sessions" else text


def _sql(
    session: QuerySession,
    query: Mapping[str, Any],
    selection: Sequence[str],
    columns: Sequence[_Part],
    values: Values,
) -> str:
    from posthog_emulator.hogql.parse import Expression, parse_expression, parse_order

    source = _SOURCES[str(query["kind"])]
    tests = [_part(parse_expression(text), values) for text in _texts(query, "where")]
    where = [test.inner for test in tests if not test.aggregates]
    where += _tests(session, query, values)
    having = [test.inner for test in tests if test.aggregates]
    totals = [column for column in columns if column.aggregates]
    orders = [parse_order(_own(text, source)) for text in _texts(query, "orderBy")]
    keys = [f"{values.add(Expression(order['expr']))} {order['order']}" for order in orders]
    if query.get("orderBy") is None:
        keys = [_order(selection, columns, totals, source.time)]
    shown = ", ".join(column.shown for column in columns)
    sql = f"SELECT {shown} FROM {source.table} WHERE {' AND '.join(where)}"  # noqa: S608
    groups = [column.inner for column in columns if not column.aggregates]
    # As on the server, an aggregate in `select` groups the rows by all other columns.
    if totals and groups:
        sql += f" GROUP BY {', '.join(groups)}"
    if having:
        sql += f" HAVING {' AND '.join(having)}"
    return f"{sql} ORDER BY {', '.join(keys)}" if keys else sql


def _order(
    selection: Sequence[str], columns: Sequence[_Part], totals: Sequence[_Part], time: str
) -> str:
    if "count()" in selection:
        return "count() DESC"
    if totals:
        return f"{totals[0].inner} DESC"
    return f"{time} DESC" if time in selection else f"{columns[0].inner} ASC"


def _tests(session: QuerySession, query: Mapping[str, Any], values: Values) -> list[str]:
    source = _SOURCES[str(query["kind"])]
    table = source.table
    tests = property_tests(query.get("properties"), values, table)
    tests += property_tests(query.get("fixedProperties"), values, table)
    if query.get("filterTestAccounts"):
        tests += property_tests(session.test_account_filters, values, table)
    now = session.now.astimezone(UTC)
    before, after = query.get("before"), query.get("after") or "-24h"
    # By default the server includes events up to five seconds ahead of its clock.
    end = now + timedelta(seconds=5) if before is None else bound(before, now)
    times = [f"{{time}} < {values.add(written(end))}"]
    if after != "all":
        times.append(f"{{time}} > {values.add(written(bound(after, now)))}")
    person = f"toUUID({values.add(str(query['personId']))})" if query.get("personId") else ""
    names = [name for name in (query.get("event"), *_texts(query, "events")) if name]
    on_events = [f"event IN {values.add(names)}"] if names else []
    if table == "events":
        tests += [*on_events, *([f"person_id = {person}"] if person else [])]
    else:
        if person:
            ids = f"SELECT distinct_id FROM person_distinct_ids WHERE person_id = {person}"  # noqa: S608
            tests.append(f"distinct_id IN ({ids})")
        if not names and query.get("actionId"):
            on_events.append(f"matchesAction({int(query['actionId'])})")
        on_events += property_tests(query.get("eventProperties"), values)
        if on_events:
            on_events += [test.replace("{time}", "timestamp", 1) for test in times]
            ids = f"SELECT $session_id FROM events WHERE {' AND '.join(on_events)}"  # noqa: S608
            tests.append(f"session_id IN ({ids})")
    return tests + [test.replace("{time}", source.time, 1) for test in times]


def _dress(
    session: QuerySession, source: _Source, selection: Sequence[str], rows: list[list[Any]]
) -> None:
    """Convert the columns `*` and `person` to objects."""
    for place, text in enumerate(selection):
        if text == "*":
            for row in rows:
                item = dict(zip(source.star, row[place], strict=True))
                row[place] = _event(item) if source.table == "events" else item
        elif _called(text) == "person":
            persons = _persons(session, {row[place] for row in rows})
            for row in rows:
                row[place] = {**persons.get(row[place], {}), "distinct_id": row[place]}


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    properties = json.loads(event["properties"])
    bare = properties.get("$process_person_profile") is False
    if properties.get("$session_id"):
        properties["$has_recording"] = False  # the emulator stores no recordings
    return {**event, "properties": properties, "person_mode": "propertyless" if bare else "full"}


def _persons(session: QuerySession, distinct_ids: set[str]) -> dict[str, dict[str, Any]]:
    rows = session.store().read(
        "SELECT d.distinct_id, toString(p.id), "
        "formatDateTime(p.created_at, '%Y-%m-%dT%H:%i:%S.%fZ'), p.properties "
        "FROM (SELECT * FROM person_distinct_id2 FINAL WHERE team_id = ? AND is_deleted = 0) AS d "
        "JOIN (SELECT * FROM person FINAL WHERE team_id = ? AND is_deleted = 0) AS p "
        "ON p.id = d.person_id WHERE d.distinct_id IN ?",
        [session.team_id, session.team_id, sorted(distinct_ids)],
    )
    return {
        distinct_id: {"uuid": uuid, "created_at": at, "properties": json.loads(properties)}
        for distinct_id, uuid, at, properties in rows
    }


def _cursor(
    query: Mapping[str, Any], selection: Sequence[str], rows: list[list[Any]]
) -> str | None:
    """Return the timestamp of the last row if the rows are sorted by timestamp, else None."""
    order = _texts(query, "orderBy")
    by_time = order[0].split()[0] == "timestamp" if order else "timestamp" in selection
    if not by_time or not rows:
        return None
    if "*" in selection:
        return str(rows[-1][selection.index("*")]["timestamp"])
    place = next((n for n, text in enumerate(selection) if _called(text) == "timestamp"), None)
    return None if place is None else str(rows[-1][place])
