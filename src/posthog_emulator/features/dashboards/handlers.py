"""Dashboard endpoints: dashboards with their tiles, and operations on tiles."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Response, json_response, text_response
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.routing import Kind
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.handlers import DEFAULT_HANDLERS
from posthog_emulator.state import ApiCall, fill_path

from .lifecycle import INSIGHT_LIFECYCLE, find_dashboard
from .results import cached_fields, insight_results
from .tiles import (
    INSIGHTS,
    Tile,
    add_tile,
    arranged,
    copy_tile,
    dashboard_tiles,
    find_tile,
    move_tile,
    new_text,
    remove_tile,
    show_tile,
)

__all__ = ["OPERATION_HANDLERS"]


def _with_tiles(kind: Kind) -> Callable[[ApiCall], Response]:
    """Return the default handler of a kind, with the tiles of the dashboard in the response."""

    def handler(call: ApiCall) -> Response:
        response = DEFAULT_HANDLERS[kind](call)
        body = json.loads(response.content)
        if kind != "create":
            call.resolve_parents()
        body["tiles"] = _show_tiles(call, body["id"])
        return json_response(response.status, body)

    return handler


def _show_tiles(call: ApiCall, dashboard_id: Any) -> list[dict[str, Any]]:
    return [
        _show_tile(call, tile) for tile in dashboard_tiles(call.state, call.project, dashboard_id)
    ]


def _show_tile(call: ApiCall, tile: Tile) -> dict[str, Any]:
    row = _insight(call, tile)
    if row is None:
        return show_tile(call.state, tile, None)
    INSIGHT_LIFECYCLE.derive(call.state, call.project, [row])
    result = cached_fields(call, row.data)
    # Only fields that an insight has by its schema are replaced.
    shown = {name: value for name, value in result.items() if name in row.data}
    return show_tile(call.state, tile, {**row.data, "result": None, **shown})


def _insight(call: ApiCall, tile: Tile) -> StoredObject | None:
    if tile["insight_id"] is None:
        return None
    path = fill_path(INSIGHTS, [call.project])
    return call.state.store.collection(path).find(str(tile["insight_id"]))


def _dashboard(call: ApiCall) -> StoredObject:
    call.resolve_parents(2)
    row = find_dashboard(call.state, call.project, call.parents[1])
    if row is None:
        raise not_found()
    return row


def _dashboard_response(call: ApiCall, row: StoredObject) -> Response:
    body = {**row.data, "tiles": _show_tiles(call, row.data["id"])}
    return json_response(call.operation.result.status, body)


def _tile(call: ApiCall, dashboard: StoredObject, tile_id: Any) -> Tile:
    # Before the search, because a tile may be as new as the insight.
    dashboard_tiles(call.state, call.project, dashboard.data["id"])
    tile = find_tile(call.state, call.project, dashboard.data["id"], tile_id)
    if tile is None:
        raise not_found("Tile not found.")
    return tile


def _other_dashboard(call: ApiCall, dashboard_id: Any) -> StoredObject:
    row = find_dashboard(call.state, call.project, dashboard_id)
    if row is None:
        raise not_found("Dashboard not found.")
    return row


def _copy_tile(call: ApiCall) -> Response:
    row, body = _dashboard(call), as_object(call.body)
    source = _other_dashboard(call, body.get("fromDashboardId"))
    tile = _tile(call, source, body.get("tileId"))
    copy_tile(call.state, call.project, tile, row.data["id"])
    return _dashboard_response(call, row)


def _move_tile(call: ApiCall) -> Response:
    row, body = _dashboard(call), as_object(call.body)
    target = _other_dashboard(call, body.get("to_dashboard"))
    tile = _tile(call, row, as_object(body.get("tile")).get("id"))
    if target is not row:
        move_tile(call.state, call.project, tile, target.data["id"])
    return _dashboard_response(call, row)


def _delete_tile(call: ApiCall) -> Response:
    row = _dashboard(call)
    remove_tile(call.state, call.project, _tile(call, row, as_object(call.body).get("tile_id")))
    return Response(call.operation.result.status)


def _reorder_tiles(call: ApiCall) -> Response:
    row, body = _dashboard(call), as_object(call.body)
    tiles = dashboard_tiles(call.state, call.project, row.data["id"])
    order: list[Any] = body.get("tile_order") or []
    unknown = set(order) - {tile["id"] for tile in tiles}
    if unknown:
        raise invalid(f"Tiles not found on this dashboard: {sorted(unknown)}", "tile_order")
    layouts = arranged(tiles, order, str(body.get("layout") or "preserve"))
    for tile in tiles:
        tile["layouts"] = layouts[tile["id"]]
    return _dashboard_response(call, row)


def _create_text(call: ApiCall) -> Response:
    row, body = _dashboard(call), as_object(call.body)
    text = new_text(call.state, call.project, body.get("body"))
    fields = {name: body[name] for name in ("color", "layouts") if name in body}
    tile = add_tile(call.state, call.project, row.data["id"], text=text, **fields)
    return json_response(call.operation.result.status, _show_tile(call, tile))


def _update_text(call: ApiCall) -> Response:
    row, body = _dashboard(call), as_object(call.body)
    tile = _tile(call, row, body.get("tile_id"))
    if tile["text"] is None:
        raise invalid("The tile is not a text tile.", "tile_id")
    if "body" in body:
        tile["text"] |= {"body": body["body"], "last_modified_at": call.state.now()}
    tile.update({name: body[name] for name in ("color", "layouts") if name in body})
    return json_response(call.operation.result.status, _show_tile(call, tile))


def _run_insights(call: ApiCall) -> Response:
    row = _dashboard(call)
    tiles: list[tuple[Any, dict[str, Any]]] = []
    for tile in dashboard_tiles(call.state, call.project, row.data["id"]):
        insight = _insight(call, tile)
        if insight is not None:
            tiles.append((tile["id"], insight.data))
    shown = [
        {name: data.get(name) for name in ("derived_name", "id", "name", "short_id")}
        for _, data in tiles
    ]
    status = call.operation.result.status

    def make(results: list[dict[str, Any]]) -> tuple[int, bytes]:
        body = {
            "results": [
                {"id": tile_id, "insight": {**insight, "result": result.get("result")}}
                for (tile_id, _), insight, result in zip(tiles, shown, results, strict=True)
            ]
        }
        return status, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    if not tiles:
        return json_response(status, {"results": []})
    return Response(status, deferred=insight_results(call, [data for _, data in tiles], make))


def _stream_tiles(call: ApiCall) -> Response:
    row = _dashboard(call)
    tiles = _show_tiles(call, row.data["id"])
    messages: list[dict[str, Any]] = [
        {"type": "metadata", "dashboard": {**row.data, "tiles": []}},
        *({"type": "tile", "order": index, "tile": tile} for index, tile in enumerate(tiles)),
        {"type": "complete"},
    ]
    text = "".join(f"data: {json.dumps(message, ensure_ascii=False)}\n\n" for message in messages)
    return text_response(call.operation.result.status, text, "text/event-stream")


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "dashboards.create": OperationHandler(_with_tiles("create")),
    "dashboards.get": OperationHandler(_with_tiles("get")),
    "dashboards.update": OperationHandler(_with_tiles("update")),
    "dashboards.replace": OperationHandler(_with_tiles("replace")),
    "dashboards.delete": OperationHandler(_with_tiles("soft_delete")),
    "dashboards.restore": OperationHandler(_with_tiles("restore")),
    "dashboards.run_insights": OperationHandler(_run_insights),
    "dashboards.tiles.copy": OperationHandler(_copy_tile),
    "dashboards.tiles.create_text": OperationHandler(_create_text),
    "dashboards.tiles.delete": OperationHandler(_delete_tile),
    "dashboards.tiles.move": OperationHandler(_move_tile),
    "dashboards.tiles.move_legacy": OperationHandler(_move_tile),
    "dashboards.tiles.reorder": OperationHandler(_reorder_tiles),
    "dashboards.tiles.stream": OperationHandler(_stream_tiles),
    "dashboards.tiles.update_text": OperationHandler(_update_text),
}
