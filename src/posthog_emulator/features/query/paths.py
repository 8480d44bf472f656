"""PathsQuery: what actors do one after another within a session."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from posthog_emulator.hogql.parse import Node, call, compare, constant, field
from posthog_emulator.hogql.property_filters import any_of
from posthog_emulator.json_types import as_object

from .breakdowns import cleaned_path
from .dates import query_period
from .entities import actor_of, check_insight, common_node, event_tests, hogql_node, period_node
from .funnels import EPOCH
from .insight_results import Actors, all_rows, insight_result, listed_actors
from .properties import Values
from .result import Result
from .runner import QuerySession
from .unknown_fields import reject_unknown_fields

__all__ = ["path_of", "paths_actors", "run_paths", "sessions_of"]

_FIELDS: Final = ("pathsFilter", "aggregation_group_type_index")
_FILTER: Final = frozenset(
    {"edgeLimit", "endPoint", "excludeEvents", "includeEventTypes", "localPathCleaningFilters",
     "maxEdgeWeight", "minEdgeWeight", "pathDropoffKey", "pathEndKey", "pathGroupings",
     "pathReplacements", "pathStartKey", "pathsHogQLExpression", "startPoint", "stepLimit"}
)  # fmt: skip
"""Fields of a PathsFilter that are applied; the keys name the actors to list."""
_GAP: Final = 1800 * 1_000_000
"""Microseconds without events that end a session."""
_ELLIPSIS: Final = "..."


class _Event(NamedTuple):
    at: int
    """Microseconds since 1970."""
    item: str


class _Edge(NamedTuple):
    source: str
    target: str


def run_paths(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a PathsQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return _Paths(session, query).result()


def paths_actors(
    session: QuerySession, query: Mapping[str, Any], point: Mapping[str, Any]
) -> Actors:
    """Return the actors on paths through the nodes that the filter names by its keys.

    Args:
        session: The session of the query.
        query: The PathsQuery; `pathStartKey`, `pathEndKey` and `pathDropoffKey` of its filter
            name a node such as `2_/about`.
        point: Not used.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return _Paths(session, query).actors()


