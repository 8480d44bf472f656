"""How each style of paging gets from one page to the next.

A strategy is a pure function: the call, the state of a page and its answer give the state of the
next page, or None at the end. A short page is never the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeAlias, cast

from asyncposthog.operation import PageStyle

from .next_link import follow
from .state import Call, Envelope, PageState, failure

__all__ = ["STRATEGIES", "Strategy", "identities"]

Strategy: TypeAlias = Callable[[Call, PageState, Envelope], PageState | None]


_IDENTITIES: Final = tuple((n, attrgetter(n), itemgetter(n)) for n in ("id", "uuid"))


def identities(items: list[Any]) -> tuple[Any, ...] | None:
    """Return what tells the items apart: their `id` or `uuid`; None where they have neither."""
    for name, of_object, of_dict in _IDENTITIES:
        if not items or _field(items[0], name) is None:
            continue
        try:
            found = tuple(map(of_dict if isinstance(items[0], dict) else of_object, items))
        except (AttributeError, KeyError, TypeError):  # of several kinds, or without it
            found = tuple(_field(item, name) for item in items)
        try:
            # An `id` that several items share is no identity.
            return found if len(set(found)) == len(found) and None not in found else None
        except TypeError:
            return None
    return None


def _field(item: Any, name: str) -> Any:
    if isinstance(item, dict):
        return cast("dict[str, Any]", item).get(name)
    return getattr(item, name, None)


def _offset(call: Call, state: PageState, page: Envelope) -> PageState | None:
    if not page.has("next"):
        return _computed(call, state, page)
    link = page.get("next")
    if not link:
        return None
    following = follow(call, state, link)
    here = call.offset(state)
    if "offset" in following.query and call.offset(following) <= here:
        raise failure(
            call.operation,
            f"`next` goes from offset {here} back to {call.offset(following)}",
        )
    return following


def _computed(call: Call, state: PageState, page: Envelope) -> PageState | None:
    """Advance by what has come, never by what was asked for: the server may give less."""
    here, got = call.offset(state), len(page.items)
    more = page.more
    if more is None:
        more = page.count is not None and here + got < page.count
    if not more:
        return None
    if not got:
        raise failure(
            call.operation,
            f"The server says that there is more after offset {here}, and gives nothing",
        )
    return PageState({**state.query, "offset": here + got}, state.after)


def _persons(call: Call, state: PageState, page: Envelope) -> PageState | None:
    # A number of persons that the limit divides ends with an empty page.
    return _offset(call, state, page) if page.items else None


def _linked(call: Call, state: PageState, page: Envelope) -> PageState | None:
    # Also for answers said to be whole: a `next` that the schema does not know is followed.
    link = page.get("next")
    return follow(call, state, link) if link else None


def _page(call: Call, state: PageState, page: Envelope) -> PageState | None:
    here = _number(call, state)
    if not page.has("next"):
        return PageState({**state.query, "page": here + 1}) if page.more else None
    following = _linked(call, state, page)
    if following is not None and "page" in following.query and _number(call, following) <= here:
        raise failure(
            call.operation, f"`next` goes from page {here} back to {_number(call, following)}"
        )
    return following


def _number(call: Call, state: PageState) -> int:
    value = call.parameter("page", state)
    try:
        return int(value or 1)
    except (TypeError, ValueError):
        raise failure(call.operation, f"The page {value!r} is no number") from None


def _events(call: Call, state: PageState, page: Envelope) -> PageState | None:
    if not page.items:
        return None
    link = page.get("next")
    if link:
        return follow(call, state, link)
    # The server has been seen to say that this is the end while events remain. Only an empty page
    # is believed, where we can ask for one.
    direction = _direction(call.parameter("orderBy", state))
    last = _moment(_field(page.items[-1], "timestamp"))
    if direction is None or last is None or identities(page.items) is None:
        return None
    probe = PageState({**state.query, direction: last}, probing=True)
    return None if call.key(probe) == call.key(state) else probe


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


def _moment(value: Any) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat() if value.tzinfo is not None else None
    return value if isinstance(value, str) and value else None


def _recordings(call: Call, state: PageState, page: Envelope) -> PageState | None:
    if page.more is False:
        return None
    cursor = page.get("next_cursor")
    if isinstance(cursor, str) and cursor:
        query = {**state.query, "after": cursor}
        if call.offset(state):
            query["offset"] = 0  # the cursor counts from the beginning
        return PageState(query)
    return _computed(call, state, page) if page.more else _linked(call, state, page)


def _body_cursor(call: Call, state: PageState, page: Envelope) -> PageState | None:
    if page.more is False:
        return None
    cursor = page.get("nextCursor") or page.get("next_cursor")
    if cursor:
        return PageState(state.query, str(cursor))
    if page.more:
        raise failure(call.operation, "The server says that there is more, and gives no cursor")
    return None


STRATEGIES: Final[Mapping[PageStyle, Strategy]] = {
    "offset": _offset,
    "persons": _persons,
    "cursor": _linked,
    "page": _page,
    "events": _events,
    "recordings": _recordings,
    "body_cursor": _body_cursor,
    "single": _linked,
}
