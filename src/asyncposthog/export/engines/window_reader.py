"""Reading a window once, and making sure that what came is all of it.

A window was read to its end where the rows received are as many as were counted. Where they are
not, the window is counted again, because rows arrive and are deleted at any time:

- As many as were received, or fewer: some were deleted since, or arrived late. The report says how
  many.
- More, and more than were counted first: some arrived late. What is behind the last row is read.
- More, and fewer were received than were counted first: an answer was cut short, or came from a
  replica that lags behind. The page is asked for again, and then what is behind its last row. Where
  that brings nothing either, rows are lost, and the export fails.

Where rows cannot be counted, or an earlier run has read a part of them, a window is read until
nothing comes behind its last row.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Generic, TypeVar

from asyncposthog.errors import ExportError, PostHogError, StatusError
from asyncposthog.export.query_client import Asker
from asyncposthog.export.runner import WindowResult
from asyncposthog.export.source import Source, page_query
from asyncposthog.export.timestamps import as_text
from asyncposthog.export.windows import Window

from .base import Prepare, PreparedBatch, Tally
from .query_page import Answer, NonUniqueKeyError, Page, UnexpectedResponseError, read_answer
from .row_counts import Counter

__all__ = ["WindowReader"]

T = TypeVar("T")

_PAUSES: Final = (0.5, 2.0, 5.0)
"""Seconds to wait before a page that lacks rows is asked for again, each time."""

logger = logging.getLogger("asyncposthog")


@dataclass(frozen=True, slots=True)
class _Received(Generic[T]):
    """An answer, and what was made of it where that could be done at once."""

    answer: Answer
    made: tuple[Page, T] | None
    """None: whether it is all of the window has to be found out first."""
    size: int


class WindowReader(Generic[T]):
    """Reads the windows of one export."""

    def __init__(
        self,
        asker: Asker,
        counter: Counter,
        source: Source,
        page_size: int,
        prepare: Prepare[T],
        tally: Tally,
    ) -> None:
        """Ask for nothing yet.

        Args:
            asker: Sends the queries.
            counter: Counts rows.
            source: What is read.
            page_size: How many rows a query asks for.
            prepare: Run for every batch, in a worker thread.
            tally: Kept up to date.
        """
        self._asker = asker
        self._counter = counter
        self._source = source
        self._page_size = page_size
        self._prepare = prepare
        self._tally = tally
        self._cuts = False
        """Whether the server was seen to send less than there is: no short page is trusted then."""

    async def read(self, window: Window) -> WindowResult[T]:
        """Read a window once: to its end, or as far as a page goes.

        Raises:
            ExportError: The server has rows that it does not send.
            PostHogError: A query failed for good.
        """
        if self._uncounted(window):
            # Before it is read, so that what arrives meanwhile is never taken for a loss.
            counted = await self._counter.rows(window.start, window.end)
            window = replace(window, counted=counted)
        try:
            received = await self._ask(window)
            if received.made is not None and received.answer.full:
                return self._behind(window, received, *received.made)
            if received.made is not None:
                return self._end(window, received, *received.made)
            return await self._settle(window, received)
        except NonUniqueKeyError as error:
            raise _key_not_unique_error(error, window.limit or self._page_size) from None

    async def _ask(self, window: Window) -> _Received[T]:
        source = self._source
        limit = window.limit or self._page_size
        sql, values = page_query(source, window.start, window.end, window.after, limit)

        def read(body: object, size: int) -> _Received[T]:
            answer = read_answer(source, window, limit, body)
            _check_names(answer.shown)
            sure = answer.full or self._ends(window, answer)
            made = self._make(answer, cut=answer.full) if sure else None
            return _Received(answer, made, size)

        try:
            return await self._asker.ask(sql, values, read)
        except StatusError as error:
            _add_column_hint(error, source)
            raise

    def _make(self, answer: Answer, *, cut: bool) -> tuple[Page, T]:
        page = answer.page(cut=cut)
        return page, self._prepare(page.batch)

    async def _made(self, received: _Received[T], *, cut: bool) -> tuple[Page, T]:
        try:
            return await self._asker.work(partial(self._make, received.answer, cut=cut))
        except UnexpectedResponseError as error:
            raise self._asker.misread(error) from None

    def _uncounted(self, window: Window) -> bool:
        """Tell whether a window has to be counted before it is read."""
        countable = self._counter.available and self._source.repeatable
        return countable and window.counted is None and window.after is None

    def _comparable(self, window: Window) -> bool:
        """Tell whether the rows of a window can be compared with their count."""
        known = window.received is not None and window.counted is not None
        return known and self._counter.available

    def _ends(self, window: Window, answer: Answer) -> bool:
        """Tell whether an answer that is not full is certainly the last of its window."""
        if not self._source.repeatable:
            return True
        if not self._comparable(window):
            return answer.received <= window.repeated and not _lacks(window, answer)
        return not self._cuts and _total(window, answer) == window.counted

    async def _settle(self, window: Window, received: _Received[T]) -> WindowResult[T]:
        """Find out whether a page that is not full is the last of its window."""
        for pause in (*_PAUSES, None):
            answer = received.answer
            new, lacks = answer.received > window.repeated, _lacks(window, answer)
            if new and (not self._comparable(window) or (self._cuts and lacks)):
                return await self._read_on(window, received)
            now = await self._count(window) if self._counter.available else None
            if now is not None and _total(window, answer) >= now:
                break
            if not lacks:
                if not new:
                    break
                return await self._read_on(window, received)
            if now is None or pause is None:
                if new and await self._is_cut(window, received):
                    return await self._read_on(window, received)
                if await self._has_all_keys(window, received):
                    break
                raise _lost(self._source, window, _total(window, answer), now)
            await self._asker.pause(pause)
            received = await self._ask(window)
            if received.answer.full:
                assert received.made is not None
                return self._behind(window, received, *received.made)
            if _total(window, received.answer) >= now:
                break
        made = received.made or await self._made(received, cut=False)
        return self._end(window, received, *made)

    async def _count(self, window: Window, *, distinct: bool = False) -> int | None:
        return await self._counter.rows(_origin(window), window.end, distinct=distinct)

    async def _is_cut(self, window: Window, received: _Received[T]) -> bool:
        """Tell whether there are rows behind a page that is not full.

        Asked for before the page is handed on: where there are none, rows are missing from it, and
        an export that resumes must not resume behind it.
        """
        page, _ = await self._made(received, cut=True)
        rest = self._rest(window, received.answer, page)
        found = await self._ask(rest)
        self._cuts = found.answer.received > rest.repeated
        return self._cuts

    async def _has_all_keys(self, window: Window, received: _Received[T]) -> bool:
        """Tell whether all that lacks is what the server has twice, and has merged in part."""
        if not self._source.unique or not self._comparable(window):
            return False
        page, _ = await self._made(received, cut=False)
        try:
            keys = await self._count(window, distinct=True)
        except PostHogError:
            return False
        repeats = window.duplicates + page.duplicates
        return keys is not None and _total(window, received.answer) - repeats >= keys

    async def _read_on(self, window: Window, received: _Received[T]) -> WindowResult[T]:
        return self._behind(window, received, *await self._made(received, cut=True))

    def _behind(
        self, window: Window, received: _Received[T], page: Page, content: T
    ) -> WindowResult[T]:
        """Return a page behind which the window is read on."""
        self._tally.duplicates += page.duplicates
        rest = self._rest(window, received.answer, page)
        return WindowResult(_piece(page, content), rest, received.size)

    def _rest(self, window: Window, answer: Answer, page: Page) -> Window:
        """Return what is left of a window behind a page."""
        known = None if window.received is None else window.received + page.kept
        rest = replace(
            window,
            after=page.last,
            origin=_origin(window),
            received=known,
            duplicates=window.duplicates + page.duplicates,
            repeated=answer.received - page.kept,
            # What is behind a page that is not full is compared by itself, where it can be.
            alone=window.alone or (self._counter.available and not answer.full),
        )
        if window.counted is not None and known is not None and known < window.counted:
            return replace(rest, rows=window.counted - known)
        # Of a full page there is more, whatever was counted: how much is not known.
        return replace(rest, rows=None if answer.full else 0)

    def _end(
        self, window: Window, received: _Received[T], page: Page, content: T
    ) -> WindowResult[T]:
        """Return the last page of a window."""
        self._tally.duplicates += page.duplicates
        if window.counted is not None and window.received is not None:
            total = window.received + page.kept
            self._tally.late += max(0, total - window.counted)
            self._tally.deleted += max(0, window.counted - total)
            if total != window.counted:
                logger.info(
                    "export of %s: %s: %d rows were counted beforehand, and there are %d now",
                    self._source.kind, _range(window), window.counted, total,
                )  # fmt: skip
        return WindowResult(_piece(page, content), None, received.size)


def _origin(window: Window) -> int:
    """Return where that begins which the rows of a window are counted from."""
    return window.start if window.origin is None else window.origin


def _total(window: Window, answer: Answer) -> int:
    """Return how many rows of a window were received, with those of an answer."""
    return (window.received or 0) + answer.received


def _lacks(window: Window, answer: Answer) -> bool:
    """Tell whether fewer rows were received than were counted first."""
    if window.counted is None or window.received is None:
        return False
    return _total(window, answer) < window.counted


def _piece(page: Page, content: T) -> PreparedBatch[T]:
    batch = page.batch
    return PreparedBatch(content, len(batch), batch.position(len(batch)))


def _check_names(names: Sequence[str]) -> None:
    """Refuse columns of one name: of two values, a reader of the rows would see one."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ExportError(
            f"Two columns are named {twice!r}.", suggestion="Tell them apart with AS."
        )