class _Paths:
    def __init__(self, session: QuerySession, query: Mapping[str, Any]) -> None:
        check_insight(query, _FIELDS)
        settings = as_object(query.get("pathsFilter"))
        reject_unknown_fields(settings, _FILTER, "PathsQuery.pathsFilter")
        self.session = session
        self.settings = settings
        self.actor = actor_of(query.get("aggregation_group_type_index"))
        self.common = common_node(session, query)
        self.period = query_period(session, query)
        self.limit = int(settings.get("stepLimit") or 5)
        self.groupings = [
            (text, re.compile(".*".join(map(re.escape, text.split("*"))), re.S))
            for text in map(str, settings.get("pathGroupings") or [])
        ]

    def result(self) -> Result:
        """Return the response."""
        counts: dict[_Edge, int] = defaultdict(int)
        times: dict[_Edge, int] = defaultdict(int)
        for _, path in self._paths():
            nodes = _nodes(path)
            for n, (before, after) in enumerate(pairwise(path)):
                edge = _Edge(nodes[n], nodes[n + 1])
                counts[edge] += 1
                times[edge] += after.at - before.at
        least, most = self.settings.get("minEdgeWeight"), self.settings.get("maxEdgeWeight")
        edges = [
            edge
            for edge, count in counts.items()
            if (not least or count >= least) and (not most or count <= most)
        ]
        edges.sort(key=lambda edge: (-counts[edge], *edge))
        edges = _reachable(edges[: int(self.settings.get("edgeLimit") or 50)])
        return insight_result(
            [
                {
                    "source": edge.source,
                    "target": edge.target,
                    "value": counts[edge],
                    # Milliseconds.
                    "average_conversion_time": times[edge] / counts[edge] / 1000,
                }
                for edge in edges
            ],
            self.period,
        )

    def _paths(self) -> Iterator[tuple[str, list[_Event]]]:
        """Yield each actor with each of its paths."""
        start, end = self.settings.get("startPoint"), self.settings.get("endPoint")
        for actor, events in self._events():
            for visited in sessions_of(events):
                path = path_of(visited, start or None, end or None, self.limit)
                if path:
                    yield actor, path

    def _events(self) -> Iterator[tuple[str, list[_Event]]]:
        """Yield the events of each actor in order."""
        values = Values(self.session)
        item = self._item()
        tests = [period_node(self.period), self.common, self._types(), *self.actor.tests]
        if self.settings.get("excludeEvents"):
            excluded = constant(tuple(map(str, self.settings["excludeEvents"])))
            tests.append(compare("not in", item, excluded))
        column = f"tuple(dateDiff('microsecond', {EPOCH}, timestamp), {values.add_node(item)})"
        sql = (
            f"SELECT {values.add_node(self.actor.node)} AS actor, "  # noqa: S608
            f"arraySort(groupArray({column})) FROM events "
            f"WHERE {event_tests(values, *tests)} GROUP BY actor"
        )
        for actor, rows in all_rows(self.session, sql, values):
            yield actor, [_Event(at, self._grouped(item)) for at, item in rows]

    def _types(self) -> Node:
        """Return the condition that an event is of one of the types that are asked for."""
        tests: list[Node] = []
        for kind in map(str, self.settings.get("includeEventTypes") or ()):
            if kind == "custom_event":
                tests.append(
                    {"node": "Not", "expr": call("startsWith", field("event"), constant("$"))}
                )
            elif kind != "hogql":
                tests.append(compare("==", field("event"), constant(kind)))
        return any_of(tests)

    def _item(self) -> Node:
        """Return what an event shows as on a path."""
        url = call("replaceRegexpOne", field("properties", "$current_url"), constant("(.)/$"),
                   constant("\\1"))  # fmt: skip
        event = field("event")
        other = event
        if "hogql" in (self.settings.get("includeEventTypes") or []):
            other = hogql_node(self.settings.get("pathsHogQLExpression") or "event")
        item = call(
            "multiIf",
            compare("==", event, constant("$pageview")), url,
            compare("==", event, constant("$screen")), field("properties", "$screen_name"),
            call("toString", other),
        )  # fmt: skip
        item = call("ifNull", item, constant(""))
        if self.settings.get("pathReplacements"):
            item = cleaned_path(item, self.session.path_cleaning)
        return cleaned_path(item, self.settings.get("localPathCleaningFilters"))

    def _grouped(self, item: str) -> str:
        return next((text for text, pattern in self.groupings if pattern.fullmatch(item)), item)

    def actors(self) -> Actors:
        """Return the actors of the nodes that the filter names."""
        first, last = self.settings.get("pathStartKey"), self.settings.get("pathEndKey")
        dropped = self.settings.get("pathDropoffKey")
        actors: set[str] = set()
        for actor, path in self._paths():
            nodes = _nodes(path)
            if dropped:
                matches = nodes[-1] == dropped
            else:
                matches = (not first or first in nodes[:-1]) and (not last or last in nodes[1:])
            if matches:
                actors.add(actor)
        return listed_actors(self.session, actors, self.actor)


def sessions_of(events: Sequence[_Event]) -> Iterator[list[_Event]]:
    """Yield the events of each session; of repeated items, the last."""
    current: list[_Event] = []
    last = 0
    for event in events:
        if current and event.at - last >= _GAP:
            yield current
            current = []
        if current and current[-1].item == event.item:
            current[-1] = event
        else:
            current.append(event)
        last = event.at
    if current:
        yield current


def path_of(
    events: Sequence[_Event], start: str | None, end: str | None, limit: int
) -> list[_Event]:
    """Return the part of a session that is shown; empty if a point is missing.

    Args:
        events: The events of the session.
        start: The item that the path begins with.
        end: The item that it ends with.
        limit: The number of steps.
    """
    path = list(events)
    if start is not None:
        place = _place(path, start)
        if place is None:
            return []
        path = path[place:]
    if end is None:
        return path[:limit]
    place = _place(path, end)
    if place is None:
        return []
    path = path[: place + 1]
    if start is None:
        return path[-limit:]
    if len(path) <= limit:
        return path
    half = limit // 2
    middle = _Event(path[half].at, _ELLIPSIS)
    return [*path[:half], middle, *path[len(path) - half :]]


def _place(path: Sequence[_Event], item: str) -> int | None:
    # A URL is given with or without the slash at its end.
    items = {item, re.sub(r"(.)/$", r"\1", item)}
    return next((place for place, event in enumerate(path) if event.item in items), None)


def _nodes(path: Sequence[_Event]) -> list[str]:
    return [f"{number}_{event.item}" for number, event in enumerate(path, 1)]


def _reachable(edges: Sequence[_Edge]) -> list[_Edge]:
    """Return the edges that a first step leads to."""
    nodes = {edge.source for edge in edges if edge.source.startswith("1_")}
    # Each round goes one step further: sources of a step are targets of the step before.
    for edge in sorted(edges, key=lambda edge: int(edge.source.split("_", 1)[0])):
        if edge.source in nodes:
            nodes.add(edge.target)
    return [edge for edge in edges if edge.source in nodes]
