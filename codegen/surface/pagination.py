"""Detect the pagination style of operations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from asyncposthog.operation import Pagination
from codegen.overrides import OperationOverrides

__all__ = ["detect_pagination", "is_list"]


def detect_pagination(
    method: str,
    response: Mapping[str, Any],
    query: Collection[str],
    overrides: OperationOverrides,
) -> Pagination | None:
    """Return the pagination of an operation, or None if it has no pages.

    Args:
        method: The HTTP method, lower case.
        response: The resolved schema of the successful response.
        query: Names of the query parameters.
        overrides: The overrides of the operation. They take precedence.
    """
    style = overrides.get("pagination")
    items = overrides.get("items", "results")
    size = overrides.get("page_size")
    if style == "none":
        return None
    if style is not None:
        return Pagination(style=style, items=items, page_size=size)
    if method != "get":
        return None
    if response.get("type") == "array":
        return Pagination(style="single", items=None)
    fields = set(response.get("properties", ()))
    if "results" not in fields or "next" not in fields:
        return None
    # A list with neither a count nor an offset can only be followed by its `next` link.
    if "cursor" in query or ("offset" not in query and "count" not in fields):
        style = "cursor"
    elif "page" in query and "offset" not in query:
        style = "page"
    elif "count" in fields:
        style = "offset"
    else:
        style = "persons"
    # 100 is PostHog's default limit for lists with an offset.
    return Pagination(style=style, page_size=size or (100 if style == "offset" else None))


def is_list(method: str, response: Mapping[str, Any]) -> bool:
    """Whether a response has many items, in which case the method is `list`, not `get`."""
    fields = set(response.get("properties", ()))
    return method == "get" and (response.get("type") == "array" or {"results", "next"} <= fields)
