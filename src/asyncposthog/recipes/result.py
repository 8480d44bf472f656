"""The base class of the results of recipes: rows, tables and charts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from . import tables
from .conditions import QueryBuilder
from .figures import Figure
from .periods import Period

if TYPE_CHECKING:
    import altair
    import pandas
    import polars
    import pyarrow

    from asyncposthog.client import AsyncPostHog
    from asyncposthog.query.result import QueryResult

__all__ = ["RecipeResult", "run"]

RowT = TypeVar("RowT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeResult(Generic[RowT]):
    """Rows, which are frozen dataclasses, and what was asked for.

    Iterating yields the rows; `len()` is their number.
    """

    row_type: ClassVar[type]
    """The class of the rows, whose fields are the columns of tables."""

    rows: tuple[RowT, ...]
    period: Period
    """The range of time that was read."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[RowT]:
        """Iterate over the rows."""
        return iter(self.rows)

    def __getitem__(self, index: int) -> RowT:
        """Return a row."""
        return self.rows[index]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns: the fields of a row."""
        return tables.column_names(self.row_type)

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts by column name."""
        return [{name: getattr(row, name) for name in self.columns} for row in self.rows]

    def to_arrow(self) -> pyarrow.Table:  # pyright: ignore[reportUnknownMemberType, reportUnknownParameterType]
        """Return a `pyarrow.Table`. Extra: `arrow`.

        Raises:
            ImportError: The extra is not installed.
        """
        return tables.to_arrow(self.row_type, self.rows)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def to_polars(self) -> polars.DataFrame:
        """Return a `polars.DataFrame`. Extra: `polars`.

        Raises:
            ImportError: The extra is not installed.
        """
        return tables.to_polars(self.row_type, self.rows)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a `pandas.DataFrame`. Extra: `pandas`.

        Raises:
            ImportError: The extra is not installed.
        """
        return tables.to_pandas(self.row_type, self.rows)

    def figure(self) -> Figure:
        """Return the chart as plain data, from which `plot` and the terminal draw it."""
        raise NotImplementedError

    def plot(self) -> altair.LayerChart:
        """Return the chart as an Altair chart, which notebooks display. Extra: `charts`.

        Raises:
            ImportError: The extra is not installed.
        """
        from .altair_charts import draw

        return draw(self.figure())

    def save(self, path: str | os.PathLike[str], *, scale: float = 2) -> None:
        """Write the chart as a picture, without a browser or the network. Extra: `charts`.

        Args:
            path: A file that ends in `.png`, `.svg`, or `.html` for a page that needs no network.
            scale: Pixels of a PNG per unit of the chart.

        Raises:
            ImportError: The extra is not installed.
            ValueError: The name has another ending.
        """
        from .altair_charts import save

        save(self.plot(), path, scale=scale)


async def run(
    ph: AsyncPostHog,
    sql: str,
    builder: QueryBuilder,
    name: str,
    timeout: float | None,  # noqa: ASYNC109
) -> QueryResult:
    """Run a query of a recipe with those of the values that it has placeholders for."""
    used = {key: value for key, value in builder.values.items() if f"{{{key}}}" in sql}
    return await ph.query(sql, used or None, name=f"recipe: {name}", timeout=timeout)
