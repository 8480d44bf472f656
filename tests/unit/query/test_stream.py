"""`ph.query.stream`: every row once, in the order of the key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog import (
    PaginationError,
    PermissionDeniedError,
    QueryError,
    QueryResult,
    QueryTooLargeError,
)
from tests.helpers.fake_transport import Server, client

from .fake_table import Table
from .helpers import answer, error, sent, table

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = {"uuid": "UUID", "timestamp": "DateTime64(6, 'UTC')", "event": "String"}
SQL = "SELECT uuid, timestamp, event FROM events"


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def events(count: int, sharing: int = 1) -> list[list[Any]]:
    """Return unordered events, `sharing` of them at each microsecond."""
    rows: list[list[Any]] = []
    for i in range(count):
        moment = START + timedelta(microseconds=i // sharing)
        rows.append([str(UUID(int=i * 7919 % count + 1)), iso(moment), f"e{i}"])
    return rows[::2] + rows[1::2]


async def read(server: Any, *arguments: Any, **settings: Any) -> list[Any]:
    async with client(server) as ph:
        return [row async for row in ph.query.stream(*arguments, **settings)]


async def test_every_row_once_in_order() -> None:
    server = Table(EVENTS, events(1000, sharing=7))
    rows = await read(server, SQL, ("timestamp", "uuid"), page_size=160)
    server.rows.sort(key=lambda row: (server.order(row, "timestamp"), row[0]))
    assert [row[2] for row in rows] == [row[2] for row in server.rows]
    assert rows[0][1] == START
    # 1,000 rows in pages of 160, one of each shared with the last, and a page that has no more.
    assert len(server.asked) == 8


async def test_what_is_sent() -> None:
    server = Table(EVENTS, events(30))
    sql = f"{SQL} WHERE event != {{e}} ; -- a comment"
    await read(server, sql, values={"e": "x"}, page_size=20, name="nightly")
    first, second, last = server.asked
    assert first["query"] == (
        "SELECT * FROM (\nSELECT uuid, timestamp, event FROM events WHERE event != {e}\n"
        ") ORDER BY uuid LIMIT 20"
    )
    assert first["values"] == {"e": "x"}
    assert second["query"].endswith(") WHERE (uuid >= toUUID({_after_0})) ORDER BY uuid LIMIT 20")
    assert second["values"] == {"e": "x", "_after_0": str(UUID(int=20))}
    assert last["values"] == {"e": "x", "_after_0": str(UUID(int=30))}


async def test_a_composite_key() -> None:
    server = Table(EVENTS, events(30))
    await read(server, SQL, ("timestamp", "uuid"), page_size=20)
    assert server.asked[1]["query"].split("\n) ")[1] == (
        "WHERE (timestamp >= toDateTime({_after_0}) AND (timestamp > toDateTime({_after_0}) OR "
        "(timestamp = toDateTime({_after_0}) AND (uuid >= toUUID({_after_1}))))) "
        "ORDER BY timestamp, uuid LIMIT 20"
    )
    assert server.asked[1]["values"]["_after_0"].startswith("2026-01-01T00:00:00.0000")


async def test_key_values_do_not_shadow_query_values() -> None:
    server = Table(EVENTS, events(30))
    await read(server, f"{SQL} WHERE 1 = {{_after_0}}", values={"_after_0": 1}, page_size=20)
    assert server.asked[1]["values"] == {"_after_0": 1, "__after_0": str(UUID(int=20))}


async def test_pages_and_dicts() -> None:
    server = Table(EVENTS, events(50))
    async with client(server) as ph:
        stream = ph.query.stream(SQL, page_size=20)
        pages = [page async for page in stream.pages()]
        assert all(isinstance(page, QueryResult) and not page.truncated for page in pages)
        assert [len(page) for page in pages] == [20, 19, 11]
        assert pages[1].to_arrow().num_rows == 19
        assert [d["event"] async for d in stream.dicts()] == [row[2] async for row in stream]
        assert repr(stream) == "<QueryStream by uuid>"


@pytest.mark.parametrize(
    ("count", "requests"), [(0, 1), (1, 2), (19, 2), (20, 2), (21, 3), (39, 3)]
)
async def test_ends(count: int, requests: int) -> None:
    server = Table(EVENTS, events(count) if count else [])
    assert len(await read(server, SQL, page_size=20)) == count
    assert len(server.asked) == requests
    async with client(server) as ph:
        pages = [page async for page in ph.query.stream(SQL, page_size=20).pages()]
    assert pages[0].columns == tuple(EVENTS)


@pytest.mark.parametrize("most", [2, 7, 100, 777, 2000])
async def test_a_server_that_returns_fewer_rows_than_requested(most: int) -> None:
    count = min(4500, 20 * most)
    server = Table(EVENTS, events(count), most=most)
    assert len(await read(server, SQL)) == count


async def test_leaving_the_loop_requests_nothing_more() -> None:
    server = Table(EVENTS, events(500))
    async with client(server) as ph:
        async for _ in ph.query.stream(SQL, page_size=20):
            break
    assert len(server.asked) == 1


async def test_nothing_is_sent_before_the_first_row() -> None:
    server = Table(EVENTS, [])
    async with client(server) as ph:
        stream = ph.query.stream(SQL)
        aiter(stream)
        stream.pages()
    assert server.asked == []


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("UInt64", [2**64 - i for i in range(1, 50)]),
        ("Nullable(Int32)", list(range(-20, 20))),
        ("String", [f"it's {i:03}\\" for i in range(40)]),
        ("Date", [f"2026-01-{i:02}" for i in range(1, 31)]),
        ("DateTime('UTC')", [iso(START + timedelta(seconds=i)) for i in range(40)]),
        ("Decimal(18, 4)", [f"{i}.1234" for i in range(10, 50)]),
        ("LowCardinality(FixedString(3))", [f"{i:03}" for i in range(40)]),
    ],
)
async def test_kinds_of_keys(kind: str, values: list[Any]) -> None:
    server = Table({"my key": kind}, [[value] for value in values])
    rows = await read(server, "SELECT k AS `my key` FROM t", "my key", page_size=7)
    assert len(rows) == len(values)
    assert len(set(rows)) == len(values)


async def test_a_key_shared_within_a_page_and_across_one() -> None:
    shared = events(30)
    for at in (5, 19):  # the last of the first page is the 20th
        rows = sorted(shared)
        rows.insert(at, [*rows[at][:2], "twin"])
        with pytest.raises(PaginationError, match="shared by several rows") as caught:
            await read(Table(EVENTS, rows), SQL, page_size=20)
        assert "key=('timestamp', 'uuid')" in (caught.value.suggestion or "")
    with pytest.raises(PaginationError, match="shared"):
        await read(Table(EVENTS, [shared[0]] * 50), SQL, page_size=20)


@pytest.mark.parametrize("at", [0, 29])
async def test_a_key_that_is_null(at: int) -> None:
    """NULL sorts last: only a page whose condition includes it detects it."""
    rows = sorted(events(30))
    rows[at][0] = None
    server = Table({**EVENTS, "uuid": "Nullable(UUID)"}, rows)
    with pytest.raises(PaginationError, match="NULL in some rows") as caught:
        await read(server, SQL, page_size=20)
    assert "IS NOT NULL" in (caught.value.suggestion or "")
    server = Table({**EVENTS, "uuid": "Nullable(UUID)"}, rows)
    with pytest.raises(PaginationError, match=r"\(timestamp, uuid\) is NULL"):
        await read(server, SQL, ("timestamp", "uuid"), page_size=20)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("Float64", 1.5), ("Decimal(38, 2)", "1.00"), ("Array(String)", ["a"]),
     ("Bool", True), ("Unknown", 1), ("Enum8('a' = 1)", "a"),
     ("DateTime64(9, 'UTC')", "2026-01-01T00:00:00.123456789Z")],
)  # fmt: skip
async def test_a_key_that_has_no_exact_order(kind: str, value: Any) -> None:
    with pytest.raises(PaginationError, match="compared exactly"):
        await read(Table({"k": kind}, [[value]]), "SELECT k FROM t", "k")


async def test_timestamps_with_missing_digits() -> None:
    columns = {"timestamp": "DateTime64(6, 'UTC')"}
    exact = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.100000Z"]
    assert len(await read(Table(columns, [[t] for t in exact]), "SELECT 1", "timestamp")) == 2
    with pytest.raises(PaginationError, match="fewer digits") as caught:
        await read(Table(columns, [["2026-01-01T00:00:00.123Z"]]), "SELECT 1", "timestamp")
    assert "toString(timestamp, 'UTC')" in (caught.value.suggestion or "")
    with pytest.raises(PaginationError, match="float"):
        await read(Table({"d": "Decimal(18, 4)"}, [[0.1]]), "SELECT 1", "d")


async def test_a_key_that_is_not_a_column() -> None:
    with pytest.raises(PaginationError, match="'id' is not one of the columns: uuid") as caught:
        await read(Server(answer(table([], ["uuid"], ["UUID"]))), "SELECT uuid FROM t", "id")
    assert "key=" in (caught.value.suggestion or "")


@pytest.mark.parametrize(
    ("sql", "key", "settings", "kind", "says"),
    [
        ("SELECT 1 LIMIT 5", "k", {}, ValueError, "LIMIT"),
        ("SELECT 1 LIMIT 5 OFFSET 3", "k", {}, ValueError, "LIMIT"),
        ("SELECT 1 ORDER BY a", "k", {}, ValueError, "ORDER BY"),
        ("SELECT {a}", "k", {}, ValueError, "no 'a'"),
        ("", "k", {}, ValueError, "empty"),
        (7, "k", {}, TypeError, "str"),
        ("SELECT 1", "", {}, ValueError, "column"),
        ("SELECT 1", (), {}, TypeError, "column"),
        ("SELECT 1", 7, {}, TypeError, "column"),
        ("SELECT 1", ("a", 7), {}, TypeError, "column"),
        ("SELECT 1", ("a", "a"), {}, ValueError, "twice"),
        ("SELECT 1", "a`; DROP", {}, ValueError, "column"),
        ("SELECT 1", "k", {"page_size": 1}, ValueError, "50,000"),
        ("SELECT 1", "k", {"page_size": 50_001}, ValueError, "50,000"),
        ("SELECT 1", "k", {"page_size": 5.0}, TypeError, "int"),
        ("SELECT 1", "k", {"timeout": -1}, ValueError, "timeout"),
        ("SELECT 1", "k", {"name": "x" * 200}, ValueError, "128"),
    ],
)
async def test_arguments(
    sql: Any, key: Any, settings: Any, kind: type[Exception], says: str
) -> None:
    async with client(Server(answer())) as ph:
        with pytest.raises(kind, match=says):
            ph.query.stream(sql, key, **settings)


async def test_pages_that_are_too_large_are_reduced() -> None:
    def refuse(server: Table, number: int) -> httpx.Response | None:
        size = int(server.asked[-1]["query"].rpartition(" ")[2])
        return error(513, "Memory", "clickhouse_memory_limit_exceeded") if size > 2500 else None

    def always(server: Table, number: int) -> httpx.Response:
        return error(513, "Memory", "clickhouse_memory_limit_exceeded")

    server = Table(EVENTS, events(6000), before=refuse)
    assert len(await read(server, SQL, page_size=8000)) == 6000
    sizes = [int(node["query"].rpartition(" ")[2]) for node in server.asked]
    assert sizes == [8000, 4000, 2000, 2000, 2000, 2000, 2000]
    server = Table(EVENTS, events(10), before=always)
    with pytest.raises(QueryTooLargeError):
        await read(server, SQL)
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (error(400, "Unable to resolve field: x"), QueryError),
        (error(403, "API key missing required scope 'query:read'", "permission_denied"),
         PermissionDeniedError),
    ],
)  # fmt: skip
async def test_errors(response: httpx.Response, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await read(Server(response), SQL)


async def test_an_error_in_the_middle_loses_nothing() -> None:
    def fail(server: Table, number: int) -> httpx.Response | None:
        return error(400, "Not today") if number == 2 else None

    server = Table(EVENTS, events(50), before=fail)
    async with client(server) as ph:
        rows = aiter(ph.query.stream(SQL, page_size=20))
        seen = [await anext(rows) for _ in range(20)]
        with pytest.raises(QueryError):
            await anext(rows)
        seen += [row async for row in rows]  # It continues where it stopped.
    assert len(seen) == len(set(seen)) == 50


async def test_cancelling_in_the_middle() -> None:
    server = Table(EVENTS, events(500))
    seen: list[Any] = []
    async with client(server) as ph:
        with anyio.CancelScope() as scope:
            async for row in ph.query.stream(SQL, page_size=20):
                seen.append(row)
                if len(seen) == 30:
                    scope.cancel()
    assert 30 <= len(seen) < 60


async def test_each_page_is_computed_now() -> None:
    requests: list[Any] = []
    inner = Table(EVENTS, events(30))

    async def look(request: httpx.Request) -> httpx.Response:
        requests.append(sent(request))
        return await inner(request)

    await read(look, SQL, page_size=20, name="n")
    assert [(r["refresh"], r["name"]) for r in requests] == [("force_blocking", "n")] * 3


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), unique=True, max_size=40),
    st.integers(2, 9),
    st.integers(2, 60),
)
def test_no_row_is_lost_or_repeated(keys: list[tuple[int, int]], page_size: int, most: int) -> None:
    """For any shared timestamps, and any page boundaries."""
    rows = [[iso(START + timedelta(microseconds=at)), str(UUID(int=i))] for at, i in keys]
    server = Table({"timestamp": "DateTime64(6, 'UTC')", "uuid": "UUID"}, rows)

    async def run() -> list[Any]:
        return await read(server, "SELECT 1", ("timestamp", "uuid"), page_size=page_size)

    found = anyio.run(run)
    assert found == [(START + timedelta(microseconds=at), UUID(int=i)) for at, i in sorted(keys)]
