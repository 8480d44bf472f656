"""Some rows of an export, as they came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic_core import from_json

from asyncposthog.errors import ExportError
from asyncposthog.query.clickhouse import ColumnType
from asyncposthog.query.convert import convert_column

__all__ = ["Batch", "json_object"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of an export, in their order. It is also a sequence of dicts, as iteration gives them.

    `len(batch)`, `batch.dicts()`, `batch.to_arrow()`.
    """

    columns: tuple[str, ...]
    """The names of the columns."""
    types: tuple[ColumnType, ...]
    """Their ClickHouse types."""
    raw_columns: Sequence[Sequence[Any]]
    """The values by column as they came in JSON: times are text, and so are `properties`."""
    json: frozenset[int] = frozenset()
    """Which columns hold JSON as text, by their places."""
    keys: Sequence[str] = ()
    """What tells rows of one time apart, as text; of a list, the ids of its items."""
    times: Sequence[str] = ()
    """The time that each row is ordered by, as ClickHouse writes it, in UTC."""
    records: Sequence[Mapping[str, Any]] | None = None
    """What the rows are made of, where they may have fields that are no columns."""
    unknown: tuple[str, ...] = ()
    """Those fields."""
    position: Callable[[int], Any] = field(default=lambda _: None, repr=False)
    """Where to go on behind the first n rows, as JSON data."""

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.raw_columns[0]) if self.raw_columns else 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as dicts of Python values."""
        return iter(self.dicts())

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows as they came."""
        return list(zip(*self.raw_columns, strict=True))

    def column(self, name: str) -> Sequence[Any]:
        """Return the values of a column, as Python has them.

        Raises:
            KeyError: There is no such column.
        """
        if name not in self.columns:
            raise KeyError(f"{name!r}: there are {', '.join(self.columns)}")
        return self._values(self.columns.index(name))

    def _values(self, place: int) -> Sequence[Any]:
        values = self.raw_columns[place]
        if place in self.json:
            return [json_object(value) for value in values]
        return convert_column(self.types[place], values)

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts: times as datetime, UUIDs as UUID, properties as dict."""
        if self.records is not None:
            return [dict(record) for record in self.records]
        names = self.columns
        columns = [self._values(place) for place in range(len(names))]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def to_arrow(self, *, uuids: bool = False) -> Any:
        """Return the rows as a `pyarrow.Table`, `properties` as JSON text.

        Args:
            uuids: Whether columns of UUIDs have Arrow's own type, rather than being text.

        Raises:
            DecodeError: A value is not of its column's type.
            ImportError: pyarrow is not installed: `pip install 'asyncposthog[arrow]'`.
        """
        self.check_columns()
        from asyncposthog.query.arrow import arrow_table

        return arrow_table(self.columns, self.types, self.raw_columns, uuids=uuids)

    def check_columns(self) -> None:
        """Refuse rows that have more than the columns.

        Raises:
            ExportError: They have, so that something would be lost.
        """
        if self.unknown:
            raise ExportError(
                f"Some items have {', '.join(self.unknown)}, which the first page has not.",
                suggestion="Name the columns to export, or export to JSONL.",
            )

    def cut(self, start: int, stop: int) -> Batch:
        """Return some of the rows."""
        position = self.position
        return Batch(
            columns=self.columns,
            types=self.types,
            raw_columns=tuple(column[start:stop] for column in self.raw_columns),
            json=self.json,
            keys=self.keys[start:stop],
            times=self.times[start:stop],
            records=None if self.records is None else self.records[start:stop],
            unknown=self.unknown,
            position=lambda n: position(start + n),
        )


def json_object(value: Any) -> Any:
    """Return what a JSON text says; what is not the text of an object stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        found = from_json(value, allow_inf_nan=False)
    except ValueError:
        return value
    return cast("object", found) if isinstance(found, dict) else value
