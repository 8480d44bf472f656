"""The public interface of cursors, on both event loops."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from asyncposthog.operation import Operation, PageStyle
from asyncposthog.pagination import Page, PageState, cursor
from tests.helpers.paged_servers import (
    SERVERS,
    Fixed,
    OffsetServer,
    events,
    listing,
    operation,
    page_of,
    things,
)

both_loops = pytest.mark.anyio


@both_loops
async def test_nothing_is_sent_before_it_is_awaited() -> None:
    server = OffsetServer(things(3))
    listed = listing(server, operation("offset"))
    assert server.queries == []
    assert repr(listed) == (
        "<Cursor: things.list; nothing was requested yet: await it for a page, or iterate it with "
        "`async for`>"
    )
    shown = listed._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert shown.startswith("<p><code>things.list</code>")
    assert "Await it for a page" in shown
    assert server.queries == []
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
async def test_the_same_next_page_may_be_requested_twice() -> None:
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
async def test_collect_validates_max(value: Any, error: Any) -> None:
    with pytest.raises(error, match="max"):
        await listing(OffsetServer([]), operation("offset")).collect(value)


@both_loops
async def test_first() -> None:
    server = OffsetServer(things(50))
    assert await listing(server, operation("offset")).first() == {"id": 0}
    assert await listing(OffsetServer([]), operation("offset")).first() is None
    late = Fixed(page_of(next="?cursor=a"), page_of(7, next=None))
    assert await listing(late, operation("cursor")).first() == {"id": 7}


@pytest.mark.parametrize("style", SERVERS)
@both_loops
async def test_a_list_can_be_resumed_from_the_state_of_a_page(style: PageStyle) -> None:
    make, body = SERVERS[style]
    items = events(13) if style == "events" else things(13)
    query = {} if style in ("cursor", "page", "body_cursor", "body_offset") else {"limit": 4}
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
async def test_a_resumed_list_can_be_fetched_concurrently() -> None:
    server = OffsetServer(things(95))
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=4)
    page = await listed
    assert page.state is not None
    assert await listed.resume(page.state).collect() == things(95)[10:]


@pytest.mark.parametrize(
    "state", [{"query": 5}, {"after": 5}, {"skip": 5}, {"skip": [5]}, {"body_offset": "5"}]
)
def test_an_invalid_page_state_is_rejected(state: Any) -> None:
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
def test_invalid_numbers_are_rejected_at_once(
    query: Any, concurrency: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        cursor(OffsetServer([]), operation("offset"), query, concurrency=concurrency)


IN_ANY_ORDER = {"offset", "page"}


@pytest.mark.parametrize("style", [s for s in (*SERVERS, "single") if s not in IN_ANY_ORDER])
def test_only_offsets_and_numbers_can_be_fetched_concurrently(style: PageStyle) -> None:
    with pytest.raises(ValueError, match="pages concurrently"):
        cursor(OffsetServer([]), operation(style), concurrency=2)
    cursor(OffsetServer([]), operation(style), concurrency=1)


def test_an_operation_without_pages_has_no_cursor() -> None:
    op = Operation(id="things.get", method="GET", path="/api/things/")
    with pytest.raises(ValueError, match="not a paginated list"):
        cursor(OffsetServer([]), op)


def test_states_are_plain_data() -> None:
    for state in (
        PageState({"offset": "20", "status": ["a", "b"]}, "abc", ("1", "2")),
        PageState({"page": 2}, None, ("1",), speculative=True),
        PageState(body_offset=40),
    ):
        assert PageState.from_json(json.loads(json.dumps(state.to_json()))) == state
        assert pickle.loads(pickle.dumps(state)) == state
