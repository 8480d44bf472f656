"""Captured snapshots make session recordings, which playlists collect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Api

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


START = 1_767_225_600_000
"""2026-01-01, in milliseconds since 1970."""


def event(second: float, kind: int = 3, **data: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": START + int(second * 1000), "data": data}


CONSOLE = {"plugin": "rrweb/console@1", "payload": {"level": "error"}}
EVENTS = [
    event(0, 4, href="https://example.com/"),
    event(1, source=2, type=2),
    event(3.5, source=5),
    event(60, source=1),
    event(60.5, 6, **CONSOLE),
]


async def snapshot(api: Api, session: str, events: list[Any], who: str = "ann") -> None:
    properties = {"$session_id": session, "$window_id": "w", "$snapshot_data": events,
                  "$lib": "web"}  # fmt: skip
    sent = {"event": "$snapshot", "distinct_id": who, "properties": properties}
    await api.capture(sent, path="/s/")


async def test_snapshots_add_up_to_a_recording(api: Api) -> None:
    await api.capture({"event": "seen", "distinct_id": "ann",
                       "properties": {"$set": {"email": "ann@example.com"}}})  # fmt: skip
    await snapshot(api, "one", EVENTS[:3])
    await snapshot(api, "one", EVENTS[3:])
    (listed,) = (await api.get("session_recordings/"))["results"]
    assert listed["id"] == "one"
    assert listed["person"]["name"] == "ann@example.com"
    times = (listed["start_time"], listed["end_time"], listed["recording_duration"])
    assert times == ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00.500000Z", 60)
    names = ("event_count", "click_count", "keypress_count", "mouse_activity_count",
             "console_error_count", "console_log_count")  # fmt: skip
    assert [listed[name] for name in names] == [5, 1, 1, 2, 1, 0]
    assert (listed["active_seconds"], listed["inactive_seconds"]) == (2, 58)
    assert (listed["start_url"], listed["snapshot_library"]) == ("https://example.com/", "web")
    assert (listed["ongoing"], listed["viewed"], listed["recording_ttl"]) == (True, False, 30)
    api.time.now += 600
    assert (await api.get("session_recordings/one/"))["ongoing"] is False
    assert (await api.get('session_recordings/?distinct_ids=["bob"]'))["results"] == []


async def test_snapshots_are_returned_as_they_came(api: Api) -> None:
    await snapshot(api, "one", EVENTS)
    path = "session_recordings/one/snapshots/"
    (part,) = (await api.get(path))["sources"]
    assert (part["source"], part["blob_key"]) == ("blob_v2", "0")
    answer = await api.send("GET", f"{path}?source=blob_v2&start_blob_key=0&end_blob_key=0")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == [["w", item] for item in EVENTS]
    assert (await api.send("GET", "session_recordings/none/snapshots/")).status_code == 404


async def test_recordings_are_watched_and_deleted(api: Api) -> None:
    for name in ("one", "two", "three"):
        await snapshot(api, name, EVENTS)
    assert await api.patch("session_recordings/one/", {"viewed": True}) == {"success": True}
    seen = await api.get("session_recordings/one/")
    assert (seen["viewed"], seen["viewers"]) == (True, ["someone@example.com"])
    await api.ok("DELETE", "session_recordings/one/")
    body = {"session_recording_ids": ["two", "none"]}
    gone = await api.post("session_recordings/bulk_delete/", body)
    assert (gone["deleted_count"], gone["failed_ids"]) == (1, ["none"])
    assert [item["id"] for item in (await api.get("session_recordings/"))["results"]] == ["three"]


async def test_recordings_over_the_quota_are_dropped(api: Api) -> None:
    api.emulator.settings.exhausted_quotas = {"recordings"}
    await snapshot(api, "one", EVENTS)
    assert (await api.get("session_recordings/"))["results"] == []


async def test_playlists_collect_recordings(api: Api) -> None:
    await snapshot(api, "one", EVENTS)
    await api.patch("session_recordings/one/", {"viewed": True})
    made = await api.post("session_recording_playlists/", {"name": "Best", "type": "collection"})
    path = f"session_recording_playlists/{made['short_id']}/"
    await api.post(f"{path}recordings/one/", {})
    listed = await api.get(f"{path}recordings/")
    assert [item["id"] for item in listed["results"]] == ["one"]
    counts = (await api.get(path))["recordings_counts"]["collection"]
    assert counts == {"count": 1, "watched_count": 1}
    await api.ok("DELETE", f"{path}recordings/one/")
    assert (await api.get(f"{path}recordings/"))["results"] == []
    saved = await api.post("session_recording_playlists/", {"name": "Rule", "type": "filters"})
    path = f"session_recording_playlists/{saved['short_id']}/recordings/one/"
    assert "type 'filters'" in (await api.refused("POST", path, {}))[1]


async def test_recordings_are_queried(api: Api) -> None:
    sessions = {
        name: f"01956a00-0000-7000-8000-00000000000{n}" for n, name in enumerate(("short", "long"))
    }
    bought = {"$session_id": sessions["long"], "plan": "pro", "$set": {"email": "ann@example.com"}}
    await api.capture({"event": "bought", "distinct_id": "ann", "properties": bought})
    await snapshot(api, sessions["long"], EVENTS)
    await snapshot(api, sessions["short"], EVENTS[:2], "bob")
    await api.patch(f"session_recordings/{sessions['short']}/", {"viewed": True})

    async def found(**query: Any) -> list[str]:
        asked = {"kind": "RecordingsQuery", "date_from": "2025-12-01", **query}
        results = (await api.post("query/", {"query": asked}))["results"]
        names = {key: name for name, key in sessions.items()}
        return [names[one["id"]] for one in results]

    plan = {"key": "plan", "type": "event", "operator": "exact", "value": ["pro"]}
    mail = {"key": "email", "type": "person", "operator": "icontains", "value": "ANN@"}
    seconds = {"key": "duration", "type": "recording", "operator": "lt", "value": 30}
    of_long: list[dict[str, Any]] = [
        {"distinct_ids": ["ann"]}, {"session_ids": [sessions["long"]]}, {"properties": [plan]},
        {"properties": [mail]}, {"events": [{"id": "bought", "type": "events"}]},
        {"hide_viewed_recordings": "any-user"}, {"order": "duration", "limit": 1},
        {"events": [{"id": "bought", "properties": [plan]}, {"id": "none"}], "operand": "OR"},
    ]  # fmt: skip
    for query in of_long:
        assert await found(**query) == ["long"], query
    assert await found(having_predicates=[seconds]) == ["short"]
    assert await found(order="duration", order_direction="ASC") == ["short", "long"]
    nothing: list[dict[str, Any]] = [
        {"date_from": "2026-01-02"}, {"date_to": "2025-12-31"}, {"session_ids": []},
        {"events": [{"id": "bought"}, {"id": "none"}]},
    ]  # fmt: skip
    for query in nothing:
        assert await found(**query) == [], query
    body = await api.post(
        "query/", {"query": {"kind": "RecordingsQuery", "limit": 1, "order": "duration"}}
    )
    (item,) = body["results"]
    assert (item["recording_duration"], body["has_next"]) == (60, True)
    assert item["person"]["properties"]["email"] == "ann@example.com"
    error = api.emulator.state.validators.first_error("SessionRecordingType", item, "response")
    assert error is None
    asked = {"kind": "SessionsTimelineQuery", "before": "2026-01-02"}
    timeline = await api.post("query/", {"query": asked})
    (entry,) = timeline["results"]
    assert (entry["sessionId"], entry["recording_duration_s"]) == (sessions["long"], 60)
    sql = "SELECT max(duration), sum(click_count) FROM session_replay_events"
    rows = await api.post("query/", {"query": {"kind": "HogQLQuery", "query": sql}})
    assert rows["results"] == [[60, 2]]
    refused = {"query": {"kind": "RecordingsQuery", "console_log_filters": [
        {"key": "level", "type": "log_entry", "operator": "exact", "value": "warn"}]}}  # fmt: skip
    assert "console_log_filters" in (await api.refused("POST", "query/", refused))[1]
