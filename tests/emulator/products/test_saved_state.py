"""What products have beside their objects is restored with the saved state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator
from tests.emulator.conftest import client

pytestmark = pytest.mark.anyio

PROJECT = "/api/projects/1/"


async def read(http: httpx.AsyncClient, path: str) -> Any:
    answer = await http.get(PROJECT + path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_relations_survive_a_restart(tmp_path: Path) -> None:
    properties = {"$exception_list": [{"type": "KeyError", "value": "a"}]}
    exception = {"event": "$exception", "distinct_id": "ann", "properties": properties}
    paths = ("dashboards/1/", "experiments/1/", "feature_flags/1/", "activity_log/",
             "error_tracking/issues/", "error_tracking/fingerprints/")  # fmt: skip
    with Emulator(path=tmp_path) as emulator:
        async with client(emulator) as http:
            experiment = {"name": "Price", "feature_flag_key": "price"}
            await http.post(f"{PROJECT}experiments/", json=experiment)
            await http.post(f"{PROJECT}dashboards/", json={"name": "Board"})
            await http.post(f"{PROJECT}dashboards/1/create_text_tile/", json={"body": "hello"})
            insight = {"name": "one", "dashboards": [1]}
            await http.post(f"{PROJECT}insights/", json=insight)
            await http.post("/batch/", json={"api_key": "phc_emulator", "batch": [exception]})
            before = [await read(http, path) for path in paths]
    assert [bool(tile["text"]) for tile in before[0]["tiles"]] == [True, False]
    with Emulator(path=tmp_path) as emulator:
        async with client(emulator) as http:
            assert [await read(http, path) for path in paths] == before
            made = await http.post(f"{PROJECT}dashboards/1/create_text_tile/", json={"body": "b"})
    # Ids are not given twice.
    assert made.json()["id"] == 3


async def test_flags_and_issues_are_read_where_events_cannot_be_queried() -> None:
    emulator = Emulator()
    emulator.add("events", {"event": "seen", "distinct_id": "ann"})
    emulator.add("feature_flags", {"key": "a"})
    emulator.items("projects")[0]["timezone"] = "Europe/Paris"
    async with client(emulator) as http:
        assert (await read(http, "feature_flags/1/"))["key"] == "a"
        assert (await read(http, "error_tracking/issues/"))["count"] == 0


async def test_flags_of_surveys_are_not_evaluated_locally() -> None:
    emulator = Emulator()
    async with client(emulator) as http:
        survey = {"name": "S", "type": "popover"}
        answer = await http.post(f"{PROJECT}surveys/", json=survey)
        assert answer.status_code == 201, answer.text
        assert (await read(http, "feature_flags/local_evaluation/"))["flags"] == []
        body = {"token": "phc_emulator", "distinct_id": "ann"}
        flags = (await http.post("/flags?v=2", json=body)).json()["flags"]
        assert list(flags) == [answer.json()["internal_targeting_flag"]["key"]]


async def test_comments_are_counted() -> None:
    emulator = Emulator()
    async with client(emulator) as http:
        for item in ("1", "2", "2"):
            body = {"content": "c", "scope": "Insight", "item_id": item}
            answer = await http.post(f"{PROJECT}comments/", json=body)
            assert answer.status_code == 200, answer.text
        assert await read(http, "comments/count/") == {"count": 3}
