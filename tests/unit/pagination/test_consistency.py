"""Pages that do not fit together: every item arrives, or an error or a warning is issued."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog import AsyncPostHog, NotFoundError, PaginationError, PaginationWarning
from asyncposthog.operation import Pagination
from asyncposthog.pagination import cursor
from tests.helpers.paged_servers import (
    CursorServer,
    EventServer,
    Fixed,
    NumberServer,
    OffsetServer,
    PersonsServer,
    Server,
    drain,
    listing,
    operation,
    page_of,
    things,
)

both_loops = pytest.mark.anyio
side_by_side = pytest.mark.parametrize("concurrency", [1, 4])


@contextlib.contextmanager
def noticed() -> Generator[list[str]]:
    """Collect the messages of pagination warnings."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    assert {w.category for w in caught} <= {PaginationWarning}
    texts += [str(w.message).removeprefix("things.list: ") for w in caught]


class Leaping(OffsetServer):
    """A server that skips one page."""

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        answer = super().answer(query, body)
        if int(query.get("offset", 0)) == 40:
            answer["next"] = self.link({**query, "limit": 10, "offset": 60})
        return answer


class Capped(OffsetServer):
    """A server that caps the page size, and computes `next` from the requested size."""

    largest = 10

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        answer = super().answer(query, body)
        limit = int(query.get("limit", 100))
        target = int(query.get("offset", 0)) + limit
        more = target < len(self.items)
        answer["next"] = self.link({**query, "limit": limit, "offset": target}) if more else None
        return answer


@both_loops
@side_by_side
async def test_a_next_that_skips_a_page_is_an_error_that_names_it(concurrency: int) -> None:
    seen: list[Any] = []
    listed = cursor(
        Leaping(things(95)), operation("offset"), {"limit": 10}, concurrency=concurrency
    )
    with pytest.raises(PaginationError, match=r"from offset 40 .* at offset 60, .* page of 10"):
        await drain(listed, seen)
    assert seen == things(50)


@both_loops
async def test_next_page_raises_for_it_as_well() -> None:
    page = await listing(Leaping(things(95)), operation("offset"), {"limit": 10, "offset": 40})
    with pytest.raises(PaginationError, match="skips items"):
        await page.next_page()
    with pytest.raises(PaginationError, match="skips items"):
        _ = page.has_next


@both_loops
@side_by_side
async def test_a_next_computed_from_a_limit_that_the_server_lowered_loses_nothing(
    concurrency: int,
) -> None:
    server = Capped(things(95))
    listed = cursor(server, operation("offset"), {"limit": 30}, concurrency=concurrency)
    assert await listed.collect() == things(95)


@both_loops
@side_by_side
async def test_items_without_an_id_continue_where_the_page_ended(concurrency: int) -> None:
    server = Capped(named(95))
    listed = cursor(server, operation("offset"), {"limit": 30}, concurrency=concurrency)
    with noticed() as texts:
        assert await listed.collect() == named(95)
    assert [text.partition(":")[0] for text in texts] == [
        "a page ended at offset 10, and its `next` begins at 30",
    ]


@both_loops
async def test_items_without_an_id_may_come_twice_but_none_is_missing() -> None:
    class Hiding(OffsetServer):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            answer = super().answer(query, body)
            answer["results"] = [i for i in answer["results"] if i["name"] != "n3"]
            return answer

    with noticed() as texts:
        found = await listing(Hiding(named(25)), operation("offset"), {"limit": 10}).collect()
    unique = list(dict.fromkeys(item["name"] for item in found))
    assert unique == [f"n{n}" for n in range(25) if n != 3]
    assert "may be repeated" in texts[0]


def named(number: int) -> list[dict[str, Any]]:
    return [{"name": f"n{n}"} for n in range(number)]


class LeapingPages(NumberServer):
    """A server that skips one page."""

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        answer = super().answer(query, body)
        if int(query.get("page", 1)) == 2:
            answer["next"] = self.link({**query, "page": 4})
        return answer


