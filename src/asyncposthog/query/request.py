"""Prepare and validate a query before it is sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from pydantic import BaseModel

from .sql_scan import DEFAULT_LIMIT, MAX_LIMIT, SqlScan, scan_sql
from .values import bind

__all__ = [
    "Mode",
    "PreparedQuery",
    "Refresh",
    "prepare",
    "prepare_node",
    "resolve_refresh",
    "truncated_at",
    "validate_name",
]

Mode: TypeAlias = Literal["auto", "blocking", "async"]
Refresh: TypeAlias = Literal[
    "force_blocking",
    "blocking",
    "force_async",
    "async",
    "lazy_async",
    "async_except_on_cache_miss",
]

_BACKGROUND: dict[str, str] = {"force_blocking": "force_async", "blocking": "async"}
_HOGQL = "HogQLQuery"


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A validated query."""

    node: Any
    """The value of `query` in the request: a model, or a mapping with a `kind`."""
    kind: str
    """The kind of the node, such as `HogQLQuery`."""
    scan: SqlScan | None = None
    """The scan of its HogQL; None if it has none."""
    values: Mapping[str, object] | None = None
    """The values of its placeholders."""
    limit: int | None = None
    """The `limit` of a query that is not HogQL."""


def prepare(query: object, values: Mapping[str, object] | None = None) -> PreparedQuery:
    """Validate a query and its values.

    Args:
        query: HogQL, or any node of PostHog's query schema: a model or a mapping with a `kind`.
        values: The values of placeholders in HogQL.

    Raises:
        TypeError: The query is of another type, or is not HogQL and has values.
        ValueError: The query is empty, or values and placeholders do not match.
    """
    if values is not None and not isinstance(cast("object", values), Mapping):
        raise TypeError(f"values must be a mapping, not {type(values).__name__}")
    if isinstance(query, str):
        return _prepare_hogql({"kind": _HOGQL}, query, values)
    if isinstance(query, BaseModel):
        node = cast("Any", query)
    elif isinstance(query, Mapping):
        node = dict(cast("Mapping[str, Any]", query))
    else:
        raise TypeError(
            f"a query is a str of HogQL, a model of asyncposthog.models or a mapping with a "
            f"'kind', not {type(query).__name__}"
        )
    kind = _field(node, "kind")
    if not isinstance(kind, str) or not kind:
        raise ValueError("a query that is not HogQL needs a 'kind': HogQLQuery, TrendsQuery, …")
    if values is None:
        return prepare_node(node)
    sql = _field(node, "query")
    if kind != _HOGQL or not isinstance(sql, str):
        raise TypeError(f"only HogQL takes values, and this is a {kind}")
    if isinstance(node, BaseModel):
        node = node.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return _prepare_hogql({**node, "kind": _HOGQL}, sql, values)


def _prepare_hogql(
    node: dict[str, Any], sql: str, values: Mapping[str, object] | None
) -> PreparedQuery:
    text, sent = bind(sql, values)
    node["query"] = text
    if sent:
        node["values"] = sent
    return PreparedQuery(node, _HOGQL, scan_sql(text), values)


def prepare_node(node: Any) -> PreparedQuery:
    """Return the prepared query of a node that is sent unchanged."""
    kind, limit = str(_field(node, "kind")), _field(node, "limit")
    source = node
    while (inner := _field(source, "source")) is not None:
        source = inner
    sql = _field(source, "query")
    if _field(source, "kind") == _HOGQL and isinstance(sql, str):
        values = _field(source, "values")
        if not isinstance(values, Mapping):
            return PreparedQuery(node, kind, scan_sql(sql))
        return PreparedQuery(node, kind, scan_sql(sql), cast("Mapping[str, object]", values))
    return PreparedQuery(node, kind, limit=limit if isinstance(limit, int) else None)


def _field(node: Any, name: str) -> Any:
    if isinstance(node, Mapping):
        return cast("Mapping[str, Any]", node).get(name)
    return getattr(node, name, None)


def truncated_at(query: PreparedQuery, rows: int, has_more: object) -> int | None:
    """Return the number of rows at which the server truncated a result; None if it is complete.

    A result with as many rows as its LIMIT is complete. The server truncates a query without a
    LIMIT, and silently one with a LIMIT above 50,000.

    Args:
        query: The query.
        rows: How many rows the response has.
        has_more: The `hasMore` of the response.
    """
    if query.scan is None:
        return rows if has_more is True and query.limit is None else None
    limits = [_resolve_limit(limit, query.values) for limit in query.scan.limits]
    if has_more is True:
        return rows
    if None in limits and has_more is None and rows >= DEFAULT_LIMIT:
        # Each SELECT of a UNION is truncated by itself, and the response does not say which.
        return rows if len(limits) > 1 or rows == DEFAULT_LIMIT else None
    # As many rows as the maximum are complete only if the LIMIT is exactly that.
    if rows < MAX_LIMIT or (len(limits) == 1 and limits == [rows]):
        return None
    return rows


def _resolve_limit(
    limit: int | str | None, values: Mapping[str, object] | None
) -> int | str | None:
    if isinstance(limit, str):
        value = (values or {}).get(limit)
        return value if isinstance(value, int) else "?"
    return limit


def resolve_refresh(refresh: object, mode: object) -> tuple[Mode, str, str]:
    """Return the mode, and the `refresh` to send for blocking and for background execution.

    Raises:
        ValueError: There is no such mode or refresh, or they contradict each other.
    """
    if mode not in {"auto", "blocking", "async"}:
        raise ValueError(f"mode is 'auto', 'blocking' or 'async', not {mode!r}")
    if refresh == "force_cache":
        raise ValueError(
            "refresh='force_cache' runs the query all the same on this endpoint: 'blocking' uses "
            "a cached result, and runs the query if there is none"
        )
    if refresh in _BACKGROUND:
        return cast("Mode", mode), cast("str", refresh), _BACKGROUND[cast("str", refresh)]
    if refresh in {"force_async", "async", "lazy_async", "async_except_on_cache_miss"}:
        if mode == "blocking":
            raise ValueError(f"refresh={refresh!r} and mode='blocking' contradict each other")
        return "async", "force_blocking", cast("str", refresh)
    raise ValueError(f"refresh is {', '.join(map(repr, Refresh.__args__))}, not {refresh!r}")


def validate_name(name: object) -> str | None:
    """Return a valid name for PostHog's query log.

    Raises:
        TypeError: It is not a str.
        ValueError: It is longer than 128 characters.
    """
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if len(name) > 128:
        raise ValueError(f"name has {len(name)} characters; PostHog accepts up to 128")
    return name
