"""Exports of list operations, page by page through a cursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

from anyio.abc import TaskGroup
from pydantic_core import to_json

from asyncposthog.core.executor import Executor, PageFetcher
from asyncposthog.export.batch import Batch
from asyncposthog.export.list_columns import item_columns
from asyncposthog.export.query_client import mark_ready_to_send, with_stats
from asyncposthog.model import Model
from asyncposthog.pagination import Cursor, Page
from asyncposthog.pagination.cursor import get_call, with_fetch
from asyncposthog.pagination.state import PageState
from asyncposthog.query.clickhouse import ColumnType
from asyncposthog.threads import run_in_thread
from asyncposthog.types import OMIT

from .base import BatchReader, ExportStats, Prepare, PreparedBatch

__all__ = ["ListRequest"]

T = TypeVar("T")


@dataclass(frozen=True)
class ListRequest:
    """Request for all objects of a list operation."""

    cursor: Cursor[Any]
    fetcher: PageFetcher
    """Sends the requests for pages, with the settings of the client that made the cursor."""
    columns: tuple[str, ...] | None

    @property
    def kind(self) -> str:
        """Name of the rows: the operation, such as `cohorts.list`."""
        return self.cursor.operation.id

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The request as JSON data, to compare with that of a checkpoint."""
        call, options = get_call(self.cursor), self.fetcher.options
        body = {} if call.body is OMIT else {"body": call.body}
        # Only if the call names others than the client, whose own are in every fingerprint.
        owners = {"project": options.project_id, "organization": options.organization_id}
        return {
            "kind": self.kind,
            "ids": list(call.path),
            "arguments": self.cursor.arguments,
            **body,
            **{name: owner for name, owner in owners.items() if owner is not None},
            "columns": None if self.columns is None else list(self.columns),
        }

    def resolve_bounds(self, now: int) -> Any:
        """Return None: a list has no time range."""
        return None

    def with_executor(self, executor: Executor) -> ListRequest:
        """Return the request with a cursor that another executor of the same client fetches."""
        return replace(self, fetcher=replace(self.fetcher, executor=executor))

    async def open(
        self,
        executor: Executor,
        bounds: Any,
        position: Any,
        prepare: Prepare[T],
        stats: ExportStats,
        tasks: TaskGroup | None = None,
    ) -> BatchReader[T]:
        """Start reading; see `Request.open`."""
        fetcher = replace(self.fetcher, executor=with_stats(executor, stats))

        async def fetch(query: Mapping[str, object] | None, body: object) -> bytes:
            mark_ready_to_send(fetcher.executor)
            content = await fetcher(query, body)
            stats.bytes_received += len(content)
            return content

        return ListBatchReader(
            with_fetch(self.cursor, fetch), self.columns, position, prepare, stats
        )


class ListBatchReader(Generic[T]):
    """Reader of the pages of a list."""

    def __init__(
        self,
        cursor: Cursor[Any],
        columns: tuple[str, ...] | None,
        position: Any,
        prepare: Prepare[T],
        stats: ExportStats,
    ) -> None:
        """Store the arguments. Nothing is sent yet.

        Args:
            cursor: The list.
            columns: The fields to export; None: all.
            position: The position of the last processed page; None: from the beginning.
            prepare: Called for every page, in a worker thread.
            stats: Updated while reading.
        """
        self._columns = columns
        self._has_given_columns = columns is not None
        self._operation = cursor.operation
        self._is_compared = False
        self._is_finished = False
        # Rows read, including those of earlier runs; None if that is unknown.
        self._rows = 0 if _starts_at_first_page(cursor) else None
        if position is not None:
            self._rows = position.get("rows")
            # Columns found on the first page of an earlier run: later rows must have the same.
            self._columns = tuple(position["columns"])
            self._is_finished = position["next"] is None
            cursor = cursor if self._is_finished else cursor.resume(position["next"])
        self._pages = cursor.pages()
        self._prepare = prepare
        self._stats = stats

    async def read(self) -> list[PreparedBatch[T]]:
        """Return the next page; an empty list at the end."""
        page = await self._next_page()
        if page is None:
            return []
        if self._columns is None and not page.items:
            # An empty list still gets a file with columns: those of the schema.
            self._columns = await run_in_thread(item_columns, self._operation)
        batch = self._batch(page)
        if not page.has_next:
            self._compare_with_count()
        content = await run_in_thread(self._prepare, batch)
        return [PreparedBatch(content, len(batch), batch.position(len(batch)))]

    async def close(self, *, complete: bool) -> None:
        """Release nothing: a cursor holds no files or tasks."""

    async def _next_page(self) -> Page[Any] | None:
        """Return the next page; None at the end. Empty pages before the first item are skipped."""
        while not self._is_finished:
            page = await self._pages.advance()
            if page is None:
                self._is_finished = True
                self._stats.windows_total = self._stats.windows
                self._compare_with_count()
                break
            self._stats.windows += 1
            self._stats.windows_total = self._stats.windows + page.has_next
            if page.count is not None:
                self._stats.expected = page.count
            # An empty page has no columns to offer, unless it is the last one (see `read`).
            if page.items or self._columns is not None or not page.has_next:
                return page
        return None

    def _compare_with_count(self) -> None:
        """Add a note if the list had another number of items than the server counted.

        This is not an error: items can be created and deleted while a list is read page by page.
        """
        expected = self._stats.expected
        if self._is_compared or self._rows is None or expected is None or self._rows == expected:
            return
        self._is_compared = True
        self._stats.notes.append(
            f"the server counted {expected:,} items, and its pages had {self._rows:,}: items may "
            "have been created or deleted during the export"
        )

    def _batch(self, page: Page[Any]) -> Batch:
        items = [_item_fields(item) for item in page.items]
        if self._rows is not None:
            self._rows += len(items)
        keys = tuple(map(_item_key, items))
        if self._columns is None:
            self._columns = tuple(dict.fromkeys(name for item in items for name in item))
        columns = self._columns
        if self._has_given_columns:
            items = [{name: item.get(name) for name in columns} for item in items]
        column_set = set(columns)
        position = {"next": page.state, "columns": columns, "rows": self._rows}
        return Batch(
            columns=columns,
            types=tuple(ColumnType("Unknown") for _ in columns),
            raw_columns=tuple([item.get(name) for item in items] for name in columns),
            keys=keys,
            records=items,
            extra_fields=tuple(sorted({n for item in items for n in item.keys() - column_set})),
            # A list resumes at page boundaries only: the server has no way to continue after an
            # item.
            position=lambda n: position if n >= len(items) else None,
        )


def _starts_at_first_page(cursor: Cursor[Any]) -> bool:
    """Return whether a list is read from its first page, so that its count is that of its rows."""
    start = cursor._start  # pyright: ignore[reportPrivateUsage]
    arguments = [cursor.arguments.get(name) for name in ("offset", "page", "cursor")]
    return start == PageState() and all(value in (None, OMIT, 0) for value in arguments)


def _item_fields(item: Any) -> dict[str, Any]:
    if isinstance(item, Model):
        return item.raw()
    if isinstance(item, Mapping):
        return dict(cast("Mapping[str, Any]", item))
    return {"value": item}


def _item_key(item: Mapping[str, Any]) -> str:
    """Return the id of an item, or all of it as JSON if it has none."""
    item_id = item.get("id")
    return str(item_id) if isinstance(item_id, str | int) else to_json(item).decode()
