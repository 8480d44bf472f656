"""The gate before the connections: fair, and no permit is lost or given twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog.transport.connection_gate import ConnectionGate
from tests.helpers import virtual_time

pytestmark = pytest.mark.anyio


async def settled() -> None:
    """Let everything run that can."""
    await anyio.wait_all_tasks_blocked()


async def test_permits_go_out_in_order_of_arrival() -> None:
    gate = ConnectionGate(2)
    assert [gate.try_acquire() for _ in range(3)] == [True, True, False]
    order: list[int] = []

    async def call(number: int) -> None:
        assert await gate.acquire()
        order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(call, number)
            await settled()
        assert gate.waiting == 5
        for number in range(5):
            gate.release()
            assert not gate.try_acquire()  # nobody overtakes those that wait
            await settled()
            assert order == list(range(number + 1))
    gate.release()
    gate.release()
    assert (gate.free, gate.waiting) == (2, 0)


async def test_who_is_cancelled_after_being_chosen_passes_it_on() -> None:
    gate = ConnectionGate(1)
    assert gate.try_acquire()
    got: list[str] = []
    first = anyio.CancelScope()

    async def call(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await gate.acquire()
            got.append(name)
            gate.release()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, "first", first)
        await settled()
        tasks.start_soon(call, "second", anyio.CancelScope())
        await settled()
        gate.release()
        first.cancel()
        await settled()
    assert got[-1] == "second"
    assert (gate.free, gate.waiting) == (1, 0)


async def test_the_wait_ends_when_nothing_moves() -> None:
    gate = ConnectionGate(1)
    assert gate.try_acquire()
    assert not await gate.acquire(0.01)
    assert gate.waiting == 0
    gate.release()
    assert gate.free == 1


def test_a_queue_that_moves_is_waited_in() -> None:
    async def main() -> list[tuple[str, float]]:
        gate = ConnectionGate(1)
        ended: list[tuple[str, float]] = []

        async def call(name: str, seconds: float, well: bool) -> None:
            if not await gate.acquire(10.0):
                ended.append((f"{name} gave up", anyio.current_time()))
                return
            await anyio.sleep(seconds)
            ended.append((name, anyio.current_time()))
            gate.release(succeeded=well)

        async with anyio.create_task_group() as tasks:
            for name, seconds, well in (
                ("a", 8, True), ("b", 9, True), ("c", 9, True), ("d", 9, False), ("e", 9, False),
                ("f", 9, True),
            ):  # fmt: skip
                tasks.start_soon(call, name, seconds, well)
        assert (gate.free, gate.waiting) == (1, 0)
        return ended

    # `e` and `f` wait since 0, `c` ended well at 26, `d` did not.
    assert virtual_time.run(main) == [
        ("a", 8.0), ("b", 17.0), ("c", 26.0), ("d", 35.0), ("f gave up", 36.0), ("e", 44.0),
    ]  # fmt: skip


def test_thousands_of_deadlines_are_kept() -> None:
    async def main() -> float:
        gate = ConnectionGate(1)
        assert gate.try_acquire()
        worst = 0.0

        async def call(number: int) -> None:
            nonlocal worst
            deadline = anyio.current_time() + 1 + number % 97 / 10
            with anyio.CancelScope(deadline=deadline):
                await gate.acquire()
            worst = max(worst, abs(anyio.current_time() - deadline))

        async with anyio.create_task_group() as tasks:
            for number in range(4_000):
                tasks.start_soon(call, number)
        assert gate.waiting == 0
        gate.release()
        assert gate.free == 1
        return worst

    assert virtual_time.run(main) < 0.05


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call", "call", "leave", "scope", "native", "run"]), st.integers(0, 11)
    ),
    max_size=40,
)


class Calls:
    """Tasks that want a permit of a gate, and how they are ended."""

    def __init__(self, size: int) -> None:
        self.gate = ConnectionGate(size)
        self.holding: set[int] = set()
        self.scopes: dict[int, anyio.CancelScope] = {}
        self.cancels: dict[int, Callable[[], object]] = {}
        self.leave: dict[int, anyio.Event] = {}

    async def call(self, number: int, started: Callable[[], None]) -> None:
        scope = self.scopes[number] = anyio.CancelScope()
        if native := getattr(_native_task(), "cancel", None):
            self.cancels[number] = native
        leave = self.leave[number] = anyio.Event()
        started()
        try:
            with scope:
                await self.gate.acquire()
                self.holding.add(number)
                assert len(self.holding) <= self.gate.size
                try:
                    await leave.wait()
                finally:
                    self.holding.discard(number)
                    self.gate.release()
        except asyncio.CancelledError:
            if not self.cancels:
                raise
        self.leave.pop(number)

    def do(self, kind: str, number: int) -> None:
        alive = sorted(self.leave)
        if not alive:
            return
        chosen = alive[number % len(alive)]
        if kind == "leave":
            self.leave[chosen].set()
        elif kind == "native" and chosen in self.cancels:
            self.cancels[chosen]()
        else:
            self.scopes[chosen].cancel()


def _native_task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


async def _story(size: int, steps: list[Step]) -> None:
    calls = Calls(size)
    async with anyio.create_task_group() as tasks:
        for index, (kind, number) in enumerate(steps):
            if kind == "call":
                started = anyio.Event()
                tasks.start_soon(calls.call, index, started.set)
                await started.wait()
            elif kind == "run":
                await settled()
            else:
                calls.do(kind, number)
        await settled()
        gate = calls.gate
        # Nobody waits while there is a permit, and what is held and what is free are all of them.
        assert len(calls.holding) + gate.free == size
        assert not (gate.free and gate.waiting)
        for leave in calls.leave.values():
            leave.set()
    assert (calls.gate.free, calls.gate.waiting) == (size, 0)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(size=st.integers(1, 3), steps=STEPS)
@settings(max_examples=60)
def test_permits_are_neither_lost_nor_doubled(backend: str, size: int, steps: list[Step]) -> None:
    story: Callable[[int, list[Step]], Awaitable[None]] = _story
    anyio.run(story, size, steps, backend=backend)
