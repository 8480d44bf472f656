"""FunnelCorrelationQuery: events and properties that go with success or failure in a funnel."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from posthog_emulator.hogql.parse import Node, compare, constant, field
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .entities import event_tests, period_node, read_entity
from .funnels import EPOCH, Funnel
from .insight_results import Actors, all_rows, insight_result, listed_actors
from .properties import Values, property_tests
from .result import Result
from .runner import QuerySession
from .unknown_fields import reject_unknown_fields

__all__ = ["correlation_actors", "odds_ratio", "run_correlation"]

_FIELDS: Final = frozenset(
    {"kind", "version", "source", "funnelCorrelationType", "funnelCorrelationNames",
     "funnelCorrelationExcludeNames", "funnelCorrelationEventNames",
     "funnelCorrelationExcludeEventNames", "funnelCorrelationEventExcludePropertyNames"}
)  # fmt: skip
_SOURCE: Final = ("kind", "source", "version", "tags", "funnelStep", "includeRecordings")
_SHOWN: Final = 10
"""How many results are shown of success, and of failure."""
_MIN_PERSONS: Final = 25
_MIN_SHARE: Final = 0.02
_SKEWED: Final = 10
"""The ratio of the totals from which the result is called skewed."""


def run_correlation(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a FunnelCorrelationQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return _Correlation(session, query).result()


def odds_ratio(success: int, failure: int, successes: int, failures: int) -> float:
    """Return how much more likely success is with an event than without it.

    Args:
        success: The number of actors with the event who succeeded.
        failure: The number of actors with the event who failed.
        successes: The number of all actors who succeeded.
        failures: The number of all actors who failed.
    """
    # One is added to each number, so that nothing divides by zero.
    return ((success + 1) * (failures - failure + 1)) / ((successes - success + 1) * (failure + 1))


def correlation_actors(
    session: QuerySession, query: Mapping[str, Any], point: Mapping[str, Any]
) -> Actors:
    """Return the persons behind a result of a correlation.

    Args:
        session: The session of the query.
        query: The FunnelCorrelationQuery.
        point: The fields of a FunnelCorrelationActorsQuery: `funnelCorrelationPersonConverted`, and
            `funnelCorrelationPersonEntity` or `funnelCorrelationPropertyValues`.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return _Correlation(session, query).actors(point)


