"""The documented actions of PipesHub's PostHog connector, with `await`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import ParameterType, Toolkit, ToolParameter, tool
from posthog_emulator import Emulator

ACTIONS = "capture_event get_event get_person update_person delete_person search_events"

pytestmark = pytest.mark.anyio


@pytest.fixture
def kit(client: AsyncPostHog) -> Toolkit:
    return Toolkit(client, core=False).use(*ACTIONS.split())


async def test_the_actions_have_the_documented_names_and_parameters(kit: Toolkit) -> None:
    parameters = {t.name: set(t.input_schema["properties"]) - {"project_id"} for t in kit}
    assert parameters["capture_event"] >= {"event", "distinct_id", "properties", "timestamp"}
    assert parameters["get_event"] == {"event_id"}
    assert parameters["get_person"] == {"person_id"}
    assert parameters["update_person"] == {"person_id", "properties"}
    assert parameters["delete_person"] == {"person_id"}
    assert parameters["search_events"] == {
        "after", "before", "distinct_id", "event", "properties", "limit",
    }  # fmt: skip


async def test_every_action_returns_a_bool_and_json(kit: Toolkit, demo: Emulator) -> None:
    async def call(name: str, **arguments: Any) -> tuple[bool, Any]:
        successful, text = (await kit.call(name, arguments)).as_pair()
        return successful, json.loads(text)

    done, sent = await call(
        "capture_event",
        event="lesson_started",
        distinct_id="student-1",
        properties={"lesson": 42},
        timestamp="2026-11-30T10:00:00Z",
    )
    assert done
    assert sent["status"] == "ok"
    done, found = await call(
        "search_events",
        event="lesson_started",
        distinct_id="student-1",
        properties={"lesson": 42},
        after="2026-11-30",
        before="2026-11-30",
        limit=10,
    )
    assert done
    assert [event["distinct_id"] for event in found["items"]] == ["student-1"]
    done, event = await call("get_event", event_id=found["items"][0]["uuid"])
    assert done
    assert event["event"] == "lesson_started"
    person_id = str(event["person"]["uuid"]) if event.get("person", {}).get("uuid") else None
    if person_id is None:
        persons = (await kit.client.persons.list(distinct_id="student-1")).items
        person_id = str(persons[0].uuid)
    done, _ = await call("update_person", person_id=person_id, properties={"plan": "pro"})
    assert done
    done, person = await call("get_person", person_id=person_id)
    assert done
    assert person["distinct_ids"] == ["student-1"]
    assert person["properties"]["plan"] == "pro"
    done, _ = await call("delete_person", person_id=person_id)
    assert done
    done, error = await call("get_person", person_id=person_id)
    assert not done
    assert error["error"]


async def test_an_error_is_a_pair_too(kit: Toolkit) -> None:
    successful, text = (await kit.call("get_event", {})).as_pair()
    assert not successful
    assert json.loads(text) == {
        "error": "get_event needs event_id.",
        "details": {
            "message": "get_event needs event_id.",
            "code": "invalid_arguments",
            "field": "event_id",
            "expected": "string",
            "missing": ["event_id"],
        },
    }


async def test_an_operation_is_exposed_in_one_line(client: AsyncPostHog) -> None:
    kit = Toolkit(client, core=False).expose(client.events.get)
    assert [t.name for t in kit] == ["events_get"]
    assert "id" in next(iter(kit)).input_schema["required"]


async def test_a_new_action_is_written_with_the_documented_decorator(
    client: AsyncPostHog,
) -> None:
    class Actions:
        @tool(
            app_name="posthog",
            tool_name="count_events",
            description="Count the events of a name in PostHog",
            parameters=[
                ToolParameter(
                    name="event", type=ParameterType.STRING, description="Name of the event"
                )
            ],
            returns="JSON with the count",
        )
        async def count_events(self, event: str) -> tuple[bool, str]:
            if not event:
                return False, json.dumps({"error": "no name"})
            result = await client.query(
                "SELECT count() FROM events WHERE event = {event}", {"event": event}
            )
            return True, json.dumps({"count": result.scalar()})

    kit = Toolkit(client, core=False).add(Actions().count_events)
    (made,) = kit
    assert made.tags == {"posthog"}
    assert made.input_schema["properties"]["event"]["description"] == "Name of the event"
    successful, text = (await kit.call("count_events", {"event": "$pageview"})).as_pair()
    assert successful
    assert json.loads(text)["count"] > 0
    assert (await kit.call("count_events", {"event": ""})).as_pair()[0] is False
