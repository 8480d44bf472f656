"""One run of an export: read batches, write them to a sink, save checkpoints, report."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from threading import RLock
from typing import Any, TypeAlias

import anyio
from anyio.abc import TaskGroup
from pydantic_core import to_json

from asyncposthog.core.executor import Executor
from asyncposthog.errors import ExportError, PostHogError
from asyncposthog.export.engines.base import ExportStats, PreparedBatch
from asyncposthog.export.sinks.base import RecordingSink, SafePoint, Sink
from asyncposthog.export.sinks.callback import BatchCallback, call_with_batch
from asyncposthog.threads import call_in_thread, run_in_thread
from asyncposthog.transport.second_interrupt import safe_second_interrupt

from .atomic_files import translate_os_errors
from .checkpoint import Checkpoint, check_same_export, load, save, verify
from .checkpoint_schema import (
    Validator,
    delivered_state,
    is_null,
    list_position,
    query_bounds,
    query_position,
)
from .checksum import format_checksum
from .delivered import DedupedBatch, DeliveredKeys, continuation_checkpoint, continues_previous
from .object_store import ObjectPath
from .report import FileReport, Progress, Report
from .request import QueryRequest, Request
from .target_lock import TargetLock
from .timestamps import parse_clickhouse

__all__ = ["ExportRun", "OnProgress"]

OnProgress: TypeAlias = Callable[[Progress], Awaitable[object] | object]
"""Receives the progress of an export; a function or an async function."""


@dataclass
class ExportRun:
    """One run of an export into a sink."""

    executor: Executor
    request: Request
    sink: Sink[Any]
    path: Path | ObjectPath | None
    """Path of the checkpoint; None: there is none."""
    keep_checkpoint: bool
    """Whether the checkpoint stays after success, because the user named its path."""

    def __post_init__(self) -> None:
        """Initialize the state of the run."""
        checkpoint = self.path
        if isinstance(checkpoint, ObjectPath):
            checkpoint = checkpoint.work_folder  # its lock is a local one
        self._target_lock = TargetLock(self.sink.target, checkpoint, is_folder=self.sink.is_folder)
        self._started = False
        """Whether something may have been written."""
        self._owns_output = False
        """Whether an earlier run of the same export started, and left a checkpoint."""
        self._previous_checkpoint: Checkpoint | None = None
        """Checkpoint of the completed export that this one continues or replaces."""
        self._delivered: DeliveredKeys | None = None
        # If the event loop was closed before this run could end, another export or the garbage
        # collector ends it, each in a thread of its own.
        self._end_lock = RLock()
        self._ended = False

    async def run(
        self, on_progress: OnProgress | None, callback: BatchCallback | None = None
    ) -> Report:
        """Export, from where an earlier run stopped, or from the beginning.

        However the run ends, the same export can be run again: it resumes after what was written,
        or this run left nothing behind.

        Args:
            on_progress: Called after every batch.
            callback: Called with every batch, before the sink writes it.

        Raises:
            ExportError: Another export writes the same target, or it cannot be written.
            PostHogError: A request failed after all retries.
        """
        with safe_second_interrupt():
            return await self._run_and_end(on_progress, callback)

    async def _run_and_end(
        self, on_progress: OnProgress | None, callback: BatchCallback | None
    ) -> Report:
        """Export, and clean up whatever happens."""
        try:
            await run_in_thread(self._target_lock.acquire, self._abort)
            report = await self._run(on_progress, callback)
            # Not awaited: a cancellation while it runs would be raised although everything is
            # complete, and the same export would then fail because its output exists.
            call_in_thread(self._complete)
            return report
        except GeneratorExit:
            # The event loop was closed: this coroutine is finalized and must not await anything.
            self._abort()
            raise
        except PostHogError as error:
            if self._started and self._resumable:
                rows = (self._checkpoint.sink or {}).get("rows", 0)
                error.add_note(f"{rows:,} rows are saved: run the same export again to resume.")
            raise
        finally:
            # In a thread: Python handles signals, and so raises KeyboardInterrupt, in the main
            # thread only. A second Ctrl-C thus cannot interrupt the clean-up.
            if not self._ended:
                await run_in_thread(self._abort, shield=True)

    async def _run(self, on_progress: OnProgress | None, callback: BatchCallback | None) -> Report:
        clock = self.executor.transport.clock
        started_at = clock.monotonic()
        fingerprint = await self._build_fingerprint()
        bounds = self.request.resolve_bounds(int(clock.time() * 1_000_000))
        stored = await run_in_thread(self._load_checkpoint, fingerprint, bounds)
        self._checkpoint = stored or Checkpoint(fingerprint=fingerprint, bounds=bounds)
        if isinstance(self.sink, RecordingSink):
            await run_in_thread(self._recover, self.sink)
        self._resumed = self._checkpoint.sink is not None
        self._stats = ExportStats(**self._checkpoint.stats)
        # Files that an earlier run wrote may have changed since, so their checksums are compared.
        # This run knows its own.
        verify = self._checkpoint.phase != "running"
        if not verify:
            await run_in_thread(self.sink.check, self._checkpoint.sink, self._owns_output)
            await self._export(started_at, on_progress, callback)
        files = await run_in_thread(self._commit, verify)
        return self._report(self._checkpoint.sink, files, clock.monotonic() - started_at)

    def _load_checkpoint(self, fingerprint: Mapping[str, Any], bounds: Any) -> Checkpoint | None:
        """Return the checkpoint to start from; None if there is none."""
        stored = None if self.path is None else load(self.path)
        if stored is None or self.path is None:
            return None
        request = self.request
        is_query = isinstance(request, QueryRequest)
        overlap = request.overlap if isinstance(request, QueryRequest) else 0
        delivered = is_null
        if overlap and isinstance(self.path, Path):
            delivered = delivered_state(DeliveredKeys.stem(self.path))
        bounds_validator = query_bounds if is_query else is_null
        open_ended = isinstance(request, QueryRequest) and request.open_ended
        if (
            overlap
            and isinstance(self.path, Path)
            and continues_previous(self.path, stored, fingerprint, open_ended=open_ended)
        ):
            self._verify(self.path, stored, bounds_validator, delivered)
            self._previous_checkpoint = stored
            return continuation_checkpoint(stored, fingerprint, bounds, overlap)
        check_same_export(self.path, stored.fingerprint, fingerprint)
        self._verify(self.path, stored, bounds_validator, delivered)
        if stored.phase == "done" and self.sink.replaces and stored.delivered is None:
            # overwrite=True runs a completed export again. Not with an overlap: the keys that it
            # started from are gone, so it would export rows that earlier exports delivered.
            self._previous_checkpoint = stored
            return None
        self._owns_output = True
        return stored

    def _recover(self, sink: RecordingSink) -> None:
        """Continue after what the output itself records, which may be later than the checkpoint."""
        checkpoint = self._checkpoint
        if checkpoint.phase != "running":
            return
        bounds = {name: value for name, value in checkpoint.bounds.items() if name != "started_at"}
        identity = sha256(to_json([checkpoint.fingerprint, bounds])).hexdigest()[:32]
        safe_point = sink.recover(identity)
        if safe_point is not None:
            self._owns_output = True
            self._checkpoint = checkpoint.updated(
                phase="finishing" if safe_point.position is None else "running",
                position=safe_point.position,
                sink=safe_point.state,
            )

    def _verify(
        self,
        path: Path | ObjectPath,
        stored: Checkpoint,
        bounds: Validator,
        delivered: Validator,
    ) -> None:
        is_query = isinstance(self.request, QueryRequest)
        verify(
            path,
            stored,
            bounds=bounds,
            position=query_position if is_query else list_position,
            sink=self.sink.state_validator,
            delivered=delivered,
        )

    def _open(self) -> None:
        """Open the output, and save the first checkpoint."""
        self._started = True
        checkpoint = self._checkpoint
        self.sink.begin(checkpoint.sink)
        overlap = self.request.overlap if isinstance(self.request, QueryRequest) else 0
        if overlap and isinstance(self.path, Path):
            keep_from = parse_clickhouse(checkpoint.bounds["end"]) - overlap
            self._delivered = DeliveredKeys(self.path, checkpoint.delivered, keep_from)
            self._delivered.open()
            checkpoint = checkpoint.updated(delivered=self._delivered.sync())
        # Saved before any output has its final name: a later run must be able to tell that output
        # from a file of someone else.
        self._save(checkpoint)

    def _save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint. It becomes the current one only if that succeeds."""
        if self.path is not None:
            save(self.path, checkpoint)
        self._checkpoint = checkpoint

    async def _build_fingerprint(self) -> dict[str, Any]:
        project = await self.executor.project_id()
        return {
            "host": self.executor.settings.host,
            "project": project,
            **self.request.fingerprint,
            **self.sink.fingerprint,
        }

    async def _export(
        self, started_at: float, on_progress: OnProgress | None, callback: BatchCallback | None
    ) -> None:
        """Read all batches and write them, reading ahead in the background."""
        self._stats.has_cached_files = False
        await run_in_thread(self._open)
        error: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            try:
                await self._write_all(tasks, started_at, on_progress, callback)
            except (Exception, KeyboardInterrupt, SystemExit) as raised:
                # Raised outside of the group, which would wrap it in an ExceptionGroup. trio raises
                # the KeyboardInterrupt of Ctrl-C here, in the main task.
                error = raised
            tasks.cancel_scope.cancel()
        if error is not None:
            raise error
        await run_in_thread(self._finish)

    async def _write_all(
        self,
        tasks: TaskGroup,
        started_at: float,
        on_progress: OnProgress | None,
        callback: BatchCallback | None,
    ) -> None:
        sink, stats, clock = self.sink, self._stats, self.executor.transport.clock
        rows_before = (self._checkpoint.sink or {}).get("rows", 0)
        delivered = self._delivered
        prepare = sink.prepare if delivered is None else delivered.deduplicating(sink.prepare)
        reader = await self.request.open(
            self.executor,
            self._checkpoint.bounds,
            self._checkpoint.position,
            prepare,
            stats,
            tasks,
        )
        complete = False
        try:
            while batches := await reader.read():
                for batch in batches:
                    await self._deliver(batch, callback)
                    if on_progress is not None:
                        elapsed = clock.monotonic() - started_at
                        result = on_progress(self._progress(elapsed, rows_before))
                        if inspect.isawaitable(result):
                            await result
            complete = True
        finally:
            await reader.close(complete=complete)

    async def _deliver(self, batch: PreparedBatch[Any], callback: BatchCallback | None) -> None:
        if isinstance(batch.content, DedupedBatch):
            batch = await run_in_thread(self._record_delivered, batch)
        # Before the sink, whose checkpoint says that the batch was received: a run that is killed
        # in between passes the batch again, and loses none.
        if callback is not None:
            await call_with_batch(callback, batch.content)
        await run_in_thread(self._write, batch)

    @property
    def _resumable(self) -> bool:
        """Whether another run can continue with the output."""
        is_saved = self.path is not None or isinstance(self.sink, RecordingSink)
        return is_saved and self._checkpoint.sink is not None

    def _complete(self) -> None:
        """Remove the checkpoint and release the locks. Does nothing the second time."""
        with self._end_lock:
            if not self._ended:
                self._remove_checkpoint()
                self._ended = True
                self._target_lock.release(failed=False, resumed=self._owns_output)

    def _abort(self) -> None:
        """Clean up and release the locks. Does nothing if the run has ended."""
        with self._end_lock:
            if self._ended:
                return
            self._ended = True
            try:
                self._clean_up()
            finally:
                self._target_lock.release(failed=True, resumed=self._owns_output)

    def _clean_up(self) -> None:
        """Close everything. If no later run can resume, remove what was written."""
        if not self._started:
            return
        keep = self._resumable
        if self._delivered is not None:
            self._delivered.close()
        # Suppressed: the error that ended the export is the one to raise. If something cannot be
        # removed, the checkpoint is still there, and the next run removes it.
        with suppress(OSError, ExportError):
            self.sink.close(keep=keep)
            if keep or self.path is None or self._stats.has_cached_files:
                return
            # The checkpoint goes last: if the process is killed in between, the next run can tell
            # from it that the output is its own.
            if self._delivered is not None:
                self._delivered.discard()
            if self._previous_checkpoint is not None:
                save(self.path, self._previous_checkpoint)
            else:
                self.path.unlink(missing_ok=True)

    def _record_delivered(self, batch: PreparedBatch[DedupedBatch[Any]]) -> PreparedBatch[Any]:
        """Record the keys of a batch, before it is delivered."""
        deduplicated = batch.content
        assert self._delivered is not None
        self._delivered.append(deduplicated.records)
        self._stats.duplicates_skipped += deduplicated.skipped
        return PreparedBatch(deduplicated.content, batch.rows, batch.position)

    def _write(self, batch: PreparedBatch[Any]) -> None:
        safe_point = self.sink.write(batch, durable=self.path is not None)
        if safe_point is not None:
            self._save_checkpoint(safe_point)

    def _save_checkpoint(self, safe_point: SafePoint) -> None:
        # Synced first: the checkpoint states how many of the recorded keys are valid.
        delivered = None if self._delivered is None else self._delivered.sync()
        self._save(
            self._checkpoint.updated(
                position=safe_point.position,
                sink=safe_point.state,
                stats=asdict(self._stats),
                delivered=delivered,
            )
        )

    def _finish(self) -> None:
        state = self.sink.finish()
        delivered = None if self._delivered is None else self._delivered.finish()
        self._save(
            self._checkpoint.updated(
                phase="finishing",
                position=None,
                sink=state,
                stats=asdict(self._stats),
                delivered=delivered,
            )
        )
        # After the checkpoint no longer refers to them.
        if self._delivered is not None:
            self._delivered.remove_old_files()

    def _commit(self, verify: bool) -> tuple[FileReport, ...]:
        """Give the output its final name, and record that in a checkpoint that stays."""
        state = self._checkpoint.sink
        assert state is not None
        files = self.sink.commit(state, verify=verify)
        if self.keep_checkpoint:
            self._save(self._checkpoint.updated(phase="done"))
        return files

    def _remove_checkpoint(self) -> None:
        if self.path is not None and not self.keep_checkpoint:
            if isinstance(self.path, ObjectPath):
                self.path.unlink()
                return
            with translate_os_errors(self.path):
                self.path.unlink(missing_ok=True)

    def _progress(self, elapsed: float, rows_before: int) -> Progress:
        stats = self._stats
        return Progress(
            rows=self.sink.rows,
            expected=None if stats.expected is None else stats.expected - stats.duplicates_skipped,
            windows=stats.windows,
            windows_total=stats.windows_total,
            requests=stats.requests,
            waits=stats.waits,
            elapsed=elapsed,
            rows_before=rows_before,
        )

    def _report(self, state: Any, files: tuple[FileReport, ...], duration: float) -> Report:
        stats = self._stats
        return Report(
            rows=state["rows"],
            windows=stats.windows,
            splits=stats.splits,
            requests=stats.requests,
            retries=stats.retries,
            waits=stats.waits,
            waited_seconds=stats.waited_seconds,
            duplicates_skipped=stats.duplicates_skipped,
            bytes_received=stats.bytes_received,
            bytes_written=sum(file.bytes for file in files),
            duration=duration,
            checksum=format_checksum(state["sum"]),
            files=files,
            resumed=self._resumed,
            late=stats.late,
            deleted=stats.deleted,
            notes=tuple(stats.notes),
        )
