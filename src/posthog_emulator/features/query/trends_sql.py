"""HogQL of a series of trends: what it counts, by interval and value of the breakdown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from posthog_emulator.hogql.parse import Node, call, compare, constant, field
from posthog_emulator.hogql.property_filters import all_of
from posthog_emulator.http.errors import invalid

from .dates import Period, add_units, bucket_sql
from .entities import Actor, Entity, actor_of, event_tests, hogql_node, period_node
from .properties import Values
from .runner import QuerySession

__all__ = ["SeriesQuery"]


_AGGREGATES: Final = {
    **{name: name for name in ("avg", "sum", "min", "max")},
    "median": "quantile(0.5)",
    **{f"p{level}": f"quantile(0.{level})" for level in (75, 90, 95, 99)},
}
_PER_ACTOR: Final = "_count_per_actor"
_ACTIVE_DAYS: Final = {"weekly_active": 7, "monthly_active": 30}
_FIRST: Final = frozenset({"first_time_for_user", "first_matching_event_for_user"})


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """The query of one series in one time range."""

    session: QuerySession
    entity: Entity
    period: Period
    common: Node
    """The condition on the events of all series."""
    total: bool
    """Whether the whole time range is one interval."""
    cumulative: bool = False
    """Whether an actor counts in the first interval only."""

    def actor(self) -> Actor:
        """Return whom the series counts."""
        math = self.entity.math
        if math == "unique_group":
            return actor_of(self.entity.node.get("math_group_type_index") or 0)
        if math == "unique_session":
            return Actor(field("$session_id"))
        return actor_of()

    def conditions(self) -> Node:
        """Return the condition on the events, but for the time."""
        return all_of([self.entity.condition, self.common, *self.actor().tests])

    def tests(self) -> list[Node]:
        """Return all conditions on the events."""
        days = _ACTIVE_DAYS.get(self.entity.math)
        if days is None:
            return [period_node(self.period), self.conditions()]
        start = self.period.end if self.total else self.period.lower()
        start = (start - timedelta(days=days)).replace(microsecond=0)
        wide = replace(self.period, start=start, exact=True)
        return [period_node(wide), self.conditions()]

    def sql(self, values: Values, part: Node) -> str:
        """Return the query of rows of interval, value of the breakdown, and count.

        Args:
            values: The values of the query; those of the series are added.
            part: The value of the breakdown.

        Raises:
            ApiError: 400, the emulator does not compute the math.
        """
        math = self.entity.math
        if math in _FIRST:
            bucket = "0" if self.total else bucket_sql(self.period.unit, "first")
            return (
                f"SELECT {bucket} AS bucket, part, count() "  # noqa: S608
                f"FROM ({self._firsts(values, part)}) GROUP BY bucket, part"
            )
        bucket = "0" if self.total else bucket_sql(self.period.unit)
        if math in _ACTIVE_DAYS and not self.total:
            bucket = self._windows(values, _ACTIVE_DAYS[math])
        shown = f"{bucket} AS bucket, {values.add_node(part)} AS part"
        rows = f"FROM events WHERE {event_tests(values, *self.tests())}"
        if math.endswith(_PER_ACTOR):
            f = self._aggregate(math.removesuffix(_PER_ACTOR))
            inner = f"SELECT {shown}, count() AS n {rows} GROUP BY bucket, part, person_id"
            return f"SELECT bucket, part, {f}(n) FROM ({inner}) GROUP BY bucket, part"  # noqa: S608
        if math in _AGGREGATES and self.entity.node.get("math_property") == "$session_duration":
            f, duration = self._aggregate(math), "any(session.$session_duration) AS n"
            inner = f"SELECT {shown}, {duration} {rows} GROUP BY bucket, part, $session_id"
            return f"SELECT bucket, part, {f}(n) FROM ({inner}) GROUP BY bucket, part"  # noqa: S608
        if self.cumulative and math in {"dau", "unique_group"}:
            first = f"SELECT min(bucket) AS bucket, part, actor FROM (SELECT {shown}, "  # noqa: S608
            first += f"{values.add_node(self.actor().node)} AS actor {rows}) GROUP BY part, actor"
            return f"SELECT bucket, part, count() FROM ({first}) GROUP BY bucket, part"  # noqa: S608
        return f"SELECT {shown}, {self._measure(values)} {rows} GROUP BY bucket, part"

    def _aggregate(self, name: str) -> str:
        if name not in _AGGREGATES:
            raise invalid(f"The emulator does not compute the math {self.entity.math!r}.")
        return _AGGREGATES[name]

    def _measure(self, values: Values) -> str:
        math, node = self.entity.math, self.entity.node
        if math == "total":
            return "count()"
        if math in {"dau", "unique_session", "unique_group", *_ACTIVE_DAYS}:
            return f"count(DISTINCT {values.add_node(self.actor().node)})"
        if math == "hogql":
            return values.add_node(hogql_node(node.get("math_hogql")))
        if math in _AGGREGATES and node.get("math_property"):
            number = values.add_node(call("toFloat", self._property()))
            return f"ifNull({_AGGREGATES[math]}({number}), 0)"
        raise invalid(f"The emulator does not compute the math {math!r} of a series.")

    def _property(self) -> Node:
        name, kind = str(self.entity.node["math_property"]), self.entity.node.get(
            "math_property_type"
        )  # fmt: skip
        if name == "$time":
            return call("toUnixTimestamp", field("timestamp"))
        if kind == "person_properties":
            return field("person", "properties", name)
        if kind not in (None, "event_properties"):
            raise invalid(f"The emulator does not compute math of {kind}.")
        return field("properties", name)

    def _windows(self, values: Values, days: int) -> str:
        """Return the intervals that an event counts in: those whose window it lies in."""
        windows = [
            (
                key,
                add_units(at, "day", 1 - days),
                add_units(at, "day", 1),
            )
            for key, at in zip(self.period.bucket_keys(), self.period.buckets(), strict=True)
        ]
        condition = "timestamp > w.2 AND timestamp <= w.3"
        return f"arrayJoin(arrayFilter(w -> {condition}, {values.add(windows)})).1"

    def _firsts(self, values: Values, part: Node) -> str:
        """Return the query of the actors whose first event is in the time range."""
        entity = self.entity
        if entity.type == "groups":
            raise invalid(f"The emulator does not compute {entity.math} of a GroupNode.")
        upper = compare("<=", field("timestamp"), constant(self.period.upper()))
        since = compare(">=", field("timestamp"), constant(self.period.lower()))
        filters = values.add_node(self.conditions())
        matching = f"minIf(timestamp, {filters} AND {values.add_node(since)})"
        added = values.add_node(part)
        first, shown = "min(timestamp)", f"argMin({added}, timestamp)"
        if entity.math == "first_matching_event_for_user":
            first = f"minIf(timestamp, {filters})"
            shown = f"argMinIf({added}, timestamp, {filters})"
        return (
            f"SELECT person_id AS actor, {first} AS first, {shown} AS part, "  # noqa: S608
            f"countIf({filters} AND {values.add_node(since)}) AS n FROM events "
            f"WHERE {event_tests(values, upper, entity.base)} GROUP BY actor "
            f"HAVING n > 0 AND first = {matching}"
        )

    def actors(self, values: Values, extra: Node, bucket: int | None) -> str:
        """Return the query of the actors of a data point, with the numbers of their events.

        Args:
            values: The values of the query; those of the series are added.
            extra: A further condition on the events.
            bucket: The interval, in seconds since 1970; None for the whole time range.

        Raises:
            ApiError: 400, the emulator does not compute the math.
        """
        math = self.entity.math
        if math in _FIRST:
            inner = self._firsts(values, extra)
            firsts = f"SELECT actor AS actor_id, n AS event_count FROM ({inner})"  # noqa: S608
            if bucket is None:
                return f"{firsts} WHERE part"
            return f"{firsts} WHERE part AND {bucket_sql(self.period.unit, 'first')} = {bucket}"
        person = values.add_node((self.actor() if math == "unique_group" else actor_of()).node)
        rows = f"FROM events WHERE {event_tests(values, *self.tests(), extra)}"
        if bucket is None:
            return f"SELECT {person} AS actor_id, count() AS event_count {rows} GROUP BY actor_id"
        key = bucket_sql(self.period.unit)
        if math in _ACTIVE_DAYS:
            key = self._windows(values, _ACTIVE_DAYS[math])
        return (
            f"SELECT actor_id, count() AS event_count FROM (SELECT {person} AS actor_id, "  # noqa: S608
            f"{key} AS bucket {rows}) WHERE bucket = {bucket} GROUP BY actor_id"
        )
