"""The state, rate limits and faults of an emulator, and the methods that control them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime
from threading import RLock
from typing import Any, Final

from asyncposthog.operation import Operation
from posthog_emulator.faults.injector import FaultInjector
from posthog_emulator.features.cohorts import handlers as cohorts
from posthog_emulator.features.definitions import open_event_store
from posthog_emulator.features.events.collections import event_collection
from posthog_emulator.features.persons import handlers as persons
from posthog_emulator.rate_limits.query_slots import QuerySlots
from posthog_emulator.rate_limits.rate_limits import Caller, RateLimits
from posthog_emulator.recorder import RequestLog
from posthog_emulator.schema.validation import require_jsonschema

from .accounts import DEFAULT_KEY, Account, Accounts
from .api_schema import ApiSchema, load_registry_schema
from .bootstrap import add_project, create_default_account
from .clock import ClockControl
from .features import query
from .features.lifecycles import LIFECYCLES
from .fixtures import EventFixtures
from .persistence import Persistence, restore
from .state import EmulatorState, Settings

__all__ = ["EmulatorCore"]


class EmulatorCore(Persistence, ClockControl, EventFixtures):
    """An emulator without HTTP; see `Emulator`."""

    key: Final = DEFAULT_KEY
    """A personal API key with all scopes."""

    def __init__(
        self,
        operations: Iterable[Operation] | None = None,
        schemas: Mapping[str, Any] | None = None,
        *,
        strict: bool | None = None,
        next_host: str | None = None,
        html_errors: bool = False,
        stale_person_reads: int = 1,
        seed: int = 0,
        project_id: int = 1,
        history_size: int = 10_000,
        rate_limits: bool = False,
        strict_fidelity: bool = False,
        clock: Callable[[], datetime] | None = None,
        sleep: Callable[[float], Awaitable[object]] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        require_jsonschema()
        if history_size < 1:
            raise ValueError(f"history_size must be at least 1, not {history_size}")
        self._lock = RLock()
        """Held while a request changes the state, and by every method below.

        Reentrant, because fixtures call each other. A thread lock, because an emulator may be
        served by several event loops, and used by tests in other threads.
        """
        self._operations = None if operations is None else tuple(operations)
        self._schemas = schemas
        self.settings = Settings(
            strict=strict,
            next_host=next_host,
            html_errors=html_errors,
            stale_person_reads=stale_person_reads,
            seed=seed,
            rate_limits=rate_limits,
            strict_fidelity=strict_fidelity,
        )
        """The settings, which may be changed at any time."""
        if clock is not None:
            self.settings.clock = clock
        if sleep is not None:
            self.settings.sleep = sleep
        self.faults = FaultInjector(self._lock, self.settings)
        """Injects errors, latency, connection loss and wrong responses."""
        # Clock and sleep are looked up on each use, because users may replace them in `settings`.
        self.rate_limits = RateLimits(self._timestamp)
        """The rate limits and their usage. They apply while `settings.rate_limits` is true."""
        self.query_slots = QuerySlots(self._timestamp, self._sleep)
        """The running queries. Their number is limited while `settings.rate_limits` is true."""
        self._account = Account(project_id=project_id)
        self._history_size = history_size
        self._state: EmulatorState | None = None
        self.requests = RequestLog()
        """The latest requests, without credentials. `requests.matching` filters them."""
        self.warnings: list[str] = []
        """Warnings about requests that the real server would accept, but that look wrong."""
        if path is not None:
            self._open_directory(path, project_id)

    @property
    def project_id(self) -> int:
        """The id of the account's project."""
        return self._account.project_id

    @property
    def organization_id(self) -> str:
        """The UUID of the account's organization."""
        return self._account.organization_id

    @property
    def project_token(self) -> str:
        """The token of the account's project, for events and flags."""
        return self._account.project_token

    @property
    def state(self) -> EmulatorState:
        """The objects, events and keys, created on first use."""
        with self._lock:
            if self._state is None:
                self._state = self._create_state()
            return self._state

    def reset(self) -> None:
        """Return to the state of a new emulator.

        Deletes all objects, events, logged requests, warnings, faults, usage of rate limits, and
        keys but the default one, and resets the clock. Settings are unchanged.
        """
        with self._lock:
            self._reset_clock()
            self.faults.registry.clear()
            self.rate_limits.clear()
            self.query_slots.clear()
            self.requests.clear()
            self.warnings.clear()
            self._changed()
            # Otherwise a state that is not created yet would be restored from the directory later.
            self._saved_state = None
            # Without a directory, a state that was never used need not be created.
            if self._directory is not None or self._state is not None:
                self.state.clear()
                self._create_account(self.state)

    def apply_pending_changes(self) -> None:
        """Make all accepted changes of persons visible, and recalculate all cohorts.

        On the server both happen some time after the request that causes them.
        """
        with self._lock:
            self._changed()
            persons.apply_pending_changes(self.state)
            cohorts.recalculate_all(self.state)

    def add_key(
        self,
        value: str,
        scopes: Collection[str] = ("*",),
        projects: Iterable[int] | None = None,
        organizations: Iterable[str] | None = None,
    ) -> None:
        """Add an API key.

        Args:
            value: The key. One that starts with `phs_` is a project secret key, one with `pha_`
                an OAuth token.
            scopes: The scopes, such as `feature_flag:read`; `*` stands for all.
            projects: The ids of the only projects it may be used on; any by default.
            organizations: The UUIDs of the only organizations it may be used on; any by default.
        """
        with self._lock:
            self.state.accounts.add(value, scopes, projects, organizations)
            self._changed()

    def add_project(
        self, project_id: int, name: str = "Another project", *, member: bool = True
    ) -> dict[str, Any]:
        """Add a project to the account's organization.

        Args:
            project_id: The id.
            name: The name.
            member: Whether the user is a member. If not, the project is in no list, and requests
                for it are rejected (403).

        Returns:
            The project.
        """
        with self._lock:
            self._changed()
            if not member:
                self.state.accounts.foreign_projects.add(project_id)
                return {"id": project_id, "name": name}
            self.state.accounts.foreign_projects.discard(project_id)
            return add_project(self.state, project_id, name, f"phc_emulator_{project_id}")

    def simulate_other_client(
        self,
        *buckets: str,
        share: float = 0.5,
        key: str | None = None,
        project_id: int | None = None,
    ) -> None:
        """Simulate another client that uses a share of the rate limits at a steady rate.

        Args:
            buckets: The buckets that its requests are charged to, such as `"burst", "sustained"`.
                The rate of its requests is the share of the lowest limit.
            share: The share of the limit, 1 for all of it; 0 stops the client.
            key: The API key it uses; the default key by default.
            project_id: The project it uses, for buckets per project; the account's by default.

        Raises:
            KeyError: A bucket does not exist.
            ValueError: The share is negative, or none of the buckets has a limit.
        """
        account = self._account
        caller = Caller(
            key=key or self.key,
            user=str(account.user_id),
            team=str(project_id or self.project_id),
            organization=account.organization_id,
        )
        with self._lock:
            self.rate_limits.simulate_other_client(buckets, caller, share)

    def stub_query(
        self,
        pattern: query.Pattern,
        rows: query.Rows | Callable[[str, Mapping[str, Any]], query.Rows],
        columns: Iterable[str] | None = None,
        types: Iterable[str] | None = None,
    ) -> None:
        """Return given rows for HogQL queries. Of several stubs that match, the latest applies.

        Args:
            pattern: A regular expression that is searched in the query, or a function of the
                query that returns whether it matches.
            rows: The rows, as lists or as dicts by column; or a function of the query and its
                `values` that returns them.
            columns: The names of the columns; those of the first dict by default.
            types: The ClickHouse types of the columns; derived from the values by default.
        """
        with self._lock:
            query.add_stub(self.state, pattern, rows, columns, types)

    def _create_state(self) -> EmulatorState:
        operations, schemas = self._operations, self._schemas
        if operations is None and schemas is None:
            api_schema = load_registry_schema()
        else:
            # Imported on first use, because the registry is large.
            registry = importlib.import_module("asyncposthog.registry")
            api_schema = ApiSchema(
                registry.operations() if operations is None else operations,
                registry.schemas() if schemas is None else schemas,
            )
        state = EmulatorState(
            api_schema,
            self.settings,
            self._account,
            self._history_size,
            open_events=open_event_store,
            find_events=event_collection,
            lifecycles=LIFECYCLES,
        )
        state.directory = None if self._directory is None else self._directory.path
        if self._saved_state is None:
            self._create_account(state)
        else:
            restore(state, self._saved_state)
            self._saved_state = None
        return state

    def _create_account(self, state: EmulatorState) -> None:
        state.accounts = Accounts(self._account)
        state.accounts.add(DEFAULT_KEY)
        create_default_account(state)

    def _timestamp(self) -> float:
        return self.settings.clock().timestamp()

    async def _sleep(self, seconds: float) -> None:
        await self.settings.sleep(seconds)

    async def _stall(self) -> None:
        await self.settings.sleep(self.settings.stall_seconds)
