"""The limiter: how much of the server's budget it uses, how often it is refused, what it costs.

The server is the emulator's own limiter, in virtual time: two hours take seconds.
"""

from __future__ import annotations

import gc
import logging
import math
import random
import re
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import anyio

from asyncposthog import AsyncPostHog, RateLimitError
from asyncposthog.operation import Operation
from asyncposthog.rate_limits.limiter import Admission, KeyLimiter, RateLimiter
from asyncposthog.registry import BUCKETS, find, operations
from asyncposthog.transport.encoding.request import PreparedRequest
from benchmarks.measure import Row
from posthog_emulator import Emulator
from posthog_emulator.rate_limits.rate_limits import Caller, RateLimits
from tests.helpers.virtual_time import LoopClock, run

AREA = "limits"
HOURS = 2.0
WORKERS = 16
KEY = "phx_simulated"
CALLER = Caller(KEY, team="1", organization="1", item="1")
# An operation for the pairs of buckets that matter most, and how the limiter is set up for them.
PAIRS: dict[str, tuple[str, dict[str, str]]] = {
    "burst pair": ("feature_flags.list", {}),
    "clickhouse pair": ("insights.list", {}),
    "queries pair": ("query.create", {"query_plan": "current"}),
    "clickhouse_burst": ("persons.list", {}),
    "legacy queries": ("query.create", {"query_plan": "legacy"}),
}
HOGQL = b'{"query": {"kind": "HogQLQuery", "query": "select 1"}}'


@dataclass
class Tally:
    """What came of a simulation."""

    ours: int = 0
    refused: int = 0
    theirs: int = 0
    granted: int = 0


def rows() -> Iterator[Row]:
    """Measure the whole area."""
    logging.getLogger("asyncposthog").setLevel(logging.ERROR)  # hours of waiting are expected
    yield from alone()
    yield from shared()
    yield fairness()
    yield from crowds()
    yield from overhead()


def _others() -> dict[str, tuple[str, dict[str, str]]]:
    """Return an operation for every other set of buckets whose rates the server publishes."""
    known = {find(called).buckets for called, _ in PAIRS.values()}
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for operation in operations():
        buckets = operation.buckets
        if buckets not in known and all(BUCKETS[name]["requests"] for name in buckets):
            known.add(buckets)
            found[buckets[0]] = operation.id, {}
    return found


def alone() -> Iterator[Row]:
    """Endless demand, and nobody else with the key."""
    for pair, (called, settings) in (PAIRS | _others()).items():
        tally = run(_simulate, find(called), settings, None, 1)
        name = f"{HOURS:g} h saturated, {pair}"
        used = tally.ours / tally.granted
        yield Row(
            AREA, f"{name}: budget used", tally.ours, tally.granted, used, 0.99, used >= 0.99, ""
        )
        yield Row(AREA, f"{name}: 429s", tally.refused, None, None, 0, tally.refused == 0, "")


def shared() -> Iterator[Row]:
    """Endless demand beside a stranger with half of the key."""
    for pair in list(PAIRS)[:4]:
        called, settings = PAIRS[pair]
        for pace in ("evenly", "by chance", "in bursts"):
            tally = run(_simulate, find(called), settings, pace, 1)
            rest = tally.granted - tally.theirs
            used = tally.ours / rest
            part = tally.refused / (tally.ours + tally.refused)
            name = f"stranger {pace}, {pair}"
            yield Row(AREA, f"{name}: rest used", tally.ours, rest, used, 0.9, used >= 0.9, "")
            yield Row(
                AREA, f"{name}: 429s", tally.refused, tally.ours, part, 0.02, part <= 0.02, ""
            )


async def _simulate(
    operation: Operation, settings: dict[str, str], pace: str | None, seed: int
) -> Tally:
    """Work for some hours with endless demand. A stranger has begun an hour before."""
    rng, tally = random.Random(seed), Tally()
    rate_limits = RateLimits(anyio.current_time)
    names = ("query",) if settings.get("query_plan") == "legacy" else operation.buckets
    seconds = HOURS * 3600.0
    rates = [(BUCKETS[name]["requests"], BUCKETS[name]["seconds"]) for name in names]
    tally.granted = min(math.ceil(seconds / span) * limit for limit, span in rates)
    limits = _limiter(**settings).for_key("https://us.posthog.com", KEY)
    before = 0.0 if pace is None else 3600.0

    async def other_client(kind: str) -> None:
        rate = min(limit / span for limit, span in rates) / 2
        while True:
            crowd = int(rate * 60) if kind == "in bursts" else 1
            steady = crowd / rate
            await anyio.sleep(rng.expovariate(1 / steady) if kind == "by chance" else steady)
            for _ in range(crowd):
                admitted = rate_limits.charge(names, CALLER) is None
                tally.theirs += admitted and anyio.current_time() >= before

    async def work() -> None:
        while True:
            await _call(limits, operation, rate_limits, names, rng, tally)

    with anyio.move_on_after(before + seconds):
        async with anyio.create_task_group() as tasks:
            if pace is not None:
                tasks.start_soon(other_client, pace)
                await anyio.sleep(before)
            for _ in range(WORKERS):
                tasks.start_soon(work)
    return tally


