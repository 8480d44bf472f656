"""How processes share a window: in FIFO order, in equal shares, and without dead ones."""

from __future__ import annotations

from itertools import count

import pytest

from asyncposthog.rate_limits.limits import Limit
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW
from asyncposthog.rate_limits.stores.redis.windows import RedisWindows

from .helpers import SLOT, WINDOW, Fleet, acquire_all, fill, fleet
from .redis_server import Server

pytestmark = pytest.mark.anyio
STAY = WINDOW.seconds + CLOCK_SKEW
DOZEN = Limit("host/key/dozen", "dozen", 12, 60.0)
HOUR = Limit("host/key/sustained", "sustained", 2, 3600.0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def grab(windows: RedisWindows, first: int) -> int:
    """Acquire until there is no capacity, with tickets from `first` on. Return how many."""
    taken = 0
    while await windows.acquire(first + taken) == 0.0:
        taken += 1
    return taken


async def run(them: Fleet, processes: dict[str, RedisWindows], requests: int) -> list[str]:
    """Let processes make one request after the other. Return their names in order.

    Each asks when it was told to ask again, and at once after a request.
    """
    tickets = count(1000)
    waiting = {name: next(tickets) for name in processes}
    wake = dict.fromkeys(processes, 0.0)
    order: list[str] = []
    while len(order) < requests:
        name = min(wake, key=wake.__getitem__)
        windows = processes[name]
        await windows.usage()
        them.pass_time(max(0.0, wake[name] - them.now()))
        wait = await windows.acquire(waiting[name])
        if not wait:
            await windows.complete(waiting[name])
            order.append(name)
            waiting[name] = next(tickets)
        wake[name] = them.now() + wait
    return order


async def test_processes_take_turns(redis_server: Server) -> None:
    limit = Limit("host/key/three", "three", 3, 60.0)
    async with fleet(redis_server) as them:
        one, two, three = (them.windows(limit) for _ in range(3))
        for windows in (one, two, three):
            await fill(windows, 1)
            them.pass_time(10.0)
        order = await run(them, {"two": two, "three": three, "one": one}, 9)
        for turn in range(0, 9, 3):
            assert sorted(order[turn : turn + 3]) == ["one", "three", "two"]


async def test_waiting_processes_go_in_order_of_arrival(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        holder, *others = (them.windows(SLOT) for _ in range(4))
        await acquire_all(holder, 1, 2, 3)
        for windows in others:
            assert await windows.acquire(1) > 0
        for ticket, first in enumerate(others, 1):
            await holder.complete(ticket)
            assert await holder.acquire(10 + ticket) > 0
            for windows in reversed(others[ticket:]):
                assert await windows.acquire(1) > 0
            assert await first.acquire(1) == 0.0
        assert await holder.acquire(11) > 0


async def test_a_distant_process_gets_its_equal_share(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        near, far = them.windows(DOZEN), them.windows(DOZEN)
        await fill(near, *range(12))
        assert await far.acquire(0) > 0
        them.pass_time(1.0)
        assert await far.acquire(0) > 0
        them.pass_time(STAY - 2.5)
        for _ in range(3):  # often enough to count as alive
            assert await near.acquire(100) > 0
            assert await far.acquire(0) > 0
            them.pass_time(0.5)
        them.pass_time(0.6)
        # All capacity becomes free at once, and the near process calls first and fastest.
        assert await grab(near, 100) == 6
        assert await grab(far, 0) == 6


async def test_nothing_is_reserved_for_sleeping_processes(redis_server: Server) -> None:
    limit = Limit("host/key/three", "three", 3, 60.0)
    async with fleet(redis_server) as them:
        one, two, three = (them.windows(limit) for _ in range(3))
        for windows in (one, two, three):
            await fill(windows, 1)
            them.pass_time(10.0)
        them.pass_time(STAY - 33.0)
        waits = [await windows.acquire(2) for windows in (two, three, one)]
        assert waits[0] < 3.1
        assert waits[1:] == [5.0, 5.0]
        # The request of `one` leaves, so `two` has more than `one` now, which still sleeps.
        them.pass_time(waits[0])
        assert await two.acquire(2) == 0.0


async def test_a_process_with_two_queues_has_one_share(redis_server: Server) -> None:
    plenty = Limit("host/key/plenty", "plenty", 100, 3600.0)
    async with fleet(redis_server) as them:
        near, store, idle = them.windows(DOZEN), them.store(), them.windows(DOZEN)
        first, second = store.windows((DOZEN,)), store.windows((DOZEN, plenty))
        await fill(near, *range(12))
        them.pass_time(STAY - 0.5)
        for windows in (first, second):
            assert await windows.acquire(1) > 0
        them.pass_time(0.5)
        for windows in (first, second):
            assert await windows.acquire(1) == 0.0
            await windows.release(1)
        await fill(idle, 1)
        # Of twelve, one is used, four are reserved as the share of a third process, and one for
        # the waiter behind it.
        assert await grab(near, 100) == 6


async def test_an_unused_share_is_not_reserved(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        near, far = them.windows(DOZEN), them.windows(DOZEN)
        await fill(near, *range(12))
        them.pass_time(STAY - 1.0)
        assert await far.acquire(0) > 0
        them.pass_time(1.0)
        assert await grab(near, 100) == 6
        assert await far.acquire(0) == 0.0
        assert await near.acquire(200) > 0
        them.pass_time(0.25)
        assert await grab(near, 200) == 5


async def test_a_window_without_other_waiters_is_used_by_one_process(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        near, far = them.windows(DOZEN), them.windows(DOZEN)
        await fill(far, 0)
        assert await grab(near, 0) == 11


async def test_a_dead_waiter_loses_its_position(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        alive, dead = them.windows(SLOT), them.windows(SLOT)
        await acquire_all(alive, 1, 2, 3)
        assert await dead.acquire(1) <= 0.25
        await alive.complete(1)
        assert await alive.acquire(4) > 0
        them.pass_time(1.25)
        assert await alive.acquire(4) == 0.0


async def test_a_released_waiter_loses_its_position_soon(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        one, other = them.windows(SLOT), them.windows(SLOT)
        await acquire_all(one, 1, 2, 3)
        assert await other.acquire(1) > 0
        await one.complete(1)
        assert await one.acquire(4) > 0
        await other.release(1)
        them.pass_time(0.1)
        assert await one.acquire(4) == 0.0


async def test_a_released_waiter_passes_its_position_on(
    redis_server: Server,
) -> None:
    async with fleet(redis_server) as them:
        one, two, three = (them.windows(SLOT) for _ in range(3))
        await acquire_all(one, 1, 2, 3)
        assert await two.acquire(1) > 0
        assert await three.acquire(1) > 0
        await two.release(1)
        assert await two.acquire(2) > 0
        await one.complete(1)
        assert await three.acquire(1) > 0
        assert await two.acquire(2) == 0.0


async def test_a_position_stays_while_other_tasks_of_the_process_wait(
    redis_server: Server,
) -> None:
    async with fleet(redis_server) as them:
        one, two, three = (them.windows(SLOT) for _ in range(3))
        await acquire_all(one, 1, 2, 3)
        assert await two.acquire(1) > 0
        assert await two.acquire(2) > 0
        assert await three.acquire(1) > 0
        await two.release(1)
        await one.complete(1)
        them.pass_time(0.2)
        assert await three.acquire(1) > 0
        assert await two.acquire(2) == 0.0


async def test_a_waiter_for_another_window_reserves_nothing(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        both, minute = them.windows(WINDOW, HOUR), them.windows(WINDOW)
        await fill(both, 1, 2)
        them.pass_time(STAY)
        assert await both.acquire(3) > 0  # the hour is full
        assert await grab(minute, 1) == WINDOW.requests


async def test_a_waiter_that_moved_to_another_window_reserves_one_request(
    redis_server: Server,
) -> None:
    async with fleet(redis_server) as them:
        both, minute = them.windows(DOZEN, HOUR), them.windows(DOZEN)
        await fill(both, 1, 2)
        await fill(minute, *range(10))
        assert await both.acquire(3) > 0  # both are full
        them.pass_time(STAY - 4.0)
        assert await both.acquire(3) > 0
        them.pass_time(4.0)
        assert await both.acquire(3) > 0  # only the hour is
        assert await grab(minute, 100) == 11


async def test_a_lease_ends_requests_of_a_dead_process(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        dead, alive = them.windows(WINDOW, lease=30.0), them.windows(WINDOW)
        await acquire_all(dead, 1, 2, 3)
        them.pass_time(29.0)
        assert (await alive.usage())[0].in_flight == 3
        them.pass_time(1.0)
        usage = (await alive.usage())[0]
        assert (usage.used, usage.in_flight) == (3, 0)
        # They count from the end of the lease.
        assert usage.reset == pytest.approx(STAY, abs=1)
        them.pass_time(STAY)
        assert (await alive.usage())[0].used == 0
        assert await grab(alive, 1) == 4


async def test_a_lease_ends_at_its_time_not_when_noticed(
    redis_server: Server,
) -> None:
    async with fleet(redis_server) as them:
        dead, alive = them.windows(WINDOW, lease=30.0), them.windows(WINDOW)
        await acquire_all(dead, 1)
        them.pass_time(70.0)
        assert (await alive.usage())[0].reset == pytest.approx(STAY - 40.0, abs=1)


async def test_a_lease_ends_slots_of_a_dead_process(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        dead, alive = them.windows(SLOT, slot_lease=40.0), them.windows(SLOT)
        await acquire_all(dead, 1, 2, 3)
        them.pass_time(39.0)
        assert await alive.acquire(1) > 0
        them.pass_time(1.0)
        assert await grab(alive, 1) == 3


async def test_a_completion_after_the_lease_counts_once(
    redis_server: Server,
) -> None:
    async with fleet(redis_server) as them:
        slow = them.windows(WINDOW, lease=30.0)
        await acquire_all(slow, 1, 2)
        them.pass_time(50.0)
        assert (await slow.usage())[0].used == 2
        await slow.complete(1)
        await slow.release(2)
        usage = (await slow.usage())[0]
        assert (usage.used, usage.in_flight) == (1, 0)
        assert usage.reset == pytest.approx(STAY, abs=1)


async def test_shares_are_per_process_not_per_queue(
    redis_server: Server,
) -> None:
    async with fleet(redis_server) as them:
        plenty = Limit("host/key/plenty", "plenty", 100, 3600.0)
        store, other = them.store(), them.windows(DOZEN)
        first, second = store.windows((DOZEN,)), store.windows((DOZEN, plenty))
        await fill(first, *range(6))
        await fill(second, *range(6))
        them.pass_time(STAY - 1.0)
        assert await other.acquire(1) > 0
        assert await second.acquire(50) > 0
        them.pass_time(1.0)
        assert await grab(first, 50) + await grab(second, 50) == 6
        assert await grab(other, 1) == 6


async def test_no_capacity_stays_unused_while_a_process_waits(redis_server: Server) -> None:
    async with fleet(redis_server) as them:
        processes = {name: them.windows(DOZEN) for name in ("one", "two", "three", "four")}
        await run(them, processes, 12)
        begin = them.now()
        order = await run(them, processes, 48)
        # Four rounds: little capacity is lost in each, and a delay in one does not add to the next.
        assert them.now() - begin < 4 * (STAY + 1.0)
        counts = {name: order.count(name) for name in processes}
        assert all(10 <= count <= 14 for count in counts.values()), counts
