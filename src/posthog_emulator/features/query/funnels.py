"""FunnelsQuery: how many actors do one step after another, and how long they take."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, median
from typing import Any, Final, NamedTuple

from posthog_emulator.hogql.parse import Node
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .breakdowns import Breakdown, cohort_name, cohort_node, read_breakdown
from .dates import parse_date, query_period
from .entities import (
    Entity,
    actor_of,
    check_insight,
    common_node,
    event_tests,
    hogql_node,
    period_node,
    read_entities,
    read_entity,
)
from .funnel_steps import Attempt, FunnelEvent, FunnelSteps
from .insight_results import Actors, all_rows, insight_result, listed_actors
from .properties import Values
from .result import Result
from .runner import QuerySession
from .unknown_fields import reject_unknown_fields

__all__ = ["EPOCH", "Funnel", "Journey", "funnel_actors", "run_funnels"]

EPOCH: Final = "toDateTime64('1970-01-01 00:00:00', 6, 'UTC')"
"""What times in microseconds count from, as HogQL."""
_DAY: Final = 86_400
_UNITS: Final = {
    "second": 1, "minute": 60, "hour": 3600, "day": _DAY, "week": 7 * _DAY, "month": 31 * _DAY,
}  # fmt: skip
_FIELDS: Final = (
    "series", "interval", "breakdownFilter", "funnelsFilter", "aggregation_group_type_index",
    "compareFilter",
)  # fmt: skip
_FILTER: Final = frozenset(
    {
        "binCount", "breakdownAttributionType", "breakdownAttributionValue", "breakdownSorting",
        "chartStyle", "exclusions", "funnelAggregateByHogQL", "funnelFromStep", "funnelOrderType",
        "funnelStepReference", "funnelToStep", "funnelVizType", "funnelWindowInterval",
        "funnelWindowIntervalUnit", "goalLines", "hiddenLegendBreakdowns", "layout",
        "legendPosition", "resultCustomizations", "showAnnotations", "showLegend",
        "showTrendLines", "showValuesOnSeries", "useUdf",
    }
)  # fmt: skip
"""Fields of a FunnelsFilter that are applied, or that affect only how the result is displayed."""
_OTHER: Final = "Other"
_FIRST_MATHS: Final = ("first_time_for_user", "first_time_for_user_with_filters")


class Journey(NamedTuple):
    """How far an actor got."""

    actor: str
    part: Any
    """The value of the breakdown."""
    attempt: Attempt


def run_funnels(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a FunnelsQuery.

    Raises:
        ApiError: 400, the query is invalid or uses something that is not supported.
    """
    return Funnel(session, query).result()


def funnel_actors(
    session: QuerySession, query: Mapping[str, Any], point: Mapping[str, Any]
) -> Actors:
    """Return the actors behind a data point of a funnel.

    Args:
        session: The session of the query.
        query: The FunnelsQuery.
        point: The fields of a FunnelsActorsQuery: `funnelStep` and `funnelStepBreakdown`, or
            `funnelTrendsEntrancePeriodStart` and `funnelTrendsDropOff`.

    Raises:
        ApiError: 400, there is no such data point.
    """
    return Funnel(session, query).actors(point)


