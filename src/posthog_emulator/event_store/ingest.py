"""One event in the form the store takes in, and how a plain dict becomes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

from pydantic_core import to_json

from posthog_emulator.event_store.groups import GroupStore
from posthog_emulator.event_store.persons import Person, PersonStore
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.timestamps import parse_micros, to_micros

from .property_types import PropertyTypes, Scope
from .tables import MAX_GROUP_TYPES

if TYPE_CHECKING:
    import duckdb

__all__ = ["Event", "NewDefinition", "ProjectEvents", "is_illegal_distinct_id", "parse_event"]


class Event(NamedTuple):
    """An event whose name, distinct id, time and UUID have been made out."""

    event: str
    distinct_id: str
    timestamp: int
    """Microseconds since 1970."""
    uuid: str
    properties: dict[str, Any]
    """With `$set` and `$set_once` inside."""
    process_person_profile: bool = True
    """Whether it may make and change a person."""


def parse_event(fields: Mapping[str, Any], default_uuid: str, default_timestamp: int) -> Event:
    """Read an event as users of the emulator write it.

    Args:
        given: `event`, and perhaps `distinct_id`, `timestamp` (a `datetime` or ISO 8601 text),
            `uuid`, `properties`.
        uuid: The UUID, when it has none.
        now: The time, when it has none.

    Raises:
        ValueError: The name is missing, or something is of another type.
    """
    name, at = fields.get("event"), fields.get("timestamp")
    if not isinstance(name, str) or not name:
        raise ValueError(f"an event needs a name in 'event', not {name!r}")
    properties: Any = fields.get("properties") or {}
    if not is_object(properties):
        raise ValueError(f"the properties of {name!r} must be a dict, not {properties!r}")
    event_uuid = str(fields.get("uuid") or default_uuid)
    try:
        event_uuid = str(UUID(event_uuid))
        to_json([name, fields.get("distinct_id"), properties], inf_nan_mode="null")
    except ValueError as error:
        raise ValueError(f"{name!r} cannot be an event: {error}") from None
    timestamp = (
        default_timestamp
        if at is None
        else to_micros(at)
        if isinstance(at, datetime)
        else parse_micros(str(at))
    )
    if timestamp is None:
        raise ValueError(f"the timestamp of {name!r} must be ISO 8601, not {at!r}")
    return Event(
        name,
        str(fields.get("distinct_id") or ""),
        timestamp,
        event_uuid,
        dict(properties),
        properties.get("$process_person_profile") is not False,
    )


_HOUR = 3_600_000_000
_MERGE_EVENTS = frozenset({"$identify", "$create_alias", "$merge_dangerously"})
_WITHOUT_PERSON_UPDATES = frozenset({"$exception", "$$heatmap"})
_NO_GROUPS: tuple[str, ...] = ("",) * MAX_GROUP_TYPES
_ILLEGAL_DISTINCT_IDS = frozenset(
    {
        "anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email",
        "undefined", "true", "false", "null", "none", "nan", "0", "[object object]", "nil", "",
        "00000000-0000-0000-0000-000000000000",
    }
)  # fmt: skip
_QUOTES = re.compile(r"""^(["'])(.*)\1$""", re.DOTALL)


def is_illegal_distinct_id(distinct_id: str) -> bool:
    """Whether a distinct id stands for nobody: `null`, `undefined`, `guest` and their like."""
    bare = distinct_id.strip()
    quoted = _QUOTES.match(bare)
    return (quoted[2] if quoted else bare).strip().lower() in _ILLEGAL_DISTINCT_IDS


@dataclass(frozen=True, slots=True)
class NewDefinition:
    """Something a project has not had before; of events, also that one has come again."""

    team_id: int
    kind: Literal["event", "event_property", "person_property", "group_property", "group_type"]
    name: str
    seen_at: int
    property_type: str | None = None
    """Of a property."""
    group_type_index: int | None = None
    """Of a group type."""


class ProjectEvents:
    """What events have brought about in one project.

    Args:
        team_id: The project.
        connection: Where it is kept.
        number: Gives the next person's number.
        found: Told of everything new.
        asleep: Whether DuckDB may have persons of it.
    """

    def __init__(
        self,
        team_id: int,
        connection: duckdb.DuckDBPyConnection,
        next_person_number: Callable[[], int],
        on_definition: Callable[[NewDefinition], None],
        *,
        has_persisted: bool,
    ) -> None:
        self.team_id = team_id
        self.persons = PersonStore(
            team_id, connection, next_person_number, has_persisted=has_persisted
        )
        self.groups = GroupStore(team_id, connection)
        self.property_types = PropertyTypes(team_id, connection, self._on_property)
        self._on_definition = on_definition
        self._event_seen_at: dict[str, int] = {}
        self._ingested_at = 0

    def ingest(self, events: Iterable[Event], now: int) -> list[tuple[Any, ...]]:
        """Let events happen.

        Args:
            events: The events, in the order they came.
            now: The moment they came.

        Returns:
            Their rows for the table `events`.
        """
        self._ingested_at = now
        batch = list(events)
        self.persons.preload({event.distinct_id for event in batch})
        return [self._row(event) for event in batch]

    def _row(self, event: Event) -> tuple[Any, ...]:
        name, distinct_id, timestamp, uuid, properties, personal = event
        self.record_definition(name, timestamp, properties)
        person_id = self._person_id(event) if personal else self._personless_id(distinct_id)
        groups = _NO_GROUPS
        if "$groups" in properties:
            groups = self._group_columns(properties)
        if name == "$groupidentify":
            self._identify_group(properties, timestamp)
        get = properties.get
        return (
            self.team_id,
            uuid,
            name,
            distinct_id,
            person_id,
            timestamp,
            self._ingested_at,
            to_json(properties, inf_nan_mode="null"),
            get("$elements_chain") or "",
            _text(get("$session_id")),
            _text(get("$window_id")),
            *groups,
        )

    def record_definition(self, name: str, at: int, properties: Mapping[str, Any]) -> None:
        """Take in that there is such an event, with such properties."""
        seen = self._event_seen_at.get(name)
        if seen is None or at >= seen + _HOUR:
            self._event_seen_at[name] = at
            self._on_definition(NewDefinition(self.team_id, "event", name, at))
        self.property_types.record("event", properties)

    def _personless_id(self, distinct_id: str) -> str:
        known = self.persons.cached(distinct_id)
        return known.uuid if known is not None else self.persons.anonymous_person_id(distinct_id)

    def _person_id(self, event: Event) -> str:
        people, distinct_id, properties = self.persons, event.distinct_id, event.properties
        person = people.cached(distinct_id)
        if person is None and is_illegal_distinct_id(distinct_id):
            return people.anonymous_person_id(distinct_id)
        if event.event in _MERGE_EVENTS:
            person = self._merge(event)
        elif person is None:
            person = people.create(distinct_id, event.timestamp)
        people.mark_seen(person, event.timestamp)
        if (
            "$set" in properties or "$set_once" in properties or "$unset" in properties
        ) and event.event not in _WITHOUT_PERSON_UPDATES:
            self._update_properties(person, properties)
        return person.uuid

    def _merge(self, event: Event) -> Person:
        field = "$anon_distinct_id" if event.event == "$identify" else "alias"
        other = _text(event.properties.get(field))[:200]
        people, own = self.persons, event.distinct_id
        if not other or other == own or is_illegal_distinct_id(other):
            return people.find(own) or people.create(own, event.timestamp)
        force = event.event == "$merge_dangerously"
        return people.merge(other, own, event.timestamp, force=force)

    def _update_properties(self, person: Person, properties: Mapping[str, Any]) -> None:
        given, once = as_object(properties.get("$set")), as_object(properties.get("$set_once"))
        unset = properties.get("$unset")
        names = unset if is_array(unset) else [unset] if isinstance(unset, str) else []
        self.persons.update_properties(person, given, once, [str(name) for name in names])
        self.property_types.record("person", given)
        if once:
            self.property_types.record("person", once)

    def _group_columns(self, properties: dict[str, Any]) -> tuple[str, ...]:
        columns: list[str] = [*_NO_GROUPS]
        for kind, key in as_object(properties["$groups"]).items():
            index = self.ensure_group_type(kind)
            if index is not None and key is not None:
                columns[index] = properties[f"$group_{index}"] = _text(key)
        return tuple(columns)

    def _identify_group(self, properties: Mapping[str, Any], at: int) -> None:
        kind, key = properties.get("$group_type"), properties.get("$group_key")
        given: Any = properties.get("$group_set", {})
        if not kind or key is None or not is_object(given):
            return
        index = self.ensure_group_type(_text(kind))
        if index is not None:
            self.groups.identify(index, _text(key), given, at)
            self.property_types.record("group", given)

    def ensure_group_type(self, type: str) -> int | None:
        """The index of a group type, which is made if need be; None: there are five others."""
        known = self.groups.types.get(type)
        if known is not None:
            return known
        index = self.groups.ensure_type(type)
        if index is not None:
            self._on_definition(
                NewDefinition(
                    self.team_id, "group_type", type, self._ingested_at, group_type_index=index
                )
            )
        return index

    def _on_property(self, scope: Scope, name: str, type: str | None) -> None:
        kinds: Mapping[str, Any] = {
            "event": "event_property",
            "person": "person_property",
            "group": "group_property",
        }
        if scope in kinds:
            self._on_definition(
                NewDefinition(self.team_id, kinds[scope], name, self._ingested_at, type)
            )

    def reload(self) -> None:
        """Forget what is known of DuckDB's tables, because they were filled directly."""
        self.persons.evict_all()
        self.groups.load()

    @property
    def is_dirty(self) -> bool:
        """Whether DuckDB is behind."""
        return self.persons.is_dirty or self.groups.is_dirty or self.property_types.is_dirty

    def flush(self) -> None:
        """Write to DuckDB what has changed; the events themselves are there already."""
        self.persons.flush()
        self.groups.flush()
        self.property_types.flush()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else to_json(value).decode()
