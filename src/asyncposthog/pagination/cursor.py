"""The result of list methods: a page when awaited, all items when iterated."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from typing import Any, Generic, TypeVar

from asyncposthog.operation import TOTAL_PARAMETER, Operation
from asyncposthog.types import OMIT

from .page import Page
from .paginator import Fetch, FetchedPage, PageSummary, Paginator
from .prefetch import fetch_concurrently, plan_prefetch
from .state import ListCall, PageState
from .strategies import STRATEGIES

__all__ = ["Cursor", "Items", "Pages", "cursor", "get_call", "get_fetch", "with_fetch"]

_USAGE = "await it for a page, or iterate it with `async for`"

T = TypeVar("T")


class Cursor(Generic[T]):
    """A list on the server. Nothing is requested until it is awaited or iterated.

    ```python
    page = await client.cohorts.list(limit=20)  # one page
    async for cohort in client.cohorts.list():  # all items, page by page
        ...
    ```

    Each iteration starts at the beginning. Leaving one early needs no cleanup.
    """

    __slots__ = ("_call", "_concurrency", "_fetch", "_start", "_strict")

    def __init__(
        self, call: ListCall, fetch: Fetch, *, concurrency: int, strict: bool, start: PageState
    ) -> None:
        self._call = call
        self._fetch = fetch
        self._concurrency = concurrency
        self._strict = strict
        self._start = start

    @property
    def operation(self) -> Operation:
        """The list operation."""
        return self._call.operation

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The query parameters of the call, by wire name."""
        return dict(self._call.query or {})

    def __await__(self) -> Generator[Any, Any, Page[T]]:
        """Request the first page."""
        return self._first_page().__await__()

    def __aiter__(self) -> Items[T]:
        """Iterate over the items of all pages."""
        return Items(self.pages())

    def pages(self) -> Pages[T]:
        """Return an iterator over the pages."""
        return Pages(self._paginator(), self._start, self._concurrency)

    async def collect(self, max: int | None = None) -> list[T]:
        """Return the items as a list.

        Args:
            max: How many at most; None for all. Only the pages needed for them are requested.

        Raises:
            TypeError: `max` is not an int.
            ValueError: `max` is negative.
            PostHogError: A request failed, or pagination cannot continue.
        """
        if max is not None:
            _validate_int("max", max, 0)
        items: list[T] = []
        pages = self.pages()
        while max is None or len(items) < max:
            pages.items_needed = None if max is None else max - len(items)
            more = await pages.advance_items()
            if more is None:
                break
            items += more
        return items if max is None else items[:max]

    async def first(self) -> T | None:
        """Return the first item; None if the list is empty."""
        page: Page[T] | None = await self
        while page is not None and not page:
            page = await page.next_page()
        return page[0] if page else None

    def resume(self, state: Mapping[str, Any]) -> Cursor[T]:
        """Return the same list, starting behind an earlier page.

        Args:
            state: The value of `page.state`, which can be stored as JSON.

        Raises:
            ValueError: The value is something else.
        """
        return self._replace(self._fetch, PageState.from_json(state))

    def _replace(self, fetch: Fetch, start: PageState) -> Cursor[T]:
        return Cursor(
            self._call, fetch, concurrency=self._concurrency, strict=self._strict, start=start
        )

    def __repr__(self) -> str:
        """Return the operation, and how to get its items."""
        return f"<Cursor: {self._call.operation.id}; nothing was requested yet: {_USAGE}>"

    def _repr_html_(self) -> str:
        """Return how to get the items as HTML, for notebooks."""
        from html import escape  # Only notebooks need it.

        name, usage = escape(self._call.operation.id), escape(_USAGE)
        return (
            f"<p><code>{name}</code>: nothing was requested yet. {usage[0].upper()}{usage[1:]}.</p>"
        )

    def _paginator(self) -> Paginator:
        pagination = self._call.operation.pagination
        assert pagination is not None
        return Paginator(self._call, STRATEGIES[pagination.style], self._fetch, self._strict)

    async def _first_page(self) -> Page[T]:
        paginator = self._paginator()
        return Page(
            paginator, paginator.parse_page(self._start, await paginator.request(self._start))
        )


def get_call(cursor: Cursor[Any]) -> ListCall:
    """Return the call of a cursor, as the user made it."""
    return cursor._call  # pyright: ignore[reportPrivateUsage]


def get_fetch(cursor: Cursor[Any]) -> Fetch:
    """Return the function that requests the pages of a cursor."""
    return cursor._fetch  # pyright: ignore[reportPrivateUsage]


def with_fetch(cursor: Cursor[T], fetch: Fetch) -> Cursor[T]:
    """Return the same list with another function that requests its pages."""
    return cursor._replace(fetch, cursor._start)  # pyright: ignore[reportPrivateUsage]


