"""What the templates compute, on events whose truth is known by construction."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.driver import Driver
from asyncposthog.sandbox import get_template
from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.settings.stale_person_reads = 0
        yield emulator


async def run(driver: Driver, name: str, **variables: Any) -> Any:
    """Run a template here, as `main` does it in a sandbox."""
    template = get_template(name)
    template.prepare(variables)
    return await template.run(driver, template.variables.model_validate(variables))


async def test_templates_answer_what_is_known(emulator: Emulator) -> None:
    events: list[dict[str, Any]] = []

    def add(who: str, event: str, days_ago: float, **properties: Any) -> None:
        time = (NOW - timedelta(days=days_ago)).isoformat()
        events.append(
            {"event": event, "distinct_id": who, "timestamp": time, "properties": properties}
        )

    for number in range(12):
        add("power", "Feature Used", 1 + number / 24)
    for number in range(5):
        add("casual", "Feature Used", 2 + number / 24)
        add("gone", "Feature Used", 30 + number / 24)
    for who in ("power", "casual", "gone"):
        add(who, "Signup Started", 5)
    for who in ("power", "casual"):
        add(who, "Email Verified", 4)
    add("gone", "Email Verified", 6)  # before its sign-up
    add("power", "Profile Completed", 3)
    for who in ("power", "casual"):
        add(who, "$exception", 1, **{"$exception_list": [{"type": "KeyError", "value": "x"}]})

    async with AsyncPostHog.emulated(emulator) as ph:
        driver = Driver(ph)
        sent = await run(driver, "capture_batch", events=events)
        assert {result["status"] for result in sent} == {"ok"}
        one = await run(driver, "capture_event", event="Once", distinct_id="power")
        assert one["status"] == "ok"

        users = await run(
            driver, "identify_power_users", key_event="Feature Used", min_occurrences="10", days="7"
        )
        assert [(user["distinct_id"], user["event_count"]) for user in users] == [("power", 12)]
        everyone = await run(driver, "identify_power_users", min_occurrences=1, days=60)
        assert [user["distinct_id"] for user in everyone] == ["power", "casual", "gone"]
        risk = await run(driver, "identify_churn_risk", inactive_days=4, min_events=5)
        assert [user["distinct_id"] for user in risk] == ["gone"]
        steps = ["Signup Started", "Email Verified", "Profile Completed"]
        funnel = await run(driver, "analyze_funnel", steps=steps)
        assert [step["persons"] for step in funnel] == [3, 2, 1]
        assert [step["conversion"] for step in funnel] == [1.0, 0.6667, 0.5]
        none = await run(driver, "analyze_funnel", steps=["nothing", "'); DROP TABLE events"])
        assert [step["persons"] for step in none] == [0, 0]
        errors = await run(driver, "track_errors")
        assert [(row["occurrences"], row["persons"]) for row in errors] == [(2, 2)]
        assert "KeyError" in errors[0]["types"]
        recent = await run(driver, "get_recent_events", event_name="Once")
        assert [event["distinct_id"] for event in recent] == ["power"]
        exported = await run(
            driver,
            "export_events",
            start_date=NOW - timedelta(days=40),
            end_date=NOW + timedelta(days=1),
            event_names=["Feature Used"],
        )
        assert len(exported) == 22
        rows = await run(driver, "hogql_query", query="SELECT {a} AS a", values={"a": "'; x"})
        assert rows == [{"a": "'; x"}]

        cohort = await ph.cohorts.create(name="Fans", is_static=True)
        await ph.feature_flags.create(
            key="beta", active=True, filters={"groups": [{"rollout_percentage": 100}]}
        )
        assert await run(driver, "evaluate_flags", distinct_id="ada") == {"beta": True}
        assert await run(driver, "evaluate_flags", distinct_id="ada", keys=["no"]) == {}
        assert await run(driver, "export_cohort", cohort_id=cohort.id) == []
        assert await run(driver, "get_experiments") == []
        assert await run(driver, "get_insights", insight_type="TRENDS") == []
