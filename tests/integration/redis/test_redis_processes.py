"""Real processes on a real Redis, checked with the emulator's rate limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio

from asyncposthog.rate_limits.limits import Limit
from posthog_emulator.rate_limits.rate_limits import Caller, Rate, RateLimits
from tests.helpers.forked_processes import running

from . import redis_worker
from .helpers import fleet
from .redis_server import Server
from .redis_worker import Job

PAIR = (("burst", 20, 0.25), ("sustained", 50, 1.0))


class Process:
    """A worker process."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.name = job.name
        self._out = folder / f"{job.name}.out"
        self._log = folder / f"{job.name}.log"
        self._out.touch()
        self._log.touch()
        self._running = ExitStack()
        work = running(redis_worker.main, job, self._out, self._log)
        self._process, self._pipe = self._running.enter_context(work)

    @property
    def lines(self) -> list[str]:
        return self._out.read_text().splitlines()

    @property
    def times(self) -> list[float]:
        return [float(line) for line in self.lines if line[0].isdigit()]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def begin(self) -> None:
        self._pipe.send(None)

    def check(self) -> None:
        assert self._process.exitcode in (None, 0), self.log

    def kill(self) -> None:
        self._running.close()


def wait_until(what: Callable[[], bool], processes: Sequence[Process] = ()) -> None:
    """Wait for a condition, for a minute at most: machines may be slow."""
    for _ in range(6000):
        if what():
            return
        for process in processes:
            process.check()
        time.sleep(0.01)
    raise AssertionError([(len(process.times), process.log) for process in processes])


@contextmanager
def workers(folder: Path, *jobs: Job, begin: bool = True) -> Generator[list[Process]]:
    """Start processes, and let them begin together if `begin` is true."""
    with ExitStack() as stack:
        processes: list[Process] = []
        for job in jobs:
            processes.append(Process(job, folder))
            stack.callback(processes[-1].kill)
        for process in processes:
            wait_until(lambda p=process: "ready" in p.lines, processes)
        for process in processes if begin else ():
            process.begin()
        yield processes


def refusals(limits: Sequence[tuple[str, int, float]], times: Sequence[float]) -> int:
    """Return how many requests the server would have throttled."""
    now = [0.0]
    rates = {name: Rate(limit, seconds) for name, limit, seconds in limits}
    server = RateLimits(lambda: now[0], rates)
    refused = 0
    for now[0] in sorted(times):
        refused += server.charge(rates, Caller("phx_1")) is not None
    return refused


def total(processes: Sequence[Process]) -> int:
    return sum(len(process.times) for process in processes)


def least(processes: Sequence[Process]) -> int:
    return min(len(process.times) for process in processes)


def every(processes: Sequence[Process]) -> list[float]:
    return [moment for process in processes for moment in process.times]


def test_four_processes_with_wrong_clocks_share_one_limit(
    redis_server: Server, tmp_path: Path
) -> None:
    jobs = [Job(f"w{i}", redis_server.url, "budget", PAIR, tasks=8, skew=i * 1e5) for i in range(4)]
    with workers(tmp_path, *jobs) as processes:
        # A process that starts late still gets its share.
        wait_until(lambda: total(processes) >= 125 and least(processes) >= 8, processes)
    assert refusals(PAIR, every(processes)) == 0
    for process in processes:
        assert process.log == ""


def test_a_process_far_from_redis_gets_its_share(redis_server: Server, tmp_path: Path) -> None:
    limits = (("burst", 20, 0.25),)
    jobs = [
        Job(f"w{i}", redis_server.url, "far", limits, tasks=8, lag=0.0 if i else 0.006)
        for i in range(3)
    ]
    with workers(tmp_path, *jobs) as processes:
        # A process that the machine delays catches up.
        wait_until(
            lambda: total(processes) >= 100 and least(processes) >= 0.5 * total(processes) / 3,
            processes,
        )
    assert refusals(limits, every(processes)) == 0


