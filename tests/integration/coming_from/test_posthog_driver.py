"""The documented usage of a Python driver for PostHog ("Driver Design v2.0"), with `await`."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import respx

from asyncposthog.driver import (
    AuthenticationError,
    ObjectNotFoundError,
    PaginationStyle,
    PostHogDriver,
    RateLimitError,
    ValidationError,
)
from posthog_emulator import Emulator

RESOURCES = (
    "batch_exports dashboards datasets dataset_items desktop_recordings error_tracking endpoints "
    "persons events feature_flags"
)

pytestmark = pytest.mark.anyio


async def test_quick_start(environment: str) -> None:
    driver = PostHogDriver.from_env()
    objects = await driver.list_objects()
    assert set(RESOURCES.split()) <= set(objects)
    fields = await driver.get_fields("dashboards")
    assert fields["name"]["type"] == "string"
    dashboards = await driver.read("/dashboards", limit=50)
    assert len(dashboards) == 3
    assert {"name", "created_at"} <= set(dashboards[0])
    dashboard = await driver.create(
        "dashboards", {"name": "My Dashboard", "description": "A test dashboard"}
    )
    updated = await driver.update("dashboards", dashboard["id"], {"name": "Updated Dashboard Name"})
    assert updated["name"] == "Updated Dashboard Name"
    assert await driver.delete("dashboards", dashboard["id"]) is True
    assert len(await driver.read("/dashboards")) == 3
    await driver.close()


async def test_explicit_credentials(demo: Emulator, demo_url: str) -> None:
    driver = PostHogDriver(
        api_url=f"{demo_url}/api", api_key=demo.key, project_id=str(demo.project_id), timeout=60
    )
    assert await driver.health_check()
    assert (await driver.get_project_info())["id"] == demo.project_id
    await driver.close()


async def test_a_missing_key_is_an_authentication_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POSTHOG_API_KEY", "POSTHOG_PERSONAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AuthenticationError, match="Missing PostHog API key") as raised:
        PostHogDriver.from_env()
    assert "POSTHOG_API_KEY" in raised.value.details["suggestion"]


async def test_an_invalid_key_is_an_authentication_error(environment: str) -> None:
    async with PostHogDriver.from_env(api_key="phx_wrong") as driver:
        assert await driver.health_check() is False
        with pytest.raises(AuthenticationError) as raised:
            await driver.read("/dashboards", limit=10)
        assert raised.value.message
        assert raised.value.details["suggestion"] == raised.value.suggestion


async def test_a_rate_limit_says_how_long_to_wait() -> None:
    with respx.mock(base_url="https://us.posthog.com") as server:
        server.get("/api/projects/1/dashboards/").mock(
            httpx.Response(429, headers={"Retry-After": "7"}, json={"detail": "throttled"})
        )
        async with PostHogDriver(api_key="phx_k", project_id=1, max_retries=0) as driver:
            with pytest.raises(RateLimitError) as raised:
                await driver.read("/dashboards")
    assert raised.value.details["retry_after"] == 7


async def test_capabilities(environment: str) -> None:
    async with PostHogDriver.from_env() as driver:
        capabilities = await driver.get_capabilities()
        assert capabilities.read
        assert capabilities.write
        assert capabilities.update
        assert capabilities.delete
        assert capabilities.batch_operations
        assert capabilities.streaming
        assert capabilities.pagination is PaginationStyle.CURSOR
        assert capabilities.max_page_size == 100
    async with PostHogDriver.from_env(read_only=True) as driver:
        assert not (await driver.get_capabilities()).write


async def test_pagination(environment: str) -> None:
    async with PostHogDriver.from_env() as driver:
        first = await driver.read("/dashboards", limit=2, offset=0)
        second = await driver.read("/dashboards", limit=2, offset=2)
    assert [len(first), len(second)] == [2, 1]
    assert len({dashboard["id"] for dashboard in first + second}) == 3


async def test_batches_of_events_are_complete(environment: str) -> None:
    sizes: list[int] = []
    ids: set[str] = set()
    async with PostHogDriver.from_env() as driver:
        async for batch in driver.read_batched("/events", batch_size=1000):
            sizes.append(len(batch))
            ids.update(event["id"] for event in batch)
            assert all(isinstance(event["event"], str) for event in batch)
    assert sizes == [1000, 500]
    assert len(ids) == 1500


async def test_batches_of_a_list(environment: str) -> None:
    async with PostHogDriver.from_env() as driver:
        sizes = [len(batch) async for batch in driver.read_batched("/dashboards", batch_size=2)]
    assert sizes == [2, 1]


async def test_several_resources_are_created(environment: str) -> None:
    async with PostHogDriver.from_env() as driver:
        for name in ("Sales Dashboard", "Marketing Dashboard"):
            dashboard = await driver.create("dashboards", {"name": name})
            assert await driver.delete("dashboards", dashboard["id"])
        with pytest.raises(ValidationError) as raised:
            await driver.create("feature_flags", {"name": "no key"})
    assert raised.value.details["missing_fields"] == ["key"]


async def test_schemas_are_discovered(environment: str) -> None:
    async with PostHogDriver.from_env() as driver:
        for name in RESOURCES.split():
            fields = await driver.get_fields(name)
            assert fields, name
            for info in fields.values():
                assert info["type"]
                assert info["required"] in {True, False}
        assert (await driver.get_fields("feature_flags"))["key"]["required"]


async def test_what_does_not_exist_is_named(environment: str) -> None:
    async with PostHogDriver.from_env() as driver:
        with pytest.raises(ObjectNotFoundError) as raised:
            await driver.read("/dashboards/some-dashboard-id")
        assert raised.value.message
        with pytest.raises(ObjectNotFoundError) as raised:
            await driver.read("/dashboards/404404")
        assert raised.value.details["suggestion"]
        with pytest.raises(ObjectNotFoundError) as raised:
            await driver.read("/invalid_endpoint")
        assert "dashboards" in raised.value.details["available"]
        with pytest.raises(ObjectNotFoundError, match="dashbords") as raised:
            await driver.get_fields("dashbords")
        assert "dashboards" in raised.value.details["near_matches"]


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (10_001, 0), (5, -1)])
async def test_limits_out_of_range_are_refused(environment: str, limit: int, offset: int) -> None:
    async with PostHogDriver.from_env() as driver:
        with pytest.raises(ValidationError):
            await driver.read("/dashboards", limit=limit, offset=offset)


async def test_an_endpoint_is_called_directly(environment: str) -> None:
    async with PostHogDriver.from_env() as driver:
        result = await driver.call_endpoint(
            endpoint="/dashboards", method="GET", params={"limit": 50}
        )
        assert result["count"] == 3
        created = await driver.call_endpoint("/dashboards", "POST", data={"name": "Direct"})
        await driver.call_endpoint(f"/dashboards/{created['id']}", "PATCH", data={"deleted": True})
        with pytest.raises(ValidationError):
            await driver.call_endpoint("/dashboards", "FETCH")


async def test_rate_limit_status(environment: str) -> None:
    async with PostHogDriver.from_env() as driver:
        assert (await driver.get_rate_limit_status())["remaining"] is None
        await driver.read("/dashboards")
        status = await driver.get_rate_limit_status()
    assert status["remaining"] == status["limit"] - 1


async def test_old_dashboards_are_deleted(environment: str) -> None:
    cutoff = datetime.now(UTC) - timedelta(days=30)
    async with PostHogDriver.from_env() as driver:
        for dashboard in await driver.read("/dashboards", limit=100):
            created = datetime.fromisoformat(dashboard["created_at"].replace("Z", "+00:00"))
            assert created > cutoff


async def test_debug_mode_logs_requests(
    environment: str, caplog: pytest.LogCaptureFixture, demo: Emulator
) -> None:
    with caplog.at_level(logging.DEBUG, "asyncposthog"):
        async with PostHogDriver.from_env(debug=True) as driver:
            await driver.read("/dashboards", limit=5)
    assert "/dashboards/" in caplog.text
    assert demo.key not in caplog.text