@both_loops
async def test_a_next_that_skips_a_numbered_page_is_an_error() -> None:
    seen: list[Any] = []
    with pytest.raises(
        PaginationError, match=r"`next` skips pages: after page 2 it continues at page 4"
    ):
        await drain(listing(LeapingPages(things(30)), operation("page")), seen)
    assert seen == things(8)
    page = await listing(LeapingPages(things(30)), operation("page"), {"page": 2})
    with pytest.raises(PaginationError, match="skips pages"):
        await page.next_page()


class EndingPages(NumberServer):
    """A server that ends pagination early, although it counts more items."""

    count: int | None = None
    missing = False
    """Whether a page behind the last one is 404, as with Django REST framework, or empty."""
    repeats = False
    """Whether it is the last page again, as with some paginators of Django."""
    absent = False
    """Whether there is no `next` at all."""

    async def __call__(self, query: Mapping[str, Any] | None, body: Any) -> bytes:
        if self.missing and (int((query or {}).get("page", 1)) - 1) * 4 >= len(self.items):
            self.queries.append(dict(query or {}))
            raise NotFoundError("Invalid page.", status=404)
        return await super().__call__(query, body)

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        if self.repeats:
            query["page"] = min(int(query.get("page", 1)), -(-len(self.items) // 4))
        answer = super().answer(query, body)
        if self.count is not None:
            answer["count"] = self.count
        answer["next"] = None
        if self.absent:
            del answer["next"]
        return answer


@both_loops
@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("make", [things, named])
async def test_numbered_pages_whose_next_is_null_below_the_count_are_read_to_the_end(
    make: Callable[[int], list[Any]], absent: bool
) -> None:
    server = EndingPages(make(10))
    server.absent = absent
    with noticed() as texts:
        assert await listing(server, operation("page")).collect() == make(10)
        page = await listing(server, operation("page"))
        assert [item async for item in page] == make(10)
        assert page.state is not None
        resumed = listing(server, operation("page")).resume(page.state)
        assert (await resumed.collect())[:4] == make(10)[4:8]
        sized = operation("page", pagination=Pagination(style="page", items="results", page_size=4))
        assert await listing(server, sized).resume(page.state).collect() == make(10)[4:]
    assert texts == []


@both_loops
@pytest.mark.parametrize("how", ["missing", "repeats", "empty"])
@pytest.mark.parametrize("make", [things, named])
async def test_a_count_too_large_of_numbered_pages_is_a_warning_and_no_error(
    make: Callable[[int], list[Any]], how: str
) -> None:
    server = EndingPages(make(10))
    server.count, server.missing, server.repeats = 12, how == "missing", how == "repeats"
    with noticed() as texts:
        assert await listing(server, operation("page")).collect() == make(10)
        page = await listing(server, operation("page"))
        assert [item async for item in page] == make(10)
    ended = "the list ended after 10 items, and the server counts 12"
    assert [text.partition(":")[0] for text in texts] == [ended, ended]
    last = await listing(server, operation("page"), {"page": 3}).first()
    assert last == make(10)[8]


@both_loops
async def test_a_list_resumed_behind_its_last_page_is_empty() -> None:
    server = EndingPages(things(8))
    server.count, server.missing = 9, True
    page = await listing(server, operation("page"))
    last = await page.next_page()
    assert last is not None
    assert last.state is not None
    resumed = listing(server, operation("page")).resume(last.state)
    assert list(await resumed) == []
    assert await resumed.collect() == []
    assert await resumed.first() is None
    with pytest.raises(NotFoundError):
        await listing(server, operation("page"), {"page": 9})


@settings(deadline=None)
@given(
    number=st.integers(0, 60),
    hidden=st.sets(st.integers(0, 59)),
    cap=st.integers(1, 20),
    limit=st.integers(1, 20),
    counted=st.booleans(),
    concurrency=st.integers(1, 4),
)
def test_servers_that_cap_and_filter_give_every_item_once_or_a_warning(
    number: int, hidden: set[int], cap: int, limit: int, counted: bool, concurrency: int
) -> None:
    class Hiding(Capped):
        largest = cap
        with_count = counted

        def answer(self, query: dict[str, Any], body: Any) -> Any:
            answer = super().answer(query, body)
            answer["results"] = [i for i in answer["results"] if i["id"] not in hidden]
            return answer

    shown = [i for i in things(number) if i["id"] not in hidden]
    listed = cursor(
        Hiding(things(number)), operation("offset"), {"limit": limit}, concurrency=concurrency
    )
    with noticed() as texts:
        found = anyio.run(listed.collect)
    assert found == [i for i in shown if i in found]
    if cap >= limit or (counted and not hidden):
        assert found == shown
    elif counted and found != shown:
        assert texts


@both_loops
@side_by_side
@pytest.mark.parametrize("make", [OffsetServer, PersonsServer])
async def test_the_rest_is_requested_if_next_is_null_below_the_count(
    make: type[Server], concurrency: int
) -> None:
    class Ending(make):  # pyright: ignore[reportUntypedBaseClass]
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            answer: dict[str, Any] = super().answer(query, body)
            return {**answer, "count": len(self.items), "next": None}

    style = "offset" if make is OffsetServer else "persons"
    listed = cursor(
        Ending(things(25)),
        operation(style),
        {"limit": 10},
        concurrency=concurrency if style == "offset" else 1,
    )
    assert await listed.collect() == things(25)


@both_loops
@side_by_side
async def test_a_list_that_ends_before_its_count_causes_a_warning(concurrency: int) -> None:
    class Overcounting(OffsetServer):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            return {**super().answer(query, body), "count": 30}

    server = Overcounting(things(25))
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=concurrency)
    with pytest.warns(
        PaginationWarning, match="after 25 items, and the server counts 30"
    ) as caught:
        assert await listed.collect() == things(25)
    assert len(caught) == 1


@both_loops
async def test_a_server_that_ignores_the_offset_gives_nothing_twice() -> None:
    class Whole(Server):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            return {"count": 9, "next": None, "results": self.items}

    with pytest.warns(PaginationWarning, match="after 5 items, and the server counts 9"):
        assert await listing(Whole(things(5)), operation("offset")).collect() == things(5)
    nameless = [{"name": n} for n in range(5)]
    with pytest.warns(PaginationWarning, match="after 5 items, and the server counts 9"):
        assert await listing(Whole(nameless), operation("offset")).collect() == nameless


@both_loops
@pytest.mark.parametrize("count", ["count", "total_count"])
async def test_numbered_pages_and_cursors_that_end_early_cause_a_warning(count: str) -> None:
    numbered = Fixed(
        page_of(1, 2, next="?page=2", **{count: 6}), page_of(3, next=None, **{count: 6})
    )
    with pytest.warns(PaginationWarning, match="after 3 items, and the server counts 6"):
        await listing(numbered, operation("page")).collect()
    linked = Fixed(
        page_of(1, 2, next="?cursor=a", **{count: 4}), page_of(3, next=None, **{count: 4})
    )
    with pytest.warns(PaginationWarning, match="after 3 items, and the server counts 4"):
        await listing(linked, operation("cursor")).collect()


@both_loops
async def test_a_part_of_a_list_is_not_compared_with_the_count_of_all() -> None:
    server = NumberServer(things(10))
    assert await listing(server, operation("page"), {"page": 2}).collect() == things(10)[4:]
    page = await listing(server, operation("page"))
    assert page.state is not None
    resumed = listing(server, operation("page")).resume(page.state)
    assert await resumed.collect() == things(10)[4:]
    assert await listing(OffsetServer(things(9)), operation("offset"), {"offset": 4}).collect()
    assert await listing(OffsetServer(things(30)), operation("offset")).collect(3) == things(3)


@both_loops
@side_by_side
async def test_rows_deleted_between_pages_are_detected_by_the_count(concurrency: int) -> None:
    class Shrinking(OffsetServer):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            answer = super().answer(query, body)
            if len(self.queries) == 2:
                del self.items[:3]
            return answer

    server = Shrinking(things(45))
    listed = cursor(server, operation("offset"), {"limit": 10}, concurrency=concurrency)
    with noticed() as texts:
        found = await listed.collect()
    assert found != things(45)
    changed = [text for text in texts if text.startswith("the count changed from 45 to 42")]
    assert len(changed) == 1


@both_loops
async def test_a_list_that_switches_to_cursors_is_not_requested_by_offset() -> None:
    server = Fixed(page_of(1, 2, next="?cursor=a", count=3), page_of(3, next=None, count=3))
    page = await listing(server, operation("offset"))
    assert [item["id"] async for item in page] == [1, 2, 3]
    assert page.state is not None
    assert len(await listing(server, operation("offset")).resume(page.state).collect()) == 1
    assert [set(query) for query in server.queries] == [set(), {"cursor"}, {"cursor"}]


@both_loops
async def test_rows_added_in_front_are_detected_by_repeated_ids() -> None:
    class Growing(OffsetServer):
        with_count = False

        def answer(self, query: dict[str, Any], body: Any) -> Any:
            answer = super().answer(query, body)
            self.items = [{"id": f"new {len(self.queries)}"}, *self.items]
            return answer

    with pytest.warns(PaginationWarning, match="1 of the items of a page were on the page before"):
        await listing(Growing(things(25)), operation("offset"), {"limit": 10}).collect()


@both_loops
async def test_a_warning_names_the_operation_comes_once_and_from_the_line_of_the_caller() -> None:
    class Jumpy(OffsetServer):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            return {**super().answer(query, body), "count": 100 + len(self.queries)}

    listed = listing(Jumpy(things(95)), operation("offset"), {"limit": 10})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async for _ in listed:
            pass
    texts = [str(w.message) for w in caught]
    assert [text[: text.index(" from")] for text in texts[:1]] == ["things.list: the count changed"]
    assert "the list ended after 95 items" in texts[1]
    assert [w.filename for w in caught] == [__file__] * 2


@both_loops
@side_by_side
async def test_iteration_continues_after_a_warning_raised_as_error(
    concurrency: int,
) -> None:
    class Jumpy(OffsetServer):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            count = 96 if query.get("offset") else 95
            return {**super().answer(query, body), "count": count}

    server = Jumpy(things(95))
    iteration = aiter(cursor(server, operation("offset"), {"limit": 10}, concurrency=concurrency))
    seen: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", PaginationWarning)
        for reason in ("count changed from 95 to 96", "after 95 items, and the server counts 96"):
            with pytest.raises(PaginationWarning, match=reason):
                await drain(iteration, seen)
        await drain(iteration, seen)
    assert seen == things(95)


# Events: `before` is exclusive, and the server's `next` skips events with the last timestamp.


def tied(ages: list[int]) -> list[dict[str, Any]]:
    """Return events of the given ages in microseconds, the newest first."""
    last = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        {"id": f"e{n}", "timestamp": (last - timedelta(microseconds=age)).isoformat()}
        for n, age in enumerate(sorted(ages))
    ]


