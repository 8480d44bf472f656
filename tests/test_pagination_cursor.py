"""What a cursor promises to its user, with and without concurrency, on both event loops."""

from __future__ import annotations

import contextlib
import gc
import json
import pickle
from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.errors import DecodeError, PaginationError
from asyncposthog.operation import Operation, PageStyle
from asyncposthog.pagination import Page, cursor
from asyncposthog.types import OMIT
from tests.paging_servers import (
    CursorServer,
    EventServer,
    Fixed,
    LogServer,
    NumberServer,
    OffsetServer,
    PersonsServer,
    RecordingServer,
    Server,
    drain,
    events,
    listing,
    operation,
    page_of,
    things,
)

both_loops = pytest.mark.anyio


class Gate(OffsetServer):
    """Holds requests until they are let through, and counts those that wait."""

    def __init__(self, items: list[Any]) -> None:
        super().__init__(items)
        self.open = anyio.Event()
        self.running = 0
        self.most = 0
        self.finished = 0

    async def __call__(self, query: Mapping[str, Any] | None, body: Any) -> bytes:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if (query or {}).get("offset"):
                await self.open.wait()
            await anyio.lowlevel.checkpoint()
            self.finished += 1
            return await super().__call__(query, body)
        finally:
            self.running -= 1


@both_loops
async def test_nothing_is_sent_before_it_is_awaited() -> None:
    server = OffsetServer(things(3))
    listed = listing(server, operation("offset"))
    assert server.queries == []
    assert repr(listed) == "<Cursor: things.list>"
    await listed
    assert len(server.queries) == 1


@both_loops
async def test_a_page_is_a_sequence_of_its_own_items() -> None:
    page = await listing(OffsetServer(things(5)), operation("offset"), {"limit": 2})
    assert isinstance(page, Page)
    assert page.items == list(page) == things(2)
    assert (len(page), page[1], page[-1:], page.count) == (2, {"id": 1}, [{"id": 1}], 5)
    assert list(reversed(page)) == [{"id": 1}, {"id": 0}]
    assert {"id": 0} in page
    assert {"id": 4} not in page
    assert page.raw["results"] == things(2)
    assert repr(page) == "<Page: 2 of 5 items>"


@both_loops
async def test_pages_can_be_followed_by_hand() -> None:
    server = OffsetServer(things(5))
    page: Page[Any] | None = await listing(server, operation("offset"), {"limit": 2})
    seen: list[Any] = []
    while page is not None:
        seen += page
        page = await page.next_page() if page.has_next else None
    assert seen == things(5)
    assert len(server.queries) == 3


@both_loops
async def test_the_same_next_page_may_be_asked_for_twice() -> None:
    page = await listing(OffsetServer(things(5)), operation("offset"), {"limit": 2})
    again = [await page.next_page(), await page.next_page()]
    assert [list(p) for p in again if p] == [things(4)[2:], things(4)[2:]]


@both_loops
async def test_after_the_last_page_there_is_none_and_nothing_is_sent() -> None:
    server = OffsetServer(things(2))
    page = await listing(server, operation("offset"))
    assert not page.has_next
    assert page.state is None
    assert await page.next_page() is None
    assert len(server.queries) == 1


@both_loops
async def test_iterating_again_starts_over() -> None:
    server = OffsetServer(things(3))
    listed = listing(server, operation("offset"), {"limit": 2})
    assert [i async for i in listed] == [i async for i in listed] == things(3)
    assert len(server.queries) == 4


@both_loops
async def test_pages() -> None:
    listed = listing(OffsetServer(things(5)), operation("offset"), {"limit": 2})
    assert [len(page) async for page in listed.pages()] == [2, 2, 1]


@both_loops
async def test_collect_requests_no_more_than_it_needs() -> None:
    server = OffsetServer(things(50))
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=5)
    assert await listed.collect(0) == []
    assert server.queries == []
    assert await listed.collect(25) == things(25)
    assert len(server.queries) == 3
    assert await listed.collect() == things(50)


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (True, TypeError), ("1", TypeError)]
)
@both_loops
async def test_collect_refuses_what_is_no_number_of_items(value: Any, error: Any) -> None:
    with pytest.raises(error, match="max"):
        await listing(OffsetServer([]), operation("offset")).collect(value)


@both_loops
async def test_first() -> None:
    server = OffsetServer(things(50))
    assert await listing(server, operation("offset")).first() == {"id": 0}
    assert await listing(OffsetServer([]), operation("offset")).first() is None
    late = Fixed(page_of(next="?cursor=a"), page_of(7, next=None))
    assert await listing(late, operation("cursor")).first() == {"id": 7}


SERVERS: dict[PageStyle, tuple[type[Server], Any]] = {
    "offset": (OffsetServer, OMIT),
    "persons": (PersonsServer, OMIT),
    "cursor": (CursorServer, OMIT),
    "page": (NumberServer, OMIT),
    "events": (EventServer, OMIT),
    "recordings": (RecordingServer, OMIT),
    "body_cursor": (LogServer, {"query": {}}),
}


@pytest.mark.parametrize("style", SERVERS)
@both_loops
async def test_a_list_can_be_resumed_from_what_a_page_said(style: PageStyle) -> None:
    make, body = SERVERS[style]
    items = events(13) if style == "events" else things(13)
    query = {} if style in ("cursor", "page", "body_cursor") else {"limit": 4}
    seen: list[Any] = []
    state: Any = {}
    while state is not None:
        # A fresh cursor for each page, as after a restart.
        listed = cursor(make(items), operation(style), query, body).resume(state)
        page = await listed
        seen += page
        state = json.loads(json.dumps(page.state))
    assert seen == items


