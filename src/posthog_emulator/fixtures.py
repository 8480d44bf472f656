"""Objects that users put into an emulator themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from threading import RLock
from typing import TYPE_CHECKING, Any

from asyncposthog.types import Id
from posthog_emulator.features.flags.overrides import UNSET, set_flag
from posthog_emulator.objects.plans import Collection

from .state import fill

if TYPE_CHECKING:
    from posthog_emulator.demo.generate import Demo

    from .state import EmulatorState

__all__ = ["EventFixtures", "ObjectFixtures"]

Fields = Mapping[str, Any]


class ObjectFixtures:
    """What fills the collections without a request; a part of `Emulator`."""

    _lock: RLock

    @property
    def project_id(self) -> int:
        """The number of the account's project."""
        raise NotImplementedError

    @property
    def organization_id(self) -> str:
        """The UUID of the account's organization."""
        raise NotImplementedError

    @property
    def world(self) -> EmulatorState:
        """The state behind the application."""
        raise NotImplementedError

    def _changed(self) -> None:
        """Have the state written soon."""
        raise NotImplementedError

    def add(
        self,
        resource: str,
        fields: Fields | None = None,
        *,
        project_id: int | None = None,
        parents: Iterable[Id] = (),
    ) -> dict[str, Any]:
        """Put one object into a collection, read-only fields included if given.

        Args:
            resource: `cohorts`, `error_tracking.issues`, or the id of a listing: `cohorts.persons`.
            fields: What it is to hold; the rest is made up.
            project_id: The project; the account's by default.
            parents: Ids of the objects above a nested collection, outermost first.

        Returns:
            The object as it is kept: changing it changes what the emulator answers. Of events,
            persons and groups, which are in the database, it is a copy.

        Raises:
            KeyError: There is no such collection.
        """
        with self._lock:
            collection = self._collection(resource)
            project = project_id if project_id is not None else self.project_id
            address = self._address(collection.template, project, parents)
            in_project = collection.template.startswith("/api/projects/{}/")
            scope = project if in_project else None
            self._changed()
            return self.world.insert(collection, address, fields or {}, scope).data

    def seed(
        self,
        resource: str,
        count: int,
        make: Callable[[int], Fields] | Fields | None = None,
        *,
        project_id: int | None = None,
        parents: Iterable[Id] = (),
    ) -> list[dict[str, Any]]:
        """Put many objects into a collection.

        Args:
            resource: As for `add`.
            count: How many.
            make: Fields of all of them, or a function from the number (from 0) to its fields. A
                `name` and a `key` are made up where the schema has them.
            project_id: As for `add`.
            parents: As for `add`.
        """
        with self._lock:
            known = self.world.shapes.of(self._collection(resource)).properties
            above = tuple(parents)
            added: list[dict[str, Any]] = []
            for index in range(count):
                fields: dict[str, Any] = {
                    name: f"{resource.rpartition('.')[2]}-{index}"
                    for name in ("name", "key")
                    if name in known
                }
                if "distinct_ids" in known:
                    fields["distinct_ids"] = [f"person-{index}"]
                fields.update(make(index) if callable(make) else make or {})
                added.append(self.add(resource, fields, project_id=project_id, parents=above))
            return added

    def items(
        self, resource: str, *, project_id: int | None = None, parents: Iterable[Id] = ()
    ) -> list[dict[str, Any]]:
        """The objects of a collection, soft-deleted ones included, in order of creation."""
        with self._lock:
            collection = self._collection(resource)
            project = project_id if project_id is not None else self.project_id
            address = self._address(collection.template, project, parents)
            return [row.data for row in self.world.store.bucket(address)]

    def flag(
        self,
        key: str,
        variant: str | None = None,
        *,
        enabled: bool = True,
        payload: Any = UNSET,
        distinct_id: str | None = None,
        project_id: int | None = None,
    ) -> dict[str, Any]:
        """Make a feature flag have a value, for everybody or for one person.

        Args:
            key: The flag's key; the flag is made if need be.
            variant: The variant; none by default.
            enabled: Whether it is on.
            payload: What goes with the value, whoever gets it; anything JSON.
            distinct_id: Whom it is for; everybody by default.
            project_id: The project; the account's by default.

        Returns:
            The flag as it is kept.

        Raises:
            ValueError: A variant or a payload of a flag that is off.
        """
        with self._lock:
            self._changed()
            return set_flag(
                self.world, project_id or self.project_id, key, variant,
                enabled=enabled, payload=payload, distinct_id=distinct_id,
            )  # fmt: skip

    def _collection(self, resource: str) -> Collection:
        collection = self.world.plans.named(resource)
        if collection is None:
            raise KeyError(f"the emulator has no collection {resource!r}")
        return collection

    def _address(self, template: str, project: int, parents: Iterable[Id]) -> str:
        root: list[str] = []
        if template.startswith("/api/projects/{}/"):
            root = [str(project)]
        elif template.startswith("/api/organizations/{}/"):
            root = [self.organization_id]
        above = [str(parent) for parent in parents]
        wanted = template.count("{}") - len(root)
        if len(above) != wanted:
            things = "object" if wanted == 1 else "objects"
            raise ValueError(
                f"{template} has {wanted} {things} above it, to be named in `parents`; "
                f"{len(above)} were"
            )
        return fill(template, [*root, *above])


