"""Random exports in virtual time. `python -m tests.unit.export.simulation COUNT [FIRST_SEED]`.

Everything from the plan to the delivered rows is the real code. It queries a fake server without
HTTP and threads, whose responses have a made-up delay and size. An export that waits while no other
task can run ends with an error: see `tests.helpers.virtual_time`.
"""

from __future__ import annotations

import random
import re
import sys
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

from asyncposthog.core.executor import Executor
from asyncposthog.errors import DecodeError, PostHogError, QueryTooLargeError, ResponseTooLargeError
from asyncposthog.export.batch import Batch
from asyncposthog.export.engines.base import ExportStats
from asyncposthog.export.engines.query import QueryEngine
from asyncposthog.export.engines.query_page import UnexpectedResponseError
from asyncposthog.export.query_client import ExportQueryClient
from asyncposthog.export.source import Source
from tests.helpers.fake_query_api import START, read, text, to_micros
from tests.helpers.virtual_time import run as run_virtually

__all__ = ["Plan", "random_plan", "simulate"]

R = TypeVar("R")
Key = tuple[int, str]

BEGIN = to_micros(START)
DAY = 86_400_000_000
MAX_RESPONSE_BYTES = 512 * 1024 * 1024
"""Size of a response that the client rejects."""
FAILURES = 20
MAX_QUERIES = 5_000
"""An export that sends more queries does not terminate."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Parameters of one export and its server."""

    seed: int = 0
    count: int = 100
    ties: int = 1
    spread: int = DAY
    """Microseconds that the rows are spread over."""
    dense_start: bool = False
    """Whether most rows are near the start."""
    row_bytes: int = 1_000
    page: int = 50
    concurrency: int = 3
    ordered: bool = True
    stepwise: bool = False
    max_rows: int = 0
    """Rows that the server returns at most; 0: as many as requested."""
    slow_span: int = 0
    """Length of a window in microseconds from which on a page is too slow; 0: never."""
    slow_rows: int = 0
    """Rows of a window from which on a page is too slow; 0: never."""
    uncounted: bool = False
    """Whether counting is too much for the server."""
    failures: float = 0.0
    """Probability that a query fails and the export is run again; at most `FAILURES` times."""
    latency: float = 1.0
    consumer: float = 0.0
    """Maximum seconds that a batch takes to be processed."""
    late: float = 0.0
    """Probability that a row arrives before a response."""
    deleted: float = 0.0
    """Probability that a row is deleted before a response."""


