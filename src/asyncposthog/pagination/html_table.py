"""Small HTML tables, by which notebooks show results and pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from asyncposthog.errors import shorten
from asyncposthog.redact import mask

__all__ = ["MAX_ROWS", "html_table"]

MAX_ROWS: Final = 20
"""Rows that a table shows."""
_MAX_COLUMNS: Final = 20
_CELL: Final = 100
"""Characters of a value that a table shows."""


def html_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, total: int
) -> str:
    """Return an HTML table, bounded in rows, columns and the length of values.

    Args:
        title: What stands above it.
        columns: The names of the columns.
        rows: The rows, or the first of them.
        total: How many rows there are.
    """
    wide, shown = len(columns) > _MAX_COLUMNS, rows[:MAX_ROWS]
    head = "".join(f"<th>{_text(name)}</th>" for name in columns[:_MAX_COLUMNS])
    lines = [
        "".join(f"<td>{_text(value)}</td>" for value in row[:_MAX_COLUMNS]) + _dots(wide)
        for row in shown
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    notes: list[str] = []
    if total > len(shown):
        notes.append(f"{total - len(shown):,} more rows")
    if wide:
        notes.append(f"{len(columns) - _MAX_COLUMNS:,} more columns")
    foot = f"<p>… {' and '.join(notes)}</p>" if notes else ""
    top = f"<tr>{head}{'<th>…</th>' if wide else ''}</tr>"
    return (
        f"<div><p>{_text(title)}</p>"
        f"<table><thead>{top}</thead><tbody>{body}</tbody></table>{foot}</div>"
    )


def _dots(wide: bool) -> str:
    return "<td>…</td>" if wide else ""


def _text(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    # Masked before it is cut: a key at the edge must not lose what it is known by.
    return escape(shorten(mask(text[: 10 * _CELL]), _CELL))
