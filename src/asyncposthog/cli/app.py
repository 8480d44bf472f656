"""The commands and their options. What they do is imported when they run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from asyncposthog._version import __version__

from .completion import (
    complete_column,
    complete_field,
    complete_known_resource,
    complete_operation,
    complete_operations,
)
from .export_commands import export
from .flag_commands import flags
from .options import Ids, Param, Resource
from .recipe_commands import recipes, report
from .runner import run_async, run_command
from .session import session

__all__ = ["COMMAND_OPTIONS", "app"]

COMMAND_OPTIONS: Final = {"emulator": frozenset({"--host"})}
"""Options of single commands that have the name of a global option."""

app = typer.Typer(
    name="asyncposthog",
    no_args_is_help=True,
    add_completion=True,
    # Typer's own tracebacks can show local variables, and with them the API key.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class ObjectFormatChoice(StrEnum):
    """Format of objects."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class RowFormatChoice(StrEnum):
    """Format of the rows of a query."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class ImportFormatChoice(StrEnum):
    """Format of events to import."""

    AUTO = "auto"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class QueryModeChoice(StrEnum):
    """How to wait for a query."""

    AUTO = "auto"
    BLOCKING = "blocking"
    ASYNC = "async"


class RegionChoice(StrEnum):
    """Region of PostHog Cloud."""

    US = "us"
    EU = "eu"


Field = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        "-f",
        metavar="NAME=VALUE",
        help="Field of the body; JSON unless the schema wants text; a file as NAME=@PATH.",
        autocompletion=complete_field,
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", "-d", metavar="JSON|@FILE|-", help="The body; - reads stdin."),
]
Format = Annotated[
    ObjectFormatChoice,
    typer.Option("--format", help="auto: a table on a terminal, JSON otherwise."),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        "-c",
        metavar="NAME[,NAME]",
        help="Show only these fields; a.b is a nested field. May be repeated.",
        autocompletion=complete_column,
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, help="Maximum number of objects.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the request; send nothing.")]


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"asyncposthog {__version__}")
        raise typer.Exit


@app.callback()
def common(
    project: Annotated[
        int | None, typer.Option("--project", metavar="NUMBER", help="Default: POSTHOG_PROJECT_ID.")
    ] = None,
    region: Annotated[
        RegionChoice | None, typer.Option("--region", help="Region of PostHog Cloud.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="URL", help="Default: POSTHOG_HOST, or us.")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log every request; show tracebacks.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """PostHog's private API on the command line.

    The key is read from POSTHOG_PERSONAL_API_KEY or a prompt; it is never an argument. Data is
    written to stdout, everything else to stderr. Exit status: 0 success, 1 error, 2 wrong usage,
    3 interrupted and resumable, 4 no key or no permission, 130 Ctrl-C.
    """
    # Typer passes these to this callback only, so the commands read them from the session.
    session.project, session.region, session.host = project, region, host
    session.debug = debug


@app.command()
def resources(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show the operations of this resource.", autocompletion=complete_known_resource
        ),
    ] = None,
    format: Format = ObjectFormatChoice.AUTO,
) -> None:
    """List every resource and its methods."""

    def show() -> None:
        from .objects import show_resources

        show_resources(name, format.value)

    run_command(show)


def _call(
    resource: str,
    action: str,
    ids: list[str] | None,
    param: list[str] | None = None,
    field: list[str] | None = None,
    data: str | None = None,
    format: ObjectFormatChoice = ObjectFormatChoice.AUTO,
    column: list[str] | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    assume_yes: bool | None = None,
) -> None:
    async def work() -> None:
        from .objects import OperationRequest, call_operation, delete_object

        request = OperationRequest(
            resource=resource,
            action=action,
            ids=ids or (),
            params=param or (),
            fields=field or (),
            data=data,
            format=format.value,
            columns=column or (),
            limit=limit,
            dry_run=dry_run,
        )
        await (
            call_operation(request)
            if assume_yes is None
            else delete_object(request, assume_yes=assume_yes)
        )

    run_async(work)


@app.command("list")
def list_(
    resource: Resource,
    ids: Ids = None,
    param: Param = None,
    limit: Limit = None,
    column: Column = None,
    format: Format = ObjectFormatChoice.AUTO,
) -> None:
    """List the objects of a resource, page after page."""
    _call(resource, "list", ids, param, format=format, column=column, limit=limit)


@app.command()
def get(
    resource: Resource,
    ids: Ids = None,
    param: Param = None,
    column: Column = None,
    format: Format = ObjectFormatChoice.AUTO,
) -> None:
    """Get one object."""
    _call(resource, "get", ids, param, format=format, column=column)


@app.command()
def create(
    resource: Resource,
    ids: Ids = None,
    field: Field = None,
    data: Data = None,
    param: Param = None,
    column: Column = None,
    format: Format = ObjectFormatChoice.AUTO,
    dry_run: DryRun = False,
) -> None:
    """Create an object."""
    _call(resource, "create", ids, param, field, data, format, column, dry_run=dry_run)


@app.command()
def update(
    resource: Resource,
    ids: Ids = None,
    field: Field = None,
    data: Data = None,
    param: Param = None,
    column: Column = None,
    format: Format = ObjectFormatChoice.AUTO,
    dry_run: DryRun = False,
) -> None:
    """Change fields of an object."""
    _call(resource, "update", ids, param, field, data, format, column, dry_run=dry_run)


@app.command()
def delete(
    resource: Resource,
    ids: Ids = None,
    param: Param = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Delete an object. On a terminal, ask for confirmation."""
    _call(resource, "delete", ids, param, dry_run=dry_run, assume_yes=yes)


