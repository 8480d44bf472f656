"""`ph.flags.evaluate`: what is sent, what is retried, and what responses mean."""

from __future__ import annotations

import asyncio
import builtins
import json
from typing import Any

import httpx
import pytest
import respx

from asyncposthog import (
    AsyncPostHog,
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    ConnectionError,  # noqa: A004
    DecodeError,
    FlagUnavailableError,
    QuotaError,
    RateLimitError,
    ReadOnlyError,
    ServerError,
    TimeoutError,  # noqa: A004
)
from posthog_emulator import Emulator, serve
from tests.helpers.manual_clock import ManualClock

from .helpers import TOKEN, Server, flags_client, record, response

pytestmark = pytest.mark.anyio


async def test_the_request_goes_to_the_ingestion_host_without_the_key() -> None:
    with respx.mock(assert_all_called=True) as routes:
        route = routes.post("https://eu.i.posthog.com/flags/", params={"v": "2"}).mock(
            return_value=response(record("f"))
        )
        async with AsyncPostHog(
            "phx_private", region="eu", project_api_key=TOKEN, project_id=1
        ) as ph:
            await ph.flags.evaluate(
                "ada",
                groups={"company": 7},
                person_properties={"plan": "pro"},
                group_properties={"company": {"size": 3}},
                keys=["b", "a"],
                device_id="d1",
            )
    request = route.calls.last.request
    assert "Authorization" not in request.headers
    assert "phx_private" not in str(request.headers.raw)
    assert json.loads(request.content) == {
        "token": TOKEN,
        "distinct_id": "ada",
        "groups": {"company": "7"},
        "person_properties": {"plan": "pro"},
        "group_properties": {"company": {"size": 3}},
        "geoip_disable": False,
        "device_id": "d1",
        "flag_keys_to_evaluate": ["a", "b"],
    }


async def test_a_self_hosted_instance_behind_a_path() -> None:
    server = Server(response())
    async with flags_client(server, host="https://ph.example.org/analytics") as ph:
        ph.flags.configure(version=4, disable_geoip=True)
        await ph.flags.evaluate("ada")
        assert str(server.last.url) == "https://ph.example.org/analytics/flags/?v=4"
        assert json.loads(server.last.content)["geoip_disable"] is True
        await ph.flags.evaluate("ada", disable_geoip=False)
        assert json.loads(server.last.content)["geoip_disable"] is False
        assert str(server.last.url) == "https://ph.example.org/analytics/flags/?v=4"
    assert server.authorizations == [None, None]


async def test_values_payloads_and_reasons() -> None:
    server = Server(
        response(
            record("on", metadata={"payload": '{"a": 1}'}),
            record("off", enabled=False),
            record("split", variant="b", metadata={"payload": "not JSON"}),
            record("broken", failed=True),
        )
    )
    async with flags_client(server) as ph:
        flags = await ph.flags.evaluate("ada")
    assert flags.keys() == ("on", "off", "split")
    assert [flags.is_enabled(key) for key in flags] == [True, False, True]
    assert [flags.variant(key) for key in flags] == [None, None, "b"]
    assert [flags.value(key) for key in flags] == [True, False, "b"]
    assert [flags.payload(key) for key in flags] == [{"a": 1}, None, "not JSON"]
    assert flags.reason("on").code == "condition_match"
    assert flags.reason("on").condition_index == 0
    assert flags.request_id == "0198c2a4-0000-7000-8000-000000000001"
    assert flags.evaluated_at is not None
    assert flags.evaluated_at.year == 2025
    assert flags.partial
    assert not flags.quota_limited
    with pytest.raises(FlagUnavailableError, match="'broken' is not known") as caught:
        flags.is_enabled("broken")
    assert (caught.value.key, caught.value.reason) == ("broken", "evaluation_failed")
    assert flags.is_enabled("broken", True) is True
    assert flags.event_properties() == {
        "$feature/on": True,
        "$feature/off": False,
        "$feature/split": "b",
        "$active_feature_flags": ["on", "split"],
    }
    with pytest.raises(AttributeError):
        flags.distinct_id = "eve"  # type: ignore[misc]
    with pytest.raises(TypeError):
        flags.results["on"] = flags.results["off"]  # type: ignore[index]


