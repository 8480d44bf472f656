"""What PostHog checks and does beside storing a feature flag when it changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from posthog_emulator.features.cohorts.stored_cohorts import cohorts_collection
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import Change, EmulatorState, Lifecycle

from . import links
from .owned import flag_collection, live_flags
from .rules import (
    check_enabled_dependencies,
    check_filters,
    check_key,
    check_no_dependents,
    check_states,
    variants_of,
)
from .status import flag_status

__all__ = ["LIFECYCLE"]


def _check(change: Change) -> None:
    sent, row = change.sent, change.row
    stored = None if row is None else row.data
    if "key" in sent:
        check_key(sent["key"])
    check_states(sent, stored)
    filters = sent.get("filters")
    # Filters without condition sets in a PATCH leave the stored ones unchanged, on the server too.
    if is_object(filters) and (row is None or "groups" in filters):
        flag_id = None if stored is None else stored.get("id")
        check_filters(
            filters,
            key=str(sent.get("key") or (stored or {}).get("key")),
            is_new=row is None,
            has_new_variants=variants_of(filters) != variants_of(_filters_of(stored)),
            flags=live_flags(change.state, change.project),
            cohort_problem=lambda cohort_id: _cohort_problem(change, cohort_id),
            is_linked=bool(_linked(change, links.EARLY_ACCESS, flag_id)),
        )
    if stored is None:
        return
    flags = live_flags(change.state, change.project)
    if sent.get("deleted") is True and not stored.get("deleted"):
        _check_deletion(change, stored, flags)
    if sent.get("active") is False and stored.get("active"):
        check_no_dependents(stored.get("id"), flags, "disable")
    if sent.get("active") is True and not stored.get("active"):
        check_enabled_dependencies(as_object(stored.get("filters")), flags)


def _filters_of(flag: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {} if flag is None else as_object(flag.get("filters"))


def _linked(change: Change, template: str, flag_id: Any) -> list[StoredObject]:
    return links.linked(change.state, change.project, template, flag_id)


def _check_deletion(
    change: Change, stored: Mapping[str, Any], flags: Sequence[Mapping[str, Any]]
) -> None:
    flag_id = stored.get("id")
    if _linked(change, links.EARLY_ACCESS, flag_id):
        raise invalid(
            "Cannot delete a feature flag that is in use with early access features. Please "
            "delete the early access feature before deleting the flag."
        )
    running = [
        f'"{row.data.get("name")}" (ID: {row.data.get("id")})'
        for row in _linked(change, links.EXPERIMENTS, flag_id)
        if links.is_running(row.data)
    ]
    if running:
        raise invalid(
            "Cannot delete a feature flag that is linked to running experiment(s): "
            f"{', '.join(running)}. Please stop the experiment(s) before deleting the flag."
        )
    check_no_dependents(flag_id, flags, "delete")
    if links.used_in_replay(change.state, change.project, flag_id):
        raise invalid(
            "This feature flag is used in session replay settings. Please remove it from replay "
            "settings before deleting."
        )


def _cohort_problem(change: Change, cohort_id: str) -> tuple[str, str] | None:
    row = cohorts_collection(change.state, change.project).rows.get(cohort_id)
    if row is None or row.deleted:
        return f"Cohort with id {cohort_id} does not exist", "cohort_does_not_exist"
    if not row.data.get("is_static") and _has_behavior(row.data.get("filters")):
        name = row.data.get("name")
        return (
            f"Cohort '{name}' with filters on events cannot be used in feature flags.",
            "behavioral_cohort_found",
        )
    return None


def _has_behavior(value: Any) -> bool:
    if is_object(value):
        return value.get("type") == "behavioral" or any(_has_behavior(v) for v in value.values())
    return is_array(value) and any(_has_behavior(item) for item in value)


def _created(change: Change) -> None:
    row = change.stored
    row.data["version"] = change.sent.get("version", 1)
    # The key is free again: a deleted flag that had it is gone, or renamed if it is still needed.
    flags = flag_collection(change.state, change.project)
    for other in list(flags):
        if other is not row and other.deleted and other.data.get("key") == row.data.get("key"):
            if _linked(change, links.EXPERIMENTS, other.data.get("id")):
                other.data["key"] = _tombstone(other.data)
            else:
                flags.remove(other.key)


def _tombstone(flag: Mapping[str, Any]) -> str:
    return f"{flag.get('key')}:deleted:{flag.get('id')}"


def _updated(change: Change) -> None:
    row = change.stored
    # A `version` in the request says what the client has seen; it is not stored.
    row.data["version"] = int(change.before.get("version") or 0) + 1
    suffix = f":deleted:{row.data.get('id')}"
    key = str(row.data.get("key"))
    deleted = change.sent.get("deleted")
    if deleted is True and _linked(change, links.EXPERIMENTS, row.data.get("id")):
        row.data["key"] = key if key.endswith(suffix) else key + suffix
    elif deleted is False and key.endswith(suffix):
        row.data["key"] = _free_key(change, key.removesuffix(suffix))


def _free_key(change: Change, key: str) -> str:
    taken = {flag.get("key") for flag in live_flags(change.state, change.project)}
    return next(candidate for candidate in _candidates(key) if candidate not in taken)


def _candidates(key: str) -> Iterator[str]:
    yield key
    number = 2
    while True:
        yield f"{key}-{number}"
        number += 1


def _derive(state: EmulatorState, project: str, rows: Sequence[StoredObject]) -> None:
    if not rows:
        return
    experiments = links.by_flag(state, project, links.EXPERIMENTS)
    features = links.by_flag(state, project, links.EARLY_ACCESS)
    surveys = links.by_flag(state, project, links.SURVEYS, "linked_flag")
    now = state.settings.clock()
    for row in rows:
        flag_id = row.data.get("id")
        using = [item.data for item in experiments.get(flag_id, ())]
        row.data["experiment_set"] = [item["id"] for item in using]
        row.data["experiment_set_metadata"] = [
            {"id": item["id"], "name": item.get("name"), "is_running": links.is_running(item)}
            for item in using
        ]
        row.data["features"] = {
            str(item.data["id"]): _feature(row.data, item.data)
            for item in features.get(flag_id, ())
        }
        row.data["surveys"] = {
            str(item.data["id"]): {name: item.data.get(name) for name in _SURVEY_FIELDS}
            for item in surveys.get(flag_id, ())
        }
        row.data["status"] = flag_status(row.data, now)[0].upper()
        row.data["is_used_in_replay_settings"] = links.used_in_replay(state, project, flag_id)
        row.data["is_eligible_for_experiment"] = _is_eligible(row.data)


_SURVEY_FIELDS = ("id", "name", "description", "type", "start_date", "end_date")


def _feature(flag: Mapping[str, Any], feature: Mapping[str, Any]) -> dict[str, Any]:
    """Return an early access feature as PostHog's public API shows it."""
    return {
        **{name: feature.get(name) for name in ("id", "name", "description", "stage")},
        "documentationUrl": feature.get("documentation_url"),
        "flagKey": flag.get("key"),
        "payload": as_object(feature.get("payload")),
    }


def _is_eligible(flag: Mapping[str, Any]) -> bool:
    variants = variants_of(as_object(flag.get("filters")))
    return len(variants) > 1 and variants[0].get("key") == "control"


LIFECYCLE = Lifecycle("FeatureFlag", _check, _created, _updated, derive=_derive)
"""The lifecycle of feature flags."""
