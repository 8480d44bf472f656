"""Parse the response to a page query: its rows, and where the next page starts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, cast

from pydantic_core import from_json

from asyncposthog.export.batch import Batch
from asyncposthog.export.source import KEY_COLUMN, TIME_COLUMN, RowKey, Source
from asyncposthog.export.timestamps import format_clickhouse, parse_clickhouse
from asyncposthog.export.windows import Window
from asyncposthog.query.clickhouse import ColumnType, column_types

__all__ = [
    "NonUniqueKeyError", "Page", "PageResponse", "UnexpectedResponseError", "parse_json",
    "read_page", "read_response", "response_rows",
]  # fmt: skip


class UnexpectedResponseError(ValueError):
    """The response is not that of a query; a repeated request may succeed."""


class NonUniqueKeyError(ValueError):
    """All rows of a full page have the same key, so no next page can be requested."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Rows of a window that are ready to be delivered."""

    batch: Batch
    """The rows, without those that the next page returns again."""
    last_key: RowKey | None
    """The key after which the next page starts; None: the window was read to its end."""
    used_rows: int
    """Rows of the response that this page covers, including dropped duplicates."""
    duplicates: int = 0
    """Rows dropped because the row before them is equal in every column."""


@dataclass(frozen=True, kw_only=True)
class PageResponse:
    """The rows of a response, by column."""

    source: Source
    window: Window
    limit: int
    names: Sequence[str]
    types: Sequence[ColumnType]
    values: Sequence[Sequence[Any]]

    @property
    def row_count(self) -> int:
        """Number of rows in the response."""
        return len(self._keys)

    @property
    def visible_names(self) -> tuple[str, ...]:
        """Names of the columns that are delivered, without the two that only order the rows."""
        return tuple(self.names[: -1 if self.source.time is None else -2])

    @property
    def is_full(self) -> bool:
        """Whether the number of rows alone suggests that the page was cut.

        This holds for a page of as many rows as were requested, and for one of a multiple of 100
        rows: a server may have a limit of its own below the requested one.
        """
        return self.row_count >= self.limit or (self.row_count > 0 and self.row_count % 100 == 0)

    @property
    def _keys(self) -> Sequence[str]:
        return self.values[-1]

    @property
    def _times(self) -> Sequence[str]:
        return self.values[-2] if self.source.time is not None else ()

    def page(self, *, cut: bool) -> Page:
        """Return the rows as a page.

        Args:
            cut: Whether more rows may follow. The page then ends before its last key, so that the
                rows of one key are on one page. If all rows have the same key, the page has all of
                them, and the next page starts after that key.

        Raises:
            NonUniqueKeyError: More rows than fit on a page have the same key.
            UnexpectedResponseError: The rows are out of order, or not those requested.
        """
        source, times, keys = self.source, self._times, self._keys
        used_rows, last_key = self.row_count, None
        if cut and used_rows:
            used_rows = _count_before_last_key(times, keys)
            if not used_rows and self.row_count >= self.limit:
                key = f"{source.key} = {keys[0]!r}" + (f", {times[0]}" if times else "")
                raise NonUniqueKeyError(key)
            used_rows = used_rows or self.row_count
            last_key = _row_key(times, keys, used_rows - 1)
            # Each page has to end after the one before it; otherwise reading would not terminate.
            if self.window.after is not None and last_key <= self.window.after:
                raise UnexpectedResponseError("its rows do not follow the last received row")
        values: Sequence[Sequence[Any]] = self.values
        if used_rows < self.row_count:
            values = [column[:used_rows] for column in values]
        duplicates = 0
        # Equal keys are rare, and comparing whole rows is slow: the set of keys decides first.
        if source.unique and len(set(values[-1])) < used_rows:
            unique = _distinct_indexes(values)
            duplicates = used_rows - len(unique)
            values = [[column[i] for i in unique] for column in values] if duplicates else values
        batch = _batch(source, self.window, self.names, self.types, values, last_key)
        return Page(batch=batch, last_key=last_key, used_rows=used_rows, duplicates=duplicates)


def parse_json(content: bytes) -> object:
    """Return the JSON data of a response body.

    Raises:
        UnexpectedResponseError: The body is not JSON.
    """
    try:
        # Caching keys alone: the lookup for every value costs more than it saves.
        return from_json(content, cache_strings="keys")
    except ValueError as error:
        raise UnexpectedResponseError(f"it is not JSON: {error}") from None


