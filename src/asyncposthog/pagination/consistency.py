"""Checks that pages fit together: pure functions that return a warning, or None.

The items of a list can change between the requests for its pages, and a client cannot see that
directly. It can only see the effects: a count that changes, items that come twice, fewer items
than counted.
"""

from __future__ import annotations

from typing import Any

from .next_link import state_from_link
from .state import Envelope, ListCall, PageState
from .strategies import item_ids

__all__ = [
    "below_count",
    "count_changed",
    "incomplete_list",
    "is_first_page",
    "offset_gap",
    "repeated_items",
    "unstable_order",
]

_OFFSET_STYLES = frozenset({"offset", "persons"})


def is_first_page(call: ListCall, state: PageState) -> bool:
    """Return whether a page is the first of its list."""
    return (
        not state.query
        and state.after is None
        and not call.body_offset(state)
        and str(call.parameter("page", state) or 1) == "1"
        and not call.parameter("cursor", state)
        and not call.parameter("offset", state)
    )


def count_changed(previous: int | None, current: int | None) -> str | None:
    """Return a warning if the server's counts on two consecutive pages differ."""
    if previous is None or current is None or previous == current:
        return None
    return (
        f"the count changed from {previous} to {current} between two pages: items were added or "
        "deleted meanwhile, so that some may be missing or repeated"
    )


def repeated_items(previous: frozenset[Any] | None, ids: frozenset[Any] | None) -> str | None:
    """Return a warning if two consecutive pages have ids in common."""
    repeated = len(previous & ids) if previous and ids else 0
    if not repeated:
        return None
    return (
        f"{repeated} of the items of a page were on the page before it: items were added "
        "meanwhile, or their order is not stable, so that others may be missing"
    )


def offset_gap(
    call: ListCall, state: PageState, page: Envelope, next_state: PageState
) -> str | None:
    """Return a warning if the next page does not begin where a page ended.

    Args:
        call: The call.
        state: The state of the page.
        page: Its response.
        next_state: The state of the next page.
    """
    if not _uses_offsets(call) or "offset" not in next_state.query:
        return None
    end, next_start = call.offset(state) + len(page.received), call.offset(next_state)
    if next_start == end and not next_state.skip and item_ids(page.received) is None:
        # The strategy has replaced the offset of the link, which leads further. Without ids, it
        # cannot tell which items of the overlap came before.
        link = page.get("next")
        linked = call.offset(state_from_link(call, state, link)) if link else end
        if linked > end:
            return (
                f"a page ended at offset {end}, and its `next` begins at {linked}: the list "
                f"continues at {end}, so that items may be repeated, which have no id"
            )
    if next_start <= end:
        return None
    return (
        f"a page ended at offset {end}, and the next one begins at {next_start}: the "
        f"{next_start - end} items between may be missing"
    )


def unstable_order(call: ListCall, next_state: PageState) -> str | None:
    """Return a warning if pages of events continue after a timestamp, rather than at it."""
    pagination = call.operation.pagination
    if pagination is None or pagination.style != "events" or next_state.skip:
        return None
    return (
        "the order is not that of time, or events have no id: events that share a timestamp where "
        "one page ends and the next begins may be missing"
    )


def incomplete_list(
    call: ListCall, state: PageState, page: Envelope, *, items_so_far: int, from_start: bool
) -> str | None:
    """Return a warning if a list ended before the server's count was reached.

    Args:
        call: The call.
        state: The state of the last page.
        page: Its response.
        items_so_far: How many items came on all pages.
        from_start: Whether the first of these pages was the first of the list.
    """
    pagination = call.operation.pagination
    if page.has_more and pagination is not None and pagination.style == "single":
        return (
            "the server has more items than it returned, and no parameter to request them: raise "
            "`limit`, or narrow the filters"
        )
    if from_start:
        reached = items_so_far
    elif _uses_offsets(call) and call.parameter("offset", state) is not None:
        reached = call.offset(state) + (len(page.received) if page.items else 0)
    else:
        # Resumed in the middle of a list without offsets: how many items came before is unknown.
        return None
    return below_count(reached, page.count)


def below_count(reached: int, count: int | None) -> str | None:
    """Return a warning if fewer items than the server's count were reached."""
    if count is None or reached >= count:
        return None
    return (
        f"the list ended after {reached} items, and the server counts {count}: the others "
        "were deleted meanwhile, or the server does not show them"
    )


def _uses_offsets(call: ListCall) -> bool:
    pagination = call.operation.pagination
    return pagination is not None and pagination.style in _OFFSET_STYLES
