"""Exports on a Dask cluster, whose workers export the partitions of a plan. Extra: `dask`.

Workers build their own clients from their environment, so no API key is sent to them. They share
the rate limits of the key, and the query slots of the project, through Redis.
"""

from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from secrets import token_hex
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import anyio

from asyncposthog.client import AsyncPostHog
from asyncposthog.errors import ConfigurationError, ExportError, PostHogError
from asyncposthog.export.atomic_files import sync_folder
from asyncposthog.export.checksum import MASK, format_checksum
from asyncposthog.export.job import ExportJob
from asyncposthog.export.object_store import ObjectPath, is_url, open_target
from asyncposthog.export.partition import Partition
from asyncposthog.export.report import FileReport, Report
from asyncposthog.threads import run_in_thread

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["REDIS_VARIABLE", "Connect", "export_events", "from_environment", "merge_reports"]

REDIS_VARIABLE: Final = "POSTHOG_REDIS_URL"
"""The environment variable with the URL of the Redis server for shared rate limits."""

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncPostHog]]
"""Builds a client on a worker. It is pickled, so it must not contain an API key."""
FileFormat: TypeAlias = Literal["parquet", "jsonl", "csv"]
OnPart: TypeAlias = Callable[[int, int, Report], object]


@asynccontextmanager
async def from_environment() -> AsyncGenerator[AsyncPostHog]:
    """Build a client from the environment, with rate limits shared through Redis.

    The variables are `POSTHOG_REDIS_URL`, and those of the client such as
    `POSTHOG_PERSONAL_API_KEY`.

    Raises:
        ConfigurationError: A variable is missing or invalid.
    """
    from asyncposthog.rate_limits.limiter import RateLimiter
    from asyncposthog.rate_limits.stores.redis import RedisStore

    url = os.environ.get(REDIS_VARIABLE)
    if not url:
        raise ConfigurationError(
            f"{REDIS_VARIABLE} is not set, and processes with the same API key have to share its "
            "rate limits.",
            suggestion=f"Set {REDIS_VARIABLE} on every worker and here, or pass connect=.",
        )
    limiter = RateLimiter(store=RedisStore(url))
    try:
        async with AsyncPostHog(limiter=limiter) as client:
            yield client
    finally:
        with anyio.CancelScope(shield=True):
            await limiter.aclose()


async def export_events(
    client: Client,
    start: datetime,
    end: datetime,
    *,
    out: str | os.PathLike[str],
    format: FileFormat = "parquet",
    event: str | Sequence[str] | None = None,
    where: str | None = None,
    columns: Sequence[str] | None = None,
    values: Mapping[str, Any] | None = None,
    min_age: timedelta | float = 0,
    page_size: int = 50_000,
    partitions: int | None = None,
    connect: Connect = from_environment,
    storage_options: Mapping[str, Any] | None = None,
    on_part: OnPart | None = None,
) -> Report:
    """Export events on a Dask cluster.

    Each partition is a file, or for Parquet a file per day, which is created atomically. If a
    worker dies, another one repeats its partition.

    Args:
        client: The Dask client, with `asynchronous=True` or without.
        start: The start of the time range, timezone-aware.
        end: Its end, exclusive.
        out: A new or empty folder that has the same path in this process and all workers. Or the
            URL of one in an object store, such as `s3://bucket/events`.
        format: `parquet` (in folders by day), `jsonl` or `csv`.
        event: As in `ph.export.events`.
        where: As in `ph.export.events`.
        columns: As in `ph.export.events`.
        values: As in `ph.export.events`.
        min_age: As in `ph.export.events`.
        page_size: As in `ph.export.events`.
        partitions: Maximum number of partitions; by default about a page of rows each.
        connect: Builds a client, in this process for the plan, and on the workers. By default from
            the environment, with rate limits shared through the Redis of `POSTHOG_REDIS_URL`. A
            function of your own has to be importable on the workers, and read its key there. With
            `AsyncPostHog` itself, each process would have its own rate limits.
        storage_options: Arguments for the filesystem of a URL. They are sent to the workers: leave
            out credentials that these have in their environment.
        on_part: Called after each partition with the number of completed ones, the total, and its
            report.

    Returns:
        A report for all partitions.

    Raises:
        FileExistsError: `out` is not empty.
        FileNotFoundError: The parent folder of `out` does not exist.
        ConfigurationError: `connect` contains an API key, or Redis is not configured.
        ExportError: A partition failed. The files of completed ones are kept.
        PostHogError: The plan failed.
        ImportError: The extra `dask` is not installed.
        TypeError, ValueError: An argument is invalid.
    """
    distributed = _distributed()
    if format not in {"parquet", "jsonl", "csv"}:
        raise ValueError(f"format must be 'parquet', 'jsonl' or 'csv', not {format!r}")
    folder = await run_in_thread(_checked_target, out, storage_options)
    started_at = time.monotonic()
    async with connect() as ph:
        _check_carries_no_key(connect, ph.settings.api_key.reveal())
        job = ph.export.events(
            start,
            end,
            event=event,
            where=where,
            columns=columns,
            values=values,
            min_age=min_age,
            page_size=page_size,
        )
        plan = await job.plan(partitions)
    if isinstance(folder, Path):
        await run_in_thread(partial(folder.mkdir, exist_ok=True))
    tasks = [PartTask(part, str(folder), format, connect, storage_options) for part in plan]
    reports: list[Report] = []
    async with aclosing(_part_results(distributed, client, tasks)) as results:
        async for result in results:
            if result.report is None:
                raise _part_error(result)
            reports.append(result.report)
            if on_part is not None:
                on_part(len(reports), len(tasks), result.report)
    if isinstance(folder, Path):
        await run_in_thread(_remove_attempts, folder)
    return merge_reports(reports, time.monotonic() - started_at)


