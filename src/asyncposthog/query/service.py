"""`ph.query`: the generated methods, and those that run queries to their end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import httpx

from asyncposthog.operation import Operation, Result
from asyncposthog.registry.families import query as registry
from asyncposthog.resources.query import Query
from asyncposthog.types import OMIT, RequestOptions

from .execution import OnProgress, QueryCall, expect_object, new_execution, validate_timeout
from .request import (
    Mode,
    PreparedQuery,
    Refresh,
    prepare,
    prepare_node,
    resolve_refresh,
    truncated_at,
    validate_name,
)
from .result import QueryResult, warn_if_truncated
from .sql_scan import MAX_LIMIT

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .stream import QueryStream

__all__ = ["QueryService"]

_CREATE: Final = replace(registry.CREATE, result=Result(kind="json"))
"""The answer is read as plain data: the models of 549 schemas are no help with rows."""


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
        prepared = prepare(query, values)
        run_mode, waiting, background = resolve_refresh(refresh, mode)
        name = validate_name(name)
        validate_timeout(timeout)

        def make_call(query_id: str, in_background: bool) -> QueryCall:
            body = {
                "query": prepared.node,
                "client_query_id": query_id,
                "refresh": background if in_background else waiting,
                "name": OMIT if name is None else name,
            }
            return QueryCall(_CREATE, body=body, query_id=query_id)

        execution = new_execution(self, make_call, timeout, on_progress, options)
        result = _result(await execution.run(run_mode), prepared, execution.query_id)
        warn_if_truncated(result)
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
            name=validate_name(name),
            timeout=validate_timeout(timeout),
            options=options,
        )

    def _parse_response(self, operation: Operation, response: httpx.Response, body: Any) -> Any:
        """Read the answer of a call that was made for `ph.raw(ph.query, …)`."""
        if operation is not _CREATE:
            return OMIT
        query_id = body["client_query_id"]
        return _result(expect_object(operation, response), prepare_node(body["query"]), query_id)


def _result(answer: dict[str, Any], prepared: PreparedQuery, query_id: str | None) -> QueryResult:
    results = answer.get("results")
    rows = len(results) if isinstance(results, list) else 0  # pyright: ignore[reportUnknownArgumentType]
    return QueryResult(
        answer, query_id=query_id, truncated_at=truncated_at(prepared, rows, answer.get("hasMore"))
    )