class Pages(AsyncIterator[Page[T]], Generic[T]):
    """The pages of a list. No request is running when a page is returned."""

    # Not an async generator: one that is left unfinished needs the event loop to clean it up.

    __slots__ = (
        "_busy",
        "_concurrency",
        "_current",
        "_ended",
        "_paginator",
        "_prefetched",
        "_previous",
        "_requested",
        "items_needed",
    )  # fmt: skip

    def __init__(self, paginator: Paginator, start: PageState, concurrency: int) -> None:
        self._paginator = paginator
        self._concurrency = concurrency
        self._requested = [start]
        """The pages of the next requests."""
        self._current: FetchedPage | None = None
        """The page returned last, until the state of the next page is resolved."""
        self._previous: PageSummary | None = None
        self._prefetched: deque[tuple[PageState, bytes | None]] = deque()
        self._busy = False
        self._ended = False
        self.items_needed: int | None = None
        """How many more items the caller needs; None for all."""

    def __aiter__(self) -> Pages[T]:
        """Return the iterator itself."""
        return self

    async def __anext__(self) -> Page[T]:
        """Return the next page."""
        page = await self.advance()
        if page is None:
            raise StopAsyncIteration
        return page

    async def advance(self) -> Page[T] | None:
        """Return the next page; None at the end. After an error, the same page is requested again.

        Raises:
            RuntimeError: Another task is already waiting for the next page.
            PostHogError: A request failed, or pagination cannot continue.
        """
        fetched = await self._advance()
        return None if fetched is None else Page(self._paginator, fetched)

    async def advance_items(self) -> list[T] | None:
        """Return the items of the next page, without an object for it; None at the end."""
        fetched = await self._advance()
        return None if fetched is None else fetched.envelope.items

    async def _advance(self) -> FetchedPage | None:
        if self._busy:
            raise RuntimeError("another task is waiting for the next page of this iteration")
        self._busy = True
        try:
            fetched = None if self._ended else await self._next()
        finally:
            self._busy = False
        if fetched is None:
            await self.aclose()
        return fetched

    async def aclose(self) -> None:
        """End the iteration, and drop prefetched pages."""
        self._ended = True
        self._current = None
        self._prefetched.clear()

    async def _next(self) -> FetchedPage | None:
        paginator, fetched = self._paginator, self._current
        if fetched is not None:
            state = paginator.next_state(fetched)
            if state is None:
                return None
            self._requested = (
                [state] if self._is_prefetched(state) else self._plan_prefetch(fetched, state)
            )
            # Drop the page before the next one arrives, so that a long list needs the memory of
            # one page, not of two.
            self._previous, self._current, fetched = fetched.summary, None, None
        state = self._requested[0]
        if not self._is_prefetched(state):
            # The server may lead to another page than was prefetched: then follow the server.
            self._prefetched.clear()
            contents = await fetch_concurrently(paginator.request, self._requested)
            self._prefetched.extend(zip(self._requested, contents, strict=True))
        _, content = self._prefetched.popleft()
        if content is None:
            if self._previous is not None:  # None if the list was resumed here.
                self._paginator.warn_missing_page(self._previous)
            return None
        self._current = paginator.parse_page(state, content, self._previous)
        return self._current

    def _is_prefetched(self, state: PageState) -> bool:
        """Return whether the response for a page was prefetched."""
        key = self._paginator.call.key
        return bool(self._prefetched) and key(self._prefetched[0][0]) == key(state)

    def _plan_prefetch(self, fetched: FetchedPage, state: PageState) -> list[PageState]:
        max_pages, received = self._concurrency, len(fetched.envelope.items)
        if self.items_needed is not None and received:
            max_pages = min(max_pages, -(-self.items_needed // received))
        return plan_prefetch(
            self._paginator.call, fetched.state, fetched.envelope, state, max_pages
        )


class Items(AsyncIterator[T], Generic[T]):
    """The items of a list, page by page."""

    __slots__ = ("_items", "_pages")

    def __init__(self, pages: Pages[T]) -> None:
        self._pages = pages
        self._items: Iterator[T] = iter(())

    def __aiter__(self) -> Items[T]:
        """Return the iterator itself."""
        return self

    async def __anext__(self) -> T:
        """Return the next item."""
        while True:
            for item in self._items:
                return item
            items = await self._pages.advance_items()
            if items is None:
                raise StopAsyncIteration
            self._items = iter(items)

    async def aclose(self) -> None:
        """End the iteration."""
        self._items = iter(())
        await self._pages.aclose()


def cursor(
    fetch: Fetch,
    operation: Operation,
    query: Mapping[str, Any] | None = None,
    body: Any = OMIT,
    path: tuple[Any, ...] = (),
    *,
    concurrency: int = 1,
    strict: bool = False,
) -> Cursor[Any]:
    """Return the cursor of a list call. Nothing is requested.

    Args:
        fetch: The function that requests one page.
        operation: The list operation.
        query: Query parameters by wire name; those that are `OMIT` are left out.
        body: The body, if the pagination style sends one.
        path: The path arguments.
        concurrency: How many pages may be requested concurrently.
        strict: Whether a response that does not match the schema is an error.

    Raises:
        TypeError: A number is not an int.
        ValueError: A number is out of range, or pages cannot be requested concurrently.
    """
    if operation.pagination is None:
        raise ValueError(f"{operation.id} is not a paginated list")
    _validate_int("concurrency", concurrency, 1)
    if concurrency > 1 and not operation.pages_in_any_order:
        raise ValueError(
            f"{operation.id} cannot fetch pages concurrently: each page says where the next one "
            "begins. Leave `concurrency` at 1"
        )
    parameters = {name: value for name, value in (query or {}).items() if value is not OMIT}
    if concurrency > 1 and any(p.name == TOTAL_PARAMETER for p in operation.query_parameters):
        parameters.setdefault(TOTAL_PARAMETER, True)
    for name, minimum in (("limit", 1), ("page_size", 1), ("page", 1), ("offset", 0)):
        if name in parameters and not isinstance(parameters[name], str):
            _validate_int(name, parameters[name], minimum)
    call = ListCall(operation, parameters or None, body, path)
    return Cursor(call, fetch, concurrency=concurrency, strict=strict, start=PageState())


def _validate_int(name: str, value: object, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be {minimum} or more, not {value}")
