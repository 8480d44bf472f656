"""Exceptions make issues, which are resolved, assigned, merged and split."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Api

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


ISSUES = "error_tracking/issues/"


def exception(kind: str, text: str, who: str = "ann", **properties: Any) -> dict[str, Any]:
    frame = {"filename": "app.py", "function": "main", "in_app": True}
    listed = [{"type": kind, "value": text, "stacktrace": {"frames": [frame]}}]
    return {"event": "$exception", "distinct_id": who,
            "properties": {"$exception_list": listed, **properties}}  # fmt: skip


async def issues(api: Api) -> list[Any]:
    return (await api.get(ISSUES))["results"]


async def test_equal_exceptions_have_one_issue(api: Api) -> None:
    await api.capture(exception("KeyError", "a"), exception("KeyError", "b", "bob"))
    await api.capture(exception("TypeError", "c"))
    first, second = await issues(api)
    assert (first["name"], first["description"], first["status"]) == ("KeyError", "a", "active")
    assert (second["name"], second["first_seen"]) == ("TypeError", "2026-01-01T00:00:00Z")
    events = [event["properties"] for event in api.emulator.captured_events("$exception")]
    assert [event["$exception_issue_id"] for event in events] == [
        first["id"], first["id"], second["id"],
    ]  # fmt: skip
    known = (await api.get("error_tracking/fingerprints/"))["results"]
    assert [item["fingerprint"] for item in known] == [
        events[0]["$exception_fingerprint"], events[2]["$exception_fingerprint"],
    ]  # fmt: skip
    assert (await api.get(f"{ISSUES}exists/"))["exists"] is True
    assert await api.get(f"{ISSUES}values/?key=name&value=key") == [{"name": "KeyError"}]


async def test_a_client_may_choose_the_fingerprint_and_the_name(api: Api) -> None:
    chosen = {"$exception_fingerprint": "mine", "$issue_name": "Named"}
    await api.capture(exception("KeyError", "a", **chosen), exception("TypeError", "b", **chosen))
    (only,) = await issues(api)
    assert only["name"] == "Named"
    found = await api.get("error_tracking/fingerprints/resolve/?fingerprint=mine")
    assert found["issue_id"] == only["id"]


async def test_the_newest_capture_path_and_fixtures_make_issues(api: Api) -> None:
    api.emulator.add("events", exception("KeyError", "a"))
    event = {**exception("KeyError", "b"), "uuid": "018f0000-0000-7000-8000-000000000001",
             "timestamp": "2026-01-01T00:00:00Z"}  # fmt: skip
    headers = {
        "Authorization": "Bearer phc_emulator", "PostHog-Sdk-Info": "test/1",
        "PostHog-Attempt": "1", "PostHog-Request-Id": "1",
        "PostHog-Request-Timestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    body = {"created_at": "2026-01-01T00:00:00Z", "batch": [event]}
    answer = await api.http.post("/i/v1/analytics/events", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert [item["description"] for item in await issues(api)] == ["a"]


async def test_events_from_a_demo_have_issues_as_well(api: Api) -> None:
    api.time.now += 30 * 86_400
    api.emulator.add_demo_events(2_000, days=20, seed=1)
    assert "TypeError" in {item["name"] for item in await issues(api)}


async def test_a_resolved_issue_opens_again_and_a_suppressed_one_does_not(api: Api) -> None:
    await api.capture(exception("KeyError", "a"))
    (made,) = await issues(api)
    path = f"{ISSUES}{made['id']}/"
    assert (await api.patch(path, {"status": "resolved"}))["status"] == "resolved"
    await api.capture(exception("KeyError", "b"))
    assert (await api.get(path))["status"] == "active"
    body = {"ids": [made["id"]], "action": "set_status", "status": "suppressed"}
    assert await api.post(f"{ISSUES}bulk/", body) == {"success": True}
    await api.capture(exception("KeyError", "c"))
    assert len(api.emulator.captured_events("$exception")) == 2
    assert (await api.get(path))["status"] == "suppressed"
    log = (await api.get(f"{path}activity/"))["results"]
    steps = [(change["before"], change["after"]) for entry in log
             for change in entry["detail"]["changes"]]  # fmt: skip
    assert steps == [("active", "suppressed"), ("resolved", "active"), ("active", "resolved")]


async def test_issues_are_assigned(api: Api) -> None:
    await api.capture(exception("KeyError", "a"))
    (made,) = await issues(api)
    path, user = f"{ISSUES}{made['id']}/", {"id": 1, "type": "user"}
    assert await api.patch(f"{path}assign/", {"assignee": user}) == {"success": True}
    assert (await api.get(path))["assignee"] == user
    entry = (await api.get(f"{path}activity/"))["results"][0]
    assert (entry["activity"], entry["detail"]["changes"][0]["after"]) == ("assigned", user)
    await api.patch(f"{path}assign/", {"assignee": None})
    assert (await api.get(path))["assignee"] is None


async def test_issues_are_merged_and_split(api: Api) -> None:
    await api.capture(exception("KeyError", "a"))
    api.time.now += 60
    await api.capture(exception("TypeError", "b", "bob"))
    first, second = await issues(api)
    path = f"{ISSUES}{second['id']}/"
    assert await api.post(f"{path}merge/", {"ids": [first["id"]]}) == {"success": True}
    (merged,) = await issues(api)
    assert (merged["id"], merged["first_seen"]) == (second["id"], first["first_seen"])
    query = {"orderBy": "occurrences"}
    (item,) = (await api.post("error_tracking/query/issues/", query))["results"]
    assert item["aggregations"] == {"occurrences": 2, "users": 2, "sessions": 0}
    fingerprint = (await api.get("error_tracking/fingerprints/"))["results"][0]["fingerprint"]
    answer = await api.send("GET", f"{ISSUES}{first['id']}/?fingerprint={fingerprint}")
    assert (answer.status_code, answer.json()) == (308, {"issue_id": second["id"]})
    parts = [{"fingerprint": fingerprint, "name": "Apart"}]
    made = await api.post(f"{path}split/", {"fingerprints": parts})
    assert [item["name"] for item in await issues(api)] == ["TypeError", "Apart"]
    events = {"issueId": made["new_issue_ids"][0], "limit": 5}
    found = await api.post("error_tracking/query/issue_events/", events)
    assert [event["distinct_id"] for event in found["results"]] == ["ann"]
    missing = await api.send("POST", f"{path}merge/", {"ids": [first["id"]]})
    assert missing.status_code == 404


async def test_issues_are_queried(api: Api) -> None:
    await api.capture(exception("KeyError", "first", **{"$session_id": "s"}))
    api.time.now += 60
    await api.capture(exception("TypeError", "second"), exception("TypeError", "third"))

    async def names(**query: Any) -> list[str]:
        found = await api.post("error_tracking/query/issues/", query)
        return [item["name"] for item in found["results"]]

    assert await names() == ["TypeError", "KeyError"]
    assert await names(orderBy="first_seen", orderDirection="ASC") == ["KeyError", "TypeError"]
    assert await names(searchQuery="first") == ["KeyError"]
    assert await names(status="resolved") == []
    assert await names(limit=1, offset=1) == ["KeyError"]
    issue = (await issues(api))[0]
    found = await api.post("error_tracking/query/issue/", {"issueId": issue["id"]})
    assert found["impact"] == {"occurrences": 1, "users": 1, "sessions": 1}
    api.time.now += 8 * 86_400
    assert await names() == []
    assert await names(dateRange={"date_from": "-30d"}) == ["TypeError", "KeyError"]
    _, detail, _ = await api.refused("POST", "error_tracking/query/issues/", {"release": "1"})
    assert "does not implement the filter 'release'" in detail
