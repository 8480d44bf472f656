"""Asynchronous tests of the service, with a new emulator in this process for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from asyncposthog import AsyncPostHog
from posthog_emulator import Emulator

from .app import app, client

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http(posthog: AsyncPostHog) -> AsyncIterator[httpx.AsyncClient]:
    app.dependency_overrides[client] = lambda: posthog
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
        yield http
    app.dependency_overrides.clear()


async def test_cohorts(http: httpx.AsyncClient, posthog_emulator: Emulator) -> None:
    posthog_emulator.seed("cohorts", 250)
    cohorts = (await http.get("/cohorts")).json()
    assert len(cohorts) == 250
    assert len(posthog_emulator.requests.matching(operation="cohorts.list")) == 3


async def test_one_cohort(http: httpx.AsyncClient, posthog_emulator: Emulator) -> None:
    cohort = posthog_emulator.add("cohorts", {"name": "Power users"})
    assert (await http.get(f"/cohorts/{cohort['id']}")).json() == {
        "id": cohort["id"],
        "name": "Power users",
    }
    assert (await http.get("/cohorts/404")).status_code == 404


@pytest.mark.parametrize(("active", "expected"), [(True, "new"), (False, "old")])
async def test_navigation_follows_the_flag(
    http: httpx.AsyncClient, posthog_emulator: Emulator, active: bool, expected: str
) -> None:
    assert (await http.get("/navigation")).json() == {"navigation": "old"}
    posthog_emulator.set_flag("new-navigation", enabled=active)
    assert (await http.get("/navigation")).json() == {"navigation": expected}


async def test_when_posthog_is_down(http: httpx.AsyncClient, posthog_emulator: Emulator) -> None:
    posthog_emulator.faults.fail(403, times=None)
    response = await http.get("/cohorts")
    assert (response.status_code, response.json()) == (503, {"error": "PostHog is not available"})


async def test_a_dropped_connection_is_retried(
    http: httpx.AsyncClient, posthog_emulator: Emulator
) -> None:
    posthog_emulator.add("cohorts", {"name": "Power users"})
    posthog_emulator.faults.drop()
    assert len((await http.get("/cohorts")).json()) == 1
    assert [request.status for request in posthog_emulator.requests] == [0, 200]
