"""Data goes to stdout; everything said to people goes to stderr."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic_core import to_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "ask",
    "counted",
    "note",
    "on_terminal",
    "plain",
    "stderr_console",
    "stdout_console",
    "succeeded",
    "table",
    "to_text",
    "write",
]

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Replace what would act on a terminal rather than be seen: the text may be anybody's."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def note(text: str, *, style: str = "") -> None:
    """Say a line to people, in colour where stderr is a terminal that wants it."""
    text = plain(text)
    if style and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        stderr_console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)
    else:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def succeeded(text: str) -> None:
    """Say that something was done, to whoever watches; a program has the exit status."""
    if sys.stderr.isatty():
        note(text, style="green")


def write(text: str | bytes) -> None:
    """Write data."""
    if isinstance(text, bytes):
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
    else:
        sys.stdout.write(text)


def to_text(value: Any, *, indent: int | None = None) -> str:
    """Write JSON, on one line unless `indent` is given."""
    return to_json(value, indent=indent, inf_nan_mode="constants").decode()


def on_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def ask(question: str) -> bool:
    """Ask something on the terminal; no answer is no."""
    sys.stderr.write(f"{plain(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


@cache
def stdout_console() -> Console:
    """The console that tables go to."""
    from rich.console import Console

    # A file gets tables as wide as they are.
    width = None if on_terminal() else 10_000
    return Console(highlight=False, markup=False, emoji=False, width=width)


@cache
def stderr_console() -> Console:
    """The console for what is said to people."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]], *, header: bool = True) -> None:
    """Print a table, no wider than the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(
        box=box.SIMPLE_HEAD if header else None,
        show_header=header,
        show_edge=False,
        pad_edge=False,
    )
    listed = [list(row) for row in rows]
    for place, column in enumerate(columns):
        grid.add_column(
            Text(plain(column), style="bold"),
            overflow="ellipsis",
            no_wrap=place == 0,
            style="" if header or place else "bold",
            justify="right" if header and _numeric(row[place] for row in listed) else "left",
        )
    for row in listed:
        grid.add_row(*(Text(plain(cell(value))) for value in row))
    stdout_console().print(grid)


def _numeric(values: Iterable[Any]) -> bool:
    found = [value for value in values if value is not None]
    return bool(found) and all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in found
    )


def counted(number: int, thing: str) -> str:
    """Write a number of things."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def cell(value: Any) -> str:
    """Show a value in a table."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | Decimal | UUID):
        return str(value)
    return to_text(value).strip('"')
