"""The OpenFeature provider, through OpenFeature's own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason
from openfeature.track import TrackingEventDetails

from asyncposthog import AsyncPostHog
from asyncposthog.contrib.openfeature import PostHogProvider
from posthog_emulator import Emulator

from .helpers import emulated

pytestmark = pytest.mark.anyio

ADA = EvaluationContext("ada", {"plan": "pro"})


@pytest.fixture
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.set_flag("on", payload=3)
    emulator.set_flag("off", enabled=False)
    emulator.set_flag("split", "b", payload={"a": 1})
    emulator.set_flag("ratio", payload=0.5)
    emulator.set_flag("text", payload="words")
    return emulator


@pytest.fixture(autouse=True)
def no_provider_is_left() -> Iterator[None]:
    yield
    api.clear_providers()


def client_of(ph: AsyncPostHog) -> OpenFeatureClient:
    api.set_provider(PostHogProvider(ph))
    return api.get_client()


async def test_async_resolvers_ask_the_server(emulator: Emulator) -> None:
    async with emulated(emulator) as ph:
        client = client_of(ph)
        assert await client.get_boolean_value_async("on", False, ADA) is True
        assert await client.get_boolean_value_async("split", False, ADA) is True
        assert await client.get_boolean_value_async("off", True, ADA) is False
        assert await client.get_string_value_async("split", "x", ADA) == "b"
        assert await client.get_string_value_async("text", "x", ADA) == "words"
        assert await client.get_string_value_async("off", "x", ADA) == "x"
        assert await client.get_integer_value_async("on", 0, ADA) == 3
        assert await client.get_float_value_async("ratio", 0.0, ADA) == 0.5
        assert await client.get_float_value_async("on", 0.0, ADA) == 3.0
        assert await client.get_object_value_async("split", {}, ADA) == {"a": 1}
    assert {request.path for request in emulator.requests} == {"/flags/"}


async def test_sync_resolvers_answer_from_local_evaluation_alone(emulator: Emulator) -> None:
    async with emulated(emulator) as ph:
        client = client_of(ph)
        details = client.get_boolean_details("on", False, ADA)
        assert (details.value, details.error_code) == (False, ErrorCode.PROVIDER_NOT_READY)
        async with ph.flags.local():
            emulator.requests.clear()
            assert client.get_boolean_value("on", False, ADA) is True
            assert client.get_string_value("split", "x", ADA) == "b"
            assert client.get_integer_value("on", 0, ADA) == 3
            assert client.get_float_value("ratio", 0.0, ADA) == 0.5
            assert client.get_object_value("split", {}, ADA) == {"a": 1}
            flag = emulator.set_flag("kept")
            flag["ensure_experience_continuity"] = True
            await ph.flags.load_definitions()
            details = client.get_boolean_details("kept", False, ADA)
            assert (details.value, details.error_code) == (False, ErrorCode.GENERAL)
            assert await client.get_boolean_value_async("kept", False, ADA) is True
    assert [request.path for request in emulator.requests] == ["/flags/definitions", "/flags/"]


async def test_reasons_variants_and_metadata(emulator: Emulator) -> None:
    async with emulated(emulator) as ph:
        client = client_of(ph)
        split = await client.get_string_details_async("split", "x", ADA)
        assert (split.reason, split.variant) == (Reason.SPLIT, "b")
        assert split.flag_metadata["version"] == 1
        on = await client.get_boolean_details_async("on", False, ADA)
        assert (on.reason, on.variant) == (Reason.TARGETING_MATCH, None)
        off = await client.get_boolean_details_async("off", True, ADA)
        assert off.reason == Reason.DISABLED


@pytest.mark.parametrize(
    ("key", "context", "code"),
    [
        ("gone", ADA, ErrorCode.FLAG_NOT_FOUND),
        ("on", None, ErrorCode.TARGETING_KEY_MISSING),
        ("on", EvaluationContext("ada", {"groups": "acme"}), ErrorCode.INVALID_CONTEXT),
        ("on", EvaluationContext("ada", {"groups": {"company": ""}}), ErrorCode.INVALID_CONTEXT),
    ],
)
async def test_errors_give_the_default(
    emulator: Emulator, key: str, context: EvaluationContext | None, code: ErrorCode
) -> None:
    async with emulated(emulator) as ph, ph.flags.local():
        client = client_of(ph)
        for details in (
            await client.get_boolean_details_async(key, True, context),
            client.get_boolean_details(key, True, context),
        ):
            assert details.value is True
            if key == "gone" and details.error_code is ErrorCode.GENERAL:
                continue  # only the server knows that there is no such flag
            assert details.error_code == code


async def test_a_payload_of_another_type(emulator: Emulator) -> None:
    async with emulated(emulator) as ph:
        client = client_of(ph)
        assert (await client.get_integer_details_async("ratio", 7, ADA)).value == 7
        mismatch = await client.get_object_details_async("on", {}, ADA)
        assert mismatch.error_code == ErrorCode.TYPE_MISMATCH
        mismatch = await client.get_string_details_async("on", "x", ADA)
        assert mismatch.error_code == ErrorCode.TYPE_MISMATCH


async def test_a_server_that_fails_gives_the_default(emulator: Emulator) -> None:
    async with emulated(emulator) as ph:
        emulator.faults.fail(503, times=None)
        details = await client_of(ph).get_boolean_details_async("on", True, ADA)
        assert (details.value, details.error_code) == (True, ErrorCode.GENERAL)


async def test_groups(emulator: Emulator) -> None:
    emulator.state.events.project(1).groups.define_type("company", 0)
    flag = emulator.set_flag("group")
    flag["filters"]["aggregation_group_type_index"] = 0
    context = EvaluationContext("ada", {"groups": {"company": "acme"}})
    async with emulated(emulator) as ph:
        client = client_of(ph)
        assert await client.get_boolean_value_async("group", False, context) is True
        assert await client.get_boolean_value_async("group", False, ADA) is False


async def test_tracking_captures_an_event(emulator: Emulator) -> None:
    events: list[Any] = []

    class Sink:
        def nowait(self, event: str, distinct_id: str, **more: Any) -> bool:
            events.append((event, distinct_id, more["properties"]))
            return True

    async with emulated(emulator) as ph:
        ph.__dict__["capture"] = Sink()
        client = client_of(ph)
        client.track("bought", ADA, TrackingEventDetails(9.5, {"item": "cap"}))
        client.track("nobody")
    assert events == [("bought", "ada", {"item": "cap", "value": 9.5})]
