"""PostHog in DuckDB: `connect(ph)` gives a connection with tables such as `posthog_events`.

```python
con = connect(ph)
con.sql("SELECT event, count(*) FROM posthog_events WHERE timestamp >= '2026-01-01' GROUP BY ALL")
```

DuckDB asks each table for the columns and the rows that a query needs. Columns and ranges of time
are pushed down to the server, and everything else is computed here. Needs `asyncposthog[duckdb]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from asyncposthog.export.job import ExportJob
from asyncposthog.export.list_columns import item_columns
from asyncposthog.export.table_scan import TableScan, TimeRange, scan_job
from asyncposthog.export.timestamps import to_micros
from asyncposthog.pagination import Cursor

try:
    import duckdb

    pa: Any = import_module("pyarrow")  # it has no type annotations
    _Dataset: Any = import_module("pyarrow.dataset").Dataset
except ImportError:
    raise ImportError("This needs duckdb: pip install 'asyncposthog[duckdb]'.") from None

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = ["PREFIX", "connect", "register"]

Schema: TypeAlias = Any
Expression: TypeAlias = Any
Rows: TypeAlias = "ExportJob | Cursor[Any]"

PREFIX: Final = "posthog_"
"""Prefix of the names of tables."""
_LISTS: Final[Mapping[str, Callable[[AsyncPostHog], Cursor[Any]]]] = {
    "actions": lambda ph: ph.actions.list(),
    "annotations": lambda ph: ph.annotations.list(),
    "cohorts": lambda ph: ph.cohorts.list(),
    "dashboards": lambda ph: ph.dashboards.list(),
    "experiments": lambda ph: ph.experiments.list(),
    "flags": lambda ph: ph.feature_flags.list(),
    "insights": lambda ph: ph.insights.list(),
    "surveys": lambda ph: ph.surveys.list(),
}
_COMPARISON: Final = re.compile(
    r"(?P<column>.+?) (?P<op>>=|<=|==|>|<) "
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})?)Z",
    re.DOTALL,
)
"""A comparison with a time in UTC, as pyarrow prints it."""


def connect(
    client: AsyncPostHog,
    database: str = ":memory:",
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    tables: Mapping[str, Rows] | None = None,
    **settings: Any,
) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection in which PostHog's data are tables.

    `posthog_events`, `posthog_persons`, `posthog_sessions`, `posthog_groups`, and the lists
    `posthog_actions`, `_annotations`, `_cohorts`, `_dashboards`, `_experiments`, `_flags`,
    `_insights` and `_surveys`. They are read anew by each query. Nothing is sent before.

    Args:
        client: The client whose settings and rate limits are used. It may be in use in an event
            loop, or in none.
        database: The database of DuckDB, by default one in memory.
        start: The start of events and sessions, with a time zone; None: each query needs a
            condition such as `timestamp >= '2026-01-01'`.
        end: Their end, exclusive; None: now.
        tables: More tables by name: lists such as `ph.notebooks.list()`, and exports, whose first
            page is read now for their columns.
        **settings: Arguments of `duckdb.connect`.

    Raises:
        ConfigurationError: The client cannot be used in another event loop.
        ValueError: A time has no time zone.
    """
    connection = duckdb.connect(database, **settings)
    try:
        register(client, connection, start=start, end=end, tables=tables)
    except BaseException:
        connection.close()
        raise
    return connection


def register(
    client: AsyncPostHog,
    connection: duckdb.DuckDBPyConnection,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    tables: Mapping[str, Rows] | None = None,
) -> None:
    """Add the tables of `connect` to an open DuckDB connection.

    Args:
        client: See `connect`.
        connection: The connection.
        start: See `connect`.
        end: See `connect`.
        tables: See `connect`.

    Raises:
        ValueError: A time has no time zone.
    """
    given = TimeRange(
        None if start is None else to_micros(start, "start"),
        None if end is None else to_micros(end, "end"),
    )
    first, last = _EARLIEST, _LATEST
    export = client.export
    jobs = {
        "events": export.events(first, last, engine="query"),
        "sessions": export.sessions(first, last),
        "persons": export.persons(),
        "groups": export.groups(),
    }
    for name, job in jobs.items():
        bounds = given if name in {"events", "sessions"} else TimeRange()
        scan = scan_job(job, default_columns=True, range=bounds)
        connection.register(f"{PREFIX}{name}", _TableDataset(scan))
    for name, list_of in _LISTS.items():
        connection.register(f"{PREFIX}{name}", _list_dataset(client, list_of(client)))
    for name, rows in (tables or {}).items():
        is_list = isinstance(rows, Cursor)
        dataset = _list_dataset(client, rows) if is_list else _JobDataset(rows)
        connection.register(name, dataset)


_EARLIEST: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_LATEST: Final = datetime.fromisoformat("9999-01-01T00:00:00+00:00")


