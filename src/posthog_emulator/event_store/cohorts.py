"""The members of cohorts: calculated ones, and those of static cohorts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import RLock

from posthog_emulator.clickhouse.engine import Database
from posthog_emulator.clickhouse.inserts import insert

from .tables import COLUMNS

__all__ = ["CohortStore"]


class CohortStore:
    """The members of the cohorts of all projects, by the UUIDs of persons.

    Args:
        database: The database.
        lock: The lock of the event store.
        next_version: Returns a number above all earlier ones.
    """

    def __init__(self, database: Database, lock: RLock, next_version: Callable[[], int]) -> None:
        self._database = database
        self._lock = lock
        self._next_version = next_version
        self._versions: dict[tuple[int, int], int] | None = None

    def versions(self, team_id: int) -> dict[int, int]:
        """Return the version of the latest calculation of each dynamic cohort of a project."""
        with self._lock:
            return {
                cohort: version
                for (team, cohort), version in self._load_versions().items()
                if team == team_id
            }

    def replace_members(self, team_id: int, cohort_id: int, uuids: Iterable[str]) -> None:
        """Replace the members of a dynamic cohort."""
        with self._lock:
            versions, version = self._load_versions(), self._next_version()
            if (team_id, cohort_id) in versions:
                self._database.execute(
                    "ALTER TABLE cohortpeople DROP PARTITION tuple(?, ?)", [team_id, cohort_id]
                )
            rows = [(team_id, cohort_id, uuid, 1, version) for uuid in uuids]
            insert(self._database, "cohortpeople", COLUMNS["cohortpeople"], rows)
            versions[team_id, cohort_id] = version

    def members(self, team_id: int, cohort_id: int) -> list[str]:
        """Return the UUIDs of the members of a cohort, in the order in which they were added."""
        rows = self._database.rows(
            "SELECT toString(person_id) FROM cohortpeople WHERE team_id = ? AND cohort_id = ? "
            "ORDER BY person_id UNION ALL "
            "SELECT toString(person_id) FROM person_static_cohort "
            "WHERE team_id = ? AND cohort_id = ? ORDER BY _number",
            [team_id, cohort_id, team_id, cohort_id],
        )
        return list(dict.fromkeys(uuid for (uuid,) in rows))

    def is_member(self, team_id: int, cohort_id: int, uuid: str) -> bool:
        """Return whether a person is a member of a cohort."""
        values = [team_id, cohort_id, uuid]
        ((count,),) = self._database.rows(
            "SELECT (SELECT count() FROM cohortpeople "
            "WHERE team_id = ? AND cohort_id = ? AND person_id = toUUID(?)) + "
            "(SELECT count() FROM person_static_cohort "
            "WHERE team_id = ? AND cohort_id = ? AND person_id = toUUID(?))",
            [*values, *values],
        )
        return count > 0

    def add_members(self, team_id: int, cohort_id: int, uuids: Iterable[str]) -> None:
        """Add persons to a static cohort; members are not added twice."""
        with self._lock:
            members = set(self.members(team_id, cohort_id))
            rows = [
                (team_id, cohort_id, uuid, self._next_version())
                for uuid in dict.fromkeys(uuids)
                if uuid not in members
            ]
            insert(self._database, "person_static_cohort", COLUMNS["person_static_cohort"], rows)

    def remove_member(self, team_id: int, cohort_id: int, uuid: str) -> None:
        """Remove a person from a static cohort."""
        with self._lock:
            self._database.execute(
                "DELETE FROM person_static_cohort "
                "WHERE team_id = ? AND cohort_id = ? AND person_id = toUUID(?)",
                [team_id, cohort_id, uuid],
            )

    def clear(self) -> None:
        """Forget the versions, after the tables were emptied."""
        self._versions = None

    def _load_versions(self) -> dict[tuple[int, int], int]:
        if self._versions is None:
            rows = self._database.rows(
                "SELECT team_id, cohort_id, max(version) FROM cohortpeople "
                "GROUP BY team_id, cohort_id"
            )
            self._versions = {(team, cohort): version for team, cohort, version in rows}
        return self._versions