async def test_a_flag_that_a_complete_result_lacks_is_off_and_says_why() -> None:
    async with flags_client(Server(response(record("on")))) as ph:
        flags = await ph.flags.evaluate("ada")
    assert not flags.is_enabled("gone")
    assert flags.reason("gone").code == "flag_missing"
    assert not flags.partial


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"errorsWhileComputingFlags": True}, "errors_while_computing_flags"),
        ({"quotaLimited": ["feature_flags"]}, "quota_limited"),
        ({"quotaLimited": ["recordings", "feature_flags"]}, "quota_limited"),
    ],
)
async def test_partial_results_and_quota_are_not_off(fields: dict[str, Any], code: str) -> None:
    async with flags_client(Server(response(record("on"), **fields))) as ph:
        flags = await ph.flags.evaluate("ada")
    assert flags.partial
    assert flags.quota_limited == (code == "quota_limited")
    assert flags.reason("gone").code == code
    for read in (flags.is_enabled, flags.variant, flags.value, flags.payload):
        with pytest.raises(FlagUnavailableError) as caught:
            read("gone")
        assert caught.value.reason == code
    assert flags.variant("gone", None) is None
    assert flags.payload("gone", {"x": 1}) == {"x": 1}
    assert flags.is_enabled("gone", False) is False


async def test_another_quota_is_none_of_flags() -> None:
    async with flags_client(Server(response(record("on"), quotaLimited=["recordings"]))) as ph:
        assert (await ph.flags.evaluate("ada")).is_enabled("on")


async def test_a_flag_that_was_not_asked_for_is_a_mistake() -> None:
    async with flags_client(Server(response(record("a")))) as ph:
        flags = await ph.flags.evaluate("ada", keys=["a", "b"])
    assert flags.is_enabled("a")
    assert not flags.is_enabled("b")
    with pytest.raises(ValueError, match="'c' was not evaluated: keys=a, b"):
        flags.is_enabled("c")


@pytest.mark.parametrize("failure", [502, 504, httpx.ReadError("lost"), httpx.ReadTimeout("slow")])
async def test_one_narrow_retry(failure: Any) -> None:
    first = httpx.Response(failure) if isinstance(failure, int) else failure
    server = Server(first, response(record("on")))
    async with flags_client(server) as ph:
        assert (await ph.flags.evaluate("ada")).is_enabled("on")
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 408, 429, 500, 503])
async def test_what_is_not_retried(status: int) -> None:
    server = Server(httpx.Response(status, text="no", headers={"Retry-After": "1"}))
    async with flags_client(server) as ph:
        with pytest.raises(Exception) as caught:
            await ph.flags.evaluate("ada")
    assert getattr(caught.value, "status", None) == status
    assert len(server.requests) == 1


async def test_the_last_error_is_raised_after_one_retry() -> None:
    server = Server(httpx.Response(502))
    async with flags_client(server) as ph:
        with pytest.raises(ServerError):
            await ph.flags.evaluate("ada")
        assert len(server.requests) == 2
        with pytest.raises(ServerError):
            await ph.flags.evaluate("ada", options={"max_retries": 0})
        assert len(server.requests) == 3
        ph.flags.configure(on_error="unavailable")
        # Whatever the client says about other calls, 429 and 503 are not repeated.
        server.answers = [httpx.Response(503)]
        flags = await ph.flags.evaluate("ada", options={"max_retries": 5})
        assert len(server.requests) == 4
    assert isinstance(flags.error, ServerError)


async def test_a_server_that_asks_to_wait_is_not_waited_for() -> None:
    clock = ManualClock()
    server = Server(httpx.Response(502, headers={"Retry-After": "60"}))
    async with flags_client(server, clock=clock) as ph:
        with pytest.raises(ServerError):
            await ph.flags.evaluate("ada")
    assert clock.slept == []


async def test_the_timeout_is_three_seconds() -> None:
    seen: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"]["read"])
        return response()

    async with flags_client(answer) as ph:
        await ph.flags.evaluate("ada")
        ph.flags.configure(timeout=0.5)
        await ph.flags.evaluate("ada")
        await ph.flags.evaluate("ada", options={"timeout": 9})
    assert seen == [3.0, 0.5, 9.0]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx.Response(401, text="no"), AuthenticationError),
        (httpx.Response(402, text="no"), QuotaError),
        (httpx.Response(429, text="no"), RateLimitError),
        (httpx.ConnectError("down"), ConnectionError),
        (httpx.ReadTimeout("slow"), TimeoutError),
        (httpx.Response(200, text="<html>"), DecodeError),
        (httpx.Response(200, json=[1]), DecodeError),
        (httpx.Response(200, json={"status": "ok"}), DecodeError),
    ],
)
async def test_a_failed_request_raises_or_is_kept(failure: Any, error: type[Exception]) -> None:
    async with flags_client(Server(failure)) as ph:
        with pytest.raises(error):
            await ph.flags.evaluate("ada")
        flags = await ph.flags.evaluate("ada", on_error="unavailable")
    assert isinstance(flags.error, error)
    assert flags.reason("on").code == "request_failed"
    assert flags.is_enabled("on", default=True)
    with pytest.raises(FlagUnavailableError) as caught:
        flags.is_enabled("on")
    assert caught.value.__cause__ is flags.error
    assert TOKEN not in str(flags.error)


