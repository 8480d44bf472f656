"""Terminal output: data goes to stdout, and messages for people to stderr."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic_core import to_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "confirm",
    "fitting_widths",
    "is_tty",
    "pluralize",
    "print_status",
    "print_success",
    "stderr_console",
    "stdout_console",
    "strip_control",
    "table",
    "to_text",
    "write",
]

# Includes the Unicode controls of text direction, which can make a line look like another one.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ID_NAMES: Final = frozenset({"id", "ids", "key", "keys", "uuid", "uuids"})

_MAX_FIRST_WIDTH: Final = 80
"""Width up to which the first column is never cut."""
_MIN_WIDTH: Final = 8
"""Minimum width of every column."""
_GAP: Final = 3


def strip_control(text: str) -> str:
    """Replace control characters, which could change the terminal: the text may be anyone's."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def print_status(text: str, *, style: str = "") -> None:
    """Print a line to stderr, in colour if stderr is a terminal and NO_COLOR is not set."""
    text = strip_control(text)
    if style and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        # soft_wrap: the terminal wraps long lines, so that they can be copied in one piece.
        stderr_console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)
    else:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_success(text: str) -> None:
    """Print that something was done, if stderr is a terminal; programs have the exit status."""
    if sys.stderr.isatty():
        print_status(text, style="green")


def write(text: str | bytes) -> None:
    """Write data to stdout."""
    if isinstance(text, bytes):
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
    else:
        sys.stdout.write(text)


def to_text(value: Any, *, indent: int | None = None) -> str:
    """Return JSON text, on one line unless `indent` is given."""
    return to_json(value, indent=indent, inf_nan_mode="constants").decode()


def is_tty() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout.isatty()


def confirm(question: str) -> bool:
    """Ask a yes/no question on the terminal; an empty answer is no."""
    sys.stderr.write(f"{strip_control(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


@cache
def stdout_console() -> Console:
    """Return the console for tables."""
    from rich.console import Console

    # A table in a file is as wide as its content.
    width = None if is_tty() else 10_000
    return Console(highlight=False, markup=False, emoji=False, width=width)


@cache
def stderr_console() -> Console:
    """Return the console for messages."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def table(
    columns: Iterable[str],
    rows: Iterable[Iterable[Any]],
    *,
    header: bool = True,
    wrap: bool = True,
) -> None:
    """Print a table. It is wider than the terminal if ids and numbers need it: none of them is cut.

    Args:
        columns: The names of the columns.
        rows: The values by row.
        header: Print the names above; False: the first column contains names.
        wrap: Wrap other values if the terminal is narrow; False: cut them.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(
        box=box.SIMPLE_HEAD if header else None,
        show_header=header,
        show_edge=False,
        pad_edge=False,
    )
    names, row_list = list(columns), [list(row) for row in rows]
    cells = [[Text(strip_control(format_cell(value))) for value in row] for row in row_list]
    titles = [Text(strip_control(name), style="bold") for name in names]
    console, console_width = stdout_console(), stdout_console().width
    natural, minimal = list[int](), list[int]()
    for index, (name, title) in enumerate(zip(names, titles, strict=True)):
        sizes = [row[index].cell_len for row in cells]
        natural.append(max([*sizes, title.cell_len] if header else sizes, default=1))
        numeric = header and _is_numeric(row[index] for row in row_list)
        by_name = _is_id(name) if header else index == 0
        uncut = numeric or by_name or (index == 0 and natural[0] <= _MAX_FIRST_WIDTH)
        uncut_sizes = (
            size
            for size, row in zip(sizes, row_list, strict=True)
            if uncut or _is_never_cut(row[index]) or (not header and _is_id(str(row[0])))
        )
        minimal.append(natural[-1] if uncut else max(uncut_sizes, default=0))
        grid.add_column(
            title,
            overflow="ellipsis",
            no_wrap=uncut or not wrap,
            style="" if header or index else "bold",
            justify="right" if numeric else "left",
        )
    gaps = (_GAP if header else _GAP - 1) * (len(names) - 1)
    # Output to a file or a program is never cut.
    widths = fitting_widths(natural, minimal, console_width - gaps) if is_tty() else natural
    for column, width in zip(grid.columns, widths, strict=True):
        column.width = width
    for row in cells:
        grid.add_row(*row)
    # Rich cuts a table to the width of its console, so that width is raised for this table.
    console.width = max(console_width, sum(widths) + gaps)
    try:
        console.print(grid)
    finally:
        console.width = console_width


def fitting_widths(natural: Sequence[int], minimal: Sequence[int], available: int) -> list[int]:
    """Return the widths of columns. The widest of those that may be cut shrink first.

    Args:
        natural: The widths that show everything.
        minimal: The widths below which columns are not cut.
        available: The width for all columns; exceeded if it is not enough for the minimal widths.
    """

    def limited(limit: int) -> list[int]:
        return [max(low, min(width, limit)) for width, low in zip(natural, minimal, strict=True)]

    low, high = _MIN_WIDTH, max(_MIN_WIDTH, *natural)
    while low < high:  # the largest limit with which the columns fit
        middle = (low + high + 1) // 2
        if sum(limited(middle)) <= available:
            low = middle
        else:
            high = middle - 1
    return limited(low)


def _is_id(name: str) -> bool:
    """Return whether a field of that name contains ids, which people copy."""
    last = name.rpartition(".")[2].lower()
    return last in _ID_NAMES or last.rpartition("_")[2] in _ID_NAMES


def _is_never_cut(value: Any) -> bool:
    """Return whether a value is never cut: a number or a UUID."""
    if isinstance(value, str):
        return _UUID.fullmatch(value) is not None
    return isinstance(value, int | float | Decimal | UUID) and not isinstance(value, bool)


def _is_numeric(values: Iterable[Any]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        for value in present
    )


def pluralize(number: int, thing: str) -> str:
    """Return a number with a noun: `1 row`, `2 rows`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def format_cell(value: Any) -> str:
    """Return a value as text for a table cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | Decimal | UUID):
        return str(value)
    return to_text(value).strip('"')
