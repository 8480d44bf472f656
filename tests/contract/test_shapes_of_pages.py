"""Every style of paging on the wire: which requests are made for the pages of a list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncposthog import models

from .server import Server, connect

pytestmark = pytest.mark.anyio

US = "https://us.posthog.com"
EXPORT = "0195f2a0-0000-7000-8000-000000000009"
RUNS = ["0195f2a0-0000-7000-8000-000000000011", "0195f2a0-0000-7000-8000-000000000012"]


def things(*ids: int) -> list[dict[str, Any]]:
    return [{"id": number} for number in ids]


async def test_limit_and_offset(server: Server) -> None:
    server.answers(
        {
            "count": 3,
            "next": f"{US}/api/projects/7/cohorts/?limit=2&offset=2",
            "previous": None,
            "results": things(1, 2),
        },
        {"count": 3, "next": None, "previous": f"{US}/x", "results": things(3)},
    )
    async with connect() as ph:
        cohorts = await ph.cohorts.list(limit=2).collect()
    assert server.lines == [
        "GET /api/projects/7/cohorts/?limit=2",
        "GET /api/projects/7/cohorts/?limit=2&offset=2",
    ]
    assert [cohort.id for cohort in cohorts] == [1, 2, 3]


async def test_next_gives_path_and_query_only(server: Server) -> None:
    server.answers(
        {
            "count": 2,
            "next": "http://10.0.0.8:8000/api/projects/7/cohorts/?offset=1",
            "previous": None,
            "results": things(1),
        },
        {"count": 2, "next": None, "previous": None, "results": things(2)},
    )
    async with connect() as ph:
        assert len(await ph.cohorts.list().collect()) == 2
    assert server.lines[1] == "GET /api/projects/7/cohorts/?offset=1"
    assert server.seen[1].headers["Authorization"] == "Bearer phx_secret"


async def test_persons_end_with_an_empty_page(server: Server) -> None:
    server.answers(
        {
            "next": f"{US}/api/projects/7/persons/?limit=2&offset=2",
            "previous": None,
            "results": things(1, 2),
        },
        {
            "next": None,
            "previous": f"{US}/api/projects/7/persons/?limit=2&offset=2",
            "results": [],
        },
    )
    async with connect() as ph:
        persons = await ph.persons.list(limit=2).collect()
    assert server.lines == [
        "GET /api/projects/7/persons/?limit=2",
        "GET /api/projects/7/persons/?limit=2&offset=2",
    ]
    assert [type(person) for person in persons] == [models.Person] * 2


async def test_cursor(server: Server) -> None:
    server.answers(
        {
            "next": f"{US}/api/projects/7/batch_exports/{EXPORT}/runs/?cursor=cD0y%3D",
            "previous": None,
            "results": [{"id": RUNS[0]}],
        },
        {"next": None, "previous": f"{US}/x?cursor=1", "results": [{"id": RUNS[1]}]},
    )
    async with connect() as ph:
        runs = await ph.batch_exports.runs.list(EXPORT, after="-30d").collect()
    assert server.lines == [
        f"GET /api/projects/7/batch_exports/{EXPORT}/runs/?after=-30d",
        f"GET /api/projects/7/batch_exports/{EXPORT}/runs/?after=-30d&cursor=cD0y%3D",
    ]
    assert [str(run.id) for run in runs] == RUNS


async def test_page_numbers(server: Server) -> None:
    path = "/api/projects/7/feature_flags/5/activity/"
    server.answers(
        {
            "count": 3,
            "next": f"{US}{path}?limit=2&page=2",
            "previous": None,
            "results": [
                {"id": "018f0000-0000-7000-8000-000000000001"},
                {"id": "018f0000-0000-7000-8000-000000000002"},
            ],
        },
        {
            "count": 3,
            "next": None,
            "previous": None,
            "results": [{"id": "018f0000-0000-7000-8000-000000000003"}],
        },
    )
    async with connect() as ph:
        entries = await ph.feature_flags.activity(5, limit=2).collect()
    assert server.lines == [f"GET {path}?limit=2", f"GET {path}?limit=2&page=2"]
    assert len(entries) == 3


async def test_events_are_asked_for_from_the_last_timestamp_on(server: Server) -> None:
    """The server's `before` excludes a timestamp, so the next page begins a microsecond later."""
    nine, ten = (f"2026-03-01T{hour}%3A00%3A00%2B00%3A00" for hour in ("09", "10"))
    server.answers(
        {
            "next": f"{US}/api/projects/7/events/?limit=2&before={ten}",
            "results": [
                event("e1", "2026-03-01T11:00:00+00:00"),
                event("e2", "2026-03-01T10:00:00+00:00"),
            ],
        },
        {
            "next": f"{US}/api/projects/7/events/?limit=2&before={nine}",
            "results": [
                event("e2", "2026-03-01T10:00:00+00:00"),
                event("e3", "2026-03-01T09:00:00+00:00"),
            ],
        },
        {"next": None, "results": [event("e3", "2026-03-01T09:00:00+00:00")]},
    )
    async with connect() as ph:
        events = await ph.events.list(event="$pageview", limit=2).collect()
    assert server.lines[0] == "GET /api/projects/7/events/?event=%24pageview&limit=2"
    assert [sorted(line.partition("?")[2].split("&")) for line in server.lines[1:]] == [
        [f"before={ten.replace('%2B', '.000001%2B')}", "event=%24pageview", "limit=2"],
        [f"before={nine.replace('%2B', '.000001%2B')}", "event=%24pageview", "limit=2"],
    ]
    assert [found.id for found in events] == ["e1", "e2", "e3"]


