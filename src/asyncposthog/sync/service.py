"""Run the exports of a sync, once or again and again.

Events are exported in rounds. Each round writes one file, and its checkpoint says where it ended
and which rows of the overlap were delivered; the next round starts from there. The checkpoint is
the only state: the name of the next file and the end of an interrupted round follow from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

from asyncposthog.client import AsyncPostHog
from asyncposthog.errors import ExportError, PostHogError
from asyncposthog.export.atomic_files import translate_os_errors
from asyncposthog.export.checkpoint import Checkpoint, load
from asyncposthog.export.job import ExportJob
from asyncposthog.export.locks import FileLock
from asyncposthog.export.object_store import ObjectPath
from asyncposthog.export.outputs import StoreArguments
from asyncposthog.export.report import Report
from asyncposthog.export.timestamps import parse_clickhouse
from asyncposthog.pagination import Cursor
from asyncposthog.threads import run_in_thread
from asyncposthog.transport.clock import Clock

from .config import SyncConfig, SyncExport

__all__ = ["Round", "Sync"]

_FILE: Final = re.compile(r"(?:.*/)?(?P<name>[^/]+)-(?P<number>[0-9]{6,})\.[a-z]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Result of one round of one export, with its health."""

    export: str
    status: Literal["ok", "failed"]
    number: int | None = None
    """Number of the round, for events."""
    rows: int = 0
    rows_total: int = 0
    """Rows of all rounds of this process."""
    bytes: int = 0
    requests: int = 0
    waits: int = 0
    seconds: float = 0.0
    """Duration of the round."""
    until: str | None = None
    """Time before which all events were exported, in UTC."""
    lag_seconds: float | None = None
    """Age of that time."""
    failures: int = 0
    """Rounds that failed since the last one that did not."""
    error: str | None = None


@dataclass(slots=True)
class _Progress:
    due: float = 0.0
    rows_total: int = 0
    failures: int = 0


