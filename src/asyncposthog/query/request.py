"""A query as it is sent, and what is known of it beforehand. Pure."""

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
    """A query, checked."""

    node: Any
    """What is sent as `query`: a model or a mapping with a `kind`."""
    kind: str
    scan: SqlScan | None = None
    """What was seen of the SQL; None: there is none."""
    values: Mapping[str, object] | None = None
    limit: int | None = None
    """The limit that a query which is no SQL gives."""


def prepare(query: object, values: Mapping[str, object] | None = None) -> PreparedQuery:
    """Check a query and its values.

    Args:
        query: HogQL, or any node of PostHog's query schema: a model or a mapping with a `kind`.
        values: What stands for the placeholders of HogQL.

    Raises:
        TypeError: It is neither, or has no place for values.
        ValueError: It is empty, or values and placeholders do not match.
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
        raise ValueError("a query that is no HogQL needs a 'kind': HogQLQuery, TrendsQuery, …")
    if values is None:
        return prepare_node(node)
    sql = _field(node, "query")
    if kind != _HOGQL or not isinstance(sql, str):
        raise TypeError(f"values go with HogQL, and this is a {kind}")
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
    """Return what is known of a node that is sent as it is."""
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
    """Return the number of rows at which the server cut a result; None: it is whole.

    A result is whole if it has as many rows as a LIMIT asked for. The server cuts where there is
    no LIMIT, and, without a word, where one is above 50,000.

    Args:
        plan: The query.
        rows: How many rows came.
        has_more: The answer's `hasMore`.
    """
    if query.scan is None:
        return rows if has_more is True and query.limit is None else None
    limits = [_resolve_limit(limit, query.values) for limit in query.scan.limits]
    if has_more is True:
        return rows
    if None in limits and has_more is None and rows >= DEFAULT_LIMIT:
        # Each SELECT of a UNION is cut by itself, and no answer says which.
        return rows if len(limits) > 1 or rows == DEFAULT_LIMIT else None
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
    """Return the mode, and the `refresh` to send while we wait and in the background.

    Raises:
        ValueError: There is no such mode, or no such refresh.
    """
    if mode not in {"auto", "blocking", "async"}:
        raise ValueError(f"mode is 'auto', 'blocking' or 'async', not {mode!r}")
    if refresh == "force_cache":
        raise ValueError(
            "refresh='force_cache' computes all the same on this endpoint: 'blocking' is what "
            "takes a cached result and computes where there is none"
        )
    if refresh in _BACKGROUND:
        return cast("Mode", mode), cast("str", refresh), _BACKGROUND[cast("str", refresh)]
    if refresh in {"force_async", "async", "lazy_async", "async_except_on_cache_miss"}:
        if mode == "blocking":
            raise ValueError(f"refresh={refresh!r} and mode='blocking' contradict each other")
        return "async", "force_blocking", cast("str", refresh)
    raise ValueError(f"refresh is {', '.join(map(repr, Refresh.__args__))}, not {refresh!r}")


def validate_name(name: object) -> str | None:
    """Check the name that PostHog's query log shows.

    Raises:
        TypeError: It is no str.
        ValueError: It is longer than 128 characters.
    """
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if len(name) > 128:
        raise ValueError(f"name has {len(name)} characters; PostHog takes up to 128")
    return name
