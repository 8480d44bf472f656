"""The collection of a project's cohorts.

It is apart from `membership` because that imports the query engine, which takes long to load.
"""

from __future__ import annotations

from typing import Final

from posthog_emulator.objects.store import ObjectCollection, StoredObject
from posthog_emulator.state import EmulatorState, fill_path

__all__ = ["COHORTS", "cohorts_collection", "is_dynamic", "live_cohorts"]

COHORTS: Final = "/api/projects/{}/cohorts/"


def cohorts_collection(state: EmulatorState, project: str) -> ObjectCollection:
    """Return the collection of a project's cohorts, deleted ones included."""
    return state.store.collection(fill_path(COHORTS, [project]))


def live_cohorts(state: EmulatorState, project: str) -> list[StoredObject]:
    """Return the cohorts of a project that are not deleted."""
    return [row for row in cohorts_collection(state, project) if not row.deleted]


def is_dynamic(row: StoredObject) -> bool:
    """Return whether the members of a cohort are calculated, not listed."""
    return not row.data.get("is_static")
