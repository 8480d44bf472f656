"""`ph.query`: requests, and results of responses."""

from __future__ import annotations

import enum
import warnings
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import httpx
import pytest

from asyncposthog import (
    PermissionDeniedError,
    QueryError,
    QueryResult,
    QueryTooLargeError,
    QuotaError,
    RateLimitError,
    ReadOnlyError,
    TruncatedResultWarning,
    models,
)
from tests.helpers.fake_transport import Server, client

from .helpers import COLUMNS, PATH, ROWS, answer, error, sent, table

pytestmark = pytest.mark.anyio


class Plan(enum.Enum):
    PAID = "paid"


async def test_a_query_is_forced_and_has_a_client_query_id() -> None:
    server = Server(answer())
    async with client(server) as ph:
        result = await ph.query("SELECT event, n, at FROM t LIMIT 5", name="weekly")
    assert isinstance(result, QueryResult)
    (request,) = server.requests
    body = sent(request)
    assert (request.method, request.url.path) == ("POST", PATH)
    assert body["query"] == {"kind": "HogQLQuery", "query": "SELECT event, n, at FROM t LIMIT 5"}
    assert (body["refresh"], body["name"]) == ("force_blocking", "weekly")
    assert body["client_query_id"] == result.query_id
    assert UUID(body["client_query_id"]).version == 4
    assert len(result) == 2
    assert result.raw == table()


async def test_two_queries_have_two_ids() -> None:
    server = Server(answer())
    async with client(server) as ph:
        await ph.query("SELECT 1")
        await ph.query("SELECT 1", refresh="blocking")
    first, second = map(sent, server.requests)
    assert first["client_query_id"] != second["client_query_id"]
    assert second["refresh"] == "blocking"
    assert "name" not in second


async def test_values_are_sent_beside_the_query() -> None:
    server = Server(answer())
    values = {
        "text": "it's {n} ' OR 1=1 --",
        "n": 7,
        "x": 1.5,
        "yes": True,
        "none": None,
        "at": datetime(2026, 1, 2, 5, 4, 5, 123456, timezone(timedelta(hours=2))),
        "day": date(2026, 1, 2),
        "id": UUID(int=1),
        "plan": Plan.PAID,
        "names": ("a", Plan.PAID, UUID(int=2)),
        "whole": Decimal("3.00"),
        "price": Decimal("19.99"),
        "exact": Decimal("0.123456789012345678"),
    }
    sql = "SELECT " + ", ".join(f"{{{name}}}" for name in values)
    async with client(server) as ph:
        await ph.query(sql, values)
    node = sent(server.last)["query"]
    assert node["query"] == sql.replace("{at}", "toDateTime({at})").replace(
        "{exact}", "toDecimal({exact}, 18)"
    )
    assert node["values"] == {
        "text": "it's {n} ' OR 1=1 --",
        "n": 7,
        "x": 1.5,
        "yes": True,
        "none": None,
        "at": "2026-01-02T03:04:05.123456Z",
        "day": "2026-01-02",
        "id": "00000000-0000-0000-0000-000000000001",
        "plan": "paid",
        "names": ["a", "paid", "00000000-0000-0000-0000-000000000002"],
        "whole": 3,
        "price": 19.99,
        "exact": "0.123456789012345678",
    }


async def test_other_nodes() -> None:
    server = Server(answer({"results": [{"count": 3}], "hasMore": False}))
    trends = models.TrendsQuery(series=[models.EventsNode(event="$pageview")])
    async with client(server) as ph:
        for query in (trends, {"kind": "TrendsQuery", "series": [{"event": "$pageview"}]}):
            result = await ph.query(query)
            node = sent(server.last)["query"]
            assert node["kind"] == "TrendsQuery"
            assert node["series"][0]["event"] == "$pageview"
            assert result.results == [{"count": 3}]
        await ph.query({"kind": "HogQLQuery", "query": "SELECT {a}", "filters": {}}, {"a": 1})
        assert sent(server.last)["query"] == {
            "kind": "HogQLQuery", "query": "SELECT {a}", "filters": {}, "values": {"a": 1},
        }  # fmt: skip
        await ph.query(models.HogQLQuery(query="SELECT {a}"), {"a": 2})
        assert sent(server.last)["query"]["values"] == {"a": 2}