@both_loops
async def test_a_resumed_list_can_be_fetched_side_by_side() -> None:
    server = OffsetServer(things(95))
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=4)
    page = await listed
    assert page.state is not None
    assert await listed.resume(page.state).collect() == things(95)[10:]


@pytest.mark.parametrize("state", [{"query": 5}, {"after": 5}])
def test_resuming_from_something_else_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match=r"page\.state"):
        listing(OffsetServer([]), operation("offset")).resume(state)


@pytest.mark.parametrize(
    ("query", "concurrency", "error", "message"),
    [
        ({}, 0, ValueError, "concurrency"),
        ({}, -1, ValueError, "concurrency"),
        ({}, True, TypeError, "concurrency"),
        ({}, 1.5, TypeError, "concurrency"),
        ({}, "2", TypeError, "concurrency"),
        ({"limit": 0}, 1, ValueError, "limit"),
        ({"limit": -5}, 1, ValueError, "limit"),
        ({"limit": 2.5}, 1, TypeError, "limit"),
        ({"limit": True}, 1, TypeError, "limit"),
        ({"offset": -1}, 1, ValueError, "offset"),
        ({"page": 0}, 1, ValueError, "page"),
        ({"page_size": 0}, 1, ValueError, "page_size"),
    ],
)
def test_wrong_numbers_are_refused_at_once(
    query: Any, concurrency: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        cursor(OffsetServer([]), operation("offset"), query, concurrency=concurrency)


@pytest.mark.parametrize(
    "style", ["persons", "cursor", "page", "events", "recordings", "body_cursor", "single"]
)
def test_only_offsets_can_be_fetched_side_by_side(style: PageStyle) -> None:
    with pytest.raises(ValueError, match="side by side"):
        cursor(OffsetServer([]), operation(style), concurrency=2)
    cursor(OffsetServer([]), operation(style), concurrency=1)


def test_an_operation_without_pages_has_no_cursor() -> None:
    op = Operation(id="things.get", method="GET", path="/api/things/")
    with pytest.raises(ValueError, match="pages"):
        cursor(OffsetServer([]), op)


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
async def test_breaking_out_leaves_nothing_behind() -> None:
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
async def test_a_cancelled_iteration_goes_on_where_it_stood() -> None:
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
async def test_an_answer_cut_short_is_an_error_and_not_the_end() -> None:
    class Cut(OffsetServer):
        async def __call__(self, query: Mapping[str, Any] | None, body: Any) -> bytes:
            content = await super().__call__(query, body)
            return content if len(self.queries) == 1 else content[:-20]

    seen: list[Any] = []
    with pytest.raises(DecodeError, match="not JSON"):
        await drain(listing(Cut(things(30)), operation("offset"), {"limit": 10}), seen)
    assert seen == things(10)


datasets = st.integers(0, 60).map(things)


@given(
    items=datasets,
    limit=st.none() | st.integers(1, 30),
    largest=st.integers(1, 30),
    concurrency=st.integers(1, 6),
    start=st.none() | st.integers(0, 70),
    with_next=st.booleans(),
    with_count=st.booleans(),
)
def test_any_dataset_by_offset_comes_whole_and_in_order(
    items: list[Any],
    limit: int | None,
    largest: int,
    concurrency: int,
    start: int | None,
    with_next: bool,
    with_count: bool,
) -> None:
    server = OffsetServer(items)
    server.largest = largest
    server.with_next = with_next
    server.with_count = with_count or not with_next
    query = {
        "limit": OMIT if limit is None else limit,
        "offset": OMIT if start is None else start,
    }
    listed = cursor(server, operation("offset"), query, concurrency=concurrency)
    assert anyio.run(listed.collect) == items[start or 0 :]


@given(items=datasets, limit=st.integers(1, 30))
def test_any_dataset_of_persons_comes_whole_and_in_order(items: list[Any], limit: int) -> None:
    listed = cursor(PersonsServer(items), operation("persons"), {"limit": limit})
    assert anyio.run(listed.collect) == items


@given(number=st.integers(0, 40), limit=st.integers(1, 12), early=st.booleans())
def test_any_dataset_of_events_comes_whole_and_in_order(
    number: int, limit: int, early: bool
) -> None:
    server = EventServer(events(number))
    server.says_end_early = early
    listed = cursor(server, operation("events"), {"limit": limit})
    assert anyio.run(listed.collect) == events(number)


@given(
    style=st.sampled_from(["cursor", "page", "recordings", "body_cursor"]),
    items=datasets,
    size=st.integers(1, 12),
)
def test_any_dataset_of_the_other_styles(style: PageStyle, items: list[Any], size: int) -> None:
    make, _ = SERVERS[style]
    server = make(items)
    if isinstance(server, CursorServer):
        server.size = size
    query = {"page": {"page_size": size}, "recordings": {"limit": size}}.get(style)
    body = {"query": {"limit": size}} if style == "body_cursor" else OMIT
    assert anyio.run(cursor(server, operation(style), query, body).collect) == items


@given(
    links=st.lists(st.sampled_from(["?offset=0", "?offset=3", "?offset=6", "?cursor=a", "", None]))
)
def test_no_sequence_of_links_goes_on_for_ever(links: list[Any]) -> None:
    answers = [page_of(n, next=link) for n, link in enumerate(links)] or [page_of(0)]
    server = Fixed(*answers)
    with contextlib.suppress(PaginationError):
        anyio.run(cursor(server, operation("offset")).collect)
    assert len(server.queries) <= len(answers) + 1


def test_states_are_plain_data() -> None:
    from asyncposthog.pagination import PageState

    state = PageState({"offset": "20", "status": ["a", "b"]}, "abc", probing=True)
    assert PageState.from_json(json.loads(json.dumps(state.to_json()))) == state
    assert pickle.loads(pickle.dumps(state)) == state
