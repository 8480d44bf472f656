"""Ingest events: parse them, and update the persons, groups and definitions of a project."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from pydantic_core import to_json

from posthog_emulator.clickhouse.engine import Database
from posthog_emulator.event_store.groups import GroupStore
from posthog_emulator.event_store.persons import Person, PersonStore
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.timestamps import parse_micros, to_micros

from .property_types import PropertyTypes, Scope
from .tables import MAX_GROUP_TYPES

__all__ = ["Event", "NewDefinition", "ProjectEvents", "is_illegal_distinct_id", "parse_event"]


class Event(NamedTuple):
    """A parsed event, as the event store ingests it."""

    event: str
    distinct_id: str
    timestamp: int
    """Microseconds since 1970."""
    uuid: str
    properties: dict[str, Any]
    """Includes `$set` and `$set_once`."""
    process_person_profile: bool = True
    """Whether the event may create or change a person (`$process_person_profile`)."""


def parse_event(fields: Mapping[str, Any], default_uuid: str, default_timestamp: int) -> Event:
    """Parse an event that a user of the emulator gives as a dict.

    Args:
        fields: `event` (the name) and optionally `distinct_id`, `timestamp` (a `datetime` or
            ISO 8601 text), `uuid` and `properties`.
        default_uuid: Used if the event has no UUID.
        default_timestamp: Used if the event has no timestamp, in microseconds since 1970.

    Raises:
        ValueError: The name is missing or a field has the wrong type.
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
        # Serialized on trial: what cannot be JSON is to fail here, with the event's name in the
        # message, not later in a batch.
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
"""Microseconds between two updates of the `last_seen_at` of an event definition or of a person."""
_MERGE_EVENTS = frozenset({"$identify", "$create_alias", "$merge_dangerously"})
_PERSON_UPDATES = frozenset({"$set", "$set_once", "$unset"})
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
    """Return whether a distinct id is a placeholder such as `null`, `undefined` or `guest`.

    PostHog calls these illegal distinct ids. It creates no person for them and merges none,
    because clients send them by mistake for many different users.
    """
    stripped = distinct_id.strip()
    quoted = _QUOTES.match(stripped)
    return (quoted[2] if quoted else stripped).strip().lower() in _ILLEGAL_DISTINCT_IDS


@dataclass(frozen=True, slots=True)
class NewDefinition:
    """A new event name, property or group type; for events also a later `last_seen_at`."""

    team_id: int
    kind: Literal["event", "event_property", "person_property", "group_property", "group_type"]
    name: str
    seen_at: int
    property_type: str | None = None
    """For properties."""
    group_type_index: int | None = None
    """For group types."""