@dataclass(frozen=True, slots=True)
class PartTask:
    """The arguments of one partition, which are sent to a worker."""

    partition: Partition
    folder: str
    """A folder, or the URL of one in a store."""
    format: FileFormat
    connect: Connect
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PartResult:
    """The result of a partition: a report, or the texts of an error.

    Exceptions are not sent: they may refer to more than their text.
    """

    partition: Partition
    report: Report | None = None
    message: str = ""
    suggestion: str | None = None


def run_part(task: PartTask) -> PartResult:
    """Export a partition. Runs on a worker."""
    number = task.partition.number
    name = f"part-{number:05}"
    is_store = is_url(task.folder)
    root = Path(mkdtemp(prefix="asyncposthog-part-")) if is_store else Path(task.folder)
    attempt = root / f".{name}-{token_hex(6)}"
    target = attempt if task.format == "parquet" else attempt.with_suffix(f".{task.format}")
    try:
        place: Callable[[FileReport], FileReport]
        if is_store:
            folder = _open_store(task.folder, task.storage_options)
            place = partial(_upload, target=target, folder=folder, name=name)
        else:
            place = partial(_move_into_place, target=target, folder=root, name=name)
        report = anyio.run(_export, task, target)
        files = tuple(map(place, report.files))
    except PostHogError as error:
        return PartResult(task.partition, None, error.message, error.suggestion)
    except OSError as error:
        return PartResult(task.partition, None, f"{error.filename}: {error.strerror}")
    finally:
        shutil.rmtree(root if is_store else attempt, ignore_errors=True)
    return PartResult(task.partition, replace(report, files=files))


async def _export(task: PartTask, target: Path) -> Report:
    async with task.connect() as client:
        job: ExportJob = client.export.run(task.partition)
        write: Callable[..., Awaitable[Report]] = getattr(job, f"to_{task.format}")
        return await write(target, checkpoint=False)


def _final_name(source: Path, target: Path, name: str) -> Path:
    """Return the final name of a file, relative to the folder."""
    if source == target:
        return Path(f"{name}{target.suffix}")
    inside = source.relative_to(target)
    return inside.with_name(f"{name}-{inside.name}")


def _upload(file: FileReport, target: Path, folder: ObjectPath, name: str) -> FileReport:
    """Upload a file. An existing one is from an earlier attempt, and equal."""
    source = Path(file.path)
    final = folder.child(_final_name(source, target, name).as_posix())
    final.put(source)
    return replace(file, path=str(final))


def _move_into_place(file: FileReport, target: Path, folder: Path, name: str) -> FileReport:
    """Rename a file to its final name. An existing one is from an earlier attempt, and equal."""
    source = Path(file.path)
    final = folder / _final_name(source, target, name)
    final.parent.mkdir(parents=True, exist_ok=True)
    source.replace(final)
    sync_folder(final.parent)
    return replace(file, path=str(final))