@pytest.mark.parametrize(
    ("query", "values", "kind", "says"),
    [
        ("", None, ValueError, "empty"),
        ("SELECT {a}", None, ValueError, "no 'a'"),
        ("SELECT {event}", {"evnt": 1}, ValueError, "did you mean 'evnt'"),
        ("SELECT 1", {"a": 1}, ValueError, "no {a}"),
        ("SELECT '{a}'", {"a": 1}, ValueError, "without quotes"),
        ("SELECT {a}", {"a": datetime(2026, 1, 1)}, ValueError, "without a time zone"),
        ("SELECT {a}", {"a": float("nan")}, ValueError, "nan"),
        ("SELECT {a}", {"a": Decimal("inf")}, ValueError, "Infinity"),
        ("SELECT {a}", {"a": b"x"}, TypeError, "decode"),
        ("SELECT {a}", {"a": timedelta(1)}, TypeError, "toIntervalSecond"),
        ("SELECT {a}", {"a": {"b": 1}}, TypeError, "json.dumps"),
        ("SELECT {a}", {"a": [datetime(2026, 1, 1, tzinfo=UTC)]}, TypeError, "of its own"),
        ("SELECT {a}", {"a": object()}, TypeError, "object"),
        ("SELECT {a}", {"a": [Decimal("0.12345678901234567")]}, TypeError, "digits"),
        ("SELECT {a}", {"a": Decimal("1.123456789012345678")}, ValueError, "18 digits"),
        ("SELECT {a}", [1], TypeError, "mapping"),
        ("SELECT {a}", {"a b": 1}, ValueError, "not a valid placeholder name"),
        (7, None, TypeError, "not int"),
        ({"query": "SELECT 1"}, None, ValueError, "kind"),
        ({"kind": "TrendsQuery"}, {"a": 1}, TypeError, "TrendsQuery"),
    ],
)
async def test_invalid_queries(query: Any, values: Any, kind: type[Exception], says: str) -> None:
    server = Server(answer())
    async with client(server) as ph:
        with pytest.raises(kind, match=says):
            await ph.query(query, values)
    assert server.requests == []


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"mode": "fast"}, ValueError, "'auto'"),
        ({"refresh": "force_cache"}, ValueError, "'blocking'"),
        ({"refresh": "soon"}, ValueError, "force_blocking"),
        ({"refresh": "lazy_async", "mode": "blocking"}, ValueError, "contradict"),
        ({"timeout": 0}, ValueError, "more than 0"),
        ({"timeout": "1"}, TypeError, "seconds"),
        ({"name": "x" * 129}, ValueError, "128"),
        ({"name": 7}, TypeError, "str"),
        ({"options": {"time": 1}}, TypeError, "time"),
    ],
)
async def test_arguments(arguments: Any, kind: type[Exception], says: str) -> None:
    server = Server(answer())
    async with client(server) as ph:
        with pytest.raises(kind, match=says):
            await ph.query("SELECT 1", **arguments)
    assert server.requests == []


def cut(rows: int, has_more: bool | None = None) -> httpx.Response:
    return answer(table([["a"]] * rows, ["a"], ["String"], hasMore=has_more))


@pytest.mark.parametrize(
    ("sql", "rows", "has_more", "truncated"),
    [
        ("SELECT a FROM t", 100, True, True),
        ("SELECT a FROM t", 100, False, False),
        ("SELECT a FROM t", 7, False, False),
        ("SELECT a FROM t LIMIT 100", 100, None, False),
        ("SELECT a FROM t LIMIT 50000", 50_000, None, False),
        ("SELECT a FROM t LIMIT 50001", 50_000, None, True),
        ("SELECT a FROM t LIMIT 60000", 50_000, None, True),
        ("SELECT a FROM t LIMIT 60000", 49_999, None, False),
        ("SELECT a FROM (SELECT a FROM t LIMIT 10)", 100, None, True),
        ("SELECT 'LIMIT 200' AS a FROM t -- LIMIT 200", 100, True, True),
        ("SELECT a FROM t LIMIT 3 BY a", 100, True, True),
        ("SELECT a FROM t LIMIT 3 BY a LIMIT 60000", 50_000, None, True),
        ("SELECT a FROM t LIMIT 5 UNION ALL SELECT a FROM t", 105, None, True),
        ("SELECT a FROM t LIMIT 5 UNION ALL SELECT a FROM t LIMIT 200", 205, None, False),
    ],
)
async def test_truncation(sql: str, rows: int, has_more: bool | None, truncated: bool) -> None:
    async with client(Server(cut(rows, has_more))) as ph:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = await ph.query(sql)
    assert result.truncated is truncated
    assert [w.category for w in caught] == [TruncatedResultWarning] * truncated
    if truncated:
        assert f"{rows:,}" in str(caught[0].message)
        assert caught[0].filename == __file__


async def test_truncation_by_a_placeholder_and_of_other_nodes() -> None:
    async with client(Server(cut(50_000))) as ph:
        assert not (await ph.query("SELECT a FROM t LIMIT {n}", {"n": 50_000})).truncated
        with pytest.warns(TruncatedResultWarning, match="50,000"):
            await ph.query("SELECT a FROM t LIMIT {n}", {"n": 80_000})
    async with client(Server(cut(100, True))) as ph:
        with pytest.warns(TruncatedResultWarning):
            await ph.query({"kind": "EventsQuery", "select": ["event"]})
        asked = {"kind": "EventsQuery", "select": ["event"], "limit": 100}
        assert not (await ph.query(asked)).truncated


