"""Recipe: keep Parquet files of a data warehouse up to date, one run after another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from anyio import to_thread

from .figures import Bar, Bars, format_bytes, format_count
from .periods import Period, require_zone
from .result import RecipeResult

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog
    from asyncposthog.export.report import Report

__all__ = ["SyncedTable", "WarehouseSync", "warehouse_sync"]


@dataclass(frozen=True, slots=True)
class SyncedTable:
    """What a run wrote of one table."""

    table: str
    """`events` or `persons`."""
    path: str
    """The folder of the run's events, or the file of all persons."""
    rows: int
    late_rows: int
    """Rows that arrived while the run was reading."""
    skipped_rows: int
    """Rows of the overlap that an earlier run has written."""
    files: int
    bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class WarehouseSync(RecipeResult[SyncedTable]):
    """The tables that a run wrote."""

    row_type: ClassVar[type] = SyncedTable
    folder: Path

    def figure(self) -> Bars:
        """Return bars with the rows of each table."""
        bars = [
            Bar(row.table, row.rows, f"{format_count(row.rows, 'row')}, {format_bytes(row.bytes)}")
            for row in self.rows
        ]
        empty = not any(row.rows for row in self.rows)
        return Bars(
            title="Rows written to the warehouse",
            subtitle=f"{self.period}, to {self.folder.name}/",
            empty=f"No rows from {self.period}" if empty else "",
            labels_title="Table",
            values_title="Rows",
            bars=() if empty else tuple(bars),
        )


async def warehouse_sync(
    ph: AsyncPostHog,
    folder: str | os.PathLike[str],
    *,
    start: datetime,
    end: datetime | None = None,
    events: Sequence[str] | None = None,
    persons: bool = True,
    overlap: timedelta = timedelta(hours=6),
) -> WarehouseSync:
    """Write the events since the last run, and all persons, as Parquet files.

    Make the same call again and again, each time with a later `end`, such as every night. The first
    run reads from `start`, each later one from where the last one ended. Every event that arrives
    within the overlap is in exactly one run's folder, `FOLDER/events/until=2026-01-31T00-00-00Z/`.
    Persons change, so `FOLDER/persons.parquet` is replaced by each run. An interrupted run is
    resumed by the same call. The progress is in `FOLDER/events.state`.

    Extra: `parquet`.

    Args:
        ph: The client; its key needs the scope `query:read`.
        folder: The folder, which is created if it is missing.
        start: The start of the first run, with a time zone; the same for all runs.
        end: The end of this run, with a time zone; None: now, which an interrupted run cannot be
            resumed with.
        events: Names of events; None: all. The same for all runs.
        persons: Whether to write the persons as well.
        overlap: How late events may arrive. The same for all runs.

    Raises:
        ExportError: A file cannot be written, or the folder belongs to other settings.
        ImportError: The extra is not installed.
        PostHogError: A query failed. The same call resumes the run.
        ValueError: An argument is invalid. Nothing was sent.
    """
    stop = datetime.now(UTC) if end is None else require_zone("end", end)
    period = Period(require_zone("start", start), stop)
    target = Path(folder)
    await to_thread.run_sync(lambda: (target / "events").mkdir(parents=True, exist_ok=True))
    job = ph.export.events(start, stop, event=events, overlap=overlap)
    run_folder = target / "events" / f"until={stop.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}"
    report = await job.to_parquet(run_folder, checkpoint=target / "events.state")
    rows = [_row("events", run_folder, report)]
    if persons:
        path = target / "persons.parquet"
        report = await ph.export.persons().to_parquet(path, overwrite=True)
        rows.append(_row("persons", path, report))
    return WarehouseSync(rows=tuple(rows), period=period, folder=target)


def _row(table: str, path: Path, report: Report) -> SyncedTable:
    return SyncedTable(
        table=table,
        path=str(path),
        rows=report.rows,
        late_rows=report.late,
        skipped_rows=report.duplicates_skipped,
        files=len(report.files),
        bytes=report.bytes_written,
        seconds=report.duration,
    )
