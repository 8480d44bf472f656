"""Paginate lists in each of the API's styles, with the quirks of the server."""

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
from posthog_emulator.http.messages import Headers, Response, json_response
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import ApiCall

from .apply_filters import SortKey, next_parameters, select_rows, sort_fields, sort_key

__all__ = ["DEFAULT_PAGE", "EventsPageParams", "paginate", "parse_events_page"]

DEFAULT_PAGE = 100
_DEFAULT_LOGS_PAGE, _MAX_LOGS_PAGE = 1000, 2000
_MAX_PAGE = 1000
"""The largest page that may be requested by page number or by cursor."""


def paginate(call: ApiCall, rows: Sequence[StoredObject] | None = None) -> Response:
    """Return the page of a list operation that a call asks for.

    Args:
        call: The call; its parents have been resolved.
        rows: The rows of the whole list, in order; by default those that match the call's filters.
    """
    pagination = call.operation.pagination
    style: PageStyle = pagination.style if pagination is not None else "single"
    # These lists take page numbers as well; the cursor is only the default.
    if style == "cursor" and call.request.query_value("page") is not None:
        style = "page"
    rows = select_rows(call) if rows is None else rows
    if call.request.shuffle is not None:
        rows = list(rows)
        Random(call.request.shuffle).shuffle(rows)  # noqa: S311
    return _STYLES[style](call, rows)


def _default_size(call: ApiCall) -> int:
    default = call.operation.pagination.page_size if call.operation.pagination else None
    return default or DEFAULT_PAGE


def _positive_int(call: ApiCall, name: str, default: int) -> int:
    """Return a query parameter as a number; the default if it is none, as on the server."""
    text = call.request.query_value(name) or ""
    value = int(text) if text.isascii() and text.isdigit() else 0
    return value or default


def _link(call: ApiCall, **changes: str | int | None) -> str:
    return call.request.link(call.state.settings.next_host, changes)


def _serialize_rows(call: ApiCall, rows: Sequence[StoredObject]) -> Sequence[dict[str, Any] | str]:
    schema = call.response_schema
    if schema is not None and call.state.catalogue.types(schema) == {"string"}:
        # Some lists have names for items. They are stored as objects, as all items are.
        return [str(row.data.get("name", f"{call.operation.name}-{row.sequence}")) for row in rows]
    return [call.object_schema.serialize(row.data, schema) for row in rows]


def _envelope_fields(call: ApiCall) -> Mapping[str, Any]:
    """Return the schemas of the envelope's fields."""
    return call.state.catalogue.properties(call.state.catalogue.response_schema(call.operation))


def _page_response(
    call: ApiCall,
    envelope: dict[str, Any],
    rows: Sequence[StoredObject],
    headers: Headers | None = None,
) -> Response:
    field = call.operation.pagination.items if call.operation.pagination else None
    envelope[field or "results"] = _serialize_rows(call, rows)
    schema = call.state.catalogue.response_schema(call.operation)
    for name in call.state.catalogue.object_branch(schema).get("required", ()):
        # Some lists have further fields in their envelope. `count` and the links are left out on
        # purpose in some styles, whatever the schema says.
        if name not in envelope and name not in {"count", "next", "previous"}:
            sub = call.state.catalogue.properties(schema)[name]
            envelope[name] = call.state.plain_samples.value(sub, name)
    return json_response(call.operation.result.status, envelope, headers)