def event(id: str, timestamp: str) -> dict[str, Any]:
    return {"id": id, "event": "$pageview", "timestamp": timestamp, "properties": {}}


async def test_recordings_by_has_next(server: Server) -> None:
    server.answers(
        {"results": [{"id": "s1"}, {"id": "s2"}], "has_next": True, "version": 4},
        {"results": [{"id": "s3"}], "has_next": False, "version": 4},
    )
    async with connect() as ph:
        found = await ph.session_recordings.list(limit=2, order_direction="DESC").collect()
    assert server.lines == [
        "GET /api/projects/7/session_recordings/?limit=2&order_direction=DESC",
        "GET /api/projects/7/session_recordings/?limit=2&order_direction=DESC&offset=2",
    ]
    assert len(found) == 3


async def test_recordings_by_cursor(server: Server) -> None:
    server.answers(
        {"results": [{"id": "s1"}], "has_next": True, "next_cursor": "abc="},
        {"results": [{"id": "s2"}], "has_next": False, "next_cursor": None},
    )
    async with connect() as ph:
        assert len(await ph.session_recordings.list(limit=1).collect()) == 2
    assert server.lines[1] == "GET /api/projects/7/session_recordings/?limit=1&after=abc%3D"


async def test_cursor_in_the_body(server: Server) -> None:
    server.answers(
        {"query": {}, "results": [{"uuid": "l1"}], "hasMore": True, "nextCursor": "eyJ0In0="},
        {"query": {}, "results": [{"uuid": "l2"}], "hasMore": False, "nextCursor": None},
    )
    query = {"dateRange": {"date_from": "-1h"}, "limit": 1}
    async with connect() as ph:
        entries = await ph.logs.query(query=query).collect()
    assert server.lines == ["POST /api/projects/7/logs/query/"] * 2
    assert [json.loads(seen.content) for seen in server.seen] == [
        {"query": {"dateRange": {"date_from": "-1h"}, "limit": 1}},
        {"query": {"dateRange": {"date_from": "-1h"}, "limit": 1, "after": "eyJ0In0="}},
    ]
    assert len(entries) == 2
    assert query == {"dateRange": {"date_from": "-1h"}, "limit": 1}


async def test_has_more_without_links(server: Server) -> None:
    server.answers(
        {"channels": [{"id": "C1"}, {"id": "C2"}], "has_more": True, "lastRefreshedAt": None},
        {"channels": [{"id": "C3"}], "has_more": False, "lastRefreshedAt": None},
    )
    async with connect() as ph:
        channels = await ph.integrations.channels(5, limit=2, search="a").collect()
    path = "GET /api/projects/7/integrations/5/channels/?limit=2&search=a"
    assert server.lines == [path, f"{path}&offset=2"]
    assert [channel.id for channel in channels] == ["C1", "C2", "C3"]


async def test_branches_are_names(server: Server) -> None:
    server.answers({"branches": ["main", "fix"], "default_branch": "main", "has_more": False})
    async with connect() as ph:
        page = await ph.integrations.github.branches(5, repo="acme/site")
    assert list(page) == ["main", "fix"]
    assert page.raw.default_branch == "main"


