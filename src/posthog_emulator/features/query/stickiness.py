"""StickinessQuery: on how many intervals of a time range actors are active."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.hogql.parse import Node
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .dates import Period, bucket_sql, compared_period, query_period
from .entities import (
    Actor,
    Entity,
    actor_of,
    check_insight,
    common_node,
    event_tests,
    period_node,
    read_entities,
)
from .insight_results import Actors, all_rows, insight_result
from .properties import Values
from .result import Result
from .runner import QuerySession
from .unknown_fields import reject_unknown_fields

__all__ = ["run_stickiness", "stickiness_actors"]

_FIELDS: Final = ("series", "interval", "intervalCount", "compareFilter", "stickinessFilter")
_FILTER: Final = frozenset(
    {"chartStyle", "computedAs", "display", "hiddenLegendIndexes", "legendPosition",
     "resultCustomizationBy", "resultCustomizations", "showLegend", "showMultipleYAxes",
     "showValuesOnSeries", "stickinessCriteria"}
)  # fmt: skip
"""Fields of a StickinessFilter that are applied, or that affect only how it is displayed."""
_OPERATORS: Final = {"gte": ">=", "lte": "<=", "exact": "="}


def run_stickiness(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a StickinessQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return _Stickiness(session, query).result()


def stickiness_actors(
    session: QuerySession, query: Mapping[str, Any], point: Mapping[str, Any]
) -> Actors:
    """Return the actors who were active on a number of intervals.

    Args:
        session: The session of the query.
        query: The StickinessQuery.
        point: The `series`, `day` (the number of intervals) and `compare` of an
            InsightActorsQuery.

    Raises:
        ApiError: 400, there is no such data point.
    """
    return _Stickiness(session, query).actors(point)


class _Stickiness:
    def __init__(self, session: QuerySession, query: Mapping[str, Any]) -> None:
        check_insight(query, _FIELDS)
        settings = as_object(query.get("stickinessFilter"))
        reject_unknown_fields(settings, _FILTER, "StickinessQuery.stickinessFilter")
        self.session = session
        self.cumulative = settings.get("computedAs") == "cumulative"
        self.criteria = as_object(settings.get("stickinessCriteria"))
        self.size = int(query.get("intervalCount") or 1)
        self.common = common_node(session, query)
        self.entities = [
            entity for entity in read_entities(session, query) if not entity.is_deleted
        ]
        self.period = query_period(session, query)
        if self.period.unit == "week" and self.size > 1:
            raise invalid("The emulator does not group weeks: intervalCount must be 1.")
        self.previous = compared_period(session, query, self.period)

    def result(self) -> Result:
        """Return the response."""
        items: list[dict[str, Any]] = []
        for period in (self.period, self.previous):
            for entity in self.entities if period is not None else ():
                assert period is not None
                item = self._item(entity, period)
                if self.previous is not None:
                    label = "current" if period is self.period else "previous"
                    item |= {"compare": True, "compare_label": label}
                items.append(item)
        return insight_result(items, self.period, self.previous)

    def _item(self, entity: Entity, period: Period) -> dict[str, Any]:
        values = Values(self.session)
        sql = f"SELECT n, count() FROM ({self._counts(entity, period, values)}) GROUP BY n"  # noqa: S608
        rows = all_rows(self.session, sql, values)
        counts: dict[int, int] = {row[0]: row[1] for row in rows}
        days = list(range(1, -(-len(period.buckets()) // self.size) + 1))
        data = [counts.get(day, 0) for day in days]
        total = sum(data)
        if self.cumulative:
            data = [sum(data[n:]) for n in range(len(data))]
        more = " or more" if self.cumulative else ""
        return {
            "count": total,
            "data": data,
            "days": days,
            "label": entity.name,
            "labels": [f"{day} {period.unit}{'' if day == 1 else 's'}{more}" for day in days],
            "action": entity.action(),
        }

    def _actor(self, entity: Entity) -> Actor:
        if entity.math == "unique_group":
            return actor_of(entity.node.get("math_group_type_index") or 0)
        if entity.math == "hogql":
            return actor_of(hogql=entity.node.get("math_hogql"))
        if entity.math not in {"total", "dau"}:
            raise invalid(f"The emulator does not compute the math {entity.math!r} of stickiness.")
        return actor_of()

    def _counts(self, entity: Entity, period: Period, values: Values) -> str:
        """Return the query of actors and the number of intervals that each was active on."""
        actor = self._actor(entity)
        tests: list[Node] = [period_node(period), entity.condition, self.common, *actor.tests]
        bucket = bucket_sql(period.unit)
        if self.size > 1:
            # Intervals are grouped from the last one back.
            last = len(period.bucket_keys()) - 1
            place = f"indexOf({values.add(period.bucket_keys())}, {bucket}) - 1"
            bucket = f"intDiv({last} - ({place}), {self.size})"
        having = ""
        if self.criteria:
            operator = _OPERATORS[str(self.criteria["operator"])]
            having = f" HAVING count() {operator} {int(self.criteria['value'])}"
        inner = (
            f"SELECT {values.add_node(actor.node)} AS actor, {bucket} AS bucket FROM events "  # noqa: S608
            f"WHERE {event_tests(values, *tests)} GROUP BY actor, bucket{having}"
        )
        return f"SELECT actor, count() AS n FROM ({inner}) GROUP BY actor"  # noqa: S608

    def actors(self, point: Mapping[str, Any]) -> Actors:
        """Return the actors of a data point; see `stickiness_actors`."""
        order, day = int(point.get("series") or 0), point.get("day")
        period = self.previous if point.get("compare") == "previous" else self.period
        entity = next((entity for entity in self.entities if entity.order == order), None)
        if entity is None or period is None or not str(day).isdigit():
            raise invalid(f"The query has no data point {dict(point)}.")
        values = Values(self.session)
        counts = self._counts(entity, period, values)
        test = f"n {'>=' if self.cumulative else '='} {int(str(day))}"
        sql = f"SELECT actor AS actor_id FROM ({counts}) WHERE {test}"  # noqa: S608
        return Actors(sql, values.by_name, self._actor(entity).group_type_index)
