"""The endpoint: when a query is run, when its answer is an old one, and when it becomes a job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from posthog_emulator.features.cohorts.membership import project_cohorts, recalculate
from posthog_emulator.http.errors import invalid, not_found, required
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object
from posthog_emulator.state import PROJECTS, ApiCall, fill_path

from .dispatch import compute, unwrap_query
from .result import encode_json, json_object
from .runner import DeferredQuery, QuerySession
from .state import (
    CACHE_TTL,
    LAZY_CACHE_TTL,
    STATUS_TTL,
    AsyncQuery,
    CachedResult,
    QueryState,
    cache_key,
    format_timestamp,
    query_state,
    refresh_mode,
)

__all__ = [
    "QueryRequest",
    "cancel",
    "create",
    "create_session",
    "log",
    "new_status_body",
    "parse_request",
    "status",
]

_BACKGROUND_MODES: Final = frozenset({"async", "lazy_async", "force_async"})
_REQUEST_FIELDS: Final = frozenset(
    {"async", "client_query_id", "filters_override", "limit_context", "name", "query", "refresh",
     "variables_override", "personal_api_key"}
)  # fmt: skip
_INSIGHT_VARIABLES: Final = "/api/projects/{}/insight_variables/"
_UNSUPPORTED_FIELDS: Final = ("filters_override", "variables_override", "limit_context")


class QueryRequest:
    """A query about to be answered in one of the modes.

    Args:
        call: The request.
        query: The query, as it was sent.
        mode: `blocking`, `async` and so on.
        id: The id of the job, should it become one; the cache key by default.
    """

    def __init__(
        self, call: ApiCall, query: Mapping[str, Any], mode: str, id: str | None = None
    ) -> None:
        self.inner = unwrap_query(query)
        self.uncached = self.inner["kind"] == "HogQLMetadata"
        """Whether its answer is not kept, and says nothing of that."""
        self.team = call.path_values[0]
        self.key = cache_key(query, self.team)
        self.mode = mode
        self.id = id or self.key
        self.queries = query_state(call.state)
        self.now = call.state.settings.clock()
        self.session = create_session(call, self.id, self.inner)
        self._seconds = call.state.settings.query_seconds

    def compute(self) -> CachedResult:
        """Run it, and keep the result."""
        made = CachedResult(compute(self.session, self.inner), self.now, self.key)
        self.queries.cache_result(self.team, made)
        return made

    def lookup(self) -> tuple[CachedResult | None, AsyncQuery | None]:
        """The result there is to answer with, and the job that will make a new one."""
        if self.uncached or self.mode == "force_blocking":
            return None, None
        if self.mode == "force_async":
            return None, self._async_query(force=True)
        found = self.queries.cached_result(
            self.team,
            self.key,
            self.now,
            LAZY_CACHE_TTL if self.mode == "lazy_async" else CACHE_TTL,
        )
        if found is not None or self.mode == "blocking":
            return found, None
        stale = self.queries.cached_result(self.team, self.key, self.now, timedelta(days=7))
        if self.mode == "async_except_on_cache_miss" and stale is None:
            return None, None
        return stale, self._async_query(force=False)

    def _async_query(self, *, force: bool) -> AsyncQuery:
        known = self.queries.find_async_query(self.team, self.id, self.now)
        if known is not None and not force:
            return known
        due = self.now + timedelta(seconds=self._seconds)
        job = AsyncQuery(self.id, self.team, self.key, self.compute, self.now, due)
        self.queries.add_async_query(job, self.now)
        return job


def create_session(call: ApiCall, id: str, query: Any = "cohort") -> QuerySession:
    """What a query of a call is run with, gathered under the emulator's lock.

    Args:
        call: The request.
        id: The query's id, for the log.
        query: The query; one that speaks of cohorts sees those of now.
    """
    state, settings = call.state, call.state.settings
    desk, now = query_state(state), settings.clock()

    def note(entry: dict[str, Any]) -> None:
        desk.log.append({"id": id, "team": call.path_values[0], "at": now, **entry})

    project = state.store.collection(PROJECTS).find(call.path_values[0])
    told = {} if project is None else project.data
    if told.get("timezone") not in (None, "UTC"):
        raise invalid(
            f"The emulator answers queries of projects in UTC, not in {told['timezone']}."
        )
    if "cohort" in json.dumps([query, told.get("test_account_filters")], default=str).lower():
        recalculate(state, call.path_values[0])
    cohorts = project_cohorts(state, call.path_values[0])
    variables = state.store.collection(fill_path(_INSIGHT_VARIABLES, [call.path_values[0]]))
    state.events  # noqa: B018 (made under the lock)
    return QuerySession(
        team_id=int(call.path_values[0]),
        now=now,
        store=lambda: state.events,
        cohorts=cohorts.names,
        cohort_errors=cohorts.errors,
        stubs=list(desk.stubs),
        allow_offset=settings.allow_offset,
        max_rows_scanned=settings.max_rows_scanned,
        max_result_bytes=settings.max_result_bytes,
        log=note,
        test_account_filters=told.get("test_account_filters"),
        variables={str(row.data.get("id")): row.data for row in variables if not row.deleted},
    )


def parse_request(call: ApiCall) -> QueryRequest:
    """Read a request to run a query.

    Raises:
        Problem: 400, it is none.
    """
    body = as_object(call.body)
    for name in sorted(body.keys() - _REQUEST_FIELDS):
        raise invalid(f"Unexpected field '{name}'.", name)
    for name in _UNSUPPORTED_FIELDS:
        if body.get(name):
            raise invalid(f"The emulator does not apply {name}.", name)
    if "query" not in body:
        raise required("query")
    query = body["query"]
    # The query is looked at below, against its own kind: the union of all kinds takes long.
    outer = {**body, "query": {"kind": "HogQLQuery", "query": ""}}
    problem = call.state.validators.first_error("QueryRequest", outer, "request")
    if problem is not None:
        raise problem
    if not isinstance(query, dict):
        raise invalid("Invalid data. Expected a dictionary.", "query")
    given: dict[str, Any] = as_object(body["query"])
    kind = given.get("kind")
    if call.operation.id == "query.create_for_kind" and kind is None:
        given = {**given, "kind": call.path_values[-1]}
    elif kind is None:
        raise required("query__kind")
    inner = unwrap_query(given)
    problem = call.state.validators.first_error(inner["kind"], inner, "request")
    if problem is not None:
        problem.attr = f"query__{problem.attr}" if problem.attr else "query"
        raise problem
    task = body.get("client_query_id") or call.state.uuid().replace("-", "")
    return QueryRequest(call, given, refresh_mode(body), str(task))


def create(call: ApiCall) -> Response:
    """`POST query/`."""
    made = parse_request(call)
    found, job = made.lookup()
    if job is not None and job.is_complete(made.now) and job.started_at < made.now:
        # The id was used before: it is that query's answer, not this one's.
        return Response(200, deferred=_AsyncQueryResponse(job))
    if job is not None:
        status = _status_body(job, complete=False)
        if found is not None:
            return _answer(202, found.result.body({**found.cache_fields(cached=True), **status}))
        cache = {} if made.mode == "force_async" else {"cache_key": made.key}
        return json_response(202, {**cache, **status})
    if found is not None:
        return _answer(200, found.result.body(found.cache_fields(cached=True)))

    def make() -> tuple[int, bytes]:
        computed = made.compute()
        return 200, computed.result.body(
            {} if made.uncached else computed.cache_fields(cached=False)
        )

    return Response(200, deferred=DeferredQuery(made.session, make))


def _answer(status: int, content: bytes) -> Response:
    return Response(status, content)


def _status_body(job: AsyncQuery, *, complete: bool, **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": job.id,
        "team_id": int(job.team),
        "query_async": True,
        "insight_id": job.insight_id,
        "dashboard_id": None,
        "error": False,
        "error_message": None,
        "complete": complete,
        "start_time": format_timestamp(job.started_at),
        "pickup_time": format_timestamp(job.started_at) if complete else None,
        "end_time": format_timestamp(job.due_at) if complete else None,
        "expiration_time": format_timestamp(job.started_at + STATUS_TTL),
        "task_id": job.id,
        "labels": None,
    }
    return {"query_status": {**fields, "results": None, **more}}


def new_status_body(job: AsyncQuery) -> dict[str, Any]:
    """The status of a job that was just begun."""
    return _status_body(job, complete=False)


def status(call: ApiCall) -> Response:
    """`GET query/{id}/`."""
    desk, now = query_state(call.state), call.state.settings.clock()
    job = desk.find_async_query(call.path_values[0], call.path_values[-1], now)
    if job is None:
        raise not_found(f"Query {call.path_values[-1]} not found for team {call.path_values[0]}")
    asked = (
        call.request.query_value("show_progress") or call.request.query_value("showProgress") or ""
    )
    progress = asked.lower() in {"true", "1"}
    if not job.is_complete(now):
        return json_response(
            202, _status_body(job, complete=False, **_progress(job, now, desk, progress))
        )
    return Response(200, deferred=_AsyncQueryResponse(job))


class _AsyncQueryResponse:
    """The end of a job, which goes on when whoever looks at it does not wait."""

    def __init__(self, job: AsyncQuery) -> None:
        self._job = job

    def run(self) -> tuple[int, bytes]:
        """Make status and body."""
        return _completed_body(self._job)

    def interrupt(self) -> None:
        """Do nothing."""


def _progress(job: AsyncQuery, now: Any, desk: QueryState, asked: bool) -> dict[str, Any]:
    if not asked:
        return {}
    whole = max((job.due_at - job.started_at).total_seconds(), 0.001)
    share = min((now - job.started_at).total_seconds() / whole, 1)
    return {
        "query_progress": {
            "bytes_read": round(share * 1_000_000),
            "rows_read": round(share * 10_000),
            "estimated_rows_total": 10_000,
            "time_elapsed": round(share * whole),
            "active_cpu_time": round(share * whole * 1_000_000),
        }
    }


def _completed_body(job: AsyncQuery) -> tuple[int, bytes]:
    """Status and body of a job that has ended, run now if it was not yet."""
    job.run()
    if job.is_cancelled:
        body = _status_body(job, complete=True, error=True, error_message="Query was cancelled")
        return 400, encode_json(body)
    if job.error is not None:
        hidden = job.error.status == 500
        body = _status_body(
            job,
            complete=True,
            error=True,
            error_message=None if hidden else job.error.detail,
        )
        return 500 if hidden else 400, encode_json(body)
    done = job.cached_result
    if done is None:
        raise AssertionError("a job that ended has a result")
    whole = done.result.body(done.cache_fields(cached=False))
    fields = _status_body(job, complete=True)["query_status"]
    del fields["results"]
    return 200, b'{"query_status":' + json_object("results", whole, fields) + b"}"


def cancel(call: ApiCall) -> Response:
    """`DELETE query/{id}/`."""
    desk, now = query_state(call.state), call.state.settings.clock()
    key = (call.path_values[0], call.path_values[-1])
    only = (call.request.query_value("dequeue_only") or "").lower() in {"true", "1"}
    job = desk.find_async_query(*key, now)
    run = desk.running.get(key)
    if job is not None and (job.is_complete(now) or job.is_cancelled):
        return json_response(200, {"message": "Query already complete"})
    if job is not None:
        job.is_cancelled = True
        return json_response(200, {"message": "Query task revoked"})
    if only:
        return json_response(200, {"message": "Query task revoked, if it was waiting"})
    if run is not None:
        run.cancel()
    return json_response(200, {"message": "Cancelled query on clickhouse"})


_LOG_COLUMNS: Final = ("query_id", "query", "query_start_time", "query_duration_ms", "result_rows")


def log(call: ApiCall) -> Response:
    """`GET query/{id}/log/`: what ran under an id in the last day."""
    now = call.state.settings.clock()
    rows = [
        [entry["id"], entry["query"], format_timestamp(entry["at"]), round(entry["seconds"] * 1000),
         entry["rows"]]
        for entry in query_state(call.state).log
        if (entry["team"], entry["id"]) == (call.path_values[0], call.path_values[1])
        and now - entry["at"] < timedelta(days=1)
    ]  # fmt: skip
    return json_response(200, {"columns": list(_LOG_COLUMNS), "results": rows, "hasMore": False})
