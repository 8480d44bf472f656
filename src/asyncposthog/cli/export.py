"""`export`: run an export with the options of a command, and print its report."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from asyncposthog import AsyncPostHog
from asyncposthog.errors import ExportError
from asyncposthog.export.checkpoint import default_path
from asyncposthog.export.encode import csv_header, csv_lines, json_lines
from asyncposthog.export.targets import FileFormat, Target, format_from_name, parse_target

from . import exit_codes
from .error_messages import UsageError
from .progress import ProgressFormat, duration, show_progress
from .session import session
from .terminal import is_tty, pluralize, print_status, table, to_text, write

if TYPE_CHECKING:
    from collections.abc import Generator

    from asyncposthog.export import Batch, ExportJob, Report
    from asyncposthog.pagination import Cursor

__all__ = ["ExportFormat", "ExportOptions", "run_export"]

ExportFormat: TypeAlias = Literal["auto", "jsonl", "csv", "parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Options of all `export` commands."""

    label: str
    """What is exported, for messages: `events`."""
    out: str | None = None
    """The output as it was typed: a trailing slash means a folder. None: stdout."""
    format: ExportFormat = "auto"
    checkpoint: Path | None = None
    overwrite: bool = False
    resume: bool = False
    dry_run: bool = False
    progress: ProgressFormat = "auto"

    @property
    def output_format(self) -> FileFormat:
        """Format to write; by default Parquet for a folder and JSON lines for stdout.

        Raises:
            UsageError: Format and output contradict each other, or imply no format.
        """
        out, requested = self.out, self.format
        if out is None:
            if requested == "parquet":
                raise UsageError(
                    "Parquet cannot be written to stdout.",
                    "Add --out FILE.parquet or --out FOLDER.",
                )
            return "jsonl" if requested == "auto" else requested
        if requested != "auto":
            return requested
        implied = format_from_name(out)
        if implied is None and Path(out).suffix and not out.endswith(("/", os.sep)):
            _parse_target(out, "jsonl")  # its errors name the unsupported formats
            raise UsageError(
                f"{out}: the name has no known format.",
                "Add --format, or a slash at the end for a folder.",
            )
        return implied or "parquet"

    @property
    def target(self) -> Target | None:
        """The file or folder to write; None: stdout.

        Raises:
            UsageError: Format and output contradict each other.
        """
        return None if self.out is None else _parse_target(self.out, self.output_format)

    @property
    def checkpoint_path(self) -> Path | None:
        """Path of the checkpoint; None: there is none."""
        target = self.target
        if self.checkpoint is not None or target is None:
            return self.checkpoint
        return default_path(target.path, "parquet" if target.is_folder else "jsonl")

    def check(self) -> None:
        """Check that the options are consistent, before anything is sent.

        Raises:
            UsageError: They are not.
        """
        checkpoint_path = self.checkpoint_path
        target = self.target
        files = [] if target is None or target.is_folder else [("--out", target.path)]
        if self.checkpoint is not None:
            files.append(("--checkpoint", self.checkpoint))
        for option, path in files:
            if not path.parent.is_dir():
                raise UsageError(
                    f"{option} {path}: there is no folder {path.parent}.",
                    f"Create the folder, or use another {option}.",
                )
        if self.out is None and self.overwrite:
            raise UsageError("--overwrite is for a file or a folder.", "Add --out.")
        if self.out is None and (checkpoint_path or self.resume) and not self.dry_run:
            raise UsageError("Output to stdout cannot be resumed.", "Add --out.")
        if self.resume and checkpoint_path is not None and not checkpoint_path.exists():
            raise UsageError(
                f"There is nothing to resume: no checkpoint {checkpoint_path}.",
                "Leave --resume out to start, or name the checkpoint with --checkpoint.",
            )


def _parse_target(out: str, output_format: FileFormat) -> Target:
    try:
        return parse_target(out, output_format)
    except ValueError as error:
        raise UsageError(f"--out {error}.") from None


async def run_export(
    options: ExportOptions,
    make: Callable[[AsyncPostHog], ExportJob],
    cursor: Callable[[AsyncPostHog], Cursor[Any]] | None = None,
) -> int:
    """Run an export, or estimate its cost; return the exit status.

    Args:
        options: The options of the command.
        make: Makes the export.
        cursor: Makes the cursor of the exported list; None: the export is not one of a list.
    """
    output_format = options.output_format
    options.check()
    async with session.make_client() as client:
        job = make(client)
        if options.dry_run:
            await (_estimate(job, client) if cursor is None else _estimate_list(cursor(client)))
            return exit_codes.OK
        with _resume_hint(options):
            report = await _run(options, output_format, job, client)
    _print_report(options, report)
    return exit_codes.OK


async def _run(
    options: ExportOptions, output_format: str, job: ExportJob, client: AsyncPostHog
) -> Report:
    checkpoint_path = options.checkpoint_path
    if checkpoint_path is not None and checkpoint_path.exists() and sys.stderr.isatty():
        print_status(f"Resuming from {checkpoint_path}.")
    progress = options.progress
    if progress == "auto" and options.out is None and is_tty():
        # A bar would be drawn between the rows, which show the progress themselves.
        progress = "none"
    with show_progress(progress, options.label, lambda: client.rate_limits) as display:
        on_progress = cast("Any", display)
        if options.out is None:
            return await job.to_callback(_Stdout(output_format), on_progress=on_progress)
        sink: Callable[..., Awaitable[Report]] = getattr(job, f"to_{output_format}")
        return await sink(
            options.out,
            checkpoint=options.checkpoint,
            overwrite=options.overwrite,
            on_progress=on_progress,
        )


