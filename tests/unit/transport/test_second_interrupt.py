"""A second Ctrl-C does not interrupt the clean-up that the first one started."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Generator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import AsyncPostHog

DAY = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture(autouse=True)
def default_handler() -> Generator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class Transport(httpx.AsyncBaseTransport):
    """Presses Ctrl-C during a request or while it closes, and again during the clean-up."""

    def __init__(self, presses: int, while_closing: bool = False) -> None:
        self.presses = presses
        self.while_closing = while_closing
        self.cleaned_up = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.while_closing or self.cleaned_up:  # the request that cancels the query
            return httpx.Response(200, json={"results": []})
        ctrl_c()
        try:
            await anyio.sleep_forever()
        finally:
            self.clean_up()
        raise AssertionError

    async def aclose(self) -> None:
        if self.while_closing:
            ctrl_c()
            self.clean_up()

    def clean_up(self) -> None:
        for _ in range(self.presses - 1):
            ctrl_c()
        self.cleaned_up += 1


class SlowTransport(Transport):
    """Waits while it closes, and then presses Ctrl-C as often as it is told."""

    def __init__(self, presses: int) -> None:
        super().__init__(presses, while_closing=True)
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    async def aclose(self) -> None:
        self.began.set()
        await self.may_end.wait()
        if self.presses:
            ctrl_c()
            self.clean_up()


async def export(transport: Transport, path: Path) -> None:
    async with AsyncPostHog("phx_x", project_id=1, limits=False, transport=transport) as ph:
        if transport.while_closing:
            await ph.request("GET", "/api/projects/1/cohorts/")
        else:
            await ph.export.events(*DAY, engine="query").to_jsonl(path / "e.jsonl")


def run_by_anyio(main: Coroutine[Any, Any, None]) -> None:
    anyio.run(lambda: main)


@pytest.mark.parametrize("while_closing", [False, True])
@pytest.mark.parametrize("run", [asyncio.run, run_by_anyio])
def test_the_clean_up_ends_before_the_second_is_raised(
    run: Callable[[Coroutine[Any, Any, None]], object], while_closing: bool, tmp_path: Path
) -> None:
    transport = Transport(2, while_closing)
    with pytest.raises(KeyboardInterrupt):
        run(export(transport, tmp_path))
    assert transport.cleaned_up == 1
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_leaves_the_handler_of_the_runner(tmp_path: Path) -> None:
    transport = Transport(1)
    during: list[object] = []

    async def main() -> None:
        during.append(signal.getsignal(signal.SIGINT))
        try:
            await export(transport, tmp_path)
        finally:
            during.append(signal.getsignal(signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert during[0] is during[1]


def test_the_last_of_overlapping_contexts_restores_the_handler(tmp_path: Path) -> None:
    first, second = SlowTransport(0), SlowTransport(2)

    async def main() -> None:
        closing = asyncio.create_task(export(first, tmp_path))
        await first.began.wait()

        async def end_first() -> None:
            await second.began.wait()
            first.may_end.set()
            await closing
            second.may_end.set()

        ending = asyncio.create_task(end_first())
        await export(second, tmp_path)
        await ending

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert second.cleaned_up == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_third_is_raised_at_once(tmp_path: Path) -> None:
    transport = Transport(3, while_closing=True)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(export(transport, tmp_path))
    assert transport.cleaned_up == 0


def test_handlers_of_the_program_stay(tmp_path: Path) -> None:
    received: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        received.append(number)

    async def main() -> None:
        signal.signal(signal.SIGINT, handler)
        transport = Transport(3, while_closing=True)
        await export(transport, tmp_path)
        assert transport.cleaned_up == 1

    asyncio.run(main())
    assert received == [signal.SIGINT] * 3
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupted_call_raises_no_group() -> None:
    def press_in_start_soon(frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code.co_name == "start_soon":
            sys.settrace(None)
            ctrl_c()

    async def main() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # No server is needed: the task that would connect to it does not start. A transport of the
        # user is shared by all calls, and each call runs in a task that protects it.
        transport = httpx.AsyncHTTPTransport(verify=False)
        host = "http://127.0.0.1:9"
        async with AsyncPostHog("phx_x", project_id=1, host=host, transport=transport) as ph:
            sys.settrace(press_in_start_soon)
            await ph.request("GET", "/api/projects/1/cohorts/")

    before = sys.gettrace()
    try:
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())
        assert sys.gettrace() is None, "no task was started"
    finally:
        sys.settrace(before)
