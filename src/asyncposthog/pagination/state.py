"""The request for a page and its response, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pydantic import BaseModel

from asyncposthog.errors import PaginationError, RequestInfo
from asyncposthog.model import Model
from asyncposthog.operation import Operation
from asyncposthog.types import OMIT

__all__ = ["Envelope", "ListCall", "PageState", "pagination_error"]

_NOTHING: Final[Mapping[str, Any]] = {}
_STATE_FIELDS: Final = frozenset({"query", "after", "skip", "speculative", "body_offset"})
_TOTALS: Final = ("total_count",)
_COUNTS: Final = ("count", *_TOTALS)
_COUNTS_OF_A_PAGE: Final = frozenset({"has_more", "until_empty"})
"""Pagination styles in which `count` is the number of items of the page, or a lower bound."""


def pagination_error(
    operation: Operation, message: str, suggestion: str | None = None
) -> PaginationError:
    """Return the error for a response from which pagination cannot continue."""
    return PaginationError(
        message,
        operation=operation.id,
        request=RequestInfo(operation.method, operation.path),
        suggestion=suggestion,
    )


@dataclass(frozen=True, slots=True)
class PageState:
    """Where a page begins: what its request adds to the call, or replaces in it."""

    query: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Query parameters by wire name: text, numbers, or lists of text."""
    after: str | None = None
    """The cursor to send in the body, if the pagination style has it there."""
    skip: tuple[str, ...] = ()
    """Ids, as text, of items to leave out: the page may overlap the page before it."""
    speculative: bool = False
    """Whether the page may not exist: the server gave no link to it, but counts more items."""
    body_offset: int | None = None
    """The offset to send in the body, if the pagination style has it there."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON data that `from_json` accepts."""
        data: dict[str, Any] = {"query": dict(self.query), "after": self.after}
        if self.skip:
            data["skip"] = list(self.skip)
        if self.body_offset is not None:
            data["body_offset"] = self.body_offset
        return {**data, "speculative": True} if self.speculative else data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PageState:
        """Return the state that `to_json` returned as JSON data.

        Raises:
            ValueError: The data is something else.
        """
        query, after, skip = data.get("query", {}), data.get("after"), data.get("skip", [])
        ids = cast("Sequence[object]", skip) if isinstance(skip, list | tuple) else (None,)
        speculative, body_offset = data.get("speculative", False), data.get("body_offset")
        valid = isinstance(query, Mapping) and isinstance(after, str | None)
        valid = valid and _STATE_FIELDS.issuperset(data)
        valid = valid and isinstance(speculative, bool)
        valid = valid and isinstance(body_offset, int | None) and not isinstance(body_offset, bool)
        if not valid or not all(isinstance(item_id, str) for item_id in ids):
            raise ValueError("invalid page state; pass the value of `page.state`")
        names = cast("Mapping[str, Any]", query)
        return cls(dict(names), after, tuple(map(str, ids)), speculative, body_offset)


