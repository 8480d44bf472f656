"""Requesting pages one after the other, and seeing to it that they get on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from asyncposthog.decode import decode

from .state import Call, Envelope, PageState, failure
from .strategies import Strategy, identities

__all__ = ["Fetch", "Mark", "Step", "Walk"]

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


@dataclass(frozen=True, slots=True)
class Step:
    """One page on the way."""

    state: PageState
    envelope: Envelope
    mark: Mark


class Walk:
    """The pages of one call. It remembers which requests and which items there were."""

    __slots__ = ("_fetch", "_prints", "_requests", "_strategy", "_strict", "call")

    def __init__(self, call: Call, strategy: Strategy, fetch: Fetch, strict: bool) -> None:
        self.call = call
        self._strategy = strategy
        self._fetch = fetch
        self._strict = strict
        # The position of the page for each request, and for each set of items, seen so far.
        self._requests: dict[int, int] = {}
        self._prints: dict[int, int] = {}

    async def request(self, state: PageState) -> bytes:
        """Send the request for a page."""
        return await self._fetch(self.call.query_at(state), self.call.body_at(state))

    def load(self, state: PageState, content: bytes, before: Mark | None = None) -> Step:
        """Read the answer for a page, and check that it gets on.

        Raises:
            DecodeError: It cannot be read.
            PaginationError: It holds nothing that was not there before.
        """
        operation = self.call.operation
        result = operation.result
        data = decode(result, content, strict=self._strict, operation=operation, media=result.media)
        envelope = Envelope(operation, data)
        if before is None:
            self._requests.setdefault(self.call.key(state), 0)
            ids = self._check_items(envelope, 0, None)
            return Step(state, envelope, Mark(count=envelope.count, ids=ids))
        if state.probing and before.ids is not None:
            _drop_known(envelope, before.ids)
        position = before.position + 1
        ids = self._check_items(envelope, position, before)
        empty = 0 if envelope.items else before.empty + 1
        if empty > _EMPTY_IN_A_ROW:
            raise failure(operation, f"{empty} empty pages came in a row, and no end")
        return Step(state, envelope, Mark(position, empty, envelope.count, ids))

    def following(self, step: Step) -> PageState | None:
        """Return where the page after this one begins; None at the end.

        Raises:
            PaginationError: The server's word on that leads nowhere.
        """
        state = self._strategy(self.call, step.state, step.envelope)
        if state is None:
            return None
        position = step.mark.position + 1
        found = self._requests.setdefault(self.call.key(state), position)
        if found < position:
            here = found == step.mark.position
            raise failure(
                self.call.operation,
                "`next` leads to the page that it stands on"
                if here
                else f"After page {position} the server leads back to an earlier one",
                "The items up to here are complete. Narrower filters may help.",
            )
        return state

    def _check_items(
        self, envelope: Envelope, position: int, before: Mark | None
    ) -> frozenset[Any] | None:
        """Refuse a page that brings nothing new, where its items can be told apart."""
        ids = identities(envelope.items)
        if ids is None:
            return None
        repeated = self._prints.setdefault(hash(ids), position) < position
        if before is None or envelope.count != before.count:
            # Something was added meanwhile, and has pushed known items onto this page.
            return frozenset(ids)
        if repeated or (before.ids and all(i in before.ids for i in ids)):
            raise failure(
                self.call.operation,
                f"Page {position + 1} holds only items that were there before",
                "The server does not get on. The items up to here are complete.",
            )
        return frozenset(ids)


def _drop_known(envelope: Envelope, known: frozenset[Any]) -> None:
    """Leave out what the page before had: some servers take a bound to be inclusive."""
    ids = identities(envelope.items)
    if ids is not None and known.intersection(ids):
        pairs = zip(envelope.items, ids, strict=True)
        envelope.items = [item for item, identity in pairs if identity not in known]
