"""A storm: ten thousand calls through a server that misbehaves one time in five."""

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
"""Longer than the timeout, and well above what a call takes when every task has one."""
HURRY = 1000
"""How much faster than the wall clock the client lives, so that its waits are short."""
RESOURCE = "experiment_holdouts"
FIXED = 200
"""Objects that are read and updated."""
SELECT = {"kind": "HogQLQuery", "query": "SELECT 1"}
Job = Callable[[], Awaitable[bool]]


def rows() -> Iterator[Row]:
    """Run the storm on asyncio, and count everything that went wrong in it."""
    usual = sys.getswitchinterval()
    # Client and server are threads of one process: let neither wait long for the other.
    sys.setswitchinterval(5e-5)
    try:
        storm = anyio.run(_storm, 1)
    finally:
        sys.setswitchinterval(usual)
    print(storm.report(), flush=True)
    wrong = len(storm.wrong)
    yield Row(
        AREA, f"faults: {CALLS:,} calls, wrong at {RATE:.0%} misbehaviour",
        wrong, None, None, 0, storm.met, "calls or leaks",
    )  # fmt: skip


class Hurried:
    """A clock that runs `HURRY` times as fast, for limits and retries alike."""

    def __init__(self, seed: int) -> None:
        self._start = time.monotonic()
        self._epoch = time.time()
        self.random = random.Random(seed).random

    def monotonic(self) -> float:
        return self._start + (time.monotonic() - self._start) * HURRY

    def time(self) -> float:
        return self._epoch + (time.monotonic() - self._start) * HURRY

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / HURRY)


