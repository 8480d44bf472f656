"""Print objects: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, TypeAlias, cast

from .terminal import is_tty, print_status, table, to_text, write

__all__ = ["TABLE_ROWS", "Format", "columns_of", "resolve_format", "show_object", "show_objects"]

Format: TypeAlias = Literal["auto", "table", "json", "jsonl"]

TABLE_ROWS: Final = 50
"""Rows of a table if no limit was given."""
_MAX_COLUMNS: Final = 7
_PREFERRED_COLUMNS: Final = (
    "id", "short_id", "uuid", "key", "name", "title", "label", "email", "type", "kind", "status",
    "state", "active", "enabled", "event", "distinct_id", "description", "count", "timestamp",
    "created_at", "updated_at",
)  # fmt: skip


def resolve_format(requested: Format, default: Format) -> Format:
    """Return the format to write; `auto` is a table on a terminal, and `default` otherwise."""
    if requested != "auto":
        return requested
    return "table" if is_tty() else default


def plain_data(item: Any) -> Any:
    """Return the JSON data of an object that a method returned."""
    raw = getattr(item, "raw", None)
    return raw() if callable(raw) else item


async def show_objects(
    items: AsyncIterable[Any], format: Format, limit: int | None, columns: Sequence[str]
) -> None:
    """Print a list as it arrives; as a table when it is complete."""
    output_format = resolve_format(format, "jsonl")
    if output_format == "table":
        await _show_table(items, limit, columns)
        return
    # Written item by item, also as a JSON array: the list may be larger than memory.
    written, missing = 0, _Missing(columns)
    async for item in items:
        data = plain_data(item)
        missing.update(data)
        data = _select_columns(data, columns)
        if output_format == "jsonl":
            write(to_text(data) + "\n")
        else:
            write(("[\n" if written == 0 else ",\n") + to_text(data))
        written += 1
        if written == limit:
            break
    if output_format == "json":
        write("\n]\n" if written else "[]\n")
    missing.report()


async def _show_table(items: AsyncIterable[Any], limit: int | None, columns: Sequence[str]) -> None:
    rows: list[Any] = []
    more = False
    async for item in items:
        # One item more than the table shows tells whether the list is longer, for the message
        # below.
        if limit is None and len(rows) == TABLE_ROWS:
            more = True
            break
        rows.append(plain_data(item))
        if len(rows) == limit:
            break
    if not rows:
        print_status("Nothing found.")
        return
    selected = list(columns) or columns_of(rows)
    table(selected, ([get_path(row, name) for name in selected] for row in rows), wrap=False)
    _Missing(columns, rows).report()
    if more:
        print_status(
            f"The first {TABLE_ROWS} are shown: --limit N shows more, --format jsonl all of them."
        )


def show_object(data: Any, format: Format, columns: Sequence[str] = ()) -> None:
    """Print one response."""
    output_format = resolve_format(format, "json")
    is_list = isinstance(data, list)
    rows: list[Any] = cast("list[Any]", data) if is_list else [data]
    missing = _Missing(columns, rows)
    if not (is_list and output_format == "table"):
        rows = [_select_columns(row, columns) for row in rows]
        data = rows if is_list else rows[0]
    if output_format == "table" and isinstance(data, Mapping):
        table(["field", "value"], cast("Mapping[str, Any]", data).items(), header=False)
    elif output_format == "table" and _is_rows(data):
        selected = list(columns) or columns_of(rows)
        table(selected, ([get_path(row, name) for name in selected] for row in rows), wrap=False)
    elif output_format == "jsonl" and isinstance(data, list):
        for item in cast("list[Any]", data):
            write(to_text(item) + "\n")
    else:
        write(to_text(data, indent=None if output_format == "jsonl" else 2) + "\n")
    missing.report()


def _is_rows(data: Any) -> bool:
    return (
        isinstance(data, list)
        and bool(cast("list[Any]", data))
        and all(isinstance(row, Mapping) for row in cast("list[Any]", data))
    )


def columns_of(rows: Sequence[Any]) -> list[str]:
    """Return the columns of a table: first those that identify an object, then short ones."""
    names: dict[str, None] = {}
    # The first rows are enough to choose from, and a list can have many thousands.
    for row in islice(rows, 50):
        if not isinstance(row, Mapping):
            return ["value"]
        for name, value in cast("Mapping[str, Any]", row).items():
            if not isinstance(value, dict | list):
                names.setdefault(name)
    filled = [name for name in names if any(_is_filled(row.get(name)) for row in rows)]
    preferred = [name for name in _PREFERRED_COLUMNS if name in filled]
    selected = preferred[:_MAX_COLUMNS]
    selected += [name for name in filled if name not in preferred][: max(0, 4 - len(selected))]
    return selected or list(names)[:_MAX_COLUMNS] or ["value"]


def _is_filled(value: Any) -> bool:
    return value is not None and value != ""


def get_path(row: Any, name: str) -> Any:
    """Return a field of an object; a dotted name is a nested field."""
    if not isinstance(row, Mapping):
        return row if name == "value" else None
    fields = cast("Mapping[str, Any]", row)
    # A field whose own name contains a dot comes before a nested one.
    if name in fields:
        return fields[name]
    head, _, rest = name.partition(".")
    return get_path(fields[head], rest) if rest and head in fields else None


class _Missing:
    """Columns that no object has, which cannot be checked beforehand if any field is allowed."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Any] = ()) -> None:
        self._columns = list(columns)
        self._has_rows = False
        for row in rows:
            self.update(row)

    def update(self, row: Any) -> None:
        """Remove the columns that an object has."""
        if isinstance(row, Mapping):
            self._has_rows = True
            self._columns = [name for name in self._columns if not _has_field(row, name)]

    def report(self) -> None:
        """Print a message about the remaining columns, if there were objects."""
        if self._has_rows and self._columns:
            verb = "is" if len(self._columns) == 1 else "are"
            print_status(f"{' and '.join(self._columns)} {verb} empty in every object.")


def _has_field(row: Any, name: str) -> bool:
    """Return whether an object has a field, also one of null, or one below null."""
    # Whether the object would have the field if it were not null is unknown.
    if row is None:
        return True
    if not isinstance(row, Mapping):
        return False
    fields = cast("Mapping[str, Any]", row)
    head, _, rest = name.partition(".")
    return name in fields or bool(rest and head in fields and _has_field(fields[head], rest))


def _select_columns(data: Any, columns: Sequence[str]) -> Any:
    if not columns or not isinstance(data, Mapping):
        return data
    return {name: get_path(data, name) for name in columns}
