"""Fixtures: the methods of `Emulator` that create objects and events without a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import islice
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from asyncposthog.types import Id
from posthog_emulator.features.error_tracking.issues import assign_issue
from posthog_emulator.features.flags.overrides import UNSET, set_flag
from posthog_emulator.objects.routing import CollectionSpec

from .state import Change, fill_path

if TYPE_CHECKING:
    from posthog_emulator.demo.generate import DemoData

    from .state import EmulatorState

__all__ = ["EventFixtures", "ObjectFixtures"]

Fields = Mapping[str, Any]
_EVENTS: Final = "/api/projects/{}/events/"


_ABSENT = object()


class ObjectFixtures:
    """The methods of `Emulator` that create and list objects."""

    _lock: RLock

    @property
    def project_id(self) -> int:
        """The id of the account's project."""
        raise NotImplementedError

    @property
    def organization_id(self) -> str:
        """The UUID of the account's organization."""
        raise NotImplementedError

    @property
    def state(self) -> EmulatorState:
        """The state of the emulator."""
        raise NotImplementedError

    def _changed(self) -> None:
        """Schedule a save after a change of the state."""
        raise NotImplementedError

    def add(
        self,
        resource: str,
        fields: Fields | None = None,
        *,
        project_id: int | None = None,
        parents: Iterable[Id] = (),
    ) -> dict[str, Any]:
        """Create an object.

        Args:
            resource: The resource, such as `cohorts` or `error_tracking.issues`, or the id of a
                list operation, such as `cohorts.persons`.
            fields: Fields of the object, read-only ones included; the others get sample values.
            project_id: The project; the account's by default.
            parents: The ids of the parents of a nested object, the outermost first.

        Returns:
            The stored object: changing it changes what the emulator returns. For events, persons
            and groups, which are stored in the database, it is a copy.

        Raises:
            KeyError: The resource has no collection.
            ValueError: The number of `parents` is wrong.
        """
        with self._lock:
            collection = self._collection(resource)
            project = project_id if project_id is not None else self.project_id
            path = self._collection_path(collection.template, project, parents)
            in_project = collection.template.startswith("/api/projects/{}/")
            owner = project if in_project else None
            self._changed()
            state, values = self.state, dict(fields or {})
            if collection.template == _EVENTS and values.get("event") == "$exception":
                # As for captured exceptions, the stored event names its issue.
                values["properties"] = dict(values.get("properties") or {})
                seen_at = str(values.get("timestamp") or state.now())
                assign_issue(state, str(project), values["properties"], seen_at)
            row = state.insert(collection, path, values, owner)
            lifecycle = state.lifecycles.get(collection.template)
            if lifecycle is not None and in_project:
                # No request, so no rules; but a survey or an experiment makes its flags.
                lifecycle.created(Change(state, str(project), values, row))
            return row.data

    def seed(
        self,
        resource: str,
        count: int,
        make: Callable[[int], Fields] | Fields | None = None,
        *,
        project_id: int | None = None,
        parents: Iterable[Id] = (),
    ) -> list[dict[str, Any]]:
        """Create several objects.

        Args:
            resource: See `add`.
            count: The number of objects.
            make: The fields of all objects, or a function that returns them for an index from 0.
                `name`, `key` and `distinct_ids` are generated if the schema has them.
            project_id: See `add`.
            parents: See `add`.

        Returns:
            The stored objects.

        Raises:
            KeyError: The resource has no collection.
            ValueError: The number of `parents` is wrong.
        """
        with self._lock:
            declared = self.state.object_schemas.get(self._collection(resource)).properties
            # `parents` may be an iterator, and is needed for each object.
            parent_ids = tuple(parents)
            added: list[dict[str, Any]] = []
            for index in range(count):
                fields: dict[str, Any] = {
                    name: f"{resource.rpartition('.')[2]}-{index}"
                    for name in ("name", "key")
                    if name in declared
                }
                if "distinct_ids" in declared:
                    fields["distinct_ids"] = [f"person-{index}"]
                fields.update(make(index) if callable(make) else make or {})
                added.append(self.add(resource, fields, project_id=project_id, parents=parent_ids))
            return added

    def items(
        self, resource: str, *, project_id: int | None = None, parents: Iterable[Id] = ()
    ) -> list[dict[str, Any]]:
        """Return the objects of a collection in order of creation, soft-deleted ones included.

        Args:
            resource: See `add`.
            project_id: See `add`.
            parents: See `add`.

        Raises:
            KeyError: The resource has no collection.
            ValueError: The number of `parents` is wrong.
        """
        with self._lock:
            collection = self._collection(resource)
            project = project_id if project_id is not None else self.project_id
            path = self._collection_path(collection.template, project, parents)
            return [row.data for row in self.state.store.collection(path)]

    def set_flag(
        self,
        key: str,
        variant: str | None = None,
        *,
        enabled: bool = True,
        payload: Any = UNSET,
        distinct_id: str | None = None,
        project_id: int | None = None,
    ) -> dict[str, Any]:
        """Set the value of a feature flag, for all users or for one.

        Args:
            key: The key of the flag; the flag is created if it does not exist.
            variant: The variant; none by default.
            enabled: Whether the flag is on.
            payload: The payload of the value, for all users who get it; any JSON value.
            distinct_id: The distinct id of the user; all users by default.
            project_id: The project; the account's by default.

        Returns:
            The stored flag.

        Raises:
            ValueError: The flag is off, but a variant or a payload is given.
        """
        with self._lock:
            self._changed()
            return set_flag(
                self.state, project_id or self.project_id, key, variant,
                enabled=enabled, payload=payload, distinct_id=distinct_id,
            )  # fmt: skip

    def _collection(self, resource: str) -> CollectionSpec:
        collection = self.state.plans.find_collection(resource)
        if collection is None:
            raise KeyError(f"the emulator has no collection {resource!r}")
        return collection

    def _collection_path(self, template: str, project: int, parents: Iterable[Id]) -> str:
        owner: list[str] = []
        if template.startswith("/api/projects/{}/"):
            owner = [str(project)]
        elif template.startswith("/api/organizations/{}/"):
            owner = [self.organization_id]
        parent_ids = [str(parent) for parent in parents]
        expected = template.count("{}") - len(owner)
        if len(parent_ids) != expected:
            raise ValueError(
                f"{template} needs {expected} ids in `parents`, but got {len(parent_ids)}"
            )
        return fill_path(template, [*owner, *parent_ids])