def random_plan(seed: int) -> Plan:
    """Return random parameters."""
    rng = random.Random(seed)
    max_rows = rng.choice([0, 0, 0, 0, 1, 3, 17, 100])
    changes = rng.choice(["", "", "late", "deleted"]) if not max_rows else ""
    ordered = rng.random() < 0.8
    spread = rng.choice([1, 7, 50, 3_000, 1_000_000, 60_000_000, DAY])
    return Plan(
        seed=seed,
        count=rng.choice([0, 1, 20, 100, 250]) + rng.randrange(20),
        ties=rng.choice([1, 1, 2, 5]),
        spread=spread,
        dense_start=rng.random() < 0.5,
        row_bytes=rng.choice([10, 10_000, 300_000, 1_000_000, 2_500_000]),
        page=rng.randrange(8, 120),
        concurrency=rng.randrange(1, 6),
        ordered=ordered,
        stepwise=rng.random() < 0.3,
        max_rows=max_rows,
        slow_span=rng.choice([0, 0, 0, 1 + spread // rng.randrange(1, 50)]),
        slow_rows=rng.choice([0, 0, 0, 30]),
        uncounted=rng.random() < 0.15,
        failures=rng.choice([0, 0, 0.02, 0.1]) if ordered else 0,
        latency=rng.choice([0.0, 1.0, 5.0]),
        consumer=rng.choice([0.0, 0.0, 1.0, 20.0]),
        late=0.3 if changes == "late" else 0.0,
        deleted=0.3 if changes == "deleted" else 0.0,
    )


@dataclass
class FakeServer:
    """Server of one export."""

    plan: Plan
    queries: int = 0
    failed: int = 0
    rows: list[Key] = field(default_factory=list[Key])
    deleted_rows: set[Key] = field(default_factory=set[Key])

    def __post_init__(self) -> None:
        """Create the rows."""
        plan = self.plan
        self.rng = random.Random(plan.seed)
        times = [self.time() for _ in range(-(-plan.count // plan.ties))]
        made = [time for time in times for _ in range(plan.ties)][: plan.count]
        self.rows = sorted((time, f"{number:06x}") for number, time in enumerate(made))
        self.first = list(self.rows)

    def time(self) -> int:
        fraction = self.rng.random() ** (3 if self.plan.dense_start else 1)
        return BEGIN + int(fraction * self.plan.spread)

    def change(self) -> None:
        """Add or delete a row at random."""
        if self.rng.random() < self.plan.late:
            insort(self.rows, (self.time(), f"{self.rng.getrandbits(48):012x}"))
        if self.rows and self.rng.random() < self.plan.deleted:
            self.deleted_rows.add(self.rows.pop(self.rng.randrange(len(self.rows))))

    def answer(self, sql: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Return a response and its size."""
        self.queries += 1
        assert self.queries < MAX_QUERIES, "an export that does not end"
        plan = self.plan
        start, end = read(values["export_from"]), read(values["export_to"])
        first, last = bisect_left(self.rows, (start, "")), bisect_left(self.rows, (end, ""))
        if "GROUP BY bucket" in sql:
            if plan.uncounted:
                raise QueryTooLargeError("too many rows to count")
            step = values["export_step"] * 1_000_000
            counts = Counter(time // step for time, _ in self.rows[first:last])
            found: list[list[Any]] = [list(pair) for pair in sorted(counts.items())]
            return self._body(["bucket", "rows"], found, 20)
        if "export_after" in values:
            after = (read(values["export_after"]), values["export_after_key"] + "\0")
            first = max(first, bisect_left(self.rows, after))
        limit = int(re.findall(r"LIMIT (\d+)", sql)[0])
        span_is_slow = plan.slow_span and end - start > plan.slow_span
        rows_are_slow = plan.slow_rows and last - first > plan.slow_rows
        if end - start > 1 and (span_is_slow or rows_are_slow):
            raise QueryTooLargeError("too slow")
        page = self.rows[first : min(last, first + limit)]
        names = ["uuid", "export_time", "export_key"]
        return self._body(names, [[key, text(time), key] for time, key in page], plan.row_bytes)

    def _body(self, names: list[str], rows: list[list[Any]], size: int) -> tuple[Any, int]:
        rows = rows[: self.plan.max_rows] if self.plan.max_rows else rows
        size = int(len(rows) * size * self.rng.uniform(0.5, 1.5))
        if size > MAX_RESPONSE_BYTES:
            raise ResponseTooLargeError("too large")
        types = [[name, "UInt64" if name in {"bucket", "rows"} else "String"] for name in names]
        return {"columns": names, "types": types, "results": rows}, size


class FakeQueryClient:
    """Replacement of an `ExportQueryClient`."""

    def __init__(self, model: FakeServer, stats: ExportStats) -> None:
        self.model = model
        self.stats = stats

    async def run(self, sql: str, values: Mapping[str, Any], read: Callable[[Any, int], R]) -> R:
        model, plan = self.model, self.model.plan
        await anyio.sleep(model.rng.random() ** 4 * plan.latency)
        model.change()
        if model.failed < FAILURES and model.rng.random() < plan.failures:
            model.failed += 1
            raise PostHogError("by chance")
        body, size = model.answer(sql, values)
        await anyio.sleep(model.rng.random() ** 4 * plan.latency)
        return read(body, size)

    async def run_in_decode_thread(self, function: Callable[[], R]) -> R:
        return function()

    async def wait(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def bad_response_error(self, error: UnexpectedResponseError) -> PostHogError:
        return DecodeError(str(error))


@dataclass(frozen=True, kw_only=True)
class SimulatedEngine(QueryEngine):
    """Engine that reads from a fake server."""

    model: FakeServer

    def query_client(self, stats: ExportStats) -> ExportQueryClient:
        """Return a client of the fake server."""
        return cast("ExportQueryClient", FakeQueryClient(self.model, stats))


SOURCE = Source(
    kind="events", table="events", columns=("uuid",), time="events.timestamp", key="events.uuid"
)


def _rows(batch: Batch) -> list[Key]:
    return [(read(time), key) for time, key in zip(batch.times, batch.keys, strict=True)]


async def _export(model: FakeServer) -> tuple[list[Key], ExportStats]:
    """Run an export until it is complete; return the rows in the order of delivery."""
    plan = model.plan
    engine = SimulatedEngine(
        executor=cast("Executor", None),
        source=SOURCE,
        start=BEGIN,
        end=BEGIN + plan.spread + 1,
        concurrency=plan.concurrency,
        page_size=plan.page,
        ordered=plan.ordered,
        model=model,
    )
    found: list[Key] = []
    position: Any = None
    stats = ExportStats()

    async def read_all(tasks: TaskGroup | None) -> None:
        nonlocal position
        reader = await engine.open(position, _rows, stats, tasks)
        while batches := await reader.read():
            for batch in batches:
                await anyio.sleep(model.rng.random() * plan.consumer)
                found.extend(batch.content)
                position = batch.position

    while True:
        try:
            if plan.stepwise:
                await read_all(None)
            else:
                await _in_task_group(read_all)
            return found, stats
        except PostHogError as error:
            if str(error) != "by chance":
                raise


async def _in_task_group(function: Callable[[TaskGroup], Awaitable[None]]) -> None:
    """Call a function as an export does, with tasks that read ahead."""
    raised: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            await function(tasks)
        except Exception as error:
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised


def simulate(plan: Plan) -> None:
    """Run one export.

    Raises:
        AssertionError, RuntimeError: It does not end with the right rows.
    """
    model = FakeServer(plan)
    found, stats = run_virtually(_export, model)
    assert len(set(found)) == len(found), "rows are there twice"
    if plan.ordered:
        assert found == sorted(found), "rows are not in order"
    if plan.late or plan.deleted:
        # Rows that existed all the time are there, and none that never existed.
        assert set(model.first) - model.deleted_rows <= set(found) <= {*model.first, *model.rows}
    else:
        assert sorted(found) == model.rows, "rows are missing"
        assert (stats.late, stats.deleted) == (0, 0)


def main(count: int, first: int = 0) -> int:
    """Run random exports; return how many did not end with the right rows."""
    wrong = 0
    for seed in range(first, first + count):
        try:
            simulate(random_plan(seed))
        except (AssertionError, RuntimeError, PostHogError, ExceptionGroup) as error:
            wrong += 1
            print(
                f"seed {seed}: {type(error).__name__}: {error}\n  {random_plan(seed)}", flush=True
            )
    print(f"{count:,} exports, {wrong} of them did not end with exactly the right rows")
    return wrong


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])) > 0)
