"""The tiles of dashboards: how they are stored, ordered, placed and shown.

An insight is on the dashboards in its field `dashboards`. Each of these has a tile for it, which
is stored apart, with its layout and color.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import ObjectCollection, StoredObject
from posthog_emulator.rest.activity import copy_fields
from posthog_emulator.state import EmulatorState, fill_path

__all__ = [
    "DASHBOARDS",
    "INSIGHTS",
    "Tile",
    "add_tile",
    "arranged",
    "copy_tile",
    "dashboard_tiles",
    "find_tile",
    "move_tile",
    "new_text",
    "remove_tile",
    "show_tile",
    "sync_tiles",
    "tiles_of_insights",
]

DASHBOARDS: Final = "/api/projects/{}/dashboards/"
INSIGHTS: Final = "/api/projects/{}/insights/"
_TILES: Final = "/dashboards/{}/tiles/"
"""Path of the tiles of a project in the saved state; no operation has it."""
_SHOWN_FIELDS: Final = (
    "id", "color", "layouts", "show_description", "filters_overrides", "transparent_background",
)  # fmt: skip
_COLUMNS: Final = 12
_ROWS: Final = 5
"""The height of a tile that has none, in rows of the grid."""

Tile = dict[str, Any]


def _tiles(state: EmulatorState, project: str) -> ObjectCollection:
    return state.store.collection(fill_path(_TILES, [project]))


def _live(state: EmulatorState, template: str, project: str) -> dict[Any, StoredObject]:
    rows = state.store.collections.get(fill_path(template, [project]), ())
    return {row.data.get("id"): row for row in rows if not row.deleted}


def add_tile(state: EmulatorState, project: str, dashboard_id: Any, **fields: Any) -> Tile:
    """Add a tile to a dashboard.

    Args:
        state: The emulator's state.
        project: The key of the project.
        dashboard_id: The dashboard.
        fields: Fields of the tile, among them `insight_id` or `text`.
    """
    tile_id = state.next_id("dashboard_tiles")
    layouts: dict[str, Any] = {}
    data: Tile = {
        "id": tile_id,
        "dashboard_id": dashboard_id,
        "insight_id": None,
        "text": None,
        "color": None,
        "layouts": layouts,
        "show_description": None,
        "filters_overrides": None,
        "transparent_background": None,
        **fields,
    }
    return state.store.put(fill_path(_TILES, [project]), str(tile_id), data).data


def find_tile(state: EmulatorState, project: str, dashboard_id: Any, tile_id: Any) -> Tile | None:
    """Return a tile of a dashboard; None if it has no such tile."""
    row = _tiles(state, project).rows.get(str(tile_id))
    return row.data if row is not None and row.data["dashboard_id"] == dashboard_id else None


def remove_tile(state: EmulatorState, project: str, tile: Mapping[str, Any]) -> None:
    """Remove a tile, and its insight from the dashboard."""
    _tiles(state, project).remove(str(tile["id"]))
    row = _live(state, INSIGHTS, project).get(tile["insight_id"])
    if row is not None:
        ids: list[Any] = row.data.get("dashboards") or []
        row.data["dashboards"] = [item for item in ids if item != tile["dashboard_id"]]


def sync_tiles(state: EmulatorState, project: str) -> None:
    """Add the tiles of insights that were put on dashboards, and remove those of others."""
    insights = _live(state, INSIGHTS, project)
    expected = {
        (dashboard_id, insight_id): None
        for insight_id, row in insights.items()
        for dashboard_id in row.data.get("dashboards") or ()
    }
    tiles = _tiles(state, project)
    for row in list(tiles):
        insight_id = row.data["insight_id"]
        # The tile of a deleted insight is only hidden: the insight may be restored.
        if insight_id not in insights:
            continue
        key = (row.data["dashboard_id"], insight_id)
        if key not in expected:
            tiles.remove(row.key)
        expected.pop(key, None)
    for dashboard_id, insight_id in expected:
        add_tile(state, project, dashboard_id, insight_id=insight_id)


def dashboard_tiles(state: EmulatorState, project: str, dashboard_id: Any) -> list[Tile]:
    """Return the visible tiles of a dashboard, from top to bottom."""
    sync_tiles(state, project)
    insights = _live(state, INSIGHTS, project)
    tiles = [
        row.data
        for row in _tiles(state, project)
        if row.data["dashboard_id"] == dashboard_id
        and (row.data["insight_id"] is None or row.data["insight_id"] in insights)
    ]
    return sorted(tiles, key=_position)


def _position(tile: Mapping[str, Any]) -> tuple[int, int, int]:
    box = as_object(as_object(tile["layouts"]).get("sm"))
    # Tiles that were never placed come last.
    placed = "y" in box
    return (int(box["y"]) if placed else 1 << 31, int(box.get("x") or 0), tile["id"])


def tiles_of_insights(state: EmulatorState, project: str) -> dict[Any, list[dict[str, Any]]]:
    """Return the `dashboard_tiles` of all insights, by the id of the insight."""
    sync_tiles(state, project)
    dashboards = _live(state, DASHBOARDS, project)
    by_insight: dict[Any, list[dict[str, Any]]] = {}
    for row in _tiles(state, project):
        tile = row.data
        if tile["insight_id"] is not None and tile["dashboard_id"] in dashboards:
            shown = {"id": tile["id"], "dashboard_id": tile["dashboard_id"], "deleted": None}
            by_insight.setdefault(tile["insight_id"], []).append(shown)
    return by_insight


def copy_tile(
    state: EmulatorState, project: str, tile: Mapping[str, Any], dashboard_id: Any
) -> Tile:
    """Copy a tile to a dashboard; its insight is on both then."""
    copied = copy_fields(tile)
    if copied["text"] is not None:
        copied["text"] = new_text(state, project, copied["text"].get("body"))
    row = _live(state, INSIGHTS, project).get(tile["insight_id"])
    if row is not None:
        ids: list[Any] = row.data.get("dashboards") or []
        if dashboard_id in ids:
            return next(
                item
                for item in dashboard_tiles(state, project, dashboard_id)
                if item["insight_id"] == tile["insight_id"]
            )
        row.data["dashboards"] = [*ids, dashboard_id]
    fields = {name: value for name, value in copied.items() if name not in {"id", "dashboard_id"}}
    return add_tile(state, project, dashboard_id, **fields)


def move_tile(state: EmulatorState, project: str, tile: Tile, dashboard_id: Any) -> None:
    """Move a tile to another dashboard; its insight moves with it."""
    row = _live(state, INSIGHTS, project).get(tile["insight_id"])
    ids: list[Any] = [] if row is None else row.data.get("dashboards") or []
    if row is not None:
        rest = [item for item in ids if item not in {tile["dashboard_id"], dashboard_id}]
        row.data["dashboards"] = [*rest, dashboard_id]
    if dashboard_id in ids:
        # The insight has a tile there already.
        _tiles(state, project).remove(str(tile["id"]))
    else:
        tile["dashboard_id"] = dashboard_id


def new_text(state: EmulatorState, project: str, body: Any) -> dict[str, Any]:
    """Return the text of a new text tile."""
    user = dict(state.current_user())
    return {
        "id": state.next_id("dashboard_texts"),
        "body": body,
        "created_by": user,
        "last_modified_by": user,
        "last_modified_at": state.now(),
        "team": int(project),
    }


def show_tile(
    state: EmulatorState, tile: Mapping[str, Any], insight: dict[str, Any] | None
) -> dict[str, Any]:
    """Return a tile as the API shows it.

    Args:
        state: The emulator's state.
        tile: The tile.
        insight: Its insight as the API shows it; None for a text.
    """
    text = tile["text"]
    if text is not None:
        users = {name: _user(state, text[name]) for name in ("created_by", "last_modified_by")}
        own_tiles = [{"id": tile["id"], "dashboard_id": tile["dashboard_id"], "deleted": None}]
        text = {**text, **users, "dashboard_tiles": own_tiles}
    return {
        **{name: tile[name] for name in _SHOWN_FIELDS},
        "insight": insight,
        "text": text,
        "button_tile": None,
        "widget": None,
    }


def _user(state: EmulatorState, user: Mapping[str, Any]) -> dict[str, Any]:
    if "UserBasic" not in state.catalogue:
        return dict(user)
    return state.object_schemas.fit({"$ref": "#/components/schemas/UserBasic"}, user)


def arranged(
    tiles: Sequence[Mapping[str, Any]], order: Iterable[Any], layout: str
) -> dict[Any, dict[str, Any]]:
    """Return the layouts of tiles in a new order, by the id of the tile.

    Tiles that the order does not name come after those that it names.

    Args:
        tiles: The tiles.
        order: The ids, from top to bottom.
        layout: `preserve` keeps width and height, `two_column` and `full_width` set the width.
    """
    by_id = {tile["id"]: tile for tile in tiles}
    first = [tile_id for tile_id in dict.fromkeys(order) if tile_id in by_id]
    ids = [*first, *(tile_id for tile_id in by_id if tile_id not in first)]
    layouts: dict[Any, dict[str, Any]] = {}
    x = y = row_height = stacked = 0
    for tile_id in ids:
        box = as_object(as_object(by_id[tile_id]["layouts"]).get("sm"))
        height = int(box.get("h") or _ROWS)
        width = {"two_column": _COLUMNS // 2, "full_width": _COLUMNS}.get(
            layout, int(box.get("w") or _COLUMNS // 2)
        )
        if x + width > _COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        layouts[tile_id] = {
            "sm": {"x": x, "y": y, "w": width, "h": height},
            "xs": {"x": 0, "y": stacked, "w": 1, "h": height},
        }
        x, row_height, stacked = x + width, max(row_height, height), stacked + height
    return layouts
