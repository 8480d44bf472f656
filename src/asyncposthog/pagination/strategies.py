"""How each style of pagination gets from one page to the next.

A strategy is a pure function: the call, the state of a page and its response give the state of the
next page, or None at the end. A short page is never the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeAlias, cast

from pydantic_core import to_json

from asyncposthog.model import Model
from asyncposthog.operation import PageStyle

from .next_link import follow
from .state import Call, Envelope, PageState, failure

__all__ = ["STRATEGIES", "Strategy", "content_id", "item_ids"]

Strategy: TypeAlias = Callable[[Call, PageState, Envelope], PageState | None]


_COMPLETE: Final = "The items up to here are complete."
_IDENTITIES: Final = tuple((n, attrgetter(n), itemgetter(n)) for n in ("id", "uuid"))


def item_ids(items: list[Any], *, unique: bool = True) -> tuple[Any, ...] | None:
    """Return what tells the items apart: their `id` or `uuid`; None where they have neither.

    Args:
        items: The items of one page.
        unique: Whether ids that items of the page share are no ids.
    """
    for name, of_object, of_dict in _IDENTITIES:
        if not items or _field(items[0], name) is None:
            continue
        try:
            found = tuple(map(of_dict if isinstance(items[0], dict) else of_object, items))
        except (AttributeError, KeyError, TypeError):  # of several kinds, or without it
            found = tuple(_field(item, name) for item in items)
        try:
            # An `id` that several items share is no identity.
            enough = len(set(found)) == len(found) or not unique
            return found if enough and None not in found else None
        except TypeError:
            return None
    return None


def content_id(items: list[Any]) -> str:
    """Return an id of a page whose items have none: two pages share it when they are the same."""
    plain = [item.raw() if isinstance(item, Model) else item for item in items]
    return f"sha256:{sha256(to_json(plain)).hexdigest()}"


def _field(item: Any, name: str) -> Any:
    if isinstance(item, dict):
        return cast("dict[str, Any]", item).get(name)
    return getattr(item, name, None)


def _offset(call: Call, state: PageState, page: Envelope) -> PageState | None:
    if not page.has("next"):
        return _next_offset(call, state, page)
    link = page.get("next")
    if not link:
        return _past_the_end(call, state, page)
    following = follow(call, state, link)
    return _to_offset(call, state, page, following) if "offset" in following.query else following


def _to_offset(
    call: Call, state: PageState, page: Envelope, following: PageState
) -> PageState | None:
    """Check and correct the offset that a link leads to."""
    here, target, got = call.offset(state), call.offset(following), len(page.received)
    if target <= here:
        raise failure(call.operation, f"`next` goes from offset {here} back to {target}")
    if target - here <= got:
        return following
    limit = call.limit(following)
    if limit is not None and target - here > max(limit, got):
        raise failure(
            call.operation,
            f"`next` skips items: after {got} items from offset {here} it continues at offset "
            f"{target}, further than a page of {limit}",
            _COMPLETE,
        )
    return _continued(state, page, {**following.query, "offset": here + got}) or following


def _past_the_end(call: Call, state: PageState, page: Envelope) -> PageState | None:
    """Request the rest where the server counts more items than it has returned."""
    if state.query and "offset" not in state.query:
        return None  # the server leads by something else than offsets
    reached = call.offset(state) + len(page.received)
    if page.count is None or reached >= page.count:
        return None
    return _unlinked(state, page, {**state.query, "offset": reached})


def _continued(state: PageState, page: Envelope, query: Mapping[str, Any]) -> PageState | None:
    """Return a state whose page may repeat items of this one; None if this one had nothing new.

    A page that came short was either cut, so that the next one begins where it ended, or filtered
    by the server, so that it has items from further on. Without the items that are known, both
    give every item once. Items without an id may be repeated, but none is missing.
    """
    if not page.items:
        return None
    known = item_ids(page.received)
    return PageState(query, state.after, () if known is None else tuple(map(str, known)))


def _unlinked(state: PageState, page: Envelope, query: Mapping[str, Any]) -> PageState | None:
    """Return the state of a page that the server counts but gives no link to."""
    following = _continued(state, page, query)
    if following is None:
        return None
    # The server may ignore where the page is to begin, and send this one again.
    skip = following.skip or (content_id(page.received),)
    return replace(following, skip=skip, beyond=True)


def _next_offset(call: Call, state: PageState, page: Envelope) -> PageState | None:
    """Advance by what has come, never by what was asked for: the server may give less."""
    here, got = call.offset(state), len(page.received)
    more = page.more
    if more is None:
        more = page.count is not None and here + got < page.count
    if not more:
        return None
    if not got:
        raise failure(
            call.operation,
            f"The server says that there are more items after offset {here}, and returns none",
        )
    return PageState({**state.query, "offset": here + got}, state.after)


def _persons(call: Call, state: PageState, page: Envelope) -> PageState | None:
    # A number of persons that the limit divides ends with an empty page.
    return _offset(call, state, page) if page.items else None


def _next_link(call: Call, state: PageState, page: Envelope) -> PageState | None:
    # Also where the schema knows no `next`. Some such links have offsets or page numbers.
    link = page.get("next")
    if not link:
        return None
    following = follow(call, state, link)
    if "cursor" in following.query:
        return following
    if "offset" in following.query and call.offset(following) != call.offset(state):
        return _to_offset(call, state, page, following)
    if "page" in following.query and _number(call, following) != _number(call, state):
        return _to_page(call, state, following)
    return following


def _page(call: Call, state: PageState, page: Envelope) -> PageState | None:
    here = _number(call, state)
    if not page.has("next") and page.more:
        return PageState({**state.query, "page": here + 1})
    link = page.get("next")
    if not link:
        return _uncounted_end(call, state, page, here)
    following = follow(call, state, link)
    return _to_page(call, state, following) if "page" in following.query else following


def _to_page(call: Call, state: PageState, following: PageState) -> PageState:
    """Check the page number that a link leads to."""
    here, number = _number(call, state), _number(call, following)
    if number <= here:
        raise failure(call.operation, f"`next` goes from page {here} back to {number}")
    if number > here + 1:
        raise failure(
            call.operation,
            f"`next` skips pages: after page {here} it continues at page {number}",
            _COMPLETE,
        )
    return following


def _uncounted_end(call: Call, state: PageState, page: Envelope, here: int) -> PageState | None:
    """Request the next page where the server counts more items than it has returned."""
    if page.more is False or page.count is None or (state.query and "page" not in state.query):
        return None
    reached = page.total
    if reached is None:  # the pages before this one are not known: take them to be full
        size = _page_size(call, state)
        reached = None if size is None else (here - 1) * size + len(page.received)
    if reached is None or reached >= page.count:
        return None
    return _unlinked(state, page, {**state.query, "page": here + 1})


def _page_size(call: Call, state: PageState) -> int | None:
    pagination = call.operation.pagination
    usual = None if pagination is None else pagination.page_size
    value = call.parameter("page_size", state) or call.parameter("limit", state) or usual
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None


def _number(call: Call, state: PageState) -> int:
    value = call.parameter("page", state)
    try:
        return int(value or 1)
    except (TypeError, ValueError):
        raise failure(call.operation, f"The page {value!r} is not a number") from None


def _events(call: Call, state: PageState, page: Envelope) -> PageState | None:
    """Continue at the last timestamp, that timestamp included.

    The server's own `next` excludes it, and so skips the events that share it. And the server has
    been seen to say that this is the end while events remain: only a page with nothing new is
    the end, where one can be requested. A page that one timestamp fills is requested again, twice
    as large, as long as the server returns more.
    """
    if not page.received:
        return None
    link = page.get("next")
    linked = follow(call, state, link) if link else None
    direction = _direction(call.parameter("orderBy", state))
    last = _timestamp(page.received[-1])
    known = item_ids(page.received, unique=False)
    if direction is None or last is None or known is None:
        return linked
    bound = last + _TICK if direction == "before" else last - _TICK
    query = {**(state.query if linked is None else linked.query), direction: bound.isoformat()}
    if call.parameter(direction, state) == query[direction]:
        # Every event of this page has the timestamp that the page before ended with.
        limit = call.limit(state) or _EVENTS
        if len(page.received) >= limit:
            query["limit"] = 2 * limit
            known = {*state.skip, *map(str, known)}
            return PageState(query, state.after, tuple(sorted(known)))
        if linked is None:
            return None
        raise failure(
            call.operation,
            f"More events share the timestamp {last.isoformat()} than the server returns on a page "
            f"({len(page.received)}): the others cannot be requested",
            "Use `query.stream()` or an export, or narrower filters.",
        )
    low, high = sorted((last, bound))
    times = map(_timestamp, page.received)
    skip = tuple(
        str(one)
        for one, time in zip(known, times, strict=True)
        if time is not None and low <= time <= high
    )
    return PageState(query, state.after, skip)


_TICK: Final = timedelta(microseconds=1)
"""The precision of the server's timestamps."""
_EVENTS: Final = 100
"""Events on a page, where the call does not say."""


