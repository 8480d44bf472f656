"""Download job: request files, wait for them, fetch them, and sort their rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from asyncposthog.errors import ExportError, StatusError
from asyncposthog.export.atomic_files import sha256_of, translate_os_errors
from asyncposthog.export.engines.base import ExportStats
from asyncposthog.export.timestamps import format_clickhouse
from asyncposthog.resources.file_download_batch_exports import FileDownloadBatchExports
from asyncposthog.threads import run_in_thread
from asyncposthog.transport.clock import Clock
from asyncposthog.types import OMIT, RequestOptions

from .cache import JobFolder
from .download import fetch
from .plan import ArrivalRange

__all__ = ["DownloadJob", "DownloadResult"]

_RUNNING_STATUSES: Final = frozenset({"Starting", "Running"})
_MIN_WAIT, _MAX_WAIT = 1.0, 20.0
_PART_MB: Final = 16
"""Size of a part in MB that is requested: one is decompressed in memory while it is sorted."""
_MAX_BUSY_RETRIES: Final = 240
"""Number of attempts to start a job while the server makes too many other files."""


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """Result of a job."""

    paths: list[Path]
    """Files whose rows are sorted."""
    row_count: int
    """Number of their rows."""


@dataclass(frozen=True, kw_only=True)
class DownloadJob:
    """Job for the files of one range of arrival times."""

    resource: FileDownloadBatchExports
    arrival_range: ArrivalRange
    events: list[str] | None
    folder: JobFolder
    sort: Callable[[Path, Path], int]
    """Writes the rows of a file that belong to the export to another one, sorted, and returns their
    number."""
    sort_limiter: anyio.CapacityLimiter
    """Shared by all jobs, so that one part is sorted at a time."""
    stats: ExportStats
    clock: Clock
    options: RequestOptions | None

    async def run(self) -> DownloadResult:
        """Have the server make the files, fetch them, and sort their rows.

        Raises:
            PostHogError: A request failed after all retries.
            ExportError: The server's run failed, or its files have another number of rows.
        """
        state = await self._wait_until_finished()
        run_id, parts = str(state["id"]), [str(part) for part in state["files"]]
        sorted_parts: dict[str, dict[str, Any]] = dict(state.get("parts", {}))
        # An earlier run wrote these files, and they may have been damaged since.
        sorted_parts = await run_in_thread(self._intact_parts, sorted_parts)
        for number, part in enumerate(parts):
            if str(number) in sorted_parts:
                continue
            path, sorted_path = self.folder.part(number), self.folder.sorted_part(number)
            if not path.exists():
                await fetch(self.resource, run_id, part, path, self.stats, self.clock, self.options)
            async with self.sort_limiter:
                sorted_parts[str(number)] = await run_in_thread(self._sort_part, path, sorted_path)
            state = {**state, "parts": sorted_parts}
            await run_in_thread(partial(self.folder.write_state, state))
            # After the state is stored: a run that is killed in between sorts the part again, and
            # needs it.
            await run_in_thread(partial(path.unlink, missing_ok=True))
        row_total = sum(part["rows"] for part in sorted_parts.values())
        if state["records"] is not None and row_total != state["records"]:
            await run_in_thread(self.folder.clear)
            raise ExportError(
                f"The run {run_id} exported {state['records']:,} rows, but its files have "
                f"{row_total:,}.",
                suggestion="Run the export again; the server makes new files.",
            )
        paths = [self.folder.sorted_part(number) for number in range(len(parts))]
        return DownloadResult(paths, sum(part["selected"] for part in sorted_parts.values()))

    def _sort_part(self, path: Path, sorted_path: Path) -> dict[str, Any]:
        """Sort a part; return its rows, those in the export, and the checksum of the result."""
        from .merge import count_rows

        rows, row_count = count_rows(path), self.sort(path, sorted_path)
        with translate_os_errors(sorted_path):
            return {"rows": rows, "selected": row_count, "sha256": sha256_of(sorted_path)}

    def _intact_parts(self, sorted_parts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the sorted parts whose files have not changed since they were written."""

        def is_intact(number: str, part: dict[str, Any]) -> bool:
            try:
                return sha256_of(self.folder.sorted_part(int(number))) == part["sha256"]
            except (OSError, ExportError):
                return False

        return {number: part for number, part in sorted_parts.items() if is_intact(number, part)}

    async def _wait_until_finished(self) -> dict[str, Any]:
        """Wait for a run, an earlier one if there is any, and store the ids of its files."""
        state = await run_in_thread(self.folder.read_state)
        if "files" in state:
            return state
        run_id = state.get("id")
        state = None if run_id is None else await self._run_state(str(run_id))
        if run_id is None or state is None:
            await run_in_thread(self.folder.clear)
            run_id = await self._start()
            await run_in_thread(partial(self.folder.write_state, {"id": run_id}))
        wait = _MIN_WAIT
        while True:
            state = await self._run_state(str(run_id))
            if state is not None and state["status"] == "Completed":
                break
            if state is None or state["status"] not in _RUNNING_STATUSES:
                await run_in_thread(self.folder.clear)
                raise _run_failed_error(str(run_id), state)
            self.stats.waits += 1
            await self.clock.sleep(wait)
            wait = min(wait * 1.5, _MAX_WAIT)
        files = [str(part) for part in state.get("files") or ()]
        state = {"id": run_id, "files": files, "records": state.get("records_completed")}
        await run_in_thread(partial(self.folder.write_state, state))
        return state

    async def _start(self) -> str:
        """Start a run; repeat that while the server makes too many other files."""
        start, end = (
            f"{format_clickhouse(bound).replace(' ', 'T')}Z" for bound in self.arrival_range
        )
        for attempt in range(_MAX_BUSY_RETRIES):
            self.stats.requests += 1
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
                if (
                    error.code != "too_many_concurrent_file_downloads"
                    or attempt == _MAX_BUSY_RETRIES - 1
                ):
                    raise
                self.stats.waits += 1
                self.stats.retries += 1
                await self.clock.sleep(_MAX_WAIT)
            else:
                return str(started.id)
        raise AssertionError  # the last attempt returns or raises

    async def _run_state(self, run_id: str) -> dict[str, Any] | None:
        """Return the state of a run; None if the server does not have it."""
        self.stats.requests += 1
        try:
            response = await self.resource.get(run_id, options=self.options)
        except StatusError as error:
            if error.status == 404:
                return None
            raise
        return response.raw()

    async def cancel(self) -> None:
        """Cancel the run on the server, if it is not finished."""
        state = self.folder.read_state()
        if "id" in state and "files" not in state:
            await self.resource.cancel(str(state["id"]), options=self.options)


def _run_failed_error(run_id: str, state: dict[str, Any] | None) -> ExportError:
    if state is None:
        return ExportError(
            f"The run {run_id} of a file download is gone.", suggestion="Run the export again."
        )
    reason = f": {state['error']}" if state.get("error") else ""
    return ExportError(
        f"The run {run_id} of a file download ended as {state['status']}{reason}.",
        suggestion="Run the export again, or with engine='query'.",
    )
