"""The `flags` commands and their options. What they do is imported when they run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .runner import run_async

__all__ = ["flags"]

flags = typer.Typer(
    name="flags",
    no_args_is_help=True,
    help="Feature flags, as a person gets them.",
    rich_markup_mode=None,
)


class FlagFormatChoice(StrEnum):
    """Format of flags."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


@flags.callback()
def common() -> None:
    """Feature flags, as a person gets them."""


@flags.command()
def evaluate(
    user: Annotated[str, typer.Argument(help="The distinct id of the person.")],
    key: Annotated[
        list[str] | None, typer.Option("--key", "-k", metavar="KEY", help="Only this flag.")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", "-g", metavar="TYPE=KEY", help="A group of the person."),
    ] = None,
    property: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            "-p",
            metavar="NAME=VALUE",
            help="Property of the person, before what PostHog stores; JSON or text.",
        ),
    ] = None,
    group_property: Annotated[
        list[str] | None,
        typer.Option(
            "--group-property", metavar="TYPE.NAME=VALUE", help="Property of a group; JSON or text."
        ),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Evaluate here; ask the server for the rest only.")
    ] = False,
    format: Annotated[
        FlagFormatChoice,
        typer.Option("--format", help="auto: a table on a terminal, JSON otherwise."),
    ] = FlagFormatChoice.AUTO,
) -> None:
    """Evaluate the feature flags for a person, with the reason for each value."""

    async def work() -> int:
        from .flags import EvaluateOptions, run_evaluate

        return await run_evaluate(
            EvaluateOptions(
                user=user,
                keys=key or (),
                groups=group or (),
                properties=property or (),
                group_properties=group_property or (),
                local=local,
                format=format.value,
            )
        )

    run_async(work)