class ProjectEvents:
    """Persons, groups and property types of one project, updated by its events.

    Args:
        team_id: The project.
        database: The database of the event store.
        next_person_number: Returns the number (integer id) of the next person.
        next_version: Returns a number above all earlier ones.
        on_definition: Called with every new definition.
        has_persisted: Whether ClickHouse may already have persons of the project.
    """

    def __init__(
        self,
        team_id: int,
        database: Database,
        next_person_number: Callable[[], int],
        next_version: Callable[[], int],
        on_definition: Callable[[NewDefinition], None],
        *,
        has_persisted: bool,
    ) -> None:
        self.team_id = team_id
        self.persons = PersonStore(
            team_id, database, next_person_number, next_version, has_persisted=has_persisted
        )
        self.groups = GroupStore(team_id, database, next_version)
        self.property_types = PropertyTypes(team_id, database, self._on_property)
        if has_persisted:
            self.groups.load()
            self.property_types.load()
        self._on_definition = on_definition
        self._event_due: dict[str, int] = {}
        """The times from which on an event by this name updates its definition."""
        self._ingested_at = 0

    def ingest(self, events: Sequence[Event], now: int, last_number: int) -> list[Sequence[Any]]:
        """Apply events to persons, groups and definitions.

        Args:
            events: The events, at least one, in order of arrival.
            now: The time of arrival, in microseconds since 1970.
            last_number: The number of the event before these.

        Returns:
            The columns of their rows in the table `events`.
        """
        self._ingested_at = now
        names, distinct_ids, timestamps, uuids, properties, personal = zip(*events, strict=True)
        # What is rare is looked for once in a batch, and not in each event.
        present = set[str]().union(*properties)
        known = self.property_types.has_types("event", present)
        updated = not _PERSON_UPDATES.isdisjoint(present)
        self.persons.preload(set(distinct_ids))
        person_ids: list[str] = []
        groups: dict[int, tuple[str, ...]] = {}
        for number, event in enumerate(events):
            name, distinct_id, at, _, fields, is_personal = event
            if at >= self._event_due.get(name, at):
                self._record_event(name, at)
            if not known:
                self.property_types.record("event", fields)
            if is_personal:
                person = self._person(event)
                if updated and person is not None and name not in _WITHOUT_PERSON_UPDATES:
                    self._update_properties(person, fields)
            else:
                # Still attributed to the person of the distinct id, if it has one.
                person = self.persons.cached(distinct_id)
            person_ids.append(
                person.uuid if person else self.persons.anonymous_person_id(distinct_id)
            )
            if "$groups" in present and "$groups" in fields:
                groups[number] = self._group_columns(fields)
            if name == "$groupidentify":
                self._identify_group(fields, at)
        count = len(events)
        group_columns = (
            zip(*(groups.get(number, _NO_GROUPS) for number in range(count)), strict=True)
            if groups
            else [[""] * count] * MAX_GROUP_TYPES
        )
        return [
            [self.team_id] * count,
            uuids,
            names,
            distinct_ids,
            person_ids,
            timestamps,
            [now] * count,
            [to_json(fields, inf_nan_mode="null") for fields in properties],
            *(
                [_text(fields.get(name)) for fields in properties]
                if name in present
                else [""] * count
                for name in ("$elements_chain", "$session_id", "$window_id")
            ),
            *group_columns,
            ["full" if one else "propertyless" for one in personal],
            range(last_number + 1, last_number + 1 + count),
        ]

    def record_definition(self, name: str, at: int, properties: Mapping[str, Any]) -> None:
        """Record the definition of an event and of its properties."""
        if at >= self._event_due.get(name, at):
            self._record_event(name, at)
        self.property_types.record("event", properties)

    def _record_event(self, name: str, at: int) -> None:
        self._event_due[name] = at + _HOUR
        self._on_definition(NewDefinition(self.team_id, "event", name, at))

    def _person(self, event: Event) -> Person | None:
        """Return the person of an event, created if it is missing; None if it can have none."""
        people, distinct_id, at = self.persons, event.distinct_id, event.timestamp
        person = people.cached(distinct_id)
        if person is None and is_illegal_distinct_id(distinct_id):
            return None
        if event.event in _MERGE_EVENTS:
            person = self._merge(event)
        elif person is None:
            person = people.create(distinct_id, at)
        # By the hour, as on the server: otherwise every event would make the person dirty.
        if person.last_seen_at is None or at >= person.last_seen_at + _HOUR:
            people.mark_seen(person, at - at % _HOUR)
        return person

    def _merge(self, event: Event) -> Person:
        field = "$anon_distinct_id" if event.event == "$identify" else "alias"
        other_id = _text(event.properties.get(field))[:200]
        people, distinct_id = self.persons, event.distinct_id
        if not other_id or other_id == distinct_id or is_illegal_distinct_id(other_id):
            return people.find(distinct_id) or people.create(distinct_id, event.timestamp)
        force = event.event == "$merge_dangerously"
        return people.merge(other_id, distinct_id, event.timestamp, force=force)

    def _update_properties(self, person: Person, properties: Mapping[str, Any]) -> None:
        to_set, to_set_once = (
            as_object(properties.get("$set")),
            as_object(properties.get("$set_once")),
        )
        unset = properties.get("$unset")
        names = unset if is_array(unset) else [unset] if isinstance(unset, str) else []
        self.persons.update_properties(person, to_set, to_set_once, [str(name) for name in names])
        self.property_types.record("person", to_set)
        if to_set_once:
            self.property_types.record("person", to_set_once)

    def _group_columns(self, properties: dict[str, Any]) -> tuple[str, ...]:
        columns: list[str] = [*_NO_GROUPS]
        for kind, key in as_object(properties["$groups"]).items():
            index = self.ensure_group_type(kind)
            if index is not None and key is not None:
                columns[index] = properties[f"$group_{index}"] = _text(key)
        return tuple(columns)

    def _identify_group(self, properties: Mapping[str, Any], at: int) -> None:
        kind, key = properties.get("$group_type"), properties.get("$group_key")
        group_properties: Any = properties.get("$group_set", {})
        if not kind or key is None or not is_object(group_properties):
            return
        index = self.ensure_group_type(_text(kind))
        if index is not None:
            self.groups.identify(index, _text(key), group_properties, at)
            self.property_types.record("group", group_properties)

    def ensure_group_type(self, type: str) -> int | None:
        """Return the index of a group type, creating the type if it is missing.

        None if the project already has the maximum of five other types.
        """
        existing = self.groups.types.get(type)
        if existing is not None:
            return existing
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
        """Drop cached persons and reload groups after the tables were filled directly."""
        self.persons.evict_all()
        self.groups.load()

    @property
    def is_dirty(self) -> bool:
        """Whether there are changes that `flush` has not written yet."""
        return self.persons.is_dirty or self.groups.is_dirty or self.property_types.is_dirty

    def flush(self, now: int) -> None:
        """Write changed persons, groups and property types to ClickHouse.

        The caller must have inserted the events before: merges look at their persons.

        Args:
            now: The current time, in microseconds since 1970.
        """
        self.persons.flush()
        self.groups.flush(now)
        self.property_types.flush()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else to_json(value).decode()
