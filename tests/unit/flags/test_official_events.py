"""Events about reads of flags mean the same as those of PostHog's own package."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio.to_thread
import pytest
from posthog import Posthog

from asyncposthog import AsyncPostHog
from posthog_emulator import Emulator, serve

pytestmark = pytest.mark.anyio

KEYS = ("on", "off", "split", "gone")
OF_EACH_REQUEST = {"$feature_flag_request_id", "$feature_flag_evaluated_at"}


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough: what is sent does not depend on it."""
    return "asyncio"


def official(url: str, *, local: bool) -> None:
    """Read flags with PostHog's own client."""
    settings: dict[str, Any] = {"secret_key": "phx_emulator"} if local else {}
    sdk = Posthog(
        "phc_emulator",
        host=url,
        sync_mode=True,
        feature_flags_request_timeout_seconds=60,
        **settings,
    )
    try:
        if local:
            sdk.load_feature_flags()
        flags = sdk.evaluate_flags("official", groups={"company": "acme"})
        for key in KEYS:
            flags.is_enabled(key)
            flags.get_flag(key)
    finally:
        sdk.shutdown()


async def ours(url: str, *, local: bool) -> None:
    """Read the same flags with ours."""
    async with AsyncPostHog(
        "phx_emulator", project_id=1, host=url, project_api_key="phc_emulator"
    ) as ph:
        ph.flags.configure(version=4)
        if local:
            async with ph.flags.local():
                flags = await ph.flags.evaluate("ours", groups={"company": "acme"})
        else:
            flags = await ph.flags.evaluate("ours", groups={"company": "acme"})
        for key in KEYS:
            flags.is_enabled(key)
            flags.value(key)


def about_flags(event: dict[str, Any]) -> dict[str, Any]:
    """Return what an event says about the flag, without what differs from request to request."""
    properties: dict[str, Any] = event["properties"]
    return {
        name: value
        for name, value in properties.items()
        if (name.startswith(("$feature", "$groups")) or name == "locally_evaluated")
        and name not in OF_EACH_REQUEST
    }


@pytest.mark.parametrize("local", [False, True])
async def test_the_same_reads_send_the_same_events(local: bool) -> None:
    emulator = Emulator()
    emulator.state.events.project(1).groups.define_type("company", 0)
    emulator.set_flag("on")
    emulator.set_flag("off", enabled=False)
    emulator.set_flag("split", "b", payload={"a": 1})
    async with serve(emulator) as url:
        await anyio.to_thread.run_sync(partial(official, url, local=local))
        await ours(url, local=local)
    theirs = emulator.captured_events("$feature_flag_called", "official")
    events = emulator.captured_events("$feature_flag_called", "ours")
    assert len(events) == len(KEYS)
    for key, mine, their in zip(KEYS, events, theirs, strict=True):
        expected = about_flags(their)
        found = about_flags(mine)
        if local:
            # PostHog's package words its own reason for a value that it has evaluated.
            expected.pop("$feature_flag_reason", None)
            found.pop("$feature_flag_reason", None)
        assert found == expected, key
