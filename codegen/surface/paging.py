"""Which style of pagination an operation has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from asyncposthog.operation import Pagination
from codegen.overrides import OperationOverrides

__all__ = ["is_list", "paging"]


def paging(
    method: str,
    answer: Mapping[str, Any],
    query: Collection[str],
    facts: OperationOverrides,
) -> Pagination | None:
    """Classify one operation.

    Args:
        method: The HTTP method, lower case.
        answer: The resolved schema of the successful answer.
        query: Names of the query parameters.
        facts: What the overrides say; they win.
    """
    style = facts.get("pagination")
    items = facts.get("items", "results")
    size = facts.get("page_size")
    if style == "none":
        return None
    if style is not None:
        return Pagination(style=style, items=items, page_size=size)
    if method != "get":
        return None
    if answer.get("type") == "array":
        return Pagination(style="single", items=None)
    fields = set(answer.get("properties", ()))
    if "results" not in fields or "next" not in fields:
        return None
    if "cursor" in query or ("offset" not in query and "count" not in fields):
        style = "cursor"
    elif "page" in query and "offset" not in query:
        style = "page"
    elif "count" in fields:
        style = "offset"
    else:
        style = "persons"
    return Pagination(style=style, page_size=size or (100 if style == "offset" else None))


def is_list(method: str, answer: Mapping[str, Any]) -> bool:
    """Whether an answer holds many things, which decides between `list` and `get`."""
    fields = set(answer.get("properties", ()))
    return method == "get" and (answer.get("type") == "array" or {"results", "next"} <= fields)
