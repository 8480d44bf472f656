"""The course of one export: engine to sink, checkpoint by checkpoint, to the report."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import anyio
from anyio import to_thread

from asyncposthog.errors import PostHogError
from asyncposthog.executor import Executor

from .checkpoint import Checkpoint, check, load, save
from .checksum import show
from .engine import Piece, Tally
from .moments import from_text
from .overlap import Memory, Screened, goes_on, next_run
from .report import FileReport, Progress, Report
from .request import QueryRequest, Request
from .sinks.base import Mark, Sink
from .sinks.function import Receive, hand_over

__all__ = ["Course", "OnProgress"]

R = TypeVar("R")

OnProgress: TypeAlias = Callable[[Progress], Awaitable[object] | object]
"""Told how far an export is; a function or an async function."""

_GRACE: Final = 10.0
"""Seconds for closing files after a cancellation."""


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
        self._previous: Checkpoint | None = None
        """Of the finished export that this one goes on with."""
        self._memory: Memory | None = None

    async def run(self, on_progress: OnProgress | None, receive: Receive | None = None) -> Report:
        """Export, from where an earlier run stopped, or from the beginning.

        Args:
            on_progress: Told after every piece.
            receive: Given every batch before the sink is.
        """
        clock = self.executor.transport.clock
        began = clock.monotonic()
        identity = await self._identity()
        settled = self.request.settled(int(clock.time() * 1_000_000))
        found = await _threaded(self._found, identity, settled)
        self._resumed = found is not None and found.sink is not None
        self._checkpoint = found or Checkpoint(identity=identity, settled=settled)
        self._tally = Tally(**self._checkpoint.tally)
        if self._checkpoint.phase == "running":
            await _threaded(self.sink.check, self._checkpoint.sink, found is not None)
            await self._export(began, on_progress, receive)
        state = self._checkpoint.sink or {}
        files = await _threaded(self.sink.publish, state)
        await self._done()
        return self._report(state, files, clock.monotonic() - began)

    def _found(self, identity: Mapping[str, Any], settled: Any) -> Checkpoint | None:
        """Return the checkpoint to go on from; None where there is none."""
        found = None if self.path is None else load(self.path)
        if found is None or self.path is None:
            return None
        request = self.request
        overlap = request.overlap if isinstance(request, QueryRequest) else 0
        open_end = isinstance(request, QueryRequest) and request.until_now
        if overlap and goes_on(self.path, found, identity, until_now=open_end):
            self._previous = found
            return next_run(found, identity, settled, overlap)
        check(self.path, found.identity, identity)
        return found

    def _begin(self) -> None:
        """Open what is written to."""
        checkpoint = self._checkpoint
        self.sink.begin(checkpoint.sink)
        overlap = self.request.overlap if isinstance(self.request, QueryRequest) else 0
        if overlap and self.path is not None:
            keep_from = from_text(checkpoint.settled["end"]) - overlap
            self._memory = Memory(self.path, checkpoint.memory, keep_from)
            self._memory.begin()
            self._checkpoint = checkpoint.at(memory=self._memory.sync())
        if self.path is not None:
            # Before any output has its name: whose it is must be known from then on.
            save(self.path, self._checkpoint)

    async def _identity(self) -> dict[str, Any]:
        project = await self.executor.project()
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
        complete = False
        try:
            await _threaded(self._begin)
            engine = await self.request.engine(self.executor, self._checkpoint.settled, tally)

            async def consume(piece: Piece[Any]) -> None:
                if isinstance(piece.content, Screened):
                    piece = await _threaded(self._remember, piece)
                if receive is not None:
                    await hand_over(receive, piece.content)
                await _threaded(self._take, piece)
                if on_progress is not None:
                    progress = self._progress(clock.monotonic() - began, before)
                    result = on_progress(progress)
                    if inspect.isawaitable(result):
                        await result

            memory = self._memory
            prepare = sink.prepare if memory is None else memory.screened(sink.prepare)
            await engine.run(self._checkpoint.position, prepare, consume, tally)
            await _threaded(self._finish)
            complete = True
        except PostHogError as error:
            if self._can_go_on and sink.rows:
                error.add_note(
                    f"{sink.rows:,} rows are safe: ask for the same export again to go on."
                )
            raise
        finally:
            if not complete:
                with anyio.CancelScope(shield=True), anyio.move_on_after(_GRACE):
                    await _threaded(self._give_up)

    @property
    def _can_go_on(self) -> bool:
        return self.path is not None and self._checkpoint.sink is not None

    def _give_up(self) -> None:
        """Close everything; where there is nothing to go on with, leave nothing behind."""
        keep = self._can_go_on
        if self.path is not None and not keep:
            if self._previous is not None:
                save(self.path, self._previous)
            else:
                self.path.unlink(missing_ok=True)
            if self._memory is not None:
                self._memory.discard()
        if self._memory is not None:
            self._memory.close()
        self.sink.close(keep=keep)

    def _remember(self, piece: Piece[Screened[Any]]) -> Piece[Any]:
        """Note what is about to be delivered, before it is."""
        screened = piece.content
        assert self._memory is not None
        self._memory.append(screened.records)
        self._tally.duplicates += screened.known
        return Piece(screened.content, piece.rows, piece.position)

    def _take(self, piece: Piece[Any]) -> None:
        mark = self.sink.write(piece, durable=self.path is not None)
        if mark is not None:
            self._note(mark)

    def _note(self, mark: Mark) -> None:
        memory = None if self._memory is None else self._memory.sync()
        self._checkpoint = self._checkpoint.at(
            position=mark.position, sink=mark.state, tally=asdict(self._tally), memory=memory
        )
        if self.path is not None:
            save(self.path, self._checkpoint)

    def _finish(self) -> None:
        state = self.sink.finish()
        memory = None if self._memory is None else self._memory.finish()
        self._checkpoint = self._checkpoint.at(
            phase="finishing", sink=state, tally=asdict(self._tally), memory=memory
        )
        if self.path is not None:
            save(self.path, self._checkpoint)
        if self._memory is not None:
            self._memory.clean()

    async def _done(self) -> None:
        """Note the end, or take the checkpoint away."""
        if self.path is None:
            return
        self._checkpoint = self._checkpoint.at(phase="done")
        if self.named:
            await _threaded(save, self.path, self._checkpoint)
        else:
            await _threaded(partial(self.path.unlink, missing_ok=True))

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


async def _threaded(function: Callable[..., R], *args: Any) -> R:
    """Run what blocks in a worker thread. It is waited for even if the task is cancelled."""
    return await to_thread.run_sync(function, *args)
