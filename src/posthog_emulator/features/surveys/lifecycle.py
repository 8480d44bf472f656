"""Surveys make feature flags that decide who sees them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from posthog_emulator.features.flags.links import TARGETING_PREFIX, linked_flag_id
from posthog_emulator.features.flags.lookup import FLAGS
from posthog_emulator.features.flags.owned import (
    change_flag,
    create_flag,
    find_flag,
    minimal_flag,
    remove_flag,
)
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import Change, EmulatorState, Lifecycle

__all__ = ["LIFECYCLE", "is_running", "update_flags"]

_OWN_FLAGS: Final = ("targeting_flag", "internal_targeting_flag")
_FLAG_FIELDS: Final = ("linked_flag", *_OWN_FLAGS)


def is_running(survey: Mapping[str, Any]) -> bool:
    """Return whether a survey was launched and has not ended."""
    return bool(survey.get("start_date")) and not survey.get("end_date")


def _check(change: Change) -> None:
    flag_id = change.sent.get("linked_flag_id")
    if flag_id is not None:
        flag = find_flag(change.state, change.project, flag_id)
        if flag is None or flag.deleted:
            raise invalid("Feature Flag with this ID does not exist")


def _created(change: Change) -> None:
    row, state, project = change.stored, change.state, change.project
    if FLAGS not in state.plans.collections:
        return
    for field in _FLAG_FIELDS:
        # A fixture may give the flags itself.
        if not is_object(change.sent.get(field)):
            row.data[field] = None
    _number_questions(row)
    _set_flags(change)
    if row.data["internal_targeting_flag"] is None and row.data.get("type") != "external_survey":
        flag = _create_own_flag(state, project, row, _not_answered(row.data), suffix="-custom")
        row.data["internal_targeting_flag"] = minimal_flag(state, project, flag)


def _updated(change: Change) -> None:
    for field in _FLAG_FIELDS:
        change.stored.data[field] = change.before.get(field)
    _number_questions(change.stored)
    _set_flags(change)
    update_flags(change.state, change.project, change.stored)


def _number_questions(row: StoredObject) -> None:
    """Give each question an id, as the server does."""
    questions = row.data.get("questions")
    for index, question in enumerate(questions if is_array(questions) else ()):
        if is_object(question) and not question.get("id"):
            question["id"] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{row.key}/question/{index}"))


def _set_flags(change: Change) -> None:
    """Link or create the flags that a request names."""
    row, state, project, sent = change.stored, change.state, change.project, change.sent
    if "linked_flag_id" in sent:
        linked = find_flag(state, project, sent["linked_flag_id"])
        row.data["linked_flag"] = None if linked is None else minimal_flag(state, project, linked)
        row.data["linked_flag_id"] = sent["linked_flag_id"]
    current = find_flag(state, project, linked_flag_id(row.data, "targeting_flag"))
    if sent.get("remove_targeting_flag"):
        remove_flag(state, project, current)
        row.data["targeting_flag"] = None
        return
    filters = sent.get("targeting_flag_filters")
    if is_object(filters):
        if current is None:
            current = _create_own_flag(state, project, row, filters)
        else:
            change_flag(state, project, current, {"filters": filters})
    elif sent.get("targeting_flag_id"):
        current = find_flag(state, project, sent["targeting_flag_id"])
    if current is not None:
        row.data["targeting_flag"] = minimal_flag(state, project, current)


def _not_answered(survey: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters of a flag for those who have neither answered nor dismissed a survey."""
    iteration = survey.get("current_iteration")
    suffix = f"/{iteration}" if iteration else ""
    tests = [
        {
            "key": f"$survey_{action}/{survey['id']}{suffix}",
            "type": "person",
            "value": "is_not_set",
            "operator": "is_not_set",
        }
        for action in ("dismissed", "responded")
    ]
    return {"groups": [{"variant": "", "rollout_percentage": 100, "properties": tests}]}


def _create_own_flag(
    state: EmulatorState,
    project: str,
    survey: StoredObject,
    filters: Mapping[str, Any],
    suffix: str = "",
) -> StoredObject:
    name = uuid.uuid5(uuid.NAMESPACE_OID, f"{survey.key}/flag{suffix}").hex[:10]
    fields = {
        "key": f"{TARGETING_PREFIX}{name}{suffix}",
        "name": f"Targeting flag for survey {survey.data.get('name')}",
        "filters": dict(filters),
        "active": is_running(survey.data),
    }
    return create_flag(state, project, fields)


def update_flags(state: EmulatorState, project: str, survey: StoredObject) -> None:
    """Enable the flags of a survey that runs, and disable those of one that does not."""
    active = is_running(survey.data)
    for field in _OWN_FLAGS:
        flag = find_flag(state, project, linked_flag_id(survey.data, field))
        if flag is not None and bool(flag.data.get("active")) != active:
            change_flag(state, project, flag, {"active": active})


def _deleted(change: Change) -> None:
    for field in _OWN_FLAGS:
        flag_id = linked_flag_id(change.stored.data, field)
        remove_flag(change.state, change.project, find_flag(change.state, change.project, flag_id))


def _derive(state: EmulatorState, project: str, rows: Sequence[StoredObject]) -> None:
    for row in rows:
        keys: list[dict[str, Any]] = []
        for field in _FLAG_FIELDS:
            flag = find_flag(state, project, linked_flag_id(row.data, field))
            if flag is not None:
                row.data[field] = minimal_flag(state, project, flag)
            key = as_object(row.data.get(field)).get("key")
            if key is not None:
                keys.append({"key": f"{field}_key", "value": key})
        row.data["feature_flag_keys"] = keys


LIFECYCLE = Lifecycle("Survey", _check, _created, _updated, _deleted, _derive)
"""The lifecycle of surveys."""
