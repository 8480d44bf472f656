"""`AsyncPostHog`: configuration in, resources out."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Never, ParamSpec, Self, TypeVar
from uuid import UUID

import httpx

from asyncposthog.core.executor import Executor
from asyncposthog.core.factories import (
    connection_settings,
    enable_debug_logging,
    http_client_factory,
    limiter_factory,
    validate_on_retry,
    validate_retry_budget,
)
from asyncposthog.core.owner import OwnerResolver
from asyncposthog.transport.clock import Clock
from asyncposthog.transport.http import Transport
from asyncposthog.transport.limiter import Limiter
from asyncposthog.transport.middleware import Middleware, validate_middleware
from asyncposthog.transport.retry import OnRetry

from .config import Secret, Settings, replace_settings, resolve_settings
from .options import parse_options
from .resources import Resources
from .types import OMIT, FileInput, Omit, Region, RequestOptions

if TYPE_CHECKING:
    from asyncposthog.core.raw_response import RawResponse, RequestPreview, StreamedResponse
    from asyncposthog.export.service import Export
    from asyncposthog.query.insights import InsightsService
    from asyncposthog.query.service import QueryService
    from asyncposthog.rate_limits.limits import Limits, QueryPlan
    from asyncposthog.rate_limits.status import RateLimits
    from posthog_emulator import Emulator

    from .doctor import Diagnosis

__all__ = ["AsyncPostHog", "BaseClient"]

P = ParamSpec("P")
T = TypeVar("T")


class BaseClient:
    """A client without resources: settings, calls by path, options, closing.

    Settings come from the arguments, then from the environment: `POSTHOG_PERSONAL_API_KEY` or
    `POSTHOG_API_KEY`, `POSTHOG_PROJECT_ID`, `POSTHOG_PROJECT_API_KEY`, `POSTHOG_ORGANIZATION_ID`,
    `POSTHOG_HOST` or `POSTHOG_API_URL`. Building one is cheap and opens no connection. Use it
    from one event loop, and close it: `async with AsyncPostHog() as ph: …`.
    """

    def __init__(
        self,
        api_key: str | Secret | None = None,
        *,
        project_id: int | str | None = None,
        organization_id: str | UUID | None = None,
        project_api_key: str | Secret | None = None,
        region: Region | None = None,
        host: str | None = None,
        allow_http: bool = False,
        timeout: float | None = 60.0,
        max_retries: int = 3,
        retry_budget: int | None = 100,
        deadline: float | None = None,
        max_retry_after: float = 120.0,
        max_response_bytes: int | None = 512 * 1024 * 1024,
        strict: bool = False,
        read_only: bool = False,
        allow: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        middleware: Iterable[Middleware] = (),
        on_retry: OnRetry | None = None,
        http_client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        max_connections: int = 100,
        http2: bool = False,
        limits: Limits | Literal[False] | None = None,
        query_plan: QueryPlan = "auto",
        query_slots: int = 3,
        limiter: Limiter | None = None,
        clock: Clock | None = None,
        debug: bool = False,
    ) -> None:
        """Check the settings. Nothing is opened before the first call.

        Args:
            api_key: A personal API key (`phx_…`).
            project_id: The project's number. Left out, it is looked up once, and kept.
            organization_id: The organization's UUID, likewise.
            project_api_key: The project's token (`phc_…`), for events and flags.
            region: `us` (the default) or `eu`, on PostHog Cloud.
            host: The URL of a self-hosted PostHog, or of a region.
            allow_http: Allow plain `http://` to a host other than this machine.
            timeout: Seconds one attempt may take; None waits for ever. A query has 30 more, for
                which the server may keep it in its queue.
            max_retries: Repeats of a failed attempt, where repeating is sound.
            retry_budget: Repeats that all calls together may make while none succeeds: half of one
                comes back with every success, and one a second. 429s do not count. None: no bound.
            deadline: Seconds a whole call may take, waits included; None: no bound.
            max_retry_after: Seconds a server may ask to wait before the call, and all that wait
                for the same limit, fail instead.
            max_response_bytes: The size beyond which an answer is refused; None: no bound.
            strict: Raise where an answer departs from the schema, rather than warn.
            read_only: Refuse every operation that writes.
            allow: Patterns of operation ids (`feature_flags.*`): all others are refused. With
                `read_only`, reading stays allowed, and writes that match are.
            headers: Sent with every call.
            middleware: Async functions of `(request, call_next)`, run for every attempt.
            on_retry: Told before every wait; a function or an async function.
            http_client: Your own httpx client. It is not closed, and its own credentials, cookies
                and headers are not used; httpx does put the cookies of answers into its jar.
            transport: An httpx transport for the client that is built.
            max_connections: Calls that use a connection at a time; others wait, in order. A limit
                of your own httpx client or transport counts instead, where it can be read.
            http2: Speak HTTP/2, over a connection that calls share; needs `asyncposthog[http2]`.
            limits: Rate limits to stay within, as (requests, seconds) by bucket where they differ
                from PostHog's usual ones: `{"burst": (960, 60)}`; None: the usual ones alone.
                False: requests go without waiting for any.
            query_plan: Which limits hold for `/query/`: `current`, `legacy`, or `auto`: find out.
            query_slots: Queries of one project in flight at a time.
            limiter: Limits shared with other clients, in place of those three.
            clock: Time and chance, for tests.
            debug: Log every attempt to stderr.

        Raises:
            ConfigurationError: A setting is missing, malformed, or contradicts another.
            TypeError: A setting is of the wrong type.
        """
        arguments = {
            "api_key": api_key,
            "project_id": project_id,
            "organization_id": organization_id,
            "project_api_key": project_api_key,
            "region": region,
            "host": host,
            "allow_http": allow_http,
            "timeout": timeout,
            "max_retries": max_retries,
            "deadline": deadline,
            "max_retry_after": max_retry_after,
            "max_response_bytes": max_response_bytes,
            "strict": strict,
            "read_only": read_only,
            "allow": allow,
            "headers": headers,
        }
        settings = resolve_settings(arguments, os.environ)
        build = http_client_factory(http_client, transport, max_connections, http2)
        sharing, connections = connection_settings(http_client, transport, max_connections, http2)
        shared = Transport(
            build=build,
            sharing=sharing,
            max_connections=connections,
            owned=http_client is None,
            limiter=limiter_factory(limiter, limits, query_plan, query_slots, clock),
            limiter_owned=limiter is None,
            clock=clock,
            retry_budget=validate_retry_budget(retry_budget),
        )
        if debug:
            enable_debug_logging()
        self._executor: Executor = Executor(
            settings,
            shared,
            owners=OwnerResolver(),
            middleware=validate_middleware(middleware),
            on_retry=validate_on_retry(on_retry),
        )

    @property
    def settings(self) -> Settings:
        """What the client was configured with."""
        return self._executor.settings

    @property
    def rate_limits(self) -> RateLimits:
        """How much of the key's rate limits is used, as far as this client knows. It prints.

        `rate_limits["burst"]` works before the first request too, and with `limits=False`, where
        nothing is counted: usage is zero then.
        """
        from asyncposthog.rate_limits.status import RateLimits

        budget = self._executor.transport.rate_limits_for(
            self.settings.host, self.settings.api_key.reveal()
        )
        return RateLimits(enabled=False) if budget is None else budget.status()

    def with_options(
        self,
        *,
        api_key: str | Secret | Omit = OMIT,
        project_id: int | str | Omit | None = OMIT,
        organization_id: str | UUID | Omit | None = OMIT,
        project_api_key: str | Secret | Omit | None = OMIT,
        timeout: float | Omit | None = OMIT,
        max_retries: int | Omit = OMIT,
        deadline: float | Omit | None = OMIT,
        max_retry_after: float | Omit = OMIT,
        max_response_bytes: int | Omit | None = OMIT,
        strict: bool | Omit = OMIT,
        read_only: bool | Omit = OMIT,
        allow: Sequence[str] | Omit | None = OMIT,
        headers: Mapping[str, str] | Omit = OMIT,
        middleware: Iterable[Middleware] | Omit = OMIT,
        on_retry: OnRetry | Omit | None = OMIT,
        **unknown: Never,
    ) -> Self:
        """Return a light copy with other settings.

        It shares connections, limits and what was looked up, and is closed with this one.
        `headers` are added to those of this client; everything else replaces.

        Raises:
            ConfigurationError: A setting is malformed.
            TypeError: A setting is of the wrong type, or cannot differ between copies.
        """
        if unknown:
            names = ", ".join(sorted(unknown))
            raise TypeError(
                f"with_options() cannot change {names}: copies share their host and connections; "
                "build another AsyncPostHog"
            )
        given: dict[str, object] = {
            "api_key": api_key,
            "project_id": project_id,
            "organization_id": organization_id,
            "project_api_key": project_api_key,
            "timeout": timeout,
            "max_retries": max_retries,
            "deadline": deadline,
            "max_retry_after": max_retry_after,
            "max_response_bytes": max_response_bytes,
            "strict": strict,
            "read_only": read_only,
            "allow": allow,
        }
        changes = {name: value for name, value in given.items() if value is not OMIT}
        old = self._executor
        if not isinstance(headers, Omit):
            changes["headers"] = {**dict(old.settings.headers), **headers}
        copy = object.__new__(type(self))
        copy._executor = Executor(
            replace_settings(old.settings, changes),
            old.transport,
            owners=old.owners,
            middleware=(
                old.middleware if isinstance(middleware, Omit) else validate_middleware(middleware)
            ),
            on_retry=old.on_retry if isinstance(on_retry, Omit) else validate_on_retry(on_retry),
        )
        return copy

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = OMIT,
        files: Mapping[str, FileInput] | None = None,
        headers: Mapping[str, str] | None = None,
        options: RequestOptions | None = None,
    ) -> Any:
        """Call a path that no generated method has.

        Anything but GET, HEAD and OPTIONS counts as a write; `allow` knows it as `request`.

        Args:
            method: An HTTP method.
            path: Below the host, as `/api/projects/{project_id}/…/`; the client's own project or
                organization is filled in for `{project_id}` or `{organization_id}`.
            query: Query parameters.
            body: What to send as JSON, or the other fields of a form.
            files: Files; the body is then a form.
            headers: Headers of this call.
            options: What to do differently from the client.

        Returns:
            Plain data where the answer is JSON, else a str or bytes; None if it is empty.

        Raises:
            PostHogError: The call failed.
            TypeError, ValueError: An argument cannot be sent.
        """
        from .core import untyped

        executor = self._executor
        operation, given = untyped.operation_for_path(method, path, executor.settings.host, files)
        if query:
            given.update(query)
        if headers:
            options = {
                **(options or {}),
                "headers": {**(options or {}).get("headers", {}), **headers},
            }
        chosen = (
            executor.default_options
            if options is None
            else parse_options(options, executor.default_options)
        )
        if files:
            body = untyped.multipart_fields(body, files)
        response = await executor.perform(operation, (), given, None, body, chosen)
        return untyped.decode_untyped(operation, response)

    async def raw(
        self, method: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> RawResponse[T]:
        """Perform a generated method and return the answer as it came.

        `await ph.raw(ph.feature_flags.get, 7)`; a list method gives its first page. The settings
        are those of the client that the method belongs to.

        Raises:
            PostHogError: The call failed.
            TypeError: It is no generated method.
        """
        from asyncposthog.core.raw_response import raw

        return await raw(method, args, kwargs)

    def stream(
        self, method: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> AbstractAsyncContextManager[StreamedResponse]:
        """Perform a generated method and read its answer piece by piece.

        `async with ph.stream(ph.persons.list, format="csv") as answer: …`. The deadline covers
        the time until the answer begins; from then on, `timeout` bounds each piece.

        Raises:
            PostHogError: The call failed.
            TypeError: It is no generated method.
        """
        from asyncposthog.core.raw_response import stream

        return stream(method, args, kwargs)

    async def dry_run(
        self, method: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> RequestPreview:
        """Return what a generated method would send. Nothing is sent.

        Raises:
            TypeError, ValueError: An argument could not be sent.
        """
        from asyncposthog.core.raw_response import dry_run

        return await dry_run(method, args, kwargs)

    async def doctor(self, operations: Iterable[str] | None = None) -> Diagnosis:
        """Check the key, the region, the project, and the scopes that operations need.

        Args:
            operations: Ids or patterns of operations you mean to call: `feature_flags.*`.

        Returns:
            The checks, each with what to do. It raises nothing for what it finds wrong.
        """
        from .doctor import diagnose

        return await diagnose(self._executor, operations)

    async def aclose(self, *, cancel: bool = False, timeout: float | None = 30.0) -> None:  # noqa: ASYNC109
        """Refuse new calls, wait for running ones, and close the connections, copies' included.

        Args:
            cancel: Cancel running calls (they raise `ClosedError`) rather than wait for them.
            timeout: Seconds to wait before they are cancelled after all; None waits for ever.
        """
        await self._executor.transport.aclose(cancel=cancel, timeout=timeout)

    async def __aenter__(self) -> Self:
        """Return the client; nothing is opened yet."""
        self._executor.transport.check_open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client; after an exception, running calls are cancelled."""
        await self.aclose(cancel=exc_type is not None)

    def __repr__(self) -> str:
        """Show where the client points, and no key."""
        settings = self.settings
        return (
            f"{type(self).__name__}(host={settings.host!r}, project_id={settings.project_id!r}, "
            f"api_key={str(settings.api_key)!r})"
        )