@app.command("call")
def call_(
    operation: Annotated[
        str,
        typer.Argument(
            help="RESOURCE.METHOD: feature_flags.activity.", autocompletion=complete_operation
        ),
    ],
    ids: Ids = None,
    param: Param = None,
    field: Field = None,
    data: Data = None,
    limit: Limit = None,
    column: Column = None,
    format: Format = ObjectFormatChoice.AUTO,
    dry_run: DryRun = False,
) -> None:
    """Call any operation, also those that have no command of their own."""
    resource, _, action = operation.rpartition(".")
    _call(resource, action, ids, param, field, data, format, column, limit, dry_run)


@app.command()
def query(
    text: Annotated[
        str, typer.Argument(metavar="SQL|@FILE|-", help="HogQL, or a query node as JSON.")
    ],
    value: Annotated[
        list[str] | None,
        typer.Option(
            "--value",
            "-v",
            metavar="NAME[:TYPE]=VALUE",
            help="Value of {NAME}. Types: text, int, float, bool, decimal, datetime, date, uuid, "
            "json. Without a type, JSON is parsed and anything else is text.",
        ),
    ] = None,
    format: Annotated[
        RowFormatChoice,
        typer.Option("--format", help="auto: by the name of --output, else a table or JSON lines."),
    ] = RowFormatChoice.AUTO,
    output: Annotated[
        Path | None, typer.Option("--output", "--out", "-o", metavar="FILE", help="Output file.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "--force", help="Replace FILE if it exists.")
    ] = False,
    mode: Annotated[
        QueryModeChoice,
        typer.Option("--mode", help="blocking: at most 10 s; async: as a background job."),
    ] = QueryModeChoice.AUTO,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="For the whole query.")
    ] = None,
    cached: Annotated[
        bool, typer.Option("--cached", help="Accept a result from PostHog's cache.")
    ] = False,
) -> None:
    """Run a query: HogQL, or any other node."""

    async def work() -> None:
        from .query import QueryOptions, run_query

        await run_query(
            QueryOptions(
                query=text,
                values=value or (),
                format=format.value,
                output=output,
                overwrite=overwrite,
                mode=mode.value,
                timeout=timeout,
                cached=cached,
            )
        )

    run_async(work)


app.add_typer(export)
app.add_typer(flags)
app.add_typer(recipes)
app.command()(report)


