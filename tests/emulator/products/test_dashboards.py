"""Dashboards show tiles, which are made, moved and removed with their insights."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Api

pytestmark = pytest.mark.anyio

QUERY = {"kind": "DataVisualizationNode", "source": {"kind": "HogQLQuery", "query": "SELECT 6 * 7"}}


async def dashboard(api: Api, **fields: Any) -> str:
    made = await api.post("dashboards/", {"name": "Board", **fields})
    return f"dashboards/{made['id']}/"


async def insight(api: Api, name: str, *boards: str) -> Any:
    ids = [int(board.split("/")[1]) for board in boards]
    return await api.post("insights/", {"name": name, "query": QUERY, "dashboards": ids})


def shown(board: dict[str, Any]) -> list[str]:
    return [(tile["insight"] or tile["text"]).get("name") or tile["text"]["body"]
            for tile in board["tiles"]]  # fmt: skip


async def test_an_insight_on_a_dashboard_has_a_tile(api: Api) -> None:
    board = await dashboard(api)
    assert (await api.get(board))["tiles"] == []
    one, two = await insight(api, "one", board), await insight(api, "two")
    assert [tile["dashboard_id"] for tile in one["dashboard_tiles"]] == one["dashboards"] == [1]
    assert shown(await api.get(board)) == ["one"]
    await api.patch(f"insights/{two['id']}/", {"dashboards": [1]})
    assert shown(await api.get(board)) == ["one", "two"]
    await api.patch(f"insights/{one['id']}/", {"dashboards": []})
    assert shown(await api.get(board)) == ["two"]
    await api.patch(f"insights/{two['id']}/", {"deleted": True})
    assert (await api.get(board))["tiles"] == []
    await api.patch(f"insights/{two['id']}/", {"deleted": False})
    assert shown(await api.get(board)) == ["two"]
    body = {"name": "lost", "dashboards": [9]}
    code, _, attr = await api.refused("POST", "insights/", body)
    assert (code, attr) == ("does_not_exist", "dashboards")


async def test_insights_from_fixtures_have_tiles(api: Api) -> None:
    api.emulator.add("dashboards", {"name": "Board"})
    api.emulator.add("insights", {"name": "one", "dashboards": [1]})
    assert shown(await api.get("dashboards/1/")) == ["one"]


async def test_texts_are_tiles(api: Api) -> None:
    board = await dashboard(api)
    made = await api.post(f"{board}create_text_tile/", {"body": "hello", "color": "blue"})
    assert (made["text"]["body"], made["color"], made["insight"]) == ("hello", "blue", None)
    changed = {"tile_id": made["id"], "body": "bye"}
    assert (await api.post(f"{board}update_text_tile/", changed))["text"]["body"] == "bye"
    layouts = {"sm": {"x": 0, "y": 3, "w": 6, "h": 2}}
    tiles = [{"id": made["id"], "layouts": layouts, "text": {"body": "again"}}]
    updated = await api.patch(board, {"tiles": tiles})
    assert (shown(updated), updated["tiles"][0]["layouts"]) == (["again"], layouts)
    await api.ok("POST", f"{board}delete_tile/", {"tile_id": made["id"]})
    assert (await api.get(board))["tiles"] == []
    assert (await api.send("POST", f"{board}delete_tile/", {"tile_id": 9})).status_code == 404


async def test_tiles_are_reordered(api: Api) -> None:
    board = await dashboard(api)
    for name in ("one", "two", "three"):
        await insight(api, name, board)
    ids = [tile["id"] for tile in (await api.get(board))["tiles"]]
    body = {"tile_order": ids[::-1], "layout": "two_column"}
    tiles = (await api.post(f"{board}reorder_tiles/", body))["tiles"]
    places = [(tile["insight"]["name"], *tile["layouts"]["sm"].values()) for tile in tiles]
    assert places == [("three", 0, 0, 6, 5), ("two", 6, 0, 6, 5), ("one", 0, 5, 6, 5)]
    full = await api.post(f"{board}reorder_tiles/", {"tile_order": ids, "layout": "full_width"})
    assert [tile["layouts"]["sm"]["y"] for tile in full["tiles"]] == [0, 5, 10]
    code, detail, _ = await api.refused("POST", f"{board}reorder_tiles/", {"tile_order": [99]})
    assert (code, "99" in detail) == ("invalid_input", True)


async def test_tiles_move_and_are_copied(api: Api) -> None:
    first, second = await dashboard(api), await dashboard(api)
    made = await insight(api, "one", first)
    tile = made["dashboard_tiles"][0]["id"]
    left = await api.post(f"{first}move_tile/", {"tile": {"id": tile}, "to_dashboard": 2})
    assert left["tiles"] == []
    assert [item["id"] for item in (await api.get(second))["tiles"]] == [tile]
    assert (await api.get(f"insights/{made['id']}/"))["dashboards"] == [2]
    copied = await api.post(f"{first}copy_tile/", {"fromDashboardId": 2, "tileId": tile})
    assert shown(copied) == ["one"]
    assert (await api.get(f"insights/{made['id']}/"))["dashboards"] == [2, 1]


async def test_a_dashboard_is_duplicated_with_or_without_its_insights(api: Api) -> None:
    board = await dashboard(api)
    made = await insight(api, "one", board)
    await api.post(f"{board}create_text_tile/", {"body": "hello"})
    shared = await api.get(await dashboard(api, use_dashboard=1))
    assert (shown(shared), shared["creation_mode"]) == (["one", "hello"], "duplicate")
    assert shared["tiles"][0]["insight"]["id"] == made["id"]
    # The schema does not declare `duplicate_tiles`, which the server accepts.
    deep = await api.get(await dashboard(api, use_dashboard=1, duplicate_tiles=True))
    assert shown(deep) == ["one (Copy)", "hello"]
    assert deep["tiles"][0]["insight"]["id"] != made["id"]


async def test_deleting_a_dashboard_may_delete_what_is_on_it_alone(api: Api) -> None:
    first, second = await dashboard(api), await dashboard(api)
    alone = await insight(api, "alone", first)
    both = await insight(api, "both", first, second)
    await api.patch(first, {"deleted": True, "delete_insights": True})
    listed = (await api.get("insights/"))["results"]
    assert [item["id"] for item in listed] == [both["id"]]
    assert both["id"] != alone["id"]
    # The tile on the deleted dashboard is not shown.
    assert [tile["dashboard_id"] for tile in listed[0]["dashboard_tiles"]] == [2]


async def test_insights_on_a_dashboard_are_computed(api: Api) -> None:
    board = await dashboard(api)
    await insight(api, "one", board)
    await api.post(f"{board}create_text_tile/", {"body": "hello"})
    assert (await api.get(board))["tiles"][0]["insight"]["result"] is None
    ran = await api.get(f"{board}run_insights/?refresh=blocking")
    assert [item["insight"]["result"] for item in ran["results"]] == [[[42]]]
    # Later the result comes from the cache.
    tile = (await api.get(board))["tiles"][0]
    assert (tile["insight"]["result"], tile["insight"]["is_cached"]) == ([[42]], True)
    answer = await api.send("GET", f"{board}stream_tiles/")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n") if line]
    kinds = [json.loads(line)["type"] for line in lines]
    assert kinds == ["metadata", "tile", "tile", "complete"]


async def test_an_insight_that_fails_hides_no_other(api: Api) -> None:
    board = await dashboard(api)
    broken = {**QUERY, "source": {"kind": "HogQLQuery", "query": "SELECT nothing FROM nowhere"}}
    await api.post("insights/", {"name": "broken", "query": broken, "dashboards": [1]})
    await insight(api, "one", board)
    ran = await api.get(f"{board}run_insights/?refresh=force_blocking")
    assert [item["insight"]["result"] for item in ran["results"]] == [None, [[42]]]
