"""Exports of list operations: page after page of a cursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

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

from .base import Consume, Engine, Prepare, PreparedBatch, Tally

__all__ = ["ListRequest"]

T = TypeVar("T")


@dataclass(frozen=True)
class ListRequest:
    """Everything that a list method returns."""

    cursor: Cursor[Any]
    fetcher: PageFetcher
    """What requests its pages: as the client does whose list it is."""
    columns: tuple[str, ...] | None

    @property
    def kind(self) -> str:
        """What the rows are."""
        return self.cursor.operation.id

    @property
    def identity(self) -> Mapping[str, Any]:
        """What was asked for."""
        call, options = get_call(self.cursor), self.fetcher.options
        body = {} if call.body is OMIT else {"body": call.body}
        # Where the call names another than the client's.
        roots = {"project": options.project_id, "organization": options.organization_id}
        return {
            "kind": self.kind,
            "ids": list(call.path),
            "arguments": self.cursor.arguments,
            **body,
            **{name: root for name, root in roots.items() if root is not None},
            "columns": None if self.columns is None else list(self.columns),
        }

    def settled(self, now: int) -> Any:
        """Decide nothing."""
        return None

    async def engine(self, executor: Executor, settled: Any, tally: Tally) -> Engine:
        """Return what gets the rows."""
        fetcher = replace(self.fetcher, executor=with_stats(executor, tally))

        async def fetch(query: Mapping[str, object] | None, body: object) -> bytes:
            mark_ready_to_send(fetcher.executor)
            content = await fetcher(query, body)
            tally.received += len(content)
            return content

        return ListEngine(with_fetch(self.cursor, fetch), self.columns, self.identity)


@dataclass(frozen=True)
class ListEngine:
    """Reads a list page by page."""

    cursor: Cursor[Any]
    columns: tuple[str, ...] | None
    identity: Mapping[str, Any]

    async def run(
        self, position: Any, prepare: Prepare[T], consume: Consume[T], tally: Tally
    ) -> None:
        """Get all rows behind a position."""
        steps = self.steps(position, prepare, tally)
        while pieces := await steps.advance():
            for piece in pieces:
                await consume(piece)

    def steps(self, position: Any, prepare: Prepare[T], tally: Tally) -> ListSteps[T]:
        """Return the same pieces, to be had one step at a time."""
        return ListSteps(self, position, prepare, tally)


class ListSteps(Generic[T]):
    """The pages of one export of a list."""

    def __init__(
        self, engine: ListEngine, position: Any, prepare: Prepare[T], tally: Tally
    ) -> None:
        """Ask for nothing yet."""
        self._columns = engine.columns
        self._chosen = engine.columns is not None
        self._operation = engine.cursor.operation
        self._compared = False
        cursor, self._ended = engine.cursor, False
        self._rows = 0 if _is_whole(cursor) else None
        """Rows handed on, those of earlier runs included; None: unknown."""
        if position is not None:
            self._rows = position.get("rows")
            self._columns = tuple(position["columns"])
            self._ended = position["next"] is None
            cursor = cursor if self._ended else cursor.resume(position["next"])
        self._pages = cursor.pages()
        self._prepare = prepare
        self._tally = tally

    async def advance(self) -> list[PreparedBatch[T]]:
        """Return the next page; nothing at the end."""
        page = await self._page()
        if page is None:
            return []
        if self._columns is None and not page.items:
            self._columns = await run_in_thread(item_columns, self._operation)
        batch = self._batch(page)
        if not page.has_next:
            self._compare()
        content = await run_in_thread(self._prepare, batch)
        return [PreparedBatch(content, len(batch), batch.position(len(batch)))]

    async def _page(self) -> Page[Any] | None:
        """Return the next page; empty ones before the first item are skipped."""
        while not self._ended:
            page = await self._pages.advance()
            if page is None:
                self._ended = True
                self._tally.windows_total = self._tally.windows
                self._compare()
                break
            self._tally.windows += 1
            self._tally.windows_total = self._tally.windows + page.has_next
            if page.count is not None:
                self._tally.expected = page.count
            if page.items or self._columns is not None or not page.has_next:
                return page
        return None

    def _compare(self) -> None:
        """Note at the end where the list had another number of items than the server counted.

        It is no error: items are created and deleted while a list is read page by page.
        """
        expected = self._tally.expected
        if self._compared or self._rows is None or expected is None or self._rows == expected:
            return
        self._compared = True
        self._tally.notes.append(
            f"the server counted {expected:,} items, and its pages had {self._rows:,}: items may "
            "have been made or deleted meanwhile"
        )

    def _batch(self, page: Page[Any]) -> Batch:
        items = [_fields(item) for item in page.items]
        if self._rows is not None:
            self._rows += len(items)
        keys = tuple(map(_key, items))
        if self._columns is None:
            self._columns = tuple(dict.fromkeys(name for item in items for name in item))
        columns = self._columns
        if self._chosen:
            items = [{name: item.get(name) for name in columns} for item in items]
        known = set(columns)
        place = {"next": page.state, "columns": columns, "rows": self._rows}
        return Batch(
            columns=columns,
            types=tuple(ColumnType("Unknown") for _ in columns),
            raw_columns=tuple([item.get(name) for item in items] for name in columns),
            keys=keys,
            records=items,
            unknown=tuple(sorted({n for item in items for n in item.keys() - known})),
            position=lambda n: place if n >= len(items) else None,
        )


def _is_whole(cursor: Cursor[Any]) -> bool:
    """Tell whether a list is read from its first page on, so that its count is that of its rows."""
    start = cursor._start  # pyright: ignore[reportPrivateUsage]
    arguments = [cursor.arguments.get(name) for name in ("offset", "page", "cursor")]
    return start == PageState() and all(value in (None, OMIT, 0) for value in arguments)


def _fields(item: Any) -> dict[str, Any]:
    if isinstance(item, Model):
        return item.raw()
    if isinstance(item, Mapping):
        return dict(cast("Mapping[str, Any]", item))
    return {"value": item}


def _key(item: Mapping[str, Any]) -> str:
    """Return what tells an item from the others: its id, or all of it."""
    known = item.get("id")
    return str(known) if isinstance(known, str | int) else to_json(item).decode()
