"""Which project is meant: looked up within the time of the call, and once for all that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from asyncposthog import (
    AuthenticationError,
    ConnectionError,  # noqa: A004
    PostHogError,
    ServerError,
    TimeoutError,  # noqa: A004
)
from tests.helpers.fake_transport import Client, client
from tests.helpers.hostile_server import Connection, answer, hostile
from tests.helpers.manual_clock import ManualClock

pytestmark = pytest.mark.anyio

ME = b'{"team": {"id": 7}, "organization": {"id": "01890000-0000-0000-0000-000000000001"}}'


class Account:
    """Answers the look-up when it is opened, and counts the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers: list[httpx.Response | Exception] = list(answers)
        self.opened = anyio.Event()
        self.asked = anyio.Event()
        self.looked_up = 0
        self.paths: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.paths.append(path)
        if "@" not in path:
            return httpx.Response(200, json={"id": 1})
        self.looked_up += 1
        self.asked.set()
        await self.opened.wait()
        found = self.answers.pop(0) if self.answers else httpx.Response(200, content=ME)
        if isinstance(found, Exception):
            raise found
        return found


async def settle() -> None:
    """Let every other task run until it waits."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


async def gathered(
    account: Account, ph: Client, count: int, **options: Any
) -> list[object | PostHogError]:
    """Make calls at once, open the look-up when they all wait for it, and return their ends."""
    ends: list[object | PostHogError] = []

    async def call() -> None:
        try:
            ends.append(await ph.things.get(1, options=options))
        except PostHogError as error:
            ends.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(call)
        await settle()
        account.opened.set()
    return ends


def silent(connection: Connection) -> None:
    """Answer everything but the look-up of the account."""
    while True:
        if b"/users/@me/" in connection.head():
            connection.wait()
            return
        connection.send(answer())


@pytest.mark.parametrize("where", ["call", "client"])
@pytest.mark.parametrize("name", ["deadline", "timeout"])
async def test_a_look_up_takes_no_longer_than_its_call(where: str, name: str) -> None:
    ends: list[PostHogError] = []
    settings: dict[str, Any] = {name: 0.2} if where == "client" else {}
    options: dict[str, Any] = {name: 0.2} if where == "call" else {}

    with hostile(silent) as server:
        ph = Client("phx_x", host=server.url, limits=False, max_retries=0, **settings)
        async with ph:

            async def call(make: Callable[[], Any]) -> None:
                with pytest.raises(TimeoutError) as caught:
                    await make()
                ends.append(caught.value)

            # Before, calls waited forever, or one after the other: the test itself would end.
            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    for _ in range(20):
                        group.start_soon(call, lambda: ph.things.get(1, options=options))
                        group.start_soon(call, lambda: ph.things.members(options=options))
    assert len(ends) == 40
    assert server.connections <= (40 if name == "deadline" else 4)


async def test_the_time_of_a_look_up_is_taken_from_the_deadline() -> None:
    account = Account()
    account.opened.set()
    clock = ManualClock()

    async def slow(request: httpx.Request) -> httpx.Response:
        clock.now += 6.0
        return await account(request)

    async with client(slow, project_id=None, clock=clock) as ph:
        with pytest.raises(TimeoutError, match="deadline of 5 s"):
            await ph.things.get(1, options={"deadline": 5})
    assert account.paths == ["/api/users/@me/"]


async def test_calls_at_once_share_one_look_up() -> None:
    account = Account()
    async with client(account, project_id=None) as ph:
        ends = await gathered(account, ph, 30)
    assert [end for end in ends if isinstance(end, Exception)] == []
    assert account.looked_up == 1


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (httpx.Response(401, json={"code": "x", "detail": "no", "type": "y"}), AuthenticationError),
        (httpx.Response(503, text="busy"), ServerError),
        (httpx.ConnectError("refused"), ConnectionError),
    ],
)
async def test_calls_at_once_share_a_look_up_that_fails(
    first: httpx.Response | Exception, kind: type[PostHogError]
) -> None:
    account = Account(first)
    async with client(account, project_id=None, max_retries=0) as ph:
        ends = await gathered(account, ph, 30, deadline=60)
        assert [type(end) for end in ends] == [kind] * 30
        assert len({id(end) for end in ends}) == 30
        assert account.looked_up == 1
        # A failure is not kept: the next call asks again.
        assert await ph.things.get(1) == {"id": 1}
    assert account.looked_up == 2


async def test_a_more_patient_call_looks_up_again() -> None:
    account = Account(httpx.Response(503, text="busy"))
    ends: list[object] = []
    async with client(account, project_id=None) as ph:

        async def impatient() -> None:
            with pytest.raises(ServerError):
                await ph.things.get(1, options={"max_retries": 0})
            ends.append("failed")

        async def patient() -> None:
            ends.append(await ph.things.get(1))

        async with anyio.create_task_group() as group:
            group.start_soon(impatient)
            await account.asked.wait()
            group.start_soon(patient)
            group.start_soon(patient)
            await settle()
            account.opened.set()
    assert sorted(map(str, ends)) == ["failed", "{'id': 1}", "{'id': 1}"]
    assert account.looked_up == 2


async def test_a_call_that_is_cancelled_does_not_end_the_look_up_of_others() -> None:
    account = Account()
    ends: list[object] = []
    async with client(account, project_id=None) as ph:
        first = anyio.CancelScope()

        async def cancelled() -> None:
            with first:
                await ph.things.get(1)

        async def call() -> None:
            ends.append(await ph.things.get(1))

        async with anyio.create_task_group() as group:
            group.start_soon(cancelled)
            await account.asked.wait()
            for _ in range(10):
                group.start_soon(call)
            await settle()
            first.cancel()
            await settle()
            account.opened.set()
    assert ends == [{"id": 1}] * 10
    assert account.looked_up == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("which", [0, 5])
async def test_a_task_that_is_cancelled_does_not_end_the_look_up_of_others(which: int) -> None:
    account = Account()
    async with client(account, project_id=None) as ph:
        tasks = [asyncio.ensure_future(ph.things.get(1)) for _ in range(10)]
        await settle()
        tasks[which].cancel()
        await settle()
        account.opened.set()
        with suppress(asyncio.CancelledError):
            await tasks.pop(which)
        assert await asyncio.gather(*tasks) == [{"id": 1}] * 9
    assert account.looked_up == (2 if which == 0 else 1)
