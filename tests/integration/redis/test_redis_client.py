"""Clients that share their limits through Redis."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from asyncposthog import AsyncPostHog, RateLimitError
from asyncposthog.rate_limits.limiter import RateLimiter
from asyncposthog.rate_limits.stores.redis import RedisStore

from .helpers import Fleet, fleet
from .redis_server import Server

pytestmark = pytest.mark.anyio
LIMITS = {"burst": (5, 60), "sustained": (50, 3600)}
PAGE: dict[str, Any] = {"count": 0, "next": None, "previous": None, "results": []}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Api:
    """A server that accepts or throttles every request."""

    def __init__(self) -> None:
        self.requests = 0
        self.refuses = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.refuses:
            body = {"type": "throttled_error", "code": "throttled", "detail": "", "attr": None}
            return httpx.Response(429, json=body, headers={"retry-after": "30"})
        return httpx.Response(200, json=PAGE)


def client(them: Fleet, api: Api, **settings: Any) -> AsyncPostHog:
    store: RedisStore = them.store()
    settings.setdefault("deadline", 20.0)
    return AsyncPostHog(
        api_key="phx_shared", project_id=1, transport=httpx.MockTransport(api), max_retries=0,
        limiter=RateLimiter(limits=LIMITS, store=store), **settings,
    )  # fmt: skip


async def test_two_clients_share_the_limits(redis_server: Server) -> None:
    api = Api()
    async with fleet(redis_server) as them, client(them, api) as one, client(them, api) as two:
        for _ in range(3):
            await one.feature_flags.list()
        for _ in range(2):
            await two.feature_flags.list()
        for ph in (one, two):
            with pytest.raises(RateLimitError, match="burst") as caught:
                await ph.feature_flags.list()
            assert 50 < (caught.value.retry_after or 0) < 61
        assert api.requests == 5
        assert two.rate_limits.buckets["burst"].remaining == 0
        assert two.rate_limits.buckets["sustained"].used == 5
        them.pass_time(61.0)
        await one.feature_flags.list()


async def test_a_429_delays_the_other_clients(redis_server: Server) -> None:
    api = Api()
    async with fleet(redis_server) as them, client(them, api) as one, client(them, api) as two:
        await two.feature_flags.list()
        api.refuses = True
        with pytest.raises(RateLimitError):
            await one.feature_flags.list()
        assert api.requests == 2
        with pytest.raises(RateLimitError) as caught:
            await two.feature_flags.list()
        assert api.requests == 2
        assert 25 < (caught.value.retry_after or 0) <= 30
        api.refuses = False
        them.pass_time(100.0)
        await two.feature_flags.list()


async def test_a_block_longer_than_max_retry_after_fails_both_clients(redis_server: Server) -> None:
    api = Api()
    settings: dict[str, Any] = {"deadline": None, "max_retry_after": 10.0}
    async with (
        fleet(redis_server) as them,
        client(them, api, **settings) as one,
        client(them, api, **settings) as two,
    ):
        await two.feature_flags.list()
        api.refuses = True
        with pytest.raises(RateLimitError, match="Call again in 30 s"):
            await one.feature_flags.list()
        with pytest.raises(RateLimitError, match=r"max_retry_after \(10 s\)"):
            await two.feature_flags.list()
        assert api.requests == 2


async def test_a_limiter_is_closed_with_its_block(redis_server: Server) -> None:
    api = Api()
    settings: dict[str, Any] = {"project_id": 1, "transport": httpx.MockTransport(api)}
    async with RateLimiter(
        store=RedisStore(redis_server.url, prefix="block", timeout=30.0)
    ) as limiter:
        async with AsyncPostHog("phx_block", limiter=limiter, **settings) as ph:
            await ph.feature_flags.list()
        assert ph.rate_limits["burst"].used == 1
