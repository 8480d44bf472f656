"""`ph.insights.result`: results of saved insights, and their age."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from asyncposthog import (
    NotFoundError,
    QueryError,
    ReadOnlyError,
    TimeoutError,  # noqa: A004
    TruncatedResultWarning,
)
from tests.helpers.fake_transport import Server, client
from tests.helpers.manual_clock import ManualClock

from .helpers import answer, done, error, status

pytestmark = pytest.mark.anyio

PATH = "/api/projects/1/insights/7/"
NOW = datetime.fromtimestamp(ManualClock().time(), UTC)
TRENDS = [{"label": "$pageview", "count": 3}]


def insight(result: Any = TRENDS, age: float = 60, **more: Any) -> httpx.Response:
    computed = (NOW - timedelta(seconds=age)).isoformat()
    body = {
        "id": 7, "short_id": "abc", "name": "Views", "result": result, "columns": None,
        "types": None, "hasMore": None, "is_cached": True, "last_refresh": computed,
        "query_status": None, **more,
    }  # fmt: skip
    return httpx.Response(200, json=body)


def asked(server: Server) -> list[str]:
    return [
        f"{r.method} {r.url.path.removeprefix('/api/projects/1/')} {r.url.query.decode()}".strip()
        for r in server.requests
    ]


async def test_a_cached_result_of_any_age() -> None:
    server = Server(insight())
    async with client(server) as ph:
        result = await ph.insights.result(7)
    assert asked(server) == ["GET insights/7/ refresh=force_cache"]
    assert result.results == TRENDS
    assert result.last_refresh == NOW - timedelta(seconds=60)
    assert result.is_cached
    assert result.raw["name"] == "Views"


async def test_a_missing_result_is_computed() -> None:
    server = Server(insight(None, last_refresh=None), insight(is_cached=False))
    async with client(server) as ph:
        result = await ph.insights.result("abc")
    assert asked(server) == [
        "GET insights/abc/ refresh=force_cache", "GET insights/abc/ refresh=blocking",
    ]  # fmt: skip
    assert (result.results, result.is_cached) == (TRENDS, False)


@pytest.mark.parametrize("max_age", [timedelta(minutes=5), 300, 60.0])
async def test_a_result_below_max_age(max_age: Any) -> None:
    server = Server(insight())
    async with client(server) as ph:
        await ph.insights.result(7, max_age=max_age)
    assert len(server.requests) == 1


@pytest.mark.parametrize("max_age", [timedelta(seconds=59), 59])
async def test_a_result_above_max_age(max_age: Any) -> None:
    server = Server(insight(), insight([], age=0))
    async with client(server) as ph:
        result = await ph.insights.result(7, max_age=max_age)
    assert asked(server)[1] == "GET insights/7/ refresh=force_blocking"
    assert result.results == []


async def test_now() -> None:
    server = Server(insight(age=0))
    async with client(server) as ph:
        await ph.insights.result(7, max_age=0)
    assert asked(server) == ["GET insights/7/ refresh=force_blocking"]


async def test_in_the_background() -> None:
    waiting = insight(None, query_status={"id": "job", "complete": False})
    fresh = {"results": [{"count": 9}], "last_refresh": NOW.isoformat(), "is_cached": False}
    server = Server(waiting, status(), done(results=fresh))
    async with client(server, allow=["insights.get"]) as ph:
        result = await ph.insights.result(7, max_age=0, mode="async")
    assert asked(server) == [
        "GET insights/7/ refresh=force_async", "GET query/job/", "GET query/job/",
    ]  # fmt: skip
    assert result.results == [{"count": 9}]
    assert (result.last_refresh, result.query_id) == (NOW, "job")
    assert result.raw["name"] == "Views"


async def test_a_computation_that_takes_too_long() -> None:
    slow = error(504, "Query took too long", "error")
    waiting = insight(None, query_status={"id": "job", "complete": False})
    server = Server(slow, waiting, done(results={"results": []}))
    async with client(server) as ph:
        assert (await ph.insights.result(7, max_age=0)).results == []
    assert asked(server)[:2] == [
        "GET insights/7/ refresh=force_blocking", "GET insights/7/ refresh=force_async",
    ]  # fmt: skip


async def test_a_table() -> None:
    table = insight(
        [["a", "2026-01-01"]], columns=["event", "day"],
        types=[["event", "String"], ["day", "Date"]],
    )  # fmt: skip
    async with client(Server(table)) as ph:
        result = await ph.insights.result(7)
    assert result.columns == ("event", "day")
    assert result.rows[0][1].year == 2026
    assert not result.truncated


@pytest.mark.parametrize(
    ("limit", "rows", "more", "cut"),
    [
        ("", 100, True, "100 rows: without a LIMIT"),
        ("", 7, False, None),
        (" LIMIT 60000", 50_000, None, "50,000 rows"),
        (" LIMIT 50000", 50_000, None, None),
        (" LIMIT 100", 100, None, None),
    ],
)
async def test_a_truncated_table(limit: str, rows: int, more: bool | None, cut: str | None) -> None:
    source = {"kind": "HogQLQuery", "query": f"SELECT event FROM events{limit}"}
    saved = insight(
        [["$pageview"]] * rows, columns=["event"], types=[["event", "String"]], hasMore=more,
        query={"kind": "DataVisualizationNode", "source": source},
    )  # fmt: skip
    for max_age in (None, 0):
        async with client(Server(saved)) as ph:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                result = await ph.insights.result(7, max_age=max_age)
        assert result.truncated is (cut is not None)
        assert [str(w.message) for w in told if cut in str(w.message)] if cut else not told
        assert {(w.category, w.filename) for w in told} <= {(TruncatedResultWarning, __file__)}


async def test_failures() -> None:
    failed = status(code=400, complete=True, error=True, error_message="No such event")
    waiting = insight(None, query_status={"id": "job", "complete": False})
    async with client(Server(waiting, failed)) as ph:
        with pytest.raises(QueryError, match="No such event"):
            await ph.insights.result(7, max_age=0, mode="async")
    async with client(Server(error(404, "Not found.", "not_found"))) as ph:
        with pytest.raises(NotFoundError):
            await ph.insights.result(7)
    server = Server(insight())
    async with client(server, allow=["query.*"]) as ph:
        with pytest.raises(ReadOnlyError):
            await ph.insights.result(7)
    assert server.requests == []


async def test_timeout() -> None:
    waiting = insight(None, query_status={"id": "job", "complete": False})
    polls: list[Any] = [status()] * 2
    server = Server(waiting, *polls, answer({"message": "ok"}))
    async with client(server, clock=ManualClock(chance=0.5)) as ph:
        with pytest.raises(TimeoutError):
            await ph.insights.result(7, max_age=0, mode="async", timeout=1.5)
    assert asked(server)[-1] == "DELETE query/job/"


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"max_age": -1}, ValueError, "0 or more"),
        ({"max_age": timedelta(-1)}, ValueError, "0 or more"),
        ({"max_age": "1h"}, TypeError, "timedelta"),
        ({"max_age": True}, TypeError, "timedelta"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"mode": "x"}, ValueError, "mode"),
    ],
)
async def test_arguments(arguments: Any, kind: type[Exception], says: str) -> None:
    server = Server(insight())
    async with client(server) as ph:
        with pytest.raises(kind, match=says):
            await ph.insights.result(7, **arguments)
    assert server.requests == []


async def test_raw_and_dry_run() -> None:
    async with client(Server(insight())) as ph:
        preview = await ph.dry_run(ph.insights.result, 7, max_age=0)
        assert preview.query == (("refresh", "force_blocking"),)
        raw = await ph.raw(ph.insights.result, 7)
        assert raw.json()["name"] == "Views"
        assert raw.parse().results == TRENDS
