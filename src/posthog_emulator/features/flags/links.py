"""The objects of other products that belong to a feature flag, found by the flag's id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import PROJECTS, EmulatorState, fill_path

__all__ = [
    "EARLY_ACCESS",
    "EXPERIMENTS",
    "SURVEYS",
    "TARGETING_PREFIX",
    "by_flag",
    "is_running",
    "linked",
    "linked_flag_id",
    "used_in_replay",
]

EXPERIMENTS: Final = "/api/projects/{}/experiments/"
EARLY_ACCESS: Final = "/api/projects/{}/early_access_feature/"
SURVEYS: Final = "/api/projects/{}/surveys/"
TARGETING_PREFIX: Final = "survey-targeting-"
"""The beginning of the keys of flags that surveys create."""


def linked_flag_id(data: Mapping[str, Any], field: str = "feature_flag") -> Any:
    """Return the id of the flag in a field of an object; None if there is none."""
    return as_object(data.get(field)).get("id")


def by_flag(
    state: EmulatorState, project: str, template: str, field: str = "feature_flag"
) -> dict[Any, list[StoredObject]]:
    """Return the live objects of a collection by the id of their flag.

    Args:
        state: The emulator's state.
        project: The key of the project.
        template: The template of the collection.
        field: The field with the flag.
    """
    rows: defaultdict[Any, list[StoredObject]] = defaultdict(list)
    for row in _rows(state, project, template):
        flag_id = linked_flag_id(row.data, field)
        if not row.deleted and flag_id is not None:
            rows[flag_id].append(row)
    return dict(rows)


def linked(
    state: EmulatorState, project: str, template: str, flag_id: Any, field: str = "feature_flag"
) -> list[StoredObject]:
    """Return the live objects of a collection that belong to a flag."""
    return by_flag(state, project, template, field).get(flag_id, [])


def _rows(state: EmulatorState, project: str, template: str) -> Iterable[StoredObject]:
    # An emulator of a partial registry may lack the collection.
    return state.store.collections.get(fill_path(template, [project])) or ()


def is_running(experiment: Mapping[str, Any]) -> bool:
    """Return whether an experiment has begun and not ended."""
    return bool(experiment.get("start_date")) and not experiment.get("end_date")


def used_in_replay(state: EmulatorState, project: str, flag_id: Any) -> bool:
    """Return whether a project records sessions only where a flag is on."""
    row = state.store.collection(PROJECTS).find(project)
    setting = {} if row is None else as_object(row.data.get("session_recording_linked_flag"))
    return flag_id is not None and setting.get("id") == flag_id