@dataclass(frozen=True, slots=True)
class ListCall:
    """A list call, as the user made it."""

    operation: Operation
    query: Mapping[str, Any] | None = None
    body: Any = OMIT
    path: tuple[Any, ...] = ()

    def parameter(self, name: str, state: PageState) -> Any:
        """Return a query parameter as it is sent in the request for a page."""
        parameters = self.query or _NOTHING
        return state.query.get(name, parameters.get(name))

    def offset(self, state: PageState) -> int:
        """Return the offset of a page."""
        value = self.parameter("offset", state)
        try:
            return int(value or 0)
        except (TypeError, ValueError):
            raise pagination_error(
                self.operation, f"The offset {value!r} is not a number"
            ) from None

    def limit(self, state: PageState) -> int | None:
        """Return the page size requested for a page; None if the request has none."""
        try:
            return int(self.parameter("limit", state))
        except (TypeError, ValueError):
            return None

    def query_at(self, state: PageState) -> Mapping[str, Any] | None:
        """Return the query of the request for a page."""
        return {**(self.query or _NOTHING), **state.query} if state.query else self.query

    def body_offset(self, state: PageState) -> int:
        """Return the offset of a page whose request has it in the body."""
        if state.body_offset is not None:
            return state.body_offset
        body = _fields(self.body)
        value = _fields(body["query"]).get("offset") if "query" in body else body.get("offset")
        return value if isinstance(value, int) else 0

    def body_at(self, state: PageState) -> Any:
        """Return the body of the request for a page. The body of the call is not changed."""
        changes: dict[str, Any] = {}
        if state.after is not None:
            changes["after"] = state.after
        if state.body_offset is not None:
            changes["offset"] = state.body_offset
        if not changes:
            return self.body
        body = _fields(self.body)
        if "query" in body:
            return {**body, "query": {**_fields(body["query"]), **changes}}
        return {**body, **changes}

    def key(self, state: PageState) -> int:
        """Return a hash of the request for a page: the same request has the same hash."""
        query = self.query_at(state) or _NOTHING
        pairs = tuple(sorted((name, _text(value)) for name, value in query.items()))
        return hash((pairs, state.after, state.body_offset))


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    """Return a value as text, so that a number equals its text from a link."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "\0".join(_text(item) for item in cast("Sequence[Any]", value))
    return str(value)


class Envelope:
    """The response for one page, whatever its form: a model, a dict, or an array."""

    __slots__ = ("_count_names", "_fields", "data", "items", "items_so_far", "received")

    def __init__(self, operation: Operation, data: Any) -> None:
        """Locate the items in decoded data.

        Raises:
            PaginationError: The data has no list of items.
        """
        self.data: Any = data
        self._fields: Any = data if isinstance(data, Model | dict) else {}
        style = operation.pagination.style if operation.pagination else None
        self._count_names = _TOTALS if style in _COUNTS_OF_A_PAGE else _COUNTS
        self.items: list[Any] = _items(operation, data)
        self.received: list[Any] = self.items
        """The items of the response, including those left out of `items` as repeated."""
        self.items_so_far: int | None = None
        """How many items came on all pages up to this one; None if the first was not fetched."""

    def has(self, name: str) -> bool:
        """Return whether the response has a field of that name."""
        return name in self._fields

    def get(self, name: str) -> Any:
        """Return a field by its wire name; None if the response does not have it."""
        return self._fields.get(name)

    @property
    def count(self) -> int | None:
        """The server's count of the items on all pages, if it gives one."""
        for name in self._count_names:
            count = self.get(name)
            if isinstance(count, int) and not isinstance(count, bool):
                return count
        return None

    @property
    def has_more(self) -> bool | None:
        """The server's flag for more items; None if the response has none."""
        for name in ("has_next", "has_more", "hasMore"):
            value = self.get(name)
            if isinstance(value, bool):
                return value
        return None


def _items(operation: Operation, data: Any) -> list[Any]:
    if isinstance(data, BaseModel) and type(data).__pydantic_root_model__:
        data = vars(data)["root"]
    if isinstance(data, list):
        return cast("list[Any]", data)
    name = operation.pagination.items if operation.pagination else None
    if isinstance(data, Model | dict) and name is not None and name in data:
        items: object = cast("Any", data).get(name)
        if items is None:
            return []
        if isinstance(items, list):
            return cast("list[Any]", items)
    raise pagination_error(
        operation,
        f"The response is not a page: it has no list `{name}`, but {_describe(data)}",
        "`client.request(...)` returns such a response unchanged.",
    )


def _describe(data: Any) -> str:
    if isinstance(data, Model):
        data = data.raw()
    if isinstance(data, dict):
        names = ", ".join(sorted(map(str, cast("dict[str, Any]", data)))[:10])
        return f"the fields {names}" if names else "nothing"
    return "nothing" if data is None else f"a {type(data).__name__}"