@dataclass
class Storm:
    """What was called, and what became of it."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    retried: int = 0
    wrong: list[str] = field(default_factory=list[str])
    """What must not be."""
    made: dict[str, int] = field(default_factory=dict[str, int])
    """Names of objects the client was told it made, and their ids."""
    asked: list[str] = field(default_factory=list[str])
    """Names of objects it asked to make."""
    sent: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
    """Values it asked objects to be updated to."""
    gone: set[int] = field(default_factory=set[int])
    """Objects it was told are deleted."""
    seconds: float = 0.0

    @property
    def met(self) -> bool:
        """Whether every call ended well, and nothing was done twice or left behind."""
        return not self.wrong and sum(self.outcomes.values()) == CALLS

    def report(self) -> str:
        """Every count."""
        lines = [f"{CALLS:,} calls in {self.seconds:.0f} s, {self.retried:,} of them retries more"]
        lines += [f"  {count:>6,}  {name}" for name, count in self.outcomes.most_common()]
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        lines.append(f"  the server misbehaved: {faults}")
        lines += [f"  WRONG: {text}" for text in self.wrong[:20]]
        return "\n".join(lines)


class Calls:
    """The calls of a storm, each of which says whether its result was right."""

    def __init__(self, ph: AsyncPostHog, storm: Storm, fixed: list[int]) -> None:
        self._holdouts = ph.experiment_holdouts
        self._query = ph.query
        self._storm = storm
        self._fixed = fixed

    async def get(self, id: int) -> bool:
        found = await self._holdouts.get(id)
        return found.id == id

    async def page(self, offset: int) -> bool:
        page = await self._holdouts.list(limit=20, offset=offset)
        ids = [item.id for item in page.items]
        return len(ids) == 20 and ids == sorted(set(ids))

    async def create(self, name: str) -> bool:
        self._storm.asked.append(name)
        made = await self._holdouts.create(name=name, filters=[])
        self._storm.made[name] = made.id
        return made.name == name

    async def update(self, id: int, value: str) -> bool:
        self._storm.sent.setdefault(id, set()).add(value)
        changed = await self._holdouts.update(id, description=value)
        return (changed.id, changed.description) == (id, value)

    async def delete(self, id: int) -> bool:
        await self._holdouts.delete(id)
        self._storm.gone.add(id)
        return True

    async def query(self) -> bool:
        await self._query.create(query=SELECT)
        return True

    def mixed(self, seed: int, doomed: list[int]) -> list[tuple[str, Job]]:
        """Ten thousand of them."""
        chance = random.Random(seed)
        jobs: list[tuple[str, Job]] = []
        for number in range(CALLS):
            lot, one = chance.random(), chance.choice(self._fixed)
            if lot < 0.4:
                jobs.append(("get", partial(self.get, one)))
            elif lot < 0.5:
                jobs.append(("list", partial(self.page, chance.randrange(FIXED - 20))))
            elif lot < 0.75:
                jobs.append(("create", partial(self.create, f"new-{number}")))
            elif lot < 0.9:
                jobs.append(("update", partial(self.update, one, f"value-{number}")))
            elif lot < 0.95 and doomed:
                jobs.append(("delete", partial(self.delete, doomed.pop())))
            else:
                jobs.append(("query", self.query))
        return jobs


async def _storm(seed: int) -> Storm:
    storm = Storm()
    emulator = Emulator()
    emulator.settings.stall_seconds = STALL
    fixed = [item["id"] for item in emulator.seed(RESOURCE, FIXED)]
    doomed = [item["id"] for item in emulator.seed(RESOURCE, CALLS // 10)]
    before = _census()
    async with serve(emulator) as url:
        attempts = Attempts()
        async with AsyncPostHog(
            emulator.key,
            project_id=emulator.project_id,
            host=url,
            timeout=TIMEOUT,
            clock=Hurried(seed),
            middleware=[attempts],
            on_retry=lambda _: attempts.note(),
        ) as ph:
            jobs = Calls(ph, storm, fixed).mixed(seed, list(doomed))
            plan = emulator.faults.randomize(RATE, seed=seed)
            await _run(jobs, storm)
            emulator.faults.clear()
            await _probe(ph, attempts, storm)
        storm.retried = attempts.retries
        storm.faults.update(plan.counts)
        await _drained(emulator, storm)
    after = _census()
    if after != before:
        storm.wrong.append(f"{after} tasks and sockets after the storm, {before} before")
    _judge(emulator, storm, set(doomed))
    return storm


async def _run(jobs: list[tuple[str, Job]], storm: Storm) -> None:
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
            storm.outcomes[f"{kind}: {outcome}"] += 1
            if outcome.startswith(("WRONG", "UNTYPED")):
                storm.wrong.append(f"{kind}: {outcome}")

    async with anyio.create_task_group() as tasks:
        for _ in range(TASKS):
            tasks.start_soon(work)
    storm.seconds = time.monotonic() - started


class Attempts:
    """Counts attempts under way, behind the limiter."""

    def __init__(self) -> None:
        self.retries = 0
        self.now = self.most = 0

    def note(self) -> None:
        self.retries += 1

    async def __call__(
        self,
        request: httpx.Request,
        call_next: Callable[[httpx.Request], Awaitable[httpx.Response]],
    ) -> httpx.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await call_next(request)
        finally:
            self.now -= 1


async def _probe(ph: AsyncPostHog, attempts: Attempts, storm: Storm) -> None:
    """A slot that was lost in the storm is missing afterwards: three queries must still fit."""
    if attempts.now:
        storm.wrong.append(f"{attempts.now} attempts still under way")
    attempts.most = 0
    with anyio.move_on_after(20) as scope:
        async with anyio.create_task_group() as tasks:
            for _ in range(9):
                tasks.start_soon(partial(ph.query.create, query=SELECT))
    if scope.cancelled_caught or attempts.most < 3:
        storm.wrong.append(f"only {attempts.most} queries fit side by side after the storm")


def _census() -> tuple[int, int]:
    """Tasks of this loop, and sockets of this process."""
    sockets = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            sockets += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue  # the listing's own
    return len(anyio.get_running_tasks()), sockets


async def _drained(emulator: Emulator, storm: Storm) -> None:
    """The server takes a moment to see that its clients have gone."""
    connections = emulator.app.connections
    for _ in range(200):
        if not connections:
            return
        await anyio.sleep(0.05)
    storm.wrong.append(f"{len(connections)} connections left open")


def _judge(emulator: Emulator, storm: Storm, doomed: set[int]) -> None:
    """Compare what the client was told with what the server has."""
    items = emulator.items(RESOURCE)
    by_id = {item["id"]: item for item in items}
    names = Counter(item["name"] for item in items)
    for name in storm.asked:
        if names[name] > 1:
            storm.wrong.append(f"{name} was made {names[name]} times")
    for name, number in storm.made.items():
        if by_id.get(number, {}).get("name") != name:
            storm.wrong.append(f"{name} was said to be made as {number}, and is not there")
    for number, values in storm.sent.items():
        held = by_id[number]["description"]
        if held not in values | {None}:
            storm.wrong.append(f"{number} has a value nobody sent: {held!r}")
    for number in storm.gone & by_id.keys():
        storm.wrong.append(f"{number} was said to be deleted, and is there")
    left = doomed & by_id.keys()
    if len(items) != FIXED + len(left) + sum(names[name] for name in storm.asked):
        storm.wrong.append("objects came or went that nobody asked for")
