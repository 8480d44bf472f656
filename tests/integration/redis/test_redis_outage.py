"""Outages of Redis. Real servers are killed and frozen; no test waits for a clock.

What the clock of such a server measures may be a minute late, and has hours to go.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest

from asyncposthog.rate_limits.limits import Limit
from asyncposthog.rate_limits.stores.redis import RedisStore
from asyncposthog.rate_limits.stores.redis.windows import RedisWindows
from tests.helpers.manual_clock import SleeplessClock

from .helpers import SLOT, WINDOW, acquire_all, fill
from .redis_server import Server

pytestmark = pytest.mark.anyio
RULE = Limit("host/key/dozen", "dozen", 12, 60.0)
HOURS = Limit("host/key/dozen", "dozen", 12, 7200.0)
TIMEOUT = 30.0
"""Seconds: a running server responds in less."""


class Loop(asyncio.SelectorEventLoop):
    """A loop whose time a test advances past a timeout."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": Loop}


async def call_until_timeout(*calls: Any) -> list[Any]:
    """Make calls that all run into the timeout. Return their results."""
    results: list[Any] = []

    async def wait(call: Any) -> None:
        results.append(await call)

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(wait, call)
        await anyio.wait_all_tasks_blocked()
        cast("Loop", asyncio.get_running_loop()).ahead += TIMEOUT
    return results


class Client:
    """A process: its clock, its store, and what it logs."""

    def __init__(self, url: str, log: pytest.LogCaptureFixture, **options: Any) -> None:
        self.clock = SleeplessClock(epoch=0.0, chance=0.9)
        options.setdefault("timeout", TIMEOUT)
        self.store = RedisStore(url, clock=self.clock, **options)
        self._log = log

    def windows(self, *limits: Limit) -> RedisWindows:
        return self.store.windows(limits)

    @property
    def lines(self) -> list[str]:
        return [r.getMessage() for r in self._log.records if r.name == "asyncposthog"]


@asynccontextmanager
async def process(
    server: Server | str, log: pytest.LogCaptureFixture, **options: Any
) -> AsyncGenerator[Client]:
    log.set_level(logging.INFO, logger="asyncposthog")
    client = Client(server if isinstance(server, str) else server.url, log, **options)
    with anyio.fail_after(10 * TIMEOUT):  # nothing hangs
        try:
            yield client
        finally:
            await client.store.aclose()


async def grab(windows: RedisWindows, first: int) -> int:
    taken = 0
    while await windows.acquire(first + taken) == 0.0:
        taken += 1
    return taken


