"""Fault injection: ten thousand calls to a server that injects a fault into one of five."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import anyio
import httpx

from asyncposthog import AsyncPostHog, PostHogError
from benchmarks.measure import Row
from posthog_emulator import Emulator, serve

__all__ = ["rows"]

AREA = "limits"
CALLS = 10_000
TASKS = 50
RATE = 0.2
TIMEOUT = 1.0
STALL = 1.4
"""Longer than the timeout, and well above the duration of a call under full load."""
CLOCK_SPEED = 1000
"""How much faster than the wall clock the client's clock runs, so that its waits are short."""
RESOURCE = "experiment_holdouts"
FIXED = 200
"""Number of objects that are read and updated."""
SELECT = {"kind": "HogQLQuery", "query": "SELECT 1"}
Job = Callable[[], Awaitable[bool]]


def rows() -> Iterator[Row]:
    """Run all calls on asyncio, and count everything that went wrong."""
    switch_interval = sys.getswitchinterval()
    # Client and server are threads of one process: a short interval lets neither wait long.
    sys.setswitchinterval(5e-5)
    try:
        run = anyio.run(_run_with_faults, 1)
    finally:
        sys.setswitchinterval(switch_interval)
    print(run.report(), flush=True)
    errors = len(run.errors)
    yield Row(
        AREA, f"faults: {CALLS:,} calls, wrong with {RATE:.0%} injected faults",
        errors, None, None, 0, run.succeeded, "calls or leaks",
    )  # fmt: skip


class FastClock:
    """A clock that runs `CLOCK_SPEED` times as fast, for limits and retries."""

    def __init__(self, seed: int) -> None:
        self._start = time.monotonic()
        self._epoch = time.time()
        self.random = random.Random(seed).random

    def monotonic(self) -> float:
        return self._start + (time.monotonic() - self._start) * CLOCK_SPEED

    def time(self) -> float:
        return self._epoch + (time.monotonic() - self._start) * CLOCK_SPEED

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / CLOCK_SPEED)


@dataclass
class FaultRun:
    """The calls of a run and their outcomes."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    retried: int = 0
    errors: list[str] = field(default_factory=list[str])
    """Violated expectations."""
    created: dict[str, int] = field(default_factory=dict[str, int])
    """Names and ids of objects whose creation succeeded."""
    requested: list[str] = field(default_factory=list[str])
    """Names of objects whose creation was requested."""
    sent: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
    """Values sent in updates, by object id."""
    deleted: set[int] = field(default_factory=set[int])
    """Ids of objects whose deletion succeeded."""
    seconds: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether every call ended, and nothing was done twice or leaked."""
        return not self.errors and sum(self.outcomes.values()) == CALLS

    def report(self) -> str:
        """Return all counts as text."""
        lines = [f"{CALLS:,} calls in {self.seconds:.0f} s, {self.retried:,} of them retries more"]
        lines += [f"  {count:>6,}  {name}" for name, count in self.outcomes.most_common()]
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        lines.append(f"  injected faults: {faults}")
        lines += [f"  WRONG: {text}" for text in self.errors[:20]]
        return "\n".join(lines)


class Calls:
    """The calls of a run. Each returns whether its result was right."""

    def __init__(self, ph: AsyncPostHog, run: FaultRun, fixed: list[int]) -> None:
        self._holdouts = ph.experiment_holdouts
        self._query = ph.query
        self._run_with_faults = run
        self._fixed = fixed

    async def get(self, id: int) -> bool:
        holdout = await self._holdouts.get(id)
        return holdout.id == id

    async def page(self, offset: int) -> bool:
        page = await self._holdouts.list(limit=20, offset=offset)
        ids = [item.id for item in page.items]
        return len(ids) == 20 and ids == sorted(set(ids))

    async def create(self, name: str) -> bool:
        self._run_with_faults.requested.append(name)
        created = await self._holdouts.create(name=name, filters=[])
        self._run_with_faults.created[name] = created.id
        return created.name == name

    async def update(self, id: int, value: str) -> bool:
        self._run_with_faults.sent.setdefault(id, set()).add(value)
        changed = await self._holdouts.update(id, description=value)
        return (changed.id, changed.description) == (id, value)

    async def delete(self, id: int) -> bool:
        await self._holdouts.delete(id)
        self._run_with_faults.deleted.add(id)
        return True

    async def query(self) -> bool:
        await self._query.create(query=SELECT)
        return True

    def random_mix(self, seed: int, deletable: list[int]) -> list[tuple[str, Job]]:
        """Return the calls of a run, chosen at random."""
        rng = random.Random(seed)
        jobs: list[tuple[str, Job]] = []
        for number in range(CALLS):
            roll, item_id = rng.random(), rng.choice(self._fixed)
            if roll < 0.4:
                jobs.append(("get", partial(self.get, item_id)))
            elif roll < 0.5:
                jobs.append(("list", partial(self.page, rng.randrange(FIXED - 20))))
            elif roll < 0.75:
                jobs.append(("create", partial(self.create, f"new-{number}")))
            elif roll < 0.9:
                jobs.append(("update", partial(self.update, item_id, f"value-{number}")))
            elif roll < 0.95 and deletable:
                jobs.append(("delete", partial(self.delete, deletable.pop())))
            else:
                jobs.append(("query", self.query))
        return jobs


