"""The `files` engine as an export sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from weakref import finalize

import anyio

from asyncposthog.core.executor import Executor
from asyncposthog.errors import ExportError, PostHogError, StatusError
from asyncposthog.export.batch import Batch
from asyncposthog.export.engines.base import Consume, Prepare, PreparedBatch, Tally
from asyncposthog.export.source import Source
from asyncposthog.export.timestamps import as_text
from asyncposthog.resources.file_download_batch_exports import FileDownloadBatchExports
from asyncposthog.threads import run_in_thread
from asyncposthog.types import RequestOptions

from .cache import DownloadCache
from .job import DownloadResult, Job
from .merge import MergedFiles, require_pyarrow, sort_file
from .plan import names_of_events, stretches

__all__ = ["REFUSALS", "FilesEngine", "FilesSteps", "IncompleteError", "refused"]

T = TypeVar("T")

_GRACE: Final = 5.0
"""Seconds for telling the server that files are not wanted any more."""
REFUSALS: Final = frozenset({402, 403, 404})
"""What the server answers where a project or a key has no file downloads."""


class IncompleteError(ExportError):
    """The files hold fewer rows than there are."""


@dataclass(frozen=True, kw_only=True)
class FilesEngine:
    """Has PostHog make files, and reads those. Its rows come in the order that queries give."""

    executor: Executor
    source: Source
    start: int
    end: int
    until: int
    """The moment the export began: what arrives later is not in it."""
    concurrency: int = 3
    page_size: int = 50_000
    options: RequestOptions | None = None
    expected: int | None = None
    """How many rows there have to be at least, where they were counted."""
    resumable: bool = True
    """Whether another run may go on with the files."""

    def __post_init__(self) -> None:
        """Fail early where what reads the files is missing."""
        require_pyarrow()

    @property
    def identity(self) -> Mapping[str, Any]:
        """What is exported."""
        return {
            "engine": "files",
            "columns": list(self.source.columns),
            "events": names_of_events(self.source),
            "start": as_text(self.start),
            "end": as_text(self.end),
            "until": as_text(self.until),
        }

    async def run(
        self, position: Any, prepare: Prepare[T], consume: Consume[T], tally: Tally
    ) -> None:
        """Get all rows behind a position.

        Files that were fetched stay where they are if it fails, for another run to go on with, if
        it is resumable.
        """
        with ExitStack() as held:
            spool = await self._spool(held) if self.resumable else None
            steps = FilesSteps(self, position, prepare, tally, spool)
            try:
                while pieces := await steps.advance():
                    for piece in pieces:
                        await consume(piece)
            except PostHogError as error:
                if spool is not None and (isinstance(error, IncompleteError) or refused(error)):
                    # Asking for the files again would not help.
                    steps.close()
                    await run_in_thread(spool.remove)
                raise
            finally:
                steps.close()
                tally.spooled = spool is not None and spool.holds_files
            if spool is not None:
                await run_in_thread(spool.remove)
            tally.spooled = False

    def steps(self, position: Any, prepare: Prepare[T], tally: Tally) -> FilesSteps[T]:
        """Return the same pieces, to be had one step at a time."""
        return FilesSteps(self, position, prepare, tally, None)

    async def _spool(self, held: ExitStack) -> DownloadCache:
        project = await self.executor.project_id()
        where = {"host": self.executor.settings.host, "project": project, **self.identity}

        def lock() -> DownloadCache:
            # Kept where it is released even if a cancellation loses the result.
            spool = DownloadCache.of(where)
            held.callback(spool.release)
            return spool

        return await run_in_thread(lock)

    def jobs(self, spool: DownloadCache, tally: Tally) -> list[Job]:
        """Return what has to be done."""
        order = partial(sort_file, start=self.start, end=self.end, columns=self.source.columns)
        gate = anyio.CapacityLimiter(1)
        return [
            Job(
                resource=FileDownloadBatchExports(self.executor),
                stretch=stretch,
                events=names_of_events(self.source),
                folder=spool.job(number),
                order=order,
                gate=gate,
                tally=tally,
                clock=self.executor.transport.clock,
                options=self.options,
            )
            for number, stretch in enumerate(stretches(self.start, self.end, self.until))
        ]

    async def fetch(self, jobs: list[Job], tally: Tally) -> list[Path]:
        """Have all files made, fetched and put in order, several jobs at a time.

        Raises:
            PostHogError: One of them cannot be had; the first failure ends the others.
            IncompleteError: They hold fewer rows than expected.
        """
        slots = anyio.CapacityLimiter(self.concurrency)
        tally.windows_total = tally.windows + len(jobs)
        found: dict[int, DownloadResult] = {}
        failures: list[Exception] = []

        async def one(number: int, job: Job) -> None:
            async with slots:
                try:
                    found[number] = await job.run()
                except Exception as error:
                    failures.append(error)
                    group.cancel_scope.cancel()
                else:
                    tally.windows += 1

        async with anyio.create_task_group() as group:
            for number, job in enumerate(jobs):
                group.start_soon(one, number, job)
        if failures:
            raise failures[0]
        ordered = [found[number] for number in sorted(found)]
        self._check(sum(done.kept for done in ordered))
        return [path for done in ordered for path in done.paths]

    def _check(self, kept: int) -> None:
        if self.expected is not None and kept < self.expected:
            raise IncompleteError(
                f"files hold {kept:,} of {self.expected:,} rows: the others arrived more than four "
                "days late."
            )


class FilesSteps(Generic[T]):
    """The pieces of one export by files."""

    def __init__(
        self,
        engine: FilesEngine,
        position: Any,
        prepare: Prepare[T],
        tally: Tally,
        spool: DownloadCache | None,
    ) -> None:
        """Ask for nothing yet.

        Args:
            engine: What is exported.
            position: Where to go on.
            prepare: Run for every batch.
            tally: Kept up to date.
            spool: Where files are kept; None: in a folder that goes away with this object.
        """
        self._engine = engine
        self._position = position
        self._prepare = prepare
        self._tally = tally
        self._spool = spool
        self._merge: MergedFiles | None = None
        self._batches: Iterator[Batch] = iter(())
        self._remove: Callable[[], object] = _nothing

    async def advance(self) -> list[PreparedBatch[T]]:
        """Return the next piece; none at the end."""
        if self._merge is None:
            await self._begin()
        piece = await run_in_thread(self._next)
        if piece is None:
            await run_in_thread(self.close)
            return []
        return [piece]

    def close(self) -> None:
        """Close the files, and remove those that nobody will come back for."""
        if self._merge is not None:
            self._tally.duplicates += self._merge.duplicates
            self._merge.duplicates = 0
            self._merge.close()
        self._remove()

    async def _begin(self) -> None:
        engine, spool = self._engine, self._spool
        if spool is None:
            passing = await run_in_thread(self._make_folder)
            paths = await self._fetch_or_leave(engine.jobs(passing, self._tally))
        else:
            paths = await engine.fetch(engine.jobs(spool, self._tally), self._tally)
        source = engine.source
        self._merge = MergedFiles(paths, source.columns, source.json, self._position)
        self._batches = self._merge.batches(engine.page_size)

    def _make_folder(self) -> DownloadCache:
        """Make the folder that goes away with this object, also if its task was cancelled."""
        passing = DownloadCache.passing()
        self._remove = finalize(self, passing.remove)
        return passing

    async def _fetch_or_leave(self, jobs: list[Job]) -> list[Path]:
        """Fetch the files; where that fails nobody will come back for them."""
        complete = False
        try:
            paths = await self._engine.fetch(jobs, self._tally)
            complete = True
            return paths
        finally:
            if not complete:
                try:
                    with anyio.CancelScope(shield=True), anyio.move_on_after(_GRACE):
                        for job in jobs:
                            with suppress(PostHogError):
                                await job.abandon()
                finally:
                    await run_in_thread(self._remove, shield=True)

    def _next(self) -> PreparedBatch[T] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        return PreparedBatch(self._prepare(batch), len(batch), batch.position(len(batch)))


def _nothing() -> None:
    pass


def refused(error: PostHogError) -> bool:
    """Tell whether an error means that there are no file downloads for this key."""
    return isinstance(error, StatusError) and error.status in REFUSALS
