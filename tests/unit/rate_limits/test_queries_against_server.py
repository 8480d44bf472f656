"""Queries against a model of the server on either plan."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog.errors import RateLimitError
from asyncposthog.rate_limits.limiter import Admission, KeyLimiter
from asyncposthog.registry import find

from .helpers import NaiveServer, key_limiter, new_admission, rate_limit_error, run
from .test_plans import HOGQL, PATH, TRENDS

Kind = Literal["hogql", "trends", "status"]
_CALLS = {
    "hogql": (find("query.create"), PATH, HOGQL),
    "trends": (find("query.create"), PATH, TRENDS),
    "status": (find("query.get"), f"{PATH}abc/", None),
}


@dataclass
class Scenario:
    """The calls, limits and cancellations of a simulated run."""

    truth: Literal["current", "legacy"]
    known: bool
    """Whether the client is configured with the plan."""
    current: tuple[tuple[int, float], tuple[int, float]]
    legacy: tuple[int, float]
    others: tuple[tuple[int, float], tuple[int, float]]
    """The limits of the legacy plan for all queries but HogQL."""
    calls: list[tuple[Kind, float]]
    """Calls and their arrival times."""
    cancelled: float
    seed: int

    @property
    def limits(self) -> KeyLimiter:
        pairs = [*self.current, *self.others, self.legacy]
        names = ("api_queries_burst", "api_queries_sustained",
                 "clickhouse_burst", "clickhouse_sustained", "query")  # fmt: skip
        plan = self.truth if self.known else "auto"
        return key_limiter(limits=dict(zip(names, pairs, strict=True)), query_plan=plan)


class Model:
    """The server: the legacy plan counts HogQL separately."""

    def __init__(self, plan: Scenario) -> None:
        current = NaiveServer(*plan.current)
        self.asked: dict[Kind, NaiveServer] = dict.fromkeys(("hogql", "trends", "status"), current)
        if plan.truth == "legacy":
            self.asked = dict.fromkeys(self.asked, NaiveServer(*plan.others))
            self.asked["hogql"] = NaiveServer(plan.legacy)
        self.running = self.most = 0

    @property
    def refused(self) -> int:
        return sum(server.refused for server in {id(s): s for s in self.asked.values()}.values())


async def scenario(plan: Scenario) -> None:
    limits, model = plan.limits, Model(plan)
    chance, done = random.Random(plan.seed), list[int]()

    async def attempts(kind: Kind, admission: Admission) -> None:
        while True:
            try:
                async with admission as attempt:
                    attempt.was_sent = True
                    model.running += kind != "status"
                    model.most = max(model.most, model.running)
                    try:
                        await anyio.sleep(chance.uniform(0, 1))
                        wait = model.asked[kind].request()
                        await anyio.sleep(chance.uniform(0, 30) if wait is None else 0.1)
                    finally:
                        model.running -= kind != "status"
                    if wait is not None:
                        raise rate_limit_error(wait)
                    await attempt.on_response(200)
                    return
            except RateLimitError:
                continue

    async def one(number: int, kind: Kind, arrival: float) -> None:
        await anyio.sleep(arrival)
        called, target, content = _CALLS[kind]
        admission = new_admission(limits, called, target=target, content=content)
        with anyio.CancelScope() as scope:
            if chance.random() < plan.cancelled:
                scope.deadline = anyio.current_time() + chance.uniform(0, 200)
            if admission.needs_query_slot:
                async with admission.query_slot():
                    await attempts(kind, admission)
            else:
                await attempts(kind, admission)
            done.append(number)

    async with anyio.create_task_group() as tasks:
        for number, (kind, arrival) in enumerate(plan.calls):
            tasks.start_soon(one, number, kind, arrival)
    assert model.most <= 3
    assert model.running == 0
    if not plan.cancelled:
        assert sorted(done) == list(range(len(plan.calls)))  # no request is lost
    if plan.known or plan.truth == "current":
        assert model.refused == 0
    queues = limits._limiter.queues.values()
    assert all(usage.in_flight == 0 for queue in queues for usage in queue.windows.snapshot())
    assert not limits.scheduler.queues
    assert limits.scheduler._leader is None


def pairs(least: int, most: int) -> st.SearchStrategy[tuple[tuple[int, float], tuple[int, float]]]:
    minute = st.tuples(st.integers(1, 6), st.just(60.0))
    return st.tuples(minute, st.tuples(st.integers(least, most), st.just(600.0)))


kinds = st.sampled_from(["hogql", "hogql", "trends", "status"])
arrivals = st.floats(0, 300)
plans = st.builds(
    Scenario,
    truth=st.sampled_from(["current", "legacy"]),
    known=st.booleans(),
    current=pairs(12, 20),
    legacy=st.tuples(st.integers(1, 6), st.just(600.0)),
    others=pairs(4, 12),
    calls=st.lists(st.tuples(kinds, arrivals), max_size=25)
    | st.lists(st.tuples(st.just("hogql"), arrivals), max_size=25),
    cancelled=st.sampled_from([0.0, 0.0, 0.4]),
    seed=st.integers(0, 2**32),
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(plan=plans)
@settings(max_examples=40, deadline=None)
def test_a_detected_plan_respects_its_limits(backend: str, plan: Scenario) -> None:
    run(backend, scenario, plan)