async def test_fail_open_each_process_uses_its_share(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with process(private_redis, caplog) as one, process(private_redis, caplog) as two:
        first, second = one.windows(RULE), two.windows(RULE)
        await fill(first, 1, 2, 3)
        await fill(second, 1)
        await first.usage()
        private_redis.kill()
        # Two processes were seen: each takes a third, as if there were one more.
        assert await grab(first, 10) == 1  # three of four were used before
        assert first.snapshot()[0].limit == 4
        await second.usage()
        assert await grab(second, 10) == 3
        assert len([line for line in one.lines if "unavailable" in line]) == 2  # one each
        assert "its share of each limit" in one.lines[0]


async def test_fail_open_with_a_configured_number_of_processes(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(private_redis, caplog, processes=2) as one:
        windows = one.windows(RULE)
        assert await grab(windows, 1) == 6


async def test_fail_open_with_a_redis_that_never_answered(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(private_redis, caplog) as one:
        windows, slots = one.windows(RULE), one.windows(SLOT)
        assert await grab(windows, 1) == 3
        assert await grab(slots, 1) == 1
        assert [line for line in one.lines if "unavailable" in line] == one.lines[:1]
        assert len(one.lines) == 1


async def test_fail_open_waits_end_with_the_window_or_the_next_retry(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(private_redis, caplog) as one:
        windows = one.windows(RULE)
        await fill(windows, 1, 2, 3)
        assert 0 < await windows.acquire(4) <= 5.0
        assert await windows.estimate_wait(0) == (pytest.approx(60, abs=0.1), 0)
        one.clock.now += 60.1
        assert await windows.acquire(4) == 0.0


async def test_updates_of_an_outage_are_sent_after_it(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with (
        process(private_redis, caplog, lease=86400.0) as one,
        process(private_redis, caplog) as two,
    ):
        windows = one.windows(HOURS, Limit("host/key/day", "day", 100, 86400.0))
        await acquire_all(windows, 1, 2)
        private_redis.kill()
        await windows.complete(1)
        await acquire_all(windows, 3, 4, 5)
        await windows.complete(3)
        await windows.release(4)
        await windows.block(0, 3600.0, adapt=False)
        assert not windows.is_idle()
        one.clock.now += 1800.0
        private_redis.start()
        # 2 and 5 are still in flight; this Redis has no record of either.
        assert await windows.acquire(6) > 0
        assert any("is available again after 1800.0 s" in line for line in one.lines)
        usage = (await two.windows(HOURS).usage())[0]
        assert (usage.used, usage.in_flight) == (2, 2)
        assert usage.reset == pytest.approx(5400, abs=60)
        assert usage.blocked_for == pytest.approx(1800, abs=60)
        await windows.complete(5)
        await windows.complete(2)
        usage = (await two.windows(HOURS).usage())[0]
        assert (usage.used, usage.in_flight) == (4, 0)
        assert len(one.lines) == 2
        await windows.release(6)
        assert windows.is_idle()


async def test_a_request_of_an_outage_has_a_lease_from_its_departure(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(private_redis, caplog, lease=1000.0) as one:
        windows = one.windows(RULE)
        await acquire_all(windows, 1)
        one.clock.now += 400.0
        private_redis.start()
        assert (await windows.usage())[0].in_flight == 1
        with private_redis.client() as admin:
            admin.hincrbyfloat("{asyncposthog}:clock", "offset", 600.0)
        assert (await windows.usage())[0].used == 1


async def test_after_an_outage_each_process_uses_its_share_until_all_have_noticed(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with process(private_redis, caplog) as one, process(private_redis, caplog) as two:
        first, second = one.windows(RULE), two.windows(RULE)
        await fill(first, 1)
        await fill(second, 1)
        await first.usage()
        private_redis.kill()
        assert await grab(first, 10) == 3
        private_redis.start()
        one.clock.now += 0.2
        await first.usage()
        assert len(one.lines) == 2
        assert 0 < await first.acquire(20) < 0.3
        one.clock.now += 0.2
        assert await grab(first, 20) == 8


async def test_all_updates_are_sent_again_to_a_redis_that_restarted_empty(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with process(private_redis, caplog) as one:
        windows, slots = one.windows(HOURS), one.windows(SLOT)
        await acquire_all(slots, 1, 2)
        await fill(windows, 1, 2, 3)
        await acquire_all(windows, 4, 5, 6)
        await windows.complete(5, refused_by=0)
        await windows.release(6)
        one.clock.now += 1800.0
        with private_redis.client() as admin:
            admin.flushall()
        await windows.usage()
        usage = (await windows.usage())[0]
        assert (usage.used, usage.in_flight) == (3, 1)
        assert usage.reset == pytest.approx(5400, abs=60)
        assert (await slots.usage())[0].in_flight == 2
        await slots.complete(1)
        await windows.complete(4)
        assert (await slots.usage())[0].in_flight == 1
        assert (await windows.usage())[0].used == 4
        assert one.lines == []


async def test_a_slot_released_during_an_outage_is_free_after_it(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with process(private_redis, caplog) as one, process(private_redis, caplog) as two:
        slots = one.windows(SLOT)
        await acquire_all(slots, 1, 2, 3)
        private_redis.freeze()
        await call_until_timeout(slots.complete(1))
        await slots.release(2)
        private_redis.thaw()
        one.clock.now += 10.0
        await slots.usage()
        assert (await two.windows(SLOT).usage())[0].in_flight == 1


async def test_a_frozen_redis_is_unavailable(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with process(private_redis, caplog) as one:
        windows = one.windows(WINDOW)
        await fill(windows, 1)
        private_redis.freeze()
        # More than there are connections.
        await call_until_timeout(*(windows.acquire(ticket) for ticket in range(10, 60)))
        assert "TimeoutError" in one.lines[0]
        assert len(one.lines) == 1
        private_redis.thaw()
        one.clock.now += 10.0
        await windows.usage()
        assert "is available again" in one.lines[1]


async def test_fail_closed_requests_wait_until_redis_is_available(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with process(private_redis, caplog, on_failure="closed") as one:
        windows = one.windows(WINDOW)
        await acquire_all(windows, 1)
        private_redis.kill()
        await windows.complete(1)
        for _ in range(20):
            assert 0 < await windows.acquire(2) <= 5.0
            one.clock.now += 1.0
        assert await windows.estimate_wait(0) == (0.0, 0)
        assert "requests wait" in one.lines[0]
        private_redis.start()
        one.clock.now += 10.0
        assert await windows.acquire(2) == 0.0
        usage = (await windows.usage())[0]
        assert (usage.used, usage.in_flight) == (1, 1)
        assert len(one.lines) == 2


async def test_an_acquire_abandoned_during_an_outage_is_ignored(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with process(private_redis, caplog, on_failure="closed") as one:
        windows = one.windows(SLOT)
        await windows.usage()
        private_redis.freeze()
        (wait,) = await call_until_timeout(windows.acquire(1))
        assert wait > 0
        await windows.release(1)
        private_redis.thaw()  # it runs the command now
        one.clock.now += 10.0
        assert (await windows.usage())[0].in_flight == 0
        assert windows.is_idle()


async def test_retries_back_off(private_redis: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with process(private_redis, caplog, on_failure="closed") as one:
        windows = one.windows(WINDOW)
        pauses: list[float] = []
        for ticket in range(12):
            pauses.append(await windows.acquire(ticket))
            one.clock.now += pauses[-1]
        assert pauses[0] <= 0.1
        assert 2.5 <= pauses[-1] <= 5.0


async def test_a_server_that_accepts_and_never_responds(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        async with process(url, caplog) as one:
            assert await call_until_timeout(one.windows(WINDOW).acquire(1)) == [0.0]
            assert "TimeoutError" in one.lines[0]


async def test_a_host_that_does_not_exist(caplog: pytest.LogCaptureFixture) -> None:
    async with process("redis://user:hunter2@host.invalid", caplog) as one:
        assert await one.windows(WINDOW).acquire(1) == 0.0
        assert one.lines[0].startswith("Redis at redis://host.invalid:6379 is unavailable")
    assert "hunter2" not in caplog.text


async def test_connections_that_the_server_closed_are_replaced_silently(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with process(private_redis, caplog) as one:
        windows = one.windows(WINDOW)
        await fill(windows, 1)
        with private_redis.client() as admin:
            admin.client_kill_filter(_type="normal", skipme=True)
        await fill(windows, 2)
        assert (await windows.usage())[0].used == 2
        assert one.lines == []


async def test_a_read_only_replica_is_unavailable(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with process(private_redis, caplog) as one:
        windows = one.windows(RULE)
        await fill(windows, 1)
        with private_redis.client() as admin:
            admin.replicaof("127.0.0.1", "1")
            assert await windows.acquire(2) == 0.0
            assert "is unavailable" in one.lines[0]
            admin.replicaof("NO", "ONE")
        one.clock.now += 10.0
        assert (await windows.usage())[0].in_flight == 1
        assert len(one.lines) == 2


async def test_a_password_that_changes_while_it_runs_does_not_end_an_open_client(
    private_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis.start()
    async with process(private_redis, caplog) as one:
        windows = one.windows(WINDOW)
        await fill(windows, 1)
        with private_redis.client() as admin:
            admin.config_set("requirepass", "hunter2")
            admin.execute_command("AUTH", "hunter2")
            admin.client_kill_filter(_type="normal", skipme=True)
        one.clock.now += 60.1
        assert await windows.acquire(2) == 0.0
        assert "AuthenticationError" in one.lines[0]
