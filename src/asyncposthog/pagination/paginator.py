"""Fetch pages and detect loops."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from asyncposthog.decoding import decode
from asyncposthog.errors import NotFoundError, PaginationWarning

from . import consistency
from .state import Envelope, ListCall, PageState, pagination_error
from .strategies import Strategy, content_id, item_ids

__all__ = ["Fetch", "FetchedPage", "PageSummary", "Paginator"]

Fetch: TypeAlias = "Callable[[Mapping[str, Any] | None, Any], Awaitable[bytes]]"
"""Requests one page, given the query by wire names and the body; returns the response body."""

_COMPUTED_STYLES: Final = frozenset({"body_offset", "has_more", "next_values", "until_empty"})
"""Styles without links: a server that ignores the parameters of a page returns the first again."""
_MAX_EMPTY_PAGES: Final = 10
"""Empty pages in a row, after which the list is treated as endless."""


@dataclass(frozen=True, slots=True)
class PageSummary:
    """What is remembered of a page after it was returned: everything but its items."""

    position: int = 0
    """Counted from 0."""
    consecutive_empty: int = 0
    """How many empty pages in a row end with this one."""
    count: int | None = None
    """The server's count of the items on all pages, if it gives one."""
    ids: frozenset[Any] | None = None
    """The ids of the items; None if they have none."""
    items_so_far: int = 0
    """How many items came on the pages up to this one."""
    from_start: bool = True
    """Whether the first of these pages was the first of the list."""


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """A page with its state and its decoded response."""

    state: PageState
    envelope: Envelope
    summary: PageSummary