def response_rows(body: object) -> tuple[list[str], object, list[list[Any]]]:
    """Take the columns, types and rows out of a response body.

    Raises:
        UnexpectedResponseError: The body has none, or reports an error.
    """
    if not isinstance(body, dict):
        raise UnexpectedResponseError("it is not an object")
    fields = cast("dict[str, Any]", body)
    # pop(): the rows are by far the largest part, and the caller replaces them by columns.
    columns, rows = fields.get("columns"), fields.pop("results", None)
    # A response with status 200 can carry an error in place of rows.
    if fields.get("error"):
        raise UnexpectedResponseError(f"it reports an error: {fields['error']!s:.200}")
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise UnexpectedResponseError("it has no columns and results")
    width = len(cast("list[Any]", columns))
    if not set(map(type, cast("list[object]", rows))) <= {list}:
        raise UnexpectedResponseError("its rows are not lists")
    widths = set(map(len, cast("list[list[Any]]", rows)))
    if not widths <= {width}:
        raise UnexpectedResponseError(
            f"rows have {sorted(widths)} values, and there are {width} columns"
        )
    return cast("tuple[list[str], object, list[list[Any]]]", (columns, fields.get("types"), rows))


def read_response(source: Source, window: Window, limit: int, body: object) -> PageResponse:
    """Return the rows of a response body by column.

    Args:
        source: The source that was queried.
        window: The window that was queried.
        limit: The number of rows that the query requested.
        body: The response body. Its rows are taken out of it.

    Raises:
        UnexpectedResponseError: The body is not the response to a page query.
    """
    names, raw_types, rows = response_rows(body)
    hidden_count = 1 if source.time is None else 2
    if names[-hidden_count:] != (
        [KEY_COLUMN] if source.time is None else [TIME_COLUMN, KEY_COLUMN]
    ):
        raise UnexpectedResponseError(f"its columns are {names!r:.200}")
    types = column_types(raw_types, len(names))
    # Twice as fast as zip(*rows), which visits all rows for each value.
    values: list[Sequence[Any]] = [list(map(itemgetter(i), rows)) for i in range(len(names))]
    del rows  # a page can take tens of megabytes, and only columns are needed now
    if _has_non_text(values[-1]) or (source.time is not None and _has_non_text(values[-2])):
        raise UnexpectedResponseError("its times and keys are not text")
    return PageResponse(
        source=source, window=window, limit=limit, names=names, types=types, values=values
    )


def read_page(source: Source, window: Window, limit: int, body: object) -> Page:
    """Return a response body as a page, cut if it is full.

    Raises:
        UnexpectedResponseError: The body is not the response to a page query.
        NonUniqueKeyError: More rows than fit on a page have the same key.
    """
    response = read_response(source, window, limit, body)
    return response.page(cut=response.is_full)


def _batch(
    source: Source,
    window: Window,
    names: Sequence[str],
    types: Sequence[ColumnType],
    values: Sequence[Sequence[Any]],
    last_key: RowKey | None,
) -> Batch:
    """Return the rows without the columns that only order them."""
    width = len(names) - (1 if source.time is None else 2)
    keys = _copy_strings(values[-1])
    times = _copy_strings(values[-2]) if source.time is not None else ()
    end = position_after(window, last_key)
    return Batch(
        columns=tuple(names[:width]),
        types=tuple(types[:width]),
        raw_columns=tuple(values[:width]),
        json=frozenset(i for i, name in enumerate(names[:width]) if name in source.json),
        keys=keys,
        times=times,
        position=lambda n: (
            end if n >= len(keys) else checkpoint_position(_row_key(times, keys, n - 1))
        ),
    )


def checkpoint_position(key: RowKey) -> dict[str, Any]:
    """Return the position after a row, as stored in a checkpoint."""
    return {"time": format_clickhouse(key.time), "key": key.key}


def position_after(window: Window, last_key: RowKey | None) -> dict[str, Any]:
    """Return the position after a page of a window, as stored in a checkpoint."""
    if last_key is not None:
        return checkpoint_position(last_key)
    return {"time": format_clickhouse(window.end), "key": None}


def _copy_strings(texts: Sequence[str]) -> Sequence[str]:
    """Return equal strings in memory of their own.

    The originals lie between the other values of the parsed response: while one of them is
    referenced, the allocator cannot reuse the pages of memory around it.
    """
    copies = "\0".join(texts).split("\0") if texts else texts
    return copies if len(copies) == len(texts) else texts


def _has_non_text(values: Sequence[object]) -> bool:
    return not set(map(type, values)) <= {str}


def _count_before_last_key(times: Sequence[str], keys: Sequence[str]) -> int:
    """Return the number of rows before those with the last key."""
    i = len(keys) - 1
    time = times[-1] if times else None
    while i >= 0 and keys[i] == keys[-1] and (time is None or times[i] == time):
        i -= 1
    return i + 1


def _row_key(times: Sequence[str], keys: Sequence[str], i: int) -> RowKey:
    try:
        return RowKey(parse_clickhouse(times[i]) if times else 0, keys[i])
    except ValueError as error:
        raise UnexpectedResponseError(str(error)) from None


def _distinct_indexes(values: Sequence[Sequence[Any]]) -> list[int]:
    """Return the indexes of rows that differ from the row before them."""
    rows = list(zip(*values, strict=True))
    return [i for i in range(len(rows)) if not i or rows[i] != rows[i - 1]]
