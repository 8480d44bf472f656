"""phog-cli: commands that read and change what the emulator stores.

Some of its commands send what PostHog refuses as well: DELETE for what is deleted by a field, the
parameters of a query of logs outside `query`, and a path that does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.clients

Phog = Callable[..., Any]


def credentials(url: str) -> dict[str, str]:
    """Return the environment variables that the program reads."""
    return {"POSTHOG_API_KEY": "phx_emulator", "POSTHOG_HOST": url, "POSTHOG_PROJECT_ID": "1"}


@pytest.fixture
def phog(run: Callable[..., str], folder: Path, url: str) -> Phog:
    """Return a function that runs a command, and returns the JSON that it prints."""
    program = folder / "sdk" / "bin" / "posthog"

    def phog(*arguments: str | int) -> Any:
        output = run(program, "--json", "--yes", *map(str, arguments), environment=credentials(url))
        return json.loads(output) if output.strip()[:1] in {"{", "["} else output

    return phog


@pytest.fixture
def refused(run: Callable[..., str], folder: Path, url: str) -> Phog:
    """Return a function that runs a command that fails, and returns its error message."""
    program = folder / "sdk" / "bin" / "posthog"

    def refused(*arguments: str | int) -> str:
        return run(
            program, "--json", "--yes", *map(str, arguments),
            environment=credentials(url), status=1,
        )  # fmt: skip

    return refused


def items(answer: Any) -> list[Any]:
    """Return the items of a list, with or without its envelope."""
    return answer["results"] if isinstance(answer, dict) else answer


def test_flags(emulator: Emulator, phog: Phog, refused: Phog) -> None:
    made = phog(
        "flag", "create", "--key", "new-nav", "--name", "Navigation", "--rollout-percentage", 50
    )
    assert [item["key"] for item in items(phog("flag", "list", "--search", "new-nav"))] == [
        "new-nav"
    ]
    assert phog("flag", "get", made["id"])["key"] == "new-nav"
    phog("flag", "update", made["id"], "--no-active")
    assert phog("flag", "list", "--inactive")
    assert "405" in refused("flag", "delete", made["id"])
    (flag,) = [item for item in emulator.items("feature_flags") if item["key"] == "new-nav"]
    assert (flag["active"], flag["deleted"]) == (False, False)
    assert flag["filters"]["groups"][0]["rollout_percentage"] == 50


def test_surveys_dashboards_and_insights(emulator: Emulator, phog: Phog, refused: Phog) -> None:
    questions = json.dumps([{"type": "open", "question": "Why?"}])
    survey = phog("survey", "create", "--name", "NPS", "--questions-json", questions)
    phog("survey", "update", survey["id"], "--start")
    assert phog("survey", "get", survey["id"])["start_date"]
    assert len(items(phog("survey", "list"))) == 1
    phog("survey", "stats", survey["id"])

    dashboard = phog("dashboard", "create", "--name", "Growth", "--pinned")
    query = {"kind": "TrendsQuery", "series": [{"kind": "EventsNode", "event": "signed up"}]}
    insight = phog(
        "insight", "create", "--name", "Sign-ups", "--query-json",
        json.dumps({"kind": "InsightVizNode", "source": query}),
    )  # fmt: skip
    assert "404" in refused(
        "dashboard", "add-insight", "--dashboard-id", dashboard["id"],
        "--insight-id", insight["id"],
    )  # fmt: skip
    assert [item["name"] for item in items(phog("dashboard", "list", "--search", "Growth"))] == [
        "Growth"
    ]
    assert phog("insight", "get", insight["id"])["name"] == "Sign-ups"
    assert items(phog("insight", "list", "--search", "Sign-ups"))
    assert phog("insight", "query", insight["id"])
    phog("insight", "update", insight["id"], "--favorited")
    assert items(phog("insight", "list", "--favorited"))[0]["name"] == "Sign-ups"
    assert "405" in refused("insight", "delete", insight["id"])
    assert "405" in refused("dashboard", "delete", dashboard["id"])
    phog("survey", "delete", survey["id"])
    assert emulator.items("surveys") == []


def test_experiments(emulator: Emulator, phog: Phog, refused: Phog) -> None:
    made = phog("experiment", "create", "--name", "Form", "--feature-flag-key", "short-form")
    phog("experiment", "update", made["id"], "--launch", "--description", "Fewer fields")
    assert phog("experiment", "get", made["id"])["description"] == "Fewer fields"
    assert len(items(phog("experiment", "list"))) == 1
    assert "405" in refused("experiment", "delete", made["id"])
    assert emulator.items("experiments")[0]["start_date"]


def test_queries_and_searches(emulator: Emulator, phog: Phog) -> None:
    rows = phog("query", "run", "--hogql", "SELECT count() AS n FROM events")
    assert rows["results"] == [[len(emulator.items("events"))]]
    person = emulator.items("persons")[0]
    assert items(phog("search", "persons", person["distinct_ids"][0]))
    assert items(phog("search", "events", "--search", "signed"))[0]["name"] == "signed up"
    assert items(phog("search", "properties"))
    for view in ("events", "pageviews", "summary", "users"):
        assert phog("activity", view)
    assert phog("org", "list")
    assert phog("project", "list")


def test_logs_and_errors(emulator: Emulator, phog: Phog, refused: Phog) -> None:
    issue = emulator.add("error_tracking.issues", {"name": "LookupError", "status": "active"})
    assert phog("error", "get", issue["id"])["name"] == "LookupError"
    phog("error", "update", issue["id"], "--status", "resolved")
    assert emulator.items("error_tracking.issues")[0]["status"] == "resolved"
    dates = ("--date-from", "2026-05-01T00:00:00Z", "--date-to", "2026-05-02T00:00:00Z")
    assert "No query provided" in refused("log", "query", *dates)
    assert phog("log", "attributes")


def test_raw_requests(emulator: Emulator, phog: Phog) -> None:
    made = phog("api", "post", "/annotations/", "--data", '{"content": "Launch"}')
    phog("api", "patch", f"/annotations/{made['id']}/", "--data", '{"content": "Start"}')
    assert items(phog("api", "get", "/annotations/"))[0]["content"] == "Start"
    assert emulator.items("annotations")[0]["content"] == "Start"
