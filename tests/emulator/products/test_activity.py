"""The activity log tells what changed in which object."""

from __future__ import annotations

from typing import Any

import pytest

from posthog_emulator import Emulator
from posthog_emulator.rest.activity import field_changes
from tests.emulator.conftest import client
from tests.emulator.virtual_time import VirtualTime

from .conftest import Api

pytestmark = pytest.mark.anyio


def summary(entries: list[Any]) -> list[tuple[str, str, str]]:
    return [(entry["scope"], entry["activity"], entry["item_id"]) for entry in entries]


async def test_an_object_knows_what_was_done_to_it(api: Api) -> None:
    made = await api.flag("a", name="before")
    path = f"feature_flags/{made['id']}/"
    api.time.now += 60
    await api.patch(path, {"name": "after"})
    assert (await api.patch(path, {"name": "after", "version": 1}))["version"] == 3
    await api.patch(path, {"deleted": True})
    await api.patch(path, {"deleted": False})
    await api.flag("b")
    log = await api.get(f"{path}activity/")
    entries = log["results"]
    assert [entry["activity"] for entry in entries] == [
        "restored", "deleted", "updated", "updated", "created",
    ]  # fmt: skip
    renamed = entries[3]
    assert (renamed["created_at"], renamed["detail"]["name"]) == ("2026-01-01T00:01:00Z", "a")
    assert renamed["user"]["email"] == "someone@example.com"
    changes = {change["field"]: (change["before"], change["after"])
               for change in renamed["detail"]["changes"]}  # fmt: skip
    assert changes == {"name": ("before", "after"), "version": (1, 2)}
    assert entries[4]["detail"]["changes"] == []
    assert log["total_count"] == 5
    everything = await api.get("feature_flags/activity/?limit=2")
    assert (everything["total_count"], len(everything["results"])) == (6, 2)
    assert (await api.send("GET", "feature_flags/99/activity/")).status_code == 404


async def test_a_project_has_one_log(api: Api) -> None:
    flag = await api.flag("a")
    board = await api.post("dashboards/", {"name": "Board"})
    made = await api.post("insights/", {"name": "Insight", "dashboards": [board["id"]]})
    note = await api.post("annotations/", {"content": "Note", "date_marker": None})
    await api.patch(f"insights/{made['id']}/", {"dashboards": []})
    entries = (await api.get("activity_log/"))["results"]
    assert summary(entries) == [
        ("Insight", "updated", str(made["id"])),
        ("Annotation", "created", str(note["id"])),
        ("Insight", "created", str(made["id"])),
        ("Dashboard", "created", str(board["id"])),
        ("FeatureFlag", "created", str(flag["id"])),
    ]
    assert entries[0]["detail"]["short_id"] == made["short_id"]
    assert entries[0]["detail"]["changes"] == [
        {"type": "Insight", "action": "changed", "field": "dashboards",
         "before": [board["id"]], "after": []}
    ]  # fmt: skip
    assert entries[1]["detail"]["changes"] is None
    flags = await api.get("activity_log/?scope=FeatureFlag")
    assert summary(flags["results"]) == [("FeatureFlag", "created", str(flag["id"]))]
    pages = await api.get("activity_log/?page=1&page_size=2")
    assert (pages["count"], summary(pages["results"])[0][0]) == (5, "Insight")
    found = await api.get("advanced_activity_logs/?scopes=Insight&activities=updated")
    assert summary(found["results"]) == [("Insight", "updated", str(made["id"]))]


async def test_flags_that_change_with_an_experiment_are_logged(api: Api) -> None:
    made = await api.post("experiments/", {"name": "Price", "feature_flag_key": "price"})
    await api.post(f"experiments/{made['id']}/launch/")
    entries = (await api.get(f"feature_flags/{made['feature_flag']['id']}/activity/"))["results"]
    changed = [change["field"] for change in entries[0]["detail"]["changes"]]
    assert changed == ["active", "version"]
    own = (await api.get(f"experiments/{made['id']}/activity/"))["results"]
    assert [change["field"] for change in own[0]["detail"]["changes"]] == ["start_date"]


async def test_fixtures_are_not_logged(api: Api) -> None:
    api.emulator.add("feature_flags", {"key": "a"})
    assert (await api.get("activity_log/"))["results"] == []


async def test_the_log_is_limited() -> None:
    emulator = Emulator(history_size=2)
    async with client(emulator) as http:
        api = Api(http, emulator, VirtualTime())
        for key in ("a", "b", "c"):
            await api.flag(key)
        entries = (await api.get("activity_log/"))["results"]
    assert [entry["detail"]["name"] for entry in entries] == ["c", "b"]


def test_only_fields_that_people_change_are_compared() -> None:
    before = {"name": "a", "updated_at": 1, "version": 1, "color": None, "old": 1}
    after = {"name": "a", "updated_at": 2, "version": 2, "color": "red", "old": None}
    changes = [(change["action"], change["field"]) for change in field_changes("X", before, after)]
    assert changes == [("created", "color"), ("deleted", "old")]
