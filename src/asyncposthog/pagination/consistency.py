"""Signs that pages do not fit together: pure functions that return a message, or None.

The items of a list can change between the requests for its pages, and no client can see that. It
can only see the effects: a count that changes, items that come twice, fewer items than counted.
"""

from __future__ import annotations

from typing import Any

from .next_link import follow
from .state import Call, Envelope, PageState
from .strategies import item_ids

__all__ = ["count_changed", "fewer", "gap", "is_whole", "repeated", "short", "unordered"]

_BY_OFFSET = frozenset({"offset", "persons"})


def is_whole(call: Call, state: PageState) -> bool:
    """Return whether a page is the first of its list."""
    return (
        not state.query
        and state.after is None
        and str(call.parameter("page", state) or 1) == "1"
        and not call.parameter("cursor", state)
        and not call.parameter("offset", state)
    )


def count_changed(before: int | None, now: int | None) -> str | None:
    """Compare the server's counts on two pages that follow each other."""
    if before is None or now is None or before == now:
        return None
    return (
        f"the count changed from {before} to {now} between two pages: items were added or deleted "
        "meanwhile, so that some may be missing or repeated"
    )


def repeated(before: frozenset[Any] | None, ids: frozenset[Any] | None) -> str | None:
    """Compare the ids on two pages that follow each other."""
    twice = len(before & ids) if before and ids else 0
    if not twice:
        return None
    return (
        f"{twice} of the items of a page were on the page before it: items were added meanwhile, "
        "or their order is not stable, so that others may be missing"
    )


def gap(call: Call, state: PageState, page: Envelope, following: PageState) -> str | None:
    """Compare where a page ended with where the next one begins."""
    if not _by_offset(call) or "offset" not in following.query:
        return None
    ended, begins = call.offset(state) + len(page.received), call.offset(following)
    if begins == ended and not following.skip and item_ids(page.received) is None:
        link = page.get("next")
        linked = call.offset(follow(call, state, link)) if link else ended
        if linked > ended:
            return (
                f"a page ended at offset {ended}, and its `next` begins at {linked}: the list "
                f"continues at {ended}, so that items may be repeated, which have no id"
            )
    if begins <= ended:
        return None
    return (
        f"a page ended at offset {ended}, and the next one begins at {begins}: the "
        f"{begins - ended} items between may be missing"
    )


def unordered(call: Call, following: PageState) -> str | None:
    """Find pages of events that continue after a timestamp, and not at it."""
    pagination = call.operation.pagination
    if pagination is None or pagination.style != "events" or following.skip:
        return None
    return (
        "the order is not that of time, or events have no id: events that share a timestamp where "
        "one page ends and the next begins may be missing"
    )


def short(call: Call, state: PageState, page: Envelope, *, total: int, whole: bool) -> str | None:
    """Compare what came with the count, at the end of the list.

    Args:
        call: The call.
        state: The state of the last page.
        page: The last page.
        total: How many items came on all pages.
        whole: Whether the first of these pages was the first of the list.
    """
    if whole:
        reached = total
    elif _by_offset(call) and call.parameter("offset", state) is not None:
        reached = call.offset(state) + (len(page.received) if page.items else 0)
    else:
        return None
    return fewer(reached, page.count)


def fewer(reached: int, count: int | None) -> str | None:
    """Compare the number of items at the end of a list with the server's count."""
    if count is None or reached >= count:
        return None
    return (
        f"the list ended after {reached} items, and the server counts {count}: the others "
        "were deleted meanwhile, or the server does not show them"
    )


def _by_offset(call: Call) -> bool:
    pagination = call.operation.pagination
    return pagination is not None and pagination.style in _BY_OFFSET