@pytest.mark.parametrize(
    ("response", "kind", "says", "advice"),
    [
        (error(400, "Unable to resolve field: evnt"), QueryError, "evnt", "column"),
        (error(400, "Syntax error at line 1, column 3"), QueryError, "Syntax", "HogQL"),
        (error(400, "OFFSET is not allowed for API keys"), QueryError, "OFFSET", "key instead"),
        (error(400, "Unknown function foo", "unknown_function"), QueryError, "foo", None),
        (error(500, "Query size exceeded.", "error"), QueryTooLargeError, "size", None),
        (error(513, "Memory limit", "clickhouse_memory_limit_exceeded"), QueryTooLargeError,
         "Memory", "shorter time range"),
        (error(402, "Quota", "api_queries_quota_exceeded"), QuotaError, "Quota", "allowance"),
        (error(403, "API key missing required scope 'query:read'", "permission_denied"),
         PermissionDeniedError, "query:read", "query:read"),
    ],
)  # fmt: skip
async def test_errors(
    response: httpx.Response, kind: type[Exception], says: str, advice: str | None
) -> None:
    server = Server(response)
    async with client(server) as ph:
        with pytest.raises(kind, match=says) as caught:
            await ph.query("SELECT 1")
    assert type(caught.value) is kind
    assert len(server.requests) == 1
    if advice is not None:
        assert advice in str(caught.value).partition("\n")[2]


async def test_no_free_query_slot_is_retried_and_then_raised() -> None:
    busy = error(429, "Exceeded maximum concurrency limit: 3 for key: api:query", "throttled")
    server = Server(busy, answer())
    async with client(server) as ph:
        assert len(await ph.query("SELECT 1")) == 2
    ids = {sent(request)["client_query_id"] for request in server.requests}
    assert (len(server.requests), len(ids)) == (2, 1)
    async with client(Server(busy)) as ph:
        with pytest.raises(RateLimitError, match="three queries"):
            await ph.query("SELECT 1")


async def test_a_response_with_an_error() -> None:
    async with client(Server(answer({"results": [], "error": "Out of luck"}))) as ph:
        with pytest.raises(QueryError, match="Out of luck"):
            await ph.query("SELECT 1")


async def test_permission() -> None:
    server = Server(answer())
    async with client(server, read_only=True) as ph:
        assert len(await ph.query("SELECT 1")) == 2
        narrow = ph.with_options(read_only=False, allow=["feature_flags.*"])
        with pytest.raises(ReadOnlyError, match=r"query\.create"):
            await narrow.query("SELECT 1")
        await ph.with_options(allow=["query.create"]).query("SELECT 1")
    assert len(server.requests) == 2


async def test_options() -> None:
    server = Server(answer())
    async with client(server) as ph:
        options: Any = {"project_id": 9, "headers": {"X-A": "b"}, "body": {"limit_context": "x"}}
        await ph.query("SELECT 1", options=options)
        request = server.last
        assert request.url.path == "/api/projects/9/query/"
        assert request.headers["x-a"] == "b"
        assert sent(request)["limit_context"] == "x"
        await ph.with_options(project_id=4).query("SELECT 1")
        assert server.last.url.path == "/api/projects/4/query/"


async def test_raw_and_dry_run() -> None:
    server = Server(answer())
    async with client(server) as ph:
        preview = await ph.dry_run(
            ph.query, "SELECT {at}", {"at": datetime(2026, 1, 1, tzinfo=UTC)}
        )
        assert (preview.method, preview.operation.id, preview.allowed) == (
            "POST", "query.create", True)  # fmt: skip
        assert preview.body["query"] == {
            "kind": "HogQLQuery",
            "query": "SELECT toDateTime({at})",
            "values": {"at": "2026-01-01T00:00:00Z"},
        }
        assert server.requests == []
        raw = await ph.raw(ph.query, "SELECT 1 LIMIT 2")
        assert (raw.status, raw.json()) == (200, table())
        assert raw.parse().columns == tuple(COLUMNS)
        assert raw.parse().query_id == sent(server.last)["client_query_id"]
        with pytest.raises(TypeError, match="query"):
            await ph.raw(cast("Any", ph.query))
        async with ph.stream(ph.query, "SELECT 1") as streamed:
            assert b"".join([chunk async for chunk in streamed.aiter_bytes()])
        with pytest.raises(TypeError, match="generated method"):
            await cast("Any", ph.raw)(ph.cohorts)


async def test_generated_methods() -> None:
    server = Server(answer({"message": "Query already complete"}))
    async with client(server) as ph:
        assert (await ph.query.cancel("x")).message == "Query already complete"
        server.answers = [answer()]
        created = await ph.query.create(query={"kind": "HogQLQuery", "query": "SELECT 1"})
        assert created["results"] == ROWS
