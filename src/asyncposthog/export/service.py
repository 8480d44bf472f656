"""`ph.export`: exports of events, persons, sessions, groups, HogQL queries and lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from asyncposthog.core.executor import Executor, PageFetcher
from asyncposthog.export.engines.listing import ListRequest
from asyncposthog.pagination import Cursor
from asyncposthog.pagination.cursor import get_fetch
from asyncposthog.query.sql_scan import scan_sql
from asyncposthog.query.values import bind
from asyncposthog.types import JSON, RequestOptions

from .job import ExportJob
from .partition import Partition
from .request import EngineName, QueryRequest
from .source import Source
from .timestamps import duration_micros, to_micros

if TYPE_CHECKING:
    from .destinations import Destination
    from .scheduled import Interval, Model, ScheduledExport
    from .scheduled import OnProgress as OnBackfill

__all__ = ["Export"]

EVENTS: Final = Source(
    kind="events",
    table="events",
    columns=(
        "uuid", "event", "timestamp", "distinct_id", "person_id", "properties", "elements_chain",
        "created_at",
    ),
    time="events.timestamp",
    key="events.uuid",
    json=frozenset({"properties"}),
)  # fmt: skip
_PERSONS: Final = Source(
    kind="persons",
    table="persons",
    columns=("id", "created_at", "properties", "is_identified"),
    time="persons.created_at",
    key="persons.id",
    json=frozenset({"properties"}),
)
_SESSIONS: Final = Source(
    kind="sessions",
    table="sessions",
    columns=(
        "session_id", "distinct_id", "$start_timestamp", "$end_timestamp", "$session_duration",
        "$entry_current_url", "$end_current_url", "$pageview_count", "$autocapture_count",
        "$is_bounce",
    ),
    time="sessions.$start_timestamp",
    key="sessions.session_id",
)  # fmt: skip
_GROUPS: Final = Source(
    kind="groups",
    table="groups",
    columns=("index", "key", "created_at", "properties"),
    time="groups.created_at",
    # Keys are unique within a group type only.
    key="concat(toString(groups.index), ':', groups.key)",
    json=frozenset({"properties"}),
)
_MAX_PAGE_SIZE: Final = 50_000


class Export:
    """Exports of many rows: each exactly once, in constant memory.

    Its methods return an `ExportJob` and send nothing, except for `schedule`.
    """

    def __init__(self, executor: Executor) -> None:
        """Store the executor, which performs the calls."""
        self._executor = executor

    def __repr__(self) -> str:
        """Show the name of the namespace."""
        return "<Export>"

    def events(
        self,
        start: datetime,
        end: datetime,
        *,
        event: str | Sequence[str] | None = None,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        values: Mapping[str, Any] | None = None,
        min_age: timedelta | float = 0,
        overlap: timedelta | float = 0,
        ordered: bool = True,
        engine: EngineName = "auto",
        concurrency: int = 3,
        page_size: int = 50_000,
        options: RequestOptions | None = None,
    ) -> ExportJob:
        """Export events by their timestamp, from `start` up to but not including `end`.

        `POST /api/projects/{project_id}/query/`; scope `query:read`.

        Args:
            start: Start of the range: a datetime with a time zone.
            end: End of the range, exclusive: a datetime with a time zone.
            event: The name of an event, or a list of names; None: all events.
            where: A HogQL condition: `properties.$browser = {browser}`.
            columns: HogQL expressions; by default uuid, event, timestamp, distinct_id, person_id,
                properties, elements_chain and created_at.
            values: Values of the placeholders in `where` and `columns`.
            min_age: Leave out events younger than this, a timedelta or seconds, because some events
                arrive late. The end is moved to that long ago if it is later.
            overlap: A timedelta or seconds. A later export with the same checkpoint, a later end
                and another output continues where this one ended, reads this much of its end again,
                and leaves out the rows that were delivered, by their keys. An end in the future is
                moved to now. Needs `checkpoint=` in the `to_…` call.
            ordered: Return rows in the order of their timestamps; False: as they arrive, which is a
                little faster. Files are always written in order.
            engine: `query`; `files`, PostHog's file downloads (needs `asyncposthog[parquet]`; no
                `where`, and no events that arrived more than four days late); or `auto`, which
                downloads files if there are more than ten million rows.
            concurrency: Queries in flight, 1 to 100; the server runs three of a project at a time.
            page_size: Rows of a query, 1 to 50,000.
            options: Options of the requests, in place of the client's settings.

        Raises:
            TypeError, ValueError: An argument is invalid: a datetime without a time zone, or an end
                that is not after the start.
        """
        conditions, all_values = _conditions(where), dict(values or {})
        if event is not None:
            names = [event] if isinstance(event, str) else list(event)
            if not names or not all(isinstance(cast("object", name), str) for name in names):
                raise ValueError("event must be the name of an event, or a list of names")
            if "export_events" in all_values:
                raise ValueError("values has export_events, which the export uses itself")
            conditions = ("events.event IN {export_events}", *conditions)
            all_values["export_events"] = names
        source = _build_source(EVENTS, columns, conditions, all_values)
        return self._job(
            source,
            start,
            end,
            min_age=min_age,
            overlap=overlap,
            ordered=ordered,
            engine=engine,
            concurrency=concurrency,
            page_size=page_size,
            options=options,
        )

    def persons(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        values: Mapping[str, Any] | None = None,
        min_age: timedelta | float = 0,
        overlap: timedelta | float = 0,
        ordered: bool = True,
        engine: EngineName = "auto",
        concurrency: int = 3,
        page_size: int = 50_000,
        options: RequestOptions | None = None,
    ) -> ExportJob:
        """Export persons by their creation time; all persons by default.

        `POST /api/projects/{project_id}/query/`; scope `query:read`.

        Args:
            start: Start of the range: a datetime with a time zone; None: the beginning.
            end: End of the range, exclusive; None: now.
            where: A HogQL condition.
            columns: HogQL expressions; by default id, created_at, properties and is_identified.
            values: Values of the placeholders in `where` and `columns`.
            min_age: See `events`.
            overlap: See `events`.
            ordered: See `events`.
            engine: See `events`.
            concurrency: See `events`.
            page_size: See `events`.
            options: See `events`.

        Raises:
            TypeError, ValueError: An argument is invalid.
        """
        source = _build_source(_PERSONS, columns, _conditions(where), values)
        return self._job(
            source,
            start,
            end,
            min_age=min_age,
            overlap=overlap,
            ordered=ordered,
            engine=engine,
            concurrency=concurrency,
            page_size=page_size,
            options=options,
        )

    def sessions(
        self,
        start: datetime,
        end: datetime,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        values: Mapping[str, Any] | None = None,
        min_age: timedelta | float = 0,
        overlap: timedelta | float = 0,
        ordered: bool = True,
        engine: EngineName = "auto",
        concurrency: int = 3,
        page_size: int = 50_000,
        options: RequestOptions | None = None,
    ) -> ExportJob:
        """Export sessions by their start time, in their current state: an active one still changes.

        `POST /api/projects/{project_id}/query/`; scope `query:read`.

        Args:
            start: Start of the range: a datetime with a time zone.
            end: End of the range, exclusive.
            where: A HogQL condition: `$session_duration > 60`.
            columns: HogQL expressions; by default session_id, distinct_id, $start_timestamp,
                $end_timestamp, $session_duration, $entry_current_url, $end_current_url,
                $pageview_count, $autocapture_count and $is_bounce.
            values: Values of the placeholders in `where` and `columns`.
            min_age: See `events`.
            overlap: See `events`.
            ordered: See `events`.
            engine: See `events`.
            concurrency: See `events`.
            page_size: See `events`.
            options: See `events`.

        Raises:
            TypeError, ValueError: An argument is invalid.
        """
        source = _build_source(_SESSIONS, columns, _conditions(where), values)
        return self._job(
            source,
            start,
            end,
            min_age=min_age,
            overlap=overlap,
            ordered=ordered,
            engine=engine,
            concurrency=concurrency,
            page_size=page_size,
            options=options,
        )

    def groups(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        values: Mapping[str, Any] | None = None,
        ordered: bool = True,
        concurrency: int = 3,
        page_size: int = 50_000,
        options: RequestOptions | None = None,
    ) -> ExportJob:
        """Export groups of all types by their creation time; all groups by default.

        `POST /api/projects/{project_id}/query/`; scope `query:read`. The arguments are those of
        `persons`.

        Raises:
            TypeError, ValueError: An argument is invalid.
        """
        source = _build_source(_GROUPS, columns, _conditions(where), values)
        return self._job(
            source,
            start,
            end,
            ordered=ordered,
            concurrency=concurrency,
            page_size=page_size,
            options=options,
        )

    def hogql(
        self,
        sql: str,
        *,
        key: str | tuple[str, str],
        start: datetime | None = None,
        end: datetime | None = None,
        values: Mapping[str, Any] | None = None,
        ordered: bool = True,
        concurrency: int = 3,
        page_size: int = 50_000,
        options: RequestOptions | None = None,
    ) -> ExportJob:
        """Export the rows of any HogQL query that has a key.

        The query is wrapped in another one that pages by the key, so it must not have a LIMIT or an
        ORDER BY of its own.

        `POST /api/projects/{project_id}/query/`; scope `query:read`.

        Args:
            sql: A SELECT without LIMIT.
            key: A unique column of the result, or a pair of a time column and a column that is
                unique among the rows of one time. Rows that share a key are exported too, as long
                as they fit on one page.
            start: Start of the time range; together with `end` it divides the export into windows
                that are read concurrently. Needs a pair as `key`.
            end: End of the time range, exclusive.
            values: Values of the placeholders in the query.
            ordered: See `events`.
            concurrency: See `events`.
            page_size: See `events`.
            options: See `events`.

        Raises:
            TypeError, ValueError: An argument is invalid.
        """
        if not isinstance(cast("object", sql), str):
            raise TypeError(f"hogql() takes HogQL as a str, not {type(sql).__name__}")
        inner, bound_values = bind(sql, values)
        clauses = scan_sql(sql).clauses
        if clauses:
            raise ValueError(
                f"hogql() pages by the key and cannot use the query's {', '.join(clauses)}: remove "
                "it, or put the query into a subquery"
            )
        key_columns = (key,) if isinstance(key, str) else tuple(key)
        if not 1 <= len(key_columns) <= 2 or not all(
            isinstance(cast("object", k), str) for k in key_columns
        ):
            raise ValueError("key must be a column name, or a pair of a time column and a column")
        has_time = start is not None or end is not None
        if has_time and (start is None or end is None or len(key_columns) == 1):
            raise ValueError("start and end need each other, and key=(time column, unique column)")
        names = [f"source.{_quote_column(name)}" for name in key_columns]
        source = Source(
            kind="hogql",
            table=f"(\n{inner}\n) AS source",
            # The wrapped query cannot tell whether its rows are unique, so equal rows are kept.
            columns=("*",),
            unique=False,
            time=names[0] if has_time else None,
            key=names[-1]
            if has_time or len(key_columns) == 1
            else f"concat(toString({names[0]}), ' ', toString({names[1]}))",
            values=bound_values,
            json=frozenset({"properties"}),
        )
        if has_time:
            return self._job(
                source,
                start,
                end,
                ordered=ordered,
                concurrency=concurrency,
                page_size=page_size,
                options=options,
            )
        _check_counts(concurrency, page_size)
        request = QueryRequest(
            source=source,
            page_size=page_size,
            ordered=ordered,
            engine="query",
            options=options,
        )
        return ExportJob(self._executor, request)

    def list(self, cursor: Cursor[Any], *, columns: Sequence[str] | None = None) -> ExportJob:
        """Export the objects of a list method: `ph.export.list(ph.cohorts.list())`.

        Rows have the server's field names. An interrupted export resumes at the page where it
        stopped; objects that change in the meantime are exported as they are then.

        Args:
            cursor: The cursor that a list method returned.
            columns: The fields to export; by default all. CSV and Parquet then have the fields of
                the first page, and a later object with another field is an error.

        Raises:
            TypeError: `cursor` is not a cursor.
        """
        if not isinstance(cast("object", cursor), Cursor):
            raise TypeError(
                f"list() takes the cursor of a list method, such as ph.cohorts.list(), not "
                f"{type(cursor).__name__}"
            )
        fetcher = get_fetch(cursor)
        assert isinstance(fetcher, PageFetcher)
        # The executor of the cursor, not of this namespace: the cursor may belong to a client with
        # other settings.
        return ExportJob(fetcher.executor, ListRequest(cursor, fetcher, _columns(columns)))

    def run(
        self, partition: Partition, *, ordered: bool | None = None, concurrency: int | None = None
    ) -> ExportJob:
        """Export one part of a plan, which may have been made on another machine.

        `await ph.export.run(partition).to_parquet("events/")`

        Args:
            partition: An element of the plan that `ExportJob.plan()` returned.
            ordered: As in `events`; None: that of the plan.
            concurrency: As in `events`; None: that of the plan.

        Raises:
            TypeError: `partition` is not a partition.
            ValueError: `concurrency` is not from 1 to 100.
        """
        if not isinstance(cast("object", partition), Partition):
            raise TypeError(f"run() takes a Partition, not {type(partition).__name__}")
        request = partition.request
        if ordered is not None:
            request = replace(request, ordered=ordered)
        if concurrency is not None:
            _check_counts(concurrency, request.page_size)
            request = replace(request, concurrency=concurrency)
        return ExportJob(self._executor, request)

    async def schedule(
        self,
        name: str,
        *,
        destination: Destination | Mapping[str, Any],
        interval: Interval,
        model: Model = "events",
        events: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        filters: Sequence[Mapping[str, JSON]] | None = None,
        timezone: str | None = None,
        offset_hour: int | None = None,
        offset_day: int | None = None,
        backfill_from: date | datetime | None = None,
        wait: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
        on_progress: OnBackfill | None = None,
        if_exists: Literal["error", "reuse"] = "error",
        options: RequestOptions | None = None,
    ) -> ScheduledExport:
        """Create a batch export, which PostHog runs on a schedule, optionally with a backfill.

        `POST /api/projects/{project_id}/batch_exports/`; scope `batch_export:write`.

        Args:
            name: The name of the batch export, unique in the project.
            destination: `Destination.s3(…)` and the like, or a dict in the form of the API.
            interval: How often it runs.
            model: What is exported: `events`, `persons` or `sessions`.
            events: Names of the only events to export; None: all.
            exclude: Names of events to leave out.
            filters: Property filters in the form of the API; for events.
            timezone: Time zone of days and weeks, such as `Europe/Berlin`; UTC by default.
            offset_hour: Hour at which days and weeks start, 0 to 23.
            offset_day: Day on which weeks start, 0 (Sunday) to 6.
            backfill_from: Start of a backfill of earlier data: a date for exports by the day or
                week, for others a datetime with a time zone.
            wait: Wait until the backfill is complete.
            timeout: Seconds to wait, at most; None: no limit.
            on_progress: Called with the progress of the backfill; a function or an async function.
            if_exists: What to do if a batch export of that name exists: `error`; or `reuse` it, if
                its settings are the same. A backfill from the same start is then not repeated.
            options: Options of the requests, in place of the client's settings.

        Returns:
            A handle to pause the export, list its runs, and wait for the backfill.

        Raises:
            ExportError: The name is taken, or the backfill failed.
            TimeoutError: The backfill is not complete after `timeout` seconds.
            TypeError, ValueError: An argument is invalid.
            PostHogError: A request failed after all retries.
        """
        from .scheduled import schedule

        handle = await schedule(
            self._executor,
            name,
            destination=destination,
            interval=interval,
            model=model,
            events=events,
            exclude=exclude,
            filters=filters,
            timezone=timezone,
            offset_hour=offset_hour,
            offset_day=offset_day,
            backfill_from=backfill_from,
            if_exists=if_exists,
            options=options,
        )
        if wait and handle.initial_backfill is not None:
            await handle.wait(timeout=timeout, on_progress=on_progress)
        return handle

    def _job(
        self,
        source: Source,
        start: datetime | None,
        end: datetime | None,
        *,
        min_age: timedelta | float = 0,
        overlap: timedelta | float = 0,
        ordered: bool,
        engine: EngineName = "query",
        concurrency: int,
        page_size: int,
        options: RequestOptions | None,
    ) -> ExportJob:
        _check_counts(concurrency, page_size)
        if engine not in {"auto", "query", "files"}:
            raise ValueError(f"engine must be 'auto', 'query' or 'files', not {engine!r}")
        if engine == "files":
            from asyncposthog.export.engines.files.plan import unsupported_reason

            reason = unsupported_reason(source)
            if reason is not None:
                raise ValueError(f"engine='files' cannot do this export: {reason}")
        start_micros = 0 if start is None else to_micros(start, "start")
        end_micros = self._now() if end is None else to_micros(end, "end")
        if end_micros <= start_micros:
            raise ValueError(f"end must be after start, but {end} is not after {start}")
        request = QueryRequest(
            source=source,
            start=start_micros,
            end=end_micros,
            open_ended=end is None,
            min_age=duration_micros(min_age, "min_age"),
            overlap=duration_micros(overlap, "overlap"),
            concurrency=concurrency,
            page_size=page_size,
            ordered=ordered,
            engine=engine,
            options=options,
        )
        return ExportJob(self._executor, request)

    def _now(self) -> int:
        return int(self._executor.transport.clock.time() * 1_000_000)


def _build_source(
    base: Source,
    columns: Sequence[str] | None,
    where: tuple[str, ...],
    values: Mapping[str, Any] | None,
) -> Source:
    """Return a source with the columns, conditions and values of the user."""
    selected = _columns(columns) or base.columns
    all_values = dict(values or {})
    # Bound as a whole for the errors: a value that no expression uses, or one that is missing.
    bind("\n".join((*selected, *where)), all_values)
    bound = {text: bind(text, _referenced(all_values, text)) for text in (*selected, *where)}
    bound_values = {name: value for _, plain in bound.values() for name, value in plain.items()}
    return replace(
        base,
        columns=tuple(bound[text][0] for text in selected),
        where=tuple(bound[text][0] for text in where),
        values=bound_values,
    )


def _placeholders(text: str) -> set[str]:
    return {placeholder.name for placeholder in scan_sql(text).placeholders if placeholder.name}


def _referenced(values: Mapping[str, Any], text: str) -> dict[str, Any]:
    names = _placeholders(text)
    return {name: value for name, value in values.items() if name in names}


def _columns(columns: object) -> tuple[str, ...] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise TypeError("columns must be a list of HogQL expressions")
    expressions = tuple(cast("Sequence[object]", columns))
    if not expressions or not all(isinstance(text, str) and text.strip() for text in expressions):
        raise ValueError("columns must be a non-empty list of HogQL expressions")
    names = cast("tuple[str, ...]", expressions)
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"columns has {', '.join(duplicates)} twice")
    return names


def _conditions(where: str | None) -> tuple[str, ...]:
    if where is None:
        return ()
    if not isinstance(cast("object", where), str) or not where.strip():
        raise ValueError("where must be a HogQL condition")
    return (where,)


def _quote_column(name: str) -> str:
    """Return a column name in the quotes of HogQL."""
    if "`" in name or "\\" in name:
        raise ValueError(f"{name!r} is not a valid column name")
    return f"`{name}`"


def _check_counts(concurrency: object, page_size: object) -> None:
    for name, value, maximum in (
        ("concurrency", concurrency, 100),
        ("page_size", page_size, _MAX_PAGE_SIZE),
    ):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
        if not 1 <= value <= maximum:
            raise ValueError(f"{name} must be from 1 to {maximum:,}, not {value:,}")
