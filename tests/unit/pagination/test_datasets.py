"""Any dataset is complete and in order, and every iteration ends."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog.errors import PaginationError, PaginationWarning
from asyncposthog.operation import PageStyle
from asyncposthog.pagination import cursor
from asyncposthog.types import OMIT
from tests.helpers.paged_servers import (
    SERVERS,
    CursorServer,
    EventServer,
    Fixed,
    OffsetServer,
    PersonsServer,
    events,
    operation,
    page_of,
    things,
)

datasets = st.integers(0, 60).map(things)


@settings(deadline=None)
@given(
    items=datasets,
    limit=st.none() | st.integers(1, 30),
    largest=st.integers(1, 30),
    concurrency=st.integers(1, 6),
    start=st.none() | st.integers(0, 70),
    with_next=st.booleans(),
    with_count=st.booleans(),
)
def test_any_dataset_by_offset_is_complete_and_in_order(
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


@settings(deadline=None)
@given(items=datasets, limit=st.integers(1, 30))
def test_any_dataset_of_persons_is_complete_and_in_order(items: list[Any], limit: int) -> None:
    listed = cursor(PersonsServer(items), operation("persons"), {"limit": limit})
    assert anyio.run(listed.collect) == items


@settings(deadline=None)
@given(number=st.integers(0, 40), limit=st.integers(1, 12), early=st.booleans())
def test_any_dataset_of_events_is_complete_and_in_order(
    number: int, limit: int, early: bool
) -> None:
    server = EventServer(events(number))
    server.says_end_early = early
    listed = cursor(server, operation("events"), {"limit": limit})
    assert anyio.run(listed.collect) == events(number)


@settings(deadline=None)
@given(
    style=st.sampled_from([s for s in SERVERS if s not in ("offset", "persons", "events")]),
    items=datasets,
    size=st.integers(1, 12),
)
def test_any_dataset_of_the_other_styles(style: PageStyle, items: list[Any], size: int) -> None:
    make, _ = SERVERS[style]
    server = make(items)
    if isinstance(server, CursorServer):
        server.size = size
    query = {"page": {"page_size": size}, "cursor": {}}.get(style, {"limit": size})
    body: Any = OMIT
    if style in ("body_cursor", "body_offset"):
        query, body = {}, {"query": {"limit": size}}
    assert anyio.run(cursor(server, operation(style), query, body).collect) == items


@settings(deadline=None)
@given(
    links=st.lists(st.sampled_from(["?offset=0", "?offset=3", "?offset=6", "?cursor=a", "", None]))
)
def test_every_sequence_of_links_ends(links: list[Any]) -> None:
    answers = [page_of(n, next=link) for n, link in enumerate(links)] or [page_of(0)]
    server = Fixed(*answers)
    with contextlib.suppress(PaginationError), warnings.catch_warnings():
        warnings.simplefilter("ignore", PaginationWarning)
        anyio.run(cursor(server, operation("offset")).collect)
    assert len(server.queries) <= 2 * len(answers) + 1
