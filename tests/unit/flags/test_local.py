"""`ph.flags.local`: definitions that are polled, and flags that are evaluated with them."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import (
    AsyncPostHog,
    AuthenticationError,
    ConfigurationError,
    FlagUnavailableError,
    PermissionDeniedError,
    ServerError,
)
from asyncposthog.flags import matcher
from posthog_emulator import Emulator, serve
from tests.helpers.fake_transport import KEY

from .helpers import Sink, flags_client, record, response
from .step_clock import StepClock, settle

# Imported here so that no test waits for the import, which is made in a thread.
matcher.load_matcher()

pytestmark = pytest.mark.anyio


def flag(key: str, *conditions: dict[str, Any], **more: Any) -> dict[str, Any]:
    groups = list(conditions) or [{"properties": [], "rollout_percentage": 100}]
    filters = {"groups": groups, **more.pop("filters", {})}
    return {"id": 7, "key": key, "active": True, "version": 2, "filters": filters, **more}


class Service:
    """Answers for definitions and for evaluations, and counts them."""

    def __init__(self, *flags: dict[str, Any], **more: Any) -> None:
        self.body: dict[str, Any] = {
            "flags": list(flags), "cohorts": {}, "group_type_mapping": {"0": "company"}, **more,
        }  # fmt: skip
        self.etag: str | None = 'W/"1"'
        self.failure: Any = None
        self.retry_after: str | None = None
        self.evaluation: Any = None
        self.authorizations: list[str | None] = []
        self.definition_requests: list[httpx.Request] = []
        self.evaluations: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/flags/"):
            self.evaluations.append(request)
            return self.evaluation or response()
        self.definition_requests.append(request)
        # As it was sent: the client removes the key from the request afterwards.
        self.authorizations.append(request.headers.get("Authorization"))
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.failure is not None:
            headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
            return httpx.Response(self.failure, text="no", headers=headers)
        if self.etag is not None and request.headers.get("If-None-Match") == self.etag:
            return httpx.Response(304, headers={"ETag": self.etag})
        headers = {} if self.etag is None else {"ETag": self.etag}
        return httpx.Response(200, json=self.body, headers=headers)


def of_plan(value: str) -> dict[str, Any]:
    test = {"key": "plan", "type": "person", "operator": "exact", "value": value}
    return {"properties": [test], "rollout_percentage": 100}


async def test_flags_are_evaluated_without_a_request() -> None:
    service = Service(
        flag("on", filters={"payloads": {"true": '{"a": 1}'}}),
        flag("pro", of_plan("pro")),
        flag("off", active=False),
    )
    async with flags_client(service, clock=StepClock()) as ph, ph.flags.local():
        flags = await ph.flags.evaluate("ada", person_properties={"plan": "pro"})
        assert {key: flags.value(key) for key in flags} == {"on": True, "pro": True, "off": False}
        assert flags.payload("on") == {"a": 1}
        assert flags.reason("on").code == "local_evaluation"
        assert flags.reason("off").code == "flag_disabled"
        assert not flags.partial
        same = ph.flags.evaluate_local("ada", person_properties={"plan": "pro"})
        assert same.results == flags.results
    [request] = service.definition_requests
    assert service.evaluations == []
    assert request.url.path == "/flags/definitions"
    assert dict(request.url.params) == {"token": "phc_public", "send_cohorts": ""}
    assert service.authorizations == [f"Bearer {KEY}"]


async def test_only_what_cannot_be_decided_is_asked_of_the_server() -> None:
    service = Service(
        flag("on"),
        flag("pro", of_plan("pro")),
        flag("kept", ensure_experience_continuity=True),
        flag("cohort", {"properties": [{"key": "id", "type": "cohort", "value": 99}]}),
        flag("newer", filters={"aggregation_group_type_index": 4}),
    )
    service.evaluation = response(record("pro", variant="x"), record("kept"), record("newer"))
    async with flags_client(service, clock=StepClock()) as ph, ph.flags.local():
        flags = await ph.flags.evaluate("ada", keys=["on", "pro", "kept", "cohort", "unknown"])
        body = service.evaluations[0].read().decode()
        assert '"flag_keys_to_evaluate":["cohort","kept","pro","unknown"]' in body
        assert flags.value("on") is True
        assert flags.value("pro") == "x"
        assert flags.reason("unknown").code == "flag_missing"
        assert (flags.results["on"].local, flags.results["pro"].local) == (True, False)
        service.evaluation = httpx.Response(500)
        flags = await ph.flags.evaluate("ada", on_error="unavailable")
        assert flags.value("on") is True
        with pytest.raises(FlagUnavailableError):
            flags.value("pro")


async def test_strictly_local_never_asks() -> None:
    service = Service(flag("on"), flag("kept", ensure_experience_continuity=True))
    async with flags_client(service, clock=StepClock()) as ph:
        flags = await ph.flags.evaluate("ada", strictly_local=True)
        assert flags.reason("on").code == "definitions_not_loaded"
        async with ph.flags.local(strictly_local=True):
            flags = await ph.flags.evaluate("ada")
            assert flags.is_enabled("on")
            assert flags.reason("kept").code == "local_evaluation_inconclusive"
            assert flags.is_enabled("kept", True)
            assert service.evaluations == []
            await ph.flags.evaluate("ada", strictly_local=False)
            assert len(service.evaluations) == 1
        flags = ph.flags.evaluate_local("ada")
        assert flags.reason("on").code == "definitions_not_loaded"


async def test_groups() -> None:
    size = {"key": "size", "type": "group", "operator": "gt", "value": 5, "group_type_index": 0}
    named = {"key": "$group_key", "type": "group", "operator": "exact", "value": "acme"}
    service = Service(
        flag("big", {"properties": [size], "rollout_percentage": 100},
             filters={"aggregation_group_type_index": 0}),
        flag("acme", {"properties": [named], "rollout_percentage": 100},
             filters={"aggregation_group_type_index": 0}),
    )  # fmt: skip
    async with flags_client(service, clock=StepClock()) as ph, ph.flags.local(strictly_local=True):
        none = await ph.flags.evaluate("ada")
        assert (none.value("big"), none.reason("big").code) == (False, "no_group_type")
        groups = {"company": "acme"}
        some = await ph.flags.evaluate("ada", groups=groups)
        assert some.value("acme") is True
        assert some.reason("big").code == "local_evaluation_inconclusive"
        properties = {"company": {"size": 9}}
        all_ = await ph.flags.evaluate("ada", groups=groups, group_properties=properties)
        assert all_.value("big") is True


async def test_definitions_are_polled_with_their_etag() -> None:
    service, clock = Service(flag("f", active=False)), StepClock()
    async with flags_client(service, clock=clock) as ph, ph.flags.local(poll_interval=30):
        await clock.advance(29)
        assert len(service.definition_requests) == 1
        await clock.advance(2)
        assert len(service.definition_requests) == 2
        assert service.definition_requests[1].headers["If-None-Match"] == 'W/"1"'
        assert not (await ph.flags.evaluate("ada")).is_enabled("f")
        service.body["flags"][0]["active"], service.etag = True, 'W/"2"'
        await clock.advance(31)
        assert (await ph.flags.evaluate("ada")).is_enabled("f")
        await clock.advance(31)
        assert service.definition_requests[3].headers["If-None-Match"] == 'W/"2"'
    assert clock.sleeping == 0


async def test_all_tasks_share_one_poller() -> None:
    service, clock = Service(flag("f")), StepClock()
    release = anyio.Event()

    async def task(ph: Any) -> None:
        async with ph.flags.local(poll_interval=30):
            await release.wait()

    async with flags_client(service, clock=clock) as ph, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(task, ph)
        await settle()
        loads = len(service.definition_requests)
        for _ in range(3):
            await clock.advance(31)
        assert len(service.definition_requests) - loads == 3
        assert loads == 1
        release.set()
    assert ph.flags.definitions is None


async def test_copies_of_a_client_share_definitions_and_the_poller() -> None:
    service, clock = Service(flag("f")), StepClock()
    async with flags_client(service, clock=clock) as ph:
        copy, other = ph.with_options(timeout=9), ph.with_options(api_key="phs_other")
        async with ph.flags.local(poll_interval=30), copy.flags.local(poll_interval=60):
            assert len(service.definition_requests) == 1
            for client in (copy, copy.with_options(max_retries=0)):
                assert (await client.flags.evaluate("ada")).is_enabled("f")
            assert service.evaluations == []
            await clock.advance(61)
            assert len(service.definition_requests) == 2
            # Another key may have other permissions, and has to be checked.
            assert other.flags.definitions is None
            service.failure = 403
            with pytest.raises(PermissionDeniedError):
                async with other.flags.local():
                    raise AssertionError("the block must not run")
            service.failure = None
            assert copy.flags.definitions is not None
        assert copy.flags.definitions is ph.flags.definitions is None
    assert clock.sleeping == 0


async def test_clients_of_a_process_share_the_poller_until_the_last_one_leaves() -> None:
    service, clock = Service(flag("f")), StepClock()
    network, other_network = httpx.MockTransport(service), httpx.MockTransport(service)

    def client(transport: httpx.AsyncBaseTransport) -> AsyncPostHog:
        return AsyncPostHog(
            KEY, project_id=1, project_api_key="phc_public", transport=transport, clock=clock
        )

    first, second, idle = client(network), client(network), client(network)
    elsewhere = client(other_network)
    async with second, idle, elsewhere:
        async with second.flags.local(poll_interval=30):
            async with first, first.flags.local(poll_interval=30):
                assert len(service.definition_requests) == 1
                assert idle.flags.definitions is elsewhere.flags.definitions is None
                async with elsewhere.flags.local():
                    assert len(service.definition_requests) == 2
                await clock.advance(31)
                assert len(service.definition_requests) == 3
                await first.aclose()
                await clock.advance(31)
                assert len(service.definition_requests) == 4
            await clock.advance(31)
            assert len(service.definition_requests) == 5
            assert (await second.flags.evaluate("ada")).is_enabled("f")
        assert second.flags.definitions is None
        async with second.flags.local():
            assert len(service.definition_requests) == 6


async def test_new_blocks_do_not_defer_the_next_load() -> None:
    service, clock = Service(flag("f")), StepClock()
    async with flags_client(service, clock=clock) as ph, ph.flags.local(poll_interval=30):
        for _ in range(5):
            async with ph.flags.local(poll_interval=30):
                await clock.advance(20)
        assert len(service.definition_requests) == 1 + 2


async def test_definitions_that_were_loaded_by_hand_stay_with_the_client() -> None:
    service, clock = Service(flag("f")), StepClock()
    async with flags_client(service, clock=clock) as ph:
        await ph.flags.load_definitions()
        assert ph.flags.evaluate_local("ada").is_enabled("f")
        assert ph.with_options(timeout=9).flags.evaluate_local("ada").is_enabled("f")


@pytest.mark.parametrize("status", [401, 402])
async def test_401_and_402_withdraw_the_definitions(status: int) -> None:
    service, clock = Service(flag("f")), StepClock()
    async with flags_client(service, clock=clock) as ph, ph.flags.local(poll_interval=30):
        service.failure = status
        await clock.advance(31)
        assert ph.flags.definitions is None
        assert ph.flags.definitions_error is not None
        await ph.flags.evaluate("ada")
        assert len(service.evaluations) == 1
        service.failure = None
        await clock.advance(31)
        assert "If-None-Match" not in service.definition_requests[-1].headers
        assert (await ph.flags.evaluate("ada")).is_enabled("f")
        assert len(service.evaluations) == 1
        assert ph.flags.definitions_error is None


@pytest.mark.parametrize("failure", [403, 429, 500, httpx.ReadError("lost"), httpx.ReadTimeout("")])
async def test_other_failures_keep_them(failure: Any, caplog: pytest.LogCaptureFixture) -> None:
    service, clock = Service(flag("f")), StepClock()
    async with flags_client(service, clock=clock) as ph, ph.flags.local(poll_interval=30):
        service.failure = failure
        with caplog.at_level(logging.WARNING, "asyncposthog"):
            for _ in range(3):
                await clock.advance(31)
        assert (await ph.flags.evaluate("ada")).is_enabled("f")
        assert "feature flag definitions were not loaded" in caplog.text
        assert "phc_public" not in caplog.text
        service.failure = None
        await clock.advance(61)
        assert ph.flags.definitions_error is None


async def test_a_server_that_asks_to_wait_is_polled_later() -> None:
    service, clock = Service(flag("f")), StepClock()
    async with flags_client(service, clock=clock) as ph, ph.flags.local(poll_interval=30):
        service.failure, service.retry_after = 429, "300"
        await clock.advance(31)
        assert len(service.definition_requests) == 2
        await clock.advance(290)
        assert len(service.definition_requests) == 2
        await clock.advance(11)
        assert len(service.definition_requests) == 3


async def test_a_response_without_flags_keeps_them() -> None:
    service, clock = Service(flag("f")), StepClock()
    async with flags_client(service, clock=clock) as ph, ph.flags.local(poll_interval=30):
        service.body, service.etag = {"flags": None}, None
        await clock.advance(31)
        assert (await ph.flags.evaluate("ada")).is_enabled("f")


@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthenticationError), (403, PermissionDeniedError)]
)
async def test_a_key_that_may_not_read_definitions_is_told_at_once(
    status: int, error: type[Exception]
) -> None:
    service = Service()
    service.failure = status
    async with flags_client(service, clock=StepClock()) as ph:
        with pytest.raises(error):
            async with ph.flags.local():
                raise AssertionError("the block must not run")


async def test_no_token() -> None:
    async with flags_client(Service(), project_api_key=None, clock=StepClock()) as ph:
        with pytest.raises(ConfigurationError, match="POSTHOG_PROJECT_API_KEY"):
            async with ph.flags.local():
                raise AssertionError("the block must not run")


async def test_the_first_load_may_fail_unless_it_is_required() -> None:
    service, clock = Service(flag("f")), StepClock()
    service.failure, service.evaluation = 500, response(record("f"))
    async with flags_client(service, clock=clock) as ph:
        with pytest.raises(ServerError):
            async with ph.flags.local(required=True):
                raise AssertionError("the block must not run")
        async with ph.flags.local(poll_interval=30):
            assert (await ph.flags.evaluate("ada")).is_enabled("f")
            service.failure = None
            await clock.advance(31)
            assert ph.flags.definitions is not None
            assert (await ph.flags.evaluate("ada")).results["f"].local


async def test_an_older_instance_has_another_path() -> None:
    service = Service(flag("f"))

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/flags/definitions":
            return httpx.Response(404, text="no")
        return await service(request)

    clock = StepClock()
    async with flags_client(answer, clock=clock) as ph, ph.flags.local(poll_interval=30):
        assert (await ph.flags.evaluate("ada")).is_enabled("f")
        await clock.advance(31)
    first, second = service.definition_requests
    assert first.url.path == "/api/projects/1/feature_flags/local_evaluation/"
    assert dict(first.url.params) == {"send_cohorts": "true"}
    assert second.headers["If-None-Match"] == 'W/"1"'


async def test_an_error_in_the_block_is_the_one_that_leaves_it() -> None:
    clock = StepClock()
    async with flags_client(Service(), clock=clock) as ph:
        with pytest.raises(KeyError, match="mine"):
            async with ph.flags.local():
                raise KeyError("mine")
        with anyio.move_on_after(0) as scope:
            async with ph.flags.local():
                await anyio.sleep_forever()
        assert scope.cancelled_caught
    assert clock.sleeping == 0
    assert ph.flags.definitions is None


async def test_closing_the_client_ends_the_poller() -> None:
    clock = StepClock()
    ph = flags_client(Service(), clock=clock)
    async with ph.flags.local(poll_interval=30):
        await ph.aclose()
        await clock.advance(31)
        assert clock.sleeping == 0


async def test_a_poll_interval_below_a_second_is_refused() -> None:
    async with flags_client(Service()) as ph:
        for interval in (0, 0.5, -1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="poll_interval"):
                ph.flags.local(poll_interval=interval)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancellation_ends_the_poller(anyio_backend: str) -> None:
    clock, tasks_before = StepClock(), len(asyncio.all_tasks())
    async with flags_client(Service(flag("f")), clock=clock) as ph:

        async def serve_forever() -> None:
            async with ph.flags.local():
                await asyncio.sleep(3600)

        task = asyncio.create_task(serve_forever())
        await settle()
        assert clock.sleeping == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), ph.flags.local():
                await asyncio.sleep(3600)
    assert clock.sleeping == 0
    assert len(asyncio.all_tasks()) == tasks_before


async def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "posthog.feature_flags", None)
    matcher.load_matcher.cache_clear()
    service = Service()
    try:
        async with flags_client(service) as ph:
            with pytest.raises(ImportError, match=r"asyncposthog\[local-flags\]"):
                async with ph.flags.local():
                    raise AssertionError("the block must not run")
    finally:
        matcher.load_matcher.cache_clear()
    assert service.definition_requests == []


async def test_reads_of_local_values_are_reported_as_local() -> None:
    service = Service(flag("f", has_experiment=True), minimal_flag_called_events=True)
    sink = Sink()
    async with flags_client(service, clock=StepClock()) as ph:
        ph.__dict__["capture"] = sink
        async with ph.flags.local():
            (await ph.flags.evaluate("ada")).is_enabled("f")
    [(event, distinct_id, properties, _)] = sink.events
    assert (event, distinct_id) == ("$feature_flag_called", "ada")
    assert properties["locally_evaluated"] is True
    assert (properties["$feature_flag_id"], properties["$feature_flag_version"]) == (7, 2)


async def test_over_a_socket_with_a_project_secret_key() -> None:
    emulator = Emulator()
    emulator.add_key("phs_secret")
    emulator.set_flag("f", "b")
    async with (
        serve(emulator) as url,
        AsyncPostHog("phs_secret", project_id=1, host=url, project_api_key="phc_emulator") as ph,
        ph.flags.local(),
    ):
        assert (await ph.flags.evaluate("ada")).variant("f") == "b"
        emulator.set_flag("f", "c")
        await ph.flags.load_definitions()
        assert (await ph.flags.evaluate("ada")).variant("f") == "c"
        await ph.flags.load_definitions()
        statuses = [request.status for request in emulator.requests]
        assert statuses == [200, 200, 304]
