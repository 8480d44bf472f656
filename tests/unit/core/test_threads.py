"""Worker threads have ended before whoever waits for them continues, whatever cancels the wait."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio import CapacityLimiter, to_thread

from asyncposthog.threads import run_in_thread

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE")


class Work:
    """A blocking function that runs until it is released."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.started = threading.Event()
        self.release = threading.Event()
        self.ended = False
        self._error = error

    def __call__(self) -> str:
        self.started.set()
        assert self.release.wait(60)
        self.ended = True
        if self._error is not None:
            raise self._error
        return "result"

    async def has_started(self) -> None:
        while not self.started.is_set():
            await anyio.lowlevel.checkpoint()


async def cycles() -> None:
    """Let the event loop do all that it could do without the thread."""
    for _ in range(20):
        await asyncio.sleep(0)


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "asyncposthog worker"]


@pytest.mark.anyio
async def test_returns_what_the_function_returns() -> None:
    assert await run_in_thread(lambda a, b: a + b, 1, 2) == 3
    assert await run_in_thread(threading.get_ident) != threading.get_ident()
    assert await run_in_thread(threading.get_ident, shield=True) != threading.get_ident()
    assert await run_in_thread(int, "7", interrupt=pytest.fail) == 7
    assert workers() == []


@pytest.mark.anyio
@pytest.mark.parametrize("options", [{}, {"shield": True}, {"interrupt": pytest.fail}])
async def test_raises_what_the_function_raises(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await run_in_thread(int, "x", **options)
    assert to_thread.current_default_thread_limiter().borrowed_tokens == 0


@pytest.mark.anyio
async def test_the_function_sees_the_context_and_does_not_change_it() -> None:
    VARIABLE.set("caller")

    def read() -> str:
        seen = VARIABLE.get()
        VARIABLE.set("worker")
        return seen

    assert await run_in_thread(read) == "caller"
    assert VARIABLE.get() == "caller"


@pytest.mark.anyio
async def test_a_cancelled_scope_waits_for_the_function() -> None:
    work = Work()
    ended: list[bool] = []

    async def wait() -> None:
        try:
            await run_in_thread(work)
            await anyio.sleep_forever()
        finally:
            ended.append(work.ended)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await work.has_started()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert ended == []
            work.release.set()
    assert ended == [True]


@pytest.mark.anyio
async def test_clean_up_runs_in_a_cancelled_scope() -> None:
    calls: list[str] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        finally:
            await run_in_thread(calls.append, "clean-up", shield=True)
    assert calls == ["clean-up"]
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run_in_thread(calls.append, "too late")
    assert calls == ["clean-up"]


@pytest.mark.anyio
@pytest.mark.parametrize("error", [None, ValueError("interrupted")])
async def test_a_cancelled_scope_interrupts_a_function(error: BaseException | None) -> None:
    work = Work(error)
    after: list[bool] = []
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            await run_in_thread(work, interrupt=work.release.set)
            after.append(True)

        group.start_soon(wait)
        await work.has_started()
        group.cancel_scope.cancel()
    assert work.ended
    assert after == []


async def by_cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


async def by_many_cancels(task: asyncio.Task[Any]) -> None:
    for _ in range(5):
        task.cancel()
        await cycles()


WAYS: list[Callable[[asyncio.Task[Any]], Awaitable[None]]] = [by_cancel, by_many_cancels]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shield", [False, True])
def test_a_cancelled_task_waits_for_the_function(way: Any, shield: bool) -> None:
    async def main() -> None:
        work = Work()
        task = asyncio.create_task(run_in_thread(work, shield=shield))
        await work.has_started()
        await way(task)
        await cycles()
        assert not task.done()
        work.release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.ended
        assert workers() == []

    asyncio.run(main())


def test_a_time_out_waits_for_the_function_and_stays_a_time_out() -> None:
    async def main() -> None:
        work = Work()
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        async def expire() -> None:
            await work.has_started()
            time_out.reschedule(loop.time())
            while not task.cancelling():  # noqa: ASYNC110
                await asyncio.sleep(0)
            await cycles()
            work.release.set()

        expiring = asyncio.create_task(expire())
        time_out = asyncio.timeout(None)

        async def wait() -> None:
            async with time_out:
                try:
                    await run_in_thread(work)
                finally:
                    assert work.ended

        with pytest.raises(TimeoutError):
            await wait()
        assert task.cancelling() == 0
        await expiring

    asyncio.run(main())


def test_a_failed_task_group_waits_for_the_function() -> None:
    async def main() -> None:
        work = Work()
        ended: list[bool] = []

        async def wait() -> None:
            try:
                await run_in_thread(work)
            finally:
                ended.append(work.ended)

        async def fail() -> None:
            await work.has_started()
            asyncio.get_running_loop().call_later(0, release, 20)
            raise ValueError("other task")

        def release(later: int) -> None:
            if later:
                asyncio.get_running_loop().call_soon(release, later - 1)
            else:
                assert ended == []
                work.release.set()

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait())
                group.create_task(fail())

        with pytest.raises(ExceptionGroup) as caught:
            await both()
        assert [str(error) for error in caught.value.exceptions] == ["other task"]
        assert ended == [True]

    asyncio.run(main())


