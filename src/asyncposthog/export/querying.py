"""The `query` engine: an export by HogQL queries, window by window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from asyncposthog.errors import ExportError, PostHogError, QueryTooLargeError, StatusError
from asyncposthog.executor import Executor
from asyncposthog.types import RequestOptions

from .asking import Asker
from .engine import Consume, Piece, Prepare, Tally
from .estimate import bucket_seconds, even_windows, fitted_windows
from .moments import as_text, from_text
from .page import CrowdedKeyError, Page, ShapeError, answer_rows, read_page
from .runner import Reading, Runner
from .source import Place, Source, histogram_query, page_query
from .windows import Planner, Window

__all__ = ["QueryEngine"]

T = TypeVar("T")

_BUCKETS: Final = 50_000


@dataclass(frozen=True, kw_only=True)
class QueryEngine:
    """Reads a source by queries."""

    executor: Executor
    source: Source
    start: int = 0
    """The first moment, in microseconds since 1970."""
    end: int = 1
    """The first moment that is not exported any more."""
    concurrency: int = 3
    page_size: int = 50_000
    ordered: bool = True
    options: RequestOptions | None = None
    expected: Mapping[int, int] | None = field(default=None, repr=False)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What is exported."""
        source = self.source
        return {
            "engine": "query",
            "kind": source.kind,
            "table": source.table,
            "columns": list(source.columns),
            "where": list(source.where),
            "values": {name: str(value) for name, value in source.values.items()},
            "key": [part for part in (source.time, source.key) if part],
            "start": as_text(self.start) if source.time else None,
            "end": as_text(self.end) if source.time else None,
        }

    async def windows(self, asker: Asker, tally: Tally, position: Any = None) -> list[Window]:
        """Cut what is left to do into windows."""
        start, after = self.start, None
        if position is not None:
            start = from_text(position["time"])
            if position["key"] is not None:
                after = Place(start, position["key"])
        if self.source.time is None:
            if position is None:
                return [Window(0, 1)]
            return [Window(0, 1, after)] if after is not None else []
        if start >= self.end:
            return []
        windows = await self._counted(asker, tally, start)
        if after is not None:
            first = windows[0]
            windows[0] = Window(first.start, first.end, after, first.rows)
        return windows

    async def _counted(self, asker: Asker, tally: Tally, start: int) -> list[Window]:
        step = bucket_seconds(start, self.end)
        sql, values = histogram_query(self.source, start, self.end, step, _BUCKETS)
        try:
            counts = await asker.ask(sql, values, _read_counts)
        except QueryTooLargeError:
            tally.notes.append("counting the rows beforehand was too much for the server")
            return even_windows(start, self.end, self.concurrency)
        if tally.expected is None:
            tally.expected = sum(counts.values())
        # One below: a page that could be full has to be followed by another.
        return fitted_windows(start, self.end, counts, step, max(1, self.page_size - 1))

    def _asker(self, tally: Tally) -> Asker:
        return Asker(
            self.executor, tally, name=f"export of {self.source.kind}", options=self.options
        )

    async def run(
        self, position: Any, prepare: Prepare[T], consume: Consume[T], tally: Tally
    ) -> None:
        """Get all rows behind a position, ahead of what consumes them."""
        steps = QuerySteps(self, position, prepare, tally)
        runner = await steps.begin()
        await runner.run(consume)

    def steps(self, position: Any, prepare: Prepare[T], tally: Tally) -> QuerySteps[T]:
        """Return the same pieces, to be had one step at a time."""
        return QuerySteps(self, position, prepare, tally)

    async def plan(self, tally: Tally) -> list[Window]:
        """Return the windows that an export would begin with."""
        return await self.windows(self._asker(tally), tally)

    def asker(self, tally: Tally) -> Asker:
        """Return what sends the queries."""
        return self._asker(tally)


class QuerySteps(Generic[T]):
    """The pieces of one export by queries."""

    def __init__(
        self,
        engine: QueryEngine,
        position: Any,
        prepare: Prepare[T],
        tally: Tally,
        windows: list[Window] | None = None,
    ) -> None:
        """Ask for nothing yet.

        Args:
            engine: What is exported.
            position: Where to go on.
            prepare: Run for every batch.
            tally: Kept up to date.
            windows: The windows behind the position, where they are known.
        """
        self._windows = windows
        self._engine = engine
        self._position = position
        self._prepare = prepare
        self._tally = tally
        self._asker = engine.asker(tally)
        self._base = (tally.windows, tally.splits)
        self._runner: Runner[T] | None = None

    async def begin(self) -> Runner[T]:
        """Make the plan, once."""
        if self._runner is None:
            engine = self._engine
            windows = self._windows
            if windows is None:
                windows = await engine.windows(self._asker, self._tally, self._position)
            self._planner: Planner[Piece[T]] = Planner(windows, engine.page_size)
            self._changed()
            self._runner = Runner(
                self._planner,
                self._read,
                concurrency=engine.concurrency,
                ordered=engine.ordered,
                changed=self._changed,
            )
        return self._runner

    async def advance(self) -> list[Piece[T]]:
        """Return the next pieces in order; none at the end."""
        runner = await self.begin()
        return await runner.step()

    def _changed(self) -> None:
        planner, (windows, splits) = self._planner, self._base
        self._tally.windows = windows + planner.done
        self._tally.windows_total = windows + planner.total
        self._tally.splits = splits + planner.splits

    async def _read(self, window: Window) -> Reading[T]:
        source = self._engine.source
        limit = window.limit or self._engine.page_size
        sql, values = page_query(source, window.start, window.end, window.after, limit)

        def read(body: object, size: int) -> tuple[Page, T, int]:
            page = read_page(source, window, limit, body)
            _check_names(page.batch.columns)
            return page, self._prepare(page.batch), size

        try:
            page, content, size = await self._asker.ask(sql, values, read)
        except CrowdedKeyError as error:
            raise _crowded(error, limit) from None
        except StatusError as error:
            _explain(error, source)
            raise
        self._tally.duplicates += page.duplicates
        batch = page.batch
        return Reading(Piece(content, len(batch), batch.position(len(batch))), page.last, size)


def _read_counts(body: object, _: int) -> dict[int, int]:
    rows = answer_rows(body)[2]
    if not all(len(row) == 2 and all(type(value) is int for value in row) for row in rows):
        raise ShapeError("counts are not numbers")
    return {int(bucket): int(count) for bucket, count in rows}


def _check_names(names: Sequence[str]) -> None:
    """Refuse columns of one name: of two values, a reader of the rows would see one."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ExportError(
            f"Two columns are named {twice!r}.", suggestion="Tell them apart with AS."
        )


def _crowded(error: CrowdedKeyError, limit: int) -> PostHogError:
    return ExportError(
        f"More than {limit:,} rows have the same key ({error}): there is no way to page past them.",
        suggestion="Give hogql() a key that is unique, or narrow the export with where=.",
    )


def _explain(error: StatusError, source: Source) -> None:
    """Say which column the server complains about, where its words tell."""
    detail = error.detail or ""
    names = [column for column in source.columns if column != "*" and column in detail]
    if error.status == 400 and names:
        note = f"The export asks for the column {max(names, key=len)!r}."
        error.suggestion = f"{note} {error.suggestion}" if error.suggestion else note
