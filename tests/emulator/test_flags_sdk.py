"""PostHog's own package asks the emulator for flags, and notices nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio.to_thread
import pytest
from posthog import Posthog

from posthog_emulator import Emulator, serve

pytestmark = pytest.mark.anyio


@pytest.fixture
async def url(emulator: Emulator) -> AsyncIterator[str]:
    async with serve(emulator) as url:
        yield url


def asked(url: str, **settings: Any) -> dict[str, Any]:
    """What a client in its own thread learns of a few flags."""
    settings = {"timeout": 60, "feature_flags_request_timeout_seconds": 60, **settings}
    sdk = Posthog("phc_emulator", host=url, sync_mode=True, disable_geoip=True, **settings)
    try:
        if "personal_api_key" in settings:
            sdk.load_feature_flags()
        return {
            "values": sdk.get_all_flags("ada"),
            "on": sdk.feature_enabled("on", "ada", send_feature_flag_events=False),
            "variant": sdk.get_feature_flag("variant", "ada", send_feature_flag_events=False),
            "payload": sdk.get_feature_flag_payload("variant", "ada"),
            "group": sdk.feature_enabled(
                "group", "ada", groups={"company": "acme"}, send_feature_flag_events=False
            ),
        }
    finally:
        sdk.shutdown()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("settings", [{}, {"personal_api_key": "phx_emulator"}])
async def test_flags(emulator: Emulator, url: str, settings: dict[str, Any]) -> None:
    emulator.state.events.project(1).groups.define_type("company", 0)
    emulator.set_flag("on")
    emulator.set_flag("variant", "b", payload={"a": 1})
    group = emulator.set_flag("group")
    group["filters"]["aggregation_group_type_index"] = 0
    told = await anyio.to_thread.run_sync(partial(asked, url, **settings))
    assert told == {
        "values": {"on": True, "variant": "b", "group": False},
        "on": True,
        "variant": "b",
        "payload": {"a": 1},
        "group": True,
    }
    paths = {request.path for request in emulator.requests}
    if settings:
        assert paths == {"/flags/definitions"}, "it decided on its own"
    else:
        assert paths == {"/flags/"}