def test_cancelled_waiters_leave_nothing_behind(redis_server: Server, tmp_path: Path) -> None:
    limits = (("burst", 15, 0.25),)
    jobs = [
        Job(
            f"w{i}",
            redis_server.url,
            "cancelled",
            limits,
            tasks=10,
            requests=15,
            give_up_after=0.05,
        )
        for i in range(3)
    ]
    with workers(tmp_path, *jobs) as processes:
        wait_until(lambda: all("done" in p.lines for p in processes), processes)
    assert refusals(limits, every(processes)) == 0
    limit = Limit("host/key/burst", "burst", 15, 0.25)

    async def look() -> None:
        async with fleet(redis_server) as them:
            them.prefix = "cancelled"
            windows = them.windows(limit)
            assert (await windows.usage())[0].in_flight == 0
            them.pass_time(1.0)
            assert [await windows.acquire(ticket) for ticket in range(15)] == [0.0] * 15

    anyio.run(look)


def test_slots_of_a_killed_process_are_released(redis_server: Server, tmp_path: Path) -> None:
    limits = (("slots", 3, 0.0),)

    def job(name: str, *, hang: bool) -> Job:
        options: dict[str, object] = {"slot_lease": 1000.0, "timeout": 30.0}
        return Job(name, redis_server.url, "killed", limits, 3, hang=hang, options=options)

    jobs = job("holder", hang=True), job("waiter", hang=True), job("last", hang=False)
    with workers(tmp_path, *jobs, begin=False) as (holder, waiter, last):
        holder.begin()
        wait_until(lambda: total([holder]) == 3, [holder])
        # It is in the queue, before the last.
        waiter.begin()
        with redis_server.client() as admin:
            queue = "{killed}:host/key/slots:waiters"
            wait_until(lambda: admin.hlen(queue) == 1, [waiter])
            last.begin()
            wait_until(lambda: admin.hlen(queue) == 2, [last])
            assert total([waiter, last]) == 0
            for process in (waiter, holder):
                process.kill()
            admin.hincrbyfloat("{killed}:clock", "offset", 1000.0)
            wait_until(lambda: total([last]) >= 20, [last])


def test_redis_is_killed_and_restarted(private_redis: Server, tmp_path: Path) -> None:
    limits = (("burst", 30, 0.3),)
    private_redis.start()

    def job(name: str, on_failure: str) -> Job:
        options: dict[str, object] = {"on_failure": on_failure, "timeout": 30.0}
        return Job(name, private_redis.url, on_failure, limits, tasks=8, options=options)

    jobs = [job("open1", "open"), job("open2", "open"), job("shut1", "closed")]
    with workers(tmp_path, *jobs) as processes:
        opened, closed = processes[:2], processes[2:]
        wait_until(lambda: total(opened) >= 45 and total(closed) >= 45, processes)
        private_redis.kill()
        wait_until(lambda: all("is unavailable (" in p.log for p in processes), processes)
        during, held = total(opened), total(closed)
        wait_until(lambda: total(opened) >= during + 45, processes)  # more than two windows
        assert total(closed) - held <= 8  # requests admitted before
        private_redis.start()
        wait_until(lambda: all("is available again after" in p.log for p in processes), processes)
        after, again = total(opened), total(closed)
        wait_until(lambda: total(opened) >= after + 45 and total(closed) >= again + 45, processes)
    # Right after the failure, the shares of processes with few requests come on top of the
    # requests of the others. Right after the recovery, a process may acquire before the others
    # have reported theirs, and all of the rest if one of them is delayed for so long.
    assert refusals(limits, every(opened)) <= len(opened) + 2 * (limits[0][1] // 3)
    assert refusals(limits, every(closed)) <= len(closed)
    for process in processes:
        assert len(process.times) >= 10
        away, back = process.log.splitlines()
        assert "is unavailable (ConnectionError)" in away
        assert "is available again after" in back
