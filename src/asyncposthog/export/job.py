"""`ExportJob`: iterate over the rows of an export, or write them to a file or a function."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from asyncposthog.core.executor import Executor
from asyncposthog.export.engines.base import BatchReader, ExportStats
from asyncposthog.export.sinks.callback import BatchCallback, CallbackSink, check_callback
from asyncposthog.threads import run_in_thread

from .batch import Batch
from .object_store import FileSystem, ObjectPath, is_url
from .outputs import Output, ParquetSizes, StoreArguments, open_parquet, open_text
from .partition import ExportPlan, make_plan
from .report import Report
from .request import QueryRequest, Request
from .run import ExportRun, OnProgress

if TYPE_CHECKING:
    import pyarrow
    from pyiceberg.catalog import Catalog

    from asyncposthog.export.sinks.lake import LakeTable

__all__ = ["Batches", "ExportJob", "Rows", "get_request"]

StrPath: TypeAlias = str | os.PathLike[str]


class ExportJob:
    """An export that is ready to run. Nothing is sent before it is iterated or written.

    ```python
    async for row in ph.export.events(start, end):  # dicts, in the order of their time
        ...
    report = await ph.export.events(start, end).to_jsonl("events.jsonl")
    ```

    Every iteration and every `to_…` call is a run of its own.
    """

    def __init__(self, executor: Executor, request: Request) -> None:
        """Store the arguments.

        Args:
            executor: Performs the calls.
            request: The rows to export.
        """
        self._executor = executor
        self._request = request

    def __repr__(self) -> str:
        """Show what is exported."""
        return f"<ExportJob: {self._request.kind}>"

    def __aiter__(self) -> Rows:
        """Iterate over the rows as dicts: times as datetime, UUIDs as UUID, properties as dict."""
        return Rows(self.batches())

    def batches(self) -> Batches:
        """Iterate over the rows in batches of up to a page."""
        return Batches(self._executor, self._request)

    async def to_jsonl(
        self,
        path: StrPath,
        *,
        checkpoint: StrPath | bool | None = None,
        overwrite: bool = False,
        filesystem: FileSystem | None = None,
        storage_options: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Write the rows to a file, one JSON object per line, `properties` as an object.

        Rows are written to `.NAME.partial` beside the file, which gets its final name when it is
        complete. An interrupted run, also one that was killed, resumes when the same export is run
        again, and produces the same bytes as an uninterrupted one.

        Args:
            path: The file. Its folder has to exist. A name that ends in `.gz` compresses it. A URL
                such as `s3://bucket/events.jsonl` is an object in a store; its parts are uploaded
                while the export runs, and its checkpoint is beside it.
            checkpoint: Path of the checkpoint, which stores the progress of the export. By default
                it is `.NAME.checkpoint` beside the file and is removed after success. A given path
                is kept: running the completed export again then returns its report. False: no
                checkpoint; an interrupted run leaves nothing behind.
            overwrite: Replace an existing file. It stays as it is until the new one is complete.
            filesystem: The fsspec filesystem that the name is a path in; by default that of a URL.
            storage_options: Arguments for the filesystem of a URL, such as credentials.
            on_progress: Called after every batch; a function or an async function.

        Raises:
            FileExistsError: The file exists, and `overwrite` is not set.
            ValueError: The name is that of another format, such as `x.parquet`.
            ExportError: The file cannot be written, or the checkpoint is that of another export.
            PostHogError: A query failed after all retries. What was written so far can be resumed.
        """
        store = StoreArguments(filesystem, storage_options)
        return await self._write("jsonl", path, checkpoint, overwrite, store, on_progress)

    async def to_csv(
        self,
        path: StrPath,
        *,
        checkpoint: StrPath | bool | None = None,
        overwrite: bool = False,
        filesystem: FileSystem | None = None,
        storage_options: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Write the rows to a CSV file with a header. Null is empty, `properties` is JSON text.

        Args:
            path: The file; see `to_jsonl`.
            checkpoint: See `to_jsonl`.
            overwrite: See `to_jsonl`.
            filesystem: See `to_jsonl`.
            storage_options: See `to_jsonl`.
            on_progress: See `to_jsonl`.

        Raises:
            FileExistsError: The file exists, and `overwrite` is not set.
            ValueError: The name is that of another format, such as `x.parquet`.
            ExportError: The file cannot be written, or the checkpoint is that of another export.
            PostHogError: A query failed after all retries. What was written so far can be resumed.
        """
        store = StoreArguments(filesystem, storage_options)
        return await self._write("csv", path, checkpoint, overwrite, store, on_progress)

    async def to_parquet(
        self,
        target: StrPath,
        *,
        rows_per_file: int | None = None,
        rows_per_group: int = 25_000,
        checkpoint: StrPath | bool | None = None,
        overwrite: bool = False,
        filesystem: FileSystem | None = None,
        storage_options: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Write the rows to one Parquet file, or to a folder of files by day.

        `to_parquet("events.parquet")` writes one file: the name ends in `.parquet` or `.pq`. Any
        other name is that of a folder: `to_parquet("events/")` writes one or more files per day,
        `events/date=2026-01-31/part-00000.parquet`. Days are those of the time that the export is
        ordered by, in UTC; without a time there are no such folders.

        Columns have the Arrow types of their ClickHouse types, `properties` is JSON text, and
        compression is zstd. An export without rows writes one file with the columns. Each file gets
        its final name when it is complete. An interrupted run resumes after the last complete file;
        if the target is one file, after the last 100,000 rows, which are kept in `.NAME.parts`.

        Needs `pip install 'asyncposthog[parquet]'`.

        Args:
            target: The file, whose folder has to exist; or a folder, which is created if missing.
                Also the URL of either in a store, such as `s3://bucket/events/`.
            rows_per_file: For a folder: the number of rows of a day after which another file
                starts; 500,000 by default.
            rows_per_group: Rows of a row group. This many are buffered in memory.
            checkpoint: Path of the checkpoint, by default `.NAME.checkpoint` beside the file, or
                `FOLDER/.checkpoint`; see `to_jsonl`.
            overwrite: Replace an existing file, or the files of an earlier export in the folder.
                They stay as they are until the export is complete; those of a folder are then
                replaced one by one.
            filesystem: See `to_jsonl`.
            storage_options: See `to_jsonl`.
            on_progress: See `to_jsonl`.

        Raises:
            FileExistsError: The file exists or the folder has Parquet files, and `overwrite` is
                not set.
            TypeError: A number is not an int.
            ValueError: The name is that of another format, or a number is below 1.
            ExportError: A file cannot be written, or the checkpoint is that of another export.
            ImportError: pyarrow is not installed.
            PostHogError: A query failed after all retries. What was written so far can be resumed.
        """
        for name, value in (("rows_per_file", rows_per_file), ("rows_per_group", rows_per_group)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(cast("object", value), int):
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        store = StoreArguments(filesystem, storage_options)
        sizes = ParquetSizes(rows_per_file, rows_per_group)
        make = partial(open_parquet, target, checkpoint, store, sizes, overwrite=overwrite)
        return await self._run_into(await _opened(make, target, store), on_progress)

    async def to_delta(
        self,
        table: StrPath,
        *,
        append: bool = False,
        rows_per_commit: int = 100_000,
        storage_options: Mapping[str, str] | None = None,
        checkpoint: StrPath | None = None,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Append the rows to a table of Delta Lake, each once.

        Every commit is one transaction, and records how far the export has come. Running the same
        export again continues after the last commit, also after a SIGKILL and on another machine;
        a completed one returns its report and writes nothing.

        Needs `pip install 'asyncposthog[delta]'`.

        Args:
            table: The path or URL of the table, which is created if missing.
            append: Add the rows to a table that exists and has no rows of this export.
            rows_per_commit: Rows of a commit, at least. This many are buffered in memory.
            storage_options: Options of the store as deltalake names them, such as credentials.
            checkpoint: Path of a checkpoint. It is needed if the export has no fixed end, which is
                then stored there.
            on_progress: See `to_jsonl`.

        Raises:
            FileExistsError: The table exists, and `append` is not set.
            ValueError: The export has no time range, or no fixed end and no checkpoint.
            ExportError: The table cannot be read or written, or a column of it differs.
            ImportError: deltalake is not installed.
            PostHogError: A query failed after all retries. What was committed can be resumed.
        """
        from asyncposthog.export.sinks.delta_table import DeltaTable

        lake = await run_in_thread(DeltaTable, os.fspath(table), storage_options)
        return await self._write_lake(lake, append, rows_per_commit, checkpoint, on_progress)

    async def to_iceberg(
        self,
        table: str,
        *,
        catalog: Catalog | str = "default",
        append: bool = False,
        rows_per_commit: int = 100_000,
        catalog_options: Mapping[str, str] | None = None,
        checkpoint: StrPath | None = None,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Append the rows to a table of Apache Iceberg, each once; see `to_delta`.

        Needs `pip install 'asyncposthog[iceberg]'`.

        Args:
            table: The identifier: `namespace.table`. It is created if missing.
            catalog: A catalog of pyiceberg, or the name of one in its configuration.
            append: See `to_delta`.
            rows_per_commit: See `to_delta`.
            catalog_options: Properties of a catalog that is given by name.
            checkpoint: See `to_delta`.
            on_progress: See `to_jsonl`.

        Raises:
            FileExistsError: The table exists, and `append` is not set.
            ValueError: The export has no time range, or no fixed end and no checkpoint.
            ExportError: The table cannot be read or written, or a column of it differs.
            ImportError: pyiceberg is not installed.
            PostHogError: A query failed after all retries. What was committed can be resumed.
        """
        from asyncposthog.export.sinks.iceberg_table import IcebergTable

        lake = await run_in_thread(IcebergTable, table, catalog, catalog_options)
        return await self._write_lake(lake, append, rows_per_commit, checkpoint, on_progress)

    async def _write_lake(
        self,
        table: LakeTable,
        append: bool,
        rows_per_commit: int,
        checkpoint: StrPath | None,
        on_progress: OnProgress | None,
    ) -> Report:
        from asyncposthog.export.sinks.lake import LakeSink

        request = self._request
        if not isinstance(request, QueryRequest) or request.source.time is None:
            raise ValueError(
                f"an export of {request.kind} has no time range: write it to files with "
                "to_parquet(overwrite=True)"
            )
        if request.overlap:
            raise ValueError("overlap= is for files: a table keeps what was added to it")
        if checkpoint is None and (request.open_ended or request.min_age):
            raise ValueError(
                "without a fixed end, the export needs checkpoint=PATH: a later run continues to "
                "the end that is stored there"
            )
        if rows_per_commit < 1:
            raise ValueError(f"rows_per_commit must be 1 or more, not {rows_per_commit}")
        sink = LakeSink(table, rows_per_commit=rows_per_commit, append=append)
        path = None if checkpoint is None else Path(checkpoint)
        return await self._make_run(sink, path, keep_checkpoint=True).run(on_progress)

    async def to_callback(
        self,
        callback: BatchCallback,
        *,
        checkpoint: StrPath | None = None,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """Pass the rows to a function, batch by batch, in order and one at a time.

        Args:
            callback: Called with each `Batch`; a function or an async function. The next batch
                waits until it returns.
            checkpoint: Path of a checkpoint, which is saved after every batch. If a run is killed,
                its last batch may be passed again, possibly cut at another row.
            on_progress: Called after every batch.

        Raises:
            TypeError: `callback` is not callable.
            ExportError: The checkpoint is that of another export.
            PostHogError: A query failed after all retries.
        """
        check_callback(callback)
        name = getattr(callback, "__qualname__", type(callback).__qualname__)
        sink = CallbackSink(name)
        path = None if checkpoint is None else Path(checkpoint)
        run = self._make_run(sink, path, keep_checkpoint=True, ordered=path is not None)
        return await run.run(on_progress, callback)

    async def to_arrow(self, *, uuids: bool = False) -> pyarrow.Table:  # pyright: ignore[reportUnknownMemberType, reportUnknownParameterType]
        """Return all rows as a `pyarrow.Table`, `properties` as JSON text.

        The table is as large as the export; `to_reader` needs the memory of a few pages only.

        Needs `pip install 'asyncposthog[arrow]'`.

        Args:
            uuids: Use Arrow's UUID type for columns of UUIDs, rather than text.

        Raises:
            DecodeError: A value does not have the type of its column.
            ExportError: The types of the columns changed, or there are no columns.
            ImportError: pyarrow is not installed.
            PostHogError: A query failed after all retries.
        """
        from .arrow_reader import read_table

        return await read_table(self._executor, self._readable_request(), uuids=uuids)

    def to_reader(self, *, uuids: bool = False) -> pyarrow.RecordBatchReader:  # pyright: ignore[reportUnknownMemberType, reportUnknownParameterType]
        """Return the rows as a `pyarrow.RecordBatchReader`, for synchronous code.

        DuckDB, Polars and writers of lake tables read it without an event loop. The export runs in
        an event loop in a thread of its own, a few pages ahead of the reader, and has connections
        of its own; rate limits are shared with the client. This waits for the first page. The
        thread ends with the last row, after an error, or when the reader is dropped.

        Needs `pip install 'asyncposthog[arrow]'`.

        Args:
            uuids: See `to_arrow`.

        Raises:
            ConfigurationError: The client has an `http_client` or `transport` of its own.
            ExportError: There are no columns. Also from the reader, if their types change.
            ImportError: pyarrow is not installed.
            PostHogError: A query failed after all retries. Also from the reader.
        """
        from .arrow_reader import open_reader

        return open_reader(self._executor, self._readable_request(), uuids=uuids)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the rows as a stream of the Arrow PyCapsule interface; see `to_reader`.

        `polars.DataFrame(job)`, `pyarrow.table(job)` and DuckDB's `FROM job` use it.

        Args:
            requested_schema: A capsule with the schema that the caller prefers.

        Raises:
            ImportError: pyarrow is not installed.
            PostHogError: A query failed after all retries.
        """
        return self.to_reader().__arrow_c_stream__(requested_schema)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def _readable_request(self) -> Request:
        """Return the request of a run that no other run continues."""
        _check_overlap(self._request, None, keep_checkpoint=False)
        if isinstance(self._request, QueryRequest):
            # Without a checkpoint no other run can continue, so downloads need not be kept.
            return replace(self._request, resumable=False)
        return self._request

    async def plan(self, partitions: int | None = None) -> ExportPlan:
        """Return the parts of the export, each of which can run in another process.

        This sends one query or a few, which count the rows.

        Args:
            partitions: The number of parts, at most; by default, about a page of rows each.

        Raises:
            ValueError: The export has no time by which it could be divided.
            PostHogError: The query failed after all retries.
        """
        if not isinstance(self._request, QueryRequest):
            raise ValueError(f"an export of {self._request.kind} cannot be divided")
        return await make_plan(self._executor, self._request, partitions)

    async def _write(
        self,
        format: Literal["jsonl", "csv"],
        target: StrPath,
        checkpoint: StrPath | bool | None,
        overwrite: bool,
        store: StoreArguments,
        on_progress: OnProgress | None,
    ) -> Report:
        make = partial(open_text, format, target, checkpoint, store, overwrite=overwrite)
        return await self._run_into(await _opened(make, target, store), on_progress)

    async def _run_into(self, output: Output, on_progress: OnProgress | None) -> Report:
        run = self._make_run(output.sink, output.checkpoint, output.keep_checkpoint)
        return await run.run(on_progress)

    def _make_run(
        self,
        sink: Any,
        checkpoint: Path | ObjectPath | None,
        keep_checkpoint: bool,
        *,
        ordered: bool = True,
    ) -> ExportRun:
        request = self._request
        _check_overlap(request, checkpoint, keep_checkpoint)
        if isinstance(request, QueryRequest):
            # Files are always written in order: where a file or a checkpoint is cut must not
            # depend on which query was answered first.
            request = replace(
                request,
                ordered=request.ordered or ordered,
                resumable=checkpoint is not None,
            )
        return ExportRun(self._executor, request, sink, checkpoint, keep_checkpoint=keep_checkpoint)


def get_request(job: ExportJob) -> tuple[Executor, Request]:
    """Return the executor and the request of a run that no other run continues."""
    return job._executor, job._readable_request()  # pyright: ignore[reportPrivateUsage]


async def _opened(make: Callable[[], Output], target: StrPath, store: StoreArguments) -> Output:
    """Return an output. In a thread if it is in a store, whose packages are slow to import."""
    if is_url(target) or store.filesystem is not None:
        return await run_in_thread(make)
    return make()


def _check_overlap(
    request: Request, checkpoint: Path | ObjectPath | None, keep_checkpoint: bool
) -> None:
    """Raise ValueError if a later export could not know what this one delivered."""
    keeps_checkpoint = isinstance(checkpoint, Path) and keep_checkpoint
    if isinstance(request, QueryRequest) and request.overlap and not keeps_checkpoint:
        raise ValueError(
            "overlap= needs checkpoint=PATH, of a local file: the keys of delivered rows are "
            "stored beside it, so that the next export can leave them out"
        )


def _unchanged(batch: Batch) -> Batch:
    return batch


class Batches(AsyncIterator[Batch]):
    """Iterator over the batches of one run. A loop that is left early leaves nothing running.

    Up to `concurrency` pages are read concurrently when the last ones were returned, and nothing
    runs in between.
    """

    # Not an async generator: one that is left unfinished needs the event loop to close it.

    def __init__(self, executor: Executor, request: Request) -> None:
        """Store the arguments. Nothing is sent yet."""
        _check_overlap(request, None, keep_checkpoint=False)
        if isinstance(request, QueryRequest):
            # Without a checkpoint no other run can continue, so downloads need not be kept.
            request = replace(request, resumable=False)
        self._executor = executor
        self._request = request
        self._reader: BatchReader[Batch] | None = None
        self._ready: list[Batch] = []
        self._busy = False
        self.stats = ExportStats()

    def __aiter__(self) -> Batches:
        """Return itself: iteration continues with the next batch."""
        return self

    async def __anext__(self) -> Batch:
        """Return the next batch that has rows.

        Raises:
            RuntimeError: Another task is waiting for a batch of this iterator.
            PostHogError: A request failed after all retries. Calling again repeats it.
        """
        if self._busy:
            raise RuntimeError("another task is already awaiting the next batch of this iterator")
        self._busy = True
        try:
            while not self._ready:
                if self._reader is None:
                    self._reader = await self._open_reader()
                prepared = await self._reader.read()
                if not prepared:
                    raise StopAsyncIteration
                self._ready = [batch.content for batch in reversed(prepared) if batch.rows]
            return self._ready.pop()
        finally:
            self._busy = False

    async def _open_reader(self) -> BatchReader[Batch]:
        now = int(self._executor.transport.clock.time() * 1_000_000)
        bounds = self._request.resolve_bounds(now)
        return await self._request.open(self._executor, bounds, None, _unchanged, self.stats)


class Rows(AsyncIterator[dict[str, Any]]):
    """Iterator over the rows of one run, as dicts."""

    def __init__(self, batches: Batches) -> None:
        """Store the batches. Nothing is sent yet."""
        self._batches = batches
        self._ready: list[dict[str, Any]] = []

    def __aiter__(self) -> Rows:
        """Return itself: iteration continues with the next row."""
        return self

    async def __anext__(self) -> dict[str, Any]:
        """Return the next row.

        Raises:
            PostHogError: A request failed after all retries. Calling again repeats it.
        """
        if not self._ready:
            batch = await self._batches.__anext__()
            self._ready = batch.dicts()
            self._ready.reverse()
        return self._ready.pop()
