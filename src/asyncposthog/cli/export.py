"""`export`: the common course of its commands, from the options to the report."""

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
    """What every export command takes."""

    label: str
    """For people: `events`."""
    out: str | None = None
    """As it was typed: a slash at its end means a folder."""
    format: ExportFormat = "auto"
    checkpoint: Path | None = None
    overwrite: bool = False
    resume: bool = False
    dry_run: bool = False
    progress: ProgressFormat = "auto"

    @property
    def form(self) -> FileFormat:
        """How rows are written; a folder gets Parquet, and stdout JSON lines.

        Raises:
            UsageProblem: Format and output do not go together, or say nothing.
        """
        out, form = self.out, self.format
        if out is None:
            if form == "parquet":
                raise UsageError(
                    "Parquet cannot be written to stdout.",
                    "Give --out FILE.parquet or --out FOLDER.",
                )
            return "jsonl" if form == "auto" else form
        if form != "auto":
            return form
        named = format_from_name(out)
        if named is None and Path(out).suffix and not out.endswith(("/", os.sep)):
            _read_target(out, "jsonl")  # it says which formats and compressions are not written
            raise UsageError(
                f"{out}: the name says no format.", "Give --format, or add a slash for a folder."
            )
        return named or "parquet"

    @property
    def target(self) -> Target | None:
        """Where it goes; None: to stdout.

        Raises:
            UsageProblem: Format and output do not go together.
        """
        return None if self.out is None else _read_target(self.out, self.form)

    @property
    def checkpoint_path(self) -> Path | None:
        """Where it is kept how far the export is."""
        target = self.target
        if self.checkpoint is not None or target is None:
            return self.checkpoint
        return default_path(target.path, "parquet" if target.is_folder else "jsonl")

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            UsageProblem: Nothing was sent.
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
                    f"Make the folder, or give another {option}.",
                )
        if self.out is None and self.overwrite:
            raise UsageError("--overwrite is for a file or a folder.", "Give --out.")
        if self.out is None and (checkpoint_path or self.resume) and not self.dry_run:
            raise UsageError("What goes to stdout cannot be resumed.", "Give --out.")
        if self.resume and checkpoint_path is not None and not checkpoint_path.exists():
            raise UsageError(
                f"There is nothing to resume: no checkpoint {checkpoint_path}.",
                "Leave --resume out to begin, or name the checkpoint with --checkpoint.",
            )


def _read_target(out: str, form: FileFormat) -> Target:
    try:
        return parse_target(out, form)
    except ValueError as error:
        raise UsageError(f"--out {error}.") from None


async def run_export(
    options: ExportOptions,
    make: Callable[[AsyncPostHog], ExportJob],
    cursor: Callable[[AsyncPostHog], Cursor[Any]] | None = None,
) -> int:
    """Export, or tell what an export would cost; return the exit status.

    Args:
        order: What is to be done.
        make: Makes the export.
        cursor: Makes the list that is exported, where it is one.
    """
    form = options.form
    options.check()
    async with session.make_client() as client:
        job = make(client)
        if options.dry_run:
            await (_estimate(job, client) if cursor is None else _estimate_list(cursor(client)))
            return exit_codes.OK
        with _resumable(options):
            report = await _run(options, form, job, client)
    _print_report(options, report)
    return exit_codes.OK


async def _run(options: ExportOptions, form: str, job: ExportJob, client: AsyncPostHog) -> Report:
    checkpoint_path = options.checkpoint_path
    if checkpoint_path is not None and checkpoint_path.exists() and sys.stderr.isatty():
        print_status(f"Going on from {checkpoint_path}.")
    progress = options.progress
    if progress == "auto" and options.out is None and is_tty():
        progress = "none"  # the rows are what moves
    with show_progress(progress, options.label, lambda: client.rate_limits) as parts:
        on_progress = cast("Any", parts)
        if options.out is None:
            return await job.to_callback(_Stdout(form), on_progress=on_progress)
        sink: Callable[..., Awaitable[Report]] = getattr(job, f"to_{form}")
        return await sink(
            options.out,
            checkpoint=options.checkpoint,
            overwrite=options.overwrite,
            on_progress=on_progress,
        )


class _Stdout:
    """Writes batches to stdout."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._has_header = False

    def __call__(self, batch: Batch) -> None:
        if self._form == "jsonl":
            write(json_lines(batch))
        else:
            if not self._has_header:
                write(csv_header(batch.columns))
            write(csv_lines(batch))
        self._has_header = True


@contextmanager
def _resumable(options: ExportOptions) -> Generator[None]:
    """Have the program say how to go on after an export that broke off."""
    mtime_before = _mtime(options.checkpoint_path)
    try:
        yield
    except BaseException as error:
        mtime_now = _mtime(options.checkpoint_path)
        # An error about the checkpoint itself knows better what to do.
        if mtime_now is not None and (
            mtime_now != mtime_before or not isinstance(error, ExportError)
        ):
            session.resume_hint = ("What was written is safe. To go on:", f"  {_resume_command()}")
        raise


def _mtime(checkpoint_path: Path | None) -> int | None:
    return (
        checkpoint_path.stat().st_mtime_ns
        if checkpoint_path is not None and checkpoint_path.exists()
        else None
    )


def _resume_command() -> str:
    """Return the command that goes on."""
    arguments = session.arguments
    extra = () if "--resume" in arguments else ("--resume",)
    return shlex.join(("asyncposthog", *arguments, *extra))


def _print_report(options: ExportOptions, report: Report) -> None:
    """Tell people in a line, programs in JSON; nobody where the rows themselves went to stdout."""
    if options.out is not None and not is_tty():
        write(to_text(asdict(report)) + "\n")
    if not sys.stderr.isatty():
        return
    rate = report.rows / report.duration if report.duration else 0
    speed = "" if report.resumed else f" ({rate:,.0f} rows/s)"
    parts = [f"{pluralize(report.rows, 'row')} in {duration(report.duration)}{speed}"]
    if options.out is not None:
        files = f"{pluralize(len(report.files), 'file')}, " if len(report.files) != 1 else ""
        parts.append(f"{files}{_size(report.bytes_written)}")
    parts.append(pluralize(report.requests, "request") + (", resumed" if report.resumed else ""))
    where = "" if options.out is None else f"{Path(options.out)}: "
    print_status(f"{where}{'; '.join(parts)}.", style="green")
    for line in report.notes:
        print_status(line)


def _size(size: float) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:,.0f} {units[0]}" if units[0] == "bytes" else f"{size:,.1f} {units[0]}"


async def _estimate_list(cursor: Cursor[Any]) -> None:
    """Print how many objects a list has, and its cost. It takes one request, for the first page."""
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
    estimate = (
        "an unknown number of requests" if requests is None else pluralize(requests, "request")
    )
    print_status(f"{rows}, {size:,} a page: {estimate}.")
    print_status("Nothing was exported; the first page was read.")


async def _estimate(job: ExportJob, client: AsyncPostHog) -> None:
    """Print the plan of an export and its cost. It takes one query or a few."""
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
        ["from", "to", "rows, about"],
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
                f"{name} has {bucket.remaining:,} left: it takes {duration(waits)} at least."
            )
    print_status("Nothing was exported; the rows were only counted.")
