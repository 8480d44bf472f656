"""What a list method returns: a page when awaited, every item when iterated."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from typing import Any, Generic, TypeVar

from asyncposthog.operation import Operation
from asyncposthog.types import OMIT

from .page import Page
from .paginator import Fetch, Mark, Paginator, Step
from .prefetch import gather, plan
from .state import Call, PageState
from .strategies import STRATEGIES

__all__ = ["Cursor", "Items", "Pages", "cursor", "get_call", "get_fetch", "with_fetch"]

_TOTAL = "include_total"
_USE = "await it for a page, or iterate it with `async for`"

T = TypeVar("T")


class Cursor(Generic[T]):
    """A list on the server. Nothing is sent until it is awaited or iterated.

    ```python
    page = await client.cohorts.list(limit=20)  # one page
    async for cohort in client.cohorts.list():  # every item, page after page
        ...
    ```

    Each iteration starts over. Breaking out of one leaves nothing behind.
    """

    __slots__ = ("_call", "_concurrency", "_fetch", "_start", "_strict")

    def __init__(
        self, call: Call, fetch: Fetch, *, concurrency: int, strict: bool, start: PageState
    ) -> None:
        self._call = call
        self._fetch = fetch
        self._concurrency = concurrency
        self._strict = strict
        self._start = start

    @property
    def operation(self) -> Operation:
        """What it lists."""
        return self._call.operation

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The query parameters it was given, by their names on the wire."""
        return dict(self._call.query or {})

    def __await__(self) -> Generator[Any, Any, Page[T]]:
        """Request the first page."""
        return self._first_page().__await__()

    def __aiter__(self) -> Items[T]:
        """Go through every item of every page."""
        return Items(self.pages())

    def pages(self) -> Pages[T]:
        """Go through the pages."""
        return Pages(self._walk(), self._start, self._concurrency)

    async def collect(self, max: int | None = None) -> list[T]:
        """Return the items as a list.

        Args:
            max: How many at most; None for all. No page is requested that is not needed.

        Raises:
            ValueError: `max` is negative.
        """
        if max is not None:
            _check_number("max", max, 0)
        items: list[T] = []
        pages = self.pages()
        while max is None or len(items) < max:
            pages.wanted = None if max is None else max - len(items)
            page = await pages.advance()
            if page is None:
                break
            items += page.items
        return items if max is None else items[:max]

    async def first(self) -> T | None:
        """Return the first item; None if there is none."""
        page: Page[T] | None = await self
        while page is not None and not page:
            page = await page.next_page()
        return page[0] if page else None

    def resume(self, state: Mapping[str, Any]) -> Cursor[T]:
        """Return the same list, beginning where a page left off.

        Args:
            state: What `page.state` gave; it survives being written as JSON.

        Raises:
            ValueError: It is something else.
        """
        return self._changed(self._fetch, PageState.from_json(state))

    def _changed(self, fetch: Fetch, start: PageState) -> Cursor[T]:
        return Cursor(
            self._call, fetch, concurrency=self._concurrency, strict=self._strict, start=start
        )

    def __repr__(self) -> str:
        """Name the operation, and say how to get its items."""
        return f"<Cursor: {self._call.operation.id}; nothing was requested yet: {_USE}>"

    def _repr_html_(self) -> str:
        """Say in a notebook how to get the items."""
        from html import escape  # only notebooks use it

        name, use = escape(self._call.operation.id), escape(_USE)
        return f"<p><code>{name}</code>: nothing was requested yet. {use[0].upper()}{use[1:]}.</p>"

    def _walk(self) -> Paginator:
        pagination = self._call.operation.pagination
        assert pagination is not None
        return Paginator(self._call, STRATEGIES[pagination.style], self._fetch, self._strict)

    async def _first_page(self) -> Page[T]:
        walk = self._walk()
        return Page(walk, walk.load(self._start, await walk.request(self._start)))


def get_call(cursor: Cursor[Any]) -> Call:
    """Return the call that a cursor makes, as the user made it."""
    return cursor._call  # pyright: ignore[reportPrivateUsage]


def get_fetch(cursor: Cursor[Any]) -> Fetch:
    """Return what requests a cursor's pages."""
    return cursor._fetch  # pyright: ignore[reportPrivateUsage]


def with_fetch(cursor: Cursor[T], fetch: Fetch) -> Cursor[T]:
    """Return the same list, its pages requested by something else."""
    return cursor._changed(fetch, cursor._start)  # pyright: ignore[reportPrivateUsage]


