"""One file, fetched to disk; what was there already is not fetched again."""

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
from asyncposthog.export.atomic_files import partial_name, publish, translate_os_errors
from asyncposthog.export.engines.base import Tally
from asyncposthog.resources.file_download_batch_exports import FileDownloadBatchExports
from asyncposthog.threads import run_in_thread
from asyncposthog.transport.clock import Clock
from asyncposthog.types import RequestOptions

__all__ = ["fetch"]

_TRIES: Final = 8
_RANGE: Final = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)")


async def fetch(
    resource: FileDownloadBatchExports,
    run: str,
    part: str,
    path: Path,
    tally: Tally,
    clock: Clock,
    options: RequestOptions | None,
) -> None:
    """Fetch a part, from where an earlier attempt broke off.

    Every attempt asks for the address anew: addresses expire. The key stays with PostHog's own
    host; the file store sees no credentials.

    Args:
        resource: The operations.
        run: The id of the run.
        part: The id of the part.
        path: Where it goes once it is complete; until then it is `.NAME.partial`.
        tally: Kept up to date.
        clock: Waits.
        options: What to do differently from the client.

    Raises:
        PostHogError: It cannot be had.
        ExportError: It cannot be written.
    """
    unfinished = partial_name(path)
    fruitless = 0
    while True:
        have = await run_in_thread(_size, unfinished)
        tally.requests += 1
        try:
            complete = await _attempt(resource, run, part, unfinished, have, tally, options)
        except (errors.ConnectionError, errors.TimeoutError, StatusError) as error:
            if await run_in_thread(_size, unfinished) <= have:
                fruitless += 1
            if fruitless >= _TRIES or not _passing(error, have):
                raise
            if isinstance(error, StatusError) and error.status == 416:
                # It is not what we thought it was.
                await run_in_thread(partial(unfinished.unlink, missing_ok=True))
            tally.retries += 1
            tally.waits += 1
            await clock.sleep(min(0.5 * 2**fruitless, 15.0))
            continue
        if complete:
            await run_in_thread(partial(publish, unfinished, path))
            return
        fruitless += 1
        if fruitless >= _TRIES:
            raise ExportError(f"The file {part} of the run {run} keeps breaking off.")


def _passing(error: PostHogError, have: int) -> bool:
    """Tell whether another attempt may bring more."""
    if not isinstance(error, StatusError):
        return True
    # 403: the address has expired; 412 and 416: the file is another one now.
    return error.status in {403, 408, 429, 500, 502, 503, 504} or (
        have > 0 and error.status in {412, 416}
    )


async def _attempt(
    resource: FileDownloadBatchExports,
    run: str,
    part: str,
    path: Path,
    have: int,
    tally: Tally,
    options: RequestOptions | None,
) -> bool:
    """Fetch as much as comes. Returns whether it is all there."""
    given: dict[str, Any] = dict(options or {})
    if have:
        given["headers"] = {**given.get("headers", {}), "Range": f"bytes={have}-"}
    kwargs: Mapping[str, Any] = {"options": given}
    async with stream(resource.download_part, (run, part), kwargs) as answer:
        start, whole = _extent(answer)
        if start not in {0, have}:
            raise ExportError(
                f"The file store answered with bytes from {start:,} on, not {have:,}."
            )
        with ExitStack() as opened:
            file = await run_in_thread(_open, path, start, opened)
            async for chunk in answer.aiter_bytes():
                tally.received += len(chunk)
                await run_in_thread(_write, file, chunk, path)
            await run_in_thread(_sync, file, path)
    return whole is None or await run_in_thread(_size, path) == whole


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _extent(answer: StreamedResponse) -> tuple[int, int | None]:
    """Where the answer begins in the file, and the size of the file if it is told."""
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status == 206 and found is not None:
        return int(found[1]), int(found[2])
    size = answer.headers.get("Content-Length", "")
    return 0, int(size) if size.isdigit() else None


def _open(path: Path, start: int, opened: ExitStack) -> IO[bytes]:
    """Return the open file, which `opened` closes: a cancellation may lose what is returned."""
    with translate_os_errors(path):
        file = opened.enter_context(path.open("r+b" if start else "wb", buffering=0))
        if start:
            file.truncate(start)
            file.seek(start)
        return file


def _write(file: IO[bytes], chunk: bytes, path: Path) -> None:
    with translate_os_errors(path):
        left = memoryview(chunk)
        while left:
            left = left[file.write(left) :]


def _sync(file: IO[bytes], path: Path) -> None:
    with translate_os_errors(path):
        os.fsync(file.fileno())
