"""Tables of `system`: the objects of a project, as rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from posthog_emulator.hogql.context import SystemTable
from posthog_emulator.state import EmulatorState, fill_path

__all__ = ["replay_table", "system_columns", "system_table"]

_ID: Final = {"id": "Int64"}
_TEXT_ID: Final = {"id": "String"}
_NAMED: Final = {"name": "Nullable(String)", "description": "Nullable(String)"}
_DELETED: Final = {"deleted": "UInt8"}
_CREATED: Final = {"created_at": "Nullable(DateTime64(6, 'UTC'))"}
_DATES: Final = {"start_date": "Nullable(DateTime64(6, 'UTC'))",
                 "end_date": "Nullable(DateTime64(6, 'UTC'))"}  # fmt: skip

_LOG_TEXTS: Final = ("trace_id", "span_id", "body", "attributes", "severity_text", "level",
                     "resource_attributes", "event_name")  # fmt: skip

_TABLES: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "actions": ("actions", {**_ID, **_NAMED, **_DELETED, **_CREATED}),
    "alerts": ("alerts", {**_TEXT_ID, "name": "Nullable(String)", "enabled": "UInt8", **_CREATED}),
    "annotations": (
        "annotations",
        {**_ID, "content": "Nullable(String)", "scope": "Nullable(String)",
         "date_marker": "Nullable(DateTime64(6, 'UTC'))", **_DELETED, **_CREATED},
    ),
    "batch_exports": ("batch_exports", {**_TEXT_ID, "name": "Nullable(String)", "paused": "UInt8",
                                        "interval": "Nullable(String)", **_CREATED}),
    "cohorts": ("cohorts", {**_ID, **_NAMED, "is_static": "UInt8", "count": "Nullable(Int64)",
                            **_DELETED, **_CREATED}),
    "dashboards": ("dashboards", {**_ID, **_NAMED, "pinned": "UInt8", **_DELETED, **_CREATED}),
    "early_access_features": (
        "early_access_feature", {**_TEXT_ID, **_NAMED, "stage": "Nullable(String)", **_CREATED},
    ),
    "error_tracking_issues": (
        "error_tracking/issues", {**_TEXT_ID, **_NAMED, "status": "Nullable(String)"},
    ),
    "experiments": ("experiments", {**_ID, **_NAMED, "archived": "UInt8", **_DATES, **_DELETED,
                                    **_CREATED}),
    "exports": ("exports", {**_ID, "export_format": "Nullable(String)", **_CREATED}),
    "feature_flags": (
        "feature_flags",
        {**_ID, "key": "String", "name": "Nullable(String)", "active": "UInt8",
         "rollout_percentage": "Nullable(Float64)", "filters": "String", **_DELETED, **_CREATED},
    ),
    "group_type_mappings": (
        "groups_types", {"group_type": "String", "group_type_index": "Int64"},
    ),
    "hog_flows": ("hog_flows", {**_TEXT_ID, **_NAMED, "status": "Nullable(String)", **_CREATED}),
    "hog_functions": ("hog_functions", {**_TEXT_ID, **_NAMED, "type": "Nullable(String)",
                                        "enabled": "UInt8", **_DELETED, **_CREATED}),
    "insight_variables": (
        "insight_variables", {**_TEXT_ID, "name": "Nullable(String)", "type": "Nullable(String)",
                              "code_name": "Nullable(String)", **_CREATED},
    ),
    "insights": ("insights", {**_ID, "short_id": "String", **_NAMED, "query": "String",
                              "saved": "UInt8", **_DELETED, **_CREATED}),
    "integrations": ("integrations", {**_ID, "kind": "Nullable(String)", **_CREATED}),
    "logs": (
        "logs/query",
        {"uuid": "String", **dict.fromkeys(_LOG_TEXTS, "String"), "severity_number": "Int64",
         "timestamp": "Nullable(DateTime64(6, 'UTC'))",
         "observed_timestamp": "Nullable(DateTime64(6, 'UTC'))"},
    ),
    "notebooks": ("notebooks", {**_TEXT_ID, "short_id": "String", "title": "Nullable(String)",
                                **_DELETED, **_CREATED}),
    "session_recordings": ("session_recordings", {**_TEXT_ID, "distinct_id": "Nullable(String)"}),
    "surveys": ("surveys", {**_TEXT_ID, **_NAMED, "type": "Nullable(String)", "archived": "UInt8",
                            **_DATES, **_CREATED}),
    "tasks": ("tasks", {**_TEXT_ID, "title": "Nullable(String)", "description":
                        "Nullable(String)", **_CREATED}),
}  # fmt: skip
"""By name: the collection below the project, and the columns with their ClickHouse types."""


def system_columns() -> dict[str, Mapping[str, str]]:
    """Return the columns of the tables with their ClickHouse types, by the name in HogQL."""
    return {
        name if name == "logs" else f"system.{name}": columns
        for name, (_, columns) in _TABLES.items()
    }


def system_table(state: EmulatorState, team: str, name: str) -> SystemTable | None:
    """Return a table of `system`; None if the emulator has no such table.

    Args:
        state: The emulator's state.
        team: The id of the project.
        name: The name of the table, such as `feature_flags`.
    """
    if name not in _TABLES:
        return None
    path, columns = _TABLES[name]
    collection = state.store.collection(fill_path(f"/api/projects/{{}}/{path}/", [team]))
    rows: list[list[Any]] = []
    for row in collection:
        data = {**row.data, "deleted": row.deleted}
        rows.append([_value(data.get(column), kind) for column, kind in columns.items()])
    return SystemTable(columns, rows)


_REPLAYS: Final[Mapping[str, tuple[str, str]]] = {
    "session_id": ("id", "String"),
    "distinct_id": ("distinct_id", "Nullable(String)"),
    "start_time": ("start_time", "Nullable(DateTime64(6, 'UTC'))"),
    "end_time": ("end_time", "Nullable(DateTime64(6, 'UTC'))"),
    "duration": ("recording_duration", "Int64"),
    "first_url": ("start_url", "Nullable(String)"),
    "size": ("total_size", "Int64"),
    "viewed": ("viewed", "UInt8"),
    **{name: (name, "Nullable(String)") for name in ("snapshot_source", "snapshot_library")},
    **{
        name: (name, "Int64")
        for name in ("active_seconds", "inactive_seconds", "click_count", "keypress_count",
                     "mouse_activity_count", "console_log_count", "console_warn_count",
                     "console_error_count", "event_count")
    },
}  # fmt: skip
"""Columns of `session_replay_events`: the field of a recording, and the ClickHouse type."""


def replay_table(recordings: Iterable[Mapping[str, Any]]) -> SystemTable:
    """Return recordings as the table `session_replay_events`."""
    return SystemTable(
        {name: kind for name, (_, kind) in _REPLAYS.items()},
        [
            [_value(recording.get(field), kind) for field, kind in _REPLAYS.values()]
            for recording in recordings
        ],
    )


def _value(value: Any, kind: str) -> Any:
    """Return a JSON value as a value of a column."""
    if value is None:
        return None if kind.startswith("Nullable") else _EMPTY[kind]
    if "DateTime64" in kind:
        return _timestamp(str(value))
    if "String" in kind:
        return value if isinstance(value, str) else _text(value)
    if "Float64" in kind:
        return float(value)
    return int(value)


_EMPTY: Final[Mapping[str, Any]] = {"String": "", "Int64": 0, "UInt8": 0}


def _timestamp(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    # The engine does not read offsets in the values of a table.
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at


def _text(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
