"""ActorsQuery and GroupsQuery: persons and groups, all of them or those behind a data point."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from posthog_emulator.hogql.calls import has_aggregate
from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.parse import (
    Expression,
    Node,
    parse_expression,
    parse_order,
    parse_select,
)
from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import as_object, is_array

from .insight_results import Actors
from .insights import INSIGHT_ACTORS
from .properties import Values, property_tests
from .result import Result, encode_json
from .runner import QuerySession, run_hogql
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields

__all__ = ["run_actors", "run_groups", "run_point"]

_ROWS: Final = 100
_MOST: Final = 50_000
_COMMON: Final = ("kind", "tags", "version", "modifiers", "response")
_LIST: Final = (*_COMMON, "select", "search", "properties", "orderBy", "limit", "offset")
_POINT: Final = (*_COMMON, "source", "includeRecordings")
_POINTS: Final[Mapping[str, Sequence[str]]] = {
    "InsightActorsQuery": (*_POINT, "compare", "day", "series", "status", "interval", "breakdown"),
    "FunnelsActorsQuery": (
        *_POINT, "funnelStep", "funnelStepBreakdown", "funnelTrendsDropOff",
        "funnelTrendsEntrancePeriodStart",
    ),
    "FunnelCorrelationActorsQuery": (
        *_POINT, "funnelCorrelationPersonConverted", "funnelCorrelationPersonEntity",
        "funnelCorrelationPropertyValues",
    ),
    "StickinessActorsQuery": (*_POINT, "compare", "day", "series"),
}  # fmt: skip
"""Fields that are applied of what names a data point. The emulator has no recordings to match."""


def run_actors(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an ActorsQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    allowed = (*_LIST, "fixedProperties", "filterTestAccounts", "source")
    reject_unknown_fields(query, allowed, "ActorsQuery")
    source = as_object(query.get("source"))
    return _Listing(session, query, _source(session, source) if source else Actors("")).result()


def run_groups(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a GroupsQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    reject_unknown_fields(query, (*_LIST, "group_type_index"), "GroupsQuery")
    actors = Actors("", {}, int(query["group_type_index"]))
    return _Listing(session, query, actors, ("group_name", "key"), "GroupsQuery").result()


def run_point(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute the query of a data point by itself: the ids of its actors.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    actors = _source(session, query)
    return run_hogql(session, Expression(parse_select(actors.sql)), actors.values)


def _source(session: QuerySession, source: Mapping[str, Any]) -> Actors:
    """Return the actors that the source of an ActorsQuery names."""
    kind = str(source.get("kind"))
    if kind == "HogQLQuery":
        reject_unknown_fields(source, (*_COMMON, "query", "values"), kind)
        return Actors(str(source["query"]), as_object(source.get("values")))
    if kind not in _POINTS:
        raise invalid(f"The emulator does not list the actors of a {kind}.")
    reject_unknown_fields(source, _POINTS[kind], kind)
    insight = as_object(source.get("source"))
    if insight.get("kind") not in INSIGHT_ACTORS:
        raise invalid(f"The emulator does not list the actors of a {insight.get('kind')}.")
    return INSIGHT_ACTORS[str(insight["kind"])](session, insight, source)


@dataclass(frozen=True, slots=True)
class _Column:
    text: str
    sql: str
    """The placeholder of its expression."""
    name: str
    aggregates: bool

    @property
    def is_actor(self) -> bool:
        """Return whether the column holds objects of actors."""
        return self.text in {"actor", "person", "group"}


class _Listing:
    """A list of actors.

    Args:
        session: The session of the query.
        query: The query, with `select`, `search`, `properties`, `orderBy`, `limit`, `offset`.
        actors: Which actors; without a query, all of the type.
        columns: The columns if the query selects none; those of actors by default.
        kind: The value of the response's `kind`; None for a response without.
    """

    def __init__(
        self,
        session: QuerySession,
        query: Mapping[str, Any],
        actors: Actors,
        columns: Sequence[str] = (),
        kind: str | None = None,
    ) -> None:
        modifiers = as_object(query.get("modifiers"))
        reject_unknown_fields(modifiers, IGNORED_MODIFIERS, "modifiers")
        self.session, self.query, self.actors, self.kind = session, query, actors, kind
        self.group = actors.group_type_index
        self.table = "persons" if self.group is None else "groups"
        self.id = "id" if self.group is None else "key"
        self.values = Values(session)
        # Placeholders of the source are kept; those added later have numbers of their own.
        self.values.by_name.update(actors.values)
        default = columns or (("person", "id", "created_at") if self.group is None else ("group",))
        try:
            self.columns = [self._column(text) for text in _texts(query, "select") or default]
            self.sql = self._sql()
        except HogQLError as error:
            raise ApiError(error.status, code=error.code, detail=error.detail) from None

    def _column(self, text: str) -> _Column:
        bare = text.split("--")[0].strip()
        if bare in {"matched_recordings", "event_distinct_ids", "person_display_name"}:
            raise invalid(f"The emulator does not compute the column `{bare}` of actors.")
        written = {"actor": self.id, "person": self.id, "group": self.id, "id": self.id}.get(bare)
        if bare == "person.$delete":
            written = "1"
        if bare == "group_name":
            written = "coalesce(nullIf(properties.name, ''), key)"
        if bare == "event_count" and self.actors.sql:
            written = "any(source.event_count)"
        node = parse_expression(written or text)
        has_alias = node["node"] == "Alias"
        inner: Node = node["expr"] if has_alias else node
        name = node["alias"] if has_alias else bare
        # One person of a source is one row, whatever else is counted.
        aggregates = has_aggregate(inner) and bare != "event_count"
        return _Column(bare, self.values.add_node(inner), name, aggregates)

    def _sql(self) -> str:
        shown = ", ".join(column.sql for column in self.columns)
        sql = f"SELECT {shown} FROM {self.table}"  # noqa: S608
        if self.actors.sql:
            source = self.values.add(Expression(parse_select(self.actors.sql)))
            sql += (
                f" INNER JOIN {source} AS source "
                f"ON toString({self.table}.{self.id}) = toString(source.actor_id)"
            )
        tests = self._tests()
        if tests:
            sql += f" WHERE {' AND '.join(tests)}"
        totals = [column for column in self.columns if column.aggregates]
        counted = any(column.text == "event_count" for column in self.columns)
        groups = [
            column.sql
            for column in self.columns
            if not column.aggregates and column.text != "event_count"
        ]
        if (totals or counted) and groups:
            sql += f" GROUP BY {', '.join(groups)}"
        return f"{sql} ORDER BY {', '.join(self._order(totals))}"

    def _tests(self) -> list[str]:
        values, query, tests = self.values, self.query, list[str]()
        if self.group is not None:
            tests.append(f"groups.index = {int(self.group)}")
        for name in ("properties", "fixedProperties"):
            tests += property_tests(query.get(name), values, self.table)
        if query.get("filterTestAccounts"):
            tests += property_tests(self.session.test_account_filters, values, self.table)
        search = str(query.get("search") or "").strip()
        if search:
            text = values.add(f"%{search}%")
            places = ["properties.name", f"toString({self.id})"]
            places += ["properties.email"] if self.group is None else []
            matches = [f"{place} ILIKE {text}" for place in places]
            if self.group is None:
                names = "SELECT person_id FROM person_distinct_ids WHERE distinct_id ILIKE"
                matches.append(f"id IN ({names} {text})")
            tests.append(f"({' OR '.join(matches)})")
        return tests

    def _order(self, totals: Sequence[_Column]) -> list[str]:
        order_by = self.query.get("orderBy")
        if order_by is not None:
            orders = [parse_order(text) for text in _texts(self.query, "orderBy")]
            names = {column.name: column.sql for column in self.columns}
            return [
                f"{names.get(_name(order['expr'])) or self.values.add_node(order['expr'])} "
                f"{order['order']}"
                for order in orders
            ] or [self.columns[0].sql]
        counts = [column for column in self.columns if column.text == "count()"]
        for column in (
            *counts,
            *totals,
            *(column for column in self.columns if column.text == "created_at"),
        ):
            return [f"{column.sql} DESC"]
        return [f"{self.columns[0].sql} ASC"]

    def result(self) -> Result:
        """Return the response."""
        limit = self.query.get("limit")
        limit = min(_ROWS if limit is None else int(limit), _MOST)
        skipped = int(self.query.get("offset") or 0)
        if limit < 0 or skipped < 0:
            raise invalid("limit and offset must not be negative.")
        sql = Expression(parse_select(f"{self.sql} LIMIT {limit + 1} OFFSET {skipped}"))
        result = run_hogql(
            self.session, sql, self.values.by_name, allow_offset=True, max_rows=_MOST + 1
        )
        rows: list[list[Any]] = json.loads(result.rows)
        more, rows = len(rows) > limit, rows[:limit]
        for place, column in enumerate(self.columns):
            if column.is_actor:
                objects = self._objects({str(row[place]) for row in rows})
                for row in rows:
                    row[place] = objects.get(str(row[place]), {"id": row[place]})
        head: dict[str, Any] = {
            "columns": [column.name for column in self.columns],
            "types": [kind for _, kind in result.head["types"]],
            "hasMore": more, "limit": limit, "offset": skipped, "hogql": result.head["hogql"],
            "timings": [], "modifiers": {}, "error": None,
        }  # fmt: skip
        head |= {"kind": self.kind} if self.kind else {"missing_actors_count": 0}
        return Result(encode_json(rows), head, len(rows))

    def _objects(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the objects of actors by id."""
        store, team, ids = self.session.store(), self.session.team_id, sorted(ids)
        shown = "formatDateTime(created_at, '%Y-%m-%dT%H:%i:%S.%fZ')"
        if self.group is not None:
            rows = store.read(
                f"SELECT group_key, {shown}, group_properties FROM groups FINAL "  # noqa: S608
                "WHERE team_id = ? AND group_type_index = ? AND group_key IN ?",
                [team, self.group, ids],
            )
            return {
                key: {"id": key, "type": "group", "group_key": key, "created_at": at,
                      "group_type_index": self.group, "properties": json.loads(properties),
                      "group_properties": json.loads(properties)}
                for key, at, properties in rows
            }  # fmt: skip
        rows = store.read(
            f"SELECT toString(id), {shown}, properties, is_identified FROM person FINAL "  # noqa: S608
            "WHERE team_id = ? AND is_deleted = 0 AND toString(id) IN ?",
            [team, ids],
        )
        names: dict[str, list[str]] = {}
        for uuid, name in store.read(
            "SELECT toString(person_id), distinct_id FROM person_distinct_id2 FINAL "
            "WHERE team_id = ? AND is_deleted = 0 AND toString(person_id) IN ? "
            "ORDER BY distinct_id",
            [team, ids],
        ):
            names.setdefault(uuid, []).append(name)
        return {
            uuid: {"id": uuid, "created_at": at, "properties": json.loads(properties),
                   "is_identified": bool(identified), "distinct_ids": names.get(uuid, [])}
            for uuid, at, properties, identified in rows
        }  # fmt: skip


def _texts(query: Mapping[str, Any], name: str) -> list[str]:
    value: Any = query.get(name)
    return [str(item) for item in value] if is_array(value) else []


def _name(node: Node) -> str:
    """Return the name that an expression consists of; empty for any other."""
    chain: Any = node.get("chain")
    return str(chain[0]) if is_array(chain) and len(chain) == 1 else ""
