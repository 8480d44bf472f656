"""Read a window once and verify that all of its rows were received.

A window is complete when as many rows were received as were counted. If the numbers differ, the
window is counted again, because rows arrive and are deleted at any time:

- The second count is at most the number received: rows were deleted or arrived late. The report
  says how many.
- The second count is higher, and at least as many rows were received as the first count said: rows
  arrived late. Reading continues after the last row.
- The second count is higher, and fewer rows were received than the first count said: the response
  was truncated, or came from a replica that lags behind. The page is requested again, then the rows
  after its last one. If neither returns more, rows are missing and the export fails.

If rows cannot be counted, or an earlier run read a part of the window, it is read until no rows
follow its last one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Generic, TypeVar

from asyncposthog.errors import ExportError, PostHogError, StatusError
from asyncposthog.export.query_client import ExportQueryClient
from asyncposthog.export.runner import WindowResult
from asyncposthog.export.source import Source, page_query
from asyncposthog.export.timestamps import format_clickhouse
from asyncposthog.export.windows import Window

from .base import ExportStats, Prepare, PreparedBatch
from .query_page import (
    NonUniqueKeyError,
    Page,
    PageResponse,
    UnexpectedResponseError,
    read_response,
)
from .row_counts import RowCounter

__all__ = ["WindowReader"]

T = TypeVar("T")

# A replica that lags behind gets this long to catch up; after that the rows count as missing.
_RETRY_DELAYS: Final = (0.5, 2.0, 5.0)
"""Seconds to wait before each repeat of a request whose page lacks rows."""

logger = logging.getLogger("asyncposthog")


@dataclass(frozen=True, slots=True)
class _FetchedPage(Generic[T]):
    """A response, and its prepared page where the page could be prepared at once."""

    response: PageResponse
    prepared: tuple[Page, T] | None
    """None: the window has to be counted first, to know whether this is its last page."""
    response_bytes: int


class WindowReader(Generic[T]):
    """Reader of the windows of one export."""

    def __init__(
        self,
        query_client: ExportQueryClient,
        row_counter: RowCounter,
        source: Source,
        page_size: int,
        prepare: Prepare[T],
        stats: ExportStats,
    ) -> None:
        """Store the arguments. Nothing is sent yet.

        Args:
            query_client: Sends the queries.
            row_counter: Counts rows.
            source: The rows to read.
            page_size: Rows that a query requests.
            prepare: Called for every batch, in a worker thread.
            stats: Updated while reading.
        """
        self._query_client = query_client
        self._row_counter = row_counter
        self._source = source
        self._page_size = page_size
        self._prepare = prepare
        self._stats = stats
        # Set for the rest of the export once one response was shown to be truncated. From then on a
        # page whose row count happens to match a wrong first count is not trusted either.
        self._server_truncates = False

    async def read(self, window: Window) -> WindowResult[T]:
        """Read a window once: to its end, or as far as one page reaches.

        Raises:
            ExportError: The server has rows that it does not return.
            PostHogError: A query failed after all retries.
        """
        if self._must_count_first(window):
            # Counted before it is read: a row that arrives in between can then only look late,
            # never missing.
            count = await self._row_counter.count_rows(window.start, window.end)
            window = replace(window, counted_rows=count)
        try:
            fetched = await self._fetch(window)
            if fetched.prepared is not None and fetched.response.is_full:
                return self._partial_result(window, fetched, *fetched.prepared)
            if fetched.prepared is not None:
                return self._final_result(window, fetched, *fetched.prepared)
            return await self._verify_end(window, fetched)
        except NonUniqueKeyError as error:
            raise _key_not_unique_error(error, window.limit or self._page_size) from None

    async def _fetch(self, window: Window) -> _FetchedPage[T]:
        source = self._source
        limit = window.limit or self._page_size
        sql, values = page_query(source, window.start, window.end, window.after, limit)

        def read(body: object, response_bytes: int) -> _FetchedPage[T]:
            response = read_response(source, window, limit, body)
            _reject_duplicate_names(response.visible_names)
            # Preparing here saves a second trip to the worker thread for nearly every page.
            is_decided = response.is_full or self._is_last(window, response)
            prepared = self._prepare_page(response, cut=response.is_full) if is_decided else None
            return _FetchedPage(response, prepared, response_bytes)

        try:
            return await self._query_client.run(sql, values, read)
        except StatusError as error:
            _add_column_hint(error, source)
            raise

    def _prepare_page(self, response: PageResponse, *, cut: bool) -> tuple[Page, T]:
        page = response.page(cut=cut)
        return page, self._prepare(page.batch)

    async def _prepare_in_thread(self, fetched: _FetchedPage[T], *, cut: bool) -> tuple[Page, T]:
        try:
            return await self._query_client.run_in_decode_thread(
                partial(self._prepare_page, fetched.response, cut=cut)
            )
        except UnexpectedResponseError as error:
            raise self._query_client.bad_response_error(error) from None

    def _must_count_first(self, window: Window) -> bool:
        """Return whether a window has to be counted before it is read."""
        countable = self._row_counter.available and self._source.is_deterministic
        return countable and window.counted_rows is None and window.after is None

    def _can_compare(self, window: Window) -> bool:
        """Return whether the received rows of a window can be compared with its count."""
        has_numbers = window.received_rows is not None and window.counted_rows is not None
        return has_numbers and self._row_counter.available

    def _is_last(self, window: Window, response: PageResponse) -> bool:
        """Return whether a page that is not full is certainly the last of its window."""
        if not self._source.is_deterministic:
            # Each query draws other rows, so no count says anything about this page.
            return True
        if not self._can_compare(window):
            has_new_rows = response.row_count > window.deferred_rows
            return not has_new_rows and not _is_short(window, response)
        return not self._server_truncates and (
            _total_received(window, response) == window.counted_rows
        )

    async def _verify_end(self, window: Window, fetched: _FetchedPage[T]) -> WindowResult[T]:
        """Determine whether a page that is not full is the last of its window.

        Raises:
            ExportError: Rows are missing.
        """
        for delay in (*_RETRY_DELAYS, None):
            response = fetched.response
            has_new_rows = response.row_count > window.deferred_rows
            is_short = _is_short(window, response)
            if has_new_rows and (
                not self._can_compare(window) or (self._server_truncates and is_short)
            ):
                # Without a count, only a further page without new rows proves the end. A server
                # that truncates responses would truncate a repeat of this page as well.
                return await self._continue_after(window, fetched)
            count = await self._count(window) if self._row_counter.available else None
            if count is not None and _total_received(window, response) >= count:
                break
            if not is_short:
                # All rows of the first count are here, so those beyond it arrived late.
                if not has_new_rows:
                    break
                return await self._continue_after(window, fetched)
            if count is None or delay is None:
                if has_new_rows and await self._has_rows_after(window, fetched):
                    return await self._continue_after(window, fetched)
                if await self._has_all_keys(window, fetched):
                    break
                raise _missing_rows_error(
                    self._source, window, _total_received(window, response), count
                )
            await self._query_client.wait(delay)
            fetched = await self._fetch(window)
            if fetched.response.is_full:
                assert fetched.prepared is not None
                return self._partial_result(window, fetched, *fetched.prepared)
            if _total_received(window, fetched.response) >= count:
                break
        prepared = fetched.prepared or await self._prepare_in_thread(fetched, cut=False)
        return self._final_result(window, fetched, *prepared)

    async def _count(self, window: Window, *, distinct: bool = False) -> int | None:
        return await self._row_counter.count_rows(
            _count_start(window), window.end, distinct=distinct
        )

    async def _has_rows_after(self, window: Window, fetched: _FetchedPage[T]) -> bool:
        """Return whether rows follow a page that is not full.

        This is asked before the page is delivered: if no rows follow, rows are missing from the
        page itself, and an export that resumes must not resume after it.
        """
        page, _ = await self._prepare_in_thread(fetched, cut=True)
        rest = self._window_after(window, fetched.response, page)
        following = await self._fetch(rest)
        self._server_truncates = following.response.row_count > rest.deferred_rows
        return self._server_truncates

    async def _has_all_keys(self, window: Window, fetched: _FetchedPage[T]) -> bool:
        """Return whether only copies of received rows are missing.

        ClickHouse merges rows of the same key in the background, each replica at its own time. A
        replica that has merged them returns fewer rows than one that counts both copies.
        """
        if not self._source.unique or not self._can_compare(window):
            return False
        page, _ = await self._prepare_in_thread(fetched, cut=False)
        try:
            keys = await self._count(window, distinct=True)
        except PostHogError:
            # The error about the missing rows is the one to raise, not that of this extra query.
            return False
        duplicates = window.duplicates + page.duplicates
        return keys is not None and _total_received(window, fetched.response) - duplicates >= keys

    async def _continue_after(self, window: Window, fetched: _FetchedPage[T]) -> WindowResult[T]:
        prepared = await self._prepare_in_thread(fetched, cut=True)
        return self._partial_result(window, fetched, *prepared)

    def _partial_result(
        self, window: Window, fetched: _FetchedPage[T], page: Page, content: T
    ) -> WindowResult[T]:
        """Return a page, and the rest of the window after it."""
        self._stats.duplicates_skipped += page.duplicates
        rest = self._window_after(window, fetched.response, page)
        return WindowResult(_prepared_batch(page, content), rest, fetched.response_bytes)

    def _window_after(self, window: Window, response: PageResponse, page: Page) -> Window:
        """Return the rest of a window after a page."""
        received = None if window.received_rows is None else window.received_rows + page.used_rows
        rest = replace(
            window,
            after=page.last_key,
            counted_from=_count_start(window),
            received_rows=received,
            duplicates=window.duplicates + page.duplicates,
            deferred_rows=response.row_count - page.used_rows,
            # The rest after a page that is not full is compared by itself, so it must not be merged
            # with a neighbour whose rows were counted separately.
            isolated=window.isolated or (self._row_counter.available and not response.is_full),
        )
        if window.counted_rows is not None and received is not None:
            missing = window.counted_rows - received
            if missing > 0:
                return replace(rest, expected_rows=missing)
        # More rows follow a full page whatever the count said, and how many is unknown.
        return replace(rest, expected_rows=None if response.is_full else 0)

    def _final_result(
        self, window: Window, fetched: _FetchedPage[T], page: Page, content: T
    ) -> WindowResult[T]:
        """Return the last page of a window, and record late and deleted rows."""
        self._stats.duplicates_skipped += page.duplicates
        if window.counted_rows is not None and window.received_rows is not None:
            total = window.received_rows + page.used_rows
            self._stats.late += max(0, total - window.counted_rows)
            self._stats.deleted += max(0, window.counted_rows - total)
            if total != window.counted_rows:
                logger.info(
                    "export of %s, %s: counted %d rows before reading, received %d",
                    self._source.kind, _describe_range(window), window.counted_rows, total,
                )  # fmt: skip
        return WindowResult(_prepared_batch(page, content), None, fetched.response_bytes)


def _count_start(window: Window) -> int:
    """Return the start of the range whose rows were counted, in microseconds."""
    return window.start if window.counted_from is None else window.counted_from


def _total_received(window: Window, response: PageResponse) -> int:
    """Return how many rows of a window were received, including those of a response."""
    return (window.received_rows or 0) + response.row_count


def _is_short(window: Window, response: PageResponse) -> bool:
    """Return whether fewer rows were received than were counted before reading."""
    if window.counted_rows is None or window.received_rows is None:
        return False
    return _total_received(window, response) < window.counted_rows


def _prepared_batch(page: Page, content: T) -> PreparedBatch[T]:
    batch = page.batch
    return PreparedBatch(content, len(batch), batch.position(len(batch)))


def _reject_duplicate_names(names: Sequence[str]) -> None:
    """Raise if two columns share a name: a row as a dict would keep only one of their values.

    Raises:
        ExportError: Two columns share a name.
    """
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise ExportError(
            f"Two columns are named {duplicate!r}.", suggestion="Rename one of them with AS."
        )


def _describe_range(window: Window) -> str:
    start, end = format_clickhouse(_count_start(window)), format_clickhouse(window.end)
    return f"from {start} to {end} UTC"


def _missing_rows_error(
    source: Source, window: Window, received: int, recount: int | None
) -> PostHogError:
    counted = f"counted {window.counted_rows:,} rows before reading"
    after = "" if recount is None else f" and {recount:,} after"
    if window.received_rows:
        # Part of the window was delivered: an export that resumes would resume after the gap.
        suggestion = (
            "Remove the checkpoint and the partial output, if any, and run the export again."
        )
    else:
        suggestion = "Run the same export again; it resumes before this window."
    return ExportError(
        f"The server does not return all {source.kind} {_describe_range(window)}: "
        f"{counted}{after}, received {received:,}.",
        suggestion=suggestion,
    )


def _key_not_unique_error(error: NonUniqueKeyError, limit: int) -> PostHogError:
    return ExportError(
        f"More than {limit:,} rows have the same key ({error}), so they cannot be paged.",
        suggestion="Give hogql() a unique key, or narrow the export with where=.",
    )


def _add_column_hint(error: StatusError, source: Source) -> None:
    """Name the column of the export that the server's error message mentions, if any."""
    detail = error.detail or ""
    names = [column for column in source.columns if column != "*" and column in detail]
    if error.status == 400 and names:
        # The longest match: `properties.$os` also contains the column `properties`.
        hint = f"The export requests the column {max(names, key=len)!r}."
        error.suggestion = f"{hint} {error.suggestion}" if error.suggestion else hint
