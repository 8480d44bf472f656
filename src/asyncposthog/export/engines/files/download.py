"""Fetch a file to disk, resuming interrupted downloads with a Range request."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from asyncposthog import errors
from asyncposthog.core.raw_response import StreamedResponse, stream
from asyncposthog.errors import ExportError, PostHogError, StatusError
from asyncposthog.export.atomic_files import commit, partial_name, translate_os_errors
from asyncposthog.export.engines.base import ExportStats
from asyncposthog.resources.file_download_batch_exports import FileDownloadBatchExports
from asyncposthog.threads import run_in_thread
from asyncposthog.transport.clock import Clock
from asyncposthog.types import RequestOptions

__all__ = ["fetch"]

_MAX_ATTEMPTS: Final = 8
_RANGE: Final = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)")


async def fetch(
    resource: FileDownloadBatchExports,
    run_id: str,
    part: str,
    path: Path,
    stats: ExportStats,
    clock: Clock,
    options: RequestOptions | None,
) -> None:
    """Fetch a part of a file download, from where an earlier attempt was interrupted.

    Each attempt requests the URL again, because URLs expire. The API key is sent to PostHog's own
    host only; the file store receives no credentials.

    Args:
        resource: The operations on file downloads.
        run_id: The id of the server's run.
        part: The id of the part.
        path: The file to write; until it is complete, it is `.NAME.partial`.
        stats: Updated while fetching.
        clock: Waits between attempts.
        options: Options of the requests, in place of the client's settings.

    Raises:
        PostHogError: The part cannot be fetched.
        ExportError: The file cannot be written, or attempts make no progress.
    """
    partial_path = partial_name(path)
    failed_attempts = 0
    while True:
        offset = await run_in_thread(_size, partial_path)
        stats.requests += 1
        try:
            is_complete = await _attempt(
                resource, run_id, part, partial_path, offset, stats, options
            )
        except (errors.ConnectionError, errors.TimeoutError, StatusError) as error:
            # Attempts are limited only while they make no progress: a large file over a bad
            # connection may take any number of them.
            if await run_in_thread(_size, partial_path) <= offset:
                failed_attempts += 1
            if failed_attempts >= _MAX_ATTEMPTS or not _is_retryable(error, offset):
                raise
            if isinstance(error, StatusError) and error.status == 416:
                # The partial file does not belong to this one: start again.
                await run_in_thread(partial(partial_path.unlink, missing_ok=True))
            stats.retries += 1
            stats.waits += 1
            await clock.sleep(min(0.5 * 2**failed_attempts, 15.0))
            continue
        if is_complete:
            await run_in_thread(partial(commit, partial_path, path))
            return
        failed_attempts += 1
        if failed_attempts >= _MAX_ATTEMPTS:
            raise ExportError(
                f"The download of file {part} of run {run_id} was interrupted {_MAX_ATTEMPTS} "
                "times without progress.",
                suggestion="Run the export again.",
            )


def _is_retryable(error: PostHogError, offset: int) -> bool:
    """Return whether another attempt may succeed."""
    if not isinstance(error, StatusError):
        return True
    # 403: the URL has expired. 412 and 416: the server has another file than the partial one here.
    return error.status in {403, 408, 429, 500, 502, 503, 504} or (
        offset > 0 and error.status in {412, 416}
    )


async def _attempt(
    resource: FileDownloadBatchExports,
    run_id: str,
    part: str,
    path: Path,
    offset: int,
    stats: ExportStats,
    options: RequestOptions | None,
) -> bool:
    """Fetch as much as the server sends; return whether the file is complete."""
    call_options: dict[str, Any] = dict(options or {})
    if offset:
        call_options["headers"] = {**call_options.get("headers", {}), "Range": f"bytes={offset}-"}
    kwargs: Mapping[str, Any] = {"options": call_options}
    async with stream(resource.download_part, (run_id, part), kwargs) as response:
        start, total_size = _content_range(response)
        if start not in {0, offset}:
            raise ExportError(
                f"The file store returned bytes from {start:,} on, not from {offset:,}.",
                suggestion="Run the export again.",
            )
        with ExitStack() as stack:
            file = await run_in_thread(_open, path, start, stack)
            async for chunk in response.aiter_bytes():
                stats.bytes_received += len(chunk)
                await run_in_thread(_write, file, chunk, path)
            await run_in_thread(_sync, file, path)
    return total_size is None or await run_in_thread(_size, path) == total_size


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _content_range(response: StreamedResponse) -> tuple[int, int | None]:
    """Return where the response starts in the file, and the size of the file if it is known."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status == 206 and match is not None:
        return int(match[1]), int(match[2])
    size = response.headers.get("Content-Length", "")
    return 0, int(size) if size.isdigit() else None


def _open(path: Path, start: int, stack: ExitStack) -> IO[bytes]:
    """Return the open file. `stack` closes it: a cancellation may lose the returned value."""
    with translate_os_errors(path):
        file = stack.enter_context(path.open("r+b" if start else "wb", buffering=0))
        if start:
            file.truncate(start)
            file.seek(start)
        return file


def _write(file: IO[bytes], chunk: bytes, path: Path) -> None:
    with translate_os_errors(path):
        remaining = memoryview(chunk)
        while remaining:
            remaining = remaining[file.write(remaining) :]


def _sync(file: IO[bytes], path: Path) -> None:
    with translate_os_errors(path):
        os.fsync(file.fileno())
