"""One page of a list, and the way from one to the next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from typing import Any, Generic, TypeVar, cast, overload

from asyncposthog.model import Model

from .paginator import Paginator, Step
from .state import PageState

__all__ = ["Page"]

T = TypeVar("T")


class Page(Collection[T], Generic[T]):
    """One page: a sequence of its own items. `async for` continues with the pages after it."""

    __slots__ = ("_following", "_looked", "_step", "_walk")

    def __init__(self, walk: Paginator, step: Step) -> None:
        """Stand at a step of a walk."""
        self._walk = walk
        self._step = step
        self._looked = False
        self._following: PageState | None = None

    @property
    def items(self) -> list[T]:
        """The items of this page."""
        return self._step.envelope.items

    @property
    def count(self) -> int | None:
        """How many items there are on all pages; None where the server does not say."""
        return self._step.envelope.count

    @property
    def raw(self) -> Any:
        """The whole answer, as it was decoded: a model, or JSON data."""
        return self._step.envelope.data

    @property
    def has_next(self) -> bool:
        """Whether another page is to be asked for. It may turn out to be empty.

        Raises:
            PaginationError: The server's word on that leads nowhere.
        """
        return self._next_state() is not None

    @property
    def state(self) -> dict[str, Any] | None:
        """Where the next page begins, as JSON data for `Cursor.resume`; None at the end.

        Raises:
            PaginationError: The server's word on that leads nowhere.
        """
        state = self._next_state()
        return None if state is None else state.to_json()

    async def next_page(self) -> Page[T] | None:
        """Request the next page. None at the end, without a request."""
        state = self._next_state()
        if state is None:
            return None
        content = await self._walk.request(state)
        if content is None:
            self._walk.no_page(self._step.mark)
            return None
        return Page(self._walk, self._walk.load(state, content, self._step.mark))

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        """Return an item, or a list of items, of this page."""
        return self.items[index]

    def __len__(self) -> int:
        """How many items this page has."""
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        """Go through the items of this page."""
        return iter(self.items)

    def __aiter__(self) -> AsyncIterator[T]:
        """Go through the items of this page and of every page after it."""
        return _Onwards(self)

    def __reversed__(self) -> Iterator[T]:
        """Go through the items of this page from the end."""
        return reversed(self.items)

    def __contains__(self, item: object) -> bool:
        """Whether an item is on this page."""
        return item in self.items

    def __repr__(self) -> str:
        """Say how many items there are."""
        total = "" if self.count is None else f" of {self.count}"
        return f"<Page: {len(self)}{total} items>"

    def _repr_html_(self) -> str:
        """Show the first items as a table, in a notebook."""
        from .html_table import (
            MAX_ROWS,  # only notebooks use it
            html_table,  # only notebooks use it
        )

        rows = [_fields(item) for item in self.items[:MAX_ROWS]]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[row.get(name, "") for name in columns] for row in rows]
        return html_table(repr(self)[1:-1], columns, cells, total=len(self))

    def _next_state(self) -> PageState | None:
        if not self._looked:
            self._following = self._walk.following(self._step)
            self._looked = True
        return self._following


def _fields(item: object) -> dict[str, Any]:
    """Return the fields of an item, by name."""
    if isinstance(item, Model):
        item = item.raw()
    if isinstance(item, dict):
        return cast("dict[str, Any]", item)
    return {"value": item}


class _Onwards(AsyncIterator[T], Generic[T]):
    """The items of a page, and of every page after it. After an error, it can be continued."""

    __slots__ = ("_items", "_page")

    def __init__(self, page: Page[T]) -> None:
        self._page: Page[T] | None = page
        self._items = iter(page.items)

    def __aiter__(self) -> _Onwards[T]:
        """Continue where it is."""
        return self

    async def __anext__(self) -> T:
        """Return the next item."""
        while True:
            for item in self._items:
                return item
            if self._page is None:
                raise StopAsyncIteration
            self._page = await self._page.next_page()
            self._items = iter(() if self._page is None else self._page.items)

    async def aclose(self) -> None:
        """End the iteration."""
        self._page, self._items = None, iter(())