class Paginator:
    """Fetches the pages of one call. It remembers earlier requests and items to detect loops."""

    __slots__ = ("_fetch", "_fingerprints", "_requests", "_strategy", "_strict", "_warned", "call")

    def __init__(self, call: ListCall, strategy: Strategy, fetch: Fetch, strict: bool) -> None:
        self.call = call
        self._strategy = strategy
        self._fetch = fetch
        self._strict = strict
        # Hashes rather than the values: a list may have many thousands of pages. They map to the
        # position of the page, so that a page that is requested again is no loop.
        self._requests: dict[int, int] = {}
        self._fingerprints: dict[int, int] = {}
        self._warned: set[str] = set()

    async def request(self, state: PageState) -> bytes | None:
        """Request a page. Return None if it is speculative and does not exist."""
        try:
            return await self._fetch(self.call.query_at(state), self.call.body_at(state))
        except NotFoundError:  # "Invalid page."
            if not state.speculative:
                raise
            return None

    def warn_missing_page(self, previous: PageSummary) -> None:
        """Warn that the list ended although the server counts more items."""
        if previous.from_start:
            warning = consistency.below_count(previous.items_so_far, previous.count)
            self._warn_once("short", warning)

    def parse_page(
        self, state: PageState, content: bytes | None, previous: PageSummary | None = None
    ) -> FetchedPage:
        """Decode the response for a page, and check that pagination advances.

        Args:
            state: The state of the page.
            content: The response body; None: the page does not exist.
            previous: The summary of the page before it; None: it is the first that is fetched.

        Raises:
            DecodeError: The response cannot be decoded.
            PaginationError: Every item of the page was on an earlier page.
        """
        operation = self.call.operation
        result = operation.result
        if content is None:  # A list that was resumed behind its last page.
            pagination = operation.pagination
            data: Any = {pagination.items: []} if pagination and pagination.items else []
        else:
            data = decode(
                result, content, strict=self._strict, operation=operation, media=result.media
            )
        envelope = Envelope(operation, data)
        _drop_overlap(envelope, state.skip)
        if previous is None:
            self._requests.setdefault(self.call.key(state), 0)
            ids = self._check_progress(envelope, 0, None)
            from_start = consistency.is_first_page(self.call, state)
            envelope.items_so_far = len(envelope.items) if from_start else None
            summary = PageSummary(0, 0, envelope.count, ids, len(envelope.items), from_start)
            return FetchedPage(state, envelope, summary)
        position = previous.position + 1
        ids = self._check_progress(envelope, position, previous)
        empty = 0 if envelope.items else previous.consecutive_empty + 1
        if empty > _MAX_EMPTY_PAGES:
            raise pagination_error(
                operation, f"Pagination does not advance: {empty} empty pages came in a row"
            )
        items_so_far = previous.items_so_far + len(envelope.items)
        envelope.items_so_far = items_so_far if previous.from_start else None
        self._warn_once("count", consistency.count_changed(previous.count, envelope.count))
        self._warn_once("repeated", consistency.repeated_items(previous.ids, ids))
        summary = PageSummary(
            position, empty, envelope.count, ids, items_so_far, previous.from_start
        )
        return FetchedPage(state, envelope, summary)

    def next_state(self, page: FetchedPage) -> PageState | None:
        """Return the state of the next page, or None at the end.

        Raises:
            PaginationError: What the server says about the next page cannot be followed.
        """
        call, envelope, summary = self.call, page.envelope, page.summary
        state = self._strategy(call, page.state, envelope)
        if state is None:
            warning = consistency.incomplete_list(
                call,
                page.state,
                envelope,
                items_so_far=summary.items_so_far,
                from_start=summary.from_start,
            )
            self._warn_once("short", warning)
            return None
        position = summary.position + 1
        earlier = self._requests.setdefault(self.call.key(state), position)
        if earlier < position:
            target = (
                "to the page that it is on"
                if earlier == summary.position
                else "back to an earlier page"
            )
            raise pagination_error(
                self.call.operation,
                f"Pagination does not advance: `next` of page {position} leads {target}",
                "The items up to here are complete. Narrower filters may help.",
            )
        self._warn_once("gap", consistency.offset_gap(call, page.state, envelope, state))
        self._warn_once("unordered", consistency.unstable_order(call, state))
        return state

    def _warn_once(self, kind: str, message: str | None) -> None:
        """Issue a warning at the line of the caller's own code, once for each kind."""
        if message is None or kind in self._warned:
            return
        from asyncposthog.decoding.errors import user_stacklevel  # Needed for warnings only.

        self._warned.add(kind)
        warnings.warn(
            PaginationWarning(f"{self.call.operation.id}: {message}"), stacklevel=user_stacklevel()
        )

    def _check_progress(
        self, envelope: Envelope, position: int, previous: PageSummary | None
    ) -> frozenset[Any] | None:
        """Raise if every item of a page was on an earlier page. Return the ids of the items."""
        ids = item_ids(envelope.items)
        if ids is None:
            self._check_content(envelope, position, previous)
            return None
        repeated = self._fingerprints.setdefault(hash(ids), position) < position
        if previous is None or envelope.count != previous.count:
            # Items were added meanwhile, and have pushed items of the page before onto this one.
            return frozenset(ids)
        if repeated or (previous.ids and all(i in previous.ids for i in ids)):
            raise pagination_error(
                self.call.operation,
                f"Pagination does not advance: page {position + 1} has only items of earlier pages",
                "The items up to here are complete.",
            )
        return frozenset(ids)

    def _check_content(
        self, envelope: Envelope, position: int, previous: PageSummary | None
    ) -> None:
        """Raise if a page without ids and without links equals the page before it."""
        pagination = self.call.operation.pagination
        if pagination is None or pagination.style not in _COMPUTED_STYLES or not envelope.items:
            return
        fingerprint = hash(content_id(envelope.items))
        earlier = self._fingerprints.get(fingerprint)
        self._fingerprints[fingerprint] = position
        if previous is not None and earlier == position - 1:
            raise pagination_error(
                self.call.operation,
                f"Pagination does not advance: page {position + 1} equals the page before it",
                "The items up to here are complete.",
            )


def _drop_overlap(envelope: Envelope, skip: tuple[str, ...]) -> None:
    """Remove items that the page before had, if the pages overlap on purpose."""
    if not skip:
        return
    ids = item_ids(envelope.received, unique=False)
    if ids is None:
        # Items without ids are compared as a whole page only: single items may be equal by chance.
        if skip == (content_id(envelope.received),):
            envelope.items = []
    else:
        skipped = frozenset(skip)
        pairs = zip(envelope.received, ids, strict=True)
        envelope.items = [item for item, item_id in pairs if str(item_id) not in skipped]
