"""The client classes, `AsyncPostHog` and its base class without resources."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Never, ParamSpec, Self, TypeVar, cast
from uuid import UUID

# This part of pydantic takes long to import, but little memory. `BaseModel` takes memory, and is
# imported with the first response that needs it.
import pydantic.types  # noqa: F401  # pyright: ignore[reportUnusedImport]

from asyncposthog.core.factories import (
    enable_debug_logging,
    limiter_factory,
    validate_http_settings,
    validate_on_retry,
    validate_retry_budget,
)

from .call import Call, parse_options
from .config import Secret, Settings, replace_settings, resolve_settings
from .errors import ConfigurationError
from .resources import Resources
from .types import OMIT, FileInput, Omit, Region, RequestOptions

if TYPE_CHECKING:
    from asyncposthog.capture.service import Capture
    from asyncposthog.capture.settings import CaptureSettings
    from asyncposthog.core.executor import Executor
    from asyncposthog.core.raw_response import RawResponse, RequestPreview, StreamedResponse
    from asyncposthog.export.service import Export
    from asyncposthog.flags.editing import FeatureFlagsService
    from asyncposthog.flags.service import Flags
    from asyncposthog.gateways.gateway import Gateway
    from asyncposthog.history.importer import ImportReport, OnResult
    from asyncposthog.history.sources import Source, SourceFormat
    from asyncposthog.persons.service import PersonsService
    from asyncposthog.query.insights import InsightsService
    from asyncposthog.query.service import QueryService
    from asyncposthog.rate_limits.limits import Limits, QueryPlan
    from asyncposthog.rate_limits.status import RateLimits
    from asyncposthog.transport.clock import Clock
    from asyncposthog.transport.http_client import OwnClient, OwnTransport
    from asyncposthog.transport.limiter import Limiter
    from asyncposthog.transport.middleware import Middleware
    from asyncposthog.transport.retry import OnRetry
    from posthog_emulator import Emulator

    from .doctor import Diagnosis

__all__ = ["AsyncPostHog", "BaseClient"]

P = ParamSpec("P")
T = TypeVar("T")


class BaseClient:
    """Base class of clients: settings, untyped requests, raw responses, closing.

    Settings that are not passed as arguments are read from the environment:
    `POSTHOG_PERSONAL_API_KEY` or `POSTHOG_API_KEY`, `POSTHOG_PROJECT_ID`,
    `POSTHOG_PROJECT_API_KEY`, `POSTHOG_ORGANIZATION_ID`, `POSTHOG_HOST` or `POSTHOG_API_URL`.
    Building a client opens no connection. Use it in one event loop and close it:
    `async with AsyncPostHog() as ph: …`.
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
        http_client: OwnClient | None = None,
        transport: OwnTransport | Literal["aiohttp"] | None = None,
        max_connections: int = 100,
        http2: bool = False,
        limits: Limits | Literal[False] | None = None,
        query_plan: QueryPlan = "auto",
        query_slots: int = 3,
        limiter: Limiter | None = None,
        clock: Clock | None = None,
        capture: CaptureSettings | None = None,
        gateway: Gateway | None = None,
        debug: bool = False,
    ) -> None:
        """Validate the settings. No connection is opened before the first call.

        Args:
            api_key: A personal API key (`phx_…`).
            project_id: The project id. By default it is looked up once and cached.
            organization_id: The organization id (UUID). By default it is looked up once and cached.
            project_api_key: The project token (`phc_…`), for events and flags.
            region: The PostHog Cloud region, `us` (default) or `eu`.
            host: The URL of a self-hosted PostHog, or of a region.
            allow_http: Allow plain `http://` to a host other than this machine.
            timeout: Seconds for one attempt; None: no limit. A query gets 30 s more, which it may
                spend in the server's queue.
            max_retries: Retries after a failed attempt, where a retry is safe.
            retry_budget: Retries of all calls together while none succeeds. Each success adds half
                a retry to the budget, each second adds one. 429s do not count. None: no limit.
            deadline: Seconds for a whole call, waits included; None: no limit.
            max_retry_after: The longest wait, in seconds, that the server may request. Beyond it
                the call fails, as do the calls that wait for the same rate limit.
            max_response_bytes: Maximum size of a response body, decompressed; None: no limit.
            strict: Raise `DecodeError` instead of warning if a response does not match the schema.
            read_only: Forbid all operations that write.
            allow: Patterns of operation ids such as `feature_flags.*`; others are forbidden. With
                `read_only`, it lists the writes that are permitted.
            headers: Headers of every request.
            middleware: Async functions `(request, call_next)`, called for each attempt.
            on_retry: A function or async function, called before each retry wait.
            http_client: A client of httpx or httpx2 to use. Its auth, cookies and headers are
                ignored, and it is not closed; it does store the cookies of responses.
            transport: `"aiohttp"`: send over aiohttp, which takes half the processor time (asyncio
                only; needs `asyncposthog[aiohttp]`). Or a transport of httpx or httpx2 for the
                client that is built. None: httpx's own.
            max_connections: Calls that use a connection at the same time; others wait in order. The
                limit of an `http_client` or httpx transport is used instead if it can be read.
            http2: Use HTTP/2, with connections shared by calls; needs `asyncposthog[http2]`.
            limits: Rate limits that differ from PostHog's defaults, as (requests, seconds) by
                bucket: `{"burst": (960, 60)}`. None: the defaults. False: no client-side limits.
            query_plan: Which limits apply to `/query/`: `current`, `legacy`, or `auto` (detected).
            query_slots: Queries of one project that run at the same time.
            limiter: A rate limiter shared with other clients, instead of those three settings.
            clock: Clock and random source, replaceable in tests.
            capture: Settings of `ph.capture`.
            gateway: A server in front of PostHog, such as `Maton()`, instead of `api_key`,
                `region` and `host`.
            debug: Log each attempt to stderr.

        Raises:
            ConfigurationError: A setting is missing, invalid, or contradicts another one.
            TypeError: A setting is of the wrong type.
        """
        arguments: dict[str, object] = {
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
        if gateway is not None:
            arguments.update(_gateway_arguments(gateway, arguments))
        settings = resolve_settings(arguments, os.environ)
        if gateway is not None:
            settings = replace(settings, hosts=gateway.hosts)
        validate_http_settings(http_client, transport, max_connections, http2)
        make_limiter = limiter_factory(
            limiter, limits, query_plan, query_slots, clock, gateway and gateway.rules
        )
        budget = validate_retry_budget(retry_budget)
        on_retry = validate_on_retry(on_retry)
        if debug:
            enable_debug_logging()
        self._capture_settings = _check_capture_settings(capture)
        self._captures: dict[Secret | None, Capture] = {}
        """The capture of each project token that the client and its copies have."""

        def make_executor() -> Executor:
            from asyncposthog.core.executor import Executor
            from asyncposthog.core.http_clients import connection_settings, http_client_factory
            from asyncposthog.core.owner import OwnerResolver
            from asyncposthog.transport.http import Transport
            from asyncposthog.transport.middleware import validate_middleware

            sharing, connections = connection_settings(
                http_client, transport, max_connections, http2
            )
            shared = Transport(
                build=http_client_factory(http_client, transport, max_connections, http2),
                sharing=sharing,
                max_connections=connections,
                owned=http_client is None,
                limiter=make_limiter,
                limiter_owned=limiter is None,
                clock=clock,
                retry_budget=budget,
            )
            return Executor(
                settings,
                shared,
                owners=OwnerResolver(),
                middleware=validate_middleware(middleware),
                on_retry=on_retry,
                gateway=gateway,
            )

        self._make_executor = make_executor
        if http_client is not None or not isinstance(transport, str | None) or middleware != ():
            _ = self._executor  # checks them

    _executor: Executor
    if not TYPE_CHECKING:  # for type checkers an attribute, as in the generated classes

        @cached_property
        def _executor(self) -> Executor:
            # Built when it is needed: httpx takes most of the time that importing the package and
            # constructing a client would take.
            return self._make_executor()

    @property
    def settings(self) -> Settings:
        """The settings of the client."""
        return self._executor.settings

    @property
    def rate_limits(self) -> RateLimits:
        """The rate limits of the API key and their usage, as counted by this client.

        Can be printed. `rate_limits["burst"]` also works before the first request, and with
        `limits=False`: the usage is zero then.
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
        """Return a copy of the client with other settings.

        Copies share connections, rate limits and cached ids, and are closed together. `headers`
        are added to those of this client; all other settings are replaced.

        Raises:
            ConfigurationError: A setting is invalid.
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
        from asyncposthog.core.executor import Executor
        from asyncposthog.transport.middleware import validate_middleware

        old = self._executor
        if old.gateway is not None and "api_key" in changes:
            raise ConfigurationError(
                "api_key was given to a client whose key is that of its gateway.",
                suggestion="Build another AsyncPostHog.",
            )
        if not isinstance(headers, Omit):
            changes["headers"] = {**dict(old.settings.headers), **headers}
        copy = object.__new__(type(self))
        copy._capture_settings, copy._captures = self._capture_settings, self._captures
        copy._executor = Executor(
            replace_settings(old.settings, changes),
            old.transport,
            owners=old.owners,
            middleware=(
                old.middleware if isinstance(middleware, Omit) else validate_middleware(middleware)
            ),
            on_retry=old.on_retry if isinstance(on_retry, Omit) else validate_on_retry(on_retry),
            gateway=old.gateway,
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
        """Call an endpoint that no generated method calls.

        All methods but GET, HEAD and OPTIONS count as writes. Its operation id, for `allow`, is
        `request`.

        Args:
            method: An HTTP method.
            path: The path below the host, such as `/api/projects/{project_id}/…/`. `{project_id}`
                and `{organization_id}` are replaced by the ids of the client.
            query: Query parameters.
            body: JSON data; with `files`, a mapping of the other form fields.
            files: Files by form field. The body is `multipart/form-data` then.
            headers: Headers of this call.
            options: Settings of this call.

        Returns:
            JSON data, str for other text, or bytes; None for an empty body.

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
        call_options = executor.default_options
        if options is not None:
            call_options = parse_options(options, call_options)
        if files:
            body = untyped.multipart_fields(body, files)
        response = await executor.perform(Call(operation, (), given, None, body, call_options))
        return untyped.decode_untyped(operation, response)

    async def raw(
        self, method: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> RawResponse[T]:
        """Call a generated method and return its response with status, headers and raw body.

        `await ph.raw(ph.feature_flags.get, 7)`. A list method returns its first page. The settings
        are those of the client that the method belongs to.

        Raises:
            PostHogError: The call failed.
            TypeError: `method` is not a generated method.
        """
        from asyncposthog.core.raw_response import raw

        return await raw(method, args, kwargs)

    def stream(
        self, method: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> AbstractAsyncContextManager[StreamedResponse]:
        """Call a generated method and stream its response body.

        `async with ph.stream(ph.persons.list, format="csv") as response: …`. The deadline covers
        the time until the response starts. From then on, `timeout` applies to each chunk.

        Raises:
            PostHogError: The call failed.
            TypeError: `method` is not a generated method.
        """
        from asyncposthog.core.raw_response import stream

        return stream(method, args, kwargs)

    async def dry_run(
        self, method: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> RequestPreview:
        """Return the request of a generated method without sending it.

        Raises:
            TypeError, ValueError: An argument is invalid.
        """
        from asyncposthog.core.raw_response import dry_run

        return await dry_run(method, args, kwargs)

    async def import_events(
        self,
        source: Source,
        *,
        format: SourceFormat | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        historical: bool = True,
        events_per_second: float | None = None,
        batch_events: int = 500,
        max_retries: int = 10,
        on_result: OnResult | None = None,
    ) -> ImportReport:
        """Send old events to the project, in order.

        A row has `event`, `distinct_id`, `timestamp` and, optionally, `uuid`, `properties` (an
        object or its JSON), `groups`, `$set` and `$set_once`. Without `properties`, all other
        columns are properties. A time without an offset is in UTC. Without a UUID, an event gets
        one that depends on its content, so that it is the same event if it is imported again.

        Args:
            source: The path of a file (JSONL, CSV, Parquet; JSONL and CSV also as .gz), or an
                iterable or async iterable of mappings.
            format: The format of the file; by default that of its suffix.
            checkpoint: The path of a file with the progress. An import that was interrupted
                continues from it; it is removed at the end. An iterable has to start again then.
            historical: Whether to mark the events as historical: PostHog stores them without
                watching for sudden growth. Not for events of the last 48 hours.
            events_per_second: The maximum speed; None: as fast as the server accepts them.
            batch_events: Events of a request.
            max_retries: Repeats of each request.
            on_result: A function or async function that is called with the number of each row,
                from 0, and its result.

        Raises:
            CaptureError: The import was interrupted, or the source or the checkpoint cannot be
                used.
            ConfigurationError: An argument is invalid, or there is no project token.
        """
        from asyncposthog.history.importer import import_events

        return await import_events(
            self.capture,
            source,
            format=format,
            checkpoint=checkpoint,
            historical=historical,
            events_per_second=events_per_second,
            batch_events=batch_events,
            max_retries=max_retries,
            on_result=on_result,
        )

    async def doctor(self, operations: Iterable[str] | None = None) -> Diagnosis:
        """Check the API key, the region, the project, and the scopes that operations need.

        Args:
            operations: Ids or patterns of operations whose scopes to check: `feature_flags.*`.

        Returns:
            The results of the checks, with suggestions. Failed checks raise no error.
        """
        from .doctor import diagnose

        return await diagnose(self._executor, operations)

    async def aclose(self, *, cancel: bool = False, timeout: float | None = 30.0) -> None:  # noqa: ASYNC109
        """Close the client and its copies: refuse new calls, wait for running ones, disconnect.

        Captured events that are still queued are sent first, also with `cancel`, within
        `CaptureSettings.close_timeout`.

        Args:
            cancel: Cancel running calls instead of waiting for them; they raise `ClosedError`.
            timeout: Seconds to wait before running calls are cancelled; None: no limit.
        """
        try:
            for capture in [*self._captures.values()]:
                await capture.aclose()
        finally:
            await self._close_transport(cancel=cancel, timeout=timeout)

    async def _close_transport(self, *, cancel: bool, timeout: float | None) -> None:  # noqa: ASYNC109
        await self._executor.transport.aclose(cancel=cancel, timeout=timeout)

    async def __aenter__(self) -> Self:
        """Return the client. No connection is opened yet, unless a spool has events to send.

        What is needed to send requests is imported here, so that the first call does not wait.

        Raises:
            ConfigurationError: The spool belongs to another project or program, or is in use.
        """
        self._executor.transport.check_open()
        if self._capture_settings is not None and self._capture_settings.spool is not None:
            await self.capture.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client; after an exception, running calls are cancelled."""
        await self.aclose(cancel=exc_type is not None)

    @cached_property
    def capture(self) -> Capture:
        """Events to the project. Call it to queue one: `await ph.capture("paid", "ada")`."""
        from asyncposthog.capture.service import Capture

        _check_ingest(self._executor.gateway)
        token = self._executor.settings.project_api_key
        capture = self._captures.get(token)
        if capture is None:
            capture = self._captures[token] = Capture(self._executor, self._capture_settings)
        return capture

    def __repr__(self) -> str:
        """Return host, project id and the masked API key."""
        settings = self.settings
        return (
            f"{type(self).__name__}(host={settings.host!r}, project_id={settings.project_id!r}, "
            f"api_key={str(settings.api_key)!r})"
        )


def _gateway_arguments(gateway: object, arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments that a gateway stands for."""
    from asyncposthog.gateways.gateway import Gateway

    if not isinstance(gateway, Gateway):
        raise TypeError(f"gateway must be a Gateway, not {type(gateway).__name__}")
    for name in ("api_key", "region", "host"):
        if arguments[name] is not None:
            raise ConfigurationError(
                f"gateway was given together with {name}.",
                suggestion="A gateway has an address and a key of its own: leave the others out.",
            )
    # The gateway has checked its URL.
    return {"api_key": gateway.secret, "host": gateway.url, "allow_http": True}


def _check_ingest(gateway: Gateway | None) -> None:
    """Raise an error if events and evaluations of flags have no host."""
    if gateway is not None and not gateway.has_ingest:
        raise ConfigurationError(
            f"The gateway at {gateway.url} serves no events and no evaluations of flags.",
            suggestion="Pass ingest='us' or 'eu' (or a URL) to the gateway: they are sent there, "
            "with the project token alone.",
        )


def _check_capture_settings(settings: CaptureSettings | None) -> CaptureSettings | None:
    """Return valid settings of capture."""
    if settings is None:
        return None
    from asyncposthog.capture.settings import CaptureSettings

    if not isinstance(cast("object", settings), CaptureSettings):
        raise TypeError(f"capture must be CaptureSettings, not {type(settings).__name__}")
    return settings


class ClientNamespaces(Resources):
    """The generated resources and the hand-written namespaces, each imported on first use."""

    @cached_property
    def export(self) -> Export:
        """Bulk exports of events, persons, sessions, groups, HogQL queries and lists."""
        from asyncposthog.export.service import Export

        return Export(self._executor)

    @cached_property
    def feature_flags(self) -> FeatureFlagsService:
        """Operations on `feature_flags`, and edits: `async with ph.feature_flags.edit(key)`."""
        from asyncposthog.flags.editing import FeatureFlagsService

        return FeatureFlagsService(self._executor)

    @cached_property
    def flags(self) -> Flags:
        """The values of feature flags for a person: `await ph.flags.evaluate("user-1")`."""
        from asyncposthog.flags.service import Flags

        _check_ingest(self._executor.gateway)
        return Flags(self._executor, lambda: cast("BaseClient", self).capture)

    @cached_property
    def insights(self) -> InsightsService:
        """Operations on `insights`, and computing their results."""
        from asyncposthog.query.insights import InsightsService

        return InsightsService(self._executor)

    @cached_property
    def persons(self) -> PersonsService:
        """Operations on `persons`, lookups by distinct id, and deletions of many."""
        from asyncposthog.persons.service import PersonsService

        return PersonsService(self._executor)

    @cached_property
    def query(self) -> QueryService:
        """Operations on `query`. Call it to run a query: `await ph.query("SELECT 1")`."""
        from asyncposthog.query.service import QueryService

        return QueryService(self._executor)


class AsyncPostHog(ClientNamespaces, BaseClient):
    """Typed async client of PostHog's private REST API.

    Settings that are not passed as arguments are read from the environment; see the README.
    Building a client opens no connection. Use it in one event loop and close it:
    `async with AsyncPostHog() as ph: …`.
    """

    @classmethod
    def emulated(cls, emulator: Emulator | None = None, **settings: Any) -> Self:
        """Return a client that is connected to an emulator in this process, without a network.

        Args:
            emulator: The emulator; by default a new, empty one.
            settings: Arguments of the client, which override those for the emulator.

        Raises:
            ImportError: `asyncposthog[emulator]` is not installed.
        """
        from posthog_emulator import Emulator

        call_options = Emulator() if emulator is None else emulator
        pointing: dict[str, Any] = {
            "api_key": call_options.key,
            "project_id": call_options.project_id,
            "organization_id": call_options.organization_id,
            "project_api_key": call_options.project_token,
            "host": "http://emulator.localhost",
            "transport": call_options.transport(),
        }
        if not call_options.settings.rate_limits and "limiter" not in settings:
            pointing["limits"] = False
        return cls(**{**pointing, **settings})
