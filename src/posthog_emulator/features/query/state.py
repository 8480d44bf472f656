"""What the emulator remembers of queries: results, jobs, those that run, and rows given by hand."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock, RLock, get_ident
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from posthog_emulator.http.errors import ApiError
from posthog_emulator.http.messages import DeferredBody, Response
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.retention import MIB, BoundedCache
from posthog_emulator.state import ApiCall
from posthog_emulator.threads import run_in_thread

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
    "format_timestamp",
    "is_cached",
    "query_state",
    "refresh_mode",
]

CACHE_TTL: Final = timedelta(hours=6)
"""How long a result is answered with again."""
LAZY_CACHE_TTL: Final = timedelta(hours=12)
"""How long for `lazy_async`."""
STATUS_TTL: Final = timedelta(minutes=20)
"""How long the status of a job can be asked for."""
_MAX_CACHE_BYTES: Final = 64 * MIB
"""What the results may take that are answered with again; the least recently used go first."""
_MAX_JOB_BYTES: Final = 256 * MIB
"""What the results of jobs may take that were begun before the latest."""


def format_timestamp(moment: datetime) -> str:
    """A moment as the API writes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class CachedResult:
    """A result, and when it was computed."""

    result: Result
    computed_at: datetime
    key: str

    def cache_fields(self, *, cached: bool) -> dict[str, Any]:
        """What caching adds to an answer."""
        return {
            "is_cached": cached,
            "cache_key": self.key,
            "cache_target_age": format_timestamp(self.computed_at + CACHE_TTL),
            "last_refresh": format_timestamp(self.computed_at),
            "next_allowed_client_refresh": format_timestamp(
                self.computed_at + timedelta(minutes=1)
            ),
            "timezone": "UTC",
            "calculation_trigger": None,
            "query_status": None,
        }


@dataclass(slots=True)
class AsyncQuery:
    """A query in the background; it is run when somebody asks for it after its time."""

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
        """How many bytes its result has."""
        return 0 if self.cached_result is None else len(self.cached_result.result.rows)

    def is_complete(self, now: datetime) -> bool:
        """Whether it has ended, or only waits for somebody to look."""
        return (
            self.cached_result is not None
            or self.error is not None
            or self.is_cancelled
            or now >= self.due_at
        )

    def run(self) -> None:
        """Run it, once."""
        with self.lock:
            if self.cached_result is None and self.error is None and not self.is_cancelled:
                try:
                    self.cached_result = self.compute()
                except ApiError as problem:
                    self.error = problem


@dataclass(slots=True)
class QueryState:
    """All of it."""

    cache: BoundedCache[tuple[str, str], CachedResult] = field(
        default_factory=lambda: BoundedCache(_MAX_CACHE_BYTES)
    )
    """By project and key."""
    async_queries: dict[tuple[str, str], AsyncQuery] = field(
        default_factory=dict[tuple[str, str], AsyncQuery]
    )
    """By project and id."""
    running: dict[tuple[str, str], RunningQuery] = field(
        default_factory=lambda: cast("dict[Any, Any]", {})
    )
    """Queries somebody waits for, by project and id."""
    stubs: list[Stub] = field(default_factory=list[Stub])
    log: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))
    lock: Lock = field(default_factory=Lock)

    def cached_result(
        self, team: str, key: str, now: datetime, max_age: timedelta = CACHE_TTL
    ) -> CachedResult | None:
        """A result that is young enough, and not of a time still to come."""
        found = self.cache.get((team, key))
        return (
            found
            if found is not None and timedelta(0) <= now - found.computed_at < max_age
            else None
        )

    def cache_result(self, team: str, made: CachedResult) -> None:
        """Keep a result, to be answered with again."""
        self.cache.put((team, made.key), made, len(made.result.rows))

    def add_async_query(self, job: AsyncQuery, now: datetime) -> None:
        """Add a job. Those whose time is over are dropped, and the oldest of too many bytes."""
        with self.lock:
            sizes = {
                key: one.size
                for key, one in self.async_queries.items()
                if now - one.started_at < STATUS_TTL
            }
            excess = sum(sizes.values()) - _MAX_JOB_BYTES
            kept: dict[tuple[str, str], AsyncQuery] = {}
            for key, size in sizes.items():
                if excess > 0 and size:
                    excess -= size
                else:
                    kept[key] = self.async_queries[key]
            kept.pop((job.team, job.id), None)  # to the end: it is the latest
            self.async_queries = {**kept, (job.team, job.id): job}

    def find_async_query(self, team: str, id: str, now: datetime) -> AsyncQuery | None:
        """A job whose status is still kept."""
        job = self.async_queries.get((team, id))
        if job is not None and now - job.started_at >= STATUS_TTL:
            with self.lock:
                self.async_queries.pop((team, id), None)
            return None
        return job


def query_state(state: EmulatorState) -> QueryState:
    """What an emulator remembers of queries."""
    desk: QueryState = state.extensions.setdefault("queries", QueryState())
    return desk


def cache_key(query: Mapping[str, Any], team: str) -> str:
    """What two queries with one result have in common."""
    text = json.dumps([query, team], sort_keys=True, default=str)
    return f"cache_{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}"


def refresh_mode(body: Mapping[str, Any]) -> str:
    """How a query is to be refreshed."""
    if body.get("async") is True:
        return "async"
    mode = body.get("refresh") or "blocking"
    return "blocking" if mode == "force_cache" else str(mode)


def is_cached(call: ApiCall) -> bool:
    """Whether a query that is waited for has its answer already, so that nothing runs."""
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
    """Answer the queries that a pattern fits with rows given by hand."""
    kept = rows if callable(rows) else list(rows)
    query_state(state).stubs.append(
        Stub(
            pattern,
            kept,
            None if columns is None else tuple(columns),
            None if types is None else tuple(types),
        )
    )


def cancelled_error() -> ApiError:
    """What the sender of a query hears that somebody cancelled."""
    return ApiError(500, code="error", detail="ClickHouse error while executing query.")


@dataclass(slots=True)
class RunningQuery:
    """A query somebody waits for."""

    scope: anyio.CancelScope
    thread: int = field(default_factory=get_ident)
    deferred: DeferredBody | None = None
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Cancel it."""
        self.is_cancelled = True
        if self.deferred is not None:
            self.deferred.interrupt()
        if self.thread == get_ident():
            # Of another thread's event loop it is seen at its next step.
            self.scope.cancel()


@contextmanager
def cancellable(call: ApiCall, task: str) -> Generator[RunningQuery]:
    """Let a query be cancelled by its id while the block runs; then the block just ends.

    Raises:
        Problem: 500, it was cancelled at a moment the block could not be left at.
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


async def complete(answer: Response, run: RunningQuery | None = None) -> Response:
    """An answer with all there is to it, the rest made in a thread.

    Raises:
        Problem: It cannot be made, or was cancelled.
    """
    later = answer.deferred
    if later is None:
        return answer
    if run is not None:
        run.deferred = later
        if run.is_cancelled:
            raise cancelled_error()
    made = await run_in_thread(later.run, interrupt=later.interrupt)
    answer.status, answer.content = made
    answer.deferred = None
    return answer
