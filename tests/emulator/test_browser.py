"""What an SDK in a browser asks for at its start."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator
from posthog_emulator.http.messages import FIDELITY_HEADER

from .conftest import client

pytestmark = pytest.mark.anyio

CONFIG = "/array/phc_emulator/config"


async def config(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get(CONFIG)
    assert answer.status_code == 200
    return answer.json()


async def test_the_configuration_follows_the_project(
    http: httpx.AsyncClient, emulator: Emulator
) -> None:
    before = await config(http)
    assert (before["token"], before["hasFeatureFlags"], before["surveys"]) == (
        "phc_emulator", False, False,
    )  # fmt: skip
    assert before["sessionRecording"] is False
    emulator.set_flag("on")
    emulator.add("surveys", {"name": "NPS", "archived": False})
    settings = {"session_recording_opt_in": True, "autocapture_exceptions_opt_in": True}
    changed = await http.patch("/api/projects/1/", json=settings)
    assert changed.status_code == 200
    after = await config(http)
    assert (after["hasFeatureFlags"], after["surveys"]) == (True, True)
    assert after["sessionRecording"]["endpoint"] == "/s/"
    assert after["autocaptureExceptions"] == {"endpoint": "/e/"}
    emulator.settings.exhausted_quotas = {"recordings"}
    assert (await config(http))["sessionRecording"] is False
    flags = {"token": "phc_emulator", "distinct_id": "ada"}
    both = (await http.post("/flags/?v=2&config=true", json=flags)).json()
    assert (both["surveys"], both["flags"]["on"]["enabled"]) == (True, True)


async def test_the_configuration_as_a_script(http: httpx.AsyncClient, emulator: Emulator) -> None:
    answer = await http.get(f"{CONFIG}.js")
    assert answer.headers["content-type"] == "application/javascript"
    text = answer.text
    match = re.search(r'_POSTHOG_REMOTE_CONFIG\["phc_emulator"\] = (.*);\n', text)
    assert match is not None
    assert json.loads(match[1]) == {"config": await config(http), "siteApps": []}
    assert "<" not in match[1]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/array/phc_nobody/config", 404),
        ("/array/phc_emulator/other", 404),
        ("/array/a b/config", 400),
        ("/array/<script>/config.js", 400),
        ("/static/recorder.js", 200),
        ("/static/1.449.2/surveys.js", 200),
        ("/static/style.css", 404),
    ],
)
async def test_paths_of_scripts(http: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await http.get(path)
    assert answer.status_code == status
    if status == 200:
        assert answer.headers[FIDELITY_HEADER] == "schema"
    assert (await http.post(path)).status_code == 405


async def test_surveys(http: httpx.AsyncClient, emulator: Emulator) -> None:
    flag = emulator.set_flag("audience")
    question = {"type": "open", "question": "Why?"}
    shown = emulator.add(
        "surveys",
        {"name": "NPS", "archived": False, "questions": [question], "linked_flag_id": flag["id"]},
    )
    emulator.add("surveys", {"name": "Old", "archived": True})
    async with client(emulator, key=None) as anyone:
        body = (await anyone.get("/api/surveys/?token=phc_emulator")).json()
    (survey,) = body["surveys"]
    assert (survey["id"], survey["linked_flag_key"]) == (shown["id"], "audience")
    assert survey["questions"] == [question]
    assert "created_by" not in survey


async def test_early_access_features(http: httpx.AsyncClient, emulator: Emulator) -> None:
    flag = {"id": 1, "key": "beta-flag"}
    emulator.add("early_access_features", {"name": "A", "stage": "beta", "feature_flag": flag})
    emulator.add("early_access_features", {"name": "B", "stage": "draft"})
    body = (await http.get("/api/early_access_features/?token=phc_emulator")).json()
    (feature,) = body["earlyAccessFeatures"]
    assert (feature["name"], feature["flagKey"]) == ("A", "beta-flag")
    path = "/api/early_access_features/?token=phc_emulator&stage=concept&stage=draft"
    assert [item["name"] for item in (await http.get(path)).json()["earlyAccessFeatures"]] == ["B"]


@pytest.mark.parametrize(
    "name", ["surveys", "early_access_features", "web_experiments", "product_tours"]
)
async def test_project_tokens_are_needed(http: httpx.AsyncClient, name: str) -> None:
    path = f"/api/{name}/"
    missing, wrong = await http.get(path), await http.get(f"{path}?token=phc_nobody")
    assert (missing.status_code, missing.json()["code"]) == (401, "missing_api_key")
    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_api_key")
    assert (await http.get(f"{path}?token=phc_emulator")).status_code == 200
    assert (await http.delete(path)).status_code == 405
