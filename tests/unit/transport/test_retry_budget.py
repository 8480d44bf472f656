"""The retry budget: an outage does not multiply the load."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog import AsyncPostHog, ConfigurationError, PostHogError, ServerError
from asyncposthog.transport.retry_budget import RetryBudget
from tests.helpers.fake_transport import KEY, Client, client
from tests.helpers.manual_clock import ManualClock

pytestmark = pytest.mark.anyio


class OutageServer:
    """A server that returns an error status while `down` is set."""

    def __init__(self, status: int = 502) -> None:
        self.status = status
        self.down = True
        self.requests = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return httpx.Response(self.status if self.down else 200, json={"id": 1})


def stopped_clock() -> ManualClock:
    """Return a clock that waits do not move: no retries are added with time."""
    return ManualClock(sleep_factor=0.0)


async def fail(ph: Any) -> PostHogError:
    with pytest.raises(PostHogError) as caught:
        await ph.things.get(1)
    return caught.value


async def test_an_outage_is_not_multiplied_by_retries() -> None:
    server = OutageServer()
    async with client(server, clock=stopped_clock(), max_retries=5) as ph:
        async with anyio.create_task_group() as tasks:
            for _ in range(300):
                tasks.start_soon(fail, ph)
        assert server.requests == 400
        error = await fail(ph.with_options(timeout=9))  # a copy has no budget of its own
        assert server.requests == 401
    assert isinstance(error, ServerError)
    assert len(error.attempts) == 1
    assert "retry_budget" in str(error)


async def test_successes_refill_the_budget() -> None:
    server = OutageServer()
    async with client(server, clock=stopped_clock(), retry_budget=2) as ph:
        assert len((await fail(ph)).attempts) == 3
        assert len((await fail(ph)).attempts) == 1
        server.down = False
        for _ in range(10):
            await ph.things.get(1)
        server.down = True
        assert len((await fail(ph)).attempts) == 3  # never more than there were


async def test_time_refills_the_budget() -> None:
    server, clock = OutageServer(), stopped_clock()
    async with client(server, clock=clock, retry_budget=3) as ph:
        assert len((await fail(ph)).attempts) == 4
        clock.now += 2.0
        assert len((await fail(ph)).attempts) == 3
        clock.now -= 500.0
        assert len((await fail(ph)).attempts) == 1


async def test_a_429_is_no_outage() -> None:
    server = OutageServer(429)
    async with client(server, clock=stopped_clock(), retry_budget=0, limits=False) as ph:
        assert len((await fail(ph)).attempts) == 4


async def test_no_budget_means_no_limit() -> None:
    server = OutageServer()
    transport = httpx.MockTransport(server)
    settings: dict[str, Any] = {"project_id": 1, "transport": transport, "clock": stopped_clock()}
    async with Client(KEY, retry_budget=None, **settings) as ph:
        for _ in range(50):
            assert len((await fail(ph)).attempts) == 4


@pytest.mark.parametrize(("wrong", "kind"), [(-1, ConfigurationError), ("9", TypeError)])
async def test_invalid_budgets(wrong: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="retry_budget must be"):
        AsyncPostHog(KEY, project_id=1, retry_budget=wrong)


@given(st.integers(0, 20), st.lists(st.one_of(st.booleans(), st.floats(0, 5))))
def test_withdrawals_never_exceed_what_was_available(size: int, steps: list[bool | float]) -> None:
    clock = ManualClock()
    budget = RetryBudget(size, clock)
    withdrawn, deposited = 0, 0.0
    for step in steps:
        if isinstance(step, float):
            clock.now += step
            deposited += step
        elif step:
            budget.deposit()
            deposited += 0.5
        else:
            withdrawn += budget.try_withdraw()
        assert withdrawn <= size + deposited + 1e-6
