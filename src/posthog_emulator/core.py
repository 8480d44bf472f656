"""State, limits and faults of an emulator, and the path of one request through them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from threading import RLock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from asyncposthog.operation import Operation
from posthog_emulator.faults.faults import apply_fault, html_page
from posthog_emulator.faults.injector import FaultInjector
from posthog_emulator.faults.registry import FaultRegistry
from posthog_emulator.features.cohorts import handlers as cohorts
from posthog_emulator.features.definitions import open_event_store
from posthog_emulator.features.events.collections import event_collection as event_collection
from posthog_emulator.features.persons import handlers as persons
from posthog_emulator.http.asgi import App
from posthog_emulator.http.errors import ApiError
from posthog_emulator.http.messages import Answer, Request
from posthog_emulator.rate_limits.query_slots import Slots, occupies_slot
from posthog_emulator.rate_limits.rate_limits import Caller, RateLimits
from posthog_emulator.recorder import RecordedRequest, Requests, noted, recorded
from posthog_emulator.schema.forms import Form
from posthog_emulator.schema.validation import require_jsonschema

from . import extra_routes
from .accounts import DEFAULT_KEY, Account, Accounts
from .api_schema import ApiSchema, load_registry_schema
from .bootstrap import add_project, create_default_account
from .clock import ClockControl
from .dispatch import Dispatcher
from .features import query
from .fixtures import EventFixtures
from .json_types import as_object
from .persistence import Persistence, restore
from .state import EmulatorState, Settings

if TYPE_CHECKING:
    import httpx

__all__ = ["EmulatorCore"]


class EmulatorCore(Persistence, ClockControl, FaultInjector, EventFixtures):
    """Everything of an emulator but its own pages; see `Emulator`."""

    key: Final = DEFAULT_KEY
    """The personal API key that may do everything."""

    def __init__(
        self,
        operations: Iterable[Operation] | None = None,
        schemas: Mapping[str, Any] | None = None,
        *,
        strict: bool = True,
        next_host: str | None = None,
        html_errors: bool = False,
        person_lag: int = 1,
        seed: int = 0,
        project_id: int = 1,
        keep: int = 10_000,
        rate_limits: bool = False,
        clock: Callable[[], datetime] | None = None,
        sleep: Callable[[float], Awaitable[object]] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(RLock(), FaultRegistry())
        require_jsonschema()
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self._operations = None if operations is None else tuple(operations)
        self._schemas = schemas
        self.settings = Settings(
            strict=strict,
            next_host=next_host,
            html_errors=html_errors,
            person_lag=person_lag,
            seed=seed,
            rate_limits=rate_limits,
        )
        """Everything above that can be changed while it runs, and more."""
        if clock is not None:
            self.settings.clock = clock
        if sleep is not None:
            self.settings.sleep = sleep
        self.throttles = RateLimits(self._timestamp)
        """The rate limits: their rates, and what is used of them."""
        self.slots = Slots(self._timestamp, self._sleep)
        """The queries that run."""
        self._account = Account(project_id=project_id)
        self._keep = keep
        self._world: EmulatorState | None = None
        self.requests = Requests()
        """The latest requests, without credentials; `matching` finds some of them."""
        self.complaints: list[str] = []
        """Remarks about requests that the real server would have overlooked."""
        if path is not None:
            self._open_directory(path, project_id)
        self.app = App(self._answer, self._hang)
        """The ASGI application."""

    @property
    def project_id(self) -> int:
        """The number of the account's project."""
        return self._account.project_id

    @property
    def organization_id(self) -> str:
        """The UUID of the account's organization."""
        return self._account.organization_id

    @property
    def world(self) -> EmulatorState:
        """The state behind the application, made when first asked for."""
        with self._lock:
            if self._world is None:
                self._world = self._made_world()
            return self._world

    def reset(self) -> None:
        """Forget every object, request, complaint, fault, limit used, and key but the default.

        The clock is the time of day again.
        """
        with self._lock:
            self._reset()
            self._faults.clear()
            self.throttles.clear()
            self.slots.clear()
            self.requests.clear()
            self.complaints.clear()
            self._changed()
            self._kept = None
            if self._folder is not None or self._world is not None:
                self.world.clear()
                self._settle(self.world)

    def settle(self) -> None:
        """Make every accepted change of persons visible at once, and find cohorts' members anew."""
        with self._lock:
            self._changed()
            persons.apply_pending_changes(self.world)
            cohorts.recalculate_all(self.world)

    def add_key(
        self,
        value: str,
        scopes: Collection[str] = ("*",),
        projects: Iterable[int] | None = None,
        organizations: Iterable[str] | None = None,
    ) -> None:
        """Make an API key known.

        Args:
            value: The key. One that starts with `phs_` is a project secret key.
            scopes: What it may do, as `feature_flag:read`; `*` is everything.
            projects: The only projects it may be used on; any by default.
            organizations: The only organizations it may be used on; any by default.
        """
        with self._lock:
            self.world.accounts.add(value, scopes, projects, organizations)
            self._changed()

    def add_project(
        self, project_id: int, name: str = "Another project", *, member: bool = True
    ) -> dict[str, Any]:
        """Make a second project, next to the account's own.

        Args:
            project_id: Its number.
            name: Its name.
            member: Whether the user may see it; otherwise it is listed nowhere, and refused (403).
        """
        with self._lock:
            self._changed()
            if not member:
                self.world.accounts.strange.add(project_id)
                return {"id": project_id, "name": name}
            self.world.accounts.strange.discard(project_id)
            return add_project(self.world, project_id, name, f"phc_emulator_{project_id}")

    def use_elsewhere(
        self,
        *buckets: str,
        share: float = 0.5,
        key: str | None = None,
        project_id: int | None = None,
    ) -> None:
        """Let a stranger with the same key use a part of its limits, evenly, from now on.

        Args:
            buckets: What the stranger's requests are charged to: `"burst", "sustained"`. The
                tightest gives the pace.
            share: The part of that limit; 0 sends the stranger away.
            key: The key; the default one by default.
            project_id: The project, for buckets of projects; the account's by default.

        Raises:
            KeyError: There is no such bucket.
            ValueError: The share is negative, or no bucket has a limit.
        """
        account = self._account
        caller = Caller(
            key=key or self.key,
            user=str(account.user_id),
            team=str(project_id or self.project_id),
            organization=account.organization_id,
        )
        with self._lock:
            self.throttles.use_elsewhere(buckets, caller, share)

    def on_query(
        self,
        pattern: query.Pattern,
        rows: query.Rows | Callable[[str, Mapping[str, Any]], query.Rows],
        columns: Iterable[str] | None = None,
        types: Iterable[str] | None = None,
    ) -> None:
        """Answer HogQL queries with rows of your own; the latest that fits wins.

        Args:
            pattern: What the query contains, a regular expression, or a function of the query.
            rows: Lists, or dicts by column, or a function of query and `values` that gives them.
            columns: Names of the columns; those of the first dict by default.
            types: ClickHouse types of the columns; guessed from the values by default.
        """
        with self._lock:
            query.add_stub(self.world, pattern, rows, columns, types)

    def transport(self) -> httpx.AsyncBaseTransport:
        """A transport for `httpx.AsyncClient` that calls the application in this process."""
        from posthog_emulator.http.server import in_process

        return in_process(self.app)

    def _made_world(self) -> EmulatorState:
        operations, schemas = self._operations, self._schemas
        if operations is None and schemas is None:
            known = load_registry_schema()
        else:
            registry = importlib.import_module("asyncposthog.registry")
            known = ApiSchema(
                registry.operations() if operations is None else operations,
                registry.schemas() if schemas is None else schemas,
            )
        world = EmulatorState(
            known,
            self.settings,
            self._account,
            self._keep,
            open_events=open_event_store,
            find_events=event_collection,
        )
        world.folder = None if self._folder is None else self._folder.path
        if self._kept is None:
            self._settle(world)
        else:
            restore(world, self._kept)
            self._kept = None
        return world

    def _settle(self, world: EmulatorState) -> None:
        world.accounts = Accounts(self._account)
        world.accounts.add(DEFAULT_KEY)
        create_default_account(world)

    def _timestamp(self) -> float:
        return self.settings.clock().timestamp()

    async def _sleep(self, seconds: float) -> None:
        await self.settings.sleep(seconds)

    async def _hang(self) -> None:
        await self.settings.sleep(self.settings.stall)

    def _own_page(self, request: Request) -> Answer | None:
        """Answer a request for one of the emulator's own pages; None: it is meant for PostHog."""
        return None

    async def _answer(self, request: Request) -> Answer:
        page = self._own_page(request)
        if page is not None:
            return page
        began = perf_counter()
        handler = extra_routes.find(request.path)
        with self._lock:
            record, form = recorded(request) if handler is None else (noted(request), Form())
            record.at = self.settings.clock()
            self.requests.add(record, self._keep)
            del self.complaints[: -self._keep]
            try:
                fate = self._faults.take(request)
            except ApiError as problem:
                record.status = problem.status
                return problem.answer().mark("refused")
        request = fate.told(request)

        async def truth() -> Answer:
            if handler is None:
                answer = await self._handle(request, form, record)
            else:
                with self._lock:
                    answer = handler(self.world, request)
            if fate.distortions:
                fate.distort(answer, request, self.world.catalogue)
            return answer

        if fate.delay:
            await self._sleep(fate.delay)
        fault = fate.fault
        try:
            answer = await (truth() if fault is None else apply_fault(fault, truth, self._hang))
            record.status = answer.status
            return answer
        finally:
            record.seconds = perf_counter() - began
            if request.method != "GET" or handler is not None:
                # Events may come by GET as well.
                self._changed()

    async def _handle(
        self, request: Request, form: Form | ApiError, record: RecordedRequest
    ) -> Answer:
        """Carry a request out, and say what the answer is worth."""
        try:
            answer = await self._dispatch(request, form, record)
        except ApiError as problem:
            html = self.settings.html_errors
            answer = html_page(problem.status) if html else problem.answer()
        return answer.mark("refused") if answer.status >= 400 else answer

    async def _dispatch(
        self, request: Request, form: Form | ApiError, record: RecordedRequest
    ) -> Answer:
        """One step in the world's history, unless it has to wait.

        Raises:
            Problem: It is refused.
        """
        settings = self.settings
        with self._lock:
            pipeline = Dispatcher(self.world, self.complaints, self.throttles)
            call = pipeline.admit(request, form, record)
            task = str(as_object(call.body).get("client_query_id") or self.world.uuid())
            answer = None
            if not occupies_slot(call.operation, call.body) or query.is_cached(call):
                answer = pipeline.answer(call)
        if answer is not None:
            return await query.complete(answer)
        async with AsyncExitStack() as held:
            if settings.rate_limits and settings.query_plan == "current":
                slot = self.slots.hold(call.values[0], task)
                await held.enter_async_context(slot)
            with query.cancellable(call, task) as run:
                if settings.query_seconds:
                    await settings.sleep(settings.query_seconds)
                with self._lock:
                    answer = pipeline.answer(call)
                return await query.complete(answer, run)
            raise query.cancelled_error()
