"""A source for dlt pipelines: events, persons, sessions, groups, lists and HogQL. Extra: `dlt`.

Rows are Arrow tables, and the state of what was loaded is dlt's own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

try:
    import dlt
    from dlt.common.typing import TSecretStrValue
except ImportError:
    raise ImportError("The dlt source needs dlt: pip install 'asyncposthog[dlt]'") from None

from asyncposthog.client import AsyncPostHog
from asyncposthog.export.job import ExportJob
from asyncposthog.pagination import Cursor
from asyncposthog.query.arrow import pyarrow_module

if TYPE_CHECKING:
    from dlt.extract import DltResource

__all__ = ["hogql", "posthog"]

MakeJob: TypeAlias = Callable[[AsyncPostHog, datetime, datetime], ExportJob]
"""Returns the export of a time range."""

_LOOK_BACK: Final = timedelta(days=1)
_SNAPSHOTS: Final[dict[str, Callable[[AsyncPostHog], Cursor[Any]]]] = {
    "cohorts": lambda ph: ph.cohorts.list(),
    "feature_flags": lambda ph: ph.feature_flags.list(),
    "insights": lambda ph: ph.insights.list(),
    "experiments": lambda ph: ph.experiments.list(),
    "surveys": lambda ph: ph.surveys.list(),
}


@dlt.source(name="posthog", section="posthog", max_table_nesting=0)
def posthog(
    start: datetime,
    end: datetime | None = None,
    look_back: timedelta = _LOOK_BACK,
    api_key: TSecretStrValue | None = None,
    host: str | None = None,
    project_id: int | None = None,
) -> Sequence[DltResource]:
    """Return the resources of a project; choose some with `.with_resources("events", "cohorts")`.

    | resource | how it is loaded |
    |---|---|
    | `events`, `sessions` | new ones by their time, and `look_back` again; merged by their id |
    | `persons`, `groups` | all, because they change; merged by their id |
    | `cohorts`, `feature_flags`, `insights`, `experiments`, `surveys` | all; replaced |

    Args:
        start: Start of events and sessions in the first run: a datetime with a time zone.
        end: End of events and sessions, exclusive; None: when the pipeline runs.
        look_back: How much of the time before the newest loaded row is read again, for rows that
            arrived late and for sessions that went on.
        api_key: A personal API key, also as `sources.posthog.api_key` in dlt's secrets; None: that
            of the client's environment variables.
        host: The URL of the instance; None: as for `api_key`.
        project_id: The id of the project; None: as for `api_key`.

    Raises:
        ValueError: A datetime has no time zone, or `look_back` is negative.
        ImportError: pyarrow is not installed.
    """
    _check_range(start, end, look_back)
    connect = partial(_connect, api_key, host, project_id)

    def events(ph: AsyncPostHog, first: datetime, last: datetime) -> ExportJob:
        return ph.export.events(first, last)

    def sessions(ph: AsyncPostHog, first: datetime, last: datetime) -> ExportJob:
        return ph.export.sessions(first, last)

    return [
        _incremental("events", "uuid", "timestamp", start, end, look_back, connect, events),
        _incremental(
            "sessions", "session_id", "start_timestamp", start, end, look_back, connect, sessions
        ),
        _whole("persons", connect, lambda ph: ph.export.persons(), primary_key="id"),
        _whole("groups", connect, lambda ph: ph.export.groups(), primary_key=["index", "key"]),
        *(
            _whole(name, connect, partial(_snapshot, make_cursor))
            for name, make_cursor in _SNAPSHOTS.items()
        ),
    ]


def hogql(
    name: str,
    sql: str,
    *,
    key: str | tuple[str, str],
    start: datetime | None = None,
    end: datetime | None = None,
    look_back: timedelta = _LOOK_BACK,
    api_key: str | None = None,
    host: str | None = None,
    project_id: int | None = None,
) -> DltResource:
    """Return a resource with the rows of a HogQL query.

    With `start`, rows are loaded by their time and merged by the key. Without it, all rows are
    loaded and replace those of the last run.

    Args:
        name: The name of the resource and of its table.
        sql: A SELECT without LIMIT and ORDER BY.
        key: A unique column of the result; with `start`, a pair of a time column and a column that
            is unique.
        start: See `posthog`.
        end: See `posthog`.
        look_back: See `posthog`.
        api_key: A personal API key; None: that of the client's environment variables.
        host: See `posthog`.
        project_id: See `posthog`.

    Raises:
        ValueError: `start` is given and `key` is not a pair, or as for `posthog`.
        ImportError: pyarrow is not installed.
    """
    pyarrow_module()
    connect = partial(_connect, api_key, host, project_id)
    if start is None:
        return _whole(name, connect, lambda ph: ph.export.hogql(sql, key=key))
    if isinstance(key, str):
        raise ValueError("with start=, key must be a pair of a time column and a unique column")
    _check_range(start, end, look_back)
    time, unique = key

    def make_job(ph: AsyncPostHog, first: datetime, last: datetime) -> ExportJob:
        return ph.export.hogql(sql, key=(time, unique), start=first, end=last)

    return _incremental(
        name,
        _column_name(unique),
        _column_name(time),
        start,
        end,
        look_back,
        connect,
        make_job,
    )


def _check_range(start: datetime, end: datetime | None, look_back: timedelta) -> None:
    pyarrow_module()
    for name, value in (("start", start), ("end", end)):
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{name} must have a time zone: datetime(2026, 1, 1, tzinfo=UTC)")
    if look_back < timedelta(0):
        raise ValueError("look_back must not be negative")


def _connect(api_key: str | None, host: str | None, project_id: int | None) -> AsyncPostHog:
    return AsyncPostHog(api_key, host=host, project_id=project_id)


def _snapshot(make_cursor: Callable[[AsyncPostHog], Cursor[Any]], ph: AsyncPostHog) -> ExportJob:
    return ph.export.list(make_cursor(ph))


def _incremental(
    name: str,
    primary_key: str,
    time: str,
    start: datetime,
    end: datetime | None,
    look_back: timedelta,
    connect: Callable[[], AsyncPostHog],
    make_job: MakeJob,
) -> DltResource:
    """Return a resource of rows that are loaded by their time and merged by their key."""
    initial: Any = dlt.sources.incremental(
        time, initial_value=start, lag=look_back.total_seconds(), range_start="closed"
    )

    async def read(position: Any = initial) -> AsyncGenerator[Any]:
        # dlt has subtracted the look-back already.
        first = max(position.start_value, start)
        last = datetime.now(UTC) if end is None else end
        if first < last:
            async with connect() as ph:
                async for table in _tables(make_job(ph, first, last)):
                    yield table

    return dlt.resource(read, name=name, primary_key=primary_key, write_disposition="merge")


def _whole(
    name: str,
    connect: Callable[[], AsyncPostHog],
    make_job: Callable[[AsyncPostHog], ExportJob],
    primary_key: str | list[str] | None = None,
) -> DltResource:
    """Return a resource of rows that are all loaded in every run."""

    async def read() -> AsyncGenerator[Any]:
        async with connect() as ph:
            async for table in _tables(make_job(ph)):
                yield table

    if primary_key is None:
        return dlt.resource(read, name=name, write_disposition="replace")
    return dlt.resource(read, name=name, primary_key=primary_key, write_disposition="merge")


async def _tables(job: ExportJob) -> AsyncIterator[Any]:
    """Yield Arrow tables without the `$` at the start of names, which paths in dlt cannot have."""
    async for batch in job.batches():
        table = batch.to_arrow()
        yield table.rename_columns([_column_name(column) for column in table.column_names])


def _column_name(column: str) -> str:
    return column.removeprefix("$")
