"""LifecycleQuery: new, returning, resurrecting and dormant actors of each interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from posthog_emulator.http.errors import invalid

from .dates import add_units, bucket_sql, parse_date, query_period, start_of
from .entities import actor_of, check_insight, common_node, event_tests, period_node, read_entities
from .insight_results import Actors, all_rows, insight_result, listed_actors
from .properties import Values
from .result import Result
from .runner import QuerySession
from .unknown_fields import reject_unknown_fields

__all__ = ["lifecycle_actors", "run_lifecycle"]

_FIELDS: Final = ("series", "interval", "lifecycleFilter", "aggregation_group_type_index")
_DISPLAY: Final = (
    "legendPosition", "showLegend", "showPercentagesOnSeries", "showValuesOnSeries", "stacked",
    "toggledLifecycles",
)  # fmt: skip
_STATUSES: Final = ("new", "returning", "resurrecting", "dormant")


def run_lifecycle(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a LifecycleQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return _Lifecycle(session, query).result()


def lifecycle_actors(
    session: QuerySession, query: Mapping[str, Any], point: Mapping[str, Any]
) -> Actors:
    """Return the actors who had a status in an interval.

    Args:
        session: The session of the query.
        query: The LifecycleQuery.
        point: The `day` and the `status` of an InsightActorsQuery.

    Raises:
        ApiError: 400, there is no such data point.
    """
    return _Lifecycle(session, query).actors(point)


class _Lifecycle:
    def __init__(self, session: QuerySession, query: Mapping[str, Any]) -> None:
        check_insight(query, _FIELDS)
        shown: Any = query.get("lifecycleFilter") or {}
        reject_unknown_fields(shown, _DISPLAY, "LifecycleQuery.lifecycleFilter")
        entities = read_entities(session, query)
        if len(entities) != 1:
            raise invalid("A lifecycle has one series.")
        self.entity = entities[0]
        if self.entity.is_deleted:
            raise invalid(f"Action ID {self.entity.id} does not exist!")
        self.session = session
        self.group = query.get("aggregation_group_type_index")
        self.actor = actor_of(self.group)
        self.common = common_node(session, query)
        self.period = query_period(session, query)

    def result(self) -> Result:
        """Return the response."""
        count = len(self.period.buckets())
        data = {status: [0.0] * count for status in _STATUSES}
        for _, place, status in self._statuses():
            data[status][place] += -1 if status == "dormant" else 1
        name = self.entity.name
        return insight_result(
            [
                {
                    "action": self.entity.action(),
                    "data": data[status],
                    "count": sum(data[status]),
                    "labels": self.period.labels(),
                    "days": self.period.days(),
                    "label": f"{name} - {status}",
                    "status": status,
                }
                for status in _STATUSES
            ],
            self.period,
        )

    def _statuses(self) -> Iterator[tuple[str, int, str]]:
        """Yield actor, interval and status."""
        keys, unit = self.period.bucket_keys(), self.period.unit
        before = add_units(self.period.first_bucket(), unit, -1)
        places = {int(before.timestamp()): -1, **{key: n for n, key in enumerate(keys)}}
        values = Values(self.session)
        wide = replace(self.period, start=before, exact=True)
        tests = [period_node(wide), self.entity.condition, self.common, *self.actor.tests]
        created = "person.created_at" if self.group is None else f"group_{self.group}.created_at"
        sql = (
            f"SELECT {values.add_node(self.actor.node)} AS actor, "  # noqa: S608
            f"groupUniqArray({bucket_sql(unit)}), {bucket_sql(unit, f'min({created})')} "
            f"FROM events WHERE {event_tests(values, *tests)} GROUP BY actor"
        )
        for actor, buckets, created_at in all_rows(self.session, sql, values):
            active = sorted(places[bucket] for bucket in buckets)
            active_set = set(active)
            for place in active:
                if place >= 0:
                    status = _status(place, active[0], active_set, places.get(created_at))
                    yield actor, place, status
                if place + 1 < len(keys) and place + 1 not in active_set:
                    yield actor, place + 1, "dormant"

    def actors(self, point: Mapping[str, Any]) -> Actors:
        """Return the actors of a data point; see `lifecycle_actors`."""
        period, point_status = self.period, point.get("status")
        at = start_of(
            parse_date(str(point.get("day")), period.start)[0], period.unit, period.week_start_day
        )
        key = int(at.timestamp())
        if key not in period.bucket_keys() or point_status not in _STATUSES:
            raise invalid(f"The query has no data point {dict(point)}.")
        place = period.bucket_keys().index(key)
        ids = [
            actor for actor, n, status in self._statuses() if (n, status) == (place, point_status)
        ]
        return listed_actors(self.session, ids, self.actor)


def _status(place: int, first: int, active: set[int], created: int | None) -> str:
    """Return the status of an actor in an interval that it was active in."""
    if place == first and place == created:
        return "new"
    return "returning" if place - 1 in active else "resurrecting"
