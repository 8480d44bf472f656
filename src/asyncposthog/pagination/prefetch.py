"""Fetch several pages concurrently, where their positions are known in advance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from .state import Envelope, ListCall, PageState

__all__ = ["fetch_concurrently", "plan_prefetch"]

T = TypeVar("T")


def plan_prefetch(
    call: ListCall, state: PageState, page: Envelope, next_state: PageState, max_pages: int
) -> list[PageState]:
    """Return the states of the pages to fetch concurrently, in order, `next_state` first.

    Args:
        call: The call.
        state: The state of the last page.
        page: Its response.
        next_state: The state of the next page.
        max_pages: How many pages to fetch at most.
    """
    count = page.count
    alone = next_state.skip or next_state.speculative
    if max_pages < 2 or count is None or alone:
        return [next_state]
    if "page" in next_state.query and "offset" not in next_state.query:
        return _plan_page_numbers(page, next_state, count, max_pages)
    if "offset" not in next_state.query:
        return [next_state]
    start = call.offset(next_state)
    step = start - call.offset(state)
    # Only while pages are as full as the server's own step: after a page that is not, the server
    # has changed the page size or filtered items, and the offsets computed here may be wrong.
    if step < 1 or step != len(page.received):
        return [next_state]
    offsets = range(start + step, count, step)[: max_pages - 1]
    further = [PageState({**next_state.query, "offset": offset}) for offset in offsets]
    return [next_state, *further]


def _plan_page_numbers(
    page: Envelope, next_state: PageState, count: int, max_pages: int
) -> list[PageState]:
    """Return the states of pages that have numbers."""
    text, size, so_far = str(next_state.query["page"]), len(page.received), page.items_so_far
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return [next_state]
    number = int(text)
    # Only while all pages were as full as this one: otherwise the number of the last is unknown.
    if not size or so_far is None or so_far != size * (number - 1):
        return [next_state]
    numbers = range(number + 1, -(-count // size) + 1)[: max_pages - 1]
    return [next_state, *(PageState({**next_state.query, "page": n}) for n in numbers)]


async def fetch_concurrently(
    function: Callable[[PageState], Awaitable[T]], states: Sequence[PageState]
) -> list[T]:
    """Call a function for every state concurrently, and return the results in order.

    Raises:
        Exception: The first exception of a call, not wrapped in a group. The other calls are
            cancelled, and all have ended.
    """
    if len(states) == 1:
        return [await function(states[0])]
    from anyio import create_task_group

    results: dict[int, T] = {}
    errors: list[Exception] = []

    async def run(index: int) -> None:
        try:
            results[index] = await function(states[index])
        except Exception as error:  # Raised below, once every task has ended.
            errors.append(error)
            group.cancel_scope.cancel()

    async with create_task_group() as group:
        for index in range(len(states)):
            group.start_soon(run, index)
    if errors:
        try:
            raise errors[0]
        finally:
            # The traceback refers to this frame, and the frame to the exception: a cycle.
            errors.clear()
    return [results[index] for index in range(len(states))]
