"""Detect the pagination style of operations from their parameters and the shape of their response.

A list returns an array, or an envelope: an object with one array, whose other fields are scalars.
What leads on from a page decides the style. Where a document does not say it, an override does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asyncposthog.operation import Pagination
from codegen.json_access import properties
from codegen.json_schema import alternatives, resolve, types_of
from codegen.overrides import OperationOverrides

__all__ = ["detect_pagination", "is_list"]

_DEFAULT_LIMIT = 100
"""PostHog's default limit for lists with an offset."""
_MORE = frozenset({"has_more", "has_next"})
_COUNTS = frozenset({"count", "total_count"})
_NEXT_OFFSETS = frozenset({"nextOffset", "next_offset"})
_SCALARS = frozenset({"boolean", "integer", "null", "number", "string"})


def detect_pagination(
    method: str,
    response: Mapping[str, Any],
    query: Mapping[str, Any],
    request: Mapping[str, Any],
    overrides: OperationOverrides,
    components: Mapping[str, Any],
) -> Pagination | None:
    """Return the pagination of an operation, or None if it has no pages.

    Args:
        method: The HTTP method, lower case.
        response: The resolved schema of the successful response.
        query: The schemas of the query parameters, by name.
        request: The resolved schema of the body; `{}` if there is none.
        overrides: The overrides of the operation. They take precedence.
        components: The components that the schemas refer to.
    """
    style = overrides.get("pagination")
    size = overrides.get("page_size")
    if style == "none":
        return None
    if style is not None:
        return Pagination(style=style, items=overrides.get("items", "results"), page_size=size)
    if method == "post":
        return _detect_in_body(response, request, components)
    if method != "get":
        return None
    pagination = _detect(response, query, components)
    return pagination if pagination is None or size is None else replace(pagination, page_size=size)


def is_list(
    method: str,
    response: Mapping[str, Any],
    query: Mapping[str, Any],
    components: Mapping[str, Any],
) -> bool:
    """Whether a response has many items, in which case the method is `list`, not `get`."""
    return method == "get" and _detect(response, query, components) is not None


def _detect(
    response: Mapping[str, Any], query: Mapping[str, Any], components: Mapping[str, Any]
) -> Pagination | None:
    """Return the pagination of a GET."""
    fields = set(properties(response))
    by_offset = {"limit", "offset"} <= query.keys()
    size = query.get("limit", {}).get("default")
    if response.get("type") == "array":
        if by_offset:
            return Pagination(style="until_empty", items=None, page_size=size)
        return Pagination(style="single", items=None)
    if {"results", "next"} <= fields:
        return _detect_links(fields, query)
    items = _items_field(response, components)
    if items is None:
        return None
    if any(f"next_{name}" in fields for name in query):
        return Pagination(style="next_values", items=items, page_size=size)
    if "next" in fields and _is_link(properties(response)["next"], components):
        return replace(_detect_links(fields, query), items=items)
    if "next" in fields and "cursor" in query:
        return Pagination(style="next_values", items=items, page_size=size)
    if by_offset and fields & _MORE:
        return Pagination(style="has_more", items=items, page_size=size)
    if by_offset and fields & _COUNTS:
        return Pagination(style="offset", items=items, page_size=size or _DEFAULT_LIMIT)
    if by_offset:
        return Pagination(style="until_empty", items=items, page_size=size)
    if "limit" in query and fields & _MORE:
        # More items, but no parameter to request them: the client says so.
        return Pagination(style="single", items=items, page_size=size)
    return None


def _detect_links(fields: set[str], query: Mapping[str, Any]) -> Pagination:
    """Return the pagination of an envelope with `next`, a link."""
    # A list with neither a count nor an offset can only be followed by its `next` link.
    if "cursor" in query or ("offset" not in query and "count" not in fields):
        return Pagination(style="cursor")
    if "page" in query and "offset" not in query:
        return Pagination(style="page")
    if "count" in fields:
        return Pagination(style="offset", page_size=_DEFAULT_LIMIT)
    return Pagination(style="persons")


def _detect_in_body(
    response: Mapping[str, Any], request: Mapping[str, Any], components: Mapping[str, Any]
) -> Pagination | None:
    """Return the pagination of a POST that gives the offset of the next page."""
    items = _items_field(response, components)
    if items is None or not set(properties(response)) & _NEXT_OFFSETS:
        return None
    fields = properties(request)
    inner = properties(resolve(fields.get("query", {}), components))
    if "offset" not in fields and "offset" not in inner:
        return None
    size = (fields.get("limit") or inner.get("limit") or {}).get("default")
    return Pagination(style="body_offset", items=items, page_size=size)


def _items_field(response: Mapping[str, Any], components: Mapping[str, Any]) -> str | None:
    """Return the field of an envelope that has the items; None if it is no envelope."""
    arrays: list[str] = []
    for name, schema in properties(response).items():
        if types_of(resolve(schema, components)) == "array":
            arrays.append(name)
        elif not _is_scalar(schema, components):
            return None
    return arrays[0] if len(arrays) == 1 else None


def _is_link(schema: Mapping[str, Any], components: Mapping[str, Any]) -> bool:
    flat = resolve(schema, components)
    branches = alternatives(flat) or [flat]
    return any(branch.get("format") in {"uri", "uri-reference"} for branch in branches)


def _is_scalar(schema: Mapping[str, Any], components: Mapping[str, Any]) -> bool:
    flat = resolve(schema, components)
    branches = alternatives(flat)
    if branches:
        return all(_is_scalar(branch, components) for branch in branches)
    return "enum" in flat or "const" in flat or types_of(flat) in _SCALARS
