"""Pages, in every style the API has, oddities included."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from asyncposthog.operation import PageStyle
from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Answer, Headers, json_answer
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import Row
from posthog_emulator.state import Call

from .filters import SortKey, chosen, sort_key, sort_keys

__all__ = ["DEFAULT_PAGE", "EventsPageParams", "events_asked", "paged"]

DEFAULT_PAGE = 100
_LOGS_PAGE, _LOGS_MOST = 1000, 2000


def paged(call: Call, rows: Sequence[Row] | None = None) -> Answer:
    """Answer a list operation.

    Args:
        call: The call; its parents have been located.
        rows: The rows to page through, in order; those the call asks for when None.
    """
    pagination = call.operation.pagination
    style: PageStyle = pagination.style if pagination is not None else "single"
    if style == "cursor" and call.request.value("page") is not None:
        style = "page"
    rows = chosen(call) if rows is None else rows
    if call.request.shuffle is not None:
        rows = list(rows)
        Random(call.request.shuffle).shuffle(rows)  # noqa: S311
    return _STYLES[style](call, rows)


def _size(call: Call) -> int:
    default = call.operation.pagination.page_size if call.operation.pagination else None
    return default or DEFAULT_PAGE


def _positive_int(call: Call, name: str, default: int) -> int:
    """A number from the query; like the server, the default for what is none."""
    text = call.request.value(name) or ""
    value = int(text) if text.isascii() and text.isdigit() else 0
    return value or default


def _link(call: Call, **changes: str | int | None) -> str:
    return call.request.link(call.world.settings.next_host, changes)


def _serialize_rows(call: Call, rows: Sequence[Row]) -> list[dict[str, Any]]:
    schema = call.answer_schema
    return [call.shape.shown(row.data, schema) for row in rows]


def _declared(call: Call) -> Mapping[str, Any]:
    """The fields of the envelope, as the schema has them."""
    return call.world.catalogue.properties(call.world.catalogue.answer(call.operation))


def _answer(
    call: Call, envelope: dict[str, Any], rows: Sequence[Row], headers: Headers | None = None
) -> Answer:
    field = call.operation.pagination.items if call.operation.pagination else None
    envelope[field or "results"] = _serialize_rows(call, rows)
    whole = call.world.catalogue.answer(call.operation)
    for name in call.world.catalogue.object_branch(whole).get("required", ()):
        # What else the schema wants in the envelope, beyond what the style is known to have.
        if name not in envelope and name not in {"count", "next", "previous"}:
            sub = call.world.catalogue.properties(whole)[name]
            envelope[name] = call.world.plain.value(sub, name)
    return json_answer(call.operation.result.status, envelope, headers)


def _offset(call: Call, rows: Sequence[Row]) -> Answer:
    limit = _positive_int(call, "limit", _size(call))
    offset = _positive_int(call, "offset", 0)
    following, preceding = offset + limit, offset - limit
    previous = _link(call, limit=limit, offset=preceding if preceding > 0 else None)
    envelope = {
        "count": len(rows),
        "next": _link(call, limit=limit, offset=following) if following < len(rows) else None,
        "previous": previous if offset > 0 else None,
    }
    return _answer(call, envelope, rows[offset:following])


def _persons(call: Call, rows: Sequence[Row]) -> Answer:
    limit = _positive_int(call, "limit", _size(call))
    offset = _positive_int(call, "offset", 0)
    page = rows[offset : offset + limit]
    previous: str | None = None
    if offset - limit > 0:
        previous = _link(call, limit=limit, offset=offset - limit)
    elif offset - limit == 0:
        # The server's URL helper ignores a zero, so the link leads back to this very page.
        previous = _link(call, limit=limit)
    envelope: dict[str, Any] = {
        "next": _link(call, limit=limit, offset=offset + limit) if len(page) >= limit else None,
        "previous": previous,
    }
    if call.request.value("include_total") is not None:
        envelope["count"] = len(rows)
    return _answer(call, envelope, page)


def _page(call: Call, rows: Sequence[Row]) -> Answer:
    size = min(_positive_int(call, "page_size", _positive_int(call, "limit", _size(call))), 1000)
    text = call.request.value("page") or "1"
    number = int(text) if text.isascii() and text.isdigit() else 0
    last = max(1, -(-len(rows) // size))
    if not 1 <= number <= last:
        raise not_found("Invalid page.")
    following = _link(call, page=number + 1) if number < last else None
    preceding = _link(call, page=number - 1 if number > 2 else None) if number > 1 else None
    count = "total_count" if "total_count" in _declared(call) else "count"
    envelope = {count: len(rows), "next": following, "previous": preceding}
    return _answer(call, envelope, rows[(number - 1) * size : number * size])


def _cursor(call: Call, rows: Sequence[Row]) -> Answer:
    """Pages by position: rows that come or go elsewhere do not shift them."""
    size = _size(call)
    if call.request.value("page_size"):
        size = min(_positive_int(call, "page_size", size), 1000)
    orders = sort_keys(call)
    field, descending = orders[0] if orders else ("", True)

    def place(row: Row) -> tuple[SortKey, int]:
        return (sort_key(row, field) if field else (0, 0), row.sequence)

    rows = sorted(rows, key=place, reverse=descending)
    places = [place(row) for row in rows]
    start, end = 0, size
    token = call.request.value("cursor")
    if token:
        backward, mark = _read_cursor(token)
        beyond = [p < mark if descending else p > mark for p in places]
        start = beyond.index(True) if True in beyond else len(rows)
        end = start + size
        if backward:
            behind = [p > mark if descending else p < mark for p in places]
            end = behind.count(True)
            start = max(0, end - size)
    page = rows[start:end]
    envelope = {
        "next": _link(call, cursor=_write_cursor(places[end - 1])) if end < len(rows) else None,
        "previous": _link(call, cursor=_write_cursor(places[start], backward=True))
        if page and start > 0
        else None,
    }
    return _answer(call, envelope, page)


def _write_cursor(place: tuple[SortKey, int], *, backward: bool = False) -> str:
    text = json.dumps([backward, list(place[0]), place[1]])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(token: str) -> tuple[bool, tuple[SortKey, int]]:
    try:
        backward, (rank, value), sequence = json.loads(base64.urlsafe_b64decode(token))
        mark = (int(rank), value), int(sequence)
    except (ValueError, TypeError, binascii.Error):
        raise not_found("Invalid cursor") from None
    return bool(backward), mark


@dataclass(frozen=True, slots=True)
class EventsPageParams:
    """Which page of events a request asks for."""

    limit: int
    offset: int
    ascending: bool
    before: datetime | None
    after: datetime | None


def events_asked(call: Call) -> EventsPageParams:
    """Read the paging parameters of a list of events."""
    most = call.world.settings.events_limit
    limit = _positive_int(call, "limit", _size(call))
    order = (call.request.value("orderBy") or "").replace(" ", "").lower()
    return EventsPageParams(
        limit if most is None else min(limit, most),
        _positive_int(call, "offset", 0),
        order in {'["timestamp"]', '["timestampasc"]'},
        _bound(call, "before"),
        _bound(call, "after"),
    )


def _events(call: Call, rows: Sequence[Row]) -> Answer:
    """Pages by timestamp, strictly: rows that share the last one's timestamp are skipped.

    The rows are those of the page, and one more if there is one.
    """
    asked = events_asked(call)
    page = rows[: asked.limit]
    following: str | None = None
    if len(rows) > asked.limit:
        edge = _moment(page[-1]).isoformat()
        following = _link(call, after=edge) if asked.ascending else _link(call, before=edge)
    return _answer(call, {"next": following}, page)


def _moment(row: Row) -> datetime:
    return _instant(str(row.data.get("timestamp"))) or datetime.min.replace(tzinfo=UTC)


def _instant(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _bound(call: Call, name: str) -> datetime | None:
    text = call.request.value(name)
    return None if text is None else _instant(text)


def _recordings(call: Call, rows: Sequence[Row]) -> Answer:
    limit = _positive_int(call, "limit", _size(call))
    offset = _positive_int(call, "offset", 0)
    envelope = {"has_next": len(rows) > offset + limit, "version": 4}
    timing = [("Server-Timing", "list;dur=1.0")]
    return _answer(call, envelope, rows[offset : offset + limit], timing)


def _body_cursor(call: Call, rows: Sequence[Row]) -> Answer:
    body: Mapping[str, Any] = as_object(call.body)
    given: Any = body.get("query", body)
    query = as_object(given)
    limit = query.get("limit") or _LOGS_PAGE
    if limit > _LOGS_MOST:
        raise invalid(f"Ensure this value is less than or equal to {_LOGS_MOST}.", "query__limit")
    latest = query.get("orderBy", "latest") != "earliest"

    def place(row: Row) -> tuple[str, str]:
        return _moment(row).isoformat(), row.key

    rows = sorted(rows, key=place, reverse=latest)
    after = query.get("after")
    if after:
        mark = _read_log_cursor(after)
        rows = [row for row in rows if (place(row) < mark if latest else place(row) > mark)]
    page = rows[:limit]
    more = len(rows) > limit
    envelope: dict[str, Any] = {"query": query, "hasMore": more, "nextCursor": None}
    if more:
        timestamp, key = place(page[-1])
        text = json.dumps({"timestamp": timestamp, "uuid": key})
        envelope["nextCursor"] = base64.b64encode(text.encode()).decode()
    return _answer(call, envelope, page)


def _read_log_cursor(token: Any) -> tuple[str, str]:
    try:
        held = json.loads(base64.b64decode(token))
        return str(held["timestamp"]), str(held["uuid"])
    except (ValueError, TypeError, KeyError):
        raise invalid("Invalid cursor", "query__after") from None


def _single(call: Call, rows: Sequence[Row]) -> Answer:
    pagination = call.operation.pagination
    if pagination is not None and pagination.items is not None:
        whole: dict[str, Any] = {"count": len(rows), "next": None, "previous": None}
        declared = _declared(call)
        return _answer(call, {name: whole[name] for name in whole if name in declared}, rows)
    return json_answer(call.operation.result.status, _serialize_rows(call, rows))


_STYLES: dict[PageStyle, Callable[[Call, Sequence[Row]], Answer]] = {
    "offset": _offset,
    "persons": _persons,
    "cursor": _cursor,
    "page": _page,
    "events": _events,
    "recordings": _recordings,
    "body_cursor": _body_cursor,
    "single": _single,
}