async def test_the_next_cursor_is_a_parameter(server: Server) -> None:
    server.answers(
        {"comments": [{"id": RUNS[0]}], "next": "cD0y/+="},
        {"comments": [{"id": RUNS[1]}], "next": None},
    )
    async with connect() as ph:
        found = await ph.tasks.comments.list(EXPORT, limit=1).collect()
    path = f"GET /api/projects/7/tasks/{EXPORT}/comments/?limit=1"
    assert server.lines == [path, f"{path}&cursor=cD0y%2F%2B%3D"]
    assert [str(comment.id) for comment in found] == RUNS


async def test_the_next_timestamp_and_id_are_parameters(server: Server) -> None:
    server.answers(
        {
            "results": [{"id": RUNS[0]}],
            "unread_count": 2,
            "next_before": "2026-03-01T10:00:00.123456Z",
            "next_before_id": RUNS[0],
        },
        {"results": [{"id": RUNS[1]}], "unread_count": 2},
    )
    async with connect() as ph:
        page = await ph.task_activity.list(limit=1)
        assert page.state is not None
        json.dumps(page.state)
        found = [entry async for entry in page]
    path = "GET /api/projects/7/task_activity/?limit=1"
    before = "before=2026-03-01T10%3A00%3A00.123456%2B00%3A00"
    assert server.lines == [path, f"{path}&{before}&before_id={RUNS[0]}"]
    assert [str(entry.id) for entry in found] == RUNS


async def test_offset_in_the_body(server: Server) -> None:
    server.answers(
        {"results": [{"id": RUNS[0]}], "limit": 1, "offset": 0, "hasMore": True, "nextOffset": 1},
        {"results": [{"id": RUNS[1]}], "limit": 1, "offset": 1, "hasMore": False},
    )
    async with connect() as ph:
        listed = ph.error_tracking.query.list_issues(limit=1, search_query="x")
        assert [str(issue.id) for issue in await listed.collect()] == RUNS
    assert [json.loads(seen.content) for seen in server.seen] == [
        {"limit": 1, "searchQuery": "x"},
        {"limit": 1, "searchQuery": "x", "offset": 1},
    ]


async def test_an_array_ends_with_an_empty_page(server: Server) -> None:
    server.answers([{"invocation_id": "a"}, {"invocation_id": "b"}], [{"invocation_id": "c"}], [])
    async with connect() as ph:
        emails = await ph.persons.emails(3, limit=2).collect()
    path = "GET /api/projects/7/persons/3/emails/?limit=2"
    assert server.lines == [path, f"{path}&offset=2", f"{path}&offset=3"]
    assert len(emails) == 3


async def test_a_count_without_links(server: Server) -> None:
    path = "GET /api/projects/7/logs/attributes/?limit=1"
    pages = [{"count": 3, "results": [{"name": f"a{n}"}]} for n in range(3)]
    server.answers_by_line(
        {path: pages[0], f"{path}&offset=1": pages[1], f"{path}&offset=2": pages[2]}
    )
    async with connect() as ph:
        found = await ph.logs.attributes(limit=1, concurrency=2).collect()
    assert [attribute.name for attribute in found] == ["a0", "a1", "a2"]


async def test_everything_in_one_answer(server: Server) -> None:
    server.answers(
        [{"value": "DOC", "count": 3}],
        {"count": 0, "next": None, "previous": None, "results": []},
    )
    async with connect() as ph:
        flags = await ph.feature_flags.mine()
        await ph.feature_flags.list()
    assert server.lines == [
        "GET /api/projects/7/feature_flags/my_flags/",
        "GET /api/projects/7/feature_flags/",
    ]
    assert len(flags) == 1
    assert not flags.has_next


async def test_side_by_side(server: Server) -> None:
    def page(*ids: int, next: str | None) -> dict[str, Any]:
        return {"count": 5, "next": next, "previous": None, "results": things(*ids)}

    path = "/api/projects/7/cohorts/?limit=2"
    server.answers_by_line(
        {
            f"GET {path}": page(1, 2, next=f"{US}{path}&offset=2"),
            f"GET {path}&offset=2": page(3, 4, next=f"{US}{path}&offset=4"),
            f"GET {path}&offset=4": page(5, next=None),
        }
    )
    async with connect() as ph:
        cohorts = await ph.cohorts.list(limit=2, concurrency=3).collect()
    assert server.lines[0] == f"GET {path}"
    assert sorted(server.lines[1:]) == [f"GET {path}&offset=2", f"GET {path}&offset=4"]
    assert [cohort.id for cohort in cohorts] == [1, 2, 3, 4, 5]
