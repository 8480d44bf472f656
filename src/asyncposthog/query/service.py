"""`ph.query`: the generated methods, and methods that run a query to its end."""

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
"""Decoded as plain JSON: the models of 549 query schemas are of no use for rows."""


class QueryService(Query):
    """Operations on `query`. Callable: `await ph.query("SELECT 1")` runs a query to its end."""

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

        If the task is cancelled or `timeout` is over, the query is cancelled on the server.

        `POST /api/projects/{project_id}/query/`; scope `query:read`; limits `api_queries_burst`
        and `api_queries_sustained`. A background query is polled with `query.get`.

        Args:
            query: HogQL, or any node of PostHog's query schema: a model of `asyncposthog.models`
                or a mapping with a `kind`.
            values: The values of `{name}` in HogQL: str, numbers, bool, None, datetime with a time
                zone, date, UUID, Decimal, enum members, and lists of these. They are sent beside
                the query and never inserted into its text.
            mode: `blocking`: one API call; the server stops queries of API keys after 10 s.
                `async`: run it in the background, and poll. `auto`: blocking, then async if that
                took too long.
            refresh: `force_blocking`: run the query. `blocking`: accept a result from PostHog's
                cache, up to 6 hours old. Other modes of the API are passed on; they run in the
                background.
            name: A name for PostHog's query log, up to 128 characters.
            timeout: Seconds for everything, waits included. None: an attempt is limited by the
                client's `timeout`, a background query by the server.
            on_progress: Called with the progress of a background query, after every poll.
            options: Options of this call that differ from those of the client.

        Returns:
            Columns and rows. Warns with `TruncatedResultWarning` if the server truncated them.

        Raises:
            QueryError: The query is invalid or failed; `QueryTooLargeError` if it takes too long
                or too much memory.
            PostHogError: The call failed otherwise.
            TypeError, ValueError: The query or its values are invalid. Nothing was sent.
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
        """Return all rows of a HogQL query, however many, page by page in the order of a key.

        `async for row in ph.query.stream("SELECT uuid, event FROM events"): …`. Each page is a
        query of its own for the rows behind the last key, so rows that are written meanwhile may
        or may not be included. Nothing is sent before the first row is requested.

        Args:
            sql: HogQL without ORDER BY and LIMIT; every expression needs a name (AS).
            key: The column or columns whose values identify a row; never NULL.
            values: As for `ph.query`.
            page_size: Rows of a page, from 2 to 50,000.
            name: A name for PostHog's query log.
            timeout: Seconds that one page may take.
            options: Options of the calls that differ from those of the client.

        Raises:
            TypeError, ValueError: The query, its values or the key are invalid.
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
        """Return the result of a call made for `ph.raw(ph.query, …)`."""
        if operation is not _CREATE:
            return OMIT
        query_id = body["client_query_id"]
        return _result(expect_object(operation, response), prepare_node(body["query"]), query_id)


def _result(data: dict[str, Any], prepared: PreparedQuery, query_id: str | None) -> QueryResult:
    results = data.get("results")
    rows = len(results) if isinstance(results, list) else 0  # pyright: ignore[reportUnknownArgumentType]
    return QueryResult(
        data, query_id=query_id, truncated_at=truncated_at(prepared, rows, data.get("hasMore"))
    )
