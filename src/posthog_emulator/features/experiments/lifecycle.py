"""Experiments make feature flags and keep them up to date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from posthog_emulator.features.flags.links import linked_flag_id
from posthog_emulator.features.flags.lookup import FLAGS
from posthog_emulator.features.flags.owned import (
    change_flag,
    create_flag,
    find_flag,
    find_flag_by_key,
    minimal_flag,
)
from posthog_emulator.features.flags.rules import check_key, variants_of
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import Change, EmulatorState, Lifecycle, fill_path

from .rules import (
    DEFAULT_VARIANTS,
    check_dates,
    check_variants,
    experiment_status,
    requested_filters,
)

__all__ = ["LIFECYCLE", "experiment_flag", "show_flag"]

_SAVED_METRICS: Final = "/api/projects/{}/experiment_saved_metrics/"
_HOLDOUTS: Final = "/api/projects/{}/experiment_holdouts/"


def experiment_flag(
    state: EmulatorState, project: str, experiment: StoredObject
) -> StoredObject | None:
    """Return the feature flag of an experiment, which may be deleted; None if it has none."""
    return find_flag(state, project, linked_flag_id(experiment.data))


def show_flag(
    state: EmulatorState, project: str, experiment: StoredObject, flag: StoredObject
) -> None:
    """Set the fields of an experiment that show its flag."""
    experiment.data["feature_flag"] = minimal_flag(state, project, flag)
    experiment.data["feature_flag_key"] = flag.data["key"]


def _check(change: Change) -> None:
    sent, row = change.sent, change.row
    stored: dict[str, Any] = {} if row is None else row.data
    check_dates({**stored, **sent})
    filters = requested_filters(sent)
    if filters is not None:
        check_variants(variants_of(filters))
    if row is not None:
        _derive(change.state, change.project, [row])
        key = sent.get("feature_flag_key")
        if key is not None and key != row.data.get("feature_flag_key"):
            raise invalid("Can't update keys: get_feature_flag_key on Experiment")
        return
    key = sent.get("feature_flag_key")
    check_key(key)
    flag = find_flag_by_key(change.state, change.project, str(key))
    if flag is not None:
        check_variants(variants_of(as_object(flag.data.get("filters"))))


def _created(change: Change) -> None:
    row, state, project = change.stored, change.state, change.project
    # A fixture may give the flag itself.
    if FLAGS not in state.plans.collections or linked_flag_id(change.sent) is not None:
        return
    # Fixtures may lack a key.
    key = str(row.data.get("feature_flag_key") or f"experiment-{row.key}")
    flag = find_flag_by_key(state, project, key)
    if flag is None:
        filters = requested_filters(change.sent) or {
            "groups": [{"properties": [], "rollout_percentage": 100}],
            "multivariate": {"variants": [dict(variant) for variant in DEFAULT_VARIANTS]},
            "aggregation_group_type_index": None,
            "payloads": {},
        }
        continuity = as_object(change.sent.get("feature_flag")).get("ensure_experience_continuity")
        flag = create_flag(
            state,
            project,
            {
                "key": key,
                "name": f"Feature Flag for Experiment {row.data.get('name')}",
                "filters": filters,
                "active": bool(row.data.get("start_date")),
                "ensure_experience_continuity": continuity,
            },
        )
    elif row.data.get("start_date") and not flag.data.get("active"):
        change_flag(state, project, flag, {"active": True})
    show_flag(state, project, row, flag)


def _updated(change: Change) -> None:
    row, state, project = change.stored, change.state, change.project
    # The body may have overwritten the field with a description of the flag.
    flag = find_flag(state, project, linked_flag_id(change.before))
    if flag is None:
        return
    fields: dict[str, Any] = {}
    filters = requested_filters(change.sent)
    launched = bool(change.before.get("start_date"))
    if filters is not None and (not launched or change.sent.get("update_feature_flag_params")):
        fields["filters"] = {**as_object(flag.data.get("filters")), **filters}
    if row.data.get("start_date") and not launched:
        fields["active"] = True
    if fields:
        change_flag(state, project, flag, fields)
    show_flag(state, project, row, flag)


def _derive(state: EmulatorState, project: str, rows: Sequence[StoredObject]) -> None:
    for row in rows:
        flag = experiment_flag(state, project, row)
        if flag is None:
            continue
        show_flag(state, project, row, flag)
        status = experiment_status(row.data, flag_active=bool(flag.data.get("active")))
        row.data["status"] = status
        row.data["can_freeze_exposure"] = status == "running"
        row.data["is_legacy"] = False
        config = as_object(as_object(row.data.get("exposure_criteria")).get("exposure_config"))
        row.data["resolved_exposure_event"] = config.get("event") or "$feature_flag_called"
        row.data["saved_metrics"] = _saved_metrics(state, project, row)
        holdout_id = row.data.get("holdout_id")
        if holdout_id is not None:
            holdouts = state.store.collection(fill_path(_HOLDOUTS, [project]))
            holdout = holdouts.find(str(holdout_id))
            if holdout is not None:
                row.data["holdout"] = holdout.data


def _saved_metrics(
    state: EmulatorState, project: str, experiment: StoredObject
) -> list[dict[str, Any]]:
    """Return the saved metrics that an experiment names in `saved_metrics_ids`."""
    metrics = state.store.collections.get(fill_path(_SAVED_METRICS, [project]))
    links: list[dict[str, Any]] = []
    for item in experiment.data.get("saved_metrics_ids") or ():
        reference = as_object(item)
        row = None if metrics is None else metrics.find(str(reference.get("id")))
        if row is not None:
            links.append(
                {
                    "id": len(links) + 1,
                    "experiment": experiment.data["id"],
                    "saved_metric": row.data["id"],
                    "metadata": reference.get("metadata") or {},
                    "created_at": experiment.data.get("created_at"),
                    "query": row.data.get("query"),
                    "name": row.data.get("name") or "",
                }
            )
    return links


LIFECYCLE = Lifecycle("Experiment", _check, _created, _updated, derive=_derive)
"""The lifecycle of experiments."""
