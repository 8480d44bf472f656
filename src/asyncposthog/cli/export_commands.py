"""The options of `export`'s commands. What they do is imported when they run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .completion import (
    complete_column,
    complete_export_column,
    complete_parameter,
    complete_resource,
)
from .runner import run_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncposthog import AsyncPostHog

__all__ = ["export"]

export = typer.Typer(
    name="export",
    no_args_is_help=True,
    help="Export any number of rows: exactly once, in constant memory, resumable.",
    rich_markup_mode=None,
)


class ExportFormatChoice(StrEnum):
    """How rows are written."""

    AUTO = "auto"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class ProgressFormatChoice(StrEnum):
    """How the progress is shown."""

    AUTO = "auto"
    BAR = "bar"
    JSON = "json"
    NONE = "none"


class EngineChoice(StrEnum):
    """What gets the rows."""

    AUTO = "auto"
    QUERY = "query"
    FILES = "files"


_TIMESTAMP: Final = "DAY|MOMENT"
From = Annotated[
    str,
    typer.Option(
        "--from", metavar=_TIMESTAMP, help="The first moment: 2026-01-31, or with a time."
    ),
]
To = Annotated[
    str, typer.Option("--to", metavar=_TIMESTAMP, help="The first moment that is not exported.")
]
OptionalFrom = Annotated[
    str | None, typer.Option("--from", metavar=_TIMESTAMP, help="Default: the beginning.")
]
OptionalTo = Annotated[str | None, typer.Option("--to", metavar=_TIMESTAMP, help="Default: now.")]
Where = Annotated[
    str | None, typer.Option("--where", metavar="HOGQL", help="A condition; {name} is a value.")
]
Values = Annotated[
    list[str] | None,
    typer.Option("--value", "-v", metavar="NAME[:TYPE]=VALUE", help="As of `query`."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        "-c",
        metavar="HOGQL",
        help="Export this; default: the usual ones.",
        autocompletion=complete_export_column,
    ),
]
MinAge = Annotated[
    float,
    typer.Option("--min-age", metavar="SECONDS", min=0, help="Leave out rows younger than that."),
]
Overlap = Annotated[
    float,
    typer.Option(
        "--overlap",
        metavar="SECONDS",
        min=0,
        help="With --checkpoint: a later export with a later --to goes on from there, reads so "
        "much again, and leaves out what was exported.",
    ),
]
Engine = Annotated[
    EngineChoice,
    typer.Option("--engine", help="query, or files: PostHog's own batch exports."),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "--output",
        "-o",
        metavar="FILE|FOLDER",
        help="Where to: x.jsonl, x.csv (also with .gz), x.parquet, or a folder. Default: stdout.",
    ),
]
FileFormat = Annotated[
    ExportFormatChoice,
    typer.Option("--format", help="auto: by the name; a folder gets Parquet, stdout JSON lines."),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what is there, once the export is complete."),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint", metavar="FILE", help="Keep here how far it is. Default: beside the output."
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that broke off.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and its cost in requests.")]
Progress = Annotated[
    ProgressFormatChoice,
    typer.Option("--progress", help="auto: a bar on a terminal, else nothing; json: on stderr."),
]


@export.command()
def events(
    start: From,
    end: To,
    event: Annotated[
        list[str] | None, typer.Option("--event", "-e", metavar="NAME", help="Only these.")
    ] = None,
    where: Where = None,
    value: Values = None,
    column: Columns = None,
    out: Out = None,
    format: FileFormat = ExportFormatChoice.AUTO,
    checkpoint: Checkpoint = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    dry_run: DryRun = False,
    progress: Progress = ProgressFormatChoice.AUTO,
    engine: Engine = EngineChoice.AUTO,
    min_age: MinAge = 0,
    overlap: Overlap = 0,
) -> None:
    """Export events by their timestamp."""

    def make(client: AsyncPostHog) -> Any:
        from .values import parse_timestamp, parse_values

        return client.export.events(
            parse_timestamp(start, "--from"),
            parse_timestamp(end, "--to"),
            event=event or None,
            where=where,
            columns=column or None,
            values=parse_values(value or ()),
            min_age=min_age,
            overlap=overlap,
            engine=_engine(engine),
        )

    _export("events", make, out, format, checkpoint, overwrite, resume, dry_run, progress)


@export.command()
def persons(
    start: OptionalFrom = None,
    end: OptionalTo = None,
    where: Where = None,
    value: Values = None,
    column: Columns = None,
    out: Out = None,
    format: FileFormat = ExportFormatChoice.AUTO,
    checkpoint: Checkpoint = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    dry_run: DryRun = False,
    progress: Progress = ProgressFormatChoice.AUTO,
    engine: Engine = EngineChoice.AUTO,
    min_age: MinAge = 0,
    overlap: Overlap = 0,
) -> None:
    """Export persons by when they were created."""

    def make(client: AsyncPostHog) -> Any:
        from .values import parse_timestamp, parse_values

        return client.export.persons(
            None if start is None else parse_timestamp(start, "--from"),
            None if end is None else parse_timestamp(end, "--to"),
            where=where,
            columns=column or None,
            values=parse_values(value or ()),
            min_age=min_age,
            overlap=overlap,
            engine=_engine(engine),
        )

    _export("persons", make, out, format, checkpoint, overwrite, resume, dry_run, progress)


@export.command()
def sessions(
    start: From,
    end: To,
    where: Where = None,
    value: Values = None,
    column: Columns = None,
    out: Out = None,
    format: FileFormat = ExportFormatChoice.AUTO,
    checkpoint: Checkpoint = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    dry_run: DryRun = False,
    progress: Progress = ProgressFormatChoice.AUTO,
    engine: Engine = EngineChoice.AUTO,
    min_age: MinAge = 0,
    overlap: Overlap = 0,
) -> None:
    """Export sessions by when they began."""

    def make(client: AsyncPostHog) -> Any:
        from .values import parse_timestamp, parse_values

        return client.export.sessions(
            parse_timestamp(start, "--from"),
            parse_timestamp(end, "--to"),
            where=where,
            columns=column or None,
            values=parse_values(value or ()),
            min_age=min_age,
            overlap=overlap,
            engine=_engine(engine),
        )

    _export("sessions", make, out, format, checkpoint, overwrite, resume, dry_run, progress)


@export.command()
def groups(
    start: OptionalFrom = None,
    end: OptionalTo = None,
    where: Where = None,
    value: Values = None,
    column: Columns = None,
    out: Out = None,
    format: FileFormat = ExportFormatChoice.AUTO,
    checkpoint: Checkpoint = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    dry_run: DryRun = False,
    progress: Progress = ProgressFormatChoice.AUTO,
) -> None:
    """Export groups of all types by when they were created."""

    def make(client: AsyncPostHog) -> Any:
        from .values import parse_timestamp, parse_values

        return client.export.groups(
            None if start is None else parse_timestamp(start, "--from"),
            None if end is None else parse_timestamp(end, "--to"),
            where=where,
            columns=column or None,
            values=parse_values(value or ()),
        )

    _export("groups", make, out, format, checkpoint, overwrite, resume, dry_run, progress)


@export.command()
def hogql(
    sql: Annotated[str, typer.Argument(metavar="SQL|@FILE|-", help="A SELECT without LIMIT.")],
    key: Annotated[
        list[str],
        typer.Option(
            "--key", "-k", metavar="COLUMN", help="A unique column; or twice: a time, then that."
        ),
    ],
    start: OptionalFrom = None,
    end: OptionalTo = None,
    value: Values = None,
    out: Out = None,
    format: FileFormat = ExportFormatChoice.AUTO,
    checkpoint: Checkpoint = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    dry_run: DryRun = False,
    progress: Progress = ProgressFormatChoice.AUTO,
) -> None:
    """Export all rows of a HogQL query that has a key."""

    def make(client: AsyncPostHog) -> Any:
        from .query import read_query_text
        from .values import parse_timestamp, parse_values

        pair: Any = key[0] if len(key) == 1 else tuple(key)
        return client.export.hogql(
            read_query_text(sql),
            key=pair,
            start=None if start is None else parse_timestamp(start, "--from"),
            end=None if end is None else parse_timestamp(end, "--to"),
            values=parse_values(value or ()),
        )

    _export("rows", make, out, format, checkpoint, overwrite, resume, dry_run, progress)


@export.command("list")
def list_(
    resource: Annotated[
        str,
        typer.Argument(
            help="As in `asyncposthog resources`: cohorts, …", autocompletion=complete_resource
        ),
    ],
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, where the path takes any.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME=VALUE",
            help="Query parameter.",
            autocompletion=complete_parameter,
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            "-c",
            metavar="NAME[,NAME]",
            help="Export only these fields. May be repeated.",
            autocompletion=complete_column,
        ),
    ] = None,
    out: Out = None,
    format: FileFormat = ExportFormatChoice.AUTO,
    checkpoint: Checkpoint = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    dry_run: DryRun = False,
    progress: Progress = ProgressFormatChoice.AUTO,
) -> None:
    """Export all objects of a resource."""

    def cursor(client: AsyncPostHog) -> Any:
        from .operations import bind_arguments, client_method, find_operation, parse_pairs

        operation = find_operation(resource, "list")
        method = client_method(client, operation)
        path, keywords = bind_arguments(
            operation, method, ids or (), params=parse_pairs(param or (), "--param")
        )
        return method(*path, **keywords)

    def make(client: AsyncPostHog) -> Any:
        from .columns import check_columns, split_columns
        from .operations import find_operation

        columns = split_columns(column or ())
        check_columns(find_operation(resource, "list"), columns)
        return client.export.list(cursor(client), columns=columns or None)

    _export(resource, make, out, format, checkpoint, overwrite, resume, dry_run, progress, cursor)


def _engine(engine: EngineChoice) -> Any:
    return engine.value


def _export(
    label: str,
    make: Callable[[AsyncPostHog], Any],
    out: str | None,
    format: ExportFormatChoice,
    checkpoint: Path | None,
    overwrite: bool,
    resume: bool,
    dry_run: bool,
    progress: ProgressFormatChoice,
    cursor: Callable[[AsyncPostHog], Any] | None = None,
) -> None:
    async def work() -> int:
        from .export import ExportOptions, run_export

        options = ExportOptions(
            label=label,
            out=out,
            format=format.value,
            checkpoint=checkpoint,
            overwrite=overwrite,
            resume=resume,
            dry_run=dry_run,
            progress=progress.value,
        )
        return await run_export(options, make, cursor)

    run_async(work)