class _Correlation:
    def __init__(self, session: QuerySession, query: Mapping[str, Any]) -> None:
        reject_unknown_fields(query, _FIELDS, "FunnelCorrelationQuery")
        source = as_object(query.get("source"))
        reject_unknown_fields(source, _SOURCE, "FunnelsActorsQuery")
        self.session = session
        self.query = query
        self.funnel = Funnel(session, as_object(source.get("source")))
        if self.funnel.breakdown is not None:
            raise invalid("The emulator does not correlate funnels with a breakdown.")
        if self.funnel.actor.group_type_index is not None or self.funnel.actor.tests:
            raise invalid("The emulator correlates funnels of persons only.")
        count, window = self.funnel.steps.count, self.funnel.steps.window
        self.succeeded: set[str] = set()
        self.spans: dict[str, tuple[int, int]] = {}
        """The time of each person in the funnel, in microseconds; exclusive."""
        for journey in self.funnel.journeys():
            attempt = journey.attempt
            done = attempt.reached == count
            last = attempt.times[-1] if done else None
            end = attempt.start + window if last is None else last
            self.spans[journey.actor] = (attempt.start, end)
            if done:
                self.succeeded.add(journey.actor)

    def result(self) -> Result:
        """Return the response."""
        kind = self.query.get("funnelCorrelationType")
        successes = len(self.succeeded)
        failures = len(self.spans) - successes
        if not successes or not failures:
            return insight_result({"events": [], "skewed": True}, self.funnel.period)
        persons_by_name: dict[str, set[str]] = defaultdict(set)
        names = self._properties() if kind == "properties" else self._events(kind != "events")
        for name, person in names:
            persons_by_name[name].add(person)
        items = [self._item(name, persons, failures) for name, persons in persons_by_name.items()]
        least = min(_MIN_PERSONS, _MIN_SHARE * len(self.spans))
        items = [item for item in items if item["success_count"] + item["failure_count"] >= least]
        good = [item for item in items if item["correlation_type"] == "success"]
        bad = [item for item in items if item["correlation_type"] == "failure"]
        good.sort(key=lambda item: (-item["odds_ratio"], item["event"]["event"]))
        bad.sort(key=lambda item: (item["odds_ratio"], item["event"]["event"]))
        skewed = max(successes, failures) / min(successes, failures) > _SKEWED
        results = {"events": [*good[:_SHOWN], *bad[:_SHOWN]], "skewed": skewed}
        return insight_result(results, self.funnel.period)

    def _item(self, name: str, persons: set[str], failures: int) -> dict[str, Any]:
        success = len(persons & self.succeeded)
        failure = len(persons) - success
        ratio = odds_ratio(success, failure, len(self.succeeded), failures)
        return {
            "event": {"event": name, "properties": {}, "elements": []},
            "success_count": success,
            "failure_count": failure,
            "odds_ratio": ratio,
            "correlation_type": "success" if ratio > 1 else "failure",
        }

    def _texts(self, name: str) -> list[str]:
        return [str(text) for text in self.query.get(name) or ()]

    def _events(self, with_properties: bool) -> Iterator[tuple[str, str]]:
        """Yield names of events, with their properties if asked for, and persons who did them."""
        steps = [str(entity.id) for entity in self.funnel.entities if entity.type == "events"]
        excluded = (*steps, *self._texts("funnelCorrelationExcludeEventNames"))
        chosen = compare("not in", field("event"), constant(excluded))
        if with_properties:
            event_names = (*self._texts("funnelCorrelationEventNames"), "")
            chosen = compare("in", field("event"), constant(event_names))
        tests: list[Node] = [period_node(self.funnel.period), self.funnel.common, chosen]
        column = "properties" if with_properties else "''"
        without = set(self._texts("funnelCorrelationEventExcludePropertyNames"))
        for name, person, text in self._done("event", column, tests):
            if not with_properties:
                yield name, person
                continue
            for key, value in json.loads(text).items():
                if key not in without:
                    yield f"{name}::{key}::{_shown(value)}", person

    def _done(
        self, name: str, column: str, tests: Sequence[Node]
    ) -> Iterator[tuple[str, str, str]]:
        """Yield event, person, and further text, of what persons did while in the funnel."""
        values = Values(self.session)
        sql = (
            f"SELECT {name} AS name, person_id, {column} AS text, "  # noqa: S608
            f"arraySort(groupArray(dateDiff('microsecond', {EPOCH}, timestamp))) "
            f"FROM events WHERE {event_tests(values, *tests)} GROUP BY name, person_id, text"
        )
        for event, person, text, times in all_rows(self.session, sql, values):
            span = self.spans.get(person)
            if span is not None and _between(times, *span):
                yield event, person, text

    def actors(self, point: Mapping[str, Any]) -> Actors:
        """Return the persons of a result; see `correlation_actors`."""
        chosen = set(self.spans)
        if point.get("funnelCorrelationPersonEntity"):
            entity = read_entity(self.session, as_object(point["funnelCorrelationPersonEntity"]))
            tests = [period_node(self.funnel.period), self.funnel.common, entity.condition]
            chosen = {person for _, person, _ in self._done("''", "''", tests)}
        elif point.get("funnelCorrelationPropertyValues"):
            values = Values(self.session)
            property_filters = point["funnelCorrelationPropertyValues"]
            (test,) = property_tests(property_filters, values, "persons")
            rows = all_rows(self.session, f"SELECT id FROM persons WHERE {test}", values)  # noqa: S608
            chosen &= {row[0] for row in rows}
        converted = point.get("funnelCorrelationPersonConverted")
        if converted is not None:
            chosen = chosen & self.succeeded if converted else chosen - self.succeeded
        return listed_actors(self.session, chosen, self.funnel.actor)

    def _properties(self) -> Iterator[tuple[str, str]]:
        """Yield properties of persons with their values, and the persons who have them."""
        names = self._texts("funnelCorrelationNames")
        excluded = set(self._texts("funnelCorrelationExcludeNames"))
        rows = all_rows(self.session, "SELECT id, properties FROM persons", Values(self.session))
        for person, text in rows:
            if person not in self.spans:
                continue
            properties: dict[str, Any] = json.loads(text) if isinstance(text, str) else text
            for name in sorted(properties) if "$all" in names else names:
                if name in properties and name not in excluded:
                    yield f"{name}::{_shown(properties[name])}", person


def _between(times: Sequence[int], start: int, end: int) -> bool:
    place = bisect_right(times, start)
    return place < len(times) and times[place] < end


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