async def _part_results(
    distributed: Any, client: Any, tasks: Sequence[PartTask]
) -> AsyncGenerator[PartResult]:
    """Yield results in order of completion; cancel running partitions at the end."""
    futures: list[Any] = client.map(run_part, tasks, pure=False)
    try:
        async for future in _completed(distributed, client, futures):
            try:
                yield await _result(client, future)
            except distributed.KilledWorker as error:
                raise ExportError(
                    f"Workers died while they exported: {error}",
                    suggestion="See their logs; a partition needs memory for a few pages of rows.",
                ) from None
    finally:
        if client.asynchronous:
            with anyio.CancelScope(shield=True):
                await client.cancel(futures, force=True)
        else:
            await run_in_thread(partial(client.cancel, futures, force=True), shield=True)


async def _completed(distributed: Any, client: Any, futures: list[Any]) -> AsyncIterator[Any]:
    if client.asynchronous:
        async for future in distributed.as_completed(futures):
            yield future
        return
    done: SimpleQueue[Any] = SimpleQueue()
    for future in futures:
        future.add_done_callback(done.put)
    for _ in futures:
        yield await run_in_thread(done.get, interrupt=partial(done.put, None))


async def _result(client: Any, future: Any) -> PartResult:
    return await future if client.asynchronous else await run_in_thread(future.result)


def _part_error(result: PartResult) -> ExportError:
    part = result.partition
    return ExportError(
        f"Part {part.number + 1} of {part.total}, from {part.start:%Y-%m-%d %H:%M:%S} to "
        f"{part.end:%Y-%m-%d %H:%M:%S}, failed: {result.message}",
        suggestion=result.suggestion,
    )


def merge_reports(reports: Sequence[Report], duration: float) -> Report:
    """Return one report for several partitions of an export, in any order.

    Args:
        reports: The reports of the partitions.
        duration: Seconds that the export took.
    """
    return Report(
        rows=sum(r.rows for r in reports),
        windows=sum(r.windows for r in reports),
        splits=sum(r.splits for r in reports),
        requests=sum(r.requests for r in reports),
        retries=sum(r.retries for r in reports),
        waits=sum(r.waits for r in reports),
        waited_seconds=sum(r.waited_seconds for r in reports),
        duplicates_skipped=sum(r.duplicates_skipped for r in reports),
        bytes_received=sum(r.bytes_received for r in reports),
        bytes_written=sum(r.bytes_written for r in reports),
        duration=duration,
        checksum=format_checksum(sum(int(r.checksum, 16) for r in reports) & MASK),
        late=sum(r.late for r in reports),
        deleted=sum(r.deleted for r in reports),
        files=tuple(sorted((f for r in reports for f in r.files), key=lambda f: f.path)),
        resumed=any(r.resumed for r in reports),
        notes=tuple(dict.fromkeys(note for r in reports for note in r.notes)),
    )


def _remove_attempts(folder: Path) -> None:
    """Remove files of workers that have died."""
    for pattern in (".part-*", "..part-*"):  # attempts, and their partial files and locks
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _checked_target(
    out: str | os.PathLike[str], storage_options: Mapping[str, Any] | None
) -> Path | ObjectPath:
    """Return the target, which has no files yet. A store is written to find out if it can be."""
    if is_url(out):
        store = _open_store(os.fspath(out), storage_options)
        if store.sizes():
            raise FileExistsError(f"{store} exists, and is not empty")
        store.child("part").probe()
        return store
    folder = Path(out).absolute()
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"the folder {folder.parent} does not exist")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists, and is not an empty folder")
    return folder


def _open_store(url: str, storage_options: Mapping[str, Any] | None) -> ObjectPath:
    opened = open_target(url, None, storage_options)
    if not isinstance(opened, ObjectPath):
        raise ValueError(f"{url} is a local folder: pass its path")
    return opened


def _check_carries_no_key(connect: Connect, key: str) -> None:
    """Raise an error if a pickled function contains the API key.

    Raises:
        ConfigurationError: It contains the key.
        TypeError: The function cannot be pickled.
    """
    cloudpickle: Any = import_module("cloudpickle")
    try:
        content: bytes = cloudpickle.dumps(connect)
    except (pickle.PicklingError, AttributeError) as error:
        raise TypeError(f"connect must be a function that can be pickled: {error}") from None
    if key.encode() in content:
        raise ConfigurationError(
            "connect contains the API key, which would be sent to the workers unencrypted.",
            suggestion="Read the key in connect, from the environment or a vault.",
        )


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError:
        raise ImportError(
            "Exports on a cluster need distributed: pip install 'asyncposthog[dask]'"
        ) from None
