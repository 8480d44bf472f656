"""The `files` engine: have PostHog make files of events, and read those."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from weakref import finalize

import anyio
from anyio.abc import TaskGroup

from asyncposthog.core.executor import Executor
from asyncposthog.errors import ExportError, PostHogError, StatusError
from asyncposthog.export.batch import Batch
from asyncposthog.export.engines.base import ExportStats, Prepare, PreparedBatch
from asyncposthog.export.source import Source
from asyncposthog.export.timestamps import format_clickhouse
from asyncposthog.resources.file_download_batch_exports import FileDownloadBatchExports
from asyncposthog.threads import run_in_thread
from asyncposthog.types import RequestOptions

from .cache import DownloadCache
from .job import DownloadJob, DownloadResult
from .merge import MergedFiles, require_pyarrow, sort_file
from .plan import arrival_ranges, event_names

__all__ = ["FilesBatchReader", "FilesEngine", "IncompleteError", "is_unavailable"]

T = TypeVar("T")

_CANCEL_SECONDS: Final = 5.0
"""Seconds for cancelling the server's jobs of a failed export."""
_UNAVAILABLE_STATUSES: Final = frozenset({402, 403, 404})
"""Statuses of responses if a project or a key has no file downloads."""


class IncompleteError(ExportError):
    """The files have fewer rows than were counted by a query."""


@dataclass(frozen=True, kw_only=True)
class FilesEngine:
    """Engine that reads events from file downloads, in the order that queries return."""

    executor: Executor
    source: Source
    start: int
    """Start of the range, in microseconds since 1970."""
    end: int
    """End of the range, exclusive."""
    started_at: int
    """The time the export started: events that arrive later are not in it."""
    concurrency: int = 3
    page_size: int = 50_000
    options: RequestOptions | None = None
    min_rows: int | None = None
    """The number of rows the files must have at least, if rows were counted."""
    resumable: bool = True
    """Whether another run may continue with the downloaded files."""

    def __post_init__(self) -> None:
        """Fail before anything is requested if pyarrow is missing."""
        require_pyarrow()

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What the files contain, as JSON data: another run may use the files of the same."""
        return {
            "engine": "files",
            "columns": list(self.source.columns),
            "events": event_names(self.source),
            "start": format_clickhouse(self.start),
            "end": format_clickhouse(self.end),
            "started_at": format_clickhouse(self.started_at),
        }

    async def open(
        self,
        position: Any,
        prepare: Prepare[T],
        stats: ExportStats,
        tasks: TaskGroup | None = None,
    ) -> FilesBatchReader[T]:
        """Download all files; see `Engine.open`. `tasks` is not used.

        If this fails, downloaded files are kept for another run of a resumable export, unless it
        cannot succeed.

        Raises:
            ImportError: pyarrow is not installed.
            IncompleteError: The files have fewer rows than `min_rows`.
            PostHogError: A file could not be downloaded.
        """
        if not self.resumable:
            return await self._open_temporary(position, prepare, stats)
        with ExitStack() as stack:
            cache = await self._lock_cache(stack)
            try:
                paths = await self.fetch(self.jobs(cache, stats), stats)
                reader = FilesBatchReader(self, paths, position, prepare, stats)
            except PostHogError as error:
                if isinstance(error, IncompleteError) or is_unavailable(error):
                    # Requesting the same files again would fail in the same way.
                    await run_in_thread(cache.remove)
                raise
            finally:
                stats.has_cached_files = cache.holds_files
            reader.keep_until_closed(cache, stack.pop_all())
            return reader

    async def _open_temporary(
        self, position: Any, prepare: Prepare[T], stats: ExportStats
    ) -> FilesBatchReader[T]:
        """Download all files to a folder that is removed with the reader."""
        folder = _TemporaryFolder()
        cache = await run_in_thread(folder.create)
        paths = await self._fetch_or_cancel(self.jobs(cache, stats), stats, folder)
        reader = FilesBatchReader(self, paths, position, prepare, stats)
        reader.remove_when_done(folder)
        return reader

    async def _fetch_or_cancel(
        self, jobs: list[DownloadJob], stats: ExportStats, folder: _TemporaryFolder
    ) -> list[Path]:
        """Download the files. If that fails, cancel the server's jobs and remove the folder."""
        is_complete = False
        try:
            paths = await self.fetch(jobs, stats)
            is_complete = True
            return paths
        finally:
            if not is_complete:
                # No later run can use these files, so the server need not finish them.
                try:
                    with anyio.CancelScope(shield=True), anyio.move_on_after(_CANCEL_SECONDS):
                        for job in jobs:
                            with suppress(PostHogError):
                                await job.cancel()
                finally:
                    await run_in_thread(folder.remove, shield=True)

    async def _lock_cache(self, stack: ExitStack) -> DownloadCache:
        project = await self.executor.project_id()
        key = {"host": self.executor.settings.host, "project": project, **self.fingerprint}

        def lock() -> DownloadCache:
            # Registered in the thread: a cancellation while it runs loses what it returns, and the
            # lock has to be released nevertheless.
            cache = DownloadCache.resumable(key)
            stack.callback(cache.release)
            return cache

        return await run_in_thread(lock)

    def jobs(self, cache: DownloadCache, stats: ExportStats) -> list[DownloadJob]:
        """Return one download job for each range of arrival times."""
        sort = partial(sort_file, start=self.start, end=self.end, columns=self.source.columns)
        # One file is sorted at a time: it is decompressed in memory for that.
        sort_limiter = anyio.CapacityLimiter(1)
        return [
            DownloadJob(
                resource=FileDownloadBatchExports(self.executor),
                arrival_range=arrival_range,
                events=event_names(self.source),
                folder=cache.job(number),
                sort=sort,
                sort_limiter=sort_limiter,
                stats=stats,
                clock=self.executor.transport.clock,
                options=self.options,
            )
            for number, arrival_range in enumerate(
                arrival_ranges(self.start, self.end, self.started_at)
            )
        ]

    async def fetch(self, jobs: list[DownloadJob], stats: ExportStats) -> list[Path]:
        """Run jobs, several at a time, and return the paths of the sorted files.

        Raises:
            PostHogError: A job failed; the first error cancels the other jobs.
            IncompleteError: The files have fewer rows than `min_rows`.
        """
        slots = anyio.CapacityLimiter(self.concurrency)
        stats.windows_total = stats.windows + len(jobs)
        results: dict[int, DownloadResult] = {}
        errors: list[Exception] = []

        async def run_job(number: int, job: DownloadJob) -> None:
            async with slots:
                try:
                    results[number] = await job.run()
                except Exception as error:
                    # Collected rather than raised, so that callers see no ExceptionGroup.
                    errors.append(error)
                    group.cancel_scope.cancel()
                else:
                    stats.windows += 1

        async with anyio.create_task_group() as group:
            for number, job in enumerate(jobs):
                group.start_soon(run_job, number, job)
        if errors:
            raise errors[0]
        ordered = [results[number] for number in sorted(results)]
        self._check_complete(sum(result.row_count for result in ordered))
        return [path for result in ordered for path in result.paths]

    def _check_complete(self, row_count: int) -> None:
        if self.min_rows is not None and row_count < self.min_rows:
            raise IncompleteError(
                f"files have {row_count:,} of {self.min_rows:,} rows: the others arrived more than "
                "four days late."
            )


