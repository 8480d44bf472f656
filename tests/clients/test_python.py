"""PostHog's Python SDK, its OpenFeature provider, the source for Airbyte, and dlt."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.clients


def test_posthog_python(emulator: Emulator, run_python: Callable[..., Any]) -> None:
    said = run_python("sdk", "posthog_python.py")
    assert said["sync"] == {"layout": "b", "payload": {"columns": 2}, "staff": True}
    assert said["async"] == {"on": True, "layout": "b"}
    events = {event["event"]: event for event in emulator.captured_events()}
    assert events["visited"]["person_id"] == events["paid"]["person_id"]
    assert events["signed up"]["properties"]["plan"] == "pro"
    (exception,) = events["$exception"]["properties"]["$exception_list"]
    assert exception["type"] == "LookupError"


def test_openfeature_provider(emulator: Emulator, run_python: Callable[..., Any]) -> None:
    assert run_python("sdk", "openfeature_provider.py") == {
        "on": True,
        "off": False,
        "layout": "b",
        "payload": {"columns": 2},
        "size": 7,
        "missing": "FLAG_NOT_FOUND",
        "pro": True,
        "free": False,
    }
    called = {
        (event["properties"]["$feature_flag"], event["properties"].get("$feature_flag_response"))
        for event in emulator.captured_events("$feature_flag_called")
    }
    assert {("on", True), ("layout", "b"), ("size", "7")} <= called


def test_airbyte_source(
    emulator: Emulator, url: str, run: Callable[..., str], folder: Path, tmp_path: Path
) -> None:
    # PostHog returns at most 1,000 events of a page, and this source takes a short page for the
    # last one: with the server's limit it would lose the rest.
    emulator.settings.max_events_per_page = None
    emulator.add("annotations", {"content": "Launch"})
    source = folder / "airbyte" / "bin" / "source-posthog"
    config, catalogue = tmp_path / "config.json", tmp_path / "catalogue.json"
    settings = {"api_key": emulator.key, "base_url": url, "start_date": "2020-01-01T00:00:00Z"}
    config.write_text(json.dumps({**settings, "events_time_step": 91}))

    def messages(*arguments: str | Path) -> list[dict[str, Any]]:
        output = run(source, *arguments, "--config", config)
        return [json.loads(line) for line in output.splitlines()]

    (status,) = [m for m in messages("check") if m["type"] == "CONNECTION_STATUS"]
    assert status["connectionStatus"]["status"] == "SUCCEEDED"
    (found,) = [m for m in messages("discover") if m["type"] == "CATALOG"]
    streams = [
        {"stream": item, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}
        for item in found["catalog"]["streams"]
    ]
    catalogue.write_text(json.dumps({"streams": streams}))
    read = messages("read", "--catalog", catalogue)
    counts = Counter(m["record"]["stream"] for m in read if m["type"] == "RECORD")
    assert not [m for m in read if m["type"] == "LOG" and m["log"]["level"] in {"ERROR", "FATAL"}]
    expected = {
        name: len(emulator.items(name))
        for name in ("feature_flags", "cohorts", "insights", "annotations", "persons", "events")
    }
    assert counts == {**expected, "projects": 1}


def test_dlt(emulator: Emulator, run_python: Callable[..., Any], tmp_path: Path) -> None:
    first, second = run_python("dlt", "dlt_pipeline.py", str(tmp_path))
    expected = {name: len(emulator.items(name)) for name in first}
    assert first == second == expected
