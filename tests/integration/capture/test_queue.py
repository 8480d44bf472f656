"""The queue: nothing is dropped unless a setting says so, and closing tells what was given up."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import (
    AsyncPostHog,
    CaptureError,
    CaptureSettings,
    CaptureStats,
    LostEvents,
)
from asyncposthog.errors import ClosedError, ConfigurationError, EventLoopError, ReadOnlyError
from asyncposthog.errors import TimeoutError as PostHogTimeoutError

from .capture_helpers import Sent, Server, accept, error, settings_of

pytestmark = pytest.mark.anyio


class Gate(httpx.AsyncBaseTransport):
    """A server that answers when a test opens it."""

    def __init__(self) -> None:
        self.opened = anyio.Event()
        self.sent: list[Sent] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent = Sent(request)
        await self.opened.wait()
        self.sent.append(sent)
        return accept(sent)

    def client(self, **settings: Any) -> AsyncPostHog:
        return AsyncPostHog(
            project_api_key="phc_tests",
            transport=self,
            capture=settings_of({"flush_at": 1, "concurrency": 1, **settings}),
        )

    @property
    def delivered(self) -> list[str]:
        return [name for sent in self.sent for name in sent.names]


def balanced(stats: CaptureStats) -> bool:
    settled = stats.sent + sum(stats.lost.values())
    return stats.accepted + stats.recovered == stats.queued + stats.in_flight + settled


async def test_capture_waits_while_the_queue_is_full_and_keeps_the_order() -> None:
    gate = Gate()
    async with gate.client(max_queue_events=3, max_batch_events=2) as client:
        async with anyio.create_task_group() as group:

            async def capture(number: int) -> None:
                await client.capture(f"event {number}", "ada")

            for number in range(20):
                group.start_soon(capture, number)
                await anyio.wait_all_tasks_blocked()
            stats = client.capture.stats
            assert (stats.queued, stats.in_flight) == (3, 1)
            assert balanced(stats)
            gate.opened.set()
        await client.capture.flush()
        stats = client.capture.stats
    assert gate.delivered == [f"event {number}" for number in range(20)]
    assert (stats.accepted, stats.sent, stats.dropped) == (20, 20, {})


async def test_the_queue_is_limited_by_bytes() -> None:
    gate = Gate()
    async with gate.client(max_queue_bytes=3000) as client:
        await client.capture("first", "ada")
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            assert client.capture.nowait("x", "ada", properties={"text": "x" * 1000})
        assert client.capture.nowait("x", "ada", properties={"text": "x" * 1000}) is None
        gate.opened.set()
    assert client.capture.stats.dropped == {"queue_full": 1}
    assert client.capture.stats.sent == 3


async def test_a_cancelled_wait_queues_nothing() -> None:
    gate = Gate()
    async with gate.client(max_queue_events=1) as client:
        for name in ("first", "second"):
            await client.capture(name, "ada")
            await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0):
            await client.capture("cancelled", "ada")
        gate.opened.set()
        await client.capture("third", "ada")
    assert gate.delivered == ["first", "second", "third"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancellation_of_a_wait() -> None:
    gate = Gate()
    async with gate.client(max_queue_events=1) as client:
        for name in ("first", "second"):
            await client.capture(name, "ada")
            await anyio.wait_all_tasks_blocked()
        waiting = asyncio.create_task(client.capture("cancelled", "ada"))
        await anyio.wait_all_tasks_blocked()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.opened.set()
        await client.capture.flush()
        assert balanced(client.capture.stats)
    assert gate.delivered == ["first", "second"]


@pytest.mark.parametrize(
    ("policy", "kept"), [("drop_newest", ["b", "c"]), ("drop_oldest", ["d", "e"])]
)
async def test_nowait_drops_by_policy_and_counts(policy: str, kept: list[str]) -> None:
    gate = Gate()
    async with gate.client(max_queue_events=2, when_full=policy) as client:
        await client.capture("a", "ada")
        await anyio.wait_all_tasks_blocked()
        for name in "bcde":
            client.capture.nowait(name, "ada")
        assert balanced(client.capture.stats)
        gate.opened.set()
        await client.capture.flush()
        stats = client.capture.stats
    assert gate.delivered == ["a", *kept]
    assert stats.dropped == {"queue_full": 2}
    assert balanced(stats)


async def test_a_burst_is_delivered_whole() -> None:
    server = Server()
    async with server.client(flush_at=100) as client:
        for number in range(12_000):
            await client.capture(f"event {number}", "ada")
    assert sorted(server.delivered) == sorted(f"event {number}" for number in range(12_000))
    assert max(len(sent.events) for sent in server.sent) <= 1000


async def test_flush_waits_for_what_was_queued_before() -> None:
    gate = Gate()
    async with gate.client(flush_at=100, flush_interval=1000.0) as client:
        await client.capture("first", "ada")
        await anyio.wait_all_tasks_blocked()
        assert gate.delivered == []
        with pytest.raises(PostHogTimeoutError, match="1 events were not sent within 0 s"):
            await client.capture.flush(timeout=0)
        gate.opened.set()
        await client.capture.flush()
        assert gate.delivered == ["first"]


async def test_an_interval_sends_fewer_events() -> None:
    gate = Gate()
    gate.opened.set()
    async with gate.client(flush_at=100, flush_interval=0.0) as client:
        await client.capture("first", "ada")
        await anyio.wait_all_tasks_blocked()
        assert gate.delivered == ["first"]


async def test_closing_gives_up_after_the_deadline_and_says_what() -> None:
    gate = Gate()
    lost: list[LostEvents] = []

    async def on_error(events: LostEvents) -> None:
        await anyio.lowlevel.checkpoint()
        lost.append(events)

    client = gate.client(close_timeout=0.0, on_error=on_error, max_batch_events=2)
    async with client:
        for number in range(5):
            await client.capture(f"event {number}", "ada")
        await anyio.wait_all_tasks_blocked()
    (given_up,) = lost
    assert given_up.reason == "closed"
    assert [e["event"] for e in given_up.events] == [f"event {number}" for number in range(5)]
    stats = client.capture.stats
    assert stats.lost == {"closed": 5}
    assert balanced(stats)
    with pytest.raises(ClosedError):
        await client.capture("late", "ada")
    with pytest.raises(ClosedError):
        client.capture.nowait("late", "ada")


async def test_closing_in_a_cancelled_task_still_sends() -> None:
    server = Server()
    client = server.client(flush_at=100)
    with anyio.CancelScope() as scope:
        async with client:
            await client.capture("last words", "ada")
            scope.cancel()
            await anyio.sleep_forever()
    assert server.delivered == ["last words"]
    assert client.capture.stats.sent == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_closing_in_a_natively_cancelled_task_still_sends() -> None:
    server = Server()

    async def work() -> None:
        async with server.client(flush_at=100) as client:
            await client.capture("last words", "ada")
            await asyncio.sleep(1000)

    task = asyncio.create_task(work())
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.delivered == ["last words"]


def test_an_event_loop_that_ends_first_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    for backend in ("asyncio", "trio"):
        caplog.clear()
        gates: list[Gate] = []

        async def main(gates: list[Gate] = gates) -> AsyncPostHog:
            gates.append(Gate())
            client = gates[0].client(flush_at=100)
            await client.capture("unsent", "ada")
            await anyio.wait_all_tasks_blocked()
            return client

        client = anyio.run(main, backend=backend)
        assert "1 events were not sent" in caplog.text
        gc.collect()

        async def again(client: AsyncPostHog = client) -> None:
            await client.capture("more", "ada")

        with pytest.raises(EventLoopError):
            anyio.run(again, backend=backend)


async def test_an_internal_error_is_reported_and_sending_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    lost: list[LostEvents] = []
    client = server.client(on_error=lost.append)
    async with client:
        deliver: Callable[..., Awaitable[None]] = client.capture._delivery.deliver
        calls: list[int] = []

        async def fail_once(*args: Any, **given: Any) -> None:
            calls.append(1)
            if len(calls) == 1:
                raise ZeroDivisionError("a mistake")
            await deliver(*args, **given)

        monkeypatch.setattr(client.capture._delivery, "deliver", fail_once)
        await client.capture("first", "ada")
        await client.capture.flush()
        await client.capture("second", "ada")
        await client.capture.flush()
    assert [(item.reason, item.detail) for item in lost] == [
        ("internal_error", "ZeroDivisionError: a mistake")
    ]
    assert server.delivered == ["second"]
    assert "ZeroDivisionError" in caplog.text


async def test_a_sender_that_fails_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    lost: list[LostEvents] = []
    client = server.client(on_error=lost.append)
    async with client:
        await client.capture("first", "ada")
        await client.capture.flush()
        sender = client.capture._senders["events"]

        async def fail() -> list[Any]:
            raise ZeroDivisionError("a mistake")

        monkeypatch.setattr(sender, "_take", fail)
        await client.capture("second", "ada")
        await client.capture.flush()
        with pytest.raises(CaptureError, match="not sent any more"):
            await client.capture("third", "ada")
    assert "ZeroDivisionError" in caplog.text
    assert [(item.reason, item.count) for item in lost] == [("closed", 1)]


async def test_a_failing_on_error_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def on_error(lost: LostEvents) -> None:
        raise ZeroDivisionError("a mistake")

    server = Server(lambda sent: error(400) if "bad" in sent.names else accept(sent))
    async with server.client(on_error=on_error) as client:
        await client.capture("bad", "ada")
        await client.capture("good", "ada")
        await client.capture.flush()
        assert client.capture.stats.sent == 1
    assert "on_error failed" in caplog.text


async def test_retries_may_be_limited() -> None:
    server = Server(lambda sent: error(503))
    lost: list[LostEvents] = []
    async with server.client(max_retries=2, on_error=lost.append) as client:
        await client.capture("paid", "ada")
        await client.capture.flush()
    assert len(server.sent) == 3
    assert [(item.reason, item.error and item.error.status) for item in lost] == [
        ("retries_exhausted", 503)
    ]


async def test_events_per_minute_are_limited(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    async with server.client(max_events_per_minute=10) as client:
        kept = [await client.capture("paid", "ada") for _ in range(25)]
        assert sum(uuid is not None for uuid in kept) == 10
        server.clock.now += 60
        assert await client.capture("paid", "ada") is not None
        result = await client.capture.immediate("paid", "ada")
        assert result.delivered
        await client.capture.flush()
        stats = client.capture.stats
    assert stats.dropped == {"rate_limit": 15}
    assert len(server.delivered) == 12
    assert caplog.text.count("max_events_per_minute=10") == 1


async def test_hooks_and_contexts() -> None:
    def before_send(event: dict[str, Any]) -> dict[str, Any] | None:
        if event["event"] == "secret":
            return None
        event["properties"]["checked"] = True
        return event | {"uuid": "ignored"}

    server = Server()
    settings = {
        "before_send": before_send,
        "super_properties": {"service": "api", "plan": "super"},
        "disable_geoip": False,
        "system_properties": False,
    }
    async with server.client(**settings) as client:
        capture = client.capture
        assert await capture("secret", "ada") is None
        with capture.context(distinct_id="ada", properties={"a": 1, "b": 1}, session_id="s"):
            async with anyio.create_task_group() as group:
                with capture.context(properties={"b": 2}, groups={"company": "acme"}):

                    async def child() -> None:
                        await capture("paid", properties={"plan": "pro"})

                    group.start_soon(child)
            await capture("left", "bob")
        with pytest.raises(ValueError, match="no distinct_id"):
            await capture("outside")
        uuid = await capture("own", "ada", uuid="01890000-0000-7000-8000-000000000001")
        await capture.flush()
        assert capture.stats.dropped == {"before_send": 1}
    events = {event["event"]: event for sent in server.sent for event in sent.events}
    paid = events["paid"]
    assert (paid["distinct_id"], paid["session_id"]) == ("ada", "s")
    assert paid["properties"] == {
        "a": 1,
        "b": 2,
        "plan": "super",
        "service": "api",
        "$groups": {"company": "acme"},
        "$is_server": True,
        "checked": True,
    }
    assert events["left"]["distinct_id"] == "bob"
    assert events["left"]["properties"]["b"] == 1
    assert events["own"]["uuid"] == uuid == "01890000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("arguments", "fields", "expected", "text"),
    [
        (("", "ada"), {}, ValueError, "event is empty"),
        ((7, "ada"), {}, TypeError, "event must be a str"),
        (("x" * 201, "ada"), {}, ValueError, "longer than 200"),
        (("paid",), {}, ValueError, "no distinct_id"),
        (("paid", ""), {}, ValueError, "distinct_id is empty"),
        (("paid", "x" * 201), {}, ValueError, "longer than 200"),
        (("paid", 1.5), {}, TypeError, "distinct_id must be"),
        (("paid", "ada"), {"properties": [1]}, TypeError, "properties must be a mapping"),
        (("paid", "ada"), {"properties": {"a": {"b": object()}}}, TypeError, r"properties\.a\.b"),
        (("paid", "ada"), {"properties": {"a": "x" * 950_000}}, ValueError, "'a' alone has 950"),
        (("paid", "ada"), {"uuid": "nothing"}, ValueError, "uuid is not a UUID"),
        (("paid", "ada"), {"timestamp": "2026-01-01"}, ValueError, "no time zone"),
        (("paid", "ada"), {"timestamp": "yesterday"}, ValueError, "not an ISO 8601"),
        (("paid", "ada"), {"timestamp": 5}, TypeError, "timestamp must be"),
        (("paid", "ada"), {"options": {"cookieless_mode": "yes"}}, TypeError, "must be a bool"),
        (("paid", "ada"), {"options": {"cookies": True}}, TypeError, "options has no 'cookies'"),
        (
            ("paid", "ada"),
            {"properties": {"$process_person_profile": "no"}},
            TypeError,
            "process_person_profile",
        ),
    ],
)
async def test_bad_events(
    arguments: Any, fields: dict[str, Any], expected: type[Exception], text: str
) -> None:
    server = Server()
    async with server.client() as client:
        with pytest.raises(expected, match=text):
            await client.capture(*arguments, **fields)
        with pytest.raises(expected, match=text):
            client.capture.nowait(*arguments, **fields)
    assert server.sent == []
    assert client.capture.stats.accepted == 0


async def test_bad_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POSTHOG_PROJECT_API_KEY", "POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="takes a project token"):
        AsyncPostHog(project_api_key="phx_personal")
    with pytest.raises(ConfigurationError, match="No project token"):
        _ = AsyncPostHog("phx_personal", project_id=1).capture
    with pytest.raises(ConfigurationError, match="flush_at must be 1 or more"):
        CaptureSettings(flush_at=0)
    with pytest.raises(TypeError, match="capture must be CaptureSettings"):
        AsyncPostHog("phx_x", capture={"flush_at": 1})  # pyright: ignore[reportArgumentType]
    async with Server().client() as client:
        # A client with a project token alone has no access to the rest of the API.
        with pytest.raises(ConfigurationError, match="No API key"):
            await client.feature_flags.list()
    read_only = AsyncPostHog("phx_x", project_api_key="phc_x", read_only=True)
    async with read_only:
        with pytest.raises(ReadOnlyError):
            await read_only.capture("paid", "ada")


async def test_copies_share_their_queue() -> None:
    server = Server()
    async with server.client(flush_at=100) as client:
        copy = client.with_options(timeout=5)
        assert copy.capture is client.capture
        other = client.with_options(project_api_key="phc_other")
        assert other.capture is not client.capture
        await other.capture("elsewhere", "ada")
        await copy.capture("here", "ada")
    assert sorted(server.delivered) == ["elsewhere", "here"]
    tokens = {sent.headers["authorization"] for sent in server.sent}
    assert tokens == {"Bearer phc_tests", "Bearer phc_other"}


async def test_capture_of_another_thread_is_refused() -> None:
    server = Server()
    async with server.client() as client:
        await client.capture("first", "ada")
        errors: list[Exception] = []

        def elsewhere() -> None:
            try:
                client.capture.nowait("second", "ada")
            except EventLoopError as failure:
                errors.append(failure)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert len(errors) == 1
    assert server.delivered == ["first"]
