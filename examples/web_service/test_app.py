"""Tests of the service, with an emulator in this process for each test."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest

from asyncposthog import AsyncPostHog
from posthog_emulator import Emulator

from .app import create_app

pytestmark = pytest.mark.anyio

ADA = {"Authorization": "Bearer secret-of-ada"}
CLAIMS_TO_BE_ADA = {"X-POSTHOG-DISTINCT-ID": "ada"}


@asynccontextmanager
async def service(
    emulator: Emulator, *, local_flags: bool = False
) -> AsyncGenerator[httpx.AsyncClient]:
    """Run the service, with its lifespan."""
    app = create_app(AsyncPostHog.emulated(emulator), local_flags=local_flags)
    # An exception of the service is a response to its user, not an error of the test.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as http,
    ):
        yield http


@pytest.mark.parametrize("local_flags", [False, True])
async def test_the_home_page_follows_the_flags(
    posthog_emulator: Emulator, local_flags: bool
) -> None:
    posthog_emulator.set_flag("new-home", distinct_id="ada")
    posthog_emulator.set_flag("theme", "dark")
    async with service(posthog_emulator, local_flags=local_flags) as http:
        assert (await http.get("/home", headers=ADA)).json() == {"new": True, "theme": "dark"}
        bob = {"X-POSTHOG-DISTINCT-ID": "bob"}
        assert (await http.get("/home", headers=bob)).json() == {"new": False, "theme": "dark"}
        # Without a user there is no value of a flag.
        assert (await http.get("/home")).json() == {"new": False, "theme": "light"}


async def test_who_is_logged_in_cannot_be_forged(posthog_emulator: Emulator) -> None:
    posthog_emulator.set_flag("discount", distinct_id="ada")
    async with service(posthog_emulator) as http:
        forged = {**ADA, "X-POSTHOG-DISTINCT-ID": "eve"}
        assert (await http.get("/price", headers=forged)).json() == {"price": 80}
        # Without a login, the service believes what the request claims.
        assert (await http.get("/price", headers=CLAIMS_TO_BE_ADA)).json() == {"price": 80}


async def test_the_service_works_while_posthog_is_down(posthog_emulator: Emulator) -> None:
    posthog_emulator.set_flag("discount")
    async with service(posthog_emulator) as http:
        posthog_emulator.faults.fail(503, times=None)
        assert (await http.get("/price", headers=ADA)).json() == {"price": 100}
        assert (await http.get("/home", headers=ADA)).json() == {"new": False, "theme": "light"}
        posthog_emulator.faults.clear()
        assert (await http.get("/price", headers=ADA)).json() == {"price": 80}


async def test_events_and_exceptions_belong_to_the_person(posthog_emulator: Emulator) -> None:
    async with service(posthog_emulator) as http:
        session = {**ADA, "X-POSTHOG-SESSION-ID": "s1"}
        assert (await http.post("/orders", headers=session)).json() == {"ordered": True}
        assert (await http.get("/broken", headers=session)).status_code == 500
    # The events were sent when the service stopped, at the latest.
    ordered, exception = posthog_emulator.captured_events(distinct_id="ada")
    assert (ordered["event"], exception["event"]) == ("ordered", "$exception")
    assert ordered["properties"]["$session_id"] == "s1"
    assert exception["properties"]["$request_path"] == "/broken"
