"""The activity log: an entry for each object that is created, changed or deleted."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import NO_LIFECYCLE, ApiCall, EmulatorState, fill_path

__all__ = [
    "ACTIVITY_LOG",
    "copy_fields",
    "field_changes",
    "log_activity",
    "log_creation",
    "log_deletion",
    "log_row_update",
    "log_update",
    "snapshot",
]

ACTIVITY_LOG: Final = "/api/projects/{}/activity_log/"

_UNLOGGED_FIELDS: Final = frozenset(
    {"id", "uuid", "short_id", "created_at", "created_by", "last_modified_at", "last_modified_by",
     "updated_at", "updated_by", "modified_by", "last_updated_at", "modified_at", "team", "team_id",
     # Objects shown in fields of others.
     "feature_flag", "feature_flag_keys", "internal_targeting_flag", "linked_flag", "saved_metrics",
     "targeting_flag",
     # Computed or set by the server, in some collections.
     "can_freeze_exposure", "count", "dashboard_tiles", "dashboards", "errors_calculating",
     "experiment_set",
     "experiment_set_metadata", "features", "is_calculating", "last_accessed_at",
     "last_calculation", "last_called_at", "last_error_message", "last_refresh", "last_viewed_at",
     "pending_version", "resolved_exposure_event", "result", "status", "surveys", "tiles",
     "user_access_level"}
)  # fmt: skip
"""Fields whose changes are not logged."""
_LOGGED_IN: Final[Mapping[str, frozenset[str]]] = {
    "ErrorTrackingIssue": frozenset({"status"}),
    "Insight": frozenset({"dashboards"}),
}
"""Fields that are logged in a scope all the same."""
_VERSIONED: Final = "FeatureFlag"
"""The scope in which the change of `version` is logged."""


def field_changes(
    scope: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the logged changes between two states of an object, in the order of its fields.

    Args:
        scope: The scope of the object.
        before: Its fields before.
        after: Its fields after.
    """
    logged = _LOGGED_IN.get(scope, frozenset())
    changes: list[dict[str, Any]] = []
    for field in dict.fromkeys([*before, *after]):
        if field in _UNLOGGED_FIELDS - logged or (field == "version" and scope != _VERSIONED):
            continue
        old, new = before.get(field), after.get(field)
        if old != new:
            action = "created" if old is None else "deleted" if new is None else "changed"
            changes.append(
                {"type": scope, "action": action, "field": field, "before": old, "after": new}
            )
    return changes


def log_activity(
    state: EmulatorState,
    project: str,
    scope: str,
    activity: str,
    item: Mapping[str, Any],
    changes: list[dict[str, Any]] | None,
) -> None:
    """Add an entry to a project's activity log.

    Args:
        state: The emulator's state.
        project: The key of the project.
        scope: The kind of object: `FeatureFlag`, `Insight` and so on.
        activity: What happened: `created`, `updated`, `deleted`, `restored` or another word.
        item: The object's fields; `id`, `short_id` and the name are used.
        changes: The changes, as `field_changes` returns them; None if nothing was changed.
    """
    path = fill_path(ACTIVITY_LOG, [project])
    # Not a UUID of the state's series: logging must not change the ids of other objects.
    number = state.next_id("activity_log")
    key = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{state.settings.seed}/activity/{number}"))
    item_id = item.get("id", item.get("short_id"))
    entry: dict[str, Any] = {
        "id": key,
        "team_id": int(project),
        "organization_id": state.organization_id,
        "user": _user(state),
        "unread": False,
        "is_system": False,
        "was_impersonated": False,
        "client": None,
        "ip_address": None,
        "activity": activity,
        "item_id": None if item_id is None else str(item_id),
        "scope": scope,
        "detail": {
            "id": None,
            "changes": changes,
            "merge": None,
            "trigger": None,
            "name": _display_name(scope, item),
            "short_id": item.get("short_id"),
            "type": None,
        },
        "created_at": state.now(),
    }
    state.store.put(path, key, entry)
    rows = state.store.collection(path).rows
    while len(rows) > state.history_size:
        del rows[next(iter(rows))]


def _user(state: EmulatorState) -> dict[str, Any]:
    user = dict(state.current_user())
    if "UserBasic" not in state.catalogue:
        return user
    return state.object_schemas.fit({"$ref": "#/components/schemas/UserBasic"}, user)


def _display_name(scope: str, item: Mapping[str, Any]) -> str | None:
    # The name of a flag is its description; people know flags by key.
    names = ("key", "name") if scope == "FeatureFlag" else ("name", "derived_name", "key")
    values = [item.get(name) for name in (*names, "content", "short_id")]
    return next((value for value in values if isinstance(value, str) and value), None)


def copy_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of an object's fields."""
    return as_object(json.loads(json.dumps(data)))


def snapshot(call: ApiCall, row: StoredObject) -> dict[str, Any] | None:
    """Return a copy of an object's fields before a change; None if it is not logged."""
    return copy_fields(row.data) if call.project and call.lifecycle.scope else None


def log_creation(call: ApiCall, row: StoredObject) -> None:
    """Log that the object of a call was created, if objects of its collection are logged."""
    if call.project and call.lifecycle.scope:
        log_activity(call.state, call.project, call.lifecycle.scope, "created", row.data, None)


def log_deletion(call: ApiCall, row: StoredObject) -> None:
    """Log that the object of a call was removed, if objects of its collection are logged."""
    if call.project and call.lifecycle.scope:
        log_activity(call.state, call.project, call.lifecycle.scope, "deleted", row.data, None)


def log_update(call: ApiCall, row: StoredObject, before: dict[str, Any] | None) -> None:
    """Log the changes of the object of a call since `snapshot`, if there are any."""
    if before is not None:
        _log_changes(call.state, call.project, call.lifecycle.scope, before, row.data)


def log_row_update(
    state: EmulatorState, project: str, template: str, before: Mapping[str, Any], row: StoredObject
) -> None:
    """Log the changes of an object that changed because of another one.

    Args:
        state: The emulator's state.
        project: The key of the project.
        template: The template of the object's collection.
        before: A copy of its fields before the change.
        row: The object.
    """
    scope = state.lifecycles.get(template, NO_LIFECYCLE).scope
    if scope:
        _log_changes(state, project, scope, before, row.data)


def _log_changes(
    state: EmulatorState,
    project: str,
    scope: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    changes = field_changes(scope, before, after)
    if not changes:
        return
    deleted = bool(before.get("deleted")), bool(after.get("deleted"))
    activity = {(False, True): "deleted", (True, False): "restored"}.get(deleted, "updated")
    log_activity(state, project, scope, activity, after, changes)
