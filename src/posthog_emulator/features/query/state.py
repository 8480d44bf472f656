"""State of the query endpoint: cached results, async queries, running queries, stubs, log."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock, RLock, get_ident
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from posthog_emulator.http.errors import ApiError
from posthog_emulator.http.messages import DeferredBody, Response
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.retention import MIB, BoundedCache
from posthog_emulator.state import ApiCall
from posthog_emulator.threads import run_in_thread
from posthog_emulator.timestamps import format_utc

from .result import Result
from .stubs import Pattern, Rows, Stub

if TYPE_CHECKING:
    from posthog_emulator.state import ApiCall, EmulatorState

__all__ = [
    "CACHE_TTL",
    "LAZY_CACHE_TTL",
    "STATUS_TTL",
    "AsyncQuery",
    "CachedResult",
    "QueryState",
    "RunningQuery",
    "add_stub",
    "cache_key",
    "cancellable",
    "cancelled_error",
    "complete",
    "is_cached",
    "query_state",
    "refresh_mode",
]

CACHE_TTL: Final = timedelta(hours=6)
"""How long a cached result is used."""
LAZY_CACHE_TTL: Final = timedelta(hours=12)
"""How long a cached result is used for the mode `lazy_async`."""
STATUS_TTL: Final = timedelta(minutes=20)
"""How long the status of an async query is kept."""
_MAX_CACHE_BYTES: Final = 64 * MIB
"""Maximum size of all cached results, in bytes; the least recently used are dropped first."""
_MAX_JOB_BYTES: Final = 256 * MIB
"""Maximum size of the results of all async queries but the latest, in bytes."""


@dataclass(slots=True)
class CachedResult:
    """A cached result and the time it was computed."""

    result: Result
    computed_at: datetime
    key: str

    def cache_fields(self, *, cached: bool) -> dict[str, Any]:
        """Return the fields that caching adds to a response."""
        return {
            "is_cached": cached,
            "cache_key": self.key,
            "cache_target_age": format_utc(self.computed_at + CACHE_TTL),
            "last_refresh": format_utc(self.computed_at),
            "next_allowed_client_refresh": format_utc(self.computed_at + timedelta(minutes=1)),
            "timezone": "UTC",
            "calculation_trigger": None,
            "query_status": None,
        }


@dataclass(slots=True)
class AsyncQuery:
    """An async query; it is run by the first request for its result after it is due."""

    id: str
    team: str
    key: str
    compute: Callable[[], CachedResult]
    started_at: datetime
    due_at: datetime
    insight_id: int | None = None
    cached_result: CachedResult | None = None
    error: ApiError | None = None
    is_cancelled: bool = False
    lock: RLock = field(default_factory=RLock)

    @property
    def size(self) -> int:
        """Size of its result in bytes."""
        return 0 if self.cached_result is None else len(self.cached_result.result.rows)

    def is_complete(self, now: datetime) -> bool:
        """Return whether it has ended, or is due and will be run by the next request."""
        return (
            self.cached_result is not None
            or self.error is not None
            or self.is_cancelled
            or now >= self.due_at
        )

    def run(self) -> None:
        """Run the query, unless it was run or cancelled before."""
        # Two clients may poll at the same time, each in a thread of its own.
        with self.lock:
            if self.cached_result is None and self.error is None and not self.is_cancelled:
                try:
                    self.cached_result = self.compute()
                except ApiError as error:
                    self.error = error


@dataclass(slots=True)
class QueryState:
    """Per-emulator query state: cached results, async queries, running queries, stubs, log."""

    cache: BoundedCache[tuple[str, str], CachedResult] = field(
        default_factory=lambda: BoundedCache(_MAX_CACHE_BYTES)
    )
    """By project and cache key."""
    async_queries: dict[tuple[str, str], AsyncQuery] = field(
        default_factory=dict[tuple[str, str], AsyncQuery]
    )
    """By project and id."""
    running: dict[tuple[str, str], RunningQuery] = field(
        default_factory=lambda: cast("dict[Any, Any]", {})
    )
    """Blocking queries that run at present, by project and id."""
    stubs: list[Stub] = field(default_factory=list[Stub])
    log: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))
    lock: Lock = field(default_factory=Lock)

    def cached_result(
        self, team: str, key: str, now: datetime, max_age: timedelta = CACHE_TTL
    ) -> CachedResult | None:
        """Return a cached result that is younger than `max_age`; None if there is none."""
        # The emulator's clock can be set back: a result from the future is not used.
        cached = self.cache.get((team, key))
        return (
            cached
            if cached is not None and timedelta(0) <= now - cached.computed_at < max_age
            else None
        )

    def cache_result(self, team: str, cached: CachedResult) -> None:
        """Cache a result."""
        self.cache.put((team, cached.key), cached, len(cached.result.rows))

    def add_async_query(self, new_query: AsyncQuery, now: datetime) -> None:
        """Add an async query; drop expired ones, and the oldest ones beyond the size limit."""
        with self.lock:
            sizes = {
                key: query.size
                for key, query in self.async_queries.items()
                if now - query.started_at < STATUS_TTL
            }
            excess = sum(sizes.values()) - _MAX_JOB_BYTES
            remaining: dict[tuple[str, str], AsyncQuery] = {}
            for key, size in sizes.items():
                if excess > 0 and size:
                    excess -= size
                else:
                    remaining[key] = self.async_queries[key]
            # Removed and added again, so that the latest query is last in the order.
            remaining.pop((new_query.team, new_query.id), None)
            self.async_queries = {**remaining, (new_query.team, new_query.id): new_query}

    def find_async_query(self, team: str, id: str, now: datetime) -> AsyncQuery | None:
        """Return an async query whose status is still kept; None if there is none."""
        query = self.async_queries.get((team, id))
        if query is not None and now - query.started_at >= STATUS_TTL:
            with self.lock:
                self.async_queries.pop((team, id), None)
            return None
        return query


def query_state(state: EmulatorState) -> QueryState:
    """Return the query state of an emulator, created on first use."""
    queries: QueryState = state.extensions.setdefault("queries", QueryState())
    return queries


def cache_key(query: Mapping[str, Any], team: str) -> str:
    """Return the cache key of a query: equal queries of a project have the same key."""
    text = json.dumps([query, team], sort_keys=True, default=str)
    return f"cache_{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}"


def refresh_mode(body: Mapping[str, Any]) -> str:
    """Return the refresh mode that a request body asks for."""
    if body.get("async") is True:
        return "async"
    mode = body.get("refresh") or "blocking"
    return "blocking" if mode == "force_cache" else str(mode)


def is_cached(call: ApiCall) -> bool:
    """Return whether a blocking query will be answered from the cache, so that nothing runs."""
    body = as_object(call.body)
    query = body.get("query")
    if not call.operation.id.startswith("query.create") or not is_object(query):
        return False
    if refresh_mode(body) == "force_blocking":
        return False
    now = call.state.settings.clock()
    team = call.path_values[0]
    return query_state(call.state).cached_result(team, cache_key(query, team), now) is not None


def add_stub(
    state: EmulatorState,
    pattern: Pattern,
    rows: Rows | Callable[[str, Mapping[str, Any]], Rows],
    columns: Iterable[str] | None,
    types: Iterable[str] | None,
) -> None:
    """Answer queries that match a pattern with fixed rows."""
    # A list, because an iterator could answer only one query.
    stored_rows = rows if callable(rows) else list(rows)
    query_state(state).stubs.append(
        Stub(
            pattern,
            stored_rows,
            None if columns is None else tuple(columns),
            None if types is None else tuple(types),
        )
    )


def cancelled_error() -> ApiError:
    """Return the error for the client whose query was cancelled."""
    return ApiError(500, code="error", detail="ClickHouse error while executing query.")


@dataclass(slots=True)
class RunningQuery:
    """A blocking query that runs at present."""

    scope: anyio.CancelScope
    thread: int = field(default_factory=get_ident)
    deferred: DeferredBody | None = None
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Cancel the query."""
        self.is_cancelled = True
        if self.deferred is not None:
            self.deferred.interrupt()
        if self.thread == get_ident():
            # A cancel scope belongs to its thread's event loop. From another thread only
            # `is_cancelled` is set, which `cancellable` and `complete` check.
            self.scope.cancel()


@contextmanager
def cancellable(call: ApiCall, task: str) -> Generator[RunningQuery]:
    """Make a query cancellable by its id while the block runs; cancelling leaves the block.

    Raises:
        ApiError: 500, it was cancelled where the block could not be left at once.
    """
    runs, key = query_state(call.state).running, (call.path_values[0], task)
    with anyio.CancelScope() as scope:
        run = runs[key] = RunningQuery(scope)
        try:
            yield run
            if run.is_cancelled:
                raise cancelled_error()
        finally:
            if runs.get(key) is run:
                del runs[key]


async def complete(response: Response, run: RunningQuery | None = None) -> Response:
    """Return the response with its deferred body, which is computed in a thread.

    Raises:
        ApiError: The query fails or is cancelled.
    """
    deferred = response.deferred
    if deferred is None:
        return response
    if run is not None:
        run.deferred = deferred
        if run.is_cancelled:
            raise cancelled_error()
    computed = await run_in_thread(deferred.run, interrupt=deferred.interrupt)
    response.status, response.content = computed
    response.deferred = None
    return response
