"""`engine="auto"`: queries, or files where there are too many rows for queries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, Generic, TypeVar

from asyncposthog.errors import PostHogError
from asyncposthog.export.engines.base import Consume, Prepare, PreparedBatch, Steps, Tally
from asyncposthog.export.engines.query import QueryBatchReader, QueryEngine
from asyncposthog.export.windows import Window

from .engine import FilesEngine, IncompleteError, refused

__all__ = ["MANY", "AutoEngine", "prefers_files"]

T = TypeVar("T")

MANY: Final = 200
"""How many queries an export may take before files are the better way: ten million rows."""


def prefers_files(queries: int) -> bool:
    """Tell whether an export of so many queries is better had as files."""
    return queries > MANY and find_spec("pyarrow") is not None


@dataclass(frozen=True, kw_only=True)
class AutoEngine:
    """Counts first, and then chooses. Both engines give the same rows in the same order."""

    query: QueryEngine
    files: Callable[[int | None], FilesEngine]
    """Makes the engine of files, given how many rows there have to be."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What is exported."""
        return self.query.identity

    async def run(
        self, position: Any, prepare: Prepare[T], consume: Consume[T], tally: Tally
    ) -> None:
        """Get all rows behind a position."""
        windows = await self._windows(position, tally)
        files = self._files(windows, position, tally)
        if files is not None:
            done = 0

            async def counted(piece: PreparedBatch[T]) -> None:
                nonlocal done
                await consume(piece)
                done += 1

            try:
                await files.run(position, prepare, counted, tally)
                return
            except PostHogError as error:
                if done or not _can_fall_back(error, tally):
                    raise
        steps = QueryBatchReader(self.query, position, prepare, tally, windows)
        await (await steps.begin()).run(consume)

    def steps(self, position: Any, prepare: Prepare[T], tally: Tally) -> AutoSteps[T]:
        """Return the same pieces, to be had one step at a time."""
        return AutoSteps(self, position, prepare, tally)

    async def begun(
        self, position: Any, prepare: Prepare[T], tally: Tally
    ) -> tuple[Steps[T], list[PreparedBatch[T]]]:
        """Choose, and get the first pieces."""
        windows = await self._windows(position, tally)
        files = self._files(windows, position, tally)
        if files is not None:
            steps = files.steps(position, prepare, tally)
            try:
                return steps, await steps.advance()
            except PostHogError as error:
                if not _can_fall_back(error, tally):
                    raise
        asked = QueryBatchReader(self.query, position, prepare, tally, windows)
        return asked, await asked.advance()

    async def _windows(self, position: Any, tally: Tally) -> list[Window]:
        return await self.query.windows(self.query.asker(tally), tally, position)

    def _files(self, windows: list[Window], position: Any, tally: Tally) -> FilesEngine | None:
        """Return the engine of files if it is the better one."""
        rows = sum(window.rows or 0 for window in windows)
        queries = -(-int(rows) // self.query.page_size)
        if not prefers_files(queries):
            return None
        tally.notes.append(f"files were chosen: queries would have been {queries:,}")
        return self.files(None if position is not None else tally.expected)


class AutoSteps(Generic[T]):
    """The pieces of one export, by whatever engine was chosen."""

    def __init__(
        self, engine: AutoEngine, position: Any, prepare: Prepare[T], tally: Tally
    ) -> None:
        """Choose nothing yet."""
        self._begin: Callable[[], Awaitable[tuple[Steps[T], list[PreparedBatch[T]]]]] = lambda: (
            engine.begun(position, prepare, tally)
        )
        self._steps: Steps[T] | None = None

    async def advance(self) -> list[PreparedBatch[T]]:
        """Return the next pieces in order; none at the end."""
        if self._steps is None:
            self._steps, pieces = await self._begin()
            return pieces
        return await self._steps.advance()


def _can_fall_back(error: PostHogError, tally: Tally) -> bool:
    """Tell whether queries can do what files could not, and note why."""
    if isinstance(error, IncompleteError):
        tally.notes.append(f"queries were used after all: {error}")
        return True
    if refused(error):
        tally.notes.append(f"queries were used after all: file downloads are refused: {error}")
        return True
    return False
