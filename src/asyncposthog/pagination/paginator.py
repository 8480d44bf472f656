"""Fetch pages and detect loops."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from asyncposthog.decoding import decode
from asyncposthog.errors import NotFoundError, PaginationWarning

from . import consistency
from .state import Call, Envelope, PageState, failure
from .strategies import Strategy, content_id, item_ids

__all__ = ["Fetch", "Mark", "Paginator", "Step"]

Fetch: TypeAlias = "Callable[[Mapping[str, Any] | None, Any], Awaitable[bytes]]"
"""Requests one page, given the query by wire names and the body, and returns the raw answer."""

_EMPTY_IN_A_ROW: Final = 10
"""Empty pages that follow each other before the list is taken for endless."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is remembered of a page once it was handed out: not its items."""

    position: int = 0
    """Counted from 0."""
    empty: int = 0
    """How many empty pages in a row end with this one."""
    count: int | None = None
    """How many items there are on all pages, where the server says so."""
    ids: frozenset[Any] | None = None
    """What tells its items apart; None where nothing does."""
    total: int = 0
    """How many items came on the pages up to this one."""
    whole: bool = True
    """Whether the first of these pages was the first of the list."""


@dataclass(frozen=True, slots=True)
class Step:
    """One page on the way."""

    state: PageState
    envelope: Envelope
    mark: Mark


class Paginator:
    """The pages of one call. It remembers which requests and which items there were."""

    __slots__ = ("_fetch", "_fingerprints", "_noticed", "_requests", "_strategy", "_strict", "call")

    def __init__(self, call: Call, strategy: Strategy, fetch: Fetch, strict: bool) -> None:
        self.call = call
        self._strategy = strategy
        self._fetch = fetch
        self._strict = strict
        # The position of the page for each request, and for each set of items, seen so far.
        self._requests: dict[int, int] = {}
        self._fingerprints: dict[int, int] = {}
        self._noticed: set[str] = set()

    async def request(self, state: PageState) -> bytes | None:
        """Send the request for a page; None where it was counted and the server has none."""
        try:
            return await self._fetch(self.call.query_at(state), self.call.body_at(state))
        except NotFoundError:  # "Invalid page."
            if not state.beyond:
                raise
            return None

    def no_page(self, before: Mark) -> None:
        """Note that the list ended, although the server counts more items."""
        if before.whole:
            self._notice("short", consistency.fewer(before.total, before.count))

    def load(self, state: PageState, content: bytes | None, before: Mark | None = None) -> Step:
        """Read the response for a page, and check that it advances.

        Raises:
            DecodeError: It cannot be read.
            PaginationError: It has no item that was not there before.
        """
        operation = self.call.operation
        result = operation.result
        if content is None:  # a list that was resumed beyond its last page
            paging = operation.pagination
            data: Any = {paging.items: []} if paging and paging.items else []
        else:
            data = decode(
                result, content, strict=self._strict, operation=operation, media=result.media
            )
        envelope = Envelope(operation, data)
        _leave_out(envelope, state.skip)
        if before is None:
            self._requests.setdefault(self.call.key(state), 0)
            ids = self._check_items(envelope, 0, None)
            whole = consistency.is_whole(self.call, state)
            envelope.total = len(envelope.items) if whole else None
            mark = Mark(0, 0, envelope.count, ids, len(envelope.items), whole)
            return Step(state, envelope, mark)
        position = before.position + 1
        ids = self._check_items(envelope, position, before)
        empty = 0 if envelope.items else before.empty + 1
        if empty > _EMPTY_IN_A_ROW:
            raise failure(
                operation, f"Pagination does not advance: {empty} empty pages came in a row"
            )
        total = before.total + len(envelope.items)
        envelope.total = total if before.whole else None
        self._notice("count", consistency.count_changed(before.count, envelope.count))
        self._notice("repeated", consistency.repeated(before.ids, ids))
        mark = Mark(position, empty, envelope.count, ids, total, before.whole)
        return Step(state, envelope, mark)

    def following(self, step: Step) -> PageState | None:
        """Return where the page after this one begins; None at the end.

        Raises:
            PaginationError: The server's word on that leads nowhere.
        """
        call, page, mark = self.call, step.envelope, step.mark
        state = self._strategy(call, step.state, page)
        if state is None:
            end = consistency.short(call, step.state, page, total=mark.total, whole=mark.whole)
            self._notice("short", end)
            return None
        position = step.mark.position + 1
        found = self._requests.setdefault(self.call.key(state), position)
        if found < position:
            here = found == step.mark.position
            where = "to the page that it is on" if here else "back to an earlier page"
            raise failure(
                self.call.operation,
                f"Pagination does not advance: `next` of page {position} leads {where}",
                "The items up to here are complete. Narrower filters may help.",
            )
        self._notice("gap", consistency.gap(call, step.state, page, state))
        self._notice("unordered", consistency.unordered(call, state))
        return state

    def _notice(self, kind: str, message: str | None) -> None:
        """Warn at the line of the caller's own code, once for each kind."""
        if message is None or kind in self._noticed:
            return
        from asyncposthog.decoding.errors import user_stacklevel  # only where something is wrong

        self._noticed.add(kind)
        warnings.warn(
            PaginationWarning(f"{self.call.operation.id}: {message}"), stacklevel=user_stacklevel()
        )

    def _check_items(
        self, envelope: Envelope, position: int, before: Mark | None
    ) -> frozenset[Any] | None:
        """Refuse a page that brings nothing new, where its items can be told apart."""
        ids = item_ids(envelope.items)
        if ids is None:
            return None
        repeated = self._fingerprints.setdefault(hash(ids), position) < position
        if before is None or envelope.count != before.count:
            # Something was added meanwhile, and has pushed known items onto this page.
            return frozenset(ids)
        if repeated or (before.ids and all(i in before.ids for i in ids)):
            raise failure(
                self.call.operation,
                f"Pagination does not advance: page {position + 1} has only items of earlier pages",
                "The items up to here are complete.",
            )
        return frozenset(ids)


def _leave_out(envelope: Envelope, skip: tuple[str, ...]) -> None:
    """Leave out the items that the page before had, where the page overlaps it on purpose."""
    if not skip:
        return
    ids = item_ids(envelope.received, unique=False)
    if ids is None:
        if skip == (content_id(envelope.received),):
            envelope.items = []
    else:
        known = frozenset(skip)
        pairs = zip(envelope.received, ids, strict=True)
        envelope.items = [item for item, identity in pairs if str(identity) not in known]
