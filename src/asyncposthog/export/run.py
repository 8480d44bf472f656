"""The course of one export: engine to sink, checkpoint by checkpoint, to the report."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import RLock
from typing import Any, TypeAlias

from asyncposthog.core.executor import Executor
from asyncposthog.errors import ExportError, PostHogError
from asyncposthog.export.engines.base import PreparedBatch, Tally
from asyncposthog.export.sinks.base import Mark, Sink
from asyncposthog.export.sinks.callback import Receive, hand_over
from asyncposthog.threads import call_in_thread, run_in_thread

from .atomic_files import translate_os_errors
from .checkpoint import Checkpoint, check, load, save, verify
from .checkpoint_schema import (
    Shape,
    list_position,
    memory_state,
    nothing,
    query_position,
    settled_range,
)
from .checksum import show
from .delivered import DedupedBatch, Memory, continuation_checkpoint, goes_on
from .report import FileReport, Progress, Report
from .request import QueryRequest, Request
from .target_lock import Claim
from .timestamps import parse_clickhouse

__all__ = ["Course", "OnProgress"]

OnProgress: TypeAlias = Callable[[Progress], Awaitable[object] | object]
"""Told how far an export is; a function or an async function."""


@dataclass
class Course:
    """One run of an export into a sink."""

    executor: Executor
    request: Request
    sink: Sink[Any]
    path: Path | None
    """Of the checkpoint."""
    named: bool
    """Whether the user named the checkpoint, and it stays."""

    def __post_init__(self) -> None:
        """Begin with nothing found."""
        self._claim = Claim(self.sink.target, self.path, is_folder=self.sink.is_folder)
        self._begun = False
        """Whether something may have been written."""
        self._ours = False
        """Whether an earlier run of the same export has begun, and left a checkpoint."""
        self._previous: Checkpoint | None = None
        """Of the finished export that this one continues."""
        self._memory: Memory | None = None
        # The next export may end this one, in another thread than the garbage collector does.
        self._ending = RLock()
        self._ended = False

    async def run(self, on_progress: OnProgress | None, receive: Receive | None = None) -> Report:
        """Export, from where an earlier run stopped, or from the beginning.

        However it ends, either it returns, or the same export can be run again: it resumes with
        what was written, or nothing was left of it.

        Args:
            on_progress: Told after every piece.
            receive: Given every batch before the sink is.

        Raises:
            ExportError: Another export writes the same, or it cannot be written.
            PostHogError: The rows cannot be had.
        """
        try:
            await run_in_thread(self._claim.take, self._end)
            report = await self._run(on_progress, receive)
            # Not awaited: a cancellation that came meanwhile would be raised although all is done,
            # and the same export would find its own output in the way.
            call_in_thread(self._conclude)
            return report
        except GeneratorExit:
            # The event loop ended without this coroutine, which must not wait again.
            self._end()
            raise
        except PostHogError as error:
            if self._begun and self._resumable:
                rows = (self._checkpoint.sink or {}).get("rows", 0)
                error.add_note(f"{rows:,} rows are safe: ask for the same export again to go on.")
            raise
        finally:
            # In a thread: signals, and so the exceptions they raise, reach the main thread alone.
            if not self._ended:
                await run_in_thread(self._end, shield=True)

    async def _run(self, on_progress: OnProgress | None, receive: Receive | None) -> Report:
        clock = self.executor.transport.clock
        began = clock.monotonic()
        identity = await self._identity()
        settled = self.request.settled(int(clock.time() * 1_000_000))
        found = await run_in_thread(self._load_checkpoint, identity, settled)
        self._resumed = found is not None and found.sink is not None
        self._checkpoint = found or Checkpoint(identity=identity, settled=settled)
        self._tally = Tally(**self._checkpoint.tally)
        # Of an earlier run there is only its word for what it has written.
        verify = self._checkpoint.phase != "running"
        if not verify:
            await run_in_thread(self.sink.check, self._checkpoint.sink, self._ours)
            await self._export(began, on_progress, receive)
        files = await run_in_thread(self._publish, verify)
        return self._report(self._checkpoint.sink, files, clock.monotonic() - began)

    def _load_checkpoint(self, identity: Mapping[str, Any], settled: Any) -> Checkpoint | None:
        """Return the checkpoint to go on from; None where there is none."""
        found = None if self.path is None else load(self.path)
        if found is None or self.path is None:
            return None
        request = self.request
        queried = isinstance(request, QueryRequest)
        overlap = request.overlap if isinstance(request, QueryRequest) else 0
        memory = memory_state(Memory.stem(self.path)) if overlap else nothing
        settled_shape = settled_range if queried else nothing
        open_end = isinstance(request, QueryRequest) and request.until_now
        if overlap and goes_on(self.path, found, identity, until_now=open_end):
            self._verify(self.path, found, settled_shape, memory)
            self._previous = found
            return continuation_checkpoint(found, identity, settled, overlap)
        check(self.path, found.identity, identity)
        self._verify(self.path, found, settled_shape, memory)
        if found.phase == "done" and self.sink.replaces and found.memory is None:
            # With an overlap, what was known before that run is gone: it cannot be repeated.
            self._previous = found
            return None
        self._ours = True
        return found

    def _verify(self, path: Path, found: Checkpoint, settled: Shape, memory: Shape) -> None:
        queried = isinstance(self.request, QueryRequest)
        verify(
            path,
            found,
            settled=settled,
            position=query_position if queried else list_position,
            sink=self.sink.shape,
            memory=memory,
        )

    def _begin(self) -> None:
        """Open what is written to."""
        self._begun = True
        checkpoint = self._checkpoint
        self.sink.begin(checkpoint.sink)
        overlap = self.request.overlap if isinstance(self.request, QueryRequest) else 0
        if overlap and self.path is not None:
            keep_from = parse_clickhouse(checkpoint.settled["end"]) - overlap
            self._memory = Memory(self.path, checkpoint.memory, keep_from)
            self._memory.begin()
            checkpoint = checkpoint.at(memory=self._memory.sync())
        # Before any output has its name: whose it is must be known from then on.
        self._save(checkpoint)

    def _save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, which is good once that has succeeded."""
        if self.path is not None:
            save(self.path, checkpoint)
        self._checkpoint = checkpoint

    async def _identity(self) -> dict[str, Any]:
        project = await self.executor.project_id()
        return {
            "host": self.executor.settings.host,
            "project": project,
            **self.request.identity,
            **self.sink.identity,
        }

    async def _export(
        self, began: float, on_progress: OnProgress | None, receive: Receive | None
    ) -> None:
        sink, tally, clock = self.sink, self._tally, self.executor.transport.clock
        before = (self._checkpoint.sink or {}).get("rows", 0)
        tally.spooled = False
        await run_in_thread(self._begin)
        engine = await self.request.engine(self.executor, self._checkpoint.settled, tally)

        async def consume(piece: PreparedBatch[Any]) -> None:
            if isinstance(piece.content, DedupedBatch):
                piece = await run_in_thread(self._record_delivered, piece)
            if receive is not None:
                await hand_over(receive, piece.content)
            await run_in_thread(self._write, piece)
            if on_progress is not None:
                progress = self._progress(clock.monotonic() - began, before)
                result = on_progress(progress)
                if inspect.isawaitable(result):
                    await result

        memory = self._memory
        prepare = sink.prepare if memory is None else memory.screened(sink.prepare)
        await engine.run(self._checkpoint.position, prepare, consume, tally)
        await run_in_thread(self._finish)

    @property
    def _resumable(self) -> bool:
        """Whether another run can go on with the output."""
        return self.path is not None and self._checkpoint.sink is not None

    def _conclude(self) -> None:
        """Take the checkpoint away, and release the locks. Does nothing the second time."""
        with self._ending:
            if not self._ended:
                self._remove_checkpoint()
                self._ended = True
                self._claim.release(failed=False, resumed=self._ours)

    def _end(self) -> None:
        """Give up, and release the locks. Does nothing once the export has ended."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
            try:
                self._abort()
            finally:
                self._claim.release(failed=True, resumed=self._ours)

    def _abort(self) -> None:
        """Close everything; where there is nothing to go on with, leave nothing behind."""
        if not self._begun:
            return
        keep = self._resumable
        if self._memory is not None:
            self._memory.close()
        # What ended the export is the error to raise. Where something cannot be removed, the
        # checkpoint is still there, and the next run removes it.
        with suppress(OSError, ExportError):
            self.sink.close(keep=keep)
            if keep or self.path is None or self._tally.spooled:
                return
            # Last of all: if this is killed in between, the next run knows whose output it finds.
            if self._memory is not None:
                self._memory.discard()
            if self._previous is not None:
                save(self.path, self._previous)
            else:
                self.path.unlink(missing_ok=True)

    def _record_delivered(self, piece: PreparedBatch[DedupedBatch[Any]]) -> PreparedBatch[Any]:
        """Note what is about to be delivered, before it is."""
        screened = piece.content
        assert self._memory is not None
        self._memory.append(screened.records)
        self._tally.duplicates += screened.known
        return PreparedBatch(screened.content, piece.rows, piece.position)

    def _write(self, piece: PreparedBatch[Any]) -> None:
        mark = self.sink.write(piece, durable=self.path is not None)
        if mark is not None:
            self._save_checkpoint(mark)

    def _save_checkpoint(self, mark: Mark) -> None:
        memory = None if self._memory is None else self._memory.sync()
        self._save(
            self._checkpoint.at(
                position=mark.position, sink=mark.state, tally=asdict(self._tally), memory=memory
            )
        )

    def _finish(self) -> None:
        state = self.sink.finish()
        memory = None if self._memory is None else self._memory.finish()
        self._save(
            self._checkpoint.at(
                phase="finishing",
                position=None,
                sink=state,
                tally=asdict(self._tally),
                memory=memory,
            )
        )
        if self._memory is not None:
            self._memory.clean()

    def _publish(self, verify: bool) -> tuple[FileReport, ...]:
        """Give the output its name, and note that if the checkpoint stays."""
        state = self._checkpoint.sink
        assert state is not None
        files = self.sink.publish(state, verify=verify)
        if self.named:
            self._save(self._checkpoint.at(phase="done"))
        return files

    def _remove_checkpoint(self) -> None:
        if self.path is not None and not self.named:
            with translate_os_errors(self.path):
                self.path.unlink(missing_ok=True)

    def _progress(self, elapsed: float, before: int) -> Progress:
        tally = self._tally
        return Progress(
            rows=self.sink.rows,
            expected=None if tally.expected is None else tally.expected - tally.duplicates,
            windows=tally.windows,
            windows_total=tally.windows_total,
            requests=tally.requests,
            waits=tally.waits,
            elapsed=elapsed,
            rows_before=before,
        )

    def _report(self, state: Any, files: tuple[FileReport, ...], duration: float) -> Report:
        tally = self._tally
        return Report(
            rows=state["rows"],
            windows=tally.windows,
            splits=tally.splits,
            requests=tally.requests,
            retries=tally.retries,
            waits=tally.waits,
            waited=tally.waited,
            duplicates=tally.duplicates,
            received=tally.received,
            written=sum(file.bytes for file in files),
            duration=duration,
            checksum=show(state["sum"]),
            files=files,
            resumed=self._resumed,
            late=tally.late,
            deleted=tally.deleted,
            notes=tuple(tally.notes),
        )
