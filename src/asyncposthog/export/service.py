"""`ph.export`: events, persons, sessions, groups, any HogQL, any list."""

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
    key="concat(toString(groups.index), ':', groups.key)",
    json=frozenset({"properties"}),
)
_MOST: Final = 50_000


class Export:
    """Exports of many rows: exactly once, in constant memory, as fast as the limits allow.

    Its methods return an `ExportJob`, and send nothing.
    """

    def __init__(self, executor: Executor) -> None:
        """Bind to what performs the calls."""
        self._executor = executor

    def __repr__(self) -> str:
        """Name the service."""
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
        settle: timedelta | float = 0,
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
            start: The first moment, with a zone.
            end: The first moment that is not exported any more.
            event: A name, or several; all by default.
            where: A HogQL condition: `properties.$browser = {browser}`.
            columns: HogQL expressions; by default uuid, event, timestamp, distinct_id, person_id,
                properties, elements_chain and created_at.
            values: For the placeholders of `where` and `columns`.
            settle: Events younger than this, a timedelta or seconds, are left out: some arrive
                late. The end is moved back to that long ago if need be.
            overlap: A later export with the same checkpoint, a later end and another output goes
                on where this one ended, begins so much earlier, a timedelta or seconds, and leaves
                out, by their keys, what was delivered. The end is now at the latest. Needs
                `checkpoint=` where rows are written.
            ordered: Hand rows on in the order of their timestamps; False: as they come, which is
                a little faster. Files are written in order in any case.
            engine: What gets the rows: `query`; `files`, PostHog's own file downloads (needs
                `asyncposthog[parquet]`; no `where`, and no events that arrived more than four days
                late); or `auto`, which takes files for more than ten million rows.
            concurrency: Queries in flight; the server runs three of a project at a time.
            page_size: Rows of one query at most.
            options: What to do differently from the client.

        Raises:
            TypeError, ValueError: An argument is wrong: a datetime without a zone, an end that is
                not after the start.
        """
        where_, values_ = _conditions(where), dict(values or {})
        if event is not None:
            names = [event] if isinstance(event, str) else list(event)
            if not names or not all(isinstance(cast("object", name), str) for name in names):
                raise ValueError("event must be the name of an event, or a list of names")
            if "export_events" in values_:
                raise ValueError("values has export_events, which the export uses itself")
            where_ = ("events.event IN {export_events}", *where_)
            values_["export_events"] = names
        source = _source(EVENTS, columns, where_, values_)
        return self._job(
            source, start, end, settle, overlap, ordered, engine, concurrency, page_size, options
        )

    def persons(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        values: Mapping[str, Any] | None = None,
        settle: timedelta | float = 0,
        overlap: timedelta | float = 0,
        ordered: bool = True,
        engine: EngineName = "auto",
        concurrency: int = 3,
        page_size: int = 50_000,
        options: RequestOptions | None = None,
    ) -> ExportJob:
        """Export persons by when they were created; all of them by default.

        `POST /api/projects/{project_id}/query/`; scope `query:read`.

        Args:
            start: The first moment, with a zone; None: the beginning.
            end: The first moment that is not exported any more; None: now.
            where: A HogQL condition.
            columns: HogQL expressions; by default id, created_at, properties and is_identified.
            values: For the placeholders of `where` and `columns`.
            settle: See `events`.
            overlap: See `events`.
            ordered: See `events`.
            engine: See `events`.
            concurrency: See `events`.
            page_size: See `events`.
            options: See `events`.

        Raises:
            TypeError, ValueError: An argument is wrong.
        """
        source = _source(_PERSONS, columns, _conditions(where), values)
        return self._job(
            source, start, end, settle, overlap, ordered, engine, concurrency, page_size, options
        )

    def sessions(
        self,
        start: datetime,
        end: datetime,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        values: Mapping[str, Any] | None = None,
        settle: timedelta | float = 0,
        overlap: timedelta | float = 0,
        ordered: bool = True,
        engine: EngineName = "auto",
        concurrency: int = 3,
        page_size: int = 50_000,
        options: RequestOptions | None = None,
    ) -> ExportJob:
        """Export sessions by when they began, as they are now: one that goes on still changes.

        `POST /api/projects/{project_id}/query/`; scope `query:read`.

        Args:
            start: The first moment, with a zone.
            end: The first moment that is not exported any more.
            where: A HogQL condition: `$session_duration > 60`.
            columns: HogQL expressions; by default the usual ones of the sessions table.
            values: For the placeholders of `where` and `columns`.
            settle: See `events`.
            overlap: See `events`.
            ordered: See `events`.
            engine: See `events`.
            concurrency: See `events`.
            page_size: See `events`.
            options: See `events`.

        Raises:
            TypeError, ValueError: An argument is wrong.
        """
        source = _source(_SESSIONS, columns, _conditions(where), values)
        return self._job(
            source, start, end, settle, overlap, ordered, engine, concurrency, page_size, options
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
        """Export groups, of all types, by when they were created; all of them by default.

        `POST /api/projects/{project_id}/query/`; scope `query:read`. The arguments are those of
        `persons`.

        Raises:
            TypeError, ValueError: An argument is wrong.
        """
        source = _source(_GROUPS, columns, _conditions(where), values)
        return self._job(
            source, start, end, 0, 0, ordered, "query", concurrency, page_size, options
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

        The query is wrapped in one that pages by the key, so it must not limit or order itself.

        `POST /api/projects/{project_id}/query/`; scope `query:read`.

        Args:
            sql: A SELECT without LIMIT.
            key: A column of the result that is unique, or a pair of a time and a column that is
                unique among the rows of one time. Rows that share a key are exported all the
                same, as long as they fit onto a page.
            start: The first moment of the time to export; with `end`, it divides the export into
                windows that are read side by side. They need a pair as key.
            end: The first moment that is not exported any more.
            values: For the placeholders of the query.
            ordered: See `events`.
            concurrency: See `events`.
            page_size: See `events`.
            options: See `events`.

        Raises:
            TypeError, ValueError: An argument is wrong.
        """
        if not isinstance(cast("object", sql), str):
            raise TypeError(f"hogql() takes HogQL as a str, not {type(sql).__name__}")
        inner, sent = bind(sql, values)
        clauses = scan_sql(sql).clauses
        if clauses:
            raise ValueError(
                f"hogql() pages by the key, and cannot keep the query's {', '.join(clauses)}: take "
                "it off, or put the query into a subquery"
            )
        pair = (key,) if isinstance(key, str) else tuple(key)
        if not 1 <= len(pair) <= 2 or not all(isinstance(cast("object", k), str) for k in pair):
            raise ValueError("key must be the name of a column, or a pair of a time and a column")
        timed = start is not None or end is not None
        if timed and (start is None or end is None or len(pair) == 1):
            raise ValueError("start and end belong together, with key=(time column, unique column)")
        names = [f"source.{_quoted(name)}" for name in pair]
        source = Source(
            kind="hogql",
            table=f"(\n{inner}\n) AS source",
            columns=("*",),
            unique=False,
            time=names[0] if timed else None,
            key=names[-1]
            if timed or len(pair) == 1
            else f"concat(toString({names[0]}), ' ', toString({names[1]}))",
            values=sent,
            json=frozenset({"properties"}),
        )
        if timed:
            return self._job(
                source, start, end, 0, 0, ordered, "query", concurrency, page_size, options
            )
        _check_counts(concurrency, page_size)
        request = QueryRequest(
            source=source,
            page_size=page_size,
            ordered=ordered,
            engine_name="query",
            options=options,
        )
        return ExportJob(self._executor, request)

    def list(self, cursor: Cursor[Any], *, columns: Sequence[str] | None = None) -> ExportJob:
        """Export what a list method returns: `ph.export.list(ph.cohorts.list())`.

        Rows hold the server's own names. It goes on after an interruption at the page where it
        stopped; lists that change meanwhile are exported as they are then.

        Args:
            cursor: What a list method returned.
            columns: The fields to export; by default all, which in CSV and Parquet means those
                that the first page has: a field that comes up later is an error there.

        Raises:
            TypeError: It is no list.
        """
        if not isinstance(cast("object", cursor), Cursor):
            raise TypeError(
                f"list() takes what a list method returns, such as ph.cohorts.list(), not "
                f"{type(cursor).__name__}"
            )
        fetcher = get_fetch(cursor)
        assert isinstance(fetcher, PageFetcher)
        # Not with our own executor: the list may be that of a client with other settings.
        return ExportJob(fetcher.executor, ListRequest(cursor, fetcher, _columns(columns)))

    def run(
        self, partition: Partition, *, ordered: bool | None = None, concurrency: int | None = None
    ) -> ExportJob:
        """Export one part of a plan, made here or on another machine.

        `await ph.export.run(partition).to_parquet("events/")`

        Args:
            partition: A part of what `ExportJob.plan()` returned.
            ordered: As in `events`; None: as the plan has it.
            concurrency: As in `events`; None: as the plan has it.

        Raises:
            TypeError: It is no partition.
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
        """Let PostHog export by itself, from now on, and what was before if asked to.

        `POST /api/projects/{project_id}/batch_exports/`; scope `batch_export:write`.

        Args:
            name: A name of its own.
            destination: Where to: `Destination.s3(…)` and the like, or a dict as the API has them.
            interval: How often.
            model: What: `events`, `persons` or `sessions`.
            events: The only events to export, by name; None: all.
            exclude: Events that are not to be exported.
            filters: Property filters, by PostHog's own names; for events.
            timezone: Where days and weeks begin: `Europe/Berlin`; UTC by default.
            offset_hour: The hour days and weeks begin at, 0 to 23.
            offset_day: The day weeks begin with, 0 (Sunday) to 6.
            backfill_from: From when on to export what was before: a date for exports by the day or
                week, for others a datetime with a zone.
            wait: Wait for the backfill.
            timeout: Seconds to wait at most; None: as long as it takes.
            on_progress: Told how far the backfill is; a function or an async function.
            if_exists: What to do if there is a batch export of that name: `error`, or `reuse`, if
                it is the same. A backfill from the same moment is not begun a second time then.
            options: What to do differently from the client.

        Returns:
            A handle to pause it, to see its runs, and to wait for the backfill.

        Raises:
            ExportError: The name is taken, or the backfill failed.
            TimeoutError: The backfill is not complete yet.
            TypeError, ValueError: An argument is wrong.
            PostHogError: A call failed.
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
        if wait and handle.backfilled is not None:
            await handle.wait(timeout=timeout, on_progress=on_progress)
        return handle

    def _job(
        self,
        source: Source,
        start: datetime | None,
        end: datetime | None,
        settle: timedelta | float,
        overlap: timedelta | float,
        ordered: bool,
        engine: EngineName,
        concurrency: int,
        page_size: int,
        options: RequestOptions | None,
    ) -> ExportJob:
        _check_counts(concurrency, page_size)
        if engine not in {"auto", "query", "files"}:
            raise ValueError(f"engine must be 'auto', 'query' or 'files', not {engine!r}")
        if engine == "files":
            from asyncposthog.export.engines.files.plan import unsupported

            why = unsupported(source)
            if why is not None:
                raise ValueError(f"engine='files' is not for this export: {why}")
        first = 0 if start is None else to_micros(start, "start")
        stop = self._now() if end is None else to_micros(end, "end")
        if stop <= first:
            raise ValueError(f"end must be after start, but {end} is not after {start}")
        request = QueryRequest(
            source=source,
            start=first,
            end=stop,
            until_now=end is None,
            settle=duration_micros(settle, "settle"),
            overlap=duration_micros(overlap, "overlap"),
            concurrency=concurrency,
            page_size=page_size,
            ordered=ordered,
            engine_name=engine,
            options=options,
        )
        return ExportJob(self._executor, request)

    def _now(self) -> int:
        return int(self._executor.transport.clock.time() * 1_000_000)


