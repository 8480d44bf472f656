"""Insights get tiles on their dashboards, and dashboards copy, change and delete tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.rest.activity import copy_fields, log_activity
from posthog_emulator.state import Change, EmulatorState, Lifecycle, fill_path

from .tiles import (
    DASHBOARDS,
    INSIGHTS,
    add_tile,
    copy_tile,
    dashboard_tiles,
    find_tile,
    new_text,
    remove_tile,
    sync_tiles,
    tiles_of_insights,
)

__all__ = ["DASHBOARD_LIFECYCLE", "INSIGHT_LIFECYCLE", "find_dashboard"]


def find_dashboard(state: EmulatorState, project: str, dashboard_id: Any) -> StoredObject | None:
    """Return the live dashboard with an id; None if there is none."""
    row = state.store.collection(fill_path(DASHBOARDS, [project])).rows.get(str(dashboard_id))
    return None if row is None or row.deleted else row


def _check_insight(change: Change) -> None:
    for dashboard_id in change.sent.get("dashboards") or ():
        if find_dashboard(change.state, change.project, dashboard_id) is None:
            detail = f'Invalid pk "{dashboard_id}" - object does not exist.'
            raise invalid(detail, "dashboards", "does_not_exist")


def _sync(change: Change) -> None:
    sync_tiles(change.state, change.project)


def _derive_insights(state: EmulatorState, project: str, rows: Sequence[StoredObject]) -> None:
    if not rows:
        return
    tiles = tiles_of_insights(state, project)
    for row in rows:
        row.data["dashboard_tiles"] = tiles.get(row.data.get("id"), [])


INSIGHT_LIFECYCLE = Lifecycle("Insight", _check_insight, _sync, _sync, derive=_derive_insights)
"""The lifecycle of insights."""


def _check_dashboard(change: Change) -> None:
    source = change.sent.get("use_dashboard")
    if change.row is None:
        if source is not None and not find_dashboard(change.state, change.project, source):
            raise invalid("Invalid value provided", "use_dashboard")
        return
    tiles = change.sent.get("tiles")
    own_id = change.row.data.get("id")
    for tile in tiles if is_array(tiles) else ():
        tile_id = as_object(tile).get("id")
        if tile_id is not None and not find_tile(change.state, change.project, own_id, tile_id):
            raise invalid(f"Tile {tile_id} is not on this dashboard.", "tiles")


def _dashboard_created(change: Change) -> None:
    row, state, project = change.stored, change.state, change.project
    row.data["tiles"] = []
    source = change.sent.get("use_dashboard")
    if source is None or find_dashboard(state, project, source) is None:
        return
    row.data["creation_mode"] = "duplicate"
    for tile in dashboard_tiles(state, project, source):
        if change.sent.get("duplicate_tiles") and tile["insight_id"] is not None:
            _copy_insight(state, project, tile, row.data["id"])
        else:
            copy_tile(state, project, tile, row.data["id"])


def _copy_insight(
    state: EmulatorState, project: str, tile: Mapping[str, Any], dashboard_id: Any
) -> None:
    """Copy a tile with a copy of its insight."""
    path = fill_path(INSIGHTS, [project])
    original = state.store.collection(path).find(str(tile["insight_id"]))
    if original is None:
        return
    fields = {
        name: value
        for name, value in copy_fields(original.data).items()
        if name not in {"id", "short_id", "created_at", "dashboard_tiles"}
    }
    name = fields.get("name") or fields.get("derived_name")
    fields |= {"name": f"{name} (Copy)" if name else None, "dashboards": [dashboard_id]}
    row = state.insert(state.plans.collections[INSIGHTS], path, fields, int(project))
    log_activity(state, project, INSIGHT_LIFECYCLE.scope, "created", row.data, None)
    look = {field: tile[field] for field in ("color", "layouts", "show_description")}
    add_tile(state, project, dashboard_id, insight_id=row.data["id"], **look)


_TILE_FIELDS = ("color", "layouts", "show_description", "filters_overrides")


def _dashboard_updated(change: Change) -> None:
    row, state, project = change.stored, change.state, change.project
    # The tiles are stored apart; what the request says about them is applied to those.
    row.data["tiles"] = []
    if "filters" in change.sent:
        row.data["filters"] = row.data["persisted_filters"] = as_object(change.sent["filters"])
    tiles = change.sent.get("tiles")
    for item in tiles if is_array(tiles) else ():
        _update_tile(state, project, row.data["id"], as_object(item))
    deleted, before = change.sent.get("deleted"), change.before.get("deleted")
    if deleted is True and not before and change.sent.get("delete_insights"):
        _delete_insights(state, project, row.data["id"])


def _update_tile(
    state: EmulatorState, project: str, dashboard_id: Any, sent: Mapping[str, Any]
) -> None:
    text = sent.get("text")
    tile = find_tile(state, project, dashboard_id, sent.get("id"))
    if tile is None:
        if not is_object(text):
            return
        tile = add_tile(
            state, project, dashboard_id, text=new_text(state, project, text.get("body"))
        )
    elif sent.get("deleted") is True:
        remove_tile(state, project, tile)
        return
    elif is_object(text) and tile["text"] is not None:
        tile["text"] |= {"body": text.get("body"), "last_modified_at": state.now()}
    tile.update({name: sent[name] for name in _TILE_FIELDS if name in sent})


def _delete_insights(state: EmulatorState, project: str, dashboard_id: Any) -> None:
    """Delete the insights that are on no other dashboard."""
    for row in state.store.collection(fill_path(INSIGHTS, [project])):
        if not row.deleted and row.data.get("dashboards") == [dashboard_id]:
            row.deleted = row.data["deleted"] = True


DASHBOARD_LIFECYCLE = Lifecycle(
    "Dashboard", _check_dashboard, _dashboard_created, _dashboard_updated
)
"""The lifecycle of dashboards."""