class Events(EventServer):
    """An events list, newest or oldest first, with at most `largest` events on a page."""

    largest = 1000

    def answer(self, query: dict[str, Any], body: Any) -> Any:
        limit = min(int(query.get("limit", 100)), self.largest)
        ascending = query.get("orderBy") == '["timestamp"]'
        name = "after" if ascending else "before"
        bound = query.get(name)
        rows = self.items[::-1] if ascending else self.items
        if bound is not None:
            edge = datetime.fromisoformat(bound)
            keep: Callable[[datetime], bool] = edge.__lt__ if ascending else edge.__gt__
            rows = [e for e in rows if keep(datetime.fromisoformat(e["timestamp"]))]
        page = rows[:limit]
        more = len(rows) > limit and not self.says_end_early
        link = self.link({**query, name: page[-1]["timestamp"]}) if more else None
        return {"results": page, "next": link}


@settings(deadline=None)
@given(
    ages=st.lists(st.integers(0, 12), max_size=40),
    limit=st.integers(1, 12),
    ascending=st.booleans(),
    early=st.booleans(),
)
def test_events_that_share_a_timestamp_all_come_and_once(
    ages: list[int], limit: int, ascending: bool, early: bool
) -> None:
    server = Events(tied(ages))
    server.says_end_early = early
    query = {"limit": limit, **({"orderBy": '["timestamp"]'} if ascending else {})}
    found = anyio.run(cursor(server, operation("events"), query).collect)
    assert found == (server.items[::-1] if ascending else server.items)


