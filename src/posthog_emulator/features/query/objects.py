"""The project's own objects as HogQL sees them: cohorts, actions, views, tables of `system`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.objects.store import ObjectCollection
from posthog_emulator.state import EmulatorState, fill_path

if TYPE_CHECKING:
    from posthog_emulator.hogql.context import Action, SystemTable

__all__ = ["project_objects"]

_ACTIONS: Final = "/api/projects/{}/actions/"
_VIEWS: Final = "/api/projects/{}/warehouse_saved_queries/"
_COMMON: Final = "id:i team_id:i name description created_at:t deleted:b"
_TABLES: Final[Mapping[str, tuple[str, str]]] = {
    "actions": ("actions", f"{_COMMON} steps"),
    "annotations": (
        "annotations",
        "id:i team_id:i content scope date_marker:t created_at:t deleted:b",
    ),
    "cohorts": ("cohorts", f"{_COMMON} is_static:b count:i filters groups is_calculating:b"),
    "dashboards": ("dashboards", f"{_COMMON} pinned:b filters variables"),
    "early_access_features": (
        "early_access_feature",
        "id team_id:i name description stage created_at:t",
    ),
    "experiments": (
        "experiments",
        f"{_COMMON} start_date:t end_date:t feature_flag_key archived:b",
    ),
    "feature_flags": ("feature_flags", f"{_COMMON} key active:b filters rollout_percentage:i"),
    "hog_functions": (
        "hog_functions",
        "id team_id:i name description type enabled:b created_at:t deleted:b",
    ),
    "insights": ("insights", f"{_COMMON} short_id derived_name query filters favorited:b saved:b"),
    "insight_variables": ("insight_variables", "id team_id:i name code_name type default_value"),
    "notebooks": ("notebooks", "id short_id title created_at:t deleted:b"),
    "session_recording_playlists": ("session_recording_playlists", f"{_COMMON} short_id"),
    "surveys": (
        "surveys",
        "id team_id:i name description type questions start_date:t end_date:t created_at:t "
        "archived:b",
    ),
}
"""The collection of each table of `system`, and its columns: i integer, b truth value, t time."""
_TYPES: Final = {
    "": "Nullable(String)",
    "i": "Nullable(Int64)",
    "b": "Nullable(Int64)",
    "t": "Nullable(DateTime64(6, 'UTC'))",
}


def _collection(state: EmulatorState, team: str, path: str) -> ObjectCollection:
    return state.store.collection(fill_path(path, [team]))


def project_objects(
    state: EmulatorState, team: str, project: Mapping[str, Any], text: str
) -> dict[str, Any]:
    """Return the fields of `hogql.context.Context` that come from a project's objects.

    Args:
        state: The emulator's state.
        team: The project.
        project: The data of the project.
        text: The query, to see which objects it may ask for.
    """
    # Read now, under the emulator's lock: the query runs in a thread without it.
    views = _views(state, team)
    asked = set(re.findall(r"system\.\W?(\w+)", " ".join([text, *views.values()])))
    tables = {name: _system_table(state, team, name) for name in asked & _TABLES.keys()}
    return {
        "timezone": project.get("timezone") or "UTC",
        "week_start_day": int(project.get("week_start_day") or 0),
        "actions": _actions(state, team),
        "views": views,
        "system_table": tables.get,
    }


def _actions(state: EmulatorState, team: str) -> dict[int, Action]:
    """Return the actions of a project, by id."""
    from posthog_emulator.hogql.context import Action

    found: dict[int, Action] = {}
    for row in _collection(state, team, _ACTIONS):
        if row.key.isdigit() and not row.deleted:
            steps: Any = row.data.get("steps")
            own = [as_object(step) for step in steps] if is_array(steps) else []
            found[int(row.key)] = Action(str(row.data.get("name")), own)
    return found


def _views(state: EmulatorState, team: str) -> dict[str, str]:
    """Return the HogQL of the saved queries of a project, by name."""
    found: dict[str, str] = {}
    for row in _collection(state, team, _VIEWS):
        query = as_object(row.data.get("query")).get("query")
        if isinstance(query, str) and not row.deleted:
            found[str(row.data.get("name"))] = query
    return found


def _system_table(state: EmulatorState, team: str, name: str) -> SystemTable:
    """Return the rows of a table of `system`."""
    from posthog_emulator.hogql.context import SystemTable

    path, text = _TABLES[name]
    columns = {name: kind for name, _, kind in (word.partition(":") for word in text.split())}
    rows = [
        [_value(row.data, column, kind, team) for column, kind in columns.items()]
        for row in _collection(state, team, f"/api/projects/{{}}/{path}/")
    ]
    return SystemTable({column: _TYPES[kind] for column, kind in columns.items()}, rows)


def _value(data: Mapping[str, Any], column: str, kind: str, team: str) -> Any:
    value = int(team) if column == "team_id" else data.get(column)
    if column == "deleted":
        return bool(value)
    if value is None or kind in {"i", "b"}:
        return value if isinstance(value, bool | int) else None
    if kind == "t":
        return str(value).removesuffix("Z").replace("T", " ")
    return json.dumps(value) if is_array(value) or is_object(value) else str(value)
