"""`ExportJob`: rows to iterate over, or to write somewhere."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from asyncposthog.core.executor import Executor
from asyncposthog.export.engines.base import Steps, Tally
from asyncposthog.export.sinks.callback import FunctionSink, Receive, check_receive
from asyncposthog.export.sinks.text import TextSink

from .batch import Batch
from .checkpoint import default_path
from .partition import ExportPlan, make_plan
from .report import Report
from .request import QueryRequest, Request
from .run import Course, OnProgress
from .targets import read_target

__all__ = ["Batches", "ExportJob", "Rows"]

StrPath: TypeAlias = str | os.PathLike[str]

_FILE_ROWS: Final = 500_000
"""Rows of one file in a folder of Parquet files."""


class ExportJob:
    """An export that is ready to run. Nothing is sent before it is iterated or written.

    ```python
    async for row in ph.export.events(start, end):  # dicts, in the order of their time
        ...
    report = await ph.export.events(start, end).to_jsonl("events.jsonl")
    ```

    Every iteration and every writing is a run of its own.
    """

    def __init__(self, executor: Executor, request: Request) -> None:
        """Keep what is to be exported."""
        self._executor = executor
        self._request = request

    def __repr__(self) -> str:
        """Name what is exported."""
        return f"<ExportJob: {self._request.kind}>"

    def __aiter__(self) -> Rows:
        """Go through the rows as dicts: times as datetime, UUIDs as UUID, properties as dict."""
        return Rows(self.batches())

    def batches(self) -> Batches:
        """Go through the rows in batches of up to a page."""
        return Batches(self._executor, self._request)

    async def to_jsonl(
        self,
        path: StrPath,
        *,
        checkpoint: StrPath | bool | None = None,
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Write the rows to a file, one JSON object a line, `properties` as an object.

        The file has its name once it is complete; until then, rows go to `.NAME.partial` beside
        it. A run that was interrupted, killed for one, is gone on with by asking for the same
        again, and ends in the same bytes as if it had not been.

        Args:
            path: The file. Its folder has to exist. A name in `.gz` compresses it.
            checkpoint: Where it is kept how far the export is. By default it is `.NAME.checkpoint`
                beside the file, and goes away with success; one that is named stays, and makes
                asking again for what is done return its report. False: none; an interruption
                leaves nothing behind.
            overwrite: Whether a file that has the name is replaced. The old one stays as it is
                until the new one is complete.
            on_progress: Told after every piece; a function or an async function.

        Raises:
            FileExistsError: There is such a file already, and `overwrite` is not set.
            ValueError: The name is that of another format, such as `x.parquet`.
            ExportError: The file cannot be written, or the checkpoint is that of another export.
            PostHogError: A query failed for good. What was written so far can be gone on with.
        """
        return await self._write("jsonl", path, checkpoint, overwrite, on_progress)

    async def to_csv(
        self,
        path: StrPath,
        *,
        checkpoint: StrPath | bool | None = None,
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Write the rows to a file as CSV with a header; null is empty, `properties` are JSON.

        Args:
            path: The file; see `to_jsonl`.
            checkpoint: See `to_jsonl`.
            overwrite: See `to_jsonl`.
            on_progress: See `to_jsonl`.

        Raises:
            FileExistsError: There is such a file already, and `overwrite` is not set.
            ValueError: The name is that of another format, such as `x.parquet`.
            ExportError: The file cannot be written, or the checkpoint is that of another export.
            PostHogError: A query failed for good. What was written so far can be gone on with.
        """
        return await self._write("csv", path, checkpoint, overwrite, on_progress)

    async def to_parquet(
        self,
        target: StrPath,
        *,
        rows_per_file: int | None = None,
        rows_per_group: int = 25_000,
        checkpoint: StrPath | bool | None = None,
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Write the rows to one Parquet file, or to a folder of files by day.

        `to_parquet("events.parquet")` writes one file: a name that ends in `.parquet` or `.pq`.
        Any other name is that of a folder, `to_parquet("events/")`, which gets files by day:
        `events/date=2026-01-31/part-00000.parquet`. Days are those of the time that the export is
        ordered by, in UTC; without a time, there are no such folders.

        Columns have the Arrow types of their ClickHouse types, `properties` is JSON as text;
        compression is zstd. Without rows, one file has the columns and no rows. Each file has its
        name once it is complete. A run that was interrupted goes on behind the last complete file;
        for one file, behind the last 100,000 rows, which are kept in `.NAME.parts` until then.

        Needs `pip install 'asyncposthog[parquet]'`.

        Args:
            target: The file, whose folder has to exist; or a folder, which is made if need be.
            rows_per_file: In a folder, after so many rows of a day another file begins; 500,000
                by default.
            rows_per_group: Rows of a row group: so many wait in memory to be written.
            checkpoint: Where it is kept how far the export is, by default `.NAME.checkpoint`
                beside the file, or `FOLDER/.checkpoint`; see `to_jsonl`.
            overwrite: Whether a file that has the name is replaced, or the files of an earlier
                export in the folder. They stay as they are until the export is complete; those of
                a folder are then replaced one by one.
            on_progress: See `to_jsonl`.

        Raises:
            FileExistsError: There is such a file already, or the folder has Parquet files, and
                `overwrite` is not set.
            ValueError: The name is that of another format, or a number is wrong.
            ExportError: A file cannot be written, or the checkpoint is that of another export.
            ImportError: pyarrow is not installed.
            PostHogError: A query failed for good. What was written so far can be gone on with.
        """
        from asyncposthog.export.sinks.parquet import ParquetSink
        from asyncposthog.export.sinks.parquet_targets import (
            ParquetFileSink,
            ParquetReplacementSink,
        )

        for name, value in (("rows_per_file", rows_per_file), ("rows_per_group", rows_per_group)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(cast("object", value), int):
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        found = read_target(target, "parquet")
        if found.folder:
            rows = rows_per_file or _FILE_ROWS
            make = ParquetReplacementSink if overwrite else ParquetSink
            sink = make(found.path, rows_per_file=rows, rows_per_group=rows_per_group)
        elif rows_per_file is not None:
            raise ValueError(
                f"rows_per_file is for a folder of files, and {str(found.path)!r} is one file: "
                f"leave it out, or write to '{found.path}/'"
            )
        else:
            sink = ParquetFileSink(found.path, rows_per_group=rows_per_group, overwrite=overwrite)
        where = _checkpoint(found.path, "folder" if found.folder else "file", checkpoint)
        return await self._course(sink, *where).run(on_progress)

    async def to(
        self,
        receive: Receive,
        *,
        checkpoint: StrPath | None = None,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Hand the rows to a function, batch by batch, in order and one at a time.

        Args:
            receive: Called with each `Batch`; a function or an async function. The next batch
                waits for it.
            checkpoint: Where it is kept how far the export is: noted after every batch that was
                received. Of a run that was killed, the last batch may be given again, and
                possibly cut elsewhere.
            on_progress: Told after every batch.

        Raises:
            ExportError: The checkpoint is that of another export.
            PostHogError: A query failed for good.
        """
        check_receive(receive)
        name = getattr(receive, "__qualname__", type(receive).__qualname__)
        sink = FunctionSink(name)
        path = None if checkpoint is None else Path(checkpoint)
        course = self._course(sink, path, named=True, ordered=path is not None)
        return await course.run(on_progress, receive)

    async def plan(self, partitions: int | None = None) -> ExportPlan:
        """Return the parts that the export consists of, each to be run anywhere.

        It takes one query or a few, which count the rows.

        Args:
            partitions: How many parts at most; by default, about a page of rows each.

        Raises:
            ValueError: The export has no time by which it could be divided.
            PostHogError: The query failed.
        """
        if not isinstance(self._request, QueryRequest):
            raise ValueError(f"an export of {self._request.kind} cannot be divided")
        return await make_plan(self._executor, self._request, partitions)

    async def _write(
        self,
        form: Literal["jsonl", "csv"],
        target: StrPath,
        checkpoint: StrPath | bool | None,
        overwrite: bool,
        on_progress: OnProgress | None,
    ) -> Report:
        path = read_target(target, form).path
        sink = TextSink(path, form, overwrite=overwrite)
        course = self._course(sink, *_checkpoint(path, "file", checkpoint))
        return await course.run(on_progress)

    def _course(
        self, sink: Any, checkpoint: Path | None, named: bool, *, ordered: bool = True
    ) -> Course:
        request = self._request
        _check_overlap(request, checkpoint, named)
        if ordered and isinstance(request, QueryRequest):
            # Where a file or a checkpoint is cut must not depend on what came first.
            request = replace(request, ordered=True)
        if isinstance(request, QueryRequest):
            request = replace(request, resumable=checkpoint is not None)
        return Course(self._executor, request, sink, checkpoint, named=named)


def _checkpoint(
    output: Path, kind: Literal["file", "folder"], given: StrPath | bool | None
) -> tuple[Path | None, bool]:
    """Return where the checkpoint is, and whether the user named it."""
    if given is None or given is True:
        return default_path(output, "parquet" if kind == "folder" else "jsonl"), False
    return (None, False) if given is False else (Path(given), True)


def _check_overlap(request: Request, checkpoint: Path | None, named: bool) -> None:
    """Refuse to forget what a later export has to know."""
    if isinstance(request, QueryRequest) and request.overlap and (checkpoint is None or not named):
        raise ValueError(
            "overlap= needs checkpoint=PATH as well: there it is kept what was delivered, for the "
            "next export to leave out"
        )


def _same(batch: Batch) -> Batch:
    return batch


class Batches(AsyncIterator[Batch]):
    """The batches of one run. Breaking out leaves nothing behind.

    Up to `concurrency` pages are read side by side whenever the last ones were handed out, and
    nothing runs in between.
    """

    # No async generator: one that is left unfinished needs the event loop to clean it up.

    def __init__(self, executor: Executor, request: Request) -> None:
        """Ask for nothing yet."""
        _check_overlap(request, None, named=False)
        self._executor = executor
        self._request = request
        self._steps: Steps[Batch] | None = None
        self._ready: list[Batch] = []
        self._busy = False
        self.tally = Tally()

    def __aiter__(self) -> Batches:
        """Go on where it stands."""
        return self

    async def __anext__(self) -> Batch:
        """Return the next batch that has rows."""
        if self._busy:
            raise RuntimeError("this iteration is awaiting its next batch already, in another task")
        self._busy = True
        try:
            while not self._ready:
                if self._steps is None:
                    self._steps = await self._begin()
                pieces = await self._steps.advance()
                if not pieces:
                    raise StopAsyncIteration
                self._ready = [piece.content for piece in reversed(pieces) if piece.rows]
            return self._ready.pop()
        finally:
            self._busy = False

    async def _begin(self) -> Steps[Batch]:
        now = int(self._executor.transport.clock.time() * 1_000_000)
        settled = self._request.settled(now)
        engine = await self._request.engine(self._executor, settled, self.tally)
        return engine.steps(None, _same, self.tally)


class Rows(AsyncIterator[dict[str, Any]]):
    """The rows of one run, as dicts."""

    def __init__(self, batches: Batches) -> None:
        """Ask for nothing yet."""
        self._batches = batches
        self._ready: list[dict[str, Any]] = []

    def __aiter__(self) -> Rows:
        """Go on where it stands."""
        return self

    async def __anext__(self) -> dict[str, Any]:
        """Return the next row."""
        if not self._ready:
            batch = await self._batches.__anext__()
            self._ready = batch.dicts()
            self._ready.reverse()
        return self._ready.pop()
