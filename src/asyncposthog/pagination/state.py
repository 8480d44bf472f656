"""What a request for a page consists of, and what its answer says: plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pydantic import BaseModel

from asyncposthog.errors import PaginationError, RequestInfo
from asyncposthog.model import Model
from asyncposthog.operation import Operation
from asyncposthog.types import OMIT

__all__ = ["Call", "Envelope", "PageState", "failure"]

_NOTHING: Final[Mapping[str, Any]] = {}


def failure(operation: Operation, message: str, suggestion: str | None = None) -> PaginationError:
    """Make the error for pages that lead nowhere."""
    return PaginationError(
        message,
        operation=operation.id,
        request=RequestInfo(operation.method, operation.path),
        suggestion=suggestion,
    )


@dataclass(frozen=True, slots=True)
class PageState:
    """Where a page begins: what its request says beyond, or in place of, the call's own."""

    query: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Query parameters by their names on the wire: text, numbers, or lists of text."""
    after: str | None = None
    """The cursor that goes into the body, where the style has it there."""
    skip: tuple[str, ...] = ()
    """Ids, as text, of items that the page may repeat: it overlaps the page before it."""
    beyond: bool = False
    """Whether the server gave no link to the page, but counts more items than it returned."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON data from which `from_json` makes the same state."""
        data: dict[str, Any] = {"query": dict(self.query), "after": self.after}
        if self.skip:
            data["skip"] = list(self.skip)
        return {**data, "beyond": True} if self.beyond else data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PageState:
        """Make a state from what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        query, after, skip = data.get("query", {}), data.get("after"), data.get("skip", [])
        ids = cast("Sequence[object]", skip) if isinstance(skip, list | tuple) else (None,)
        beyond = data.get("beyond", False)
        valid = isinstance(query, Mapping) and isinstance(after, str | None)
        valid = valid and isinstance(beyond, bool)
        if not valid or not all(isinstance(one, str) for one in ids):
            raise ValueError("invalid page state; pass the value of `page.state`")
        names = cast("Mapping[str, Any]", query)
        return cls(dict(names), after, tuple(map(str, ids)), beyond)


@dataclass(frozen=True, slots=True)
class Call:
    """A list call as the user made it."""

    operation: Operation
    query: Mapping[str, Any] | None = None
    body: Any = OMIT
    path: tuple[Any, ...] = ()

    def parameter(self, name: str, state: PageState) -> Any:
        """Return a query parameter as the request for a page sends it."""
        own = self.query or _NOTHING
        return state.query.get(name, own.get(name))

    def offset(self, state: PageState) -> int:
        """Return the offset of a page."""
        value = self.parameter("offset", state)
        try:
            return int(value or 0)
        except (TypeError, ValueError):
            raise failure(self.operation, f"The offset {value!r} is not a number") from None

    def limit(self, state: PageState) -> int | None:
        """Return the page size that the request for a page asks for; None if it names none."""
        try:
            return int(self.parameter("limit", state))
        except (TypeError, ValueError):
            return None

    def query_at(self, state: PageState) -> Mapping[str, Any] | None:
        """Return the query of the request for a page."""
        return {**(self.query or _NOTHING), **state.query} if state.query else self.query

    def body_at(self, state: PageState) -> Any:
        """Return the body of the request for a page. The call's own is not changed."""
        if state.after is None:
            return self.body
        body = _fields(self.body)
        if "query" in body:
            return {**body, "query": {**_fields(body["query"]), "after": state.after}}
        return {**body, "after": state.after}

    def key(self, state: PageState) -> int:
        """Return a number that two states share only when their requests are the same."""
        query = self.query_at(state) or _NOTHING
        return hash((tuple(sorted((name, _text(v)) for name, v in query.items())), state.after))


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    """Write a value so that a number and its text are the same."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "\0".join(_text(item) for item in cast("Sequence[Any]", value))
    return str(value)


class Envelope:
    """The answer for one page, whatever its form: a model, a dict, or a bare array."""

    __slots__ = ("_fields", "data", "items", "received", "total")

    def __init__(self, operation: Operation, data: Any) -> None:
        """Find the items.

        Raises:
            PaginationError: The answer holds none.
        """
        self.data: Any = data
        self._fields: Any = data if isinstance(data, Model | dict) else {}
        self.items: list[Any] = _items(operation, data)
        self.received: list[Any] = self.items
        """The items as they came, with those that are left out because they were known."""
        self.total: int | None = None
        """How many items all pages up to this one had; None where the first is not known."""

    def has(self, name: str) -> bool:
        """Whether the server sent a field of that name."""
        return name in self._fields

    def get(self, name: str) -> Any:
        """Return a field by its name on the wire; None if it was not sent."""
        return self._fields.get(name)

    @property
    def count(self) -> int | None:
        """How many items there are on all pages, where the server says so."""
        for name in ("count", "total_count"):
            count = self.get(name)
            if isinstance(count, int) and not isinstance(count, bool):
                return count
        return None

    @property
    def more(self) -> bool | None:
        """Whether the server says outright that there are more; None where it does not say."""
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
        found: object = cast("Any", data).get(name)
        if found is None:
            return []
        if isinstance(found, list):
            return cast("list[Any]", found)
    raise failure(
        operation,
        f"The response is not a page: it has no list `{name}`, but {_held(data)}",
        "`client.request(...)` returns such a response unchanged.",
    )


def _held(data: Any) -> str:
    if isinstance(data, Model):
        data = data.raw()
    if isinstance(data, dict):
        names = ", ".join(sorted(map(str, cast("dict[str, Any]", data)))[:10])
        return f"the fields {names}" if names else "nothing"
    return "nothing" if data is None else f"a {type(data).__name__}"
