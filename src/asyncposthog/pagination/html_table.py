"""Small HTML tables for results and pages in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from asyncposthog.errors import shorten
from asyncposthog.redact import mask

__all__ = ["MAX_ROWS", "html_table"]

MAX_ROWS: Final = 20
"""Maximum of rows in a table."""
_MAX_COLUMNS: Final = 20
_MAX_CELL_CHARS: Final = 100
"""Maximum of characters of a value."""


def html_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, total: int
) -> str:
    """Return an HTML table with limited numbers of rows, columns and characters per value.

    Args:
        title: The line above the table.
        columns: The column names.
        rows: The rows, or the first of them.
        total: The number of all rows.
    """
    is_wide, visible = len(columns) > _MAX_COLUMNS, rows[:MAX_ROWS]
    head = "".join(f"<th>{_cell_html(name)}</th>" for name in columns[:_MAX_COLUMNS])
    lines = [
        "".join(f"<td>{_cell_html(value)}</td>" for value in row[:_MAX_COLUMNS])
        + _ellipsis_cell(is_wide)
        for row in visible
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    notes: list[str] = []
    if total > len(visible):
        notes.append(f"{total - len(visible):,} more rows")
    if is_wide:
        notes.append(f"{len(columns) - _MAX_COLUMNS:,} more columns")
    foot = f"<p>… {' and '.join(notes)}</p>" if notes else ""
    top = f"<tr>{head}{'<th>…</th>' if is_wide else ''}</tr>"
    return (
        f"<div><p>{_cell_html(title)}</p>"
        f"<table><thead>{top}</thead><tbody>{body}</tbody></table>{foot}</div>"
    )


def _ellipsis_cell(is_wide: bool) -> str:
    return "<td>…</td>" if is_wide else ""


def _cell_html(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    # Mask before cutting: half of an API key at the edge would not be recognised as one.
    return escape(shorten(mask(text[: 10 * _MAX_CELL_CHARS]), _MAX_CELL_CHARS))