def _direction(order: Any) -> str | None:
    """Return the parameter that bounds the rest; None where the order is not that of time."""
    if isinstance(order, str):
        try:
            order = json.loads(order)
        except ValueError:  # not JSON, but the name itself
            order = [order]
    names = cast("list[Any]", order) if isinstance(order, list) else []
    first: object = names[0] if names else "-timestamp"
    return {"-timestamp": "before", "timestamp": "after"}.get(str(first))


def _timestamp(event: Any) -> datetime | None:
    value = _field(event, "timestamp")
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, datetime) and value.tzinfo is not None else None


def _recordings(call: Call, state: PageState, page: Envelope) -> PageState | None:
    if page.more is False:
        return None
    cursor = page.get("next_cursor")
    if isinstance(cursor, str) and cursor:
        query = {**state.query, "after": cursor}
        if call.offset(state):
            query["offset"] = 0  # the cursor counts from the beginning
        return PageState(query)
    return _next_offset(call, state, page) if page.more else _next_link(call, state, page)


def _body_cursor(call: Call, state: PageState, page: Envelope) -> PageState | None:
    if page.more is False:
        return None
    cursor = page.get("nextCursor") or page.get("next_cursor")
    if cursor:
        return PageState(state.query, str(cursor))
    if page.more:
        raise failure(call.operation, "The server says that there are more items, without a cursor")
    return None


STRATEGIES: Final[Mapping[PageStyle, Strategy]] = {
    "offset": _offset,
    "persons": _persons,
    "cursor": _next_link,
    "page": _page,
    "events": _events,
    "recordings": _recordings,
    "body_cursor": _body_cursor,
    "single": _next_link,
}
