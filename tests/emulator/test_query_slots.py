"""Three concurrent queries per project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import registry
from posthog_emulator import Emulator
from posthog_emulator.rate_limits.query_slots import occupies_slot, poll_delays

from .virtual_time import VirtualTime

pytestmark = pytest.mark.anyio

QUERY = "/api/projects/1/query/"


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def emulator(time: VirtualTime) -> Iterator[Emulator]:
    emulator = Emulator(rate_limits=True, clock=time.clock, sleep=time.sleep)
    emulator.settings.query_seconds = 10
    yield emulator
    emulator.close()


class HogQLTester:
    """Runs queries concurrently, and records the time of each response."""

    def __init__(self, emulator: Emulator, time: VirtualTime, http: httpx.AsyncClient) -> None:
        self.emulator, self.time, self.http = emulator, time, http
        self.answers: dict[str, tuple[float, httpx.Response]] = {}

    async def ask(self, id: str, path: str = QUERY, **more: Any) -> None:
        body = {"client_query_id": id, "refresh": "force_blocking", **more}
        if path == QUERY:
            body["query"] = {"kind": "HogQLQuery", "query": "select 1"}
        answer = await self.http.post(path, json=body)
        self.answers[id] = (self.time.now, answer)

    async def all(self, *ids: str, path: str = QUERY, **more: Any) -> None:
        async with anyio.create_task_group() as tasks:
            for name in ids:
                tasks.start_soon(partial(self.ask, name, path, **more))
                await anyio.wait_all_tasks_blocked()  # so that they come in this order
            await self.time.pass_all()

    @property
    def statuses(self) -> list[int]:
        return [answer.status_code for _, answer in self.answers.values()]


@pytest.fixture
def asker(
    emulator: Emulator, time: VirtualTime, connect: Callable[..., httpx.AsyncClient]
) -> HogQLTester:
    return HogQLTester(emulator, time, connect(emulator))


def test_poll_delays_grow_up_to_a_limit() -> None:
    taken = list(islice(poll_delays(), 9))
    assert taken[0] == 0.134
    assert [b / a for a, b in pairwise(taken[:7])] == pytest.approx([1.5] * 6)
    assert taken[7:] == [1.714, 1.714]


async def test_a_fourth_query_waits(asker: HogQLTester, emulator: Emulator) -> None:
    await asker.all("a", "b", "c", "d")
    assert asker.statuses == [200] * 4
    seconds = {name: second for name, (second, _) in asker.answers.items()}
    assert [seconds[name] for name in "abc"] == [10.0] * 3
    looked, pauses = 0.0, poll_delays()
    while looked < 10:
        looked += next(pauses)
    assert seconds["d"] == pytest.approx(looked + 10)
    assert emulator.query_slots.running(1) == 0


async def test_no_slot_in_time(asker: HogQLTester, emulator: Emulator) -> None:
    emulator.settings.query_seconds = 60
    await asker.all("a", "b", "c", "d")
    second, refused = asker.answers["d"]
    assert refused.status_code == 429
    assert "retry-after" not in refused.headers
    assert refused.json() == {
        "type": "throttled_error",
        "code": "throttled",
        "detail": (
            "Exceeded maximum concurrency limit: 3 for key: api:query:per-team:1 and task: d"
        ),
        "attr": None,
    }
    assert 30 <= second <= 30 + 1.714
    assert [asker.answers[name][1].status_code for name in "abc"] == [200] * 3
    assert emulator.query_slots.running(1) == 0


async def test_a_query_id_is_generated(asker: HogQLTester, emulator: Emulator) -> None:
    emulator.settings.query_seconds = 60
    await asker.all("a", "b", "c", "d", client_query_id=None)
    detail = next(a for _, a in asker.answers.values() if a.status_code == 429).json()["detail"]
    assert len(detail.rpartition(" ")[2]) >= 32


async def test_projects_have_slots_of_their_own(asker: HogQLTester, emulator: Emulator) -> None:
    emulator.add_project(2)
    for task in "abc":
        assert emulator.query_slots.try_acquire(2, task)
    await asker.all("a", "b", "c")
    assert {second for second, _ in asker.answers.values()} == {10.0}
    assert emulator.query_slots.running(2) == 3


async def test_override(asker: HogQLTester, emulator: Emulator) -> None:
    emulator.query_slots.override(1, 1)
    emulator.settings.query_seconds = 60
    await asker.all("a", "b")
    assert (
        asker.answers["b"][1]
        .json()["detail"]
        .startswith("Exceeded maximum concurrency limit: 1 for key:")
    )
    with pytest.raises(ValueError, match="at least 1 slot"):
        emulator.query_slots.override(1, 0)


@pytest.mark.parametrize(
    ("limits", "plan"),
    [(False, "current"), (True, "legacy")],
)
async def test_queries_without_slots(
    asker: HogQLTester, emulator: Emulator, limits: bool, plan: Any
) -> None:
    emulator.settings.rate_limits, emulator.settings.query_plan = limits, plan
    await asker.all("a", "b", "c", "d", "e")
    assert {second for second, _ in asker.answers.values()} == {10.0}


@pytest.mark.parametrize(
    ("operation", "body", "occupies"),
    [
        ("query.create", {}, True),
        ("query.create", {"refresh": "blocking"}, True),
        ("query.create", {"refresh": "force_blocking"}, True),
        ("query.create", {"refresh": "force_cache"}, True),
        ("query.create", {"refresh": "async_except_on_cache_miss"}, True),
        ("query.create", {"refresh": "async"}, False),
        ("query.create", {"refresh": "lazy_async"}, False),
        ("query.create", {"refresh": "force_async"}, False),
        ("query.create", {"async": True}, False),
        ("query.create", {"async": False}, True),
        ("query.run_kind", {}, True),
        ("endpoints.run", None, True),
        ("endpoints.run_with_defaults", None, True),
        ("query.get", None, False),
        ("query.cancel", None, False),
        ("query.upgrade", {}, False),
        ("endpoints.list", None, False),
        ("insights.get", None, False),
    ],
)
def test_occupies_slot(operation: str, body: Any, occupies: bool) -> None:
    assert occupies_slot(registry.find(operation), body) is occupies


async def test_failed_and_cancelled_queries_release_their_slot(
    asker: HogQLTester, emulator: Emulator
) -> None:
    await asker.all("a", path="/api/projects/1/endpoints/absent/run/", refresh="direct")
    assert asker.statuses == [404]
    assert emulator.query_slots.running(1) == 0
    async with anyio.create_task_group() as tasks:
        for name in "abcd":
            tasks.start_soon(asker.ask, name)
        await anyio.wait_all_tasks_blocked()
        assert emulator.query_slots.running(1) == 3
        tasks.cancel_scope.cancel()
    assert emulator.query_slots.running(1) == 0


async def test_invalid_queries_occupy_no_slot(asker: HogQLTester, emulator: Emulator) -> None:
    for task in "abc":
        emulator.query_slots.try_acquire(1, task)
    answer = await asker.http.post(
        QUERY, content=b"{", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400


def test_slots_expire_after_ten_minutes(emulator: Emulator, time: VirtualTime) -> None:
    for task in "abc":
        assert emulator.query_slots.try_acquire(1, task)
    time.now += 599
    assert not emulator.query_slots.try_acquire(1, "d")
    time.now += 1
    assert emulator.query_slots.try_acquire(1, "d")
    assert emulator.query_slots.running(1) == 1


def test_releasing_a_free_slot(emulator: Emulator) -> None:
    emulator.query_slots.release(1, "a")
    emulator.query_slots.try_acquire(1, "b")
    emulator.query_slots.release(1, "a")
    assert emulator.query_slots.running(1) == 1


def test_a_reset_frees_every_slot(emulator: Emulator) -> None:
    emulator.query_slots.override(1, 1)
    emulator.query_slots.try_acquire(1, "a")
    emulator.reset()
    assert (emulator.query_slots.running(1), emulator.query_slots.limit(1)) == (0, 3)
