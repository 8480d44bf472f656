"""The rate limiter: used fraction of the limits, 429 responses and cost of a request.

The server is the emulator's throttling, in virtual time: two hours take seconds.
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
# An operation for each of the most used pairs of buckets, and the settings of the limiter.
PAIRS: dict[str, tuple[str, dict[str, str]]] = {
    "burst pair": ("feature_flags.list", {}),
    "clickhouse pair": ("insights.list", {}),
    "queries pair": ("query.create", {"query_plan": "current"}),
    "clickhouse_burst": ("persons.list", {}),
    "legacy queries": ("query.create", {"query_plan": "legacy"}),
}
HOGQL = b'{"query": {"kind": "HogQLQuery", "query": "select 1"}}'


@dataclass
class SimulationResult:
    """The result of a simulation."""

    ours: int = 0
    refused: int = 0
    theirs: int = 0
    granted: int = 0


def rows() -> Iterator[Row]:
    """Measure the rows of this module."""
    logging.getLogger("asyncposthog").setLevel(logging.ERROR)  # Long waits are expected.
    yield from without_other_clients()
    yield from with_other_client()
    yield fairness()
    yield from many_waiters()
    yield from overhead()


def _others() -> dict[str, tuple[str, dict[str, str]]]:
    """Return an operation for every other set of buckets with published rates."""
    measured = {find(operation_id).buckets for operation_id, _ in PAIRS.values()}
    others: dict[str, tuple[str, dict[str, str]]] = {}
    for operation in operations():
        buckets = operation.buckets
        if buckets not in measured and all(BUCKETS[name]["requests"] for name in buckets):
            measured.add(buckets)
            others[buckets[0]] = operation.id, {}
    return others


def without_other_clients() -> Iterator[Row]:
    """Simulate unlimited demand by the only client of the key."""
    for pair, (operation_id, settings) in (PAIRS | _others()).items():
        result = run(_simulate, find(operation_id), settings, None, 1)
        name = f"{HOURS:g} h saturated, {pair}"
        used = result.ours / result.granted
        yield Row(
            AREA, f"{name}: budget used", result.ours, result.granted, used, 0.99, used >= 0.99, ""
        )
        yield Row(AREA, f"{name}: 429s", result.refused, None, None, 0, result.refused == 0, "")


def with_other_client() -> Iterator[Row]:
    """Simulate unlimited demand beside another client that uses half of the limit."""
    for pair in list(PAIRS)[:4]:
        operation_id, settings = PAIRS[pair]
        for pattern in ("evenly", "by chance", "in bursts"):
            result = run(_simulate, find(operation_id), settings, pattern, 1)
            available = result.granted - result.theirs
            used = result.ours / available
            throttled_fraction = result.refused / (result.ours + result.refused)
            name = f"other client {pattern}, {pair}"
            yield Row(
                AREA, f"{name}: rest used", result.ours, available, used, 0.9, used >= 0.9, ""
            )
            yield Row(
                AREA,
                f"{name}: 429s",
                result.refused,
                result.ours,
                throttled_fraction,
                0.02,
                throttled_fraction <= 0.02,
                "",
            )


async def _simulate(
    operation: Operation, settings: dict[str, str], pattern: str | None, seed: int
) -> SimulationResult:
    """Simulate some hours of unlimited demand. Another client starts an hour earlier."""
    rng, result = random.Random(seed), SimulationResult()
    rate_limits = RateLimits(anyio.current_time)
    names = ("query",) if settings.get("query_plan") == "legacy" else operation.buckets
    seconds = HOURS * 3600.0
    rates = [(BUCKETS[name]["requests"], BUCKETS[name]["seconds"]) for name in names]
    result.granted = min(math.ceil(seconds / span) * limit for limit, span in rates)
    limits = _limiter(**settings).for_key("https://us.posthog.com", KEY)
    before = 0.0 if pattern is None else 3600.0

    async def other_client(kind: str) -> None:
        rate = min(limit / span for limit, span in rates) / 2
        while True:
            burst_size = int(rate * 60) if kind == "in bursts" else 1
            steady = burst_size / rate
            await anyio.sleep(rng.expovariate(1 / steady) if kind == "by chance" else steady)
            for _ in range(burst_size):
                admitted = rate_limits.charge(names, CALLER) is None
                result.theirs += admitted and anyio.current_time() >= before

    async def work() -> None:
        while True:
            await _call(limits, operation, rate_limits, names, rng, result)

    with anyio.move_on_after(before + seconds):
        async with anyio.create_task_group() as tasks:
            if pattern is not None:
                tasks.start_soon(other_client, pattern)
                await anyio.sleep(before)
            for _ in range(WORKERS):
                tasks.start_soon(work)
    return result


async def _call(
    limits: KeyLimiter,
    operation: Operation,
    rate_limits: RateLimits,
    names: tuple[str, ...],
    rng: random.Random,
    result: SimulationResult,
) -> None:
    """Make one call, and repeat it until it is not answered with 429."""
    target = re.sub(r"{\w+}", "1", operation.path)
    admission = limits.admission(
        operation, PreparedRequest(operation.method, target, content=HOGQL)
    )
    if not admission.needs_query_slot:
        while not await _attempt(admission, rate_limits, names, rng, result):
            pass
        return
    async with admission.query_slot():
        while not await _attempt(admission, rate_limits, names, rng, result):
            pass


async def _attempt(
    admission: Admission,
    rate_limits: RateLimits,
    names: tuple[str, ...],
    rng: random.Random,
    result: SimulationResult,
) -> bool:
    try:
        async with admission:
            admission.was_sent = True
            await anyio.sleep(rng.uniform(0.02, 0.15))
            throttled = rate_limits.charge(names, CALLER)
            result.ours += throttled is None
            result.refused += throttled is not None
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
    fair_wait = max(went - arrival for went, arrival in zip(ideal, arrivals, strict=True))
    return Row.ratio_of(
        AREA, "longest wait of 1,000 tasks, to an ideal queue", run(_longest, arrivals), fair_wait,
        1.05, "s",
    )  # fmt: skip


async def _longest(arrivals: list[float]) -> float:
    limits = _limiter().for_key("https://us.posthog.com", KEY)
    operation, rng, waits = find("feature_flags.list"), random.Random(2), list[float]()
    request = PreparedRequest("GET", "/api/projects/1/feature_flags/")

    async def send(arrival: float) -> None:
        await anyio.sleep(arrival)
        async with limits.admission(operation, request) as admission:
            waits.append(anyio.current_time() - arrival)
            admission.was_sent = True
            await anyio.sleep(rng.uniform(0.05, 0.5))
            await admission.on_response(200)

    async with anyio.create_task_group() as tasks:
        for arrival in arrivals:
            tasks.start_soon(send, arrival)
    return max(waits)


def many_waiters() -> Iterator[Row]:
    """Let many requests wait: the cost of each must not grow with their number."""
    few, _ = run(_many_waiters, 10_000)
    many, mebibytes = run(_many_waiters, 100_000)
    yield Row.ratio_of(
        AREA, "a request among 100,000 waiters, to one among 10,000", many, few, 2.0, "µs"
    )
    yield Row.information(AREA, "memory of 100,000 waiters, their tasks included", mebibytes, "MiB")


async def _many_waiters(size: int) -> tuple[float, float]:
    """Return the microseconds of CPU time per waiter, and the memory of all in MiB."""
    budget = _limiter(limits={"burst": (5000, 60.0), "sustained": (10**9, 60.0)})
    limits = budget.for_key("https://us.posthog.com", KEY)
    operation = find("feature_flags.list")
    request = PreparedRequest("GET", "/api/projects/1/feature_flags/")

    async def send() -> None:
        async with limits.admission(operation, request) as admission:
            admission.was_sent = True
            await admission.on_response(200)

    gc.collect()
    before, memory, started = _resident(), 0.0, time.process_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(size):
            tasks.start_soon(send)
        await anyio.sleep(1)
        memory = _resident() - before
    return (time.process_time() - started) * 1e6 / size, memory


def _resident() -> float:
    """Return the memory of this process, in MiB."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def overhead() -> Iterator[Row]:
    """Time the admission of a request, and compare it with a whole `get`."""
    admitted = anyio.run(_admit)
    get_seconds = anyio.run(_get)
    yield Row(
        AREA, "overhead of an admitted request", admitted, None, None, 20.0, admitted <= 20.0, "µs"
    )
    yield Row.ratio_of(
        AREA, "… to a get from the emulator in process", admitted, get_seconds, 0.03, "µs"
    )


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
