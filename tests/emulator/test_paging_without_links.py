"""Lists whose pages have no links: the client reads them from an emulator, over a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from operator import attrgetter
from typing import Any

import pytest

from asyncposthog import AsyncPostHog, PaginationWarning
from asyncposthog.model import Model
from asyncposthog.pagination import Cursor
from posthog_emulator import Emulator, serve_sync

pytestmark = pytest.mark.anyio

PARENTS: dict[str, tuple[str, ...]] = {
    "customer_analytics.external.accounts": (),
    "heatmaps.events": (),
    "heatmaps.saved.list": (),
    "hog_flows.assets.list": ("hog_flows",),
    "integrations.channels": ("integrations",),
    "integrations.github.branches": ("integrations",),
    "integrations.github.repos.list": ("integrations",),
    "integrations.github.teams": ("integrations",),
    "integrations.users": ("integrations",),
    "live_debugger_breakpoints.hits": (),
    "logs.attributes": (),
    "loops.runs.list": ("loops",),
    "mcp_analytics.sessions.list": (),
    "mcp_analytics.sessions.tool_calls": ("mcp_analytics.sessions",),
    "notebooks.widgets.versions": ("notebooks", "widget-1"),
    "persons.emails": ("persons",),
    "persons.push_notifications": ("persons",),
    "task_activity.list": (),
    "tasks.comments.list": ("tasks",),
    "tracing.spans.attributes": (),
    "users.integrations.github.branches": ("users", "installation-1"),
    "users.integrations.github.repos.list": ("users", "installation-1"),
}
"""The parents of each list: resources, or the ids of what no operation returns."""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "heatmaps.events": {"points": "[]"},
    "integrations.github.branches": {"repo": "acme/site"},
    "users.integrations.github.branches": {"repo": "acme/site"},
}
UNTIL_EMPTY = {
    "hog_flows.assets.list",
    "persons.emails",
    "persons.push_notifications",
    "tracing.spans.attributes",
}
"""Lists that end with a page without items, because nothing else says that they end."""
KEYS = {"notebooks": "short_id", "users": "uuid", "mcp_analytics.sessions": "session_id"}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Emulator, str]]:
    emulator = Emulator()
    with serve_sync(emulator) as url:
        yield emulator, url


@pytest.fixture
def emulator(served: tuple[Emulator, str]) -> Emulator:
    served[0].reset()
    return served[0]


@pytest.fixture
async def ph(emulator: Emulator, served: tuple[Emulator, str]) -> AsyncIterator[AsyncPostHog]:
    async with AsyncPostHog(emulator.key, project_id=1, host=served[1]) as ph:
        yield ph


def parents_of(emulator: Emulator, operation: str) -> list[Any]:
    return [
        emulator.add(name)[KEYS.get(name, "id")] if name.partition("-")[2] == "" else name
        for name in PARENTS[operation]
    ]


def plain(items: Any) -> list[Any]:
    return [item.raw() if isinstance(item, Model) else item for item in items]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("operation", PARENTS)
async def test_each_page_and_each_item_comes_once(
    emulator: Emulator, ph: AsyncPostHog, operation: str
) -> None:
    parents = parents_of(emulator, operation)
    emulator.seed(operation, 7, parents=parents)
    listed: Cursor[Any] = attrgetter(operation)(ph)(
        *parents, limit=3, **ARGUMENTS.get(operation, {})
    )
    pages = [page async for page in listed.pages()]
    assert [len(page) for page in pages] == [3, 3, 1] + [0] * (operation in UNTIL_EMPTY)
    items = [item for page in pages for item in plain(page)]
    assert len({json.dumps(item, sort_keys=True) for item in items}) == 7
    assert len(emulator.requests) == len(pages)
    assert plain([await listed.first()]) == items[:1]
    state = json.loads(json.dumps(pages[0].state))
    assert plain(await listed.resume(state).collect()) == items[3:]


async def test_names_are_stored_as_objects_with_a_name(
    emulator: Emulator, ph: AsyncPostHog
) -> None:
    parent = emulator.add("integrations")["id"]
    for name in ("main", "fix-login", "fix-logout"):
        emulator.add("integrations.github.branches", {"name": name}, parents=[parent])
    listed = ph.integrations.github.branches(parent, repo="acme/site", search="fix", limit=1)
    assert await listed.collect() == ["fix-login", "fix-logout"]


async def test_counts(emulator: Emulator, ph: AsyncPostHog) -> None:
    for name in ("live_debugger_breakpoints.hits", "heatmaps.events", "logs.attributes"):
        emulator.seed(name, 5)
    hits = await ph.live_debugger_breakpoints.hits(limit=2)
    assert (hits.raw.count, hits.count) == (2, None), "the number of items of the page"
    assert (await ph.heatmaps.events(points="[]", limit=2)).count == 5
    assert (await ph.logs.attributes(limit=2)).count == 5


async def test_a_cursor_is_stable_when_items_are_added_and_deleted(
    emulator: Emulator, ph: AsyncPostHog
) -> None:
    parent = emulator.add("loops")["id"]
    runs = emulator.seed("loops.runs", 5, parents=[parent])
    page = await ph.loops.runs.list(parent, limit=2)
    assert [str(run.id) for run in page] == [runs[4]["id"], runs[3]["id"]], "newest first"
    emulator.seed("loops.runs", 2, parents=[parent])
    path = f"/api/projects/1/loops/{parent}/runs/"
    emulator.state.store.collection(path).remove(runs[3]["id"])
    following = await page.next_page()
    assert following is not None
    assert [str(run.id) for run in following] == [runs[2]["id"], runs[1]["id"]]


async def test_activity_with_the_same_timestamp_is_told_apart_by_its_id(
    emulator: Emulator, ph: AsyncPostHog
) -> None:
    moment = {"activity_at": "2026-01-01T00:00:00.123456Z"}
    made = emulator.seed("task_activity.list", 5, moment)
    late = emulator.add("task_activity.list", {"activity_at": "2026-01-02T00:00:00Z"})
    found = await ph.task_activity.list(limit=2).collect()
    assert str(found[0].id) == late["id"]
    assert {str(entry.id) for entry in found[1:]} == {entry["id"] for entry in made}
    assert len(found) == 6


async def test_reviews_that_no_parameter_requests_are_a_warning(
    emulator: Emulator, ph: AsyncPostHog
) -> None:
    emulator.seed("review_hog.reviews", 7)
    with pytest.warns(PaginationWarning, match="raise `limit`"):
        assert len(await ph.review_hog.reviews.list().collect()) == 5
    assert len(await ph.review_hog.reviews.list(limit=10).collect()) == 7


async def test_summaries_of_tasks(emulator: Emulator, ph: AsyncPostHog) -> None:
    tasks = emulator.seed("tasks", 6, lambda index: {"title": f"task {index}"})
    wanted = [task["id"] for task in tasks[:5]]
    listed = ph.tasks.list_summaries(ids=wanted, limit=2, concurrency=2)
    assert [summary.title for summary in await listed.collect()] == [
        f"task {index}" for index in range(5)
    ]
    assert [len(page) for page in [page async for page in listed.pages()]] == [2, 2, 1]