class EventFixtures(ObjectFixtures):
    """Events that an application sent, or that were made up; a part of `Emulator`."""

    def captured(
        self,
        event: str | None = None,
        distinct_id: str | None = None,
        *,
        project_id: int | None = None,
    ) -> list[dict[str, Any]]:
        """The latest events that came in by a capture endpoint, in the order they came.

        Args:
            event: Only those of this name.
            distinct_id: Only those of this distinct id.
            project_id: Only those of this project; the account's own by default.

        Returns:
            Dicts of `uuid`, `event`, `distinct_id`, `person_id` (after all merges so far),
            `timestamp` (an aware `datetime`) and `properties`; as many as the emulator keeps.
        """
        from .timestamps import moment

        team_id = self.project_id if project_id is None else project_id
        with self._lock:
            store = self.world.events
            people = store.project(team_id).persons
            return [
                {
                    "uuid": one.uuid,
                    "event": one.event,
                    "distinct_id": one.distinct_id,
                    "person_id": people.person_id(one.distinct_id),
                    "timestamp": moment(one.timestamp),
                    "properties": one.properties,
                }
                for team, one in store.recent
                if team == team_id
                and (event is None or one.event == event)
                and (distinct_id is None or one.distinct_id == distinct_id)
            ]

    def demo(
        self,
        events: int = 100_000,
        *,
        days: int = 90,
        seed: int | None = None,
        until: datetime | None = None,
        ties: float = 0.0,
        project_id: int | None = None,
    ) -> Demo:
        """Make up the history of a product: visitors, sign-ups, sessions, purchases, companies.

        All of it, or nothing. The same arguments make the same events, to the byte.

        Args:
            events: How many events, exactly.
            days: Over how many days.
            seed: Another number makes another product; that of the emulator by default.
            until: When it ends; now by default.
            ties: About which part of the events is to share its timestamp with another.
            project_id: The project; the account's own by default.

        Raises:
            ValueError: An argument is out of its range, or the project has this demo already.
        """
        from posthog_emulator.demo.generate import load
        from posthog_emulator.features.definitions import PERSONS

        with self._lock:
            world = self.world
            made = load(
                world.events,
                self.project_id if project_id is None else project_id,
                events,
                days=days,
                seed=world.settings.seed if seed is None else seed,
                until=world.settings.clock() if until is None else until,
                ties=ties,
                number=world.store.numbers[PERSONS],
            )
            world.store.numbers[PERSONS] += made.persons
            self._changed()
            return made

    def populate(
        self,
        events: int = 10_000,
        *,
        days: int = 90,
        seed: int | None = None,
        until: datetime | None = None,
        ties: float = 0.0,
        project_id: int | None = None,
    ) -> Demo:
        """Make a project as a team of the demo's product would have it.

        The events of `demo`, whose arguments these are, and beside them feature flags, cohorts,
        insights and a dashboard.
        """
        from posthog_emulator.demo.objects import create_demo_objects

        with self._lock:
            made = self.demo(
                events, days=days, seed=seed, until=until, ties=ties, project_id=project_id
            )
            create_demo_objects(self.add, project_id)
            return made
