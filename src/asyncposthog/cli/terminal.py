"""Data goes to stdout; everything said to people goes to stderr."""

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
    "ask",
    "counted",
    "fitting_widths",
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

_FIRST_WIDTH: Final = 80
"""The width up to which the first column is never cut, whatever it holds."""
_LEAST_WIDTH: Final = 8
"""The width that every column keeps."""
_GAP: Final = 3


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


def table(
    columns: Iterable[str],
    rows: Iterable[Iterable[Any]],
    *,
    header: bool = True,
    wrap: bool = True,
) -> None:
    """Print a table. It is wider than the terminal where ids and numbers need it: none is cut.

    Args:
        columns: The names of the columns.
        rows: Their values.
        header: Whether the names are shown above; else the first column holds names.
        wrap: Whether other values are wrapped where the terminal is narrow, rather than cut.
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
    names, listed = list(columns), [list(row) for row in rows]
    cells = [[Text(plain(cell(value))) for value in row] for row in listed]
    titles = [Text(plain(name), style="bold") for name in names]
    console, usual = stdout_console(), stdout_console().width
    natural, whole = list[int](), list[bool]()
    for place, (name, title) in enumerate(zip(names, titles, strict=True)):
        sizes = [row[place].cell_len for row in cells]
        natural.append(max([*sizes, title.cell_len] if header else sizes, default=1))
        numeric = header and _numeric(row[place] for row in listed)
        whole.append(numeric or _is_id(name) or (place == 0 and natural[0] <= _FIRST_WIDTH))
        grid.add_column(
            title,
            overflow="ellipsis",
            no_wrap=whole[-1] or not wrap,
            style="" if header or place else "bold",
            justify="right" if numeric else "left",
        )
    gaps = (_GAP if header else _GAP - 1) * (len(names) - 1)
    # What goes to a file or a program is never cut.
    widths = fitting_widths(natural, whole, usual - gaps) if on_terminal() else natural
    for column, width in zip(grid.columns, widths, strict=True):
        column.width = width
    for row in cells:
        grid.add_row(*row)
    console.width = max(usual, sum(widths) + gaps)
    try:
        console.print(grid)
    finally:
        console.width = usual


def fitting_widths(natural: Sequence[int], whole: Sequence[bool], available: int) -> list[int]:
    """Return the widths of columns: the widest of those that may be cut give way first.

    Args:
        natural: The widths that show everything.
        whole: Which columns are never cut.
        available: The width for all of them; exceeded where that is not enough.
    """
    left = available - sum(width for width, keep in zip(natural, whole, strict=True) if keep)
    others = sorted(width for width, keep in zip(natural, whole, strict=True) if not keep)
    limit = others[-1] if others else 0
    for place, width in enumerate(others):
        share = left // (len(others) - place)
        if width > share:
            limit = max(share, _LEAST_WIDTH)
            break
        left -= width
    return [w if keep else min(w, limit) for w, keep in zip(natural, whole, strict=True)]


def _is_id(name: str) -> bool:
    """Whether a column holds what people copy to name an object."""
    last = name.rpartition(".")[2].lower()
    return last in {"id", "uuid"} or last.endswith(("_id", "_uuid"))


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
