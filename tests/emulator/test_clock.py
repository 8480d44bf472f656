"""The emulator's clock: advance, freeze, and what follows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest

from posthog_emulator import Emulator

from . import widget_api

pytestmark = pytest.mark.anyio

WIDGETS = "/api/projects/1/widgets/"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def made(http: httpx.AsyncClient) -> str:
    return (await http.post(WIDGETS, json={"name": "a"})).json()["created_at"]


async def test_objects_are_created_at_the_emulators_time(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    assert tiny.freeze(START) == START
    assert await made(tiny_http) == "2026-03-01T12:00:00Z"
    assert tiny.advance(90) == START + timedelta(seconds=90)
    assert await made(tiny_http) == "2026-03-01T12:01:30Z"
    tiny.advance(timedelta(days=-1))
    assert await made(tiny_http) == "2026-02-28T12:01:30Z"
    assert tiny.now == datetime(2026, 2, 28, 12, 1, 30, tzinfo=UTC)


def test_a_running_clock(tiny: Emulator) -> None:
    seconds = iter(range(100))
    tiny.settings.clock = lambda: START + timedelta(seconds=next(seconds))
    assert (tiny.now, tiny.now) == (START, START + timedelta(seconds=1))
    tiny.advance(3600)
    assert tiny.now.hour == 13
    stopped = tiny.freeze()
    assert tiny.now == tiny.now == stopped
    tiny.unfreeze()
    assert stopped <= tiny.now < tiny.now < stopped + timedelta(seconds=10)
    tiny.unfreeze()
    tiny.reset()
    assert tiny.now.hour == 12


def test_times_in_other_formats(tiny: Emulator) -> None:
    assert tiny.freeze("2026-03-01T12:00:00Z") == START
    there = START.astimezone(timezone(timedelta(hours=5)))
    assert tiny.freeze(there).tzinfo == UTC
    assert tiny.now == START


@pytest.mark.parametrize(
    ("at", "message"), [(datetime(2026, 1, 1), "no time zone"), ("noon", "noon")]
)
def test_invalid_times(tiny: Emulator, at: datetime | str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.freeze(at)


async def test_rate_limits_follow_the_clock() -> None:
    emulator = Emulator(rate_limits=True)
    emulator.freeze(START)
    key = {"Authorization": f"Bearer {emulator.key}"}
    async with httpx.AsyncClient(
        transport=emulator.transport(), base_url="http://emulator", headers=key
    ) as http:

        async def status() -> int:
            return (await http.get("/api/projects/1/cohorts/")).status_code

        seen = [await status() for _ in range(500)]
        assert 429 in seen
        emulator.advance(61)
        assert await status() == 200
        while await status() == 200:
            pass
        emulator.freeze(START - timedelta(days=1))
        assert await status() == 200


async def test_a_frozen_clock_does_not_block_a_query_that_waits_for_a_slot() -> None:
    slept = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds

    emulator = Emulator(rate_limits=True, sleep=sleep)
    emulator.freeze(START)
    for number in range(3):
        assert emulator.query_slots.try_acquire(1, str(number))
    key = {"Authorization": f"Bearer {emulator.key}"}
    async with httpx.AsyncClient(
        transport=emulator.transport(), base_url="http://emulator", headers=key
    ) as http:
        query = {"query": {"kind": "HogQLQuery", "query": "SELECT 1"}}
        answer = await http.post("/api/projects/1/query/", json=query)
    assert answer.status_code == 429
    assert 30 <= slept < 33


def test_each_emulator_has_its_own_clock(tiny: Emulator) -> None:
    other = Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS)
    tiny.freeze(START)
    assert other.now != tiny.now
