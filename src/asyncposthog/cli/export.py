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
from asyncposthog.export.targets import Form, Target, form_of_name, read_target

from . import exit_codes
from .error_messages import UsageProblem
from .progress import ProgressForm, duration, watch
from .session import session
from .terminal import counted, is_tty, note, table, to_text, write

if TYPE_CHECKING:
    from collections.abc import Generator

    from asyncposthog.export import Batch, ExportJob, Report
    from asyncposthog.pagination import Cursor

__all__ = ["ExportForm", "ExportOptions", "run_export"]

ExportForm: TypeAlias = Literal["auto", "jsonl", "csv", "parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What every export command takes."""

    what: str
    """For people: `events`."""
    out: str | None = None
    """As it was typed: a slash at its end means a folder."""
    format: ExportForm = "auto"
    checkpoint: Path | None = None
    overwrite: bool = False
    resume: bool = False
    dry_run: bool = False
    progress: ProgressForm = "auto"

    @property
    def form(self) -> Form:
        """How rows are written; a folder gets Parquet, and stdout JSON lines.

        Raises:
            UsageProblem: Format and output do not go together, or say nothing.
        """
        out, form = self.out, self.format
        if out is None:
            if form == "parquet":
                raise UsageProblem(
                    "Parquet cannot be written to stdout.",
                    "Give --out FILE.parquet or --out FOLDER.",
                )
            return "jsonl" if form == "auto" else form
        if form != "auto":
            return form
        named = form_of_name(out)
        if named is None and Path(out).suffix and not out.endswith(("/", os.sep)):
            _read_target(out, "jsonl")  # it says which formats and compressions are not written
            raise UsageProblem(
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
    def noted(self) -> Path | None:
        """Where it is kept how far the export is."""
        target = self.target
        if self.checkpoint is not None or target is None:
            return self.checkpoint
        return default_path(target.path, "parquet" if target.folder else "jsonl")

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            UsageProblem: Nothing was sent.
        """
        noted = self.noted
        target = self.target
        files = [] if target is None or target.folder else [("--out", target.path)]
        if self.checkpoint is not None:
            files.append(("--checkpoint", self.checkpoint))
        for option, path in files:
            if not path.parent.is_dir():
                raise UsageProblem(
                    f"{option} {path}: there is no folder {path.parent}.",
                    f"Make the folder, or give another {option}.",
                )
        if self.out is None and self.overwrite:
            raise UsageProblem("--overwrite is for a file or a folder.", "Give --out.")
        if self.out is None and (noted or self.resume) and not self.dry_run:
            raise UsageProblem("What goes to stdout cannot be resumed.", "Give --out.")
        if self.resume and noted is not None and not noted.exists():
            raise UsageProblem(
                f"There is nothing to resume: no checkpoint {noted}.",
                "Leave --resume out to begin, or name the checkpoint with --checkpoint.",
            )


def _read_target(out: str, form: Form) -> Target:
    try:
        return read_target(out, form)
    except ValueError as error:
        raise UsageProblem(f"--out {error}.") from None


async def run_export(
    order: ExportOptions,
    make: Callable[[AsyncPostHog], ExportJob],
    cursor: Callable[[AsyncPostHog], Cursor[Any]] | None = None,
) -> int:
    """Export, or tell what an export would cost; return the exit status.

    Args:
        order: What is to be done.
        make: Makes the export.
        cursor: Makes the list that is exported, where it is one.
    """
    form = order.form
    order.check()
    async with session.client() as client:
        job = make(client)
        if order.dry_run:
            await (_estimate(job, client) if cursor is None else _estimate_list(cursor(client)))
            return exit_codes.OK
        with _resumable(order):
            report = await _run(order, form, job, client)
    _print_report(order, report)
    return exit_codes.OK


async def _run(order: ExportOptions, form: str, job: ExportJob, client: AsyncPostHog) -> Report:
    noted = order.noted
    if noted is not None and noted.exists() and sys.stderr.isatty():
        note(f"Going on from {noted}.")
    progress = order.progress
    if progress == "auto" and order.out is None and is_tty():
        progress = "none"  # the rows are what moves
    with watch(progress, order.what, lambda: client.rate_limits) as told:
        on_progress = cast("Any", told)
        if order.out is None:
            return await job.to(_Stdout(form), on_progress=on_progress)
        sink: Callable[..., Awaitable[Report]] = getattr(job, f"to_{form}")
        return await sink(
            order.out,
            checkpoint=order.checkpoint,
            overwrite=order.overwrite,
            on_progress=on_progress,
        )


class _Stdout:
    """Writes batches to stdout."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._headed = False

    def __call__(self, batch: Batch) -> None:
        if self._form == "jsonl":
            write(json_lines(batch))
        else:
            if not self._headed:
                write(csv_header(batch.columns))
            write(csv_lines(batch))
        self._headed = True


@contextmanager
def _resumable(order: ExportOptions) -> Generator[None]:
    """Have the program say how to go on after an export that broke off."""
    before = _mtime(order.noted)
    try:
        yield
    except BaseException as error:
        now = _mtime(order.noted)
        # An error about the checkpoint itself knows better what to do.
        if now is not None and (now != before or not isinstance(error, ExportError)):
            session.resume_hint = ("What was written is safe. To go on:", f"  {_resume_command()}")
        raise


def _mtime(noted: Path | None) -> int | None:
    return noted.stat().st_mtime_ns if noted is not None and noted.exists() else None


def _resume_command() -> str:
    """Return the command that goes on."""
    arguments = session.arguments
    more = () if "--resume" in arguments else ("--resume",)
    return shlex.join(("asyncposthog", *arguments, *more))


def _print_report(order: ExportOptions, report: Report) -> None:
    """Tell people in a line, programs in JSON; nobody where the rows themselves went to stdout."""
    if order.out is not None and not is_tty():
        write(to_text(asdict(report)) + "\n")
    if not sys.stderr.isatty():
        return
    rate = report.rows / report.duration if report.duration else 0
    speed = "" if report.resumed else f" ({rate:,.0f} rows/s)"
    told = [f"{counted(report.rows, 'row')} in {duration(report.duration)}{speed}"]
    if order.out is not None:
        files = f"{counted(len(report.files), 'file')}, " if len(report.files) != 1 else ""
        told.append(f"{files}{_size(report.written)}")
    told.append(counted(report.requests, "request") + (", resumed" if report.resumed else ""))
    where = "" if order.out is None else f"{Path(order.out)}: "
    note(f"{where}{'; '.join(told)}.", style="green")
    for line in report.notes:
        note(line)


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
    rows = "An unknown number of objects" if count is None else counted(count, "object")
    cost = "an unknown number of requests" if requests is None else counted(requests, "request")
    note(f"{rows}, {size:,} a page: {cost}.")
    note("Nothing was exported; the first page was read.")


async def _estimate(job: ExportJob, client: AsyncPostHog) -> None:
    """Print the plan of an export and its cost. It takes one query or a few."""
    plan = await job.plan()
    parts: Sequence[Any] = list(plan)
    cost = {
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
        write(to_text({**cost, "plan": windows}) + "\n")
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
    windows, requests = counted(len(plan), "window"), counted(plan.requests, "request")
    note(f"{rows} rows in {windows}: about {requests}.")
    for name, bucket in client.rate_limits.buckets.items():
        if bucket.seconds > 0 and bucket.remaining < plan.requests:
            waits = -(-plan.requests // bucket.limit) * bucket.seconds
            note(f"{name} has {bucket.remaining:,} left: it takes {duration(waits)} at least.")
    note("Nothing was exported; the rows were only counted.")