class Sync:
    """The exports of a configuration."""

    def __init__(self, client: AsyncPostHog, config: SyncConfig, *, clock: Clock) -> None:
        """Store the arguments. Nothing is sent or written yet.

        Args:
            client: The client, which is open.
            config: The exports.
            clock: The clock of the schedule.
        """
        self._client = client
        self._config = config
        self._clock = clock
        self._state = Path(config.state)
        self._progress = {export.name: _Progress() for export in config.exports}
        self._lock: FileLock | None = None

    async def run(self, on_round: Callable[[Round], object], *, once: bool = False) -> bool:
        """Run all exports when they are due; return whether none failed.

        A round that fails is reported and tried again when it is next due, or after 1, 2, 4 …
        minutes if that is earlier.

        Args:
            on_round: Called after every round.
            once: Return after one round of each export.

        Raises:
            ExportError: Another process uses the state.
        """
        try:
            await run_in_thread(self._acquire)
            if once:
                rounds = [await self._round(export, on_round) for export in self._config.exports]
                return all(result.status == "ok" for result in rounds)
            while True:
                export = min(self._config.exports, key=lambda e: self._progress[e.name].due)
                wait = self._progress[export.name].due - self._clock.monotonic()
                if wait > 0:
                    await self._clock.sleep(wait)
                await self._round(export, on_round)
        finally:
            await run_in_thread(self._release, shield=True)

    def _acquire(self) -> None:
        with translate_os_errors(self._state / "x"):
            self._state.mkdir(parents=True, exist_ok=True)
            path = self._state / ".sync.lock"
            self._lock = FileLock.acquire(path)
            if self._lock is None:
                holder = FileLock.holder(path)
                raise ExportError(
                    f"The state {self._state} is used by another sync"
                    f"{f' ({holder})' if holder else ''}.",
                    suggestion="Run one sync for a state.",
                )
        now = self._clock.monotonic()
        for progress in self._progress.values():
            progress.due = now

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    async def _round(self, export: SyncExport, on_round: Callable[[Round], object]) -> Round:
        progress, started_at = self._progress[export.name], self._clock.monotonic()
        try:
            result = await self._export(export, started_at)
        except (PostHogError, OSError, ValueError, ImportError) as error:
            progress.failures += 1
            retry = min(export.every, 60.0 * 2 ** min(progress.failures - 1, 10))
            progress.due = started_at + retry
            result = Round(
                export=export.name,
                status="failed",
                rows_total=progress.rows_total,
                failures=progress.failures,
                seconds=self._clock.monotonic() - started_at,
                error=f"{type(error).__name__}: {error}",
            )
        else:
            progress.due = started_at + export.every
        on_round(result)
        return result

    async def _export(self, export: SyncExport, started_at: float) -> Round:
        if export.kind == "events":
            return await self._export_events(export, started_at)
        # Without a checkpoint: an interrupted snapshot starts again, rather than mix two states.
        report = await _write(
            self._snapshot(export), export, export.target, checkpoint=False, overwrite=True
        )
        return self._result(export, report, started_at, None, None)

    def _snapshot(self, export: SyncExport) -> ExportJob:
        client, columns = self._client, export.columns
        if export.kind == "sessions":
            assert export.start is not None
            end = datetime.fromtimestamp(self._clock.time(), UTC)
            return client.export.sessions(export.start, end, where=export.where, columns=columns)
        if export.kind == "persons":
            return client.export.persons(where=export.where, columns=columns)
        if export.kind == "groups":
            return client.export.groups(where=export.where, columns=columns)
        make_list: object = getattr(getattr(client, export.kind, None), "list", None)
        cursor: object = make_list() if callable(make_list) else None
        if not isinstance(cursor, Cursor):
            raise ValueError(f"exports.{export.name}.kind: there is no list {export.kind!r}")
        return client.export.list(cast("Cursor[Any]", cursor), columns=columns)

    async def _export_events(self, export: SyncExport, started_at: float) -> Round:
        checkpoint = self._state / f"{export.name}.checkpoint"
        stored = await run_in_thread(load, checkpoint)
        number, end = self._next_round(export, checkpoint, stored)
        if "://" not in export.target:
            await run_in_thread(_make_folder, Path(export.target))
        assert export.start is not None
        job = self._client.export.events(
            export.start,
            end,
            event=list(export.event) or None,
            where=export.where,
            columns=export.columns,
            overlap=export.overlap,
            min_age=export.min_age,
        )
        target = f"{export.target.rstrip('/')}/{export.name}-{number:06d}.{export.format}"
        report = await _write(job, export, target, checkpoint=checkpoint)
        if not report.rows:
            await run_in_thread(_remove, target, export)
        done = await run_in_thread(load, checkpoint)
        until = None if done is None else str(done.bounds["end"])
        return self._result(export, report, started_at, number, until)

    def _next_round(
        self, export: SyncExport, path: Path, stored: Checkpoint | None
    ) -> tuple[int, datetime]:
        """Return the number and the end of the next round, or of one that was interrupted.

        Raises:
            ExportError: The checkpoint is that of something else.
        """
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        if stored is None:
            return 1, now
        match = _FILE.fullmatch(str(stored.fingerprint.get("path", "")))
        if match is None or match["name"] != export.name or stored.delivered is None:
            raise ExportError(
                f"{path} is not the state of the export {export.name} of a sync.",
                suggestion="Use another state folder.",
            )
        number = int(match["number"])
        if stored.phase == "done":
            return number + 1, now
        # The end that the interrupted round was given: with another, it would be another export.
        end = parse_clickhouse(str(stored.fingerprint["end"]))
        return number, datetime.fromtimestamp(end / 1_000_000, UTC)

    def _result(
        self,
        export: SyncExport,
        report: Report,
        started_at: float,
        number: int | None,
        until: str | None,
    ) -> Round:
        progress = self._progress[export.name]
        progress.failures = 0
        progress.rows_total += report.rows
        lag = None
        if until is not None:
            lag = self._clock.time() - parse_clickhouse(until) / 1_000_000
        return Round(
            export=export.name,
            status="ok",
            number=number,
            rows=report.rows,
            rows_total=progress.rows_total,
            bytes=report.bytes_written,
            requests=report.requests,
            waits=report.waits,
            seconds=self._clock.monotonic() - started_at,
            until=until,
            lag_seconds=lag,
        )


async def _write(
    job: ExportJob,
    export: SyncExport,
    target: str,
    *,
    checkpoint: Path | Literal[False],
    overwrite: bool = False,
) -> Report:
    options: dict[str, Any] = {
        "checkpoint": checkpoint,
        "overwrite": overwrite,
        "storage_options": export.storage_options,
    }
    if export.format == "jsonl":
        return await job.to_jsonl(target, **options)
    if export.format == "csv":
        return await job.to_csv(target, **options)
    return await job.to_parquet(target, **options)


def _make_folder(folder: Path) -> None:
    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _remove(target: str, export: SyncExport) -> None:
    """Remove the file of a round without rows. No later round needs it."""
    opened = StoreArguments(options=export.storage_options).open(target)
    path = opened if isinstance(opened, ObjectPath) else Path(opened)
    if isinstance(path, ObjectPath):
        path.unlink()
        return
    with translate_os_errors(path):
        path.unlink(missing_ok=True)
