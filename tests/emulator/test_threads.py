"""Worker threads have ended when their caller continues, even after a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event

import anyio
import pytest

from posthog_emulator.threads import run_in_thread


class Work:
    """A blocking function that runs until it is interrupted."""

    def __init__(self) -> None:
        self.began, self.stop = Event(), Event()
        self.ended = False

    def __call__(self) -> str:
        self.began.set()
        self.stop.wait()
        self.ended = True
        return "done"


@pytest.mark.anyio
async def test_the_result_and_the_error_of_a_function() -> None:
    def fail() -> None:
        raise ValueError("no")

    assert await run_in_thread(lambda: 3) == 3
    with pytest.raises(ValueError, match="no"):
        await run_in_thread(fail)


def native(work: Work) -> None:
    async def main() -> None:
        task = asyncio.create_task(run_in_thread(work, interrupt=work.stop.set))
        await asyncio.to_thread(work.began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.ended

    asyncio.run(main())


def scoped(work: Work) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:

            async def run() -> None:
                await run_in_thread(work, interrupt=work.stop.set)

            group.start_soon(run)
            await anyio.to_thread.run_sync(work.began.wait)
            # anyio waits for the thread by itself: something else has to end it.
            work.stop.set()
            group.cancel_scope.cancel()
        assert work.ended

    anyio.run(main, backend="trio")


@pytest.mark.parametrize("cancel", [native, scoped])
def test_a_cancelled_caller_waits_for_its_thread(cancel: Callable[[Work], None]) -> None:
    cancel(Work())


@pytest.mark.anyio
async def test_a_shielded_function_runs_although_its_caller_is_cancelled() -> None:
    ran: list[bool] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run_in_thread(lambda: ran.append(True), shield=True)
    assert ran == [True]


@pytest.mark.asyncio
async def test_a_shielded_function_runs_after_a_native_cancellation() -> None:
    ran: list[bool] = []

    async def main() -> None:
        await run_in_thread(lambda: ran.append(True), shield=True)

    task = asyncio.create_task(main())
    await asyncio.sleep(0)  # it has asked for a thread
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ran == [True]
