"""Queries, and a model of the server on either plan, driven together."""

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

from .helpers import Server, budget, passage, refusal, run
from .test_plans import HOGQL, PATH, TRENDS

Kind = Literal["hogql", "trends", "status"]
_CALLS = {
    "hogql": (find("query.create"), PATH, HOGQL),
    "trends": (find("query.create"), PATH, TRENDS),
    "status": (find("query.get"), f"{PATH}abc/", None),
}


@dataclass
class Plan:
    """What is going to happen."""

    truth: Literal["current", "legacy"]
    known: bool
    """Whether the client was told which plan it is."""
    current: tuple[tuple[int, float], tuple[int, float]]
    legacy: tuple[int, float]
    others: tuple[tuple[int, float], tuple[int, float]]
    """What the legacy plan grants to all but HogQL."""
    calls: list[tuple[Kind, float]]
    """What is called, and when."""
    cancelled: float
    seed: int

    @property
    def limits(self) -> KeyLimiter:
        pairs = [*self.current, *self.others, self.legacy]
        names = ("api_queries_burst", "api_queries_sustained",
                 "clickhouse_burst", "clickhouse_sustained", "query")  # fmt: skip
        plan = self.truth if self.known else "auto"
        return budget(limits=dict(zip(names, pairs, strict=True)), query_plan=plan)


class Model:
    """The server: on the legacy plan, HogQL is counted apart from all else."""

    def __init__(self, plan: Plan) -> None:
        current = Server(*plan.current)
        self.asked: dict[Kind, Server] = dict.fromkeys(("hogql", "trends", "status"), current)
        if plan.truth == "legacy":
            self.asked = dict.fromkeys(self.asked, Server(*plan.others))
            self.asked["hogql"] = Server(plan.legacy)
        self.running = self.most = 0

    @property
    def refused(self) -> int:
        return sum(server.refused for server in {id(s): s for s in self.asked.values()}.values())


async def scenario(plan: Plan) -> None:
    limits, model = plan.limits, Model(plan)
    chance, done = random.Random(plan.seed), list[int]()

    async def attempts(kind: Kind, way: Admission) -> None:
        while True:
            try:
                async with way as entered:
                    entered.was_sent = True
                    model.running += kind != "status"
                    model.most = max(model.most, model.running)
                    try:
                        await anyio.sleep(chance.uniform(0, 1))
                        wait = model.asked[kind].ask()
                        await anyio.sleep(chance.uniform(0, 30) if wait is None else 0.1)
                    finally:
                        model.running -= kind != "status"
                    if wait is not None:
                        raise refusal(wait)
                    await entered.on_response(200)
                    return
            except RateLimitError:
                continue

    async def one(number: int, kind: Kind, arrival: float) -> None:
        await anyio.sleep(arrival)
        called, target, content = _CALLS[kind]
        way = passage(limits, called, target=target, content=content)
        with anyio.CancelScope() as scope:
            if chance.random() < plan.cancelled:
                scope.deadline = anyio.current_time() + chance.uniform(0, 200)
            if way.needs_query_slot:
                async with way.query_slot():
                    await attempts(kind, way)
            else:
                await attempts(kind, way)
            done.append(number)

    async with anyio.create_task_group() as tasks:
        for number, (kind, arrival) in enumerate(plan.calls):
            tasks.start_soon(one, number, kind, arrival)
    assert model.most <= 3
    assert model.running == 0
    if not plan.cancelled:
        assert sorted(done) == list(range(len(plan.calls)))  # nobody is lost
    if plan.known or plan.truth == "current":
        assert model.refused == 0
    lanes = limits._limiter.lanes.values()
    assert all(usage.flying == 0 for lane in lanes for usage in lane.windows.peek())
    assert not limits.queue._lanes
    assert limits.queue._leader is None


def pairs(least: int, most: int) -> st.SearchStrategy[tuple[tuple[int, float], tuple[int, float]]]:
    minute = st.tuples(st.integers(1, 6), st.just(60.0))
    return st.tuples(minute, st.tuples(st.integers(least, most), st.just(600.0)))


kinds = st.sampled_from(["hogql", "hogql", "trends", "status"])
arrivals = st.floats(0, 300)
plans = st.builds(
    Plan,
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
def test_both_plans(backend: str, plan: Plan) -> None:
    run(backend, scenario, plan)