class EventFixtures(ObjectFixtures):
    """The methods of `Emulator` that create and list events."""

    def captured(
        self,
        event: str | None = None,
        *,
        distinct_id: str | None = None,
        properties: Mapping[str, object] | None = None,
        count: int | None = None,
        project_id: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return captured events that match, and fail if there are none, or not so many.

        An application that captures in the background has to be flushed or closed before.

        Args:
            event: The name of the events.
            distinct_id: Their distinct id.
            properties: Properties that they have, with these values.
            count: How many there must be; None: at least one. 0: none.
            project_id: The project; the account's by default.

        Returns:
            The events, as `captured_events` does.

        Raises:
            AssertionError: Their number is another one. The message lists what was captured.
        """
        events = self.captured_events(event, distinct_id, project_id=project_id)
        wanted = dict(properties or {})
        matching = [
            found
            for found in events
            if all(found["properties"].get(name, _ABSENT) == wanted[name] for name in wanted)
        ]
        if len(matching) == count or (count is None and matching):
            return matching
        criteria = {"event": event, "distinct_id": distinct_id, "properties": properties}
        asked = ", ".join(f"{name}={value!r}" for name, value in criteria.items() if value)
        others = self.captured_events(project_id=project_id)
        listed = [f"{other['event']!r} of {other['distinct_id']!r}" for other in others[-20:]]
        expected = "at least one event" if count is None else f"{count} events"
        raise AssertionError(
            f"expected {expected} with {asked or 'anything'}, found {len(matching)}. "
            f"Captured: {', '.join(listed) or 'nothing'}"
        )

    def captured_events(
        self,
        event: str | None = None,
        distinct_id: str | None = None,
        *,
        project_id: int | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return the latest events that came in by a capture endpoint, in order of arrival.

        Args:
            event: Return only events with this name.
            distinct_id: Return only events with this distinct id.
            project_id: The project; the account's by default.
            limit: Return only this number of events, the latest.

        Returns:
            Dicts of `uuid`, `event`, `distinct_id`, `person_id` (after all merges until now),
            `timestamp` (an aware `datetime`) and `properties`; at most `history_size`.
        """
        from .timestamps import from_micros

        team_id = self.project_id if project_id is None else project_id
        with self._lock:
            store = self.state.events
            persons = store.project(team_id).persons
            events = [
                {
                    "uuid": captured.uuid,
                    "event": captured.event,
                    "distinct_id": captured.distinct_id,
                    "person_id": persons.person_id(captured.distinct_id),
                    "timestamp": from_micros(captured.timestamp),
                    "properties": captured.properties,
                }
                for captured in islice(store.recent(team_id, event, distinct_id), limit)
            ]
            return events[::-1]

    def captured_telemetry(
        self, signal: str | None = None, *, project_id: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the latest log records, spans and metrics of OpenTelemetry, in order of arrival.

        Args:
            signal: `logs`, `traces` or `metrics`; all by default.
            project_id: The project; the account's by default.

        Returns:
            Dicts of `signal`, `resource` (attributes such as `service.name`), `scope` (a name)
            and `record` (the fields of OTLP's JSON, with attributes and body as plain values); at
            most `history_size`.
        """
        from posthog_emulator.features.capture.otlp import telemetry_records

        team_id = self.project_id if project_id is None else project_id
        with self._lock:
            return [
                {
                    "signal": item.signal,
                    "resource": dict(item.resource),
                    "scope": item.scope,
                    "record": dict(item.record),
                }
                for item in telemetry_records(self.state)
                if item.project_id == team_id and signal in {None, item.signal}
            ]

    def add_demo_events(
        self,
        events: int = 100_000,
        *,
        days: int = 90,
        seed: int | None = None,
        until: datetime | None = None,
        duplicate_timestamps: float = 0.0,
        project_id: int | None = None,
    ) -> DemoData:
        """Generate the events of a fictional product: visitors, sign-ups, sessions, purchases.

        Persons and groups (companies) are generated as well. The same arguments generate the same
        events, byte by byte. After an error, none are stored.

        Args:
            events: The exact number of events.
            days: The number of days over which they are spread.
            seed: The seed of the generated data; that of the emulator by default.
            until: The time at which the events end; now by default.
            duplicate_timestamps: The approximate share of events that share their timestamp with
                another event, from 0 to 0.9.
            project_id: The project; the account's by default.

        Raises:
            ValueError: An argument is out of range, or the project already has this demo data.
        """
        # Imported here: ClickHouse is optional.
        from posthog_emulator.demo.generate import load
        from posthog_emulator.features.definitions import PERSONS

        with self._lock:
            state = self.state
            demo = load(
                state.events,
                self.project_id if project_id is None else project_id,
                events,
                days=days,
                seed=state.settings.seed if seed is None else seed,
                until=state.settings.clock() if until is None else until,
                duplicate_timestamps=duplicate_timestamps,
                last_person_id=state.store.last_ids[PERSONS],
            )
            state.store.last_ids[PERSONS] += demo.persons
            self._changed()
            return demo

    def add_demo_data(
        self,
        events: int = 10_000,
        *,
        days: int = 90,
        seed: int | None = None,
        until: datetime | None = None,
        duplicate_timestamps: float = 0.0,
        project_id: int | None = None,
    ) -> DemoData:
        """Generate demo events, and the feature flags, cohorts, insights and dashboard for them.

        See `add_demo_events` for the arguments and errors.
        """
        from posthog_emulator.demo.objects import create_demo_objects

        with self._lock:
            demo = self.add_demo_events(
                events,
                days=days,
                seed=seed,
                until=until,
                duplicate_timestamps=duplicate_timestamps,
                project_id=project_id,
            )
            create_demo_objects(self.add, project_id)
            return demo
