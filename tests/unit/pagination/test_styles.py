"""Every pagination style, against small servers that behave like PostHog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from asyncposthog.errors import PaginationError, PaginationWarning
from asyncposthog.operation import PageStyle, Parameter
from asyncposthog.types import OMIT
from tests.helpers.paged_servers import (
    BodyOffsetServer,
    CursorServer,
    EventServer,
    Fixed,
    LogServer,
    MoreServer,
    NumberServer,
    OffsetServer,
    PersonsServer,
    RecordingServer,
    Server,
    SilentServer,
    ValueServer,
    drain,
    events,
    listing,
    operation,
    page_of,
    parameters,
    things,
)

pytestmark = pytest.mark.anyio


async def test_offset_follows_next_to_its_end() -> None:
    server = OffsetServer(things(250))
    found = [item async for item in listing(server, operation("offset"), {"search": "x"})]
    assert found == server.items
    assert [q.get("offset") for q in server.queries] == [None, "100", "200"]
    assert all(q["search"] == "x" for q in server.queries)


async def test_offset_advances_by_received_items_when_the_limit_is_capped() -> None:
    server = OffsetServer(things(2500))
    found = await listing(server, operation("offset"), {"limit": 5000}).collect()
    assert found == server.items
    assert [q.get("offset") for q in server.queries] == [None, "1000", "2000"]


async def test_offset_without_next_advances_by_received_items() -> None:
    server = OffsetServer(things(25))
    server.with_next = False
    server.largest = 10
    found = await listing(server, operation("offset"), {"limit": 20}).collect()
    assert found == server.items
    assert [q.get("offset") for q in server.queries] == [None, 10, 20]


@pytest.mark.parametrize("flag", ["has_more", "hasMore", "has_next"])
async def test_offset_without_next_and_count_uses_the_has_more_flag(flag: str) -> None:
    class Repos(Server):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            offset = int(query.get("offset", 0))
            end = offset + 10
            return {"repositories": self.items[offset:end], flag: end < len(self.items)}

    server = Repos(things(25))
    assert await listing(server, operation("offset", items="repositories")).collect() == things(25)


@pytest.mark.parametrize("hidden", [{98, 99}, {0, 1}, set(range(0, 250, 3)), set(range(100, 200))])
async def test_a_short_page_is_not_the_end(hidden: set[int]) -> None:
    class Filtering(OffsetServer):
        """A server that filters after counting, like one that checks permissions last."""

        def answer(self, query: dict[str, Any], body: Any) -> Any:
            answer = super().answer(query, body)
            answer["results"] = [i for i in answer["results"] if i["id"] not in hidden]
            return answer

    with pytest.warns(PaginationWarning):
        found = await listing(Filtering(things(250)), operation("offset")).collect()
    assert [i["id"] for i in found] == [n for n in range(250) if n not in hidden]


@pytest.mark.parametrize("number", [0, 1, 4, 5, 10, 11])
async def test_persons_may_end_with_an_empty_page(number: int) -> None:
    server = PersonsServer([{"uuid": f"p{n}"} for n in range(number)])
    found = await listing(server, operation("persons"), {"limit": 5}).collect()
    assert found == server.items
    assert len(server.queries) == number // 5 + 1


async def test_an_empty_page_of_persons_is_the_end_despite_next() -> None:
    server = Fixed(page_of(1, 2, next="?offset=2"), page_of(next="?offset=4"))
    assert len(await listing(server, operation("persons")).collect()) == 2
    assert len(server.queries) == 2


async def test_an_opaque_cursor_is_sent_back() -> None:
    server = CursorServer(things(8))
    assert await listing(server, operation("cursor"), {"ordering": "id"}).collect() == things(8)
    assert [q.get("cursor") for q in server.queries] == [None, "Mw==", "Ng=="]
    assert {q["ordering"] for q in server.queries} == {"id"}


async def test_page_numbers() -> None:
    server = NumberServer(things(10))
    assert await listing(server, operation("page"), {"page_size": 3}).collect() == things(10)
    assert [q.get("page") for q in server.queries] == [None, "2", "3", "4"]


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("says_end_early", [False, True])
async def test_events_end_with_an_empty_page_only(inclusive: bool, says_end_early: bool) -> None:
    server = EventServer(events(23))
    server.says_end_early = says_end_early
    server.inclusive = inclusive and says_end_early
    found = await listing(server, operation("events"), {"event": "$pageview"}).collect()
    assert found == server.items
    assert {q["event"] for q in server.queries} == {"$pageview"}


async def test_events_in_another_order_end_where_the_server_says() -> None:
    server = EventServer(events(3))
    found = await listing(server, operation("events"), {"orderBy": '["event"]'}).collect()
    assert found == server.items
    assert len(server.queries) == 1


@pytest.mark.parametrize("cursors", [False, True])
@pytest.mark.parametrize("offset", [OMIT, 3])
async def test_recordings(cursors: bool, offset: Any) -> None:
    server = RecordingServer(things(18))
    server.cursors = cursors
    found = await listing(server, operation("recordings"), {"offset": offset}).collect()
    assert found == things(18)[3 if offset == 3 else 0 :]
    assert ("after" in server.queries[-1]) == cursors


async def test_a_cursor_in_the_body_does_not_change_the_callers_body() -> None:
    server = LogServer(things(10))
    body = {"query": {"limit": 4, "searchTerm": "x"}}
    found = await listing(server, operation("body_cursor", method="POST"), None, body).collect()
    assert found == things(10)
    assert body == {"query": {"limit": 4, "searchTerm": "x"}}
    assert [b["query"].get("after") for b in server.bodies] == [None, "4", "8"]
    assert all(b["query"]["searchTerm"] == "x" for b in server.bodies)


@pytest.mark.parametrize("wrapped", [False, True])
async def test_an_offset_in_the_body_does_not_change_the_callers_body(wrapped: bool) -> None:
    server = BodyOffsetServer(things(10))
    fields = {"limit": 4, "searchQuery": "x"}
    body: dict[str, Any] = {"query": dict(fields)} if wrapped else dict(fields)
    found = await listing(server, operation("body_offset", method="POST"), None, body).collect()
    assert found == things(10)
    assert body == ({"query": fields} if wrapped else fields)
    sent = [b["query"] if wrapped else b for b in server.bodies]
    assert sent == [fields, {**fields, "offset": 4}, {**fields, "offset": 8}]


async def test_an_offset_in_the_body_of_a_call_is_where_the_list_begins() -> None:
    server = BodyOffsetServer(things(10))
    body = {"limit": 4, "offset": 3}
    found = await listing(server, operation("body_offset", method="POST"), None, body).collect()
    assert found == things(10)[3:]


async def test_a_short_page_of_a_search_is_continued_where_it_ended() -> None:
    server = Fixed(
        page_of(1, 2, hasMore=True, nextOffset=4),
        page_of(2, 3, 4, hasMore=False),
    )
    found = await listing(server, operation("body_offset", method="POST"), None, {}).collect()
    assert [item["id"] for item in found] == [1, 2, 3, 4]
    assert server.bodies == [{}, {"offset": 2}]


@pytest.mark.parametrize("flag", ["has_more", "has_next"])
async def test_has_more_advances_by_received_items(flag: str) -> None:
    server = MoreServer(things(25))
    server.flag, server.largest = flag, 10
    page = await listing(server, operation("has_more"), {"limit": 20})
    assert page.count is None, "it is the number of items of the page"
    assert [item async for item in page] == server.items
    assert [q.get("offset") for q in server.queries] == [None, 10, 20]


async def test_items_of_has_more_need_no_id() -> None:
    server = MoreServer([f"branch-{n % 7}" for n in range(9)])
    assert await listing(server, operation("has_more"), {"limit": 2}).collect() == server.items


async def test_without_the_flag_there_is_one_page() -> None:
    server = Fixed({"results": ["a", "b"]})
    assert await listing(server, operation("has_more")).collect() == ["a", "b"]
    assert len(server.queries) == 1


async def test_a_total_count_is_the_count_of_has_more() -> None:
    server = Fixed(page_of(1, 2, has_more=True, total_count=3), page_of(3, has_more=False))
    page = await listing(server, operation("has_more"))
    assert page.count == 3


@pytest.mark.parametrize("field", ["next_cursor", "next"])
async def test_the_next_cursor_is_sent_as_it_is(field: str) -> None:
    server = ValueServer(things(10))
    server.field = field
    found = await listing(server, operation("next_values"), {"search": "x"}).collect()
    assert found == things(10)
    assert server.queries == [
        {"search": "x"},
        {"search": "x", "cursor": "4"},
        {"search": "x", "cursor": "8"},
    ]


async def test_several_next_values() -> None:
    server = Fixed(
        page_of(1, next_before="2026-01-02T00:00:00.5Z", next_before_id="a"),
        page_of(2, next_before="2026-01-01T00:00:00Z", next_before_id=None),
        page_of(3, next_before=None, next_before_id=None),
    )
    op = operation("next_values", parameters=parameters("before", "before_id", "limit"))
    assert len(await listing(server, op, {"limit": 1}).collect()) == 3
    assert server.queries[1:] == [
        {"limit": 1, "before": "2026-01-02T00:00:00.5Z", "before_id": "a"},
        {"limit": 1, "before": "2026-01-01T00:00:00Z", "before_id": "a"},
    ]


async def test_a_next_offset_that_skips_items_is_corrected() -> None:
    server = Fixed(
        page_of(1, 2, count=4, next_offset=3),
        page_of(2, 3, count=4, next_offset=4),
        page_of(4, count=4, next_offset=None),
    )
    op = operation("next_values", parameters=parameters("limit", "offset"))
    found = await listing(server, op, {"limit": 3}).collect()
    assert [item["id"] for item in found] == [1, 2, 3, 4]
    assert [q.get("offset") for q in server.queries] == [None, 2, 4]


@pytest.mark.parametrize(("number", "requests"), [(0, 1), (3, 2), (4, 2), (9, 4)])
async def test_a_list_that_does_not_say_so_ends_with_an_empty_page(
    number: int, requests: int
) -> None:
    server = SilentServer(things(number))
    assert await listing(server, operation("until_empty"), {"limit": 4}).collect() == server.items
    assert len(server.queries) == requests


async def test_a_capped_page_is_not_the_end() -> None:
    server = SilentServer(things(25))
    server.largest = 10
    assert await listing(server, operation("until_empty"), {"limit": 20}).collect() == server.items


@pytest.mark.parametrize("items", [things(3), ["a", "b"]])
async def test_a_server_that_ignores_the_offset_returns_everything_once(items: list[Any]) -> None:
    server = Fixed({"results": items})
    assert await listing(server, operation("until_empty")).collect() == items
    assert len(server.queries) == 2


@pytest.mark.parametrize("wrapped", [False, True])
async def test_all_items_in_one_response(wrapped: bool) -> None:
    class Whole(Server):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            return {"results": self.items} if wrapped else self.items

    server = Whole(things(5))
    op = operation("single", items="results" if wrapped else None)
    page = await listing(server, op)
    assert list(page) == things(5)
    assert not page.has_next
    assert await listing(server, op).collect() == things(5)
    assert len(server.queries) == 2


async def test_more_items_that_cannot_be_requested_are_a_warning() -> None:
    server = Fixed(page_of(1, 2, has_more=True))
    with pytest.warns(PaginationWarning, match="raise `limit`"):
        assert await listing(server, operation("single")).collect() == things(3)[1:]
    server = Fixed(page_of(1, 2, has_more=False))
    assert await listing(server, operation("single")).collect() == things(3)[1:]


async def test_a_next_missing_in_the_schema_is_followed() -> None:
    server = CursorServer(things(7))
    assert await listing(server, operation("single")).collect() == things(7)


NEXT_FORMS = [
    "http://internal:8000/api/projects/7/things/?{}",
    "https://evil.example.com/api/projects/7/things/?{}",
    "/api/projects/7/things/?{}",
    "/posthog/api/environments/@current/things?{}",
    "?{}",
    "things/?{}",
    "https://app.example.com/sub/path/api/projects/7/things/?personal_api_key=phx_x&{}",
]


@pytest.mark.parametrize("form", NEXT_FORMS)
async def test_only_the_parameters_of_next_are_used(form: str) -> None:
    class Proxied(CursorServer):
        def link(self, query: Mapping[str, Any]) -> str:
            return form.format(urlencode(query, doseq=True))

    server = Proxied(things(8))
    assert await listing(server, operation("cursor"), {"a": 1}).collect() == things(8)
    assert all(set(q) <= {"a", "cursor"} for q in server.queries)


async def test_parameters_of_next_replace_all_but_lists() -> None:
    class Narrowing(Server):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            first = query["before"] == "2026"
            return {
                "results": [{"id": query["before"]}],
                "next": self.link({**query, "before": "2025"}) if first else None,
            }

    server = Narrowing([])
    query = {"before": "2026", "tags": ["a", "b"], "limit": 1, "deep": True}
    await listing(server, operation("cursor"), query).collect()
    assert server.queries[1] == {"before": "2025", "tags": ["a", "b"], "limit": "1", "deep": "True"}


async def test_repeated_and_presence_only_parameters_of_next() -> None:
    class Repeating(Server):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            if "cursor" in query:
                return {"results": [{"id": 2}], "next": None}
            return {
                "results": [{"id": 1}],
                "next": "?cursor=x&status=a&status=b&include_total=true",
            }

    server = Repeating([])
    flag = Parameter(
        name="include_total", python_name="include_total", location="query", presence_only=True
    )
    await listing(server, operation("cursor", parameters=(flag,))).collect()
    assert server.queries[1] == {"cursor": "x", "status": ["a", "b"]}


# The case, the style, the responses, and how many items are returned before the error.
LOOPS: list[tuple[str, PageStyle, list[Any], int]] = [
    ("the same next", "cursor", [page_of(1, next="?cursor=a"), page_of(2, next="?cursor=a")], 2),
    ("a circle", "cursor", [page_of(n, next=f"?cursor={n % 2}") for n in range(9)], 3),
    ("no parameters", "cursor", [page_of(1, next="/api/projects/1/things/")], 1),
    ("itself", "cursor", [page_of(1, next="?limit=5")], 1),
    ("backwards", "offset", [page_of(1, 2, next="?offset=2"), page_of(3, next="?offset=1")], 3),
    ("standing", "offset", [page_of(1, next="?offset=1"), page_of(2, next="?offset=1&x=1")], 2),
    ("a page skipped", "offset", [page_of(1, 2, 3, next="?offset=10")], 3),
    ("less than a page", "offset", [page_of(1, next="?offset=6"), page_of(9, next=None)], 1),
    ("an empty page", "offset", [page_of(next="?offset=6"), page_of(9, next=None)], 0),
    ("same items", "offset", [page_of(1, 2, next="?offset=2"), page_of(1, 2, next="?offset=4")], 2),
    ("part of them", "cursor", [page_of(1, 2, next="?cursor=a"), page_of(2, next=None)], 2),
    ("two pages on", "page", [page_of(1, next="?page=3"), page_of(9, next=None)], 1),
    ("linked page", "cursor", [page_of(1, next="?page=3"), page_of(9, next=None)], 1),
    ("linked offset", "single", [page_of(1, next="?offset=9"), page_of(9, next=None)], 1),
    ("page", "page", [page_of(1, next="?page=2"), page_of(2, next="?page=1")], 2),
    ("empty", "recordings", [{"results": [], "has_next": True}], 0),
    ("no cursor", "body_cursor", [{"results": [], "hasMore": True, "nextCursor": None}], 0),
    ("no items", "has_more", [{"results": [], "has_more": True}], 0),
    ("offset ignored", "has_more", [page_of(1, 2, has_more=True)], 2),
    ("no ids", "has_more", [{"results": ["a", "b"], "has_more": True}], 2),
    ("the same value", "next_values", [page_of(n, next_cursor="a") for n in range(3)], 2),
    ("new values", "next_values", [page_of(1, next_cursor=str(n)) for n in range(99)], 1),
    ("no ids", "next_values", [{"results": ["a"], "next_cursor": str(n)} for n in range(99)], 1),
    ("no value", "next_values", [page_of(1, has_more=True, next_cursor=None)], 1),
    ("no offset", "body_offset", [page_of(1, hasMore=True)], 1),
    ("back", "body_offset", [page_of(1, nextOffset=1), page_of(2, nextOffset=1)], 2),
    ("ignored", "body_offset", [page_of(1, nextOffset=n) for n in range(1, 99)], 1),
    ("a wrong offset", "body_offset", [page_of(1, nextOffset="x")], 1),
    ("computed", "offset", [{"results": [], "has_more": True}], 0),
    ("old items", "offset", [page_of(n % 3, next=f"?offset={n + 1}") for n in range(9)], 3),
]


@pytest.mark.parametrize(
    ("style", "answers", "good"), [c[1:] for c in LOOPS], ids=[c[0] for c in LOOPS]
)
async def test_loops_are_an_error(style: PageStyle, answers: list[Any], good: int) -> None:
    server = Fixed(*answers)
    found: list[Any] = []
    with pytest.raises(PaginationError) as caught:
        await drain(listing(server, operation(style), {"limit": 5}), found)
    assert caught.value.operation == "things.list"
    assert len(found) == good


async def test_endless_empty_pages_are_an_error() -> None:
    class Void(Server):
        def answer(self, query: dict[str, Any], body: Any) -> Any:
            return {"results": [], "next": f"?cursor={len(self.queries)}"}

    server = Void([])
    with pytest.raises(PaginationError, match="in a row"):
        await listing(server, operation("cursor")).collect()
    assert len(server.queries) < 20


async def test_a_page_shifted_by_new_items_is_not_a_loop() -> None:
    server = Fixed(
        page_of(1, 2, count=4, next="?offset=2"),
        page_of(1, 2, count=6, next="?offset=4"),
        page_of(3, 4, count=6, next=None),
    )
    with pytest.warns(PaginationWarning) as caught:
        found = await listing(server, operation("offset")).collect()
    assert [i["id"] for i in found] == [1, 2, 1, 2, 3, 4]
    assert ["count changed" in str(w.message) for w in caught] == [True, False]
    assert "2 of the items" in str(caught[1].message)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (5, "is not a link but an int"),
        ({"page": 2}, "is not a link but a dict"),
        ("http://[::1/?cursor=a", "is not a valid link"),
        ("https://app.example.com/api/projects/7/cohorts/?cursor=a", "another resource"),
        ("https://app.example.com/?cursor=a", None),
        ("/login?cursor=a", "another resource"),
    ],
)
async def test_an_invalid_next(link: Any, message: str | None) -> None:
    server = Fixed(page_of(1, next=link), page_of(2, next=None))
    if message is None:
        assert len(await listing(server, operation("cursor")).collect()) == 2
    else:
        with pytest.raises(PaginationError, match=message):
            await listing(server, operation("cursor")).collect()


async def test_a_nested_resource_takes_any_id_in_next() -> None:
    op = operation("cursor", path="/api/projects/{project_id}/cohorts/{id}/persons/")
    server = Fixed(
        page_of(1, next="/api/projects/1/cohorts/9/persons/?cursor=a"), page_of(2, next=None)
    )
    assert len(await listing(server, op).collect()) == 2
    server = Fixed(page_of(1, next="/api/projects/1/groups/9/persons/?cursor=a"), page_of(2))
    with pytest.raises(PaginationError):
        await listing(server, op).collect()


async def test_projects_themselves_can_be_listed() -> None:
    op = operation("cursor", path="/api/projects/", owner=None)
    server = Fixed(page_of(1, next="http://x/api/projects/?cursor=a"), page_of(2, next=None))
    assert len(await listing(server, op).collect()) == 2


@pytest.mark.parametrize("answer", [{"detail": "x"}, {}, "text", None, {"results": {"a": 1}}])
async def test_a_response_that_is_not_a_page_is_an_error(answer: Any) -> None:
    with pytest.raises(PaginationError, match="not a page"):
        await listing(Fixed(answer), operation("offset"))


async def test_null_results_are_an_empty_page() -> None:
    assert (
        await listing(Fixed({"results": None, "next": None}), operation("offset")).collect() == []
    )
