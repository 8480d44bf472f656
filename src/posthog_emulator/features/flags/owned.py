"""Create and change feature flags for other products, with entries in the activity log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthog_emulator.objects.store import ObjectCollection, StoredObject
from posthog_emulator.rest.activity import copy_fields, log_activity, log_row_update
from posthog_emulator.state import NO_LIFECYCLE, EmulatorState, fill_path

from .lookup import FLAGS

__all__ = [
    "change_flag",
    "create_flag",
    "find_flag",
    "find_flag_by_key",
    "flag_collection",
    "live_flags",
    "minimal_flag",
    "remove_flag",
]


def flag_collection(state: EmulatorState, project: str) -> ObjectCollection:
    """Return the flags of a project, deleted ones included."""
    return state.store.collection(fill_path(FLAGS, [project]))


def live_flags(state: EmulatorState, project: str) -> list[dict[str, Any]]:
    """Return the fields of the flags of a project that are not deleted."""
    return [row.data for row in flag_collection(state, project) if not row.deleted]


def find_flag(state: EmulatorState, project: str, flag_id: Any) -> StoredObject | None:
    """Return the flag with an id, which may be deleted; None if there is none."""
    return None if flag_id is None else flag_collection(state, project).rows.get(str(flag_id))


def find_flag_by_key(state: EmulatorState, project: str, key: str) -> StoredObject | None:
    """Return the live flag with a key; None if there is none."""
    rows = flag_collection(state, project)
    return next((row for row in rows if not row.deleted and row.data.get("key") == key), None)


def create_flag(state: EmulatorState, project: str, fields: Mapping[str, Any]) -> StoredObject:
    """Create a flag. The key is not checked."""
    spec = state.plans.collections[FLAGS]
    values = {"version": 1, **fields}
    row = state.insert(spec, fill_path(FLAGS, [project]), values, int(project))
    scope = state.lifecycles.get(FLAGS, NO_LIFECYCLE).scope
    if scope:
        log_activity(state, project, scope, "created", row.data, None)
    return row


def change_flag(
    state: EmulatorState, project: str, row: StoredObject, fields: Mapping[str, Any]
) -> None:
    """Set fields of a flag."""
    before = copy_fields(row.data)
    row.data.update(fields)
    row.deleted = bool(row.data.get("deleted"))
    state.object_schemas.get(state.plans.collections[FLAGS]).mark_updated(row.data, state)
    log_row_update(state, project, FLAGS, before, row)


def remove_flag(state: EmulatorState, project: str, row: StoredObject | None) -> None:
    """Remove a flag completely, as surveys do with the flags that they created."""
    if row is not None:
        flag_collection(state, project).remove(row.key)


def minimal_flag(state: EmulatorState, project: str, row: StoredObject) -> dict[str, Any]:
    """Return a flag as other objects show it in their fields."""
    contexts: list[str] = []
    values = {**row.data, "team_id": int(project), "evaluation_contexts": contexts}
    if "MinimalFeatureFlag" not in state.catalogue:
        return values
    return state.object_schemas.fit({"$ref": "#/components/schemas/MinimalFeatureFlag"}, values)
