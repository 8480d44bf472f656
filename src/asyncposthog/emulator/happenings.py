"""What users of an emulator ask about events."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from asyncposthog.emulator.arranging import Arranging

if TYPE_CHECKING:
    from asyncposthog.emulator.demo.load import Demo

__all__ = ["Happenings"]


class Happenings(Arranging):
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
        from asyncposthog.emulator.events.moments import moment

        team_id = self.project_id if project_id is None else project_id
        with self._lock:
            store = self.world.events
            people = store.project(team_id).people
            return [
                {
                    "uuid": one.uuid,
                    "event": one.event,
                    "distinct_id": one.distinct_id,
                    "person_id": people.id_of(one.distinct_id),
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
        from asyncposthog.emulator.demo.load import load
        from asyncposthog.emulator.events.link import PERSONS

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
        from asyncposthog.emulator.demo.scenery import furnish

        with self._lock:
            made = self.demo(
                events, days=days, seed=seed, until=until, ties=ties, project_id=project_id
            )
            furnish(self, project_id)
            return made