def _range(window: Window) -> str:
    return f"from {as_text(_origin(window))} to {as_text(window.end)} UTC"


def _lost(source: Source, window: Window, received: int, now: int | None) -> PostHogError:
    counted = f"{window.counted:,} rows were counted beforehand"
    again = "" if now is None else f" and {now:,} afterwards"
    if window.received:
        # Some of it was handed on: an export that resumes would resume behind what is missing.
        suggestion = (
            "Remove the checkpoint and the partial output, if any, and run the export anew."
        )
    else:
        suggestion = "Run the same export again: it resumes before this window."
    return ExportError(
        f"The server does not return all {source.kind} {_range(window)}: {counted}{again}, and "
        f"{received:,} were received.",
        suggestion=suggestion,
    )


def _key_not_unique_error(error: NonUniqueKeyError, limit: int) -> PostHogError:
    return ExportError(
        f"More than {limit:,} rows have the same key ({error}): there is no way to page past them.",
        suggestion="Give hogql() a key that is unique, or narrow the export with where=.",
    )


def _add_column_hint(error: StatusError, source: Source) -> None:
    """Say which column the server complains about, where its words tell."""
    detail = error.detail or ""
    names = [column for column in source.columns if column != "*" and column in detail]
    if error.status == 400 and names:
        note = f"The export asks for the column {max(names, key=len)!r}."
        error.suggestion = f"{note} {error.suggestion}" if error.suggestion else note
