"""Events and properties as HogQL, with every name and value in a placeholder. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias, cast

from .periods import BUCKET_SQL, Buckets, Interval, Period

__all__ = ["Event", "EventLike", "QueryBuilder", "Scalar", "as_event", "as_events"]

Scalar: TypeAlias = str | int | float | bool
PERSON_PREFIX: Final = "person."


@dataclass(frozen=True, slots=True)
class Event:
    """Events of a name, optionally only those with given properties.

    `Event("paid", {"plan": "team"}, label="Paid for a team")`.
    """

    event: str
    """The name of the event."""
    properties: Mapping[str, Scalar | Sequence[str]] = field(default_factory=dict[str, Scalar])
    """Required values of its properties; a list of texts means any of them. The name
    `person.plan` is the property `plan` of the person."""
    label: str = ""
    """The name in tables and charts; the event's by default."""

    def __post_init__(self) -> None:
        """Validate the fields."""
        if not isinstance(cast("object", self.event), str) or not self.event:
            raise ValueError(f"an event is a name that is not empty, not {self.event!r}")
        object.__setattr__(self, "properties", MappingProxyType(dict(self.properties)))

    def __str__(self) -> str:
        """Return the label, or else the name and the properties."""
        if self.label:
            return self.label
        pairs = [f"{name}={_shown(value)}" for name, value in self.properties.items()]
        return f"{self.event} ({', '.join(pairs)})" if pairs else self.event

    def __reduce__(self) -> tuple[type[Event], tuple[object, ...]]:
        """Return the parts for pickle and copy, which a read-only mapping has none of."""
        return Event, (self.event, dict(self.properties), self.label)


EventLike: TypeAlias = str | Event
"""The name of an event, or an `Event`."""


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return "|".join(str(item) for item in cast("Sequence[object]", value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_event(event: EventLike) -> Event:
    """Return an event that may be given as its name."""
    return event if isinstance(event, Event) else Event(event)


def as_events(events: EventLike | Sequence[EventLike], name: str = "events") -> tuple[Event, ...]:
    """Return one or more events, which have different labels.

    Raises:
        ValueError: There is none, or two have the same label.
    """
    single = isinstance(events, str | Event)
    given = [as_event(events)] if single else [as_event(event) for event in events]
    if not given:
        raise ValueError(f"{name} must have at least one event")
    labels = [str(event) for event in given]
    repeated = next((label for label in labels if labels.count(label) > 1), None)
    if repeated is not None:
        raise ValueError(f"{name} has {repeated!r} twice: give them different labels")
    return tuple(given)


class QueryBuilder:
    """The values of a query. Each `bind` returns a placeholder to write into the HogQL."""

    def __init__(self) -> None:
        """Start without values."""
        self.values: dict[str, object] = {}
        self._names: dict[tuple[type, object], str] = {}

    def copy(self) -> QueryBuilder:
        """Return a builder with the same values, for a second query with a part of this one."""
        other = QueryBuilder()
        other.values, other._names = dict(self.values), dict(self._names)
        return other

    def bind(self, value: Scalar | datetime | Sequence[str] | Sequence[float]) -> str:
        """Return a placeholder for a value; equal values share one."""
        hashable = value if isinstance(value, str | int | float | datetime) else tuple(value)
        key = (type(value), hashable)
        if key not in self._names:
            self._names[key] = f"v{len(self._names)}"
            self.values[self._names[key]] = value
        return f"{{{self._names[key]}}}"

    def property(self, name: str) -> str:
        """Return a property of an event, or of its person if the name begins with `person.`."""
        if not isinstance(cast("object", name), str) or name in {"", PERSON_PREFIX}:
            raise ValueError(f"a property is a name that is not empty, not {name!r}")
        if name.startswith(PERSON_PREFIX):
            return f"person.properties[{self.bind(name.removeprefix(PERSON_PREFIX))}]"
        return f"properties[{self.bind(name)}]"

    def equals(self, name: str, value: Scalar | Sequence[str]) -> str:
        """Return a condition: a property has a value, or one of several texts."""
        actual = self.property(name)
        if isinstance(value, bool):
            return f"toString({actual}) = {self.bind('true' if value else 'false')}"
        if isinstance(value, int | float):
            return f"toFloat({actual}) = {self.bind(value)}"
        if isinstance(value, str):
            return f"toString({actual}) = {self.bind(value)}"
        texts = list(value)
        if not texts or not all(isinstance(cast("object", text), str) for text in texts):
            raise TypeError(f"the values of {name!r} must be a list of texts that is not empty")
        return f"toString({actual}) IN {self.bind(texts)}"

    def matches(self, event: Event) -> str:
        """Return a condition: an event is one of these."""
        parts = [f"event = {self.bind(event.event)}"]
        parts += [self.equals(name, value) for name, value in event.properties.items()]
        return f"({' AND '.join(parts)})"

    def during(self, period: Period) -> str:
        """Return a condition: an event is in a period."""
        start, end = self.bind(period.start), self.bind(period.end)
        return f"timestamp >= {start} AND timestamp < {end}"

    def index(self, buckets: Buckets, time: str, name: str) -> str:
        """Return columns, the last of which is the number of the bucket of a time.

        The first bucket is 0; earlier ones are negative. In columns of their own, because the time
        of HogQL's parser grows fast with calls inside of calls.
        """
        first = self.bind(buckets.starts[0].isoformat())
        return (
            f"{self.bucket(buckets.interval, buckets.zone, time)} AS {name}_day, "
            f"dateDiff('{buckets.interval}', toDate({first}), {name}_day) AS {name}_number, "
            f"assumeNotNull({name}_number) AS {name}"
        )

    def bucket(self, interval: Interval, zone: str, time: str = "timestamp") -> str:
        """Return the first day of the bucket of a time."""
        return BUCKET_SQL[interval].format(time=time, zone=self.bind(zone))