async def test_errors_of_the_program_are_always_raised() -> None:
    server = Server(response())
    async with flags_client(server, project_api_key=None) as ph:
        with pytest.raises(ConfigurationError, match="POSTHOG_PROJECT_API_KEY"):
            await ph.flags.evaluate("ada", on_error="unavailable")
    async with flags_client(server, allow=["persons.*"]) as ph:
        with pytest.raises(ReadOnlyError):
            await ph.flags.evaluate("ada", on_error="unavailable")
    async with flags_client(server) as ph:
        pass
    with pytest.raises(ClosedError):
        await ph.flags.evaluate("ada", on_error="unavailable")
    assert server.requests == []


async def test_a_read_only_client_evaluates_flags() -> None:
    async with flags_client(Server(response(record("on"))), read_only=True) as ph:
        assert (await ph.flags.evaluate("ada")).is_enabled("on")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"distinct_id": ""}, ValueError, "distinct_id is empty"),
        ({"distinct_id": None}, TypeError, "distinct_id must be a str"),
        ({"distinct_id": True}, TypeError, "distinct_id must be a str"),
        ({"groups": {"company": ""}}, ValueError, "key of a group"),
        ({"group_properties": {"company": {}}}, ValueError, "groups has no such group"),
        ({"keys": "beta"}, TypeError, "keys=\\['beta'\\]"),
        ({"person_properties": {"x": {1, 2, b"y"}}}, TypeError, "person_properties.x"),
        ({"on_error": "ignore"}, ValueError, "on_error must be"),
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_sent(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    server = Server(response())
    given: dict[str, Any] = {"distinct_id": "ada", **arguments}
    async with flags_client(server) as ph:
        with pytest.raises(error, match=text):
            await ph.flags.evaluate(**given)
    assert server.requests == []


@pytest.mark.parametrize("settings", [{"version": 5}, {"timeout": 0}, {"on_error": "x"}])
async def test_bad_settings(settings: dict[str, Any]) -> None:
    async with flags_client(Server()) as ph:
        before = ph.flags.settings
        with pytest.raises(ValueError, match="must be"):
            ph.flags.configure(**settings)
        assert ph.flags.settings == before


async def test_the_client_has_one_service_and_needs_nothing_to_build_it() -> None:
    server = Server()
    async with flags_client(server) as ph:
        assert ph.flags is ph.flags
        assert ph.flags.definitions is None
    assert server.requests == []


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_all_versions_mean_the_same_over_a_socket(version: int) -> None:
    emulator = Emulator()
    emulator.set_flag("on", payload=[1])
    emulator.set_flag("off", enabled=False)
    emulator.set_flag("split", "b", payload={"a": 1})
    async with (
        serve(emulator) as url,
        AsyncPostHog(emulator.key, project_id=1, host=url, project_api_key="phc_emulator") as ph,
    ):
        ph.flags.configure(version=version)
        flags = await ph.flags.evaluate("ada")
        assert dict(zip(flags, map(flags.value, flags), strict=True)) == {
            "on": True,
            "off": False,
            "split": "b",
        }
        assert (flags.payload("on"), flags.payload("split")) == ([1], {"a": 1})
        emulator.state.settings.exhausted_quotas = frozenset({"feature_flags"})
        assert (await ph.flags.evaluate("ada")).quota_limited


async def test_remote_config() -> None:
    emulator = Emulator()
    emulator.set_flag("colours", payload={"primary": "red"})
    async with AsyncPostHog.emulated(emulator) as ph:
        assert await ph.flags.remote_config("colours") == {"primary": "red"}
        flag = emulator.set_flag("plain")
        assert await ph.flags.remote_config(flag["id"]) is None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancellation_leaves_nothing_behind(anyio_backend: str) -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    tasks = len(asyncio.all_tasks())
    async with flags_client(never) as ph:
        task = asyncio.create_task(ph.flags.evaluate("ada", on_error="unavailable"))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(builtins.TimeoutError):
            async with asyncio.timeout(0):
                await ph.flags.evaluate("ada", on_error="unavailable")
    assert len(asyncio.all_tasks()) == tasks


async def test_suggestions_are_about_the_token_and_the_app() -> None:
    server = Server(httpx.Response(401, text="no"), httpx.Response(402, text="no"))
    async with flags_client(server, region="eu") as ph:
        with pytest.raises(AuthenticationError, match="does not know the project token"):
            await ph.flags.evaluate("ada")
        with pytest.raises(QuotaError, match=r"https://eu\.posthog\.com/organization/billing"):
            await ph.flags.evaluate("ada")
        server.answers = [httpx.Response(401, text="no")]
        with pytest.raises(AuthenticationError, match="Definitions need a project secret key"):
            await ph.flags.load_definitions()
