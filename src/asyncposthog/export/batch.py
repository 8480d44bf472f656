"""A batch of rows of an export, by column, as the server sent them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic_core import from_json

from asyncposthog.errors import ExportError
from asyncposthog.query.clickhouse import ColumnType
from asyncposthog.query.convert import convert_column

__all__ = ["Batch", "parse_json_object"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of an export, in order. A batch is also a sequence of dicts, like those of iteration.

    `len(batch)`, `batch.dicts()`, `batch.to_arrow()`.
    """

    columns: tuple[str, ...]
    """Names of the columns."""
    types: tuple[ColumnType, ...]
    """ClickHouse types of the columns."""
    raw_columns: Sequence[Sequence[Any]]
    """Values by column as they came in JSON: times are text, and so is `properties`."""
    json: frozenset[int] = frozenset()
    """Indexes of columns that hold JSON as text."""
    keys: Sequence[str] = ()
    """Key of each row as text: it distinguishes rows of the same time. For a list, the ids of its
    items."""
    times: Sequence[str] = ()
    """Time that each row is ordered by, in UTC, in the notation of ClickHouse."""
    records: Sequence[Mapping[str, Any]] | None = None
    """The items that the rows are made of, if they can have fields that are not columns."""
    extra_fields: tuple[str, ...] = ()
    """Names of those fields."""
    position: Callable[[int], Any] = field(default=lambda _: None, repr=False)
    """Returns the position after the first n rows, as JSON data; None if the export cannot resume
    there."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.raw_columns[0]) if self.raw_columns else 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Iterate over the rows as dicts of Python values."""
        return iter(self.dicts())

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows as tuples of raw values."""
        return list(zip(*self.raw_columns, strict=True))

    def column(self, name: str) -> Sequence[Any]:
        """Return the values of a column as Python values.

        Raises:
            KeyError: There is no such column.
        """
        if name not in self.columns:
            raise KeyError(f"{name!r}: there are {', '.join(self.columns)}")
        return self._values(self.columns.index(name))

    def _values(self, index: int) -> Sequence[Any]:
        values = self.raw_columns[index]
        if index in self.json:
            return [parse_json_object(value) for value in values]
        return convert_column(self.types[index], values)

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts: times as datetime, UUIDs as UUID, properties as dict."""
        if self.records is not None:
            return [dict(record) for record in self.records]
        names = self.columns
        columns = [self._values(index) for index in range(len(names))]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def to_arrow(self, *, uuids: bool = False) -> Any:
        """Return the rows as a `pyarrow.Table`, `properties` as JSON text.

        Args:
            uuids: Use Arrow's UUID type for columns of UUIDs, rather than text.

        Raises:
            DecodeError: A value does not have the type of its column.
            ImportError: pyarrow is not installed: `pip install 'asyncposthog[arrow]'`.
        """
        self.check_columns()
        from asyncposthog.query.arrow import arrow_table

        return arrow_table(self.columns, self.types, self.raw_columns, uuids=uuids)

    def check_columns(self) -> None:
        """Check that no item has a field that is not a column, whose value would be lost.

        Raises:
            ExportError: An item has one.
        """
        if self.extra_fields:
            raise ExportError(
                f"Some items have {', '.join(self.extra_fields)}, which is not on the first page.",
                suggestion="Name the columns to export, or export to JSONL.",
            )

    def slice(self, start: int, stop: int) -> Batch:
        """Return the rows from index `start` up to but not including `stop`."""
        position = self.position
        return Batch(
            columns=self.columns,
            types=self.types,
            raw_columns=tuple(column[start:stop] for column in self.raw_columns),
            json=self.json,
            keys=self.keys[start:stop],
            times=self.times[start:stop],
            records=None if self.records is None else self.records[start:stop],
            extra_fields=self.extra_fields,
            position=lambda n: position(start + n),
        )


def parse_json_object(value: Any) -> Any:
    """Return the object that a JSON text holds. Any other value is returned unchanged."""
    if not isinstance(value, str):
        return value
    try:
        parsed = from_json(value, allow_inf_nan=False)
    except ValueError:
        return value
    return cast("object", parsed) if isinstance(parsed, dict) else value
