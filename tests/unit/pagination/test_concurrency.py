"""Pages fetched concurrently, errors and cancellation, on both event loops."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from asyncposthog.errors import DecodeError, PaginationWarning
from asyncposthog.pagination import cursor
from tests.helpers.paged_servers import (
    Gate,
    NumberServer,
    OffsetServer,
    drain,
    listing,
    operation,
    things,
)

both_loops = pytest.mark.anyio


@both_loops
async def test_concurrent_pages_come_in_order_and_no_more_than_n_at_once() -> None:
    server = Gate(things(95))
    seen: list[Any] = []
    async with anyio.create_task_group() as group:
        listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=4)
        group.start_soon(drain, listed, seen)
        await anyio.wait_all_tasks_blocked()
        assert (server.running, len(seen)) == (4, 10)
        server.open.set()
    assert seen == things(95)
    assert server.most == 4
    assert len(server.queries) == 10


@both_loops
@pytest.mark.parametrize("count", [0, 1, 4, 30, 32])
async def test_numbered_pages_come_in_order(count: int) -> None:
    server = NumberServer(things(count))
    listed = cursor(server, operation("page"), concurrency=3)
    assert await listed.collect() == things(count)
    assert len(server.queries) == max(1, -(-count // 4))  # none past the end
    assert await listed.collect(9) == things(count)[:9]


@both_loops
async def test_numbered_pages_that_are_not_full_are_requested_one_by_one() -> None:
    class Filtering(NumberServer):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            page = super().answer(query, body)
            return {**page, "results": page["results"][1:]}  # filtered after it was cut

    server = Filtering(things(16))
    with pytest.warns(PaginationWarning):
        found = [item async for item in cursor(server, operation("page"), concurrency=3)]
    assert found == [thing for thing in things(16) if thing["id"] % 4]


@both_loops
async def test_leaving_a_loop_leaks_nothing() -> None:
    server = Gate(things(95))
    server.open.set()
    async for item in cursor(server, operation("offset"), {"limit": 10}, concurrency=4):
        if item["id"] == 12:
            break
    assert server.running == 0
    asked = len(server.queries)
    gc.collect()  # an unfinished async generator would warn here
    await anyio.wait_all_tasks_blocked()
    assert len(server.queries) == asked == 5


@both_loops
async def test_an_iteration_can_be_closed() -> None:
    listed = cursor(OffsetServer(things(95)), operation("offset"), {"limit": 10}, concurrency=4)
    async with contextlib.aclosing(aiter(listed)) as iteration:
        assert await anext(iteration) == {"id": 0}
    assert [item async for item in iteration] == []


@both_loops
async def test_cancelling_ends_every_request() -> None:
    server = Gate(things(95))
    seen: list[Any] = []
    async with anyio.create_task_group() as group:
        listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=4)
        group.start_soon(drain, listed, seen)
        await anyio.wait_all_tasks_blocked()
        assert server.running == 4
        group.cancel_scope.cancel()
    assert server.running == 0
    assert seen == things(10)


@both_loops
async def test_a_cancelled_iteration_can_be_continued() -> None:
    server = Gate(things(30))
    iteration = aiter(cursor(server, operation("offset"), {"limit": 10}, concurrency=4))
    seen = [await anext(iteration) for _ in range(10)]
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anext(iteration)
    assert scope.cancelled_caught
    server.open.set()
    await drain(iteration, seen)
    assert seen == things(30)


@both_loops
async def test_two_tasks_cannot_share_an_iteration() -> None:
    server = Gate(things(30))
    iteration = aiter(listing(server, operation("offset"), {"limit": 10}))
    for _ in range(10):
        await anext(iteration)
    async with anyio.create_task_group() as group:
        group.start_soon(drain, iteration, [])
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="another task"):
            await anext(iteration)
        server.open.set()


@pytest.mark.parametrize("concurrency", [1, 4])
@both_loops
async def test_an_error_is_raised_itself_cancels_the_others_and_can_be_retried(
    concurrency: int,
) -> None:
    class Failing(Gate):
        broken = True

        async def __call__(self, query: Mapping[str, Any] | None, body: Any) -> bytes:
            if self.broken and (query or {}).get("offset") in ("20", 20):
                raise ConnectionResetError("gone")
            return await super().__call__(query, body)

    server = Failing(things(95))
    if concurrency == 1:
        server.open.set()
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=concurrency)
    iteration = aiter(listed)
    seen: list[Any] = []
    with pytest.raises(ConnectionResetError, match="gone"):
        await drain(iteration, seen)
    assert server.running == 0
    assert seen == things(20 if concurrency == 1 else 10)
    server.broken = False
    server.open.set()
    await drain(iteration, seen)
    assert seen == things(95)


@both_loops
async def test_a_list_that_grows_meanwhile_is_followed_to_its_new_end() -> None:
    class Growing(OffsetServer):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            answer = super().answer(query, body)
            if len(self.queries) == 3:
                self.items += [{"id": n} for n in range(50, 75)]
            return answer

    server = Growing(things(50))
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=3)
    with pytest.warns(PaginationWarning, match="count changed from 50 to 75"):
        assert await listed.collect() == things(75)


@both_loops
async def test_pages_that_turn_out_smaller_are_followed_from_there() -> None:
    class Clamping(OffsetServer):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            if len(self.queries) > 2:
                self.largest = 4
            return super().answer(query, body)

    server = Clamping(things(50))
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=3)
    assert await listed.collect() == things(50)


@both_loops
async def test_pages_with_overlaps_are_requested_one_by_one() -> None:
    class Filtering(Gate):
        """A server that filters after counting, so that pages are short."""

        def answer(self, query: dict[str, Any], body: Any) -> Any:
            answer = super().answer(query, body)
            answer["results"] = [i for i in answer["results"] if i["id"] % 10 != 9]
            return answer

    server = Filtering(things(35))
    server.open.set()
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=4)
    with pytest.warns(PaginationWarning, match="ended after 32 items, and the server counts 35"):
        found = await listed.collect()
    assert found == [i for i in things(35) if i["id"] % 10 != 9]
    assert server.most == 1


@both_loops
async def test_a_count_too_small_is_not_the_end() -> None:
    class Estimating(OffsetServer):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            return {**super().answer(query, body), "count": 25}

    server = Estimating(things(90))
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=4)
    assert await listed.collect() == things(90)


@both_loops
async def test_without_a_count_pages_are_followed_one_by_one() -> None:
    server = Gate(things(35))
    server.open.set()
    server.with_count = False
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=4)
    assert await listed.collect() == things(35)
    assert server.most == 1


@both_loops
async def test_a_truncated_response_is_an_error() -> None:
    class Cut(OffsetServer):
        async def __call__(self, query: Mapping[str, Any] | None, body: Any) -> bytes:
            content = await super().__call__(query, body)
            return content if len(self.queries) == 1 else content[:-20]

    seen: list[Any] = []
    with pytest.raises(DecodeError, match="not JSON"):
        await drain(listing(Cut(things(30)), operation("offset"), {"limit": 10}), seen)
    assert seen == things(10)
