"""Early access features make feature flags in which people enroll."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

from posthog_emulator.features.flags.links import EARLY_ACCESS, linked, linked_flag_id
from posthog_emulator.features.flags.lookup import FLAGS
from posthog_emulator.features.flags.owned import (
    change_flag,
    create_flag,
    find_flag,
    find_flag_by_key,
    minimal_flag,
)
from posthog_emulator.features.flags.rules import check_key, conditions, variants_of
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import Change, EmulatorState, Lifecycle

__all__ = ["LIFECYCLE", "slugify"]

_ACTIVE_STAGES: Final = frozenset({"alpha", "beta", "general-availability"})
"""The stages in which the feature is given to those who enrolled."""


def slugify(name: str) -> str:
    """Return a name as a key: lower-case letters, digits, hyphens and underscores."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain)).strip("-_")


def _check(change: Change) -> None:
    if change.row is not None:
        return
    state, project, flag_id = change.state, change.project, change.sent.get("feature_flag_id")
    if not flag_id:
        key = slugify(str(change.sent.get("name")))
        check_key(key)
        if find_flag_by_key(state, project, key) is not None:
            raise invalid("There is already a feature flag with this key.", "key", "unique")
        return
    flag = find_flag(state, project, flag_id)
    if flag is None or flag.deleted:
        raise invalid("Feature Flag with this ID does not exist")
    if linked(state, project, EARLY_ACCESS, flag.data.get("id")):
        key = flag.data.get("key")
        raise invalid(f"Linked feature flag {key} already has a feature attached to it.")
    filters = as_object(flag.data.get("filters"))
    group_types = [item.get("aggregation_group_type_index") for item in conditions(filters)]
    if any(
        index is not None for index in (filters.get("aggregation_group_type_index"), *group_types)
    ):
        raise invalid("Group-based feature flags are not supported for Early Access Features.")
    if variants_of(filters):
        raise invalid("Multivariate feature flags are not supported for Early Access Features.")


def _created(change: Change) -> None:
    row, state, project = change.stored, change.state, change.project
    # A fixture may give the flag itself.
    if FLAGS not in state.plans.collections or linked_flag_id(change.sent) is not None:
        return
    name, active = row.data.get("name"), row.data.get("stage") in _ACTIVE_STAGES
    flag = find_flag(state, project, change.sent.get("feature_flag_id"))
    # A fixture may name a feature like a flag that exists.
    flag = flag or find_flag_by_key(state, project, slugify(str(name)))
    if flag is None:
        filters: dict[str, Any] = {
            "groups": [{"properties": [], "rollout_percentage": 0, "variant": None}]
        }
        if active:
            filters["feature_enrollment"] = True
        fields = {
            "key": slugify(str(name)) or f"early-access-{row.key}",
            "name": f"Feature Flag for Early Access Feature {name}",
            "filters": filters,
        }
        flag = create_flag(state, project, fields)
    elif active:
        _enroll(state, project, flag, True)
    row.data["feature_flag"] = minimal_flag(state, project, flag)
    row.data["payload"] = as_object(change.sent.get("payload"))
    row.data["assignee"] = {"type": "user", "id": state.accounts.account.user_id}


def _enroll(
    state: EmulatorState, project: str, flag: StoredObject, enrolled: bool | None, **filters: Any
) -> None:
    current = as_object(flag.data.get("filters"))
    updated = {**current, "feature_enrollment": enrolled, **filters}
    change_flag(state, project, flag, {"filters": updated})


def _updated(change: Change) -> None:
    row, state, project = change.stored, change.state, change.project
    if "payload" in change.sent:
        row.data["payload"] = as_object(change.sent["payload"])
    flag = find_flag(state, project, linked_flag_id(change.before))
    if flag is None:
        return
    before, after = change.before.get("stage"), row.data.get("stage")
    if before == after:
        return
    if after == "general-availability" and change.sent.get("rollout_to_all"):
        everyone: list[dict[str, Any]] = [{"properties": [], "rollout_percentage": 100}]
        _enroll(state, project, flag, None, groups=everyone)
    elif after in _ACTIVE_STAGES and before not in _ACTIVE_STAGES:
        _enroll(state, project, flag, True)
    elif after not in _ACTIVE_STAGES:
        _enroll(state, project, flag, None)


def _deleted(change: Change) -> None:
    flag = find_flag(change.state, change.project, linked_flag_id(change.stored.data))
    if flag is not None:
        _enroll(change.state, change.project, flag, None)


def _derive(state: EmulatorState, project: str, rows: Sequence[StoredObject]) -> None:
    for row in rows:
        flag = find_flag(state, project, linked_flag_id(row.data))
        if flag is not None:
            row.data["feature_flag"] = minimal_flag(state, project, flag)


LIFECYCLE = Lifecycle("EarlyAccessFeature", _check, _created, _updated, _deleted, _derive)
"""The lifecycle of early access features."""