def test_a_failure_of_the_function_is_the_cause_of_the_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failure = ValueError("disk full")

    async def main() -> None:
        work = Work(failure)
        task = asyncio.create_task(run_in_thread(work))
        await work.has_started()
        task.cancel()
        work.release.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.__cause__ is failure

    asyncio.run(main())
    assert caplog.messages == ["a worker thread ended with ValueError while its task was cancelled"]


def test_a_task_that_is_cancelled_before_the_start_leaves_nothing() -> None:
    async def main() -> None:
        limiter = CapacityLimiter(1)
        calls: list[int] = []
        await limiter.acquire()
        task = asyncio.create_task(run_in_thread(calls.append, 1, limiter=limiter))
        await cycles()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        limiter.release()
        assert limiter.borrowed_tokens == 0
        assert limiter.statistics().tasks_waiting == 0
        assert calls == []
        assert workers() == []

    asyncio.run(main())


def test_the_token_of_the_limiter_is_held_until_the_function_has_ended() -> None:
    async def main() -> None:
        limiter = CapacityLimiter(1)
        first, second = Work(), Work()
        second.release.set()
        cancelled = asyncio.create_task(run_in_thread(first, limiter=limiter))
        waiting = asyncio.create_task(run_in_thread(second, limiter=limiter))
        await first.has_started()
        cancelled.cancel()
        await cycles()
        assert limiter.borrowed_tokens == 1
        assert not second.started.is_set()
        first.release.set()
        assert await waiting == "result"
        assert cancelled.cancelled()
        assert limiter.borrowed_tokens == 0

    asyncio.run(main())


def test_clean_up_runs_however_often_the_task_is_cancelled() -> None:
    async def main() -> None:
        limiter = to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        await limiter.acquire()  # not even a thread is free
        calls: list[str] = []

        async def clean_up() -> None:
            task = asyncio.current_task()
            assert task is not None
            try:
                await asyncio.sleep(60)
            finally:
                task.cancel()  # raised at the next await
                await run_in_thread(calls.append, "clean-up", shield=True)

        task = asyncio.create_task(clean_up())
        await cycles()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert calls == ["clean-up"]
        limiter.release()

    asyncio.run(main())


def test_a_cancelled_task_interrupts_a_function() -> None:
    async def main() -> None:
        work = Work(ValueError("interrupted"))
        task = asyncio.create_task(run_in_thread(work, interrupt=work.release.set))
        await work.has_started()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.ended

    asyncio.run(main())


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_waits_for_the_function(presses: int) -> None:
    seen: list[tuple[str, bool]] = []
    work = Work()

    async def open_at_shutdown() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            # The loop is about to end, and every task is cancelled.
            await cycles()
            work.release.set()
            raise

    async def main() -> None:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        assert task is not None

        def press() -> str:
            for _ in range(presses):
                # To the main thread: another one would not wake the event loop.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                while not task.cancelling():
                    threading.Event().wait(0.001)
            if presses == 1:
                for _ in range(20):
                    cycle = threading.Event()
                    loop.call_soon_threadsafe(cycle.set)
                    cycle.wait(60)
                work.release.set()
            return work()

        opening = asyncio.create_task(open_at_shutdown())
        try:
            await run_in_thread(press)
        finally:
            seen.append(("finally", work.ended))
            await run_in_thread(seen.append, ("clean-up", work.ended), shield=True)
            del opening

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert seen == [("finally", True), ("clean-up", True)]
    assert workers() == []


@pytest.mark.parametrize("shield", [False, True])
def test_ctrl_c_while_a_thread_starts_is_no_exception_of_the_task(
    shield: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a second Ctrl-C is: asyncio cancels the main task at the first one."""
    usual, ran, reported = threading.Thread.start, list[str](), list[Any]()

    def start(self: threading.Thread) -> None:
        usual(self)
        if self.name == "asyncposthog worker":
            monkeypatch.undo()
            raise KeyboardInterrupt

    async def work() -> None:
        await run_in_thread(ran.append, "work", shield=shield)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: reported.append(context)
        )
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(work)
                await asyncio.sleep(60)
        finally:
            await run_in_thread(ran.append, "clean-up", shield=True)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert ran == (["work", "clean-up"] if shield else ["clean-up"])
    assert reported == []
    assert workers() == []


def test_an_event_loop_that_ends_without_its_tasks_waits_for_the_function() -> None:
    seen: list[tuple[str, bool]] = []
    work = Work()

    async def wait() -> None:
        try:
            await run_in_thread(work)
        finally:
            seen.append(("finally", work.ended))
            await run_in_thread(seen.append, ("clean-up", work.ended), shield=True)

    loop = asyncio.new_event_loop()
    coroutine = wait()
    task = loop.create_task(coroutine)
    loop.run_until_complete(work.has_started())
    loop.close()
    threading.Thread(target=work.release.set).start()
    coroutine.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    assert seen == [("finally", True), ("clean-up", True)]
    assert workers() == []
