"""Pagination strategies: how each style of the server gets from one page to the next.

A strategy is a pure function of the call, the state of a page and its response. It returns the
state of the next page, or None at the end. A short page never counts as the end: the server may
lower the page size, or filter items after it has cut the page.
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

from .next_link import state_from_link
from .state import Envelope, ListCall, PageState, pagination_error

__all__ = ["STRATEGIES", "Strategy", "content_id", "item_ids"]

Strategy: TypeAlias = Callable[[ListCall, PageState, Envelope], PageState | None]


_ITEMS_SO_FAR_COMPLETE: Final = "The items up to here are complete."
_ID_FIELDS: Final = tuple((n, attrgetter(n), itemgetter(n)) for n in ("id", "uuid"))


def item_ids(items: list[Any], *, unique: bool = True) -> tuple[Any, ...] | None:
    """Return the ids of items: their `id` or `uuid`; None if they have neither.

    Args:
        items: The items of one page.
        unique: Whether to return None if two items of the page have the same id.
    """
    for name, of_object, of_dict in _ID_FIELDS:
        if not items or _field(items[0], name) is None:
            continue
        try:
            ids = tuple(map(of_dict if isinstance(items[0], dict) else of_object, items))
        except (AttributeError, KeyError, TypeError):  # Items of several types, or without an id.
            ids = tuple(_field(item, name) for item in items)
        try:
            # Some lists have an `id` that several items share: it identifies something else.
            distinct = len(set(ids)) == len(ids) or not unique
            return ids if distinct and None not in ids else None
        except TypeError:
            return None
    return None


def content_id(items: list[Any]) -> str:
    """Return a digest of a page whose items have no ids: the same page has the same digest."""
    plain = [item.raw() if isinstance(item, Model) else item for item in items]
    return f"sha256:{sha256(to_json(plain)).hexdigest()}"


def _field(item: Any, name: str) -> Any:
    if isinstance(item, dict):
        return cast("dict[str, Any]", item).get(name)
    return getattr(item, name, None)


def _offset(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    if not page.has("next"):
        return _next_offset(call, state, page)
    link = page.get("next")
    if not link:
        return _unlinked_offset(call, state, page)
    next_state = state_from_link(call, state, link)
    return (
        _validate_offset(call, state, page, next_state)
        if "offset" in next_state.query
        else next_state
    )


def _validate_offset(
    call: ListCall, state: PageState, page: Envelope, next_state: PageState
) -> PageState | None:
    """Return the state that a link leads to, with its offset corrected if it skips items.

    Raises:
        PaginationError: The offset does not advance, or skips more than a page.
    """
    here, target, got = call.offset(state), call.offset(next_state), len(page.received)
    if target <= here:
        raise pagination_error(call.operation, f"`next` goes from offset {here} back to {target}")
    # The server computes the link from the page size that it was asked for, and may then return
    # fewer items, because it caps the page size or filters items.
    if target - here <= got:
        return next_state
    limit = call.limit(next_state)
    if limit is not None and target - here > max(limit, got):
        raise pagination_error(
            call.operation,
            f"`next` skips items: after {got} items from offset {here} it continues at offset "
            f"{target}, further than a page of {limit}",
            _ITEMS_SO_FAR_COMPLETE,
        )
    return _overlapping_state(state, page, {**next_state.query, "offset": here + got}) or next_state


def _unlinked_offset(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    """Return the state behind a page without `next`, if the server counts more items."""
    if state.query and "offset" not in state.query:
        return None  # Earlier links had no offsets.
    reached = call.offset(state) + len(page.received)
    if page.count is None or reached >= page.count:
        return None
    return _speculative_state(state, page, {**state.query, "offset": reached})


def _overlapping_state(
    state: PageState, page: Envelope, query: Mapping[str, Any]
) -> PageState | None:
    """Return a state whose page may overlap this one; None if this page had nothing new."""
    # A short page was either cut, so that the next one begins where it ended, or filtered, so that
    # it contains items from further on. The response does not say which. Continuing where it ended
    # and skipping the ids of this page gives every item once in both cases; items without ids may
    # be repeated, but none is missing.
    if not page.items:
        return None
    ids = item_ids(page.received)
    return PageState(query, state.after, () if ids is None else tuple(map(str, ids)))


def _speculative_state(
    state: PageState, page: Envelope, query: Mapping[str, Any]
) -> PageState | None:
    """Return the state of a page that the server counts, but gives no link to."""
    next_state = _overlapping_state(state, page, query)
    if next_state is None:
        return None
    # The server may ignore the offset or page number, and return this page again.
    skip = next_state.skip or (content_id(page.received),)
    return replace(next_state, skip=skip, speculative=True)


def _next_offset(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    """Return the state behind a page without a `next` field."""
    # Advance by the number of received items, not by the requested limit, which may be capped.
    here, got = call.offset(state), len(page.received)
    more = page.has_more
    if more is None:
        more = page.count is not None and here + got < page.count
    if not more:
        return None
    if not got:
        raise pagination_error(
            call.operation,
            f"The server says that there are more items after offset {here}, but returns none",
        )
    return PageState({**state.query, "offset": here + got}, state.after)


def _persons(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    # If the limit divides the number of persons, `next` leads to an empty page, which is the end.
    return _offset(call, state, page) if page.items else None


def _next_link(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    # Also for lists whose schema has no `next`. Some of these links have offsets or page numbers.
    link = page.get("next")
    if not link:
        return None
    next_state = state_from_link(call, state, link)
    if "cursor" in next_state.query:
        return next_state
    if "offset" in next_state.query and call.offset(next_state) != call.offset(state):
        return _validate_offset(call, state, page, next_state)
    if "page" in next_state.query and _page_number(call, next_state) != _page_number(call, state):
        return _validate_page_number(call, state, next_state)
    return next_state


def _page(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    here = _page_number(call, state)
    if not page.has("next") and page.has_more:
        return PageState({**state.query, "page": here + 1})
    link = page.get("next")
    if not link:
        return _unlinked_page(call, state, page, here)
    next_state = state_from_link(call, state, link)
    return (
        _validate_page_number(call, state, next_state) if "page" in next_state.query else next_state
    )


def _validate_page_number(call: ListCall, state: PageState, next_state: PageState) -> PageState:
    """Return the state that a link leads to.

    Raises:
        PaginationError: The page number does not advance by one.
    """
    here, number = _page_number(call, state), _page_number(call, next_state)
    if number <= here:
        raise pagination_error(call.operation, f"`next` goes from page {here} back to {number}")
    if number > here + 1:
        raise pagination_error(
            call.operation,
            f"`next` skips pages: after page {here} it continues at page {number}",
            _ITEMS_SO_FAR_COMPLETE,
        )
    return next_state


def _unlinked_page(call: ListCall, state: PageState, page: Envelope, here: int) -> PageState | None:
    """Return the state of the next page number, if the server counts more items."""
    if page.has_more is False or page.count is None or (state.query and "page" not in state.query):
        return None
    reached = page.items_so_far
    if reached is None:  # Resumed in the middle: assume that the pages before were full.
        size = _page_size(call, state)
        reached = None if size is None else (here - 1) * size + len(page.received)
    if reached is None or reached >= page.count:
        return None
    return _speculative_state(state, page, {**state.query, "page": here + 1})


def _page_size(call: ListCall, state: PageState) -> int | None:
    pagination = call.operation.pagination
    usual = None if pagination is None else pagination.page_size
    value = call.parameter("page_size", state) or call.parameter("limit", state) or usual
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None


def _page_number(call: ListCall, state: PageState) -> int:
    value = call.parameter("page", state)
    try:
        return int(value or 1)
    except (TypeError, ValueError):
        raise pagination_error(call.operation, f"The page {value!r} is not a number") from None


def _events(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    """Return the state of the next page of events, which includes the last timestamp again."""
    # The server's `next` excludes the last timestamp, and so skips events that share it. It is
    # also null now and then while events remain. So each page repeats the last timestamp, known
    # events are skipped, and only a page with nothing new is the end. If one timestamp fills a
    # page, the page is requested again with twice the limit, as long as the server returns more.
    if not page.received:
        return None
    link = page.get("next")
    linked = state_from_link(call, state, link) if link else None
    direction = _direction(call.parameter("orderBy", state))
    last = _timestamp(page.received[-1])
    ids = item_ids(page.received, unique=False)
    if direction is None or last is None or ids is None:
        return linked
    bound = last + _TIMESTAMP_PRECISION if direction == "before" else last - _TIMESTAMP_PRECISION
    query = {**(state.query if linked is None else linked.query), direction: bound.isoformat()}
    if call.parameter(direction, state) == query[direction]:
        # Every event of this page has the timestamp that the page before ended with.
        limit = call.limit(state) or _DEFAULT_EVENTS_LIMIT
        if len(page.received) >= limit:
            query["limit"] = 2 * limit
            skip = {*state.skip, *map(str, ids)}
            return PageState(query, state.after, tuple(sorted(skip)))
        if linked is None:
            return None
        raise pagination_error(
            call.operation,
            f"More events share the timestamp {last.isoformat()} than the server returns on a page "
            f"({len(page.received)}): the others cannot be requested",
            "Use `query.stream()` or an export, or narrower filters.",
        )
    low, high = sorted((last, bound))
    times = map(_timestamp, page.received)
    overlap = tuple(
        str(event_id)
        for event_id, time in zip(ids, times, strict=True)
        if time is not None and low <= time <= high
    )
    return PageState(query, state.after, overlap)


_TIMESTAMP_PRECISION: Final = timedelta(microseconds=1)
"""The precision of event timestamps: `before` and `after` are exclusive, so this includes them."""
_DEFAULT_EVENTS_LIMIT: Final = 100
"""Events on a page if the call has no limit."""


def _direction(order: Any) -> str | None:
    """Return the parameter that limits the rest; None if the order is not by timestamp."""
    if isinstance(order, str):
        try:
            order = json.loads(order)
        except ValueError:  # Not JSON, but the name itself.
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


def _recordings(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    if page.has_more is False:
        return None
    cursor = page.get("next_cursor")
    if isinstance(cursor, str) and cursor:
        query = {**state.query, "after": cursor}
        if call.offset(state):
            query["offset"] = 0  # The cursor includes it: sent again, it would skip items.
        return PageState(query)
    return _next_offset(call, state, page) if page.has_more else _next_link(call, state, page)


def _body_cursor(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    if page.has_more is False:
        return None
    cursor = page.get("nextCursor") or page.get("next_cursor")
    if cursor:
        return PageState(state.query, str(cursor))
    if page.has_more:
        raise pagination_error(
            call.operation, "The server says that there are more items, but gives no cursor"
        )
    return None


def _body_offset(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    if page.has_more is False:
        return None
    here, got = call.body_offset(state), len(page.received)
    target = next((page.get(n) for n in ("nextOffset", "next_offset") if page.has(n)), None)
    if target is None:
        if page.has_more:
            raise pagination_error(
                call.operation, "The server says that there are more items, but gives no offset"
            )
        return None
    if not isinstance(target, int) or target <= here:
        raise pagination_error(
            call.operation, f"The next offset goes from {here} back to {target!r}"
        )
    if 0 < got < target - here:
        # As with links: the page is shorter than the server's own step.
        ids = item_ids(page.received)
        skip = () if ids is None else tuple(map(str, ids))
        return PageState(state.query, skip=skip, body_offset=here + got)
    return PageState(state.query, body_offset=target)


def _next_values(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    if page.has_more is False:
        return None
    names = [parameter.name for parameter in call.operation.query_parameters]
    values = {name: _wire_value(page.get(f"next_{name}")) for name in names}
    if "cursor" in values and values["cursor"] is None:
        values["cursor"] = _wire_value(page.get("next"))
    values = {name: value for name, value in values.items() if value is not None}
    if not values:
        if page.has_more:
            raise pagination_error(
                call.operation, "The server says that there are more items, but not where"
            )
        return None
    next_state = PageState({**state.query, **values})
    return _validate_offset(call, state, page, next_state) if "offset" in values else next_state


def _wire_value(value: Any) -> str | int | None:
    """Return a value of a response as it is sent in a query; None if it is null or empty."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, int) else str(value or "") or None


def _until_empty(call: ListCall, state: PageState, page: Envelope) -> PageState | None:
    # A short page may be due to a lower maximum of the server, so that only an empty one, or one
    # with nothing new, is the end.
    offset = call.offset(state) + len(page.received)
    return _speculative_state(state, page, {**state.query, "offset": offset})


STRATEGIES: Final[Mapping[PageStyle, Strategy]] = {
    "offset": _offset,
    "persons": _persons,
    "cursor": _next_link,
    "page": _page,
    "events": _events,
    "recordings": _recordings,
    "body_cursor": _body_cursor,
    "body_offset": _body_offset,
    "has_more": _next_offset,
    "next_values": _next_values,
    "until_empty": _until_empty,
    "single": _next_link,
}