class ClientNamespaces(Resources):
    """The resources, with more to some of them. Each is loaded when it is first used."""

    @cached_property
    def export(self) -> Export:
        """Exports of many rows: events, persons, sessions, groups, any HogQL, any list."""
        from asyncposthog.export.service import Export

        return Export(self._executor)

    @cached_property
    def insights(self) -> InsightsService:
        """Operations on `insights`, and their results."""
        from asyncposthog.query.insights import InsightsService

        return InsightsService(self._executor)

    @cached_property
    def query(self) -> QueryService:
        """Operations on `query`. Called, it runs one: `await ph.query("SELECT 1")`."""
        from asyncposthog.query.service import QueryService

        return QueryService(self._executor)


class AsyncPostHog(ClientNamespaces, BaseClient):
    """Typed, async access to the whole of PostHog's private REST API.

    Settings come from the arguments, then from the environment; see the README for both. Building
    one is cheap and opens no connection. Use it from one event loop, and close it:
    `async with AsyncPostHog() as ph: …`.
    """

    @classmethod
    def emulated(cls, emulator: Emulator | None = None, **settings: Any) -> Self:
        """Return a client of a small PostHog in this process: no account, no network.

        Args:
            emulator: The emulator to talk to; a new, empty one if left out.
            settings: Arguments of the client to put over those that point at the emulator.

        Raises:
            ImportError: `asyncposthog[emulator]` is not installed.
        """
        from posthog_emulator import Emulator

        chosen = Emulator() if emulator is None else emulator
        pointing: dict[str, Any] = {
            "api_key": chosen.key,
            "project_id": chosen.project_id,
            "organization_id": chosen.organization_id,
            "host": "http://emulator.localhost",
            "transport": chosen.transport(),
        }
        if not chosen.settings.rate_limits and "limiter" not in settings:
            pointing["limits"] = False
        return cls(**{**pointing, **settings})
