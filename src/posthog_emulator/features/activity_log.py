"""The lists of the activity log: of one object, of a kind of objects, and of a project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.http.messages import Response
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.activity import ACTIVITY_LOG
from posthog_emulator.rest.apply_filters import select_rows
from posthog_emulator.rest.pagination import paginate
from posthog_emulator.state import ApiCall, fill_path

__all__ = ["OPERATION_HANDLERS"]

_SCOPES: Final[Mapping[str, str]] = {
    "cohorts": "Cohort",
    "error_tracking.issues": "ErrorTrackingIssue",
    "experiments": "Experiment",
    "feature_flags": "FeatureFlag",
    "insights": "Insight",
    "notebooks": "Notebook",
    "surveys": "Survey",
}
"""The scope of the objects of a resource that has lists of activity."""
_ENTRY_FIELDS: Final = (
    "id", "user", "is_system", "client", "was_impersonated", "activity", "item_id", "scope",
    "created_at",
)  # fmt: skip


def _entries(call: ApiCall) -> list[StoredObject]:
    """Return all entries of the project's activity log, the latest first."""
    log = call.state.store.collection(fill_path(ACTIVITY_LOG, [call.project]))
    return list(log)[::-1]


def _object_activity(call: ApiCall) -> Response:
    """Respond with the entries of one object, or of all objects of a resource."""
    call.resolve_parents()
    scope = _SCOPES[call.operation.resource]
    item_id = None
    if len(call.parents) > 1:
        parent = call.plan.placeholders[-1]
        path = fill_path(parent.template, call.parents[:-1])
        row = call.state.store.collection(path).find(call.parents[-1])
        # Notebooks have a `short_id` in their path.
        item_id = str(call.parents[-1] if row is None else row.data.get("id", row.key))
    rows = [
        StoredObject(row.key, _as_entry(row.data), row.sequence)
        for row in _entries(call)
        if row.data.get("scope") == scope and item_id in {None, row.data.get("item_id")}
    ]
    return paginate(call, [*rows, *select_rows(call)])


def _as_entry(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry as the lists of objects show it: by the schema, without nulls in `detail`."""
    detail = as_object(data.get("detail"))
    texts = {name: detail.get(name) or "" for name in ("id", "name", "short_id", "type")}
    return {
        **{name: data.get(name) for name in _ENTRY_FIELDS},
        "detail": {**texts, "changes": detail.get("changes") or []},
    }


def _project_activity(call: ApiCall) -> Response:
    call.resolve_parents()
    # By cursor, `paginate` sorts the rows itself.
    rows = select_rows(call)
    return paginate(call, rows if call.request.query_value("ordering") else rows[::-1])


def _advanced_activity(call: ApiCall) -> Response:
    call.resolve_parents()
    return paginate(call, select_rows(call, [*_entries(call), *call.objects]))


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    **{f"{resource}.activity": OperationHandler(_object_activity) for resource in _SCOPES},
    **{
        f"{resource}.all_activity": OperationHandler(_object_activity)
        for resource in _SCOPES
        if resource != "experiments"
    },
    "activity_log.list": OperationHandler(_project_activity),
    "advanced_activity_logs.list": OperationHandler(_advanced_activity),
}