def _source(
    base: Source,
    columns: Sequence[str] | None,
    where: tuple[str, ...],
    values: Mapping[str, Any] | None,
) -> Source:
    """Return a source with what the user asked of it."""
    chosen = _columns(columns) or base.columns
    given = dict(values or {})
    bind("\n".join((*chosen, *where)), given)  # for its messages
    bound = {text: bind(text, _some(given, text)) for text in (*chosen, *where)}
    sent = {name: value for _, plain in bound.values() for name, value in plain.items()}
    return replace(
        base,
        columns=tuple(bound[text][0] for text in chosen),
        where=tuple(bound[text][0] for text in where),
        values=sent,
    )


def _placeholders(text: str) -> set[str]:
    return {found.name for found in scan_sql(text).placeholders if found.name}


def _some(values: Mapping[str, Any], text: str) -> dict[str, Any]:
    names = _placeholders(text)
    return {name: value for name, value in values.items() if name in names}


def _columns(columns: object) -> tuple[str, ...] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise TypeError("columns must be a list of HogQL expressions")
    given = tuple(cast("Sequence[object]", columns))
    if not given or not all(isinstance(column, str) and column.strip() for column in given):
        raise ValueError("columns must be a list of HogQL expressions, and not an empty one")
    names = cast("tuple[str, ...]", given)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"columns has {', '.join(twice)} twice")
    return names


def _conditions(where: str | None) -> tuple[str, ...]:
    if where is None:
        return ()
    if not isinstance(cast("object", where), str) or not where.strip():
        raise ValueError("where must be a HogQL condition")
    return (where,)


def _quoted(name: str) -> str:
    """Return a column's name as HogQL takes it."""
    if "`" in name or "\\" in name:
        raise ValueError(f"{name!r} is no name of a column")
    return f"`{name}`"


def _check_counts(concurrency: object, page_size: object) -> None:
    for name, value, most in (("concurrency", concurrency, 100), ("page_size", page_size, _MOST)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
        if not 1 <= value <= most:
            raise ValueError(f"{name} must be from 1 to {most:,}, not {value:,}")
