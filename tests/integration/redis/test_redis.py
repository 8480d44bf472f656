"""Windows in Redis, used by one process and by several, with a manual clock."""

from __future__ import annotations

import anyio
import pytest

from asyncposthog.rate_limits.adaptive import allowed_requests, recovery_seconds
from asyncposthog.rate_limits.limits import UNENFORCED, Limit, Usage
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW
from asyncposthog.rate_limits.stores.redis.windows import RedisWindows
from tests.helpers.manual_clock import ManualClock

from .helpers import SLOT, WINDOW, acquire_all, fill, fleet
from .redis_server import Server

pytestmark = pytest.mark.anyio
STAY = WINDOW.seconds + CLOCK_SKEW


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def used(windows: RedisWindows) -> list[tuple[int, int]]:
    return [(usage.used, usage.in_flight) for usage in await windows.usage()]


async def test_a_window_is_shared_by_all_processes(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        first, second = them.windows(WINDOW), them.windows(WINDOW)
        await fill(first, 1, 2)
        await fill(second, 1)
        await acquire_all(first, 3)
        assert await used(second) == [(3, 1)]
        assert await second.acquire(2) > 0
        them.pass_time(STAY)
        assert await used(second) == [(0, 1)]
        assert await second.acquire(2) == 0.0


async def test_windows_are_acquired_together_or_not_at_all(redis_server: Server) -> None:
    hour = Limit("host/key/sustained", "sustained", 2, 3600.0)
    async with fleet(redis_server) as them:
        both, minute = them.windows(WINDOW, hour), them.windows(WINDOW)
        await fill(both, 1, 2)
        assert await both.acquire(3) > 0
        assert await used(both) == [(2, 0), (2, 0)]
        await fill(minute, 1, 2)
        assert await used(both) == [(4, 0), (2, 0)]


async def test_the_wait_ends_when_capacity_becomes_free(redis_server: Server) -> None:
    limit = Limit("host/key/short", "short", 2, 3.0)
    async with fleet(redis_server) as them:
        one, other = them.windows(limit), them.windows(limit)
        await fill(one, 1)
        them.pass_time(1.0)
        await fill(other, 1)
        first, second = await one.acquire(2), await other.acquire(2)
        # Each waits for its own capacity, the second for what becomes free a second later.
        assert 1.5 < first < 2.1
        assert 2.5 < second < 3.1
        them.pass_time(first)
        assert await other.acquire(2) > 0
        assert await one.acquire(2) == 0.0


async def test_a_long_wait_is_bounded(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        one, other = them.windows(WINDOW), them.windows(WINDOW)
        await acquire_all(one, 1, 2, 3, 4)
        assert 0 < await other.acquire(1) <= 0.25
        for ticket in (1, 2, 3, 4):
            await one.complete(ticket)
        assert await other.acquire(1) == 5.0


async def test_a_refused_request_is_not_counted_where_it_was_refused(redis_server: Server) -> None:
    hour = Limit("host/key/sustained", "sustained", 9, 3600.0)
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW, hour)
        await acquire_all(windows, 1, 2)
        await windows.complete(1, refused_by=0)
        await windows.complete(2, refused_by=1)
        assert await used(windows) == [(1, 0), (1, 0)]


async def test_slots_count_what_is_in_flight(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        one, other = them.windows(SLOT), them.windows(SLOT)
        await acquire_all(one, 1, 2)
        await acquire_all(other, 1)
        assert 0 < await one.acquire(3) <= 0.25
        await other.complete(1)
        assert await used(one) == [(0, 2)]
        assert await one.acquire(3) == 0.0


async def test_one_window_may_have_different_limits(redis_server: Server) -> None:
    watched = Limit(WINDOW.key, WINDOW.name, 10**9, WINDOW.seconds)
    async with fleet(redis_server) as them:
        strict, lax = them.windows(WINDOW), them.windows(watched)
        await fill(lax, *range(6))
        assert await strict.acquire(1) > 0
        assert await lax.acquire(7) == 0.0
        assert (await strict.usage())[0].limit == 4


async def test_without_limits_nothing_is_sent(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        windows = them.windows()
        await fill(windows, *range(50))
        await windows.release(99)
        assert await windows.usage() == ()
        assert await windows.estimate_wait(10) == (0.0, 0)
        assert list(them.names()) == []


async def test_a_block_applies_to_all_processes(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        one, other = them.windows(WINDOW), them.windows(WINDOW)
        await one.block(0, 3.0, adapt=False)
        await one.block(0, 1.0, adapt=False)
        wait = await other.acquire(1)
        assert 2.5 < wait <= 3.0
        them.pass_time(3.0)
        assert await other.acquire(1) == 0.0
        assert (await one.usage())[0].share == WINDOW.requests


@pytest.mark.parametrize("seconds", [-1.0, 0.0, float("nan")])
async def test_a_block_without_duration_is_ignored(redis_server: Server, seconds: float) -> None:
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW)
        await windows.block(0, seconds, adapt=True)
        assert await windows.acquire(1) == 0.0


async def test_an_infinite_block_ends_after_a_day(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW)
        await windows.block(0, float("inf"), adapt=False)
        assert (await windows.usage())[0].blocked_for == pytest.approx(86400, abs=5)
        them.pass_time(86400)
        assert await windows.acquire(1) == 0.0


async def test_a_reduced_share_applies_to_all_processes(redis_server: Server) -> None:
    limit = Limit("host/key/shared", "shared", 100, 60.0)
    async with fleet(redis_server) as them:
        one, other = them.windows(limit), them.windows(limit)
        await fill(one, *range(30))
        await fill(other, *range(20))
        await one.block(0, 2.0, adapt=True)
        share = (await other.usage())[0].share
        assert 40 < share < 50
        them.pass_time(5.0)
        assert 0 < await other.acquire(20) <= 5.0


async def test_shares_recover_as_in_memory(redis_server: Server) -> None:
    limit = Limit("host/key/shared", "shared", 480, 60.0)
    async with fleet(redis_server) as them:
        windows = them.windows(limit, lease=80000.0)
        await fill(windows, *range(120))
        await acquire_all(windows, *range(200, 300))  # permanent demand
        await windows.block(0, 2.0, adapt=True)
        since, full = them.now() + 2.0, recovery_seconds(limit.seconds, 0)
        them.pass_time(2.0)
        shares: list[int] = []
        for _ in range(20):
            them.pass_time(full / 7.0)
            shares.append((await windows.usage())[0].share)
            assert shares[-1] == allowed_requests(480, 120, them.now() - since, full)
        assert shares == sorted(shares)
        assert shares[0] < 120 < shares[-1]


async def test_estimate_wait(redis_server: Server) -> None:
    limit = Limit("host/key/forecast", "forecast", 2, 10.0)
    async with fleet(redis_server) as them:
        one, other = them.windows(limit), them.windows(limit)
        assert await one.estimate_wait(0) == (0.0, 0)
        await fill(one, 1)
        them.pass_time(4.0)
        await fill(other, 1)
        stay = limit.seconds + CLOCK_SKEW
        assert await one.estimate_wait(0) == (pytest.approx(stay - 4.0, abs=1), 0)
        assert await one.estimate_wait(1) == (pytest.approx(stay, abs=1), 0)
        assert await one.estimate_wait(2) == (pytest.approx(2 * stay - 4.0, abs=1), 0)
        # Other waiting processes go first.
        assert await one.acquire(3) > 0
        assert await other.estimate_wait(0) == (pytest.approx(stay, abs=1), 0)
        assert await one.estimate_wait(0) == (pytest.approx(stay - 4.0, abs=1), 0)


async def test_estimate_wait_returns_the_window_that_causes_the_wait(redis_server: Server) -> None:
    hour = Limit("host/key/sustained", "sustained", 2, 3600.0)
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW, hour)
        await fill(windows, 1, 2)
        assert await windows.estimate_wait(0) == (pytest.approx(3600, abs=2), 1)


async def test_snapshot_is_the_last_reported_usage(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        one, other = them.windows(WINDOW), them.windows(WINDOW)
        assert one.snapshot() == (Usage(4, 4, 0, 0, 0.0, 0.0),)
        await fill(one, 1)
        await fill(other, 1, 2)
        assert one.snapshot()[0].used == 1
        await one.usage()
        assert one.snapshot()[0].used == 3
        assert one.snapshot()[0].reset <= STAY


async def test_is_idle(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW)
        assert windows.is_idle()
        await acquire_all(windows, 1, 2, 3, 4)
        assert not windows.is_idle()
        for ticket in (1, 2, 3, 4):
            await windows.complete(ticket)
        assert windows.is_idle()
        assert await windows.acquire(5) > 0
        assert not windows.is_idle()
        await windows.release(5)
        assert windows.is_idle()


async def test_a_ticket_is_completed_once_and_release_accepts_any(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW)
        await acquire_all(windows, 1, 2)
        await windows.release(1)
        await windows.release(1)
        await windows.complete(1)
        await windows.release(77)
        await windows.complete(2)
        await windows.complete(2)
        await windows.release(2)
        assert await used(windows) == [(1, 0)]


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_acquire_leaves_nothing(redis_server: Server, steps: int) -> None:
    async with fleet(redis_server) as them:
        windows, other = them.windows(WINDOW), them.windows(WINDOW)
        await windows.usage()
        done = False

        async def ask() -> None:
            nonlocal done
            await windows.acquire(1)
            done = True

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        await windows.release(1)
        assert await used(other) == [(0, 0)], f"{done=}"
        assert windows.is_idle()
        await acquire_all(other, 1, 2, 3, 4)


async def test_an_acquire_that_arrives_after_its_release_is_ignored(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW)
        await windows.usage()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await windows.acquire(1)
        assert scope.cancelled_caught
        await windows.release(1)
        for key in them.names():
            assert them.admin.pttl(key) > 0, key
        # As if the network had delayed it until now.
        assert await windows.acquire(1) > 0
        assert await used(windows) == [(0, 0)]


async def test_an_acquire_whose_response_was_lost_counts_once(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW)
        await acquire_all(windows, 1, 2, 3, 4)
        await acquire_all(windows, 4)
        assert await used(windows) == [(0, 4)]


async def test_a_forgotten_script_is_sent_again(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW)
        await fill(windows, 1)
        them.admin.script_flush()
        await fill(windows, 2)
        assert await used(windows) == [(2, 0)]


async def test_time_goes_on_when_the_server_clock_is_set_back(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW)
        await fill(windows, 1, 2, 3, 4)
        before = them.now()
        them.set_back(3600.0)
        assert await windows.acquire(5) > 0
        assert await used(windows) == [(4, 0)]
        assert them.now() > before
        them.pass_time(STAY)
        assert await windows.acquire(5) == 0.0


async def test_memory_is_bounded_and_everything_expires(redis_server: Server) -> None:
    hour = Limit("host/key/sustained", "sustained", 40, 3600.0)
    async with fleet(redis_server) as them:
        ticket, windows = 0, them.windows(WINDOW, hour, SLOT)
        for _ in range(8):
            windows = them.windows(WINDOW, hour, SLOT)
            for _ in range(3):
                ticket += 1
                assert await windows.acquire(ticket) == 0.0
                await windows.complete(ticket)
            await windows.block(0, 1.0, adapt=True)
            ticket += 1
            assert await windows.acquire(ticket) > 0
            await windows.release(ticket)
            them.pass_time(1800.0)
        await windows.usage()
        keys = list(them.names())
        assert len(keys) <= 2 + 5 * 3
        for key in keys:
            assert them.admin.pttl(key) > 0, key
        sizes = [them.admin.zcard(key) for key in keys if them.admin.type(key) == "zset"]
        assert max(sizes) <= 6


async def test_prefixes_separate_limits(redis_server: Server) -> None:
    async with fleet(redis_server) as them, fleet(redis_server) as strangers:
        await fill(them.windows(WINDOW), 1, 2, 3, 4)
        assert await strangers.windows(WINDOW).acquire(1) == 0.0


async def test_an_unenforced_limit_counts_and_delays_no_request(redis_server: Server) -> None:
    watched = Limit(WINDOW.key, WINDOW.name, UNENFORCED, WINDOW.seconds)
    async with fleet(redis_server) as them:
        one, other = them.windows(watched), them.windows(WINDOW)
        await fill(one, 1, 2, 3, 4, 5)
        assert await used(other) == [(5, 0)]
        await one.block(0, 50.0, adapt=False)
        assert await other.acquire(1) == pytest.approx(5.0)  # the maximum wait
        assert (await other.estimate_wait(0))[0] == pytest.approx(STAY, abs=0.1)
        await fill(one, 6)
        assert (await one.estimate_wait(0))[0] == 0.0
        assert [usage.blocked_for for usage in await one.usage()] == [0.0]


async def test_a_slot_is_held_while_its_query_waits_for_something_else(
    redis_server: Server,
) -> None:
    clock = ManualClock()
    async with fleet(redis_server) as them:
        store = them.store(clock=clock, slot_lease=600.0)
        slots, minute = store.windows([SLOT]), store.windows([WINDOW])
        await acquire_all(slots, 1, 2, 3)
        await fill(minute, *range(11, 15))
        for _ in range(100):
            # It waits for the rate limit for longer than the lease, with calls now and then.
            clock.now += 60.0
            them.pass_time(60.0)
            await minute.acquire(15)
            await minute.release(15)
        other = them.windows(SLOT)
        assert await used(other) == [(0, 3)]
        assert await other.acquire(1) > 0
        for ticket in (1, 2, 3):
            await slots.complete(ticket)
        await acquire_all(other, 1, 2, 3)
        await minute.acquire(16)
        # Released slots are not renewed.
        clock.now += 600.0
        await minute.acquire(17)
        assert await used(other) == [(0, 3)]
