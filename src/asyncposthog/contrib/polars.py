"""Events as a Polars LazyFrame: `scan_events(ph, start, end)`. Needs `asyncposthog[polars]`.

```python
frame = scan_events(ph).filter(pl.col("timestamp") >= start).select("uuid", "timestamp").head(1000)
frame.collect()
```

Columns, ranges of `timestamp` and limits of a query are pushed down to the server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from asyncposthog.export.service import Export
from asyncposthog.export.table_scan import TableScan, TimeRange, scan_job
from asyncposthog.export.timestamps import to_micros

try:
    import polars as pl
    from polars.io.plugins import register_io_source
except ImportError:
    raise ImportError("This needs polars: pip install 'asyncposthog[polars]'.") from None

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = ["scan_events", "scan_persons", "scan_sessions"]

_EPOCH_START: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_FAR_END: Final = datetime.fromisoformat("9999-01-01T00:00:00+00:00")


def scan_events(
    client: AsyncPostHog,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    event: str | Sequence[str] | None = None,
    where: str | None = None,
    columns: Sequence[str] | None = None,
    values: Mapping[str, Any] | None = None,
) -> pl.LazyFrame:
    """Return events as a LazyFrame. They are read each time that it is collected.

    Args:
        client: The client whose settings and rate limits are used. It may be in use in an event
            loop, or in none.
        start: The start of the range, with a time zone; None: a filter of `timestamp` has to give
            it.
        end: The end of the range, exclusive; None: now.
        event: As in `ph.export.events`.
        where: As in `ph.export.events`.
        columns: As in `ph.export.events`. Their types are asked for with a query of no rows.
        values: As in `ph.export.events`.

    Raises:
        TypeError, ValueError: An argument is invalid.
        PostHogError: The types of `columns` could not be asked for.
    """
    job = _export(client).events(
        start or _EPOCH_START, end or _FAR_END,
        event=event, where=where, columns=columns, values=values, engine="query",
    )  # fmt: skip
    return _scan(scan_job(job, default_columns=columns is None, range=_range(start, end)))


def scan_persons(
    client: AsyncPostHog,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    where: str | None = None,
    columns: Sequence[str] | None = None,
    values: Mapping[str, Any] | None = None,
) -> pl.LazyFrame:
    """Return persons as a LazyFrame, by the time of their creation; all by default.

    The arguments are those of `scan_events`; the time is `created_at`.

    Raises:
        TypeError, ValueError: An argument is invalid.
        PostHogError: The types of `columns` could not be asked for.
    """
    job = _export(client).persons(start, end, where=where, columns=columns, values=values)
    return _scan(scan_job(job, default_columns=columns is None, range=_range(start, end)))


def scan_sessions(
    client: AsyncPostHog,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    where: str | None = None,
    columns: Sequence[str] | None = None,
    values: Mapping[str, Any] | None = None,
) -> pl.LazyFrame:
    """Return sessions as a LazyFrame, by their start.

    The arguments are those of `scan_events`; the time is `$start_timestamp`.

    Raises:
        TypeError, ValueError: An argument is invalid.
        PostHogError: The types of `columns` could not be asked for.
    """
    job = _export(client).sessions(
        start or _EPOCH_START, end or _FAR_END, where=where, columns=columns, values=values
    )
    return _scan(scan_job(job, default_columns=columns is None, range=_range(start, end)))


def _export(client: AsyncPostHog) -> Export:
    return client.export


def _range(start: datetime | None, end: datetime | None) -> TimeRange:
    return TimeRange(
        None if start is None else to_micros(start, "start"),
        None if end is None else to_micros(end, "end"),
    )


class _ScanFrame(pl.LazyFrame):
    """A LazyFrame whose first filters by time narrow the scan itself.

    Polars passes a limit to a source only if no filter stands between them, because a source
    applies its limit before the filter. A range of time that the scan has taken over is no filter.
    """

    _scan: TableScan | None = None

    def filter(self, *predicates: Any, **constraints: Any) -> pl.LazyFrame:
        """Narrow the scan by ranges of time, and filter by everything else."""
        scan, column = self._scan, None if self._scan is None else self._scan.time_column
        if scan is None or column is None or not all(isinstance(p, pl.Expr) for p in predicates):
            return super().filter(*predicates, **constraints)
        rest: list[pl.Expr] = []
        for predicate in cast("tuple[pl.Expr, ...]", predicates):
            found, is_complete = time_range(predicate, column)
            scan = scan.between(found)
            if not is_complete:
                rest.append(predicate)
        frame = _scan(scan)
        if not rest and not constraints:
            return frame
        return pl.LazyFrame.filter(frame, *rest, **constraints)


def _scan(scan: TableScan) -> pl.LazyFrame:
    schema = cast("Any", pl).from_arrow(scan.schema.empty_table()).schema

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        within = TimeRange()
        column = scan.time_column
        if predicate is not None and column is not None and n_rows is None:
            within, _ = time_range(predicate, column)
        # Without columns, only the number of rows is needed: any column has it.
        names = with_columns or ([schema.names()[0]] if with_columns is not None else None)
        reader = scan.read(names, within, n_rows)
        for batch in reader:
            frame = cast("pl.DataFrame", cast("Any", pl).from_arrow(batch))
            yield frame if predicate is None else frame.filter(predicate)

    frame = register_io_source(
        source, schema=schema, explain_name="posthog", explain_detail=scan.request.kind
    )
    narrowing = cast("_ScanFrame", cast("Any", _ScanFrame)._from_pyldf(cast("Any", frame)._ldf))
    narrowing._scan = scan  # pyright: ignore[reportPrivateUsage]
    return narrowing


def time_range(predicate: pl.Expr, column: str) -> tuple[TimeRange, bool]:
    """Return the range of times that a predicate needs, and whether it asks for nothing else.

    What is not understood does not narrow the range, and Polars applies it.

    Args:
        predicate: A predicate.
        column: The column with the time.
    """
    try:
        node: Any = json.loads(predicate.meta.serialize(format="json"))
        return _node_range(node, column)
    except (ValueError, LookupError, TypeError, pl.exceptions.PolarsError):
        return TimeRange(), False


def _node_range(node: Any, column: str) -> tuple[TimeRange, bool]:
    match node:
        case {"BinaryExpr": {"left": left, "op": "And" | "LogicalAnd", "right": right}}:
            return _intersect(_node_range(side, column) for side in (left, right))
        case {"BinaryExpr": {"left": {"Column": name}, "op": op, "right": literal}} if (
            name == column
        ):
            return _comparison(op, literal)
        case {"BinaryExpr": {"left": literal, "op": op, "right": {"Column": name}}} if (
            name == column
        ):
            return _comparison(_MIRRORED.get(op, ""), literal)
        case {
            "Function": {
                "input": [{"Column": name}, low, high],
                "function": {"Boolean": {"IsBetween": {"closed": closed}}},
            }
        } if name == column:
            lower = "GtEq" if closed in {"Both", "Left"} else "Gt"
            upper = "LtEq" if closed in {"Both", "Right"} else "Lt"
            return _intersect((_comparison(lower, low), _comparison(upper, high)))
        case _:
            return TimeRange(), False


_MIRRORED: Final = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq", "Eq": "Eq"}


def _intersect(parts: Iterable[tuple[TimeRange, bool]]) -> tuple[TimeRange, bool]:
    whole, is_complete = TimeRange(), True
    for part, part_is_complete in parts:
        whole, is_complete = whole.intersect(part), is_complete and part_is_complete
    return whole, is_complete


def _comparison(op: str, literal: Any) -> tuple[TimeRange, bool]:
    """Return the range of a comparison of the time with a literal of microseconds in a zone."""
    match literal:
        case {"Literal": {"Scalar": {"Datetime": [int(micros), "Microseconds", zone]}}} if zone:
            pass
        case _:
            return TimeRange(), False
    match op:
        case "GtEq":
            return TimeRange(start=micros), True
        case "Gt":
            return TimeRange(start=micros + 1), True
        case "Lt":
            return TimeRange(end=micros), True
        case "LtEq":
            return TimeRange(end=micros + 1), True
        case "Eq":
            return TimeRange(micros, micros + 1), True
        case _:
            return TimeRange(), False
