"""What users of an emulator ask about events."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncposthog.emulator.world import World

__all__ = ["Happenings"]


class Happenings:
    """Events that an application sent; a part of `Emulator`."""

    _lock: RLock

    @property
    def project_id(self) -> int:
        """The number of the account's project."""
        raise NotImplementedError

    @property
    def world(self) -> World:
        """The state behind the application."""
        raise NotImplementedError

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