class Funnel:
    """A funnel.

    Args:
        session: The session of the query.
        query: The FunnelsQuery.

    Raises:
        ApiError: 400, the query is invalid or uses something that is not supported.
    """

    def __init__(self, session: QuerySession, query: Mapping[str, Any]) -> None:
        check_insight(query, _FIELDS)
        settings = as_object(query.get("funnelsFilter"))
        reject_unknown_fields(settings, _FILTER, "FunnelsQuery.funnelsFilter")
        if as_object(query.get("compareFilter")).get("compare"):
            raise invalid("The emulator does not compare funnels with the period before.")
        self.session = session
        self.settings = settings
        self.entities = read_entities(session, query, ("optionalInFunnel",))
        self.kind = str(settings.get("funnelVizType") or "steps")
        unit = str(settings.get("funnelWindowIntervalUnit") or "day")
        self.window_seconds = int(settings.get("funnelWindowInterval") or 14) * _UNITS[unit]
        if len(self.entities) < 2:
            raise invalid("A funnel needs at least two steps.")
        for entity in self.entities:
            if entity.is_deleted:
                raise invalid(f"Action ID {entity.id} does not exist!")
        self.exclusions = [
            read_entity(session, as_object(exclusion), 0, ("funnelFromStep", "funnelToStep"))
            for exclusion in settings.get("exclusions") or ()
        ]
        self.steps = FunnelSteps(
            len(self.entities),
            self.window_seconds * 1_000_000,
            str(settings.get("funnelOrderType") or "ordered"),
            [
                (int(exclusion.node["funnelFromStep"]), int(exclusion.node["funnelToStep"]))
                for exclusion in self.exclusions
            ],
            self._optional(),
        )
        self._check_exclusions()
        self.first, self.last = self._range()
        self.period = query_period(session, query)
        hogql = settings.get("funnelAggregateByHogQL")
        self.actor = actor_of(
            query.get("aggregation_group_type_index"), None if hogql == "person_id" else hogql
        )
        self.common = common_node(session, query)
        self.breakdown = read_breakdown(session, query)
        self.attribution = str(settings.get("breakdownAttributionType") or "first_touch")
        self.attribution_step = int(settings.get("breakdownAttributionValue") or 0)
        if self.attribution == "step" and self.steps.order == "unordered" and self.attribution_step:
            raise invalid(
                "Only the first step can be used for breakdown attribution in unordered funnels"
            )

    def _optional(self) -> frozenset[int]:
        steps = frozenset(
            entity.order for entity in self.entities if entity.node.get("optionalInFunnel")
        )
        if 0 in steps:
            raise invalid("The first step of a funnel cannot be optional.")
        if steps and (self.settings.get("funnelOrderType") == "unordered" or self.kind != "steps"):
            raise invalid(
                "Optional steps are only supported in ordered and strict funnels of kind steps."
            )
        return steps

    def _check_exclusions(self) -> None:
        wrong, last = "Exclusion event range is invalid.", self.steps.count - 1
        for entity, (first, end) in zip(self.exclusions, self.steps.exclusions, strict=True):
            if self.steps.order == "unordered" and (first, end) != (0, last):
                raise invalid("Partial Exclusions not allowed in unordered funnels")
            if first >= end:
                raise invalid(f"{wrong} End of range should be greater than start.")
            if first < 0 or end > last:
                raise invalid(f"{wrong} End of range is greater than number of steps.")
            if any(step.condition == entity.condition for step in self.entities[first : end + 1]):
                raise invalid(
                    "Exclusion steps cannot contain an event that's part of funnel steps."
                )

    def _range(self) -> tuple[int, int]:
        """Return the steps, from 0, that a trend or a time to convert is between."""
        first, last = self.settings.get("funnelFromStep"), self.settings.get("funnelToStep")
        end = self.steps.count - 1
        if first is not None and not 0 <= first <= end - 1:
            raise invalid(f"funnelFromStep is out of bounds. It must be between 0 and {end - 1}.")
        if last is not None and not 1 <= last <= end:
            raise invalid(f"funnelToStep is out of bounds. It must be between 1 and {end}.")
        first, last = int(first or 0), end if last is None else int(last)
        if first >= last:
            raise invalid(
                "Funnel step range is invalid. funnelToStep should be greater than funnelFromStep."
            )
        return first, last

    def result(self) -> Result:
        """Return the response."""
        if self.kind == "trends":
            results: Any = self._trends()
        elif self.kind == "time_to_convert":
            results = self._time_to_convert()
        else:
            results = self._steps()
        return insight_result(results, self.period)

    # Events

    def journeys(self) -> Iterator[Journey]:
        """Yield how far each actor got, once for each of its values of the breakdown."""
        for actor, part, events, step in self._actors():
            attempt = self.steps.attempt(events, part, step)
            if attempt is not None:
                yield Journey(actor, part, attempt)

    def _actors(self) -> Iterator[tuple[str, Any, list[FunnelEvent], int | None]]:
        """Yield the events of each actor, once for each of its values of the breakdown.

        Each with the step whose event must have the value; None for no such step.
        """
        if self.breakdown is not None and self.breakdown.cohorts:
            for cohort in self.breakdown.cohorts:
                for actor, events in self._events(cohort_node(cohort), None):
                    yield actor, cohort, events, None
            return
        for actor, events in self._events(None, self.breakdown):
            if self.breakdown is None:
                yield actor, None, events, None
            elif self.attribution == "all_events":
                for part in _distinct(event.part for event in events):
                    yield actor, part, [event for event in events if event.part == part], None
            elif self.attribution == "step":
                bit = 1 << self.attribution_step
                parts = _distinct(event.part for event in events if event.mask & bit)
                for part in parts or [self._no_part()]:
                    yield actor, part, events, self.attribution_step
            else:
                touched = events if self.attribution == "first_touch" else events[::-1]
                parts = [event.part for event in touched if event.part != self._no_part()]
                yield actor, parts[0] if parts else self._no_part(), events, None

    def _no_part(self) -> Any:
        multiple = self.breakdown is not None and self.breakdown.is_multiple
        return ("",) * len(self.breakdown.properties) if multiple and self.breakdown else ""

    def _events(
        self, more: Node | None, breakdown: Breakdown | None
    ) -> Iterator[tuple[str, list[FunnelEvent]]]:
        """Yield the events of each actor in order."""
        values = Values(self.session)
        tests = [period_node(self.period), self.common, *self.actor.tests]
        tests += [] if more is None else [more]
        entities = [*self.entities, *self.exclusions]
        matches = [values.add_node(self._step_node(entity, values)) for entity in entities]
        where = event_tests(values, *tests)
        if self.steps.order != "strict":
            where += f" AND ({' OR '.join(matches)})"
        mask = " + ".join(f"if({match}, {1 << n}, 0)" for n, match in enumerate(matches))
        columns = f"dateDiff('microsecond', {EPOCH}, timestamp), {mask}"
        if breakdown is not None:
            columns += f", {values.add_node(breakdown.value(self.session, tests, ''))}"
        # Only a first step begins an attempt.
        having = "" if self.steps.order == "unordered" else f" HAVING countIf({matches[0]}) > 0"
        sql = (
            f"SELECT {values.add_node(self.actor.node)} AS actor, "  # noqa: S608
            f"arraySort(groupArray(tuple({columns}))) AS tuples "
            f"FROM events WHERE {where} GROUP BY actor{having}"
        )
        for actor, tuples in all_rows(self.session, sql, values):
            if breakdown is not None and breakdown.is_multiple:
                yield actor, [FunnelEvent(at, mask, tuple(part)) for at, mask, part in tuples]
            else:
                yield actor, [FunnelEvent(*event) for event in tuples]

    def _step_node(self, entity: Entity, values: Values) -> Node:
        """Return the condition on the events of a step."""
        name = entity.math
        if name == "total":
            return entity.condition
        if name not in _FIRST_MATHS:
            raise invalid(f"The emulator does not compute the math {name!r} of a step.")
        with_filters = name.endswith("with_filters")
        first = entity.condition if with_filters else entity.base
        sql = (
            "uuid IN (SELECT argMin(uuid, timestamp) FROM events "  # noqa: S608
            f"WHERE {event_tests(values, first)} GROUP BY person_id)"
        )
        return hogql_node(f"{sql} AND {values.add_node(entity.condition)}")

    # Results

    def _ranked(self, journeys: Sequence[Journey]) -> dict[Any, list[Journey]]:
        """Return the journeys by value of the breakdown; those of rare values together."""
        groups: dict[Any, list[Journey]] = {}
        for journey in journeys:
            groups.setdefault(journey.part, []).append(journey)
        if self.breakdown is None:
            return groups or {None: []}
        if self.breakdown.cohorts:
            return {cohort: groups.get(cohort, []) for cohort in self.breakdown.cohorts}
        counts = {part: self._counts(group) for part, group in groups.items()}
        ranked = sorted(groups, key=lambda part: ([-n for n in counts[part][::-1]], str(part)))
        ranking = {part: groups[part] for part in ranked[: self.breakdown.limit]}
        rest = [journey for part in ranked[self.breakdown.limit :] for journey in groups[part]]
        if rest and not self.breakdown.hide_other:
            ranking[(_OTHER,) * len(self.breakdown.properties)] = rest
        return ranking

    def _counts(self, journeys: Sequence[Journey]) -> list[int]:
        """Return how many actors did each step."""
        return [
            sum(
                step < journey.attempt.reached and journey.attempt.times[step] is not None
                for journey in journeys
            )
            for step in range(self.steps.count)
        ]

    def _part_fields(self, part: Any) -> dict[str, Any]:
        if self.breakdown is None:
            return {}
        if self.breakdown.cohorts:
            return {"breakdown": cohort_name(self.session, part), "breakdown_value": part}
        shown: list[Any] = [part]
        if isinstance(part, tuple):
            shown = [*part]  # pyright: ignore[reportUnknownVariableType]
        return {"breakdown": shown, "breakdown_value": shown}

    def _steps(self) -> list[Any]:
        groups = self._ranked(list(self.journeys()))
        results = [
            [
                self._item(entity, count, journeys) | self._part_fields(part)
                for entity, count in zip(self.entities, self._counts(journeys), strict=True)
            ]
            for part, journeys in groups.items()
        ]
        return results if self.breakdown is not None else results[0]

    def _item(self, entity: Entity, count: int, journeys: Sequence[Journey]) -> dict[str, Any]:
        order = entity.order
        times = [
            seconds
            for journey in journeys
            if (seconds := _seconds(journey.attempt, None, order)) is not None and seconds > 0
        ]
        item: dict[str, Any] = {
            "action_id": entity.id,
            "name": entity.name,
            "custom_name": entity.node.get("custom_name"),
            "order": order,
            "people": [],
            "count": count,
            "type": entity.type,
            "average_conversion_time": mean(times) if times else None,
            "median_conversion_time": median(times) if times else None,
            "converted_people_url": None,
            "dropped_people_url": None,
        }
        if self.steps.order == "unordered":
            plural = "" if order == 0 else "s"
            item |= {"action_id": None, "name": f"Completed {order + 1} step{plural}",
                     "custom_name": None}  # fmt: skip
        return item

    def _time_to_convert(self) -> dict[str, Any]:
        if self.breakdown is not None:
            raise invalid("The emulator does not break down the time to convert.")
        times = [
            seconds
            for journey in self.journeys()
            if (seconds := _seconds(journey.attempt, self.first, self.last)) is not None
        ]
        if not times:
            return {"bins": [], "average_conversion_time": None}
        count = self.settings.get("binCount")
        bins = min(60, max(1, math.ceil(round(len(times) ** (1 / 3), 9))))
        if count is not None:
            bins = min(90, max(1, int(count)))
        low = math.floor(min(times))
        width = math.ceil((max(times) - min(times)) / bins) or 60
        counts = [0] * (bins + 1)
        for seconds in times:
            counts[min(bins, int((seconds - low) // width))] += 1
        edges = [[low + n * width, persons] for n, persons in enumerate(counts)]
        return {"bins": edges, "average_conversion_time": mean(times)}

    # Trends

    def _entries(self) -> Iterator[tuple[str, Any, int, int]]:
        """Yield each actor's value of the breakdown, intervals it entered in, and step reached."""
        keys = [key * 1_000_000 for key in self.period.bucket_keys()]
        for actor, part, events, step in self._actors():
            for place, reached in self._reached(events, keys, part, step).items():
                if reached > self.first:
                    yield actor, part, place, reached

    def _reached(
        self, events: list[FunnelEvent], keys: Sequence[int], part: Any, part_step: int | None
    ) -> dict[int, int]:
        """Return by interval the furthest step of the attempts that began in it."""
        reached_steps: dict[int, int] = {}
        starts = {
            max(0, bisect_right(keys, event.at) - 1)
            for event in events
            if self.steps.first_steps(event)
        }
        times = [event.at for event in events]
        for place in sorted(starts):
            end = keys[place + 1] if place + 1 < len(keys) else times[-1] + 1
            first = 0 if place == 0 else bisect_left(times, keys[place])
            here = events[first : bisect_right(times, end + self.steps.window)]
            if self.steps.order != "unordered":
                attempts = [self.steps.attempt(here, part, part_step, end)]
            else:
                ahead = (
                    here[n : bisect_right(times, event.at + self.steps.window) - first]
                    for n, event in enumerate(here)
                    if event.at < end and self.steps.first_steps(event)
                )
                attempts = [self.steps.attempt(some, part, part_step) for some in ahead]
            reached_steps[place] = max(
                (attempt.reached for attempt in attempts if attempt is not None), default=0
            )
        return reached_steps

    def _trends(self) -> list[dict[str, Any]]:
        count = len(self.period.buckets())
        counts: dict[Any, tuple[list[int], list[int]]] = {}
        for _, part, place, reached in self._entries():
            entered, converted = counts.setdefault(part, ([0] * count, [0] * count))
            entered[place] += 1
            converted[place] += reached > self.last
        if self.breakdown is None and not counts:
            counts[None] = ([0] * count, [0] * count)
        ranked = sorted(counts, key=lambda part: (-sum(counts[part][0]), str(part)))
        limit = len(ranked) if self.breakdown is None else self.breakdown.limit
        return [
            {
                "count": count,
                "data": [
                    round(100 * done / entered, 2) if entered else 0
                    for entered, done in zip(*counts[part], strict=True)
                ],
                "days": self.period.days(),
                "labels": self.period.labels(),
                **{name: value for name, value in self._part_fields(part).items()
                   if name == "breakdown_value"},
            }
            for part in ranked[:limit]
        ]  # fmt: skip

    # Actors

    def actors(self, point: Mapping[str, Any]) -> Actors:
        """Return the actors of a data point; see `funnel_actors`."""
        chosen = self._trend_actors if self.kind == "trends" else self._step_actors
        return listed_actors(self.session, chosen(point), self.actor)

    def _breakdown_value(self, point: Mapping[str, Any]) -> Any:
        part = point.get("funnelStepBreakdown")
        if self.breakdown is None or part is None:
            return None
        if self.breakdown.is_multiple:
            return tuple(str(value) for value in part)
        part = part[0] if is_array(part) else part
        if self.breakdown.cohorts:
            return part if part == "all" else int(part)
        return str(part)

    def _trend_actors(self, point: Mapping[str, Any]) -> list[str]:
        start = str(point.get("funnelTrendsEntrancePeriodStart"))
        key = int(parse_date(start, self.period.start)[0].timestamp())
        keys, drop, breakdown_value = (
            self.period.bucket_keys(),
            point.get("funnelTrendsDropOff"),
            self._breakdown_value(point),
        )
        if key not in keys:
            raise invalid(f"The funnel has no period that starts at {start}.")
        return [
            actor
            for actor, part, place, reached in self._entries()
            if keys[place] == key and breakdown_value in (None, part)
            and (drop is None or (reached <= self.last) == bool(drop))
        ]  # fmt: skip

    def _step_actors(self, point: Mapping[str, Any]) -> list[str]:
        step = int(point.get("funnelStep") or 0)
        if step == 0 or step == -1 or abs(step) > self.steps.count:
            raise invalid(
                f"The funnel has no actors of funnelStep {step}: steps count from 1, drop-offs "
                "from -2."
            )
        breakdown_value = self._breakdown_value(point)
        groups = self._ranked(list(self.journeys()))
        if breakdown_value == _OTHER and self.breakdown is not None:
            breakdown_value = (_OTHER,) * len(self.breakdown.properties)
        chosen = [
            journey
            for part, journeys in groups.items()
            if breakdown_value in (None, part)
            for journey in journeys
        ]
        before = abs(step) - 2
        while before in self.steps.optional:
            before -= 1
        return [
            journey.actor
            for journey in chosen
            if (
                _did(journey.attempt, step - 1)
                if step > 0
                else _did(journey.attempt, before) and not _did(journey.attempt, -step - 1)
            )
        ]


def _did(attempt: Attempt, step: int) -> bool:
    return step < attempt.reached and attempt.times[step] is not None


def _distinct(parts: Iterator[Any]) -> list[Any]:
    return list(dict.fromkeys(parts))


def _seconds(attempt: Attempt, first: int | None, last: int) -> float | None:
    """Return the time between two steps; without a first one, from the step that came before."""
    if not _did(attempt, last):
        return None
    before = [at for at in attempt.times[:last] if at is not None]
    start = (before[-1] if before else None) if first is None else attempt.times[first]
    end = attempt.times[last]
    return None if start is None or end is None else (end - start) / 1_000_000
