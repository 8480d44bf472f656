"""Background queries, and cancellation of queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import (
    ConnectionError,  # noqa: A004
    DecodeError,
    NotFoundError,
    QueryError,
    QueryProgress,
    QueryTooLargeError,
    RateLimitError,
    TimeoutError,  # noqa: A004
)
from tests.helpers.fake_transport import Server, client
from tests.helpers.manual_clock import ManualClock

from .helpers import PATH, ROWS, answer, done, error, sent, status, table

pytestmark = pytest.mark.anyio

GONE = error(404, "Query job not found for team 1", "not_found")
SLOW = error(504, "Query took too long", "error")


def calls(server: Server) -> list[str]:
    return [f"{r.method} {r.url.path.removeprefix(PATH)}" for r in server.requests]


def accepted(request: httpx.Request) -> httpx.Response:
    """Accept a query under its client query id, like the server."""
    return status(sent(request)["client_query_id"])


async def test_submit_poll_fetch() -> None:
    clock = ManualClock(chance=0.5)
    server = Server(accepted, status(), status(), done())
    async with client(server, clock=clock) as ph:
        result = await ph.query("SELECT 1 LIMIT 5", mode="async")
    assert result.results == ROWS
    query_id = sent(server.requests[0])["client_query_id"]
    assert calls(server) == ["POST ", *[f"GET {query_id}/"] * 3]
    assert sent(server.requests[0])["refresh"] == "force_async"
    assert clock.slept == [0.5, 0.75, 1.125]
    assert all(not request.url.query for request in server.requests[1:])
    assert result.query_id == query_id
    assert result.raw["query_status"] is None


async def test_polling_is_frugal() -> None:
    clock = ManualClock(chance=1.0)
    polls = [status()] * 80
    server = Server(accepted, *polls, done())
    async with client(server, clock=clock) as ph:
        await ph.query("SELECT 1 LIMIT 5", mode="async")
    assert max(clock.slept) == 10.0
    assert sum(clock.slept) > 600


@pytest.mark.parametrize(
    ("refresh", "sends"),
    [("force_blocking", "force_async"), ("blocking", "async"), ("lazy_async", "lazy_async"),
     ("async_except_on_cache_miss", "async_except_on_cache_miss")],
)  # fmt: skip
async def test_refresh_in_the_background(refresh: Any, sends: str) -> None:
    server = Server(accepted, done())
    async with client(server) as ph:
        await ph.query("SELECT 1 LIMIT 5", mode="async", refresh=refresh)
    assert sent(server.requests[0])["refresh"] == sends


async def test_a_cached_result_needs_no_poll() -> None:
    finished = table(is_cached=True, query_status={"id": "x", "complete": True, "results": None})
    for body in (table(is_cached=True), finished):
        server = Server(answer(body))
        async with client(server) as ph:
            result = await ph.query("SELECT 1 LIMIT 5", mode="async", refresh="blocking")
        assert (result.is_cached, len(server.requests)) == (True, 1)


async def test_a_stale_result_is_not_returned_for_the_new_one() -> None:
    stale = table([["old"]], ["a"], ["String"], query_status={"id": "job", "complete": False})
    fresh = table([["new"]], ["a"], ["String"])
    server = Server(answer(stale, 202), status(), done(results=fresh))
    async with client(server) as ph:
        result = await ph.query("SELECT a FROM t LIMIT 5", mode="async", refresh="blocking")
    assert result.scalar() == "new"
    assert calls(server) == ["POST ", "GET job/", "GET job/"]


async def test_complete_at_once() -> None:
    async with client(server := Server(done())) as ph:
        assert len(await ph.query("SELECT 1 LIMIT 5", mode="async")) == 2
    assert len(server.requests) == 1
    async with client(server := Server(status(complete=True), done())) as ph:
        assert len(await ph.query("SELECT 1 LIMIT 5", mode="async")) == 2
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [400, 500, 200])
async def test_a_job_that_failed(code: int) -> None:
    failed = status(code=code, complete=True, error=True, error_message="Unknown table foo")
    server = Server(accepted, failed)
    async with client(server) as ph:
        with pytest.raises(QueryError, match="Unknown table foo") as caught:
            await ph.query("SELECT 1 FROM foo", mode="async")
    assert len(server.requests) == 2  # Polled once: the query has failed.
    assert caught.value.operation == "query.get"
    assert "tables" in (caught.value.suggestion or "") or code == 500


async def test_a_job_that_failed_without_a_message() -> None:
    failed = status(code=500, complete=True, error=True)
    async with client(Server(accepted, failed)) as ph:
        with pytest.raises(QueryError, match="The query failed"):
            await ph.query("SELECT 1", mode="async")
    async with client(
        Server(status(complete=True, error=True, error_message="phx_abcdefgh"))
    ) as ph:
        with pytest.raises(QueryError, match=r"phx_\*\*\*"):
            await ph.query("SELECT 1", mode="async")


async def test_an_empty_result_is_not_a_lost_job() -> None:
    server = Server(accepted, GONE, accepted, status(), done())
    async with client(server) as ph:
        assert len(await ph.query("SELECT 1 LIMIT 5", mode="async")) == 2
    first, second = (sent(r)["client_query_id"] for r in server.requests if r.method == "POST")
    assert first != second
    assert calls(server) == [
        "POST ", f"GET {first}/", "POST ", f"GET {second}/", f"GET {second}/",
    ]  # fmt: skip


async def test_a_job_that_expires_twice() -> None:
    server = Server(accepted, GONE, accepted, GONE)
    async with client(server) as ph:
        with pytest.raises(QueryError, match="both times") as caught:
            await ph.query("SELECT 1", mode="async")
    assert caught.value.status == 404
    assert len(server.requests) == 4


async def test_a_missing_project_is_not_a_lost_job() -> None:
    server = Server(error(404, "Project not found.", "not_found"))
    async with client(server) as ph:
        for mode in ("async", "blocking", "auto"):
            with pytest.raises(NotFoundError):
                await ph.query("SELECT 1", mode=mode)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "odd", [answer([]), answer({"query_status": None}), answer({"query_status": [1]}), answer("x")]
)
async def test_an_invalid_query_status(odd: httpx.Response) -> None:
    async with client(Server(accepted, odd)) as ph:
        with pytest.raises(DecodeError):
            await ph.query("SELECT 1", mode="async")


async def test_progress() -> None:
    told: list[QueryProgress] = []
    read = {"rows_read": 50, "estimated_rows_total": 200, "bytes_read": 999, "time_elapsed": 3}
    running = status(pickup_time="2026-01-01T00:00:00Z", query_progress=read)
    server = Server(accepted, status(), running, done())
    clock = ManualClock(chance=0.5)

    async def slow(progress: QueryProgress) -> None:
        await anyio.lowlevel.checkpoint()
        told.append(progress)

    async with client(server, clock=clock) as ph:
        await ph.query("SELECT 1 LIMIT 5", mode="async", on_progress=slow)
    query_id = sent(server.requests[0])["client_query_id"]
    assert all(r.url.query == b"show_progress=true" for r in server.requests[1:])
    assert [(p.started, p.rows_read, p.elapsed) for p in told] == [
        (False, 0, 0.0), (False, 0, 0.5), (True, 50, 1.25), (False, 0, 2.375),
    ]  # fmt: skip
    assert told[2].rows_total == 200
    assert told[2].bytes_read == 999
    assert {p.query_id for p in told} == {query_id}
    seen: list[QueryProgress] = []
    async with client(Server(accepted, done())) as ph:
        await ph.query("SELECT 1 LIMIT 5", mode="async", on_progress=seen.append)
    assert len(seen) == 2


@pytest.mark.parametrize("code", [504, 512])
async def test_auto_continues_in_the_background(code: int) -> None:
    slow = error(code, "Estimated query execution time (30 seconds) is too long.", "error")
    server = Server(slow, accepted, done())
    async with client(server) as ph:
        assert len(await ph.query("SELECT 1 LIMIT 5")) == 2
    blocking, background = map(sent, server.requests[:2])
    assert (blocking["refresh"], background["refresh"]) == ("force_blocking", "force_async")
    assert blocking["client_query_id"] != background["client_query_id"]
    assert [r.method for r in server.requests] == ["POST", "POST", "GET"]
    server = Server(slow)
    async with client(server) as ph:
        with pytest.raises(QueryTooLargeError):
            await ph.query("SELECT 1", mode="blocking")
    assert len(server.requests) == 1


async def test_auto_does_not_repeat_a_query_that_is_too_large() -> None:
    server = Server(error(513, "Memory limit", "clickhouse_memory_limit_exceeded"))
    async with client(server) as ph:
        with pytest.raises(QueryTooLargeError):
            await ph.query("SELECT 1")
    assert len(server.requests) == 1


async def test_auto_after_a_client_timeout() -> None:
    server = Server(httpx.ReadTimeout("slow"), answer({"message": "ok"}), accepted, done())
    async with client(server) as ph:
        assert len(await ph.query("SELECT 1 LIMIT 5")) == 2
    query_id = sent(server.requests[0])["client_query_id"]
    # A query that may still be running is cancelled first, to free its slot.
    assert [r.method for r in server.requests] == ["POST", "DELETE", "POST", "GET"]
    assert calls(server)[1] == f"DELETE {query_id}/"


async def test_a_timeout_is_not_repeated_and_cancels() -> None:
    server = Server(httpx.ReadTimeout("slow"), answer({"message": "ok"}))
    async with client(server) as ph:
        with pytest.raises(TimeoutError):
            await ph.query("SELECT 1", mode="blocking")
    assert [r.method for r in server.requests] == ["POST", "DELETE"]


async def test_a_query_that_was_not_sent_is_retried_and_not_cancelled() -> None:
    server = Server(httpx.ConnectTimeout("no"), answer())
    async with client(server) as ph:
        assert len(await ph.query("SELECT 1 LIMIT 5")) == 2
    server = Server(httpx.ConnectError("no"))
    async with client(server) as ph:
        with pytest.raises(ConnectionError):
            await ph.query("SELECT 1")
    assert {r.method for r in server.requests} == {"POST"}


async def test_timeout_while_polling() -> None:
    clock = ManualClock(chance=0.5)
    polls: list[Any] = [status()] * 4
    server = Server(accepted, *polls, answer({"message": "ok"}))
    async with client(server, clock=clock) as ph:
        with pytest.raises(TimeoutError, match="longer than 3 s") as caught:
            await ph.query("SELECT 1", mode="async", timeout=3)
    assert caught.value.deadline_exceeded
    assert "timeout=" in (caught.value.suggestion or "")
    assert clock.now == 1003.0
    query_id = sent(server.requests[0])["client_query_id"]
    assert calls(server)[-1] == f"DELETE {query_id}/"


async def test_the_deadline_of_the_client_counts_too() -> None:
    clock = ManualClock(chance=0.5)
    polls: list[Any] = [status()] * 3
    server = Server(accepted, *polls, answer({"message": "ok"}))
    async with client(server, clock=clock, deadline=2) as ph:
        with pytest.raises(TimeoutError, match="longer than 2 s"):
            await ph.query("SELECT 1", mode="async")
    assert clock.now == 1002.0


async def test_a_longer_timeout_lets_one_attempt_take_longer() -> None:
    seen: list[float] = []

    def look(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"]["read"])
        return answer()

    async with client(Server(look), timeout=60, limits=False) as ph:
        await ph.query("SELECT 1 LIMIT 5", mode="blocking", timeout=300)
        await ph.query("SELECT 1 LIMIT 5", timeout=300)
        await ph.query("SELECT 1 LIMIT 5", mode="blocking")
    assert seen == [300, 60, 60]


class Hanging:
    """A server that never responds to requests for which `hangs` is true."""

    def __init__(self, hangs: Callable[[httpx.Request], bool], *answers: Any) -> None:
        self.hangs = hangs
        self.server = Server(*answers)
        self.reached = anyio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.hangs(request):
            self.server.requests.append(request)
            self.reached.set()
            await anyio.sleep_forever()
        return await self.server(request)


async def _cancelled(hanging: Hanging, **arguments: Any) -> list[httpx.Request]:
    async with client(hanging) as ph, anyio.create_task_group() as group:

        async def run() -> None:
            await ph.query("SELECT 1", **arguments)

        group.start_soon(run)
        await hanging.reached.wait()
        group.cancel_scope.cancel()
    return hanging.server.requests


async def test_cancelling_the_task_cancels_the_query() -> None:
    hanging = Hanging(lambda r: r.method == "POST", answer({"message": "ok"}))
    post, delete = await _cancelled(hanging)
    assert delete.method == "DELETE"
    assert delete.url.path == f"{PATH}{sent(post)['client_query_id']}/"


async def test_cancelling_the_task_cancels_the_job() -> None:
    hanging = Hanging(lambda r: r.method == "GET", accepted, answer({"message": "ok"}))
    post, _, delete = await _cancelled(hanging, mode="async")
    assert delete.method == "DELETE"
    assert delete.url.path == f"{PATH}{sent(post)['client_query_id']}/"


async def test_an_error_of_the_cancellation_is_ignored() -> None:
    hanging = Hanging(lambda r: r.method == "POST", error(500, "no", "error"))
    requests = await _cancelled(hanging)
    assert [r.method for r in requests] == ["POST", "DELETE"]


async def test_a_query_that_was_not_sent_is_not_cancelled() -> None:
    """Five of eight queries wait for a slot: cancelling them would waste requests."""
    hanging = Hanging(lambda r: r.method == "POST", answer({"message": "ok"}))
    async with client(hanging, limits={}) as ph, anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ph.query, "SELECT 1")
        while len(hanging.server.requests) < 3:
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    methods = [r.method for r in hanging.server.requests]
    assert (methods.count("POST"), methods.count("DELETE")) == (3, 3)


async def test_polling_that_is_throttled() -> None:
    busy = httpx.Response(
        429, json={"type": "throttled_error", "code": "throttled", "detail": "x"},
        headers={"Retry-After": "7"},
    )  # fmt: skip
    clock = ManualClock()
    server = Server(accepted, busy, done())
    async with client(server, clock=clock) as ph:
        assert len(await ph.query("SELECT 1 LIMIT 5", mode="async")) == 2
    assert 7 in clock.slept
    with pytest.raises(RateLimitError):
        async with client(Server(accepted, busy)) as ph:
            await ph.query("SELECT 1", mode="async", timeout=5)


async def test_polling_of_an_allowed_query_is_allowed() -> None:
    server = Server(accepted, done())
    async with client(server, allow=["query.create"]) as ph:
        assert len(await ph.query("SELECT 1 LIMIT 5", mode="async")) == 2


async def test_extra_query_and_body_apply_to_the_query_alone() -> None:
    server = Server(accepted, done())
    async with client(server) as ph:
        options: Any = {"query": {"x": 1}, "body": {"limit_context": "y"}, "headers": {"X-A": "b"}}
        await ph.query("SELECT 1 LIMIT 5", mode="async", options=options)
    post, get = server.requests
    assert (post.url.query, sent(post)["limit_context"]) == (b"x=1", "y")
    assert (get.url.query, get.content, get.headers["x-a"]) == (b"", b"", "b")


async def test_a_query_that_fails_at_submission_is_not_polled() -> None:
    server = Server(SLOW)
    async with client(server) as ph:
        with pytest.raises(QueryTooLargeError):
            await ph.query("SELECT 1")
    assert [r.method for r in server.requests] == ["POST", "POST"]
