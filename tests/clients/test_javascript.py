"""posthog-node, posthog-js in jsdom, and the tools of @posthog/agent-toolkit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.clients


def test_posthog_node(emulator: Emulator, run_node: Callable[..., Any]) -> None:
    emulator.set_flag("settings", payload={"columns": 2})
    said = run_node("posthog_node.mjs")
    remote = said["remote"]
    assert (remote["on"], remote["off"], remote["special"]) == (True, False, True)
    assert (remote["variant"], remote["payload"]) == ("b", {"columns": 2})
    assert remote["all"]["layout"] == "b"
    assert said["staff"] == {"ada@example.com": True, "bob@elsewhere.org": False}
    assert said["config"] == {"columns": 2}

    events = {event["event"]: event for event in emulator.captured_events()}
    assert events["paid"]["properties"]["$groups"] == {"company": "acme"}
    assert events["paid"]["properties"]["amount"] == 12.5
    (exception,) = events["$exception"]["properties"]["$exception_list"]
    assert exception["value"] == "no such cart"
    assert len({events[name]["person_id"] for name in ("anonymous visit", "paid")}) == 1
    assert events["$feature_flag_called"]["properties"]["$feature_flag"]
    persons = [item for item in emulator.items("persons") if "ada" in item["distinct_ids"]]
    assert persons[0]["properties"]["email"] == "ada@example.com"
    assert {"visitor", "ada@example.com"} <= {*persons[0]["distinct_ids"]}
    assert emulator.requests.matching(path="/flags/definitions", status=200)


def test_posthog_js(emulator: Emulator, run_node: Callable[..., Any]) -> None:
    emulator.add("surveys", {"name": "NPS", "archived": False})
    flag = emulator.set_flag("beta-flag")
    emulator.add("early_access_features", {"name": "A", "stage": "beta", "feature_flag": flag})
    said = run_node("posthog_js.mjs")
    assert said["errors"] == []
    assert (said["flag"], said["payload"]) == ("b", {"columns": 2})
    assert (said["surveys"], said["features"]) == (["NPS"], ["beta-flag"])

    events = {event["event"]: event for event in emulator.captured_events()}
    assert events["cart viewed"]["distinct_id"] == said["anonymous"]
    assert events["paid"]["distinct_id"] == "ada"
    assert events["paid"]["person_id"] == events["cart viewed"]["person_id"]
    assert events["$pageview"]["properties"]["$current_url"].startswith("https://shop.example/")
    assert events["$pageview"]["properties"]["utm_source"] == "news"
    assert events["$autocapture"]["properties"]["$elements_chain"].startswith("button")
    enrolled = events["$feature_enrollment_update"]["properties"]
    assert enrolled["$feature_flag"] == "beta-flag"
    asked = {request.path for request in emulator.requests}
    assert {"/array/phc_emulator/config", "/flags/", "/api/surveys/"} <= asked
    assert {request.status for request in emulator.requests} == {200}
    assert {request.headers["origin"] for request in emulator.requests} == {"https://shop.example"}


def test_agent_toolkit(emulator: Emulator, run_node: Callable[..., Any]) -> None:
    issue = emulator.add("error_tracking.issues", {"name": "LookupError"})
    said = run_node("agent_toolkit.mjs", issue["id"])
    report = said["report"]
    assert len(said["names"]) == 42
    assert report.keys() == {*said["names"]}
    failed = {name: entry["value"] for name, entry in report.items() if not entry["ok"]}
    assert failed == {}
    assert report["properties-list"]["value"]
    assert all(item["name"][0] != "$" for item in report["properties-list"]["value"])
    assert "Sign-ups" in {item["name"] for item in report["insights-get-all"]["value"]}
    assert report["insight-query"]["value"]["results"]
    (flag,) = [item for item in emulator.items("feature_flags") if item["key"] == "new-nav"]
    assert (flag["name"], flag["active"], flag["deleted"]) == ("Navigation", False, True)
    (survey,) = emulator.items("surveys")
    assert (survey["name"], survey["archived"]) == ("Net promoter score", True)
    (dashboard,) = [item for item in emulator.items("dashboards") if item["name"] == "Growth"]
    assert (dashboard["description"], dashboard["deleted"]) == ("Weekly", True)