@both_loops
@pytest.mark.parametrize("early", [False, True])
async def test_a_tie_larger_than_the_largest_page_is_an_error(early: bool) -> None:
    server = Events(tied([0, 1, *([5] * 12), 6, 7]))
    server.largest = 6
    server.says_end_early = early
    found: list[Any] = []
    if early:  # requested with the maximum page size
        found = await listing(server, operation("events"), {"limit": 20}).collect(6)
        assert found == server.items[:6]
        return
    with pytest.raises(PaginationError, match=r"More events share the timestamp .* \(6\)"):
        await drain(listing(server, operation("events"), {"limit": 6}), found)
    assert found == server.items[: len(found)]


@both_loops
async def test_a_list_of_tied_events_can_be_resumed_at_any_page() -> None:
    items = tied([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
    seen: list[Any] = []
    state: Any = {}
    while state is not None:
        listed = listing(Events(items), operation("events"), {"limit": 3}).resume(state)
        page = await listed
        seen += page
        state = json.loads(json.dumps(page.state))
    assert seen == items


@both_loops
async def test_an_event_stored_twice_hides_no_tie() -> None:
    items = tied([0, 1, 1, 1, 2])
    items[2]["id"] = items[1]["id"]
    found = await listing(Events(items), operation("events"), {"limit": 3}).collect()
    assert {e["id"] for e in found} == {e["id"] for e in items}


@both_loops
async def test_ties_that_cannot_be_requested_again_cause_a_warning() -> None:
    ordered = Fixed(
        {"results": tied([0, 1]), "next": "?before=2026-01-01"}, {"results": [], "next": None}
    )
    with pytest.warns(PaginationWarning, match="share a timestamp"):
        await listing(ordered, operation("events"), {"orderBy": '["event"]'}).collect()
    nameless = [{"timestamp": e["timestamp"]} for e in tied([0, 1, 2])]
    with pytest.warns(PaginationWarning, match="share a timestamp"):
        await listing(Events(nameless), operation("events"), {"limit": 2}).collect()


# Pages are async iterables: the items of the page and of all pages after it.


@both_loops
async def test_a_page_can_be_iterated_like_the_list_it_came_from() -> None:
    server = OffsetServer(things(25))
    listed = listing(server, operation("offset"), {"limit": 10})
    assert [item async for item in await listed] == things(25)
    assert len(server.queries) == 3
    page = await (await listed).next_page()
    assert page is not None
    assert [item async for item in page] == things(25)[10:]
    assert [item async for item in page] == things(25)[10:]
    assert list(page) == things(20)[10:]


@both_loops
async def test_iteration_over_a_page_continues_after_an_error() -> None:
    class Failing(CursorServer):
        broken = True

        async def __call__(self, query: Mapping[str, Any] | None, body: Any) -> bytes:
            if query and "cursor" in query and self.broken:
                raise ConnectionResetError("gone")
            return await super().__call__(query, body)

    server = Failing(things(8))
    iteration = aiter(await listing(server, operation("cursor")))
    seen: list[Any] = []
    with pytest.raises(ConnectionResetError):
        await drain(iteration, seen)
    server.broken = False
    await drain(iteration, seen)
    assert seen == things(8)


@both_loops
async def test_through_a_client() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params.get("offset", 0))
        ids = range(offset, min(offset + 2, 5))
        link = f"{request.url.copy_set_param('offset', offset + 2)}" if offset < 3 else None
        if request.url.params.get("offset") == "1":
            link = f"{request.url.copy_set_param('offset', 9)}"
        rows = [{"id": n, "name": f"c{n}"} for n in ids]
        return httpx.Response(200, json={"count": 5, "next": link, "results": rows})

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not match the schema")
        async with AsyncPostHog(
            "phx_x", project_id=1, transport=httpx.MockTransport(answer), region="us"
        ) as ph:
            assert [c.id async for c in await ph.cohorts.list(limit=2)] == [0, 1, 2, 3, 4]
            with pytest.raises(PaginationError, match=r"cohorts\.list"):
                await ph.cohorts.list(limit=2, offset=1).collect()