def _list_dataset(client: AsyncPostHog, rows: Cursor[Any]) -> _JobDataset:
    """Return a list as a table of text, with the fields that its schema names."""
    columns = item_columns(rows.operation)
    if not columns:
        return _JobDataset(client.export.list(rows))
    schema = pa.schema([(name, pa.string()) for name in columns])
    return _JobDataset(client.export.list(rows, columns=columns), schema)


class _Scanner:
    """What DuckDB reads: the columns and rows that it asked for."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.projected_schema = reader.schema

    def to_reader(self) -> Any:
        """Return the record batches."""
        return self._reader


class _TableDataset(_Dataset):
    """A table of which DuckDB reads some columns and a range of time."""

    # DuckDB passes columns and filters only to pyarrow datasets, and calls nothing but `schema`
    # and `scanner` of them.

    def __init__(self, scan: TableScan) -> None:
        self._scan = scan

    @property
    def schema(self) -> Schema:
        return self._scan.schema

    def scanner(
        self, columns: list[str] | None = None, filter: Expression = None, **more: Any
    ) -> _Scanner:
        """Return the rows that a query needs."""
        names = list(columns) if columns is not None else list(self._scan.schema.names)
        if filter is None:
            return _Scanner(self._scan.read(names))
        text, column = str(filter), self._scan.time_column
        within, is_complete = time_range(text, column) if column else (TimeRange(), False)
        if is_complete:
            return _Scanner(self._scan.read(names, within))
        # The filter may need more columns. One whose name only occurs in a text does no harm.
        needed = [n for n in self._scan.schema.names if n in names or n in text]
        return _Scanner(_filtered(self._scan.read(needed, within), names, filter))


class _JobDataset(_Dataset):
    """The rows of an export or a list, which are read as a whole by each query."""

    def __init__(self, job: ExportJob, schema: Schema = None) -> None:
        self._job = job
        self._schema = schema

    @property
    def schema(self) -> Schema:
        if self._schema is None:
            reader = _reader(self._job)
            self._schema = reader.schema
        return self._schema

    def scanner(
        self, columns: list[str] | None = None, filter: Expression = None, **more: Any
    ) -> _Scanner:
        """Return the rows that a query needs."""
        reader = _reader(self._job)
        names = list(columns) if columns is not None else list(reader.schema.names)
        return _Scanner(_filtered(reader, names, filter))


def _reader(job: ExportJob) -> Any:
    return cast("Any", job).to_reader()


def _filtered(reader: Any, names: list[str], filter: Expression) -> Any:
    """Return a reader of some columns of the rows that a filter selects."""
    schema = pa.schema([reader.schema.field(name) for name in names])

    def batches() -> Iterator[Any]:
        for batch in reader:
            if filter is None:
                yield batch.select(names)
                continue
            table = pa.Table.from_batches([batch]).filter(filter).select(names)
            yield from table.to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def time_range(text: str, column: str) -> tuple[TimeRange, bool]:
    """Return the range of times that a filter needs, and whether it asks for nothing else.

    What is not understood does not narrow the range.

    Args:
        text: The filter as pyarrow prints it: `((timestamp >= 2026-01-01 00:00:00Z) and …)`.
        column: The column with the time.
    """
    whole, is_complete = TimeRange(), True
    for part in _conjuncts(text):
        match = _COMPARISON.fullmatch(part)
        if match is None or match["column"] != column:
            is_complete = False
            continue
        micros = _micros(match["time"])
        if micros is None:
            is_complete = False
            continue
        whole = whole.intersect({
            ">=": TimeRange(start=micros),
            ">": TimeRange(start=micros + 1),
            "<": TimeRange(end=micros),
            "<=": TimeRange(end=micros + 1),
            "==": TimeRange(micros, micros + 1),
        }[match["op"]])  # fmt: skip
    return whole, is_complete


def _conjuncts(text: str) -> list[str]:
    """Return the parts of a printed filter that are joined by `and`, without their brackets."""
    text = text.strip()
    parts: list[str] = []
    depth, position, quoted, start = 0, 0, False, 0
    encloses = text.startswith("(")
    while position < len(text):
        character = text[position]
        if character == "\\" and quoted:
            position += 1
        elif character == '"':
            quoted = not quoted
        elif not quoted and character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0 and position < len(text) - 1:
                encloses = False
        elif not quoted and depth == 0 and text.startswith(" and ", position):
            parts.append(text[start:position])
            position += 4
            start = position + 1
        position += 1
    if encloses and depth == 0 and not quoted:
        return _conjuncts(text[1:-1])
    if not parts:
        return [text]
    return [inner for part in (*parts, text[start:]) for inner in _conjuncts(part)]


def _micros(text: str) -> int | None:
    """Return a time as microseconds since 1970; None if it is finer than that."""
    whole, _, fraction = text.partition(".")
    if fraction[6:].strip("0"):
        return None
    return to_micros(datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00"), "time")
