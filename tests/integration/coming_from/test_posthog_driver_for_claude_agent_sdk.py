"""The documented usage of a PostHog driver for the Claude Agent SDK, with `await`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncposthog.driver import (
    ConnectionError,  # noqa: A004
    Driver,
    ObjectNotFoundError,
    PostHogClient,
    QueryError,
    ValidationError,
)
from asyncposthog.sandbox import E2B, TEMPLATES, SandboxExecutor, get_template
from posthog_emulator import Emulator
from tests.helpers.fake_e2b import FakeE2B

pytestmark = pytest.mark.anyio


@pytest.fixture
def client_settings(demo: Emulator, demo_url: str) -> dict[str, Any]:
    return {
        "api_key": demo.key,
        "project_id": str(demo.project_id),
        "project_api_key": demo.project_token,
        "api_url": demo_url,
    }


async def test_quick_start(client_settings: dict[str, Any]) -> None:
    async with PostHogClient(**client_settings) as client:
        events = await client.get_events(event_name="$pageview", after="2024-01-01", limit=100)
        assert len(events) == 100
        assert {event["event"] for event in events} == {"$pageview"}
        assert events == sorted(events, key=lambda event: event["timestamp"], reverse=True)
        results = await client.query("""
            SELECT event, count() as count
            FROM events
            WHERE timestamp >= '2024-01-01'
            GROUP BY event
            ORDER BY count DESC
            LIMIT 10
        """)
        counts = [row["count"] for row in results]
        assert counts == sorted(counts, reverse=True)
        exported = await client.export_events(start_date="2024-01-01", end_date="2030-01-31")
        assert len(exported) == 1500


async def test_the_driver_contract(environment: str) -> None:
    async with Driver.from_env() as client:
        objects = await client.list_objects()
        assert {
            "events", "insights", "persons", "cohorts", "feature_flags", "sessions",
            "annotations", "experiments",
        } <= set(objects)  # fmt: skip
        schema = await client.get_fields("events")
        assert schema["event"]["type"] == "string"
        assert schema["timestamp"]["type"] == "datetime"
        assert schema["distinct_id"]["description"]
        assert "properties.$browser" in schema
        assert "properties.plan" in await client.get_fields("persons")
        assert "$session_duration" in await client.get_fields("sessions")
        rows = await client.query("""
            SELECT * FROM events
            WHERE event = '$pageview'
            AND timestamp >= '2024-01-01'
            LIMIT 100
        """)
        assert len(rows) == 100


async def test_events_are_captured(environment: str) -> None:
    async with Driver.from_env() as client:
        result = await client.capture_event(
            event="Feature Used",
            distinct_id="user_123",
            properties={"feature_name": "dark_mode", "enabled": True},
        )
        assert result["status"] == "ok"
        results = await client.capture_batch([
            {"event": "Page View", "distinct_id": "user_123", "properties": {"page": "/home"}},
            {
                "event": "Button Click",
                "distinct_id": "user_123",
                "properties": {"button": "signup"},
            },
            {"distinct_id": "user_123"},
        ])  # fmt: skip
        assert [result["status"] for result in results] == ["ok", "ok", "invalid"]
        found = await client.get_events(distinct_id="user_123", limit=10)
        assert {"Page View", "Button Click"} <= {event["event"] for event in found}
        used = [event for event in found if event["event"] == "Feature Used"]
        assert used[0]["properties"]["feature_name"] == "dark_mode"


async def test_insights(environment: str) -> None:
    async with Driver.from_env() as client:
        await client.create_insight(
            "Signups", "TRENDS", {"events": [{"id": "$pageview"}], "date_from": "-7d"}
        )
        funnel = await client.create_insight(
            "Funnel",
            "FUNNELS",
            {"events": [{"id": "$pageview", "order": 0}, {"id": "signup", "order": 1}]},
        )
        source = funnel["query"]["source"]
        assert source["kind"] == "FunnelsQuery"
        assert [step["event"] for step in source["series"]] == ["$pageview", "signup"]
        funnels = await client.get_insights(insight_type="FUNNELS")
        trends = await client.get_insights(insight_type="TRENDS")
        assert funnel["id"] in {insight["id"] for insight in funnels}
        assert funnel["id"] not in {insight["id"] for insight in trends}
        assert len(await client.get_insights(limit=1)) == 1
        with pytest.raises(ValidationError, match="is no type of insight"):
            await client.get_insights(insight_type="PIE")


async def test_events_are_exported(environment: str) -> None:
    async with Driver.from_env() as client:
        events = await client.export_events(
            start_date="2024-01-01",
            end_date="2030-01-31",
            event_names=["$pageview", "$pageleave"],
        )
        assert {event["event"] for event in events} == {"$pageview", "$pageleave"}
        chrome = await client.export_events(
            "2024-01-01", "2030-01-31", ["$pageview"], properties_filter={"$browser": "Chrome"}
        )
        assert chrome
        assert {event["properties"]["$browser"] for event in chrome} == {"Chrome"}
        with pytest.raises(ValidationError, match="start_date"):
            await client.export_events("January", "2024-01-31")


async def test_cohorts(environment: str) -> None:
    async with Driver.from_env() as client:
        condition = {
            "type": "behavioral",
            "event_count_operator": "gte",
            "event_count_value": 10,
        }
        with pytest.raises(ValidationError, match="needs the event as `key`"):
            await client.create_cohort("Power Users", filters={"properties": condition})
        cohort = await client.create_cohort(
            name="Power Users",
            description="Users with 10+ page views in last 30 days",
            filters={"properties": {**condition, "key": "$pageview"}},
        )
        assert cohort["id"] in {found["id"] for found in await client.get_cohorts()}
        assert await client.get_cohorts(search="Power")
        persons = await client.get_persons(cohort_id=cohort["id"])
        counts = await client.query(
            "SELECT person_id FROM events WHERE event = '$pageview' "
            "AND timestamp >= now() - INTERVAL 30 DAY "
            "GROUP BY person_id HAVING count() >= 10 LIMIT 1000"
        )
        assert {person["uuid"] for person in persons} == {str(row["person_id"]) for row in counts}


async def test_persons(environment: str) -> None:
    async with Driver.from_env() as client:
        assert len(await client.get_persons(limit=5)) == 5
        free = await client.get_persons(properties={"plan": "free"}, limit=20)
        assert {person["properties"]["plan"] for person in free} == {"free"}


async def test_flags_and_experiments(environment: str, demo: Emulator) -> None:
    async with Driver.from_env() as client:
        groups = [
            {
                "properties": [
                    {"key": "plan", "value": "pro", "operator": "exact", "type": "person"}
                ],
                "rollout_percentage": 100,
            }
        ]
        flag = await client.create(
            "feature_flags",
            {"key": "new-dashboard", "name": "", "active": True, "filters": {"groups": groups}},
        )
        flags = await client.get_feature_flags()
        assert "new-dashboard" in {found["key"] for found in flags}
        result = await client.evaluate_flag(
            key="new-dashboard", distinct_id="user_123", person_properties={"plan": "pro"}
        )
        assert result is True
        assert not await client.evaluate_flag("new-dashboard", "user_124", {"plan": "free"})
        with pytest.raises(ObjectNotFoundError):
            await client.evaluate_flag("no-such-flag", "user_123")
        assert isinstance(await client.get_experiments(), list)
        assert await client.delete("feature_flags", flag["id"])


async def test_power_users(environment: str) -> None:
    async with Driver.from_env() as client:
        users = await client.query("""
            SELECT
                distinct_id,
                person.properties.email as email,
                count() as event_count
            FROM events
            WHERE timestamp >= now() - INTERVAL 90 DAY
            GROUP BY distinct_id, email
            HAVING event_count >= 10
            ORDER BY event_count DESC
            LIMIT 50
        """)
    assert users
    assert all(user["event_count"] >= 10 for user in users)


async def test_funnel_drop_off(environment: str) -> None:
    counts: list[int] = []
    async with Driver.from_env() as client:
        for step in ("$pageview", "signup"):
            result = await client.query(
                "SELECT count(DISTINCT distinct_id) as count FROM events "
                "WHERE event = {step} AND timestamp >= '2024-01-01'",
                {"step": step},
            )
            counts.append(result[0]["count"])
    assert counts[0] >= counts[1]


async def test_marketing_channels(environment: str) -> None:
    async with Driver.from_env() as client:
        channels = await client.query("""
            SELECT
                properties.utm_source as source,
                count(DISTINCT distinct_id) as visitors,
                countIf(event = 'signup') as conversions
            FROM events
            WHERE timestamp >= now() - INTERVAL 90 DAY
            GROUP BY source
            ORDER BY visitors DESC
        """)
    assert all(channel["visitors"] > 0 for channel in channels)


async def test_utilities(environment: str) -> None:
    async with Driver.from_env() as client:
        assert (await client.get_project_info())["name"]
        assert await client.health_check()


async def test_errors_have_the_documented_names(environment: str) -> None:
    async with Driver.from_env() as client:
        with pytest.raises(QueryError) as raised:
            await client.query("SELECT FROM WHERE")
        assert raised.value.details["suggestion"]
    async with Driver(
        api_key="phx_key", project_id=1, api_url="http://127.0.0.1:9", max_retries=0
    ) as client:
        with pytest.raises(ConnectionError):
            await client.query("SELECT 1")


async def test_scripts_and_templates_run_in_an_e2b_sandbox(
    demo: Emulator, demo_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeE2B(tmp_path)
    script = """
import asyncio
from asyncposthog.driver import PostHogClient

async def main():
    async with PostHogClient() as client:
        events = await client.get_events(limit=10)
        print(f"Found {len(events)} events")

asyncio.run(main())
"""
    with fake.serve(monkeypatch):
        async with SandboxExecutor(
            E2B(api_key="e2b_0123456789abcdef"),
            api_key=demo.key,
            project_id=str(demo.project_id),
            host=demo_url,
        ) as executor:
            result = await executor.execute_script(script, description="Query power users")
            assert result.output == "Found 10 events\n"
            result = await executor.execute_template(
                template_name="identify_power_users",
                template_vars={"key_event": "$pageview", "min_occurrences": "10", "days": "90"},
            )
            users = result.json()
    assert fake.alive == []
    counts = [user["event_count"] for user in users]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 10
    assert get_template("identify_power_users") is TEMPLATES["identify_power_users"]
    assert {
        "capture_event", "capture_batch", "get_recent_events", "hogql_query", "get_insights",
        "export_events", "export_cohort", "identify_power_users", "identify_churn_risk",
        "analyze_funnel", "get_experiments", "evaluate_flags", "track_errors",
    } == set(TEMPLATES)  # fmt: skip
