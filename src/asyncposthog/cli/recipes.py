"""`recipes` and `report`: run a recipe, print its table and its chart, write pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from .error_messages import UsageError
from .files import atomic_write, check_output_path
from .output import TABLE_ROWS, Format, resolve_format
from .session import session
from .terminal import (
    is_tty,
    print_status,
    print_success,
    stderr_console,
    stdout_console,
    table,
    to_text,
    write,
)
from .values import parse_timestamp

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from asyncposthog.recipes import Group, RecipeResult

__all__ = ["run_recipe", "write_report"]

_CHART_SUFFIXES: Final = (".png", ".svg", ".html")
_WIDTH: Final = 100
"""Columns of a chart that is not written to a terminal."""
_MIN_WIDTH: Final = 60
_DECIMALS: Final = 3
"""Decimals in a table; other formats have all of them."""


async def run_recipe(
    name: str,
    positional: Sequence[Any],
    arguments: Mapping[str, Any],
    format: Format,
    chart: Path | None,
    *,
    overwrite: bool,
) -> None:
    """Run a recipe and write its result.

    Args:
        name: The name of the function in `asyncposthog.recipes`.
        positional: Its arguments after the client, as given on the command line.
        arguments: Its named arguments, as given on the command line.
        format: The format of the rows.
        chart: A file for the chart.
        overwrite: Whether to replace that file if it exists.
    """
    _check_chart(chart, overwrite=overwrite)
    given = {key: _parse(key, value) for key, value in arguments.items() if value is not None}
    if name == "cohort_comparison":
        positional = [_groups(positional[0])]
    from asyncposthog import recipes

    recipe: Callable[..., Any] = getattr(recipes, name)
    async with session.make_client() as client:
        with _waiting():
            result = await recipe(client, *positional, **given)
    _show(result, resolve_format(format, "jsonl"))
    if chart is not None:
        result.save(chart)
        print_success(f"The chart is in {chart}.")


async def write_report(
    path: Path,
    steps: Sequence[str],
    events: Sequence[str],
    title: str,
    days: int,
    end: str | None,
    *,
    overwrite: bool,
) -> None:
    """Write the page of a project."""
    if path.suffix not in {".html", ".htm"}:
        raise UsageError(f"{path}: a report is a page.", "Give it a name that ends in .html.")
    check_output_path(path, overwrite=overwrite)
    from asyncposthog.recipes import project_report
    from asyncposthog.recipes.altair_charts import require_charts

    require_charts()
    stop = None if end is None else parse_timestamp(end, "--end")
    async with session.make_client() as client:
        with _waiting():
            report = await project_report(
                client, steps=steps, events=events, days=days, end=stop, title=title
            )
            page = await to_thread.run_sync(report.to_html)
    with atomic_write(path) as file:
        file.write(page.encode())
    print_success(f"The report is in {path}.")


def _parse(name: str, value: Any) -> Any:
    if name in {"start", "end", "launched"}:
        return parse_timestamp(value, f"--{name}")
    if name == "window":
        return timedelta(days=value)
    return timedelta(hours=value) if name == "overlap" else value


def _groups(arguments: Sequence[str]) -> dict[str, Group]:
    """Parse groups: `paid=12` is a cohort, `free=plan:free` a property."""
    groups: dict[str, Group] = {}
    for text in arguments:
        name, equals, group = text.partition("=")
        if not equals or not name or not group:
            raise UsageError(
                f"A group is NAME=GROUP, not {text!r}.", "For example paid=12 or free=plan:free."
            )
        if name in groups:
            raise UsageError(f"There are two groups {name!r}.", "Give each another name.")
        key, colon, value = group.partition(":")
        if colon:
            groups[name] = {key: value}
        elif group.isdecimal():
            groups[name] = int(group)
        else:
            raise UsageError(
                f"{name}: a group is the id of a cohort or PROPERTY:VALUE, not {group!r}."
            )
    return groups


def _check_chart(chart: Path | None, *, overwrite: bool) -> None:
    if chart is None:
        return
    if chart.suffix not in _CHART_SUFFIXES:
        raise UsageError(
            f"{chart}: a chart is written as {', '.join(_CHART_SUFFIXES)}.", "Change its name."
        )
    check_output_path(chart, overwrite=overwrite)
    from asyncposthog.recipes.altair_charts import require_charts

    require_charts()


def _waiting() -> AbstractContextManager[object]:
    from sys import stderr

    return stderr_console().status("Asking PostHog …") if stderr.isatty() else nullcontext()


def _show(result: RecipeResult[Any], format: Format) -> None:
    rows = result.dicts()
    if format == "jsonl":
        for row in rows:
            write(to_text(row) + "\n")
        return
    if format == "json":
        write(to_text(rows, indent=2) + "\n")
        return
    if rows:
        shown = ([_rounded(value) for value in row.values()] for row in rows[:TABLE_ROWS])
        table(result.columns, shown, wrap=False)
        write("\n")
    if len(rows) > TABLE_ROWS:
        print_status(f"The first {TABLE_ROWS} of {len(rows):,} rows; --format jsonl has all.")
    _show_chart(result)


def _rounded(value: Any) -> Any:
    return round(value, _DECIMALS) if isinstance(value, float) else value


def _show_chart(result: RecipeResult[Any]) -> None:
    from asyncposthog.recipes.terminal_charts import render

    console = stdout_console()
    width = max(_MIN_WIDTH, console.width - 1) if is_tty() else _WIDTH
    try:
        text = render(result.figure(), width)
    except ImportError as error:
        print_status(str(error))
        return
    console.print(text, soft_wrap=True)
