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
from .stubs import Canned, Pattern, Rows

if TYPE_CHECKING:
    from posthog_emulator.state import ApiCall, EmulatorState

__all__ = [
    "CACHE_TTL",
    "KEPT",
    "LAZY_CACHE_TTL",
    "CachedResult",
    "Job",
    "QueryState",
    "Run",
    "answer_with",
    "cache_key",
    "cancelled",
    "finished",
    "is_cached",
    "mode_of",
    "query_state",
    "running",
    "stamp",
]

CACHE_TTL: Final = timedelta(hours=6)
"""How long a result is answered with again."""
LAZY_CACHE_TTL: Final = timedelta(hours=12)
"""How long for `lazy_async`."""
KEPT: Final = timedelta(minutes=20)
"""How long the status of a job can be asked for."""
_CACHE_BYTES: Final = 64 * MIB
"""What the results may take that are answered with again; the least recently used go first."""
_JOB_BYTES: Final = 256 * MIB
"""What the results of jobs may take that were begun before the latest."""


def stamp(moment: datetime) -> str:
    """A moment as the API writes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class CachedResult:
    """A result, and when it was computed."""

    result: Result
    at: datetime
    key: str

    def fields(self, *, cached: bool) -> dict[str, Any]:
        """What caching adds to an answer."""
        return {
            "is_cached": cached,
            "cache_key": self.key,
            "cache_target_age": stamp(self.at + CACHE_TTL),
            "last_refresh": stamp(self.at),
            "next_allowed_client_refresh": stamp(self.at + timedelta(minutes=1)),
            "timezone": "UTC",
            "calculation_trigger": None,
            "query_status": None,
        }


@dataclass(slots=True)
class Job:
    """A query in the background; it is run when somebody asks for it after its time."""

    id: str
    team: str
    key: str
    compute: Callable[[], CachedResult]
    start: datetime
    due: datetime
    insight: int | None = None
    done: CachedResult | None = None
    problem: ApiError | None = None
    stopped: bool = False
    lock: RLock = field(default_factory=RLock)

    @property
    def size(self) -> int:
        """How many bytes its result has."""
        return 0 if self.done is None else len(self.done.result.rows)

    def settled(self, now: datetime) -> bool:
        """Whether it has ended, or only waits for somebody to look."""
        return self.done is not None or self.problem is not None or self.stopped or now >= self.due

    def finish(self) -> None:
        """Run it, once."""
        with self.lock:
            if self.done is None and self.problem is None and not self.stopped:
                try:
                    self.done = self.compute()
                except ApiError as problem:
                    self.problem = problem


@dataclass(slots=True)
class QueryState:
    """All of it."""

    cache: BoundedCache[tuple[str, str], CachedResult] = field(
        default_factory=lambda: BoundedCache(_CACHE_BYTES)
    )
    """By project and key."""
    jobs: dict[tuple[str, str], Job] = field(default_factory=dict[tuple[str, str], Job])
    """By project and id."""
    runs: dict[tuple[str, str], Run] = field(default_factory=lambda: cast("dict[Any, Any]", {}))
    """Queries somebody waits for, by project and id."""
    canned: list[Canned] = field(default_factory=list[Canned])
    log: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))
    lock: Lock = field(default_factory=Lock)

    def fresh(
        self, team: str, key: str, now: datetime, age: timedelta = CACHE_TTL
    ) -> CachedResult | None:
        """A result that is young enough, and not of a time still to come."""
        found = self.cache.get((team, key))
        return found if found is not None and timedelta(0) <= now - found.at < age else None

    def keep(self, team: str, made: CachedResult) -> None:
        """Keep a result, to be answered with again."""
        self.cache.put((team, made.key), made, len(made.result.rows))

    def add(self, job: Job, now: datetime) -> None:
        """Add a job. Those whose time is over are dropped, and the oldest of too many bytes."""
        with self.lock:
            sizes = {key: one.size for key, one in self.jobs.items() if now - one.start < KEPT}
            excess = sum(sizes.values()) - _JOB_BYTES
            kept: dict[tuple[str, str], Job] = {}
            for key, size in sizes.items():
                if excess > 0 and size:
                    excess -= size
                else:
                    kept[key] = self.jobs[key]
            kept.pop((job.team, job.id), None)  # to the end: it is the latest
            self.jobs = {**kept, (job.team, job.id): job}

    def job(self, team: str, id: str, now: datetime) -> Job | None:
        """A job whose status is still kept."""
        job = self.jobs.get((team, id))
        if job is not None and now - job.start >= KEPT:
            with self.lock:
                self.jobs.pop((team, id), None)
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


def mode_of(body: Mapping[str, Any]) -> str:
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
    if mode_of(body) == "force_blocking":
        return False
    now = call.state.settings.clock()
    team = call.path_values[0]
    return query_state(call.state).fresh(team, cache_key(query, team), now) is not None


def answer_with(
    state: EmulatorState,
    pattern: Pattern,
    rows: Rows | Callable[[str, Mapping[str, Any]], Rows],
    columns: Iterable[str] | None,
    types: Iterable[str] | None,
) -> None:
    """Answer the queries that a pattern fits with rows given by hand."""
    kept = rows if callable(rows) else list(rows)
    query_state(state).canned.append(
        Canned(
            pattern,
            kept,
            None if columns is None else tuple(columns),
            None if types is None else tuple(types),
        )
    )


def cancelled() -> ApiError:
    """What the sender of a query hears that somebody cancelled."""
    return ApiError(500, code="error", detail="ClickHouse error while executing query.")


@dataclass(slots=True)
class Run:
    """A query somebody waits for."""

    scope: anyio.CancelScope
    thread: int = field(default_factory=get_ident)
    deferred: DeferredBody | None = None
    stopped: bool = False

    def stop(self) -> None:
        """Cancel it."""
        self.stopped = True
        if self.deferred is not None:
            self.deferred.interrupt()
        if self.thread == get_ident():
            # Of another thread's event loop it is seen at its next step.
            self.scope.cancel()


@contextmanager
def running(call: ApiCall, task: str) -> Generator[Run]:
    """Let a query be cancelled by its id while the block runs; then the block just ends.

    Raises:
        Problem: 500, it was cancelled at a moment the block could not be left at.
    """
    runs, key = query_state(call.state).runs, (call.path_values[0], task)
    with anyio.CancelScope() as scope:
        run = runs[key] = Run(scope)
        try:
            yield run
            if run.stopped:
                raise cancelled()
        finally:
            if runs.get(key) is run:
                del runs[key]


async def finished(answer: Response, run: Run | None = None) -> Response:
    """An answer with all there is to it, the rest made in a thread.

    Raises:
        Problem: It cannot be made, or was cancelled.
    """
    later = answer.deferred
    if later is None:
        return answer
    if run is not None:
        run.deferred = later
        if run.stopped:
            raise cancelled()
    made = await run_in_thread(later.run, interrupt=later.interrupt)
    answer.status, answer.content = made
    answer.deferred = None
    return answer