class _TemporaryFolder:
    """A download cache for one run, removed at the latest when this object is collected."""

    def __init__(self) -> None:
        self.remove: Callable[[], object] = lambda: None

    def create(self) -> DownloadCache:
        """Create the folder. Runs in a thread, whose result a cancellation may lose."""
        cache = DownloadCache.temporary()
        self.remove = finalize(self, cache.remove)
        return cache


class FilesBatchReader(Generic[T]):
    """Reader of downloaded files."""

    def __init__(
        self,
        engine: FilesEngine,
        paths: list[Path],
        position: Any,
        prepare: Prepare[T],
        stats: ExportStats,
    ) -> None:
        """Open the files.

        Args:
            engine: The engine that downloaded them.
            paths: The sorted files.
            position: The position of the last processed batch; None: from the beginning.
            prepare: Called for every batch, in a worker thread.
            stats: Updated while reading.
        """
        source = engine.source
        self._prepare = prepare
        self._stats = stats
        self._merged_files = MergedFiles(paths, source.columns, source.json, position)
        self._batches: Iterator[Batch] = self._merged_files.batches(engine.page_size)
        self._cache: DownloadCache | None = None
        self._lock = ExitStack()
        self._folder: _TemporaryFolder | None = None

    def keep_until_closed(self, cache: DownloadCache, lock: ExitStack) -> None:
        """Take over the cache of a resumable export, and the lock on it."""
        self._cache, self._lock = cache, lock

    def remove_when_done(self, folder: _TemporaryFolder) -> None:
        """Take over a temporary folder."""
        self._folder = folder

    async def read(self) -> list[PreparedBatch[T]]:
        """Return the next batch; an empty list at the end."""
        prepared = await run_in_thread(self._next)
        if prepared is None:
            await run_in_thread(self._close_files)
            return []
        return [prepared]

    async def close(self, *, complete: bool) -> None:
        """Close the files, and remove or keep the downloads; see `BatchReader.close`."""
        with self._lock:
            self._close_files()
            cache = self._cache
            if cache is None:
                return
            self._stats.has_cached_files = cache.holds_files
            if complete:
                await run_in_thread(cache.remove)
                self._stats.has_cached_files = False

    def _close_files(self) -> None:
        """Close the files, and remove a temporary folder. Does nothing the second time."""
        self._stats.duplicates_skipped += self._merged_files.duplicates
        self._merged_files.duplicates = 0
        self._merged_files.close()
        if self._folder is not None:
            self._folder.remove()

    def _next(self) -> PreparedBatch[T] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        return PreparedBatch(self._prepare(batch), len(batch), batch.position(len(batch)))


def is_unavailable(error: PostHogError) -> bool:
    """Return whether an error means that this project or key has no file downloads."""
    return isinstance(error, StatusError) and error.status in _UNAVAILABLE_STATUSES
