"""One page of a list, with access to the pages after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from typing import Any, Generic, TypeVar, cast, overload

from asyncposthog.model import Model

from .paginator import FetchedPage, Paginator
from .state import PageState

__all__ = ["Page"]

T = TypeVar("T")


class Page(Collection[T], Generic[T]):
    """One page of a list: a sequence of its items. `async for` also covers the pages after it."""

    __slots__ = ("_cached_next", "_next_resolved", "_page", "_paginator")

    def __init__(self, paginator: Paginator, page: FetchedPage) -> None:
        """Wrap a fetched page."""
        self._paginator = paginator
        self._page = page
        self._next_resolved = False
        self._cached_next: PageState | None = None

    @property
    def items(self) -> list[T]:
        """The items of this page."""
        return self._page.envelope.items

    @property
    def count(self) -> int | None:
        """The server's count of the items on all pages; None if it gives none."""
        return self._page.envelope.count

    @property
    def raw(self) -> Any:
        """The whole decoded response: a model, or JSON data."""
        return self._page.envelope.data

    @property
    def has_next(self) -> bool:
        """Whether there is another page to request. It may turn out to be empty.

        Raises:
            PaginationError: What the server says about the next page cannot be followed.
        """
        return self._next_state() is not None

    @property
    def state(self) -> dict[str, Any] | None:
        """Where the next page begins, as JSON data for `Cursor.resume`; None at the end.

        Raises:
            PaginationError: What the server says about the next page cannot be followed.
        """
        state = self._next_state()
        return None if state is None else state.to_json()

    async def next_page(self) -> Page[T] | None:
        """Request and return the next page. Return None at the end, without a request.

        Raises:
            PaginationError: What the server says about the next page cannot be followed.
            PostHogError: The request failed.
        """
        state = self._next_state()
        if state is None:
            return None
        summary = self._page.summary
        content = await self._paginator.request(state)
        if content is None:
            self._paginator.warn_missing_page(summary)
            return None
        return Page(self._paginator, self._paginator.parse_page(state, content, summary))

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        """Return an item, or a list of items, of this page."""
        return self.items[index]

    def __len__(self) -> int:
        """Return the number of items of this page."""
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items of this page."""
        return iter(self.items)

    def __aiter__(self) -> AsyncIterator[T]:
        """Iterate over the items of this page and of all pages after it."""
        return _RemainingItems(self)

    def __reversed__(self) -> Iterator[T]:
        """Iterate over the items of this page in reverse order."""
        return reversed(self.items)

    def __contains__(self, item: object) -> bool:
        """Return whether an item is on this page."""
        return item in self.items

    def __repr__(self) -> str:
        """Return the number of items, and the server's count."""
        total = "" if self.count is None else f" of {self.count}"
        return f"<Page: {len(self)}{total} items>"

    def _repr_html_(self) -> str:
        """Return the first items as an HTML table, for notebooks."""
        from .html_table import MAX_ROWS, html_table  # Only notebooks need it.

        rows = [_fields(item) for item in self.items[:MAX_ROWS]]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[row.get(name, "") for name in columns] for row in rows]
        return html_table(repr(self)[1:-1], columns, cells, total=len(self))

    def _next_state(self) -> PageState | None:
        if not self._next_resolved:
            self._cached_next = self._paginator.next_state(self._page)
            self._next_resolved = True
        return self._cached_next


def _fields(item: object) -> dict[str, Any]:
    """Return the fields of an item by name."""
    if isinstance(item, Model):
        item = item.raw()
    if isinstance(item, dict):
        return cast("dict[str, Any]", item)
    return {"value": item}


class _RemainingItems(AsyncIterator[T], Generic[T]):
    """The items of a page and of all pages after it. After an error, it can be continued."""

    # Not an async generator: see `cursor.Pages`.

    __slots__ = ("_items", "_page")

    def __init__(self, page: Page[T]) -> None:
        self._page: Page[T] | None = page
        self._items = iter(page.items)

    def __aiter__(self) -> _RemainingItems[T]:
        """Return the iterator itself."""
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
