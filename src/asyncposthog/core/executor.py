"""Make a call: check that it is allowed, find its owner, encode, send, decode."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx

from asyncposthog._version import __version__
from asyncposthog.call import Call, CallOptions, Policy, default_options
from asyncposthog.config import Settings, missing_key_error
from asyncposthog.errors import ConfigurationError, DecodeError, ReadOnlyError
from asyncposthog.hosts import Hosts
from asyncposthog.operation import Operation
from asyncposthog.redact import Redactor
from asyncposthog.transport.encoding.path import path_template
from asyncposthog.transport.encoding.request import prepare_request
from asyncposthog.transport.exchange import Credentials
from asyncposthog.transport.http import Transport
from asyncposthog.transport.in_flight_call import ClientContext
from asyncposthog.transport.middleware import Middleware
from asyncposthog.transport.retry import OnRetry
from asyncposthog.types import OMIT

from .owner import OwnerResolver, TimeLimits

if TYPE_CHECKING:
    from asyncposthog.gateways.gateway import Gateway
    from asyncposthog.pagination import Cursor
    from asyncposthog.pagination.paginator import Fetch

__all__ = ["Executor", "PageFetcher"]

_PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
_USER_AGENT: Final = f"asyncposthog/{__version__} python/{_PYTHON}"


@dataclass(frozen=True, slots=True, repr=False)
class PageFetcher:
    """Requests the pages of one call of a list operation."""

    executor: Executor
    call: Call

    @property
    def options(self) -> CallOptions:
        """The options of the call."""
        return self.call.options

    async def __call__(self, query: Mapping[str, object] | None, body: object) -> bytes:
        """Request a page."""
        body = OMIT if body is None else body
        response = await self.executor.perform(replace(self.call, query=query, body=body))
        return response.content


def _with_prefetched_page(content: bytes, fetch: Fetch) -> Fetch:
    """Return a function that returns `content` the first time, and then requests pages."""
    pages = [content]

    async def fetch_page(query: Mapping[str, object] | None, body: object) -> bytes:
        return pages.pop() if pages else await fetch(query, body)

    return fetch_page


class Executor:
    """Makes calls with the settings of one client."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        *,
        owners: OwnerResolver,
        middleware: tuple[Middleware, ...] = (),
        on_retry: OnRetry | None = None,
        gateway: Gateway | None = None,
    ) -> None:
        """Keep the settings of a client, and what it shares with its copies."""
        self.gateway = gateway
        self.settings = settings
        self.transport = transport
        self.owners = owners
        self.middleware = middleware
        self.on_retry = on_retry
        self.default_options = default_options(settings)
        self._restricted = settings.read_only or settings.allow is not None
        self._token_only = settings.token_only
        self._context: ClientContext | None = None
        self._decode: Callable[..., Any] | None = None
        self._with_key = self._with_limits = True

    def for_other_event_loop(self) -> Executor:
        """Return an executor for another event loop, in any thread, with the same settings.

        It has connections of its own and shares rate limits and cached ids. Middleware and hooks
        are called in the other event loop. Its transport has to be closed there.

        Raises:
            ConfigurationError: The client has an httpx client or a limiter that belongs to one
                event loop.
        """
        return Executor(
            self.settings,
            self.transport.for_other_event_loop(),
            owners=self.owners.for_other_event_loop(),
            middleware=self.middleware,
            on_retry=self.on_retry,
        )

    async def call(self, call: Call) -> Any:
        """Make a call and return its decoded result."""
        response = await self.perform(call)
        decode = self._decode
        if decode is None:
            # Not imported with this module: it imports pydantic's models, which take memory that a
            # program does not need before its first response.
            from asyncposthog.decoding import decode

            self._decode = decode
        return decode(
            call.operation.result,
            response.content,
            strict=call.options.strict,
            operation=call.operation,
            media=response.headers.get("Content-Type", ""),
        )

    def cursor(self, call: Call, concurrency: int = 1) -> Cursor[Any]:
        """Return a cursor over a list operation. Arguments are checked now, nothing is sent."""
        self.transport.check_open()
        self.check_allowed(call.operation)
        return self._new_cursor(call, concurrency)

    async def page(self, call: Call, content: bytes) -> Any:
        """Return the first page of a list from a response body. Later pages are requested."""
        return await self._new_cursor(call, 1, content)

    def _new_cursor(
        self, call: Call, concurrency: int, content: bytes | None = None
    ) -> Cursor[Any]:
        from asyncposthog.pagination import cursor

        query, body, options = call.merged_query(), call.merged_body(), call.options
        # What the options add is part of the first page's query now. It is not added to the later
        # ones: the server's own parameters for the next page must win over it.
        call = replace(
            call, query=query, body=body, options=replace(options, query=None, body=None)
        )
        prepare_request(call, "0")  # raises for arguments that cannot be sent
        fetch: Fetch = PageFetcher(self, call)
        if content is not None:
            fetch = _with_prefetched_page(content, fetch)
        return cursor(
            fetch,
            call.operation,
            query,
            body,
            call.path,
            concurrency=concurrency,
            strict=options.strict,
        )

    async def perform(
        self,
        call: Call,
        *,
        stream: bool = False,
        on_behalf_of: Operation | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> httpx.Response:
        """Make a call and return its successful response.

        Args:
            call: The operation and its arguments.
            stream: Whether to leave the body unread.
            on_behalf_of: The operation that the user called, if this call is a step of it. The
                settings `read_only` and `allow` are applied to that one.
            on_sent: Called when an attempt is sent.

        Raises:
            PostHogError: The call failed.
            TypeError, ValueError: An argument cannot be sent. Nothing was sent.
        """
        operation, options = call.operation, call.options
        if self._token_only and self._with_key:
            raise missing_key_error(self.settings.hosts)
        if self._restricted:
            self.check_allowed(on_behalf_of or operation)
        # The deadline of the call covers the lookup of its project or organization as well.
        started_at = self.transport.clock.monotonic()
        owner_id = None
        if path_template(operation).has_owner:
            if operation.owner == "project":
                owner_id = options.project_id or await self.project_id(options.policy, started_at)
            else:
                owner_id = options.organization_id or await self._organization_id(
                    options.policy, started_at
                )
        return await self.transport.send(
            self._context or self._make_context(),
            call,
            prepare_request(call, owner_id),
            stream=stream,
            on_sent=on_sent,
            started_at=started_at,
        )

    def is_allowed(self, operation: Operation) -> bool:
        """Return whether `read_only` and `allow` permit an operation."""
        allow, read_only = self.settings.allow, self.settings.read_only
        if allow is not None and any(fnmatchcase(operation.id, pattern) for pattern in allow):
            return True
        if read_only:
            return not operation.writes
        return allow is None

    def check_allowed(self, operation: Operation) -> None:
        """Raise an error if `read_only` or `allow` forbids an operation.

        Raises:
            ReadOnlyError: The operation is not allowed.
        """
        if self.is_allowed(operation):
            return
        reason = (
            "read_only=True refuses writes" if self.settings.read_only else "allow does not list it"
        )
        raise ReadOnlyError(
            f"{operation.id} was not sent: {reason}.",
            operation=operation.id,
            suggestion=f"To allow it, add {operation.id!r} to allow=[...].",
        )

    async def _organization_id(self, policy: Policy, started_at: float) -> str:
        limits = TimeLimits(policy, started_at, self.transport.clock)
        return await self.owners.organization_id(
            self.settings.api_key, partial(self._request_json, policy, started_at), limits
        )

    async def project_id(
        self, policy: Policy | None = None, started_at: float | None = None
    ) -> int:
        """Return the client's project id; look it up if the settings have none.

        Args:
            policy: The time limits of the call that needs it; None: those of the client.
            started_at: When that call started, on the transport's clock; None: now.
        """
        cached = self.settings.project_id or self.owners.cached_project_id(self.settings.api_key)
        if cached is not None:
            return cached
        clock = self.transport.clock
        policy = self.default_options.policy if policy is None else policy
        started_at = clock.monotonic() if started_at is None else started_at
        limits = TimeLimits(policy, started_at, clock)
        return await self.owners.project_id(
            self.settings.api_key, partial(self._request_json, policy, started_at), limits
        )

    async def request_json(self, operation: Operation, *path: object) -> Any:
        """Make a call of the client itself, which `allow` does not apply to; return its JSON."""
        return await self._request_json(self.default_options.policy, None, operation, *path)

    async def _request_json(
        self, policy: Policy, started_at: float | None, operation: Operation, *path: object
    ) -> Any:
        # Only reads of the client's own come here, so all of them may be repeated.
        options = replace(self.default_options, policy=policy, idempotent=True)
        call = Call(operation, path, None, None, OMIT, options)
        response = await self.transport.send(
            self._context or self._make_context(),
            call,
            prepare_request(call, None),
            started_at=started_at,
        )
        from pydantic_core import from_json  # see `call`

        try:
            return from_json(response.content)
        except ValueError:
            raise DecodeError(
                f"The response of {self.settings.host} to {operation.path} is not JSON.",
                operation=operation.id,
                status=response.status_code,
                suggestion="Check that host is a PostHog instance, without a login page in front.",
            ) from None

    def with_hosts(
        self, hosts: Hosts, *, with_key: bool = True, with_limits: bool = True
    ) -> Executor:
        """Return an executor with the same settings for other hosts.

        Args:
            hosts: The hosts.
            with_key: Whether requests have the API key. Endpoints that take the project token
                need none, and a key is not sent where it is not needed.
            with_limits: Whether calls count against the rate limits of the API key.
        """
        gateway = self.gateway
        if gateway is not None and hosts.app != self.settings.host:
            if with_key:
                raise ConfigurationError(
                    f"{hosts.app} needs an API key of PostHog, and a client with a gateway has "
                    "none.",
                    suggestion="Use a client with api_key= for this call.",
                )
            gateway = None
        copy = Executor(
            replace(self.settings, hosts=hosts),
            self.transport,
            # Ids belong to one instance: another one has other projects.
            owners=OwnerResolver(),
            middleware=self.middleware,
            on_retry=self.on_retry,
            gateway=gateway,
        )
        copy._with_key, copy._with_limits = with_key, with_limits
        return copy

    def _make_context(self) -> ClientContext:
        settings = self.settings
        hosts = settings.hosts
        headers = httpx.Headers(
            {
                "Host": httpx.URL(hosts.app).netloc.decode(),
                "Accept": "application/json",
                "Accept-Encoding": self.transport.accept_encoding(),
                "User-Agent": _USER_AGENT,
            }
        )
        gateway = self.gateway if self._with_key else None
        if gateway is not None:
            headers.update(dict(gateway.headers))
        for name, value in settings.headers:
            headers[name] = value
        keys = [settings.api_key.reveal()]
        if settings.project_api_key is not None:
            keys.append(settings.project_api_key.reveal())
        self._context = ClientContext(
            hosts=hosts,
            key_kind=settings.api_key.kind,
            credentials=self._credentials(gateway, headers),
            headers=headers,
            redactor=Redactor(keys),
            middleware=self.middleware,
            on_retry=self.on_retry,
            max_bytes=settings.max_response_bytes,
            rate_limits=(
                self.transport.rate_limits_for(hosts.app, settings.api_key.reveal())
                if self._with_limits
                else None
            ),
            explain=None if gateway is None else gateway.explain,
        )
        return self._context

    def _credentials(self, gateway: Gateway | None, headers: httpx.Headers) -> Credentials:
        key, hosts = self.settings.api_key, self.settings.hosts
        if gateway is None:
            bases = (hosts.app, hosts.ingest)
            return Credentials(key if self._with_key else None, bases, headers)
        return Credentials(
            key,
            (hosts.app,),
            headers,
            name=gateway.header,
            scheme=gateway.scheme,
            source=gateway.tokens,
        )
