"""429 responses with an invalid or a very long `Retry-After`."""

from __future__ import annotations

from email.utils import formatdate
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import RateLimitError, ServerError
from tests.helpers.virtual_time import LoopClock

from .helpers import anyio_backend
from .test_client import Wire, client, gather

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
START = LoopClock.EPOCH
WEEK = 604_800

NONSENSE = [
    "-5", "-604800", "0", "-0", "", "soon", "inf", "-inf", "nan", "1e9999", "9" * 400, "5, 10",
    formatdate(START - 5, usegmt=True),
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Wed, 99 Foo 2026 00:00:00 GMT",
]  # fmt: skip


def throttled_response(value: str | None) -> httpx.Response:
    body = {"type": "throttled_error", "code": "throttled", "detail": "Request was throttled."}
    return httpx.Response(429, json=body, headers={} if value is None else {"Retry-After": value})


@pytest.mark.parametrize("value", NONSENSE)
async def test_an_invalid_retry_after_blocks_for_a_moment(value: str) -> None:
    wire = Wire(throttled_response(value), latency=0)
    async with client(wire) as ph:

        async def later() -> None:
            await anyio.sleep(0.1)
            await ph.feature_flags.get(2)

        await gather(lambda: ph.feature_flags.get(1), later)
        # Both the throttled request and the later one are sent, after a short block.
        assert sorted(r.url.path[-3:] for r in wire.requests) == ["/1/", "/1/", "/2/"]
        assert 0.25 <= wire.sent_at[1] <= wire.sent_at[2] <= 0.6
        assert ph.rate_limits["burst"].blocked_for == 0


@pytest.mark.parametrize("value", ["-5", "0", "nan", "soon"])
async def test_an_invalid_retry_after_again_and_again(value: str) -> None:
    wire = Wire(*[throttled_response(value) for _ in range(8)], latency=0)
    async with client(wire) as ph:
        for attempts in (4, 8):
            with pytest.raises(RateLimitError) as caught:
                await ph.feature_flags.get(1)
            assert len(caught.value.attempts) == 4
            assert not caught.value.retry_after
            assert len(wire.requests) == attempts
        gaps = [
            after - before for before, after in zip(wire.sent_at, wire.sent_at[1:], strict=False)
        ]
        # The backoff grows over both calls: no busy loop, and no bucket that stays blocked.
        assert gaps == sorted(gaps)
        assert gaps[0] >= 0.25
        assert gaps[-1] <= 30.0
        await ph.feature_flags.get(1)
        assert wire.sent_at[-1] - wire.sent_at[-2] <= 30.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1.0),
        ("1.5", 1.5),
        ("+7.", 7.0),
        (formatdate(START + 20, usegmt=True), 20.0),
        (formatdate(START + 20).replace("-0000", ""), 20.0),
    ],
)
async def test_a_valid_retry_after_is_respected(value: str, seconds: float) -> None:
    wire = Wire(throttled_response(value), latency=0)
    async with client(wire) as ph:
        await gather(lambda: ph.feature_flags.get(1), lambda: late(ph.feature_flags.get, 2))
    assert wire.sent_at == [0, pytest.approx(seconds), pytest.approx(seconds)]


async def late(call: Any, *args: Any) -> None:
    await anyio.sleep(0.5)
    await call(*args)


@pytest.mark.parametrize(
    "value",
    [str(WEEK), "9" * 12, formatdate(START + WEEK, usegmt=True), "Fri, 31 Dec 9999 23:59:59 GMT"],
)
async def test_a_week_fails_all_calls_and_blocks_for_one_window(value: str) -> None:
    wire = Wire(throttled_response(value), latency=1)
    ended: list[tuple[float, float | None]] = []
    async with client(wire) as ph:

        async def fails(delay: float) -> None:
            await anyio.sleep(delay)
            with pytest.raises(RateLimitError) as caught:
                await ph.feature_flags.get(1)
            assert "max_retry_after (120 s)" in str(caught.value)
            ended.append((anyio.current_time(), caught.value.retry_after))

        await gather(*[partial(fails, delay) for delay in (0, 5, 500)])
        # The throttled call reports the Retry-After; the others, when they could be sent.
        (first, told), *others = ended
        assert first == 1
        assert told
        assert told >= WEEK - 1
        assert others == [(5, pytest.approx(3596)), (500, pytest.approx(3101))]
        # No request stays in a window of an hour for longer than an hour.
        await anyio.sleep(3601 - anyio.current_time())
        await ph.feature_flags.get(1)
    assert len(wire.requests) == 2


async def test_a_patient_call_waits_and_delays_no_other() -> None:
    wire = Wire(throttled_response(str(WEEK)), latency=0)
    async with client(wire, max_retry_after=10**6) as ph:
        await gather(lambda: ph.feature_flags.get(1), lambda: late(ph.feature_flags.get, 2))
    assert [r.url.path[-3:] for r in wire.requests] == ["/1/", "/2/", "/1/"]
    assert wire.sent_at == [0, 3600, WEEK]


async def test_deadlines_during_a_block() -> None:
    wire = Wire(throttled_response("60"), latency=1)
    ended: dict[str, tuple[float, float | None]] = {}
    async with client(wire) as ph:

        async def one(name: str, delay: float, deadline: float | None) -> None:
            await anyio.sleep(delay)
            try:
                await ph.feature_flags.get(1, options={"deadline": deadline})
                ended[name] = anyio.current_time(), None
            except RateLimitError as error:
                ended[name] = anyio.current_time(), error.retry_after

        await gather(
            partial(one, "refused", 0, 30.0),
            partial(one, "in a hurry", 2, 30.0),
            partial(one, "has time", 2, 90.0),
            partial(one, "has all day", 3, None),
        )
    assert ended["refused"] == (1, 60)
    assert ended["in a hurry"] == (2, pytest.approx(59))
    assert ended["has time"] == (pytest.approx(62), None)
    # Near the observed capacity, one request is sent at a time.
    assert ended["has all day"] == (pytest.approx(63), None)
    assert len(wire.requests) == 3


@pytest.mark.parametrize("value", ["-5", "nan", "0.0", "soon"])
async def test_an_invalid_retry_after_of_a_query_blocks_the_slots(value: str) -> None:
    wire = Wire(throttled_response(value), latency=0)
    async with client(wire) as ph:
        await ph.raw(ph.query.create, query={"kind": "HogQLQuery", "query": "select 1"})
        assert 0.25 <= wire.sent_at[1] <= 0.6
        assert ph.rate_limits["api_queries_burst"].blocked_for == 0
        assert ph.rate_limits["slots of project 1"].used == 0


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize(("value", "most"), [("-5", 0.5), ("nan", 0.5), ("3", 3)])
async def test_other_statuses_block_no_bucket(status: int, value: str, most: float) -> None:
    wire = Wire(httpx.Response(status, headers={"Retry-After": value}), latency=0)
    async with client(wire) as ph:
        await gather(lambda: ph.feature_flags.get(1), lambda: late(ph.feature_flags.get, 2))
        assert ph.rate_limits["burst"].blocked_for == 0
    assert wire.sent_at[1] <= most
    assert 0.5 in wire.sent_at


async def test_retry_after_of_another_status() -> None:
    wire = Wire(httpx.Response(503, headers={"Retry-After": str(WEEK)}), latency=0)
    async with client(wire) as ph:
        with pytest.raises(ServerError, match="longer than max_retry_after") as caught:
            await ph.feature_flags.get(1)
        assert caught.value.retry_after == WEEK
        await ph.feature_flags.get(2)
    assert wire.sent_at == [0, 0]