def _offset(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    limit = _positive_int(call, "limit", _default_size(call))
    offset = _positive_int(call, "offset", 0)
    next_offset, previous_offset = offset + limit, offset - limit
    next_link = _link(call, limit=limit, offset=next_offset) if next_offset < len(rows) else None
    previous_link = None
    if offset > 0:
        # The link to the first page has no offset: Django REST framework removes a zero.
        previous_link = _link(
            call, limit=limit, offset=previous_offset if previous_offset > 0 else None
        )
    envelope = {"count": len(rows), "next": next_link, "previous": previous_link}
    declared = _envelope_fields(call)
    if declared and "next" not in declared:
        envelope = {"count": len(rows)}
    return _page_response(call, envelope, rows[offset:next_offset])


def _persons(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    limit = _positive_int(call, "limit", _default_size(call))
    offset = _positive_int(call, "offset", 0)
    page = rows[offset : offset + limit]
    previous: str | None = None
    if offset - limit > 0:
        previous = _link(call, limit=limit, offset=offset - limit)
    elif offset - limit == 0:
        # The server's URL helper ignores a zero and keeps the request's own offset, so that the
        # link to the first page leads to this page.
        previous = _link(call, limit=limit)
    # Without a total the server does not know whether a full page is the last one.
    envelope: dict[str, Any] = {
        "next": _link(call, limit=limit, offset=offset + limit) if len(page) >= limit else None,
        "previous": previous,
    }
    if call.request.query_value("include_total") is not None:
        envelope["count"] = len(rows)
    return _page_response(call, envelope, page)


def _page(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    size = min(
        _positive_int(call, "page_size", _positive_int(call, "limit", _default_size(call))),
        _MAX_PAGE,
    )
    text = call.request.query_value("page") or "1"
    number = int(text) if text.isascii() and text.isdigit() else 0
    last = max(1, -(-len(rows) // size))
    if not 1 <= number <= last:
        raise not_found("Invalid page.")
    next_link = _link(call, page=number + 1) if number < last else None
    previous_link = _link(call, page=number - 1 if number > 2 else None) if number > 1 else None
    count = "total_count" if "total_count" in _envelope_fields(call) else "count"
    envelope = {count: len(rows), "next": next_link, "previous": previous_link}
    return _page_response(call, envelope, rows[(number - 1) * size : number * size])


def _cursor(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    """Return a page after a position: rows added or deleted before it do not shift the page."""
    size = _default_size(call)
    if call.request.query_value("page_size"):
        size = min(_positive_int(call, "page_size", size), _MAX_PAGE)
    fields = sort_fields(call)
    field, descending = fields[0] if fields else ("", True)

    def position_of(row: StoredObject) -> tuple[SortKey, int]:
        return (sort_key(row, field) if field else (0, 0), row.sequence)

    rows = sorted(rows, key=position_of, reverse=descending)
    positions = [position_of(row) for row in rows]
    start, end = 0, size
    token = call.request.query_value("cursor")
    if token:
        backward, cursor = _decode_cursor(token)
        after = [p < cursor if descending else p > cursor for p in positions]
        start = after.index(True) if True in after else len(rows)
        end = start + size
        if backward:
            before = [p > cursor if descending else p < cursor for p in positions]
            end = before.count(True)
            start = max(0, end - size)
    page = rows[start:end]
    envelope = {
        "next": (
            _link(call, cursor=_encode_cursor(positions[end - 1])) if end < len(rows) else None
        ),
        "previous": (
            _link(call, cursor=_encode_cursor(positions[start], backward=True))
            if page and start > 0
            else None
        ),
    }
    return _page_response(call, envelope, page)


def _encode_cursor(position: tuple[SortKey, int], *, backward: bool = False) -> str:
    text = json.dumps([backward, list(position[0]), position[1]])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decode_cursor(token: str) -> tuple[bool, tuple[SortKey, int]]:
    try:
        backward, (rank, value), sequence = json.loads(base64.urlsafe_b64decode(token))
        position = (int(rank), value), int(sequence)
    except (ValueError, TypeError, binascii.Error):
        raise not_found("Invalid cursor") from None
    return bool(backward), position


@dataclass(frozen=True, slots=True)
class EventsPageParams:
    """The paging parameters of a list of events."""

    limit: int
    offset: int
    ascending: bool
    before: datetime | None
    after: datetime | None


def parse_events_page(call: ApiCall) -> EventsPageParams:
    """Return the paging parameters of a call that lists events."""
    max_limit = call.state.settings.max_events_per_page
    limit = _positive_int(call, "limit", _default_size(call))
    order = (call.request.query_value("orderBy") or "").replace(" ", "").lower()
    return EventsPageParams(
        limit if max_limit is None else min(limit, max_limit),
        _positive_int(call, "offset", 0),
        # Only these two texts mean ascending; any other order is the default, descending.
        order in {'["timestamp"]', '["timestampasc"]'},
        _query_timestamp(call, "before"),
        _query_timestamp(call, "after"),
    )


def _events(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    """Return a page by timestamp. The rows are those of the page, and one more if there is one.

    The link to the next page excludes the timestamp of the last row, as on the server: rows that
    share it and did not fit on the page are on no page.
    """
    params = parse_events_page(call)
    page = rows[: params.limit]
    next_link: str | None = None
    if len(rows) > params.limit:
        last = _row_timestamp(page[-1]).isoformat()
        next_link = _link(call, after=last) if params.ascending else _link(call, before=last)
    return _page_response(call, {"next": next_link}, page)


def _row_timestamp(row: StoredObject) -> datetime:
    return _parse_timestamp(str(row.data.get("timestamp"))) or datetime.min.replace(tzinfo=UTC)


def _parse_timestamp(text: str) -> datetime | None:
    try:
        timestamp = datetime.fromisoformat(text)
    except ValueError:
        return None
    return timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)


def _query_timestamp(call: ApiCall, name: str) -> datetime | None:
    text = call.request.query_value(name)
    return None if text is None else _parse_timestamp(text)


def _recordings(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    limit = _positive_int(call, "limit", _default_size(call))
    offset = _positive_int(call, "offset", 0)
    envelope = {"has_next": len(rows) > offset + limit, "version": 4}
    timing = [("Server-Timing", "list;dur=1.0")]
    return _page_response(call, envelope, rows[offset : offset + limit], timing)


def _body_cursor(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    body: Mapping[str, Any] = as_object(call.body)
    query = as_object(body.get("query", body))
    limit = query.get("limit") or _DEFAULT_LOGS_PAGE
    if limit > _MAX_LOGS_PAGE:
        detail = f"Ensure this value is less than or equal to {_MAX_LOGS_PAGE}."
        raise invalid(detail, "query__limit")
    latest = query.get("orderBy", "latest") != "earliest"

    def position_of(row: StoredObject) -> tuple[str, str]:
        return _row_timestamp(row).isoformat(), row.key

    rows = sorted(rows, key=position_of, reverse=latest)
    token = query.get("after")
    if token:
        cursor = _decode_log_cursor(token)
        rows = [
            row
            for row in rows
            if (position_of(row) < cursor if latest else position_of(row) > cursor)
        ]
    page = rows[:limit]
    has_more = len(rows) > limit
    envelope: dict[str, Any] = {"query": query, "hasMore": has_more, "nextCursor": None}
    if has_more:
        timestamp, key = position_of(page[-1])
        text = json.dumps({"timestamp": timestamp, "uuid": key})
        envelope["nextCursor"] = base64.b64encode(text.encode()).decode()
    return _page_response(call, envelope, page)


def _decode_log_cursor(token: Any) -> tuple[str, str]:
    try:
        cursor = json.loads(base64.b64decode(token))
        return str(cursor["timestamp"]), str(cursor["uuid"])
    except (ValueError, TypeError, KeyError):
        raise invalid("Invalid cursor", "query__after") from None


def _body_offset(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    body: Mapping[str, Any] = as_object(call.body)
    query = as_object(body.get("query", body))
    limit, offset = query.get("limit") or _default_size(call), query.get("offset") or 0
    if query.keys() - {"limit", "offset"}:
        call.fidelity = "schema"  # The other fields select and sort rows, which is not emulated.
    more = offset + limit < len(rows)
    next_offset = offset + limit if more else None
    envelope: dict[str, Any] = {
        "limit": limit,
        "offset": offset,
        "hasMore": more,
        "has_more": more,
        "next_offset": next_offset,
    }
    if more:
        envelope["nextOffset"] = next_offset
    return _declared_response(call, envelope, rows[offset : offset + limit])


def _has_more(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    limit = _positive_int(call, "limit", _default_size(call))
    offset = _positive_int(call, "offset", 0)
    page, more = rows[offset : offset + limit], offset + limit < len(rows)
    envelope: dict[str, Any] = {
        "has_more": more,
        "has_next": more,
        # In these lists, `count` is that of the page.
        "count": len(page),
        "total": len(rows),
        "total_count": len(rows),
        "limit": limit,
        "offset": offset,
    }
    return _declared_response(call, envelope, page)


def _until_empty(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    limit = _positive_int(call, "limit", _default_size(call))
    offset = _positive_int(call, "offset", 0)
    page = rows[offset : offset + limit]
    if call.operation.pagination is not None and call.operation.pagination.items is None:
        return json_response(call.operation.result.status, _serialize_rows(call, page))
    return _declared_response(call, {"count": len(rows)}, page)


def _next_values(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    """Return a page, with the values of the parameters that request the next one."""
    limit = _positive_int(call, "limit", _default_size(call))
    fields = next_parameters(call.state, call.operation)
    values: dict[str, Any] = {}
    if "offset" in fields:
        offset = _positive_int(call, "offset", 0)
        rest, values = rows[offset:], {"offset": offset + limit}
    elif "cursor" in fields:
        rest = _rows_after_token(call, rows)
        if len(rest) > limit:
            values = {"cursor": _encode_cursor(((0, 0), rest[limit - 1].sequence))}
    else:
        rest = _rows_before(call, rows)
        if len(rest) > limit:
            last = rest[limit - 1]
            values = {"before": _time_of(call, last), "before_id": last.key}
    more = len(rest) > limit
    envelope: dict[str, Any] = {"count": len(rows)}
    envelope |= {field: values.get(name) if more else None for name, field in fields.items()}
    return _declared_response(call, envelope, rest[:limit])


def _rows_after_token(call: ApiCall, rows: Sequence[StoredObject]) -> list[StoredObject]:
    """Return the rows after the position in `cursor`, newest first."""
    token = call.request.query_value("cursor")
    _, (_, sequence) = _decode_cursor(token) if token else (False, ((0, 0), None))
    newest = sorted(rows, key=lambda row: row.sequence, reverse=True)
    return [row for row in newest if sequence is None or row.sequence < sequence]


def _rows_before(call: ApiCall, rows: Sequence[StoredObject]) -> list[StoredObject]:
    """Return the rows before the time and id in `before` and `before_id`, newest first."""

    def position_of(row: StoredObject) -> tuple[datetime, str]:
        return _parse_timestamp(_time_of(call, row)) or datetime.min.replace(tzinfo=UTC), row.key

    before = _query_timestamp(call, "before")
    newest = sorted(rows, key=position_of, reverse=True)
    if before is None:
        return newest
    end = (before, call.request.query_value("before_id") or "")
    return [row for row in newest if position_of(row) < end]


def _time_of(call: ApiCall, row: StoredObject) -> str:
    """Return the value of the first timestamp that the schema of a row has."""
    for name, schema in call.object_schema.properties.items():
        if schema.get("format") == "date-time":
            return str(row.data.get(name) or "")
    return ""


def _declared_response(
    call: ApiCall, envelope: Mapping[str, Any], rows: Sequence[StoredObject]
) -> Response:
    """Return a page with those fields of the envelope that the schema declares."""
    declared = _envelope_fields(call)
    return _page_response(call, {n: v for n, v in envelope.items() if n in declared}, rows)


def _single(call: ApiCall, rows: Sequence[StoredObject]) -> Response:
    pagination = call.operation.pagination
    if pagination is not None and pagination.items is not None:
        envelope: dict[str, Any] = {"count": len(rows), "next": None, "previous": None}
        if "has_more" in _envelope_fields(call):
            size = _positive_int(call, "limit", _default_size(call))
            rows, envelope["has_more"] = rows[:size], size < len(rows)
        return _declared_response(call, envelope, rows)
    return json_response(call.operation.result.status, _serialize_rows(call, rows))


_STYLES: dict[PageStyle, Callable[[ApiCall, Sequence[StoredObject]], Response]] = {
    "offset": _offset,
    "persons": _persons,
    "cursor": _cursor,
    "page": _page,
    "events": _events,
    "recordings": _recordings,
    "body_cursor": _body_cursor,
    "body_offset": _body_offset,
    "has_more": _has_more,
    "next_values": _next_values,
    "until_empty": _until_empty,
    "single": _single,
}