async def _call(
    limits: KeyLimiter,
    operation: Operation,
    rate_limits: RateLimits,
    names: tuple[str, ...],
    rng: random.Random,
    tally: Tally,
) -> None:
    """Make one call, again and again until it is not refused."""
    target = re.sub(r"{\w+}", "1", operation.path)
    admission = limits.admission(
        operation, PreparedRequest(operation.method, target, content=HOGQL)
    )
    if not admission.needs_query_slot:
        while not await _attempt(admission, rate_limits, names, rng, tally):
            pass
        return
    async with admission.query_slot():
        while not await _attempt(admission, rate_limits, names, rng, tally):
            pass


async def _attempt(
    admission: Admission,
    rate_limits: RateLimits,
    names: tuple[str, ...],
    rng: random.Random,
    tally: Tally,
) -> bool:
    try:
        async with admission:
            admission.was_sent = True
            await anyio.sleep(rng.uniform(0.02, 0.15))
            throttled = rate_limits.charge(names, CALLER)
            tally.ours += throttled is None
            tally.refused += throttled is not None
            await anyio.sleep(rng.uniform(0.02, 0.35))
            if throttled is not None:
                error = RateLimitError("429", status=429, code="throttled")
                error.retry_after = throttled.wait
                raise error
            await admission.on_response(200)
    except RateLimitError:
        return False
    return True


def _limiter(**settings: Any) -> RateLimiter:
    return RateLimiter(clock=LoopClock(1), **settings)


def fairness() -> Row:
    """Compare the longest wait of 1,000 tasks with that of an ideal queue."""
    limit, span, tasks = 480, 60.0, 1000
    rng = random.Random(1)
    arrivals = sorted(rng.uniform(0, 30) for _ in range(tasks))
    ideal: list[float] = []
    for number, arrival in enumerate(arrivals):
        free = ideal[number - limit] + span if number >= limit else 0.0
        ideal.append(max(arrival, free))
    fair = max(went - arrival for went, arrival in zip(ideal, arrivals, strict=True))
    return Row.ratio_of(
        AREA, "longest wait of 1,000 tasks, to an ideal queue", run(_longest, arrivals), fair,
        1.05, "s",
    )  # fmt: skip


async def _longest(arrivals: list[float]) -> float:
    limits = _limiter().for_key("https://us.posthog.com", KEY)
    operation, rng, waits = find("feature_flags.list"), random.Random(2), list[float]()
    request = PreparedRequest("GET", "/api/projects/1/feature_flags/")

    async def one(arrival: float) -> None:
        await anyio.sleep(arrival)
        async with limits.admission(operation, request) as admission:
            waits.append(anyio.current_time() - arrival)
            admission.was_sent = True
            await anyio.sleep(rng.uniform(0.05, 0.5))
            await admission.on_response(200)

    async with anyio.create_task_group() as tasks:
        for arrival in arrivals:
            tasks.start_soon(one, arrival)
    return max(waits)


def crowds() -> Iterator[Row]:
    """Let many wait at once: what each of them costs must not grow with their number."""
    few, _ = run(_crowd, 10_000)
    many, mebibytes = run(_crowd, 100_000)
    yield Row.ratio_of(
        AREA, "a request among 100,000 waiters, to one among 10,000", many, few, 2.0, "µs"
    )
    yield Row.information(AREA, "memory of 100,000 waiters, their tasks included", mebibytes, "MiB")


async def _crowd(size: int) -> tuple[float, float]:
    """Return the microseconds of work for each of those who wait, and the memory of all."""
    budget = _limiter(limits={"burst": (5000, 60.0), "sustained": (10**9, 60.0)})
    limits = budget.for_key("https://us.posthog.com", KEY)
    operation = find("feature_flags.list")
    request = PreparedRequest("GET", "/api/projects/1/feature_flags/")

    async def one() -> None:
        async with limits.admission(operation, request) as admission:
            admission.was_sent = True
            await admission.on_response(200)

    gc.collect()
    before, held, started = _resident(), 0.0, time.process_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(size):
            tasks.start_soon(one)
        await anyio.sleep(1)
        held = _resident() - before
    return (time.process_time() - started) * 1e6 / size, held


def _resident() -> float:
    """Return the memory of this process, in MiB."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def overhead() -> Iterator[Row]:
    """Time a request that need not wait, and compare it with a whole `get`."""
    admitted = anyio.run(_admit)
    got = anyio.run(_get)
    yield Row(
        AREA, "overhead of an admitted request", admitted, None, None, 20.0, admitted <= 20.0, "µs"
    )
    yield Row.ratio_of(AREA, "… to a get from the emulator in process", admitted, got, 0.03, "µs")


async def _admit() -> float:
    limits = {"burst": (10**9, 60.0), "sustained": (10**9, 60.0)}
    budget = RateLimiter(limits=limits).for_key("https://us.posthog.com", KEY)
    operation = find("feature_flags.get")
    request = PreparedRequest("GET", "/api/projects/1/feature_flags/1/")
    taken: list[float] = []
    for _ in range(30):
        started = time.perf_counter()
        for _ in range(1000):
            async with budget.admission(operation, request) as admission:
                admission.was_sent = True
                await admission.on_response(200)
        taken.append((time.perf_counter() - started) * 1e6 / 1000)
    return median(taken)


async def _get() -> float:
    taken: list[float] = []
    async with AsyncPostHog.emulated(Emulator(), limits=False) as ph:
        flag = await ph.feature_flags.create(key="x", name="x")
        for _ in range(15):
            started = time.perf_counter()
            for _ in range(100):
                await ph.feature_flags.get(flag.id)
            taken.append((time.perf_counter() - started) * 1e6 / 100)
    return median(taken)
