"""Endpoints of queries: run or answer from the cache, run asynchronously, cancel, log."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from posthog_emulator.features.cohorts.membership import (
    project_cohorts,
    project_session,
    recalculate,
)
from posthog_emulator.http.errors import invalid, not_found, required
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object
from posthog_emulator.state import ApiCall
from posthog_emulator.timestamps import format_utc

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
    query_state,
    refresh_mode,
)
from .system_tables import replay_table, system_table

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

_REQUEST_FIELDS: Final = frozenset(
    {"async", "client_query_id", "filters_override", "limit_context", "name", "query", "refresh",
     "variables_override", "personal_api_key"}
)  # fmt: skip
_SYSTEM_TABLE: Final = re.compile(r"\bsystem\.\W?(\w+)")
_OF_RECORDINGS: Final = ("session_replay_events", "RecordingsQuery", "SessionsTimelineQuery")
_UNCACHED: Final = ("HogQLMetadata", "HogQLAutocomplete", "DatabaseSchemaQuery")
_UNSUPPORTED_FIELDS: Final = ("filters_override", "variables_override", "limit_context")


class QueryRequest:
    """A query with the refresh mode it was requested in.

    Args:
        call: The request.
        query: The query as it was sent.
        mode: The refresh mode: `blocking`, `async` and so on.
        id: The id of an async query; the cache key by default.
    """

    def __init__(
        self, call: ApiCall, query: Mapping[str, Any], mode: str, id: str | None = None
    ) -> None:
        self.inner = unwrap_query(query)
        self.uncached = self.inner["kind"] in _UNCACHED
        """Whether the result is not cached, and the response has no cache fields."""
        self.team = call.path_values[0]
        self.key = cache_key(query, self.team)
        self.mode = mode
        self.id = id or self.key
        self.queries = query_state(call.state)
        self.now = call.state.settings.clock()
        self.session = create_session(call, self.id, self.inner)
        self._seconds = call.state.settings.query_seconds

    def compute(self) -> CachedResult:
        """Run the query and cache the result."""
        result = CachedResult(compute(self.session, self.inner), self.now, self.key)
        self.queries.cache_result(self.team, result)
        return result

    def lookup(self) -> tuple[CachedResult | None, AsyncQuery | None]:
        """Return the cached result to respond with, and the async query that will refresh it.

        Both are None if the query has to be run now.
        """
        if self.uncached or self.mode == "force_blocking":
            return None, None
        # Always a new query, even if one with the same id is active.
        if self.mode == "force_async":
            return None, self._async_query(force=True)
        cached = self.queries.cached_result(
            self.team,
            self.key,
            self.now,
            LAZY_CACHE_TTL if self.mode == "lazy_async" else CACHE_TTL,
        )
        if cached is not None or self.mode == "blocking":
            return cached, None
        # The async modes respond with an expired result while a new one is computed.
        stale = self.queries.cached_result(self.team, self.key, self.now, timedelta(days=7))
        if self.mode == "async_except_on_cache_miss" and stale is None:
            return None, None
        return stale, self._async_query(force=False)

    def _async_query(self, *, force: bool) -> AsyncQuery:
        existing = self.queries.find_async_query(self.team, self.id, self.now)
        if existing is not None and not force:
            return existing
        due_at = self.now + timedelta(seconds=self._seconds)
        job = AsyncQuery(self.id, self.team, self.key, self.compute, self.now, due_at)
        self.queries.add_async_query(job, self.now)
        return job


def create_session(call: ApiCall, id: str, query: Any = "cohort") -> QuerySession:
    """Collect what a query needs from the emulator's state, under the emulator's lock.

    Args:
        call: The request.
        id: The query's id, for the log.
        query: The query; if it mentions cohorts, they are recalculated first.
    """
    state, settings = call.state, call.state.settings
    queries, now = query_state(state), settings.clock()

    def log_query(entry: dict[str, Any]) -> None:
        queries.log.append({"id": id, "team": call.path_values[0], "at": now, **entry})

    session = project_session(state, call.path_values[0])
    # Calculating cohorts takes long: only queries whose text or filters may refer to one wait.
    text = json.dumps([query, session.test_account_filters], default=str)
    if "cohort" in text.lower():
        recalculate(state, call.path_values[0])
        session.cohorts = project_cohorts(state, call.path_values[0])
    # Read now, under the emulator's lock: the query runs in a thread without it.
    with_views = " ".join([text, *session.views.values()])
    names = set(_SYSTEM_TABLE.findall(with_views))
    if "ErrorTracking" in text:
        names.add("error_tracking_issues")
    if "log" in text.lower():
        names.add("logs")
    if str(as_object(query).get("kind")).startswith("Experiment"):
        from .experiment_metrics import project_experiments

        session.experiments = project_experiments(state, call.path_values[0])
    tables = {name: system_table(state, call.path_values[0], name) for name in names}
    if any(name in with_views for name in _OF_RECORDINGS):
        session.recordings = _recordings(call)
        tables["session_replay_events"] = replay_table(session.recordings)
    session.system_table = tables.get
    state.events  # noqa: B018
    session.stubs = list(queries.stubs)
    session.allow_offset = settings.allow_offset
    session.max_rows_scanned = settings.max_rows_scanned
    session.max_result_bytes = settings.max_result_bytes
    session.log = log_query
    return session


def _recordings(call: ApiCall) -> list[Mapping[str, Any]]:
    """Return the recordings of the project as they are now."""
    from posthog_emulator.features.recordings.lifecycle import RECORDING_LIFECYCLE
    from posthog_emulator.features.recordings.snapshots import recording_collection

    state, team = call.state, call.path_values[0]
    rows = list(recording_collection(state, team))
    RECORDING_LIFECYCLE.derive(state, team, rows)
    schema, fit = {"$ref": "#/components/schemas/SessionRecordingType"}, state.object_schemas.fit
    recordings: list[Mapping[str, Any]] = []
    for row in rows:
        person = row.data.get("person")
        # In results of queries, the id of a person is a text.
        person = {**person, "id": str(person["id"])} if person else None
        recordings.append(fit(schema, {**row.data, "person": person}))
    return recordings


def parse_request(call: ApiCall) -> QueryRequest:
    """Parse a request to run a query.

    Raises:
        ApiError: 400, the request is invalid or has a field that the emulator does not support.
    """
    body = as_object(call.body)
    for name in sorted(body.keys() - _REQUEST_FIELDS):
        raise invalid(f"Unexpected field '{name}'.", name)
    for name in _UNSUPPORTED_FIELDS:
        if body.get(name):
            raise invalid(f"The emulator does not support {name}.", name)
    if "query" not in body:
        raise required("query")
    query = body["query"]
    # The query is validated below against the schema of its kind: validating against the union
    # of all kinds is slow, and its errors name no field.
    outer = {**body, "query": {"kind": "HogQLQuery", "query": ""}}
    error = call.state.validators.first_error("QueryRequest", outer, "request")
    if error is not None:
        raise error
    if not isinstance(query, dict):
        raise invalid("Invalid data. Expected a dictionary.", "query")
    fields: dict[str, Any] = as_object(body["query"])
    kind = fields.get("kind")
    if call.operation.id == "query.run_kind" and kind is None:
        fields = {**fields, "kind": call.path_values[-1]}
    elif kind is None:
        raise required("query__kind")
    inner = unwrap_query(fields)
    error = call.state.validators.first_error(inner["kind"], inner, "request")
    if error is not None:
        error.attr = f"query__{error.attr}" if error.attr else "query"
        raise error
    query_id = body.get("client_query_id") or call.state.uuid().replace("-", "")
    return QueryRequest(call, fields, refresh_mode(body), str(query_id))


def create(call: ApiCall) -> Response:
    """Respond to `POST query/`."""
    query_request = parse_request(call)
    cached, job = query_request.lookup()
    if (
        job is not None
        and job.is_complete(query_request.now)
        and job.started_at < query_request.now
    ):
        # As on the server, a `client_query_id` that was used before returns the earlier result.
        return Response(200, deferred=_AsyncQueryResponse(job))
    if job is not None:
        status = _status_body(job, complete=False)
        if cached is not None:
            return Response(202, cached.result.body({**cached.cache_fields(cached=True), **status}))
        # `force_async` never uses the cache, so that its response has no cache key.
        cache = {} if query_request.mode == "force_async" else {"cache_key": query_request.key}
        return json_response(202, {**cache, **status})
    if cached is not None:
        return Response(200, cached.result.body(cached.cache_fields(cached=True)))

    def make() -> tuple[int, bytes]:
        computed = query_request.compute()
        return 200, computed.result.body(
            {} if query_request.uncached else computed.cache_fields(cached=False)
        )

    return Response(200, deferred=DeferredQuery(query_request.session, make))


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
        "start_time": format_utc(job.started_at),
        "pickup_time": format_utc(job.started_at) if complete else None,
        "end_time": format_utc(job.due_at) if complete else None,
        "expiration_time": format_utc(job.started_at + STATUS_TTL),
        "task_id": job.id,
        "labels": None,
    }
    return {"query_status": {**fields, "results": None, **more}}


def new_status_body(job: AsyncQuery) -> dict[str, Any]:
    """Return the status body of an async query that has just started."""
    return _status_body(job, complete=False)


def status(call: ApiCall) -> Response:
    """Respond to `GET query/{id}/`."""
    queries, now = query_state(call.state), call.state.settings.clock()
    job = queries.find_async_query(call.path_values[0], call.path_values[-1], now)
    if job is None:
        raise not_found(f"Query {call.path_values[-1]} not found for team {call.path_values[0]}")
    show_progress = (
        call.request.query_value("show_progress") or call.request.query_value("showProgress") or ""
    )
    progress = show_progress.lower() in {"true", "1"}
    if not job.is_complete(now):
        return json_response(
            202, _status_body(job, complete=False, **_progress(job, now, queries, progress))
        )
    return Response(200, deferred=_AsyncQueryResponse(job))


class _AsyncQueryResponse:
    """The deferred response with the result of an async query.

    The query is not interrupted if the client that polls for it disconnects.
    """

    def __init__(self, job: AsyncQuery) -> None:
        self._job = job

    def run(self) -> tuple[int, bytes]:
        """Run the query if nothing has yet, and return status and body."""
        return _completed_body(self._job)

    def interrupt(self) -> None:
        """Do nothing."""


def _progress(job: AsyncQuery, now: Any, queries: QueryState, requested: bool) -> dict[str, Any]:
    if not requested:
        return {}
    duration = max((job.due_at - job.started_at).total_seconds(), 0.001)
    share = min((now - job.started_at).total_seconds() / duration, 1)
    return {
        "query_progress": {
            "bytes_read": round(share * 1_000_000),
            "rows_read": round(share * 10_000),
            "estimated_rows_total": 10_000,
            "time_elapsed": round(share * duration),
            "active_cpu_time": round(share * duration * 1_000_000),
        }
    }


def _completed_body(job: AsyncQuery) -> tuple[int, bytes]:
    """Return status and body of a completed async query, running it if nothing has yet."""
    job.run()
    if job.is_cancelled:
        body = _status_body(job, complete=True, error=True, error_message="Query was cancelled")
        return 400, encode_json(body)
    if job.error is not None:
        # The server hides the messages of internal errors.
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
        raise AssertionError("a completed async query has a result, an error or is cancelled")
    body_fields = done.result.body(done.cache_fields(cached=False))
    fields = _status_body(job, complete=True)["query_status"]
    del fields["results"]
    return 200, b'{"query_status":' + json_object("results", body_fields, fields) + b"}"


def cancel(call: ApiCall) -> Response:
    """Respond to `DELETE query/{id}/`."""
    queries, now = query_state(call.state), call.state.settings.clock()
    key = (call.path_values[0], call.path_values[-1])
    dequeue_only = (call.request.query_value("dequeue_only") or "").lower() in {"true", "1"}
    job = queries.find_async_query(*key, now)
    running = queries.running.get(key)
    if job is not None and (job.is_complete(now) or job.is_cancelled):
        return json_response(200, {"message": "Query already complete"})
    if job is not None:
        job.is_cancelled = True
        return json_response(200, {"message": "Query task revoked"})
    if dequeue_only:
        return json_response(200, {"message": "Query task revoked, if it was waiting"})
    if running is not None:
        running.cancel()
    return json_response(200, {"message": "Cancelled query on clickhouse"})


_LOG_COLUMNS: Final = ("query_id", "query", "query_start_time", "query_duration_ms", "result_rows")


def log(call: ApiCall) -> Response:
    """Respond to `GET query/{id}/log/` with what ran under an id in the last day."""
    now = call.state.settings.clock()
    rows = [
        [entry["id"], entry["query"], format_utc(entry["at"]), round(entry["seconds"] * 1000),
         entry["rows"]]
        for entry in query_state(call.state).log
        if (entry["team"], entry["id"]) == (call.path_values[0], call.path_values[1])
        and now - entry["at"] < timedelta(days=1)
    ]  # fmt: skip
    return json_response(200, {"columns": list(_LOG_COLUMNS), "results": rows, "hasMore": False})