class Pages(AsyncIterator[Page[T]], Generic[T]):
    """The pages of a list. Whatever runs side by side has ended whenever a page is handed out."""

    # No async generator: one that is left unfinished needs the event loop to clean it up.

    __slots__ = (
        "_before", "_busy", "_concurrency", "_ended", "_fetched", "_states", "_step", "_walk",
        "wanted",
    )  # fmt: skip

    def __init__(self, walk: Paginator, start: PageState, concurrency: int) -> None:
        self._walk = walk
        self._concurrency = concurrency
        self._states = [start]
        """The pages to ask for next."""
        self._step: Step | None = None
        """The page handed out last, until it is known where the next one begins."""
        self._before: Mark | None = None
        self._fetched: deque[tuple[PageState, bytes | None]] = deque()
        self._busy = False
        self._ended = False
        self.wanted: int | None = None
        """How many more items are of use; None for all."""

    def __aiter__(self) -> Pages[T]:
        """Go on where it stands."""
        return self

    async def __anext__(self) -> Page[T]:
        """Return the next page."""
        page = await self.advance()
        if page is None:
            raise StopAsyncIteration
        return page

    async def advance(self) -> Page[T] | None:
        """Return the next page; None at the end. After an error, the same page is tried again.

        Raises:
            RuntimeError: Another task is waiting for it already.
        """
        if self._busy:
            raise RuntimeError("another task is waiting for the next page of this iteration")
        self._busy = True
        try:
            page = None if self._ended else await self._next()
        finally:
            self._busy = False
        if page is None:
            await self.aclose()
        return page

    async def aclose(self) -> None:
        """End the iteration, and forget what was fetched ahead."""
        self._ended = True
        self._step = None
        self._fetched.clear()

    async def _next(self) -> Page[T] | None:
        walk, step = self._walk, self._step
        if step is not None:
            state = walk.following(step)
            if state is None:
                return None
            self._states = [state] if self._is_ahead(state) else self._plan(step, state)
            # The page may go before the next one comes: a long list takes the memory of one.
            self._before, self._step, step = step.mark, None, None
        state = self._states[0]
        if not self._is_ahead(state):
            # Where the server now leads elsewhere than was planned, its word counts.
            self._fetched.clear()
            contents = await gather(walk.request, self._states)
            self._fetched.extend(zip(self._states, contents, strict=True))
        _, content = self._fetched.popleft()
        if content is None:
            if self._before is not None:  # None only where the list was resumed here
                self._walk.no_page(self._before)
            return None
        self._step = walk.load(state, content, self._before)
        return Page(walk, self._step)

    def _is_ahead(self, state: PageState) -> bool:
        """Tell whether the answer for a page was fetched ahead."""
        key = self._walk.call.key
        return bool(self._fetched) and key(self._fetched[0][0]) == key(state)

    def _plan(self, step: Step, state: PageState) -> list[PageState]:
        most, got = self._concurrency, len(step.envelope.items)
        if self.wanted is not None and got:
            most = min(most, -(-self.wanted // got))
        return plan(self._walk.call, step.state, step.envelope, state, most)


class Items(AsyncIterator[T], Generic[T]):
    """The items of a list, page after page."""

    __slots__ = ("_items", "_pages")

    def __init__(self, pages: Pages[T]) -> None:
        self._pages = pages
        self._items: Iterator[T] = iter(())

    def __aiter__(self) -> Items[T]:
        """Go on where it stands."""
        return self

    async def __anext__(self) -> T:
        """Return the next item."""
        while True:
            for item in self._items:
                return item
            page = await self._pages.advance()
            if page is None:
                raise StopAsyncIteration
            self._items = iter(page.items)

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
    """Make the cursor of a list call. Nothing is sent.

    Args:
        fetch: Requests one page.
        operation: The call.
        query: Query parameters by their names on the wire; those that are `OMIT` are left out.
        body: The body, where the style sends one.
        path: What stands in the path.
        concurrency: Pages requested side by side.
        strict: Whether an answer that departs from the schema is an error.

    Raises:
        TypeError: A number is none.
        ValueError: A number is out of range, or the pages cannot be fetched side by side.
    """
    if operation.pagination is None:
        raise ValueError(f"{operation.id} is not a list that comes in pages")
    _check_number("concurrency", concurrency, 1)
    counted = _counted_on_request(operation)
    if concurrency > 1 and operation.pagination.style != "offset" and not counted:
        raise ValueError(
            f"{operation.id} cannot fetch pages side by side: where a page begins stands on the "
            "page before it. Leave `concurrency` at 1"
        )
    own = {name: value for name, value in (query or {}).items() if value is not OMIT}
    if concurrency > 1 and counted:
        own.setdefault(_TOTAL, True)
    for name, least in (("limit", 1), ("page_size", 1), ("page", 1), ("offset", 0)):
        if name in own and not isinstance(own[name], str):
            _check_number(name, own[name], least)
    call = Call(operation, own or None, body, path)
    return Cursor(call, fetch, concurrency=concurrency, strict=strict, start=PageState())


def _counted_on_request(operation: Operation) -> bool:
    """Whether a list that gives no count gives one when asked: then its offsets are known."""
    return any(parameter.name == _TOTAL for parameter in operation.query_parameters)


def _check_number(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more, not {value}")
