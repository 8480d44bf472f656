"""One job: files are asked for, waited for, fetched, and their rows put in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from asyncposthog.errors import ExportError, StatusError
from asyncposthog.export.atomic_files import sha256_of, translate_os_errors
from asyncposthog.export.engines.base import Tally
from asyncposthog.export.timestamps import as_text
from asyncposthog.resources.file_download_batch_exports import FileDownloadBatchExports
from asyncposthog.threads import run_in_thread
from asyncposthog.transport.clock import Clock
from asyncposthog.types import OMIT, RequestOptions

from .cache import JobFolder
from .download import fetch
from .plan import Stretch

__all__ = ["DownloadResult", "Job"]

_UNDER_WAY: Final = frozenset({"Starting", "Running"})
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 20.0
_PART_MB: Final = 16
"""How large parts are to be: one is in memory, decompressed, while its rows are put in order."""
_BUSY: Final = 240
"""How often a full server is asked again."""


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What a job brought."""

    paths: list[Path]
    """Files whose rows are in order."""
    kept: int
    """How many rows they have."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What happens to one stretch of arrival."""

    resource: FileDownloadBatchExports
    stretch: Stretch
    events: list[str] | None
    folder: JobFolder
    order: Callable[[Path, Path], int]
    """Puts the rows of a file that are wanted in order, into another, and counts those."""
    gate: anyio.CapacityLimiter
    """One part is put in order at a time."""
    tally: Tally
    clock: Clock
    options: RequestOptions | None

    async def run(self) -> DownloadResult:
        """Have the files made and fetched, and put their rows in order.

        Raises:
            PostHogError: The server cannot or will not.
            ExportError: The run failed, or brought other rows than it said.
        """
        note = await self._finished()
        run, parts = str(note["id"]), [str(part) for part in note["files"]]
        done: dict[str, dict[str, Any]] = dict(note.get("parts", {}))
        # The same files, in another run, may have been damaged since they were written.
        done = await run_in_thread(self._intact, done)
        for number, part in enumerate(parts):
            if str(number) in done:
                continue
            path, ordered = self.folder.part(number), self.folder.run(number)
            if not path.exists():
                await fetch(self.resource, run, part, path, self.tally, self.clock, self.options)
            async with self.gate:
                done[str(number)] = await run_in_thread(self._put_in_order, path, ordered)
            note = {**note, "parts": done}
            await run_in_thread(partial(self.folder.write, note))
            await run_in_thread(partial(path.unlink, missing_ok=True))
        held = sum(part["rows"] for part in done.values())
        if note["records"] is not None and held != note["records"]:
            await run_in_thread(self.folder.clear)
            raise ExportError(
                f"The run {run} says that it exported {note['records']:,} rows, and its files hold "
                f"{held:,}.",
                suggestion="Run the export again: the files are made anew.",
            )
        paths = [self.folder.run(number) for number in range(len(parts))]
        return DownloadResult(paths, sum(part["kept"] for part in done.values()))

    def _put_in_order(self, path: Path, ordered: Path) -> dict[str, Any]:
        """Return how many rows there are, how many of them are wanted, and a checksum of those."""
        from .merge import rows_of

        rows, kept = rows_of(path), self.order(path, ordered)
        with translate_os_errors(ordered):
            return {"rows": rows, "kept": kept, "sha256": sha256_of(ordered)}

    def _intact(self, done: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the parts whose rows in order are as they were written."""

        def is_intact(number: str, part: dict[str, Any]) -> bool:
            try:
                return sha256_of(self.folder.run(int(number))) == part["sha256"]
            except (OSError, ExportError):
                return False

        return {number: part for number, part in done.items() if is_intact(number, part)}

    async def _finished(self) -> dict[str, Any]:
        """Wait for the run, an earlier one if there is any, and note its files."""
        note = await run_in_thread(self.folder.note)
        if "files" in note:
            return note
        known = note.get("id")
        state = None if known is None else await self._state(str(known))
        if known is None or state is None:
            await run_in_thread(self.folder.clear)
            known = await self._start()
            await run_in_thread(partial(self.folder.write, {"id": known}))
        wait = _FIRST_WAIT
        while True:
            state = await self._state(str(known))
            if state is not None and state["status"] == "Completed":
                break
            if state is None or state["status"] not in _UNDER_WAY:
                await run_in_thread(self.folder.clear)
                raise _failed(str(known), state)
            self.tally.waits += 1
            await self.clock.sleep(wait)
            wait = min(wait * 1.5, _LONGEST_WAIT)
        files = [str(part) for part in state.get("files") or ()]
        note = {"id": known, "files": files, "records": state.get("records_completed")}
        await run_in_thread(partial(self.folder.write, note))
        return note

    async def _start(self) -> str:
        """Ask for the files, again and again while too many others are being made."""
        start, end = (f"{as_text(edge).replace(' ', 'T')}Z" for edge in self.stretch)
        for attempt in range(_BUSY):
            self.tally.requests += 1
            try:
                started = await self.resource.create(
                    model="events",
                    file={"format": "Parquet", "compression": "zstd", "max_size_mb": _PART_MB},
                    data_interval_start=start,
                    data_interval_end=end,
                    include=OMIT if self.events is None else self.events,
                    options=self.options,
                )
            except StatusError as error:
                if error.code != "too_many_concurrent_file_downloads" or attempt == _BUSY - 1:
                    raise
                self.tally.waits += 1
                self.tally.retries += 1
                await self.clock.sleep(_LONGEST_WAIT)
            else:
                return str(started.id)
        raise AssertionError  # the last attempt returns or raises

    async def _state(self, run: str) -> dict[str, Any] | None:
        """Return the state of a run; None: there is no such run."""
        self.tally.requests += 1
        try:
            found = await self.resource.get(run, options=self.options)
        except StatusError as error:
            if error.status == 404:
                return None
            raise
        return found.raw()

    async def abandon(self) -> None:
        """Tell the server that nobody waits for the files any more."""
        note = self.folder.note()
        if "id" in note and "files" not in note:
            await self.resource.cancel(str(note["id"]), options=self.options)


def _failed(run: str, state: dict[str, Any] | None) -> ExportError:
    if state is None:
        return ExportError(
            f"The run {run} of a file download is gone.", suggestion="Run the export again."
        )
    why = f": {state['error']}" if state.get("error") else ""
    return ExportError(
        f"The run {run} of a file download ended as {state['status']}{why}.",
        suggestion="Run the export again, or with engine='query'.",
    )