async def _run_with_faults(seed: int) -> FaultRun:
    run = FaultRun()
    emulator = Emulator()
    emulator.settings.stall_seconds = STALL
    fixed = [item["id"] for item in emulator.seed(RESOURCE, FIXED)]
    deletable = [item["id"] for item in emulator.seed(RESOURCE, CALLS // 10)]
    before = _count_tasks_and_sockets()
    async with serve(emulator) as url:
        attempts = Attempts()
        async with AsyncPostHog(
            emulator.key,
            project_id=emulator.project_id,
            host=url,
            timeout=TIMEOUT,
            clock=FastClock(seed),
            middleware=[attempts],
            on_retry=lambda _: attempts.count_retry(),
        ) as ph:
            jobs = Calls(ph, run, fixed).random_mix(seed, list(deletable))
            plan = emulator.faults.randomize(RATE, seed=seed)
            await _run(jobs, run)
            emulator.faults.clear()
            await _check_query_slots(ph, attempts, run)
        run.retried = attempts.retries
        run.faults.update(plan.counts)
        await _wait_for_connections_to_close(emulator, run)
    after = _count_tasks_and_sockets()
    if after != before:
        run.errors.append(f"{after} tasks and sockets after the faults, {before} before")
    _compare_with_server(emulator, run, set(deletable))
    return run


async def _run(jobs: list[tuple[str, Job]], run: FaultRun) -> None:
    waiting = iter(jobs)
    started = time.monotonic()

    async def work() -> None:
        for kind, job in waiting:
            try:
                outcome = "right" if await job() else "WRONG"
            except PostHogError as error:
                outcome = type(error).__name__
            except Exception as error:
                outcome = f"UNTYPED {type(error).__name__}: {error}"
            run.outcomes[f"{kind}: {outcome}"] += 1
            if outcome.startswith(("WRONG", "UNTYPED")):
                run.errors.append(f"{kind}: {outcome}")

    async with anyio.create_task_group() as tasks:
        for _ in range(TASKS):
            tasks.start_soon(work)
    run.seconds = time.monotonic() - started


class Attempts:
    """Middleware behind the limiter that counts running attempts."""

    def __init__(self) -> None:
        self.retries = 0
        self.running = self.max_running = 0

    def count_retry(self) -> None:
        self.retries += 1

    async def __call__(
        self,
        request: httpx.Request,
        call_next: Callable[[httpx.Request], Awaitable[httpx.Response]],
    ) -> httpx.Response:
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            return await call_next(request)
        finally:
            self.running -= 1


async def _check_query_slots(ph: AsyncPostHog, attempts: Attempts, run: FaultRun) -> None:
    """Check that three queries still run at a time: a leaked query slot would be missing."""
    if attempts.running:
        run.errors.append(f"{attempts.running} attempts still running")
    attempts.max_running = 0
    with anyio.move_on_after(20) as scope:
        async with anyio.create_task_group() as tasks:
            for _ in range(9):
                tasks.start_soon(partial(ph.query.create, query=SELECT))
    if scope.cancelled_caught or attempts.max_running < 3:
        run.errors.append(f"only {attempts.max_running} queries run at a time after the faults")


def _count_tasks_and_sockets() -> tuple[int, int]:
    """Return the numbers of tasks of this loop and of sockets of this process."""
    sockets = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            sockets += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue  # The descriptor of the listing itself.
    return len(anyio.get_running_tasks()), sockets


async def _wait_for_connections_to_close(emulator: Emulator, run: FaultRun) -> None:
    """Wait until the server has noticed that its clients are gone."""
    connections = emulator.app.connections
    for _ in range(200):
        if not connections:
            return
        await anyio.sleep(0.05)
    run.errors.append(f"{len(connections)} connections left open")


def _compare_with_server(emulator: Emulator, run: FaultRun, deletable: set[int]) -> None:
    """Compare the responses that the client got with the objects of the server."""
    items = emulator.items(RESOURCE)
    by_id = {item["id"]: item for item in items}
    names = Counter(item["name"] for item in items)
    for name in run.requested:
        if names[name] > 1:
            run.errors.append(f"{name} was made {names[name]} times")
    for name, number in run.created.items():
        if by_id.get(number, {}).get("name") != name:
            run.errors.append(f"{name} was created as {number}, and does not exist")
    for number, values in run.sent.items():
        value = by_id[number]["description"]
        if value not in values | {None}:
            run.errors.append(f"{number} has a value that was never sent: {value!r}")
    for number in run.deleted & by_id.keys():
        run.errors.append(f"{number} was deleted, and still exists")
    remaining = deletable & by_id.keys()
    if len(items) != FIXED + len(remaining) + sum(names[name] for name in run.requested):
        run.errors.append("objects were created or deleted without a request")
