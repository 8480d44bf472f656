"""`capture` and `import events`, against the emulator."""

from __future__ import annotations

import json
from pathlib import Path

from posthog_emulator import Emulator

from .helpers import CompletedCommand, environment, finish, served, start


def run(url: str, *arguments: str) -> CompletedCommand:
    """Run the program with a project token and no other key."""
    changes: dict[str, str | None] = {
        "POSTHOG_HOST": url,
        "POSTHOG_PROJECT_API_KEY": "phc_emulator",
        "POSTHOG_PERSONAL_API_KEY": None,
    }
    return finish(start(*arguments, env=environment(**changes)))


def test_one_event() -> None:
    emulator = Emulator()
    with served(emulator) as url:
        done = run(
            url, "capture", "paid", "--distinct-id", "ada", "--properties", '{"plan": "pro"}',
            "-p", "seats=7", "-p", "name=Ada", "--group", "company=7",
            "--timestamp", "2026-01-02T03:04:05Z",
        )  # fmt: skip
        wrong = run(url, "capture", "paid", "--distinct-id", "")
        unparsable = run(url, "capture", "paid", "--distinct-id", "a", "--properties", "{")
    assert (done.status, done.json["status"]) == (0, "ok")
    (event,) = emulator.captured("paid", distinct_id="ada", properties={"plan": "pro", "seats": 7})
    assert event["uuid"] == done.json["uuid"]
    assert event["properties"]["name"] == "Ada"
    assert event["properties"]["$groups"] == {"company": "7"}
    assert (wrong.status, wrong.err) == (2, "distinct_id is empty.\n")
    assert unparsable.status == 2


def test_a_file_of_events(tmp_path: Path) -> None:
    emulator = Emulator()
    path = tmp_path / "old.jsonl"
    event = {"event": "paid", "distinct_id": "ada", "timestamp": "2024-01-01T00:00:00Z"}
    path.write_text(json.dumps(event) + "\n" + json.dumps({"event": "paid"}) + "\n")
    with served(emulator) as url:
        done = run(url, "import", "events", str(path))
    assert (done.status, done.json) == (
        1,
        {"rows": 2, "delivered": 1, "dropped": {}, "invalid": 1},
    )
    assert "Row 1: invalid: the row has no timestamp" in done.err
    emulator.captured("paid", count=1)
    assert [item.name for item in tmp_path.iterdir()] == ["old.jsonl"]
