"""Objects on their way out: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, TypeAlias, cast

from .terminal import is_tty, note, table, to_text, write

__all__ = ["Format", "columns_of", "form_of", "show_object", "show_objects"]

Format: TypeAlias = Literal["auto", "table", "json", "jsonl"]

TABLE_ROWS: Final = 50
"""Rows of a table when no limit was asked for: more than a screen helps nobody."""
_WIDTH: Final = 7
_FIRST: Final = (
    "id", "short_id", "uuid", "key", "name", "title", "label", "email", "type", "kind", "status",
    "state", "active", "enabled", "event", "distinct_id", "description", "count", "timestamp",
    "created_at", "updated_at",
)  # fmt: skip


def form_of(wanted: Format, otherwise: Format) -> Format:
    """Return the form to write: a table where `auto` meets a terminal, else `otherwise`."""
    if wanted != "auto":
        return wanted
    return "table" if is_tty() else otherwise


def plain_data(item: Any) -> Any:
    """Return the JSON data of what a method gave."""
    raw = getattr(item, "raw", None)
    return raw() if callable(raw) else item


async def show_objects(
    items: AsyncIterable[Any], format: Format, limit: int | None, columns: Sequence[str]
) -> None:
    """Write a list as it comes; a table when all of it is there."""
    form = form_of(format, "jsonl")
    if form == "table":
        await _show_table(items, limit, columns)
        return
    written, missing = 0, _Missing(columns)
    async for item in items:
        data = plain_data(item)
        missing.look(data)
        data = _select_columns(data, columns)
        if form == "jsonl":
            write(to_text(data) + "\n")
        else:
            write(("[\n" if written == 0 else ",\n") + to_text(data))
        written += 1
        if written == limit:
            break
    if form == "json":
        write("\n]\n" if written else "[]\n")
    missing.report()


async def _show_table(items: AsyncIterable[Any], limit: int | None, columns: Sequence[str]) -> None:
    rows: list[Any] = []
    more = False
    async for item in items:
        if limit is None and len(rows) == TABLE_ROWS:
            more = True
            break
        rows.append(plain_data(item))
        if len(rows) == limit:
            break
    if not rows:
        note("Nothing found.")
        return
    chosen = list(columns) or columns_of(rows)
    table(chosen, ([dig(row, name) for name in chosen] for row in rows), wrap=False)
    _Missing(columns, rows).report()
    if more:
        note(f"The first {TABLE_ROWS} are shown: --limit N shows more, --format jsonl all of them.")


def show_object(data: Any, format: Format, columns: Sequence[str] = ()) -> None:
    """Write one answer."""
    form = form_of(format, "json")
    listed = isinstance(data, list)
    rows: list[Any] = cast("list[Any]", data) if listed else [data]
    missing = _Missing(columns, rows)
    if not (listed and form == "table"):
        rows = [_select_columns(row, columns) for row in rows]
        data = rows if listed else rows[0]
    if form == "table" and isinstance(data, Mapping):
        table(["field", "value"], cast("Mapping[str, Any]", data).items(), header=False)
    elif form == "table" and _is_rows(data):
        chosen = list(columns) or columns_of(rows)
        table(chosen, ([dig(row, name) for name in chosen] for row in rows), wrap=False)
    elif form == "jsonl" and isinstance(data, list):
        for item in cast("list[Any]", data):
            write(to_text(item) + "\n")
    else:
        write(to_text(data, indent=None if form == "jsonl" else 2) + "\n")
    missing.report()


def _is_rows(data: Any) -> bool:
    return (
        isinstance(data, list)
        and bool(cast("list[Any]", data))
        and all(isinstance(row, Mapping) for row in cast("list[Any]", data))
    )


def columns_of(rows: Sequence[Any]) -> list[str]:
    """Choose the columns of a table: what names an object first, then whatever is short."""
    names: dict[str, None] = {}
    for row in islice(rows, 50):
        if not isinstance(row, Mapping):
            return ["value"]
        for name, value in cast("Mapping[str, Any]", row).items():
            if not isinstance(value, dict | list):
                names.setdefault(name)
    used = [name for name in names if any(_filled(row.get(name)) for row in rows)]
    known = [name for name in _FIRST if name in used]
    chosen = known[:_WIDTH]
    chosen += [name for name in used if name not in known][: max(0, 4 - len(chosen))]
    return chosen or list(names)[:_WIDTH] or ["value"]


def _filled(value: Any) -> bool:
    return value is not None and value != ""


def dig(row: Any, name: str) -> Any:
    """Return a field of an object; dots lead into objects within."""
    if not isinstance(row, Mapping):
        return row if name == "value" else None
    found = cast("Mapping[str, Any]", row)
    if name in found:
        return found[name]
    head, _, rest = name.partition(".")
    return dig(found[head], rest) if rest and head in found else None


class _Missing:
    """Columns that no object has: what the schema leaves open cannot be checked beforehand."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Any] = ()) -> None:
        self._columns = list(columns)
        self._seen = False
        for row in rows:
            self.look(row)

    def look(self, row: Any) -> None:
        """Strike out the columns that an object has."""
        if isinstance(row, Mapping):
            self._seen = True
            self._columns = [name for name in self._columns if not _has(row, name)]

    def report(self) -> None:
        """Print a note about those that are left, if there were objects."""
        if self._seen and self._columns:
            be = "is" if len(self._columns) == 1 else "are"
            note(f"{' and '.join(self._columns)} {be} empty in every object.")


def _has(row: Any, name: str) -> bool:
    """Whether an object has a field; null is a value, and so is what would be below it."""
    if row is None:
        return True
    if not isinstance(row, Mapping):
        return False
    found = cast("Mapping[str, Any]", row)
    head, _, rest = name.partition(".")
    return name in found or bool(rest and head in found and _has(found[head], rest))


def _select_columns(data: Any, columns: Sequence[str]) -> Any:
    if not columns or not isinstance(data, Mapping):
        return data
    return {name: dig(data, name) for name in columns}
