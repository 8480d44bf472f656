"""The client's own key, whatever it looks like, stays in the client."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import traceback
import types
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from asyncposthog import (
    AsyncPostHog,
    DecodeError,
    NotFoundError,
    PaginationError,
    PostHogError,
    RedirectError,
    SchemaDrift,
)
from asyncposthog.config import Secret
from asyncposthog.redact import mask
from tests.helpers.fake_transport import Server, client

pytestmark = pytest.mark.anyio

KEYS = ["0ld+unprefixed/key", "phx_abcDEF123456", "3f8a9c1b7d2e4f60"]
JSON = {"Content-Type": "application/json"}


def shown(error: BaseException) -> str:
    """Return everything that an exception shows, its causes and its answer included."""
    parts = ["".join(traceback.format_exception(error)), repr(error), repr(vars(error))]
    if isinstance(error, PostHogError) and error.response is not None:
        parts += [error.response.text, repr(error.response.headers.raw), str(error.response.url)]
    if isinstance(error, RedirectError):
        parts.append(str(error.location))
    return "\n".join(parts) + repr(pickle.dumps(error))


def answers(key: str) -> list[tuple[httpx.Response | Exception, type[PostHogError]]]:
    """Return every kind of failure in which a server may echo the key."""
    return [
        (httpx.Response(404, text=f"no {key}", headers={"X-Key": key}), NotFoundError),
        (httpx.Response(404, json={"detail": key, "code": key}), NotFoundError),
        (httpx.Response(302, headers={"Location": f"//x/{key}"}), RedirectError),
        (httpx.Response(200, text=f"<html>{key}</html>"), DecodeError),
        (httpx.Response(200, text=f'{{"a": {key}', headers=JSON), DecodeError),
        (httpx.ReadError(f"broke {key}"), PostHogError),
    ]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("number", range(6))
async def test_an_echoed_key_is_masked(key: str, number: int) -> None:
    answer, kind = answers(key)[number]
    async with client(Server(answer), api_key=key, max_retries=0) as ph:
        with pytest.raises(kind) as caught:
            await ph.things.get(1)
    assert key not in shown(caught.value)


@pytest.mark.parametrize("key", KEYS)
async def test_an_echoed_key_is_masked_where_pages_lead(key: str) -> None:
    page = {"count": 9, "results": [{"id": 1}], "next": f"https://us.posthog.com/{key}/?x=1"}
    async with client(Server(httpx.Response(200, json=page)), api_key=key) as ph:
        with pytest.raises(PaginationError) as caught:
            async for _ in ph.things.list():
                pass
    assert "leads to another resource" in str(caught.value)
    assert key not in shown(caught.value)


@pytest.mark.parametrize("key", KEYS)
async def test_an_echoed_key_is_masked_in_warnings_and_logs(
    key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "asyncposthog")
    flag = {"id": 1, "filters": {key: 1}, key: {key: [key]}, "tags": {key: 1}, "active": key}
    async with client(Server(httpx.Response(200, json=flag)), api_key=key) as ph:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await ph.feature_flags.get(1, options={"query": {"a": key, key: "b"}})
    assert any(issubclass(w.category, SchemaDrift) for w in caught)
    assert key not in " ".join(str(w.message) for w in caught)
    assert key not in caplog.text


def test_keys_are_masked_as_long_as_their_client_lives() -> None:
    async def use(ph: AsyncPostHog) -> None:
        await ph.request("GET", "/x/")

    import anyio

    ph = client(Server(httpx.Response(200, json={})), api_key="3f8a9c1b7d2e4f60")
    anyio.run(use, ph)
    assert mask("a 3f8a9c1b7d2e4f60 b") == "a *** b"
    del ph
    gc.collect()
    assert mask("a 3f8a9c1b7d2e4f60 b") == "a 3f8a9c1b7d2e4f60 b"


_SKIPPED = (type, types.ModuleType, types.FunctionType, types.FrameType, types.CodeType)
_CONTAINERS = (dict, list, tuple, set, frozenset)


def reachable(*roots: object) -> Iterator[object]:
    """Yield every object that the client, or something it gave, leads to."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, _SKIPPED):
            continue
        seen.add(id(found))
        module = type(found).__module__.partition(".")[0]
        bound = isinstance(found, types.MethodType | types.CellType)
        if module in {"asyncposthog", "httpx", "httpcore", "tests"} or bound:
            yield found
        elif not isinstance(found, _CONTAINERS):
            continue
        waiting += gc.get_referents(found)


@pytest.mark.parametrize("key", KEYS)
async def test_nothing_that_can_be_reached_gives_the_key_away(key: str) -> None:
    page = {"count": 1, "results": [{"id": 1}], "next": None}
    other = "phx_ofTheCopy123"

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=page)

    async with client(handle, api_key=key) as ph:
        raw = await ph.raw(ph.things.get, 1)
        cursor = ph.things.list()
        first = await cursor
        twin = ph.with_options(api_key=other, timeout=3)
        await twin.things.get(1)
        job = ph.export.events(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
        preview = await ph.dry_run(ph.things.get, 1)
        roots = [ph, raw, cursor, first, twin, job, preview, ph.settings, ph.rate_limits]
        roots += [raw.http, raw.http.request, ph.feature_flags, ph.query, ph.export]
        seen = list(reachable(*roots))
        assert any(isinstance(found, Secret) for found in seen)
        leaks: list[str] = []
        for found in seen:
            name = f"{type(found).__module__}.{type(found).__qualname__}"
            for act in (repr, str, pickle.dumps, _copied):
                try:
                    said = act(found)
                except Exception:
                    continue
                text = said if isinstance(said, str) else repr(said)
                if key in text or other in text:
                    leaks.append(f"{act.__name__} of {name}")
        assert leaks == []


def _copied(value: object) -> str:
    """Return what the pickle of a deep copy shows."""
    return repr(vars(copy.deepcopy(value)))


async def test_no_cookie_is_kept() -> None:
    count = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal count
        count += 1
        return httpx.Response(200, json={}, headers={"Set-Cookie": f"c{count}=x; Path=/"})

    async with client(handle, limits=False) as ph:
        for _ in range(50):
            await ph.things.get(1)
        http = next(found for found in reachable(ph) if isinstance(found, httpx.AsyncClient))
        assert (count, len(http.cookies), len(http.cookies.jar)) == (50, 0, 0)
