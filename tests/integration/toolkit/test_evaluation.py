"""The 25 tasks of the evaluation are solved with the default tools, and each write is approved."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit, WriteRequest
from benchmarks.agent_tasks import TASKS, Agent, Task, make_world
from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator()


@pytest.fixture(scope="module")
async def ph(emulator: Emulator) -> AsyncIterator[AsyncPostHog]:
    async with AsyncPostHog.emulated(emulator) as client:
        await make_world(emulator, client)
        yield client


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.request)
async def test_a_task_is_solved(task: Task, ph: AsyncPostHog, emulator: Emulator) -> None:
    approved: list[str] = []

    def approve(request: WriteRequest) -> bool:
        approved.append(f"{request.method} {request.url}")
        return True

    emulator.requests.clear()
    agent = Agent(Toolkit(ph, approve=approve))
    answer = await task.script(agent)
    for request in emulator.requests:
        if request.method != "GET" and not request.path.endswith("/query/"):
            assert f"{request.method} http://emulator.localhost{request.path}" in approved
    assert agent.calls <= 5
    assert agent.result_tokens <= 2000
    assert await task.check(ph, answer)
