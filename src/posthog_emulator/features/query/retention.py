"""RetentionQuery: actors who come back in the periods after the one they started in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from posthog_emulator.hogql.parse import Node, constant
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .breakdowns import OTHER_VALUE, cohort_node, read_breakdown
from .dates import Period, add_units, bucket_sql, local_now, parse_date, start_of
from .entities import (
    Entity,
    actor_of,
    check_insight,
    common_node,
    event_tests,
    period_node,
    read_entity,
)
from .insight_results import Actors, all_rows, insight_result, listed_actors
from .properties import Values
from .result import Result
from .runner import QuerySession
from .unknown_fields import reject_unknown_fields

__all__ = ["retention_actors", "run_retention"]

_FIELDS: Final = ("retentionFilter", "breakdownFilter", "aggregation_group_type_index")
_FILTER: Final = frozenset(
    {"chartStyle", "cumulative", "dashboardDisplay", "display", "goalLines",
     "meanRetentionCalculation", "minimumOccurrences", "period", "retentionReference",
     "retentionType", "returningEntity", "selectedInterval", "showTrendLines", "targetEntity",
     "totalIntervals"}
)  # fmt: skip
"""Fields of a RetentionFilter that are applied, or that affect only how the result is displayed."""
_DEFAULTS: Final[Mapping[str, Any]] = {
    "aggregationType": "count", "aggregationPropertyType": "event",
    "timeWindowMode": "strict_calendar_dates", "cohortLabelStartIndex": 0,
}  # fmt: skip
_ENTITY: Final = frozenset({"custom_name", "id", "kind", "name", "order", "properties", "type",
                            "uuid"})  # fmt: skip
_INTERVALS: Final = 7


class _Start(NamedTuple):
    """An actor in the row of a period that it started in."""

    actor: str
    part: Any
    row: int
    columns: frozenset[int]
    """The numbers of periods, from the first of the time range, that the actor came back in."""


def run_retention(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a RetentionQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return _Retention(session, query).result()


def retention_actors(
    session: QuerySession, query: Mapping[str, Any], point: Mapping[str, Any]
) -> Actors:
    """Return the actors of a row of retention.

    Args:
        session: The session of the query.
        query: The RetentionQuery.
        point: The `interval` (the row) and the `breakdown` of an InsightActorsQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return _Retention(session, query).actors(point)


