"""The `export` commands and their options. What they do is imported when they run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .completion import complete_column, complete_export_column
from .options import Ids, Param, Resource, expand_groups
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
    """Format of exported rows."""

    AUTO = "auto"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class ProgressFormatChoice(StrEnum):
    """Form of the progress display."""

    AUTO = "auto"
    BAR = "bar"
    JSON = "json"
    NONE = "none"


class EngineChoice(StrEnum):
    """Engine that reads the rows."""

    AUTO = "auto"
    QUERY = "query"
    FILES = "files"


_TIMESTAMP: Final = "DATE|TIMESTAMP"
From = Annotated[
    str,
    typer.Option("--from", metavar=_TIMESTAMP, help="Start: 2026-01-31, or with a time."),
]
To = Annotated[str, typer.Option("--to", metavar=_TIMESTAMP, help="End, exclusive.")]
OptionalFrom = Annotated[
    str | None, typer.Option("--from", metavar=_TIMESTAMP, help="Start. Default: the beginning.")
]
OptionalTo = Annotated[
    str | None, typer.Option("--to", metavar=_TIMESTAMP, help="End, exclusive. Default: now.")
]
Values = Annotated[
    list[str] | None,
    typer.Option(
        "--value", "-v", metavar="NAME[:TYPE]=VALUE", help="Value of {NAME}, as in `query`."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """Options of the commands that export the rows of a table."""

    where: Annotated[
        str | None,
        typer.Option("--where", metavar="HOGQL", help="A condition; {name} is a value."),
    ] = None
    value: Values = None
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            "-c",
            metavar="HOGQL",
            help="Export this expression; default: the usual columns.",
            autocompletion=complete_export_column,
        ),
    ] = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The options as arguments of a method of `ph.export`."""
        from .values import parse_values

        return {
            "where": self.where,
            "columns": self.column or None,
            "values": parse_values(self.value or ()),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Options of all `export` commands."""

    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="Output: x.jsonl, x.csv (also with .gz), x.parquet, or a folder. Default: stdout.",
        ),
    ] = None
    format: Annotated[
        ExportFormatChoice,
        typer.Option(
            "--format", help="auto: by the name; Parquet for a folder, JSON lines for stdout."
        ),
    ] = ExportFormatChoice.AUTO
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", metavar="FILE", help="Checkpoint. Default: beside the output."
        ),
    ] = None
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace existing output when the export is complete."),
    ] = False
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its cost in requests.")
    ] = False
    progress: Annotated[
        ProgressFormatChoice,
        typer.Option("--progress", help="auto: a bar on a terminal, else none; json: on stderr."),
    ] = ProgressFormatChoice.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options of the commands that export a time range of a table."""

    engine: Annotated[
        EngineChoice,
        typer.Option("--engine", help="query, or files: PostHog's own batch exports."),
    ] = EngineChoice.AUTO
    min_age: Annotated[
        float,
        typer.Option(
            "--min-age", metavar="SECONDS", min=0, help="Leave out rows younger than this."
        ),
    ] = 0
    overlap: Annotated[
        float,
        typer.Option(
            "--overlap",
            metavar="SECONDS",
            min=0,
            help="With --checkpoint: a later export with a later --to continues from there, reads "
            "this much again, and leaves out what was exported.",
        ),
    ] = 0

    @property
    def arguments(self) -> dict[str, Any]:
        """The options as arguments of a method of `ph.export`."""
        return {"engine": self.engine.value, "min_age": self.min_age, "overlap": self.overlap}


@export.command()
@expand_groups
def events(
    start: From,
    end: To,
    event: Annotated[
        list[str] | None,
        typer.Option("--event", "-e", metavar="NAME", help="Only this event. May be repeated."),
    ] = None,
    *,
    rows: RowOptions,
    output: OutputOptions,
    engine: EngineOptions,
) -> None:
    """Export events by their timestamp."""

    def make(client: AsyncPostHog) -> Any:
        from .values import parse_timestamp

        return client.export.events(
            parse_timestamp(start, "--from"),
            parse_timestamp(end, "--to"),
            event=event or None,
            **rows.arguments,
            **engine.arguments,
        )

    _export("events", make, output)


@export.command()
@expand_groups
def persons(
    start: OptionalFrom = None,
    end: OptionalTo = None,
    *,
    rows: RowOptions,
    output: OutputOptions,
    engine: EngineOptions,
) -> None:
    """Export persons by their creation time."""

    def make(client: AsyncPostHog) -> Any:
        return client.export.persons(*_range(start, end), **rows.arguments, **engine.arguments)

    _export("persons", make, output)


@export.command()
@expand_groups
def sessions(
    start: From,
    end: To,
    *,
    rows: RowOptions,
    output: OutputOptions,
    engine: EngineOptions,
) -> None:
    """Export sessions by their start time."""

    def make(client: AsyncPostHog) -> Any:
        from .values import parse_timestamp

        return client.export.sessions(
            parse_timestamp(start, "--from"),
            parse_timestamp(end, "--to"),
            **rows.arguments,
            **engine.arguments,
        )

    _export("sessions", make, output)


@export.command()
@expand_groups
def groups(
    start: OptionalFrom = None,
    end: OptionalTo = None,
    *,
    rows: RowOptions,
    output: OutputOptions,
) -> None:
    """Export groups of all types by their creation time."""

    def make(client: AsyncPostHog) -> Any:
        return client.export.groups(*_range(start, end), **rows.arguments)

    _export("groups", make, output)


@export.command()
@expand_groups
def hogql(
    sql: Annotated[str, typer.Argument(metavar="SQL|@FILE|-", help="A SELECT without LIMIT.")],
    key: Annotated[
        list[str],
        typer.Option(
            "--key", "-k", metavar="COLUMN", help="A unique column; or twice: a time, then a key."
        ),
    ],
    start: OptionalFrom = None,
    end: OptionalTo = None,
    value: Values = None,
    *,
    output: OutputOptions,
) -> None:
    """Export all rows of a HogQL query that has a key."""

    def make(client: AsyncPostHog) -> Any:
        from .query import read_query_text
        from .values import parse_values

        pair: Any = key[0] if len(key) == 1 else tuple(key)
        first, last = _range(start, end)
        return client.export.hogql(
            read_query_text(sql),
            key=pair,
            start=first,
            end=last,
            values=parse_values(value or ()),
        )

    _export("rows", make, output)


@export.command("list")
@expand_groups
def list_(
    resource: Resource,
    ids: Ids = None,
    param: Param = None,
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
    *,
    output: OutputOptions,
) -> None:
    """Export all objects of a resource."""

    def cursor(client: AsyncPostHog) -> Any:
        from .operations import bind_arguments, client_method, find_operation, parse_pairs

        operation = find_operation(resource, "list")
        method = client_method(client, operation)
        params = parse_pairs(param or (), "--param")
        path, keywords = bind_arguments(operation, method, ids or (), params=params)
        return method(*path, **keywords)

    def make(client: AsyncPostHog) -> Any:
        from .columns import check_columns, split_columns
        from .operations import find_operation

        columns = split_columns(column or ())
        check_columns(find_operation(resource, "list"), columns)
        return client.export.list(cursor(client), columns=columns or None)

    _export(resource, make, output, cursor)


def _range(start: str | None, end: str | None) -> tuple[Any, Any]:
    """Return the times that `--from` and `--to` mean; None if they were not given."""
    from .values import parse_timestamp

    return (
        None if start is None else parse_timestamp(start, "--from"),
        None if end is None else parse_timestamp(end, "--to"),
    )


def _export(
    label: str,
    make: Callable[[AsyncPostHog], Any],
    output: OutputOptions,
    cursor: Callable[[AsyncPostHog], Any] | None = None,
) -> None:
    async def work() -> int:
        from .export import ExportOptions, run_export

        options = ExportOptions(
            label=label,
            out=output.out,
            format=output.format.value,
            checkpoint=output.checkpoint,
            overwrite=output.overwrite,
            resume=output.resume,
            dry_run=output.dry_run,
            progress=output.progress.value,
        )
        return await run_export(options, make, cursor)

    run_async(work)
