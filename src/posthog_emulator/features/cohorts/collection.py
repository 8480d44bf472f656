"""The collection of a project's cohorts.

It is apart from `membership` because that imports the query engine, which takes long to load.
"""

from __future__ import annotations

from typing import Final

from posthog_emulator.objects.store import Bucket, Row
from posthog_emulator.state import EmulatorState, fill

__all__ = ["COHORTS", "cohorts_bucket", "is_dynamic", "live_cohorts"]

COHORTS: Final = "/api/projects/{}/cohorts/"


def cohorts_bucket(world: EmulatorState, project: str) -> Bucket:
    """Return the collection of a project's cohorts, deleted ones included."""
    return world.store.bucket(fill(COHORTS, [project]))


def live_cohorts(world: EmulatorState, project: str) -> list[Row]:
    """Return the cohorts of a project that are not deleted."""
    return [row for row in cohorts_bucket(world, project) if not row.deleted]


def is_dynamic(row: Row) -> bool:
    """Return whether the members of a cohort are calculated, not listed."""
    return not row.data.get("is_static")
