"""`ph.query` and `ph.insights`: the generated methods, and those that run queries to their end."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx

from asyncposthog.operation import Operation, Result
from asyncposthog.options import read_options
from asyncposthog.registry.families import insights as insights_registry
from asyncposthog.registry.families import query as registry
from asyncposthog.resources.insights import Insights
from asyncposthog.resources.query import Query
from asyncposthog.types import OMIT, Id, RequestOptions

from .request import Mode, Plan, Refresh, check_name, check_refresh, cut_at, plan, plan_of
from .result import QueryResult, TruncatedResultWarning
from .run import OnProgress, Run, Step, object_of
from .sql import MAX_LIMIT

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .stream import QueryStream

__all__ = ["InsightsService", "QueryService"]

_CREATE: Final = replace(registry.CREATE, result=Result(kind="json"))
"""The answer is read as plain data: the models of 549 schemas are no help with rows."""
_INSIGHT: Final = replace(insights_registry.GET, result=Result(kind="json"))


class QueryService(Query):
    """Operations on `query`. Called, it runs a query to its end: `await ph.query("SELECT 1")`."""

    async def __call__(
        self,
        query: str | BaseModel | Mapping[str, Any],
        values: Mapping[str, object] | None = None,
        *,
        mode: Mode = "auto",
        refresh: Refresh = "force_blocking",
        name: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
        on_progress: OnProgress | None = None,
        options: RequestOptions | None = None,
    ) -> QueryResult:
        """Run a query and return its result.

        When this task is cancelled, or the time is over, the query is cancelled on the server.

        `POST /api/projects/{project_id}/query/`; scope `query:read`; limits `api_queries_burst`
        and `api_queries_sustained`. In the background, `query.get` is called until it is done.

        Args:
            query: HogQL, or any node of PostHog's query schema: a model of `asyncposthog.models`
                or a mapping with a `kind`.
            values: What stands for `{name}` in HogQL: str, numbers, bool, None, datetime with a
                zone, date, UUID, Decimal, enum members, and lists of these. They travel beside
                the query and are never written into it.
            mode: `blocking`: wait in the call; the server stops queries of API keys after 10 s.
                `async`: let it run as a job, and ask until it is done. `auto`: the first, and
                the second if that took too long.
            refresh: `force_blocking`: compute it now. `blocking`: a result from PostHog's cache,
                up to 6 hours old, will do. The other modes of the API are passed on; they run in
                the background.
            name: Shown in PostHog's query log, up to 128 characters.
            timeout: Seconds it may take altogether, waits included. None: an attempt is bounded by
                the client's `timeout`, a job by the server's own limits.
            on_progress: Told how far a query in the background has come.
            options: What to do differently from the client.

        Returns:
            Columns and rows; it warns with `TruncatedResultWarning` if the server cut them.

        Raises:
            QueryError: The query is refused or failed. `QueryTooLargeError`: it takes too long,
                or too much memory.
            PostHogError: The call failed otherwise.
            TypeError, ValueError: The query or its values cannot be sent. Nothing was.
        """
        planned = plan(query, values)
        chosen, waiting, background = check_refresh(refresh, mode)
        name = check_name(name)
        _check_timeout(timeout)

        def make(query_id: str, in_background: bool) -> Step:
            body = {
                "query": planned.node,
                "client_query_id": query_id,
                "refresh": background if in_background else waiting,
                "name": OMIT if name is None else name,
            }
            return Step(_CREATE, body=body, query_id=query_id)

        run = _run(self, make, timeout, on_progress, options)
        result = _result(await run.answer(chosen), planned, run.query_id)
        if result.truncated:
            warnings.warn(_cut(result), TruncatedResultWarning, stacklevel=2)
        return result

    def stream(
        self,
        sql: str,
        key: str | Sequence[str] = "uuid",
        *,
        values: Mapping[str, object] | None = None,
        page_size: int = MAX_LIMIT,
        name: str | None = None,
        timeout: float | None = None,
        options: RequestOptions | None = None,
    ) -> QueryStream:
        """Read all rows of a HogQL query, however many, page by page in the order of a key.

        `async for row in ph.query.stream("SELECT uuid, event FROM events"): …`. Every page is a
        query of its own, for the rows behind the last key: what is written meanwhile may or may
        not be among them. Nothing is sent before the first row is asked for.

        Args:
            sql: HogQL without ORDER BY and LIMIT of its own; every expression needs a name (AS).
            key: The column, or columns, that tell every row from every other; never NULL.
            values: As of `ph.query`.
            page_size: Rows of a page, from 2 to 50,000.
            name: Shown in PostHog's query log.
            timeout: Seconds one page may take.
            options: What to do differently from the client.

        Raises:
            TypeError, ValueError: The query, its values or the key cannot be used.
        """
        from .stream import QueryStream

        return QueryStream(
            self,
            sql,
            key,
            values=values,
            page_size=page_size,
            name=check_name(name),
            timeout=_check_timeout(timeout),
            options=options,
        )

    def _read_answer(self, operation: Operation, response: httpx.Response, body: Any) -> Any:
        """Read the answer of a call that was made for `ph.raw(ph.query, …)`."""
        if operation is not _CREATE:
            return OMIT
        query_id = body["client_query_id"]
        return _result(object_of(operation, response), plan_of(body["query"]), query_id)


class InsightsService(Insights):
    """Operations on `insights`, and their results."""

    async def result(
        self,
        id: Id,
        /,
        *,
        max_age: timedelta | float | None = None,
        mode: Mode = "auto",
        timeout: float | None = None,  # noqa: ASYNC109
        on_progress: OnProgress | None = None,
        options: RequestOptions | None = None,
    ) -> QueryResult:
        """Return the result of a saved insight, computed anew if it is too old.

        `GET /api/projects/{project_id}/insights/{id}/`; scope `insight:read`; limits
        `clickhouse_burst` and `clickhouse_sustained`.

        Args:
            id: The insight's number or short id.
            max_age: How old it may be, in seconds or as a timedelta; 0: compute it now. None: as
                old as it is; it is computed only if PostHog has none.
            mode: How to wait for what has to be computed, as of `ph.query`.
            timeout: Seconds it may take altogether.
            on_progress: Told how far a computation in the background has come.
            options: What to do differently from the client.

        Returns:
            The result: `results`, and rows where the insight is a table. `last_refresh` says when
            it was computed.

        Raises:
            QueryError: The insight's query failed.
            PostHogError: The call failed otherwise.
            TypeError, ValueError: An argument is of the wrong type, or out of range.
        """
        chosen, _, _ = check_refresh("force_blocking", mode)
        seconds = _seconds(max_age)
        _check_timeout(timeout)
        forced = seconds is not None

        def make(query_id: str, in_background: bool) -> Step:
            refresh = "async" if in_background else "blocking"
            query = {"refresh": f"force_{refresh}" if forced else refresh}
            return Step(_INSIGHT, (id,), query, holds="result")

        run = _run(self, make, timeout, on_progress, options)
        if seconds != 0:
            kept = await run.look(Step(_INSIGHT, (id,), {"refresh": "force_cache"}))
            result = _insight(kept, None)
            if result.results is not None and run.is_fresh(result.last_refresh, seconds):
                return result
        return _insight(await run.answer(chosen), run.query_id)

    def _read_answer(self, operation: Operation, response: httpx.Response, body: Any) -> Any:
        """Read the answer of a call that was made for `ph.raw(ph.insights.result, …)`."""
        return _insight(object_of(operation, response), None) if operation is _INSIGHT else OMIT


def _run(
    service: Query | Insights,
    make: Any,
    timeout: float | None,
    on_progress: OnProgress | None,
    options: RequestOptions | None,
) -> Run:
    executor = service._executor  # pyright: ignore[reportPrivateUsage]
    chosen = executor.defaults if options is None else read_options(options, executor.defaults)
    return Run(executor, chosen, make, timeout=timeout, on_progress=on_progress)


def _result(answer: dict[str, Any], planned: Plan, query_id: str | None) -> QueryResult:
    results = answer.get("results")
    rows = len(results) if isinstance(results, list) else 0  # pyright: ignore[reportUnknownArgumentType]
    return QueryResult(
        answer, query_id=query_id, cut_at=cut_at(planned, rows, answer.get("hasMore"))
    )


def _insight(answer: dict[str, Any], query_id: str | None) -> QueryResult:
    if "results" not in answer:
        answer = {**answer, "results": answer.get("result")}
    has_more = answer.get("hasMore") is True
    return QueryResult(answer, query_id=query_id, cut_at=0 if has_more else None)


def _cut(result: QueryResult) -> str:
    rows = len(result)
    if rows < MAX_LIMIT:
        return (
            f"the result was cut at {rows:,} rows: without a LIMIT, PostHog gives 100. Give one, "
            "or read everything with ph.query.stream()"
        )
    return (
        f"the result was cut at {rows:,} rows, the most that PostHog gives for one query: read "
        "everything with ph.query.stream()"
    )


def _check_timeout(timeout: object) -> Any:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout:g}")
    return timeout


def _seconds(max_age: object) -> float | None:
    if max_age is None:
        return None
    if isinstance(max_age, timedelta):
        max_age = max_age.total_seconds()
    if isinstance(max_age, bool) or not isinstance(max_age, int | float):
        raise TypeError(f"max_age must be seconds or a timedelta, not {type(max_age).__name__}")
    if not max_age >= 0:
        raise ValueError(f"max_age must be 0 or more, not {max_age:g}")
    return max_age