@app.command()
def capture(
    event: Annotated[str, typer.Argument(help="The name of the event.")],
    distinct_id: Annotated[str, typer.Option("--distinct-id", metavar="ID", help="Who did it.")],
    property: Annotated[
        list[str] | None,
        typer.Option("--property", "-p", metavar="NAME=VALUE", help="JSON, or else text."),
    ] = None,
    properties: Annotated[
        str | None, typer.Option("--properties", metavar="JSON", help="An object of properties.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="TYPE=KEY", help="A group.")
    ] = None,
    timestamp: Annotated[
        str | None, typer.Option("--timestamp", help="ISO 8601 with an offset; default: now.")
    ] = None,
    uuid: Annotated[str | None, typer.Option("--uuid", help="Default: a new one.")] = None,
) -> None:
    """Send one event, and print the server's answer.

    The project token is read from POSTHOG_PROJECT_API_KEY; no other key is needed.
    """

    async def work() -> int:
        from .capture import CaptureOptions, capture_event

        return await capture_event(
            CaptureOptions(
                event=event,
                distinct_id=distinct_id,
                properties=property or (),
                data=properties,
                groups=group or (),
                timestamp=timestamp,
                uuid=uuid,
            )
        )

    run_async(work)


import_ = typer.Typer(
    name="import", no_args_is_help=True, help="Import data.", rich_markup_mode=None
)
app.add_typer(import_)


@import_.callback()
def import_group() -> None:
    """Import data."""


@import_.command("events")
def import_events_(
    file: Annotated[Path, typer.Argument(help="JSONL, CSV (also .gz) or Parquet.")],
    format: Annotated[
        ImportFormatChoice, typer.Option("--format", help="auto: by the name of the file.")
    ] = ImportFormatChoice.AUTO,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="Default: a hidden file beside FILE."),
    ] = None,
    recent: Annotated[
        bool, typer.Option("--recent", help="The events are of the last 48 hours.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="NUMBER", help="Maximum events per second.")
    ] = None,
) -> None:
    """Send the events of a file, in order. If interrupted, the same command continues.

    The project token is read from POSTHOG_PROJECT_API_KEY; no other key is needed.
    """

    async def work() -> int:
        from .capture import ImportOptions, import_events

        return await import_events(
            ImportOptions(
                path=file,
                format=format.value,
                checkpoint=checkpoint,
                historical=not recent,
                events_per_second=rate,
            )
        )

    run_async(work)


@app.command()
def sync(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The exports to run.")],
    once: Annotated[
        bool, typer.Option("--once", help="Run every export once, rather than by its schedule.")
    ] = False,
) -> None:
    """Export new events and snapshots again and again, each row once.

    Prints a line of JSON for every round.
    """

    async def work() -> int:
        from .sync import run_sync

        return await run_sync(config, once=once)

    run_async(work)


@app.command()
def doctor(
    operations: Annotated[
        list[str] | None,
        typer.Argument(
            help="Operations to check the scopes for: 'feature_flags.*'.",
            autocompletion=complete_operations,
        ),
    ] = None,
    format: Format = ObjectFormatChoice.AUTO,
) -> None:
    """Check the API key, scopes, project and rate limits, and say how to fix problems."""

    async def work() -> int:
        from .doctor import run_doctor

        return await run_doctor(operations or None, format.value)

    run_async(work)


@app.command()
def mcp(
    http: Annotated[
        bool, typer.Option("--http", help="Serve streamable HTTP instead of stdin and stdout.")
    ] = False,
    listen: Annotated[
        str, typer.Option("--listen", metavar="ADDRESS", help="Where to listen, with --http.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="With --http; 0: any.")] = 8808,
    origin: Annotated[
        list[str] | None,
        typer.Option("--origin", metavar="URL", help="Web pages that may connect, with --http."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Leave out and refuse everything that writes.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Writes return their request; nothing is sent.")
    ] = False,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tools",
            metavar="NAMES",
            help="Only these tools: names or tags of ready-made ones (flags,surveys), operations "
            "(surveys.create), or core for the default ones.",
        ),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            "--features", metavar="NAMES", help="Only these resources: feature_flags,surveys."
        ),
    ] = None,
    export_dir: Annotated[
        str | None, typer.Option("--export-dir", metavar="FOLDER", help="Where exports go.")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="The size of a result.", min=50, max=12_500)
    ] = 6000,
) -> None:
    """Serve PostHog's API to models over MCP, on stdin and stdout or over HTTP.

    With --http, clients send the bearer token in POSTHOG_MCP_TOKEN, or the one that is printed.
    """

    async def work() -> None:
        from .mcp import McpOptions, serve_mcp

        await serve_mcp(
            McpOptions(
                http=http,
                listen=listen,
                port=port,
                origins=origin or (),
                read_only=read_only,
                dry_run=dry_run,
                tools=tools or (),
                features=features or (),
                export_dir=export_dir,
                max_result_tokens=max_tokens,
            )
        )

    run_async(work)


@app.command(
    # Everything after `emulator`, also --help, is parsed by the emulator's own parser.
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def emulator(context: typer.Context) -> None:
    """Serve an emulator of PostHog until Ctrl-C. `emulator --help` lists its options."""

    def serve() -> int:
        from posthog_emulator.cli import main

        return main(context.args, "asyncposthog emulator")

    run_command(serve)