class _Stdout:
    """Writer of batches to stdout."""

    def __init__(self, output_format: str) -> None:
        self._format = output_format
        self._has_header = False

    def __call__(self, batch: Batch) -> None:
        if self._format == "jsonl":
            write(json_lines(batch))
        else:
            if not self._has_header:
                write(csv_header(batch.columns))
            write(csv_lines(batch))
        self._has_header = True


@contextmanager
def _resume_hint(options: ExportOptions) -> Generator[None]:
    """Have the program print how to resume, if the block is interrupted and left a checkpoint."""
    mtime_before = _mtime(options.checkpoint_path)
    try:
        yield
    except BaseException as error:
        mtime = _mtime(options.checkpoint_path)
        # An ExportError that left the checkpoint unchanged is about the checkpoint or the target,
        # and has a suggestion of its own.
        if mtime is not None and (mtime != mtime_before or not isinstance(error, ExportError)):
            session.resume_hint = (
                "The written rows are saved. To resume:",
                f"  {_resume_command()}",
            )
        raise


def _mtime(path: Path | None) -> int | None:
    return path.stat().st_mtime_ns if path is not None and path.exists() else None


def _resume_command() -> str:
    """Return the command that resumes the export."""
    arguments = session.arguments
    extra = () if "--resume" in arguments else ("--resume",)
    return shlex.join(("asyncposthog", *arguments, *extra))


def _print_report(options: ExportOptions, report: Report) -> None:
    """Print the report: a line on a terminal, and JSON if stdout is redirected.

    No JSON is printed if stdout has the rows.
    """
    if options.out is not None and not is_tty():
        write(to_text(asdict(report)) + "\n")
    if not sys.stderr.isatty():
        return
    # The duration is that of this run, and the rows include those of earlier ones.
    rate = report.rows / report.duration if report.duration else 0
    speed = "" if report.resumed else f" ({rate:,.0f} rows/s)"
    parts = [f"{pluralize(report.rows, 'row')} in {duration(report.duration)}{speed}"]
    if options.out is not None:
        files = f"{pluralize(len(report.files), 'file')}, " if len(report.files) != 1 else ""
        parts.append(f"{files}{_size(report.bytes_written)}")
    parts.append(pluralize(report.requests, "request") + (", resumed" if report.resumed else ""))
    prefix = "" if options.out is None else f"{Path(options.out)}: "
    print_status(f"{prefix}{'; '.join(parts)}.", style="green")
    for line in report.notes:
        print_status(line)


def _size(size: float) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:,.0f} {units[0]}" if units[0] == "bytes" else f"{size:,.1f} {units[0]}"


async def _estimate_list(cursor: Cursor[Any]) -> None:
    """Print the number of objects of a list and the cost. This requests the first page."""
    page = await cursor
    size = len(page.items)
    count = page.count if page.has_next else size
    requests = 1 if not page.has_next else None
    if requests is None and count is not None and size:
        requests = -(-count // size)
    if not is_tty():
        write(to_text({"rows": count, "page": size, "requests": requests}) + "\n")
        return
    rows = "An unknown number of objects" if count is None else pluralize(count, "object")
    cost = "an unknown number of requests" if requests is None else pluralize(requests, "request")
    print_status(f"{rows}, {size:,} per page: {cost}.")
    print_status("Nothing was exported; the first page was read.")


async def _estimate(job: ExportJob, client: AsyncPostHog) -> None:
    """Print the plan of an export and its cost. This sends one query or a few."""
    plan = await job.plan()
    parts: Sequence[Any] = list(plan)
    estimate = {
        "rows": plan.rows,
        "windows": len(plan),
        "requests": plan.requests,
        "budget": {
            name: {"limit": bucket.limit, "seconds": bucket.seconds, "remaining": bucket.remaining}
            for name, bucket in client.rate_limits.buckets.items()
            if bucket.seconds > 0
        },
    }
    if not is_tty():
        windows = [
            {"from": p.start, "to": p.end, "rows": p.rows, "requests": p.requests} for p in parts
        ]
        write(to_text({**estimate, "plan": windows}) + "\n")
        return
    table(
        ["from", "to", "rows (estimate)"],
        (
            (f"{p.start:%Y-%m-%d %H:%M:%S}", f"{p.end:%Y-%m-%d %H:%M:%S}",
             "" if p.rows is None else f"{p.rows:,}")
            for p in parts
        ),
    )  # fmt: skip
    rows = "An unknown number of" if plan.rows is None else f"About {plan.rows:,}"
    windows, requests = pluralize(len(plan), "window"), pluralize(plan.requests, "request")
    print_status(f"{rows} rows in {windows}: about {requests}.")
    for name, bucket in client.rate_limits.buckets.items():
        if bucket.seconds > 0 and bucket.remaining < plan.requests:
            waits = -(-plan.requests // bucket.limit) * bucket.seconds
            print_status(
                f"{name} has {bucket.remaining:,} left: this takes at least {duration(waits)}."
            )
    print_status("Nothing was exported; the rows were only counted.")