class _Retention:
    def __init__(self, session: QuerySession, query: Mapping[str, Any]) -> None:
        check_insight(query, _FIELDS)
        settings = {
            name: value
            for name, value in as_object(query.get("retentionFilter")).items()
            if name not in _DEFAULTS or value != _DEFAULTS[name]
        }
        reject_unknown_fields(settings, _FILTER, "RetentionQuery.retentionFilter")
        span = as_object(query.get("dateRange"))
        reject_unknown_fields(span, ("date_from", "date_to", "explicitDate"), "dateRange")
        self.session = session
        self.unit = str(settings.get("period") or "Day").lower()
        # The API fills in 8 for a missing number; null counts as 7.
        self.columns = int(settings.get("totalIntervals", 8) or _INTERVALS)
        self.kind = str(settings.get("retentionType") or "retention_recurring")
        self.cumulative = bool(settings.get("cumulative"))
        self.occurrences = int(settings.get("minimumOccurrences") or 1)
        self.target = _entity(session, settings.get("targetEntity"))
        self.returning = _entity(session, settings.get("returningEntity"))
        self.actor = actor_of(query.get("aggregation_group_type_index"))
        self.common = common_node(session, query)
        self.breakdown = read_breakdown(session, query)
        self.start, self.end = self._range(span)
        self.period = Period(
            self.start, self.end - timedelta(microseconds=1), self.unit, session.week_start_day
        )
        self.rows = self.period.buckets()

    def _range(self, span: Mapping[str, Any]) -> tuple[datetime, datetime]:
        """Return the start of the first period, and the exclusive end of the last."""
        now, week = local_now(self.session), self.session.week_start_day
        last = now
        if span.get("date_to"):
            last = parse_date(str(span["date_to"]), now)[0]
        end = add_units(start_of(last, self.unit, week), self.unit, 1)
        if span.get("date_from") == "all":
            raise invalid("The emulator does not compute retention of all time.")
        if span.get("date_from"):
            first = parse_date(str(span["date_from"]), now)[0]
        else:
            first = add_units(end, self.unit, -self.columns)
        return start_of(first, self.unit, week), end

    def result(self) -> Result:
        """Return the response."""
        counts: dict[Any, list[list[int]]] = {}
        for start in self._starts():
            table = counts.setdefault(
                start.part, [[0] * self.columns for _ in range(len(self.rows))]
            )
            cells = table[start.row]
            later = [
                n - start.row for n in start.columns if start.row < n < start.row + self.columns
            ]
            if self.cumulative:
                later = range(1, max(later) + 1) if later else ()
            for column in {0, *later}:
                cells[column] += 1
        items: list[dict[str, Any]] = []
        for part, table in self._ranked(counts).items():
            for row, at in enumerate(self.rows):
                item: dict[str, Any] = {
                    "values": [
                        {"count": count, "label": self._label(column)}
                        for column, count in enumerate(table[row])
                    ],
                    "label": self._label(row),
                    "date": at.isoformat(),
                }
                items.append(item if part is None else {**item, "breakdown_value": part})
        return insight_result(items, self.period)

    def _label(self, number: int) -> str:
        return f"{self.unit.capitalize()} {number}"

    def _ranked(self, counts: Mapping[Any, list[list[int]]]) -> dict[Any, list[list[int]]]:
        """Return the tables by value of the breakdown; those of rare values as one."""
        if self.breakdown is None:
            empty = [[0] * self.columns for _ in range(len(self.rows))]
            return {None: counts.get(None, empty)}
        ranked = sorted(
            counts, key=lambda part: (-sum(cells[0] for cells in counts[part]), str(part))
        )
        if self.breakdown.cohorts:
            return {part: counts[part] for part in ranked}
        ranking = {part: counts[part] for part in ranked[: self.breakdown.limit]}
        rest = [counts[part] for part in ranked[self.breakdown.limit :]]
        if rest and not self.breakdown.hide_other:
            ranking[OTHER_VALUE] = [
                [sum(cells) for cells in zip(*rows, strict=True)]
                for rows in zip(*rest, strict=True)
            ]
        return ranking

    def _starts(self) -> Iterator[_Start]:
        """Yield each actor once for each row and value of the breakdown that it is in."""
        if self.breakdown is not None and self.breakdown.cohorts:
            for cohort in self.breakdown.cohorts:
                for start in self._starts_where(cohort_node(cohort)):
                    yield start._replace(part=cohort)
        else:
            yield from self._starts_where(constant(True))

    def _starts_where(self, more: Node) -> Iterator[_Start]:
        common = [self.common, *self.actor.tests, more]
        firsts = None if self.kind == "retention_recurring" else self._firsts(common)
        for actor, part, begun, back in self._activity(common):
            columns = frozenset(back)
            for row in begun:
                if row < len(self.rows) and (firsts is None or firsts.get(actor) == row):
                    yield _Start(actor, part, row, columns)

    def _activity(self, common: Sequence[Node]) -> Iterator[tuple[str, Any, list[int], list[int]]]:
        """Yield actor, value of the breakdown, and the periods of start and of return events."""
        # The periods after the last row are its columns.
        last = add_units(self.end, self.unit, self.columns - 1) - timedelta(microseconds=1)
        wide = replace(self.period, end=last)
        places = {key: place for place, key in enumerate(wide.bucket_keys())}
        values = Values(self.session)
        tests = [period_node(wide), *common]
        start, again = values.add_node(self.target.condition), values.add_node(
            self.returning.condition
        )  # fmt: skip
        part = "NULL"
        if self.breakdown is not None and not self.breakdown.cohorts:
            part = values.add_node(self.breakdown.value(self.session, tests, ""))
        inner = (
            f"SELECT {values.add_node(self.actor.node)} AS actor, {part} AS part, "  # noqa: S608
            f"{bucket_sql(self.unit)} AS bucket, countIf({start}) AS starts, "
            f"countIf({again}) AS returns FROM events WHERE {event_tests(values, *tests)} "
            f"AND ({start} OR {again}) GROUP BY actor, part, bucket"
        )
        sql = (
            "SELECT actor, part, groupArrayIf(bucket, starts > 0), "  # noqa: S608
            f"groupArrayIf(bucket, returns >= {self.occurrences}) "
            f"FROM ({inner}) GROUP BY actor, part"
        )
        for actor, value, begun, back in all_rows(self.session, sql, values):
            joined = "::".join(map(str, value)) if is_array(value) else value
            yield actor, joined, [places[key] for key in begun], [places[key] for key in back]

    def _firsts(self, common: Sequence[Node]) -> dict[str, int]:
        """Return the period that each actor's first start event is in, if it is in the range."""
        values = Values(self.session)
        ever = self.kind == "retention_first_ever_occurrence"
        # Of the first event ever, the filters must hold; otherwise the first that they hold of.
        entity = self.target.base if ever else self.target.condition
        holds = values.add_node(self.target.condition)
        sql = (
            f"SELECT {values.add_node(self.actor.node)} AS actor, "  # noqa: S608
            f"{bucket_sql(self.unit, 'min(timestamp)')} AS bucket, "
            f"argMin({holds}, timestamp) AS matches "
            f"FROM events WHERE {event_tests(values, *common, entity)} GROUP BY actor"
        )
        places = {key: place for place, key in enumerate(self.period.bucket_keys())}
        return {
            actor: places[bucket]
            for actor, bucket, matches in all_rows(self.session, sql, values)
            if matches and bucket in places
        }

    def actors(self, point: Mapping[str, Any]) -> Actors:
        """Return the actors of a row."""
        row, part = point.get("interval"), point.get("breakdown")
        part = "::".join(map(str, part)) if is_array(part) else part
        ids = [
            start.actor
            for start in self._starts()
            if start.row == int(row or 0) and (part is None or str(start.part) == str(part))
        ]
        return listed_actors(self.session, ids, self.actor)


def _entity(session: QuerySession, definition: Any) -> Entity:
    """Return the events of an entity of a RetentionFilter; page views by default."""
    definition = as_object(definition) or {"id": "$pageview", "type": "events"}
    reject_unknown_fields(definition, _ENTITY, "RetentionEntity")
    properties = definition.get("properties")
    if definition.get("type") == "actions":
        if not str(definition.get("id")).isdigit() or int(definition["id"]) not in session.actions:
            raise invalid(f"Action ID {definition.get('id')} does not exist!")
        node = {"kind": "ActionsNode", "id": int(definition["id"]), "properties": properties}
        return read_entity(session, node)
    if definition.get("type") not in (None, "events"):
        raise invalid(f"The emulator does not compute retention of {definition['type']}.")
    return read_entity(
        session, {"kind": "EventsNode", "event": definition.get("id"), "properties": properties}
    )
