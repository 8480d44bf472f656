"""From an operation and its arguments to a decoded answer.

Each hop is a function of its own: may the call be made, which project is meant, how is it
encoded, sent (`transport`) and decoded (`decode`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import httpx
from pydantic_core import from_json

from asyncposthog._version import __version__
from asyncposthog.config import Settings
from asyncposthog.errors import DecodeError, ReadOnlyError
from asyncposthog.hosts import Hosts
from asyncposthog.operation import Operation
from asyncposthog.options import CallOptions, default_options, parse_options
from asyncposthog.redact import Redactor
from asyncposthog.transport.call import ClientContext
from asyncposthog.transport.encoding.path import needs_owner
from asyncposthog.transport.encoding.request import PreparedRequest, prepare_request
from asyncposthog.transport.exchange import Credentials
from asyncposthog.transport.http import Transport
from asyncposthog.transport.middleware import Middleware
from asyncposthog.transport.retry import OnRetry, Policy
from asyncposthog.types import OMIT, Id, RequestOptions

from .owner import OwnerResolver, TimeLimits

if TYPE_CHECKING:
    from asyncposthog.pagination import Cursor
    from asyncposthog.pagination.paginator import Fetch

__all__ = ["Exchange", "Executor", "PageFetcher"]

_IDEMPOTENT: Final = frozenset({"PUT", "DELETE"})
_PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
_USER_AGENT: Final = f"asyncposthog/{__version__} python/{_PYTHON}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """An operation that was performed, and its successful answer, fully read."""

    operation: Operation
    response: httpx.Response


@dataclass(frozen=True, slots=True, repr=False)
class PageFetcher:
    """Requests the pages of one call of a list operation."""

    executor: Executor
    operation: Operation
    path: tuple[Id, ...]
    headers: Mapping[str, object] | None
    options: CallOptions

    async def __call__(self, query: Mapping[str, object] | None, body: object) -> bytes:
        """Request a page."""
        body = OMIT if body is None else body
        response = await self.executor.perform(
            self.operation, self.path, query, self.headers, body, self.options
        )
        return response.content


def _with_prefetched_page(received: bytes, fetch: Fetch) -> Fetch:
    """Return what gives a page that is here already, and requests the others."""
    pages = [received]

    async def given(query: Mapping[str, object] | None, body: object) -> bytes:
        return pages.pop() if pages else await fetch(query, body)

    return given


class Executor:
    """Performs operations with one client's settings."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        *,
        owners: OwnerResolver,
        middleware: tuple[Middleware, ...] = (),
        on_retry: OnRetry | None = None,
    ) -> None:
        """Keep the settings, and what is shared with the client's copies."""
        self.settings = settings
        self.transport = transport
        self.owners = owners
        self.middleware = middleware
        self.on_retry = on_retry
        self.default_options = default_options(settings)
        self._guarded = settings.read_only or settings.allow is not None
        self._context: ClientContext | None = None
        self._decode: Callable[..., Any] | None = None

    async def call(
        self,
        operation: Operation,
        path: tuple[Id, ...] = (),
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        body: object = OMIT,
        options: RequestOptions | None = None,
    ) -> Any:
        """Perform an operation and return its decoded answer."""
        call_options = (
            self.default_options
            if options is None
            else parse_options(options, self.default_options)
        )
        response = await self.perform(operation, path, query, headers, body, call_options)
        return self.decode(operation, response, strict=call_options.strict)

    async def send(
        self,
        operation: Operation,
        path: tuple[Id, ...] = (),
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        body: object = OMIT,
        options: RequestOptions | None = None,
    ) -> Exchange:
        """Perform an operation and return the answer as it came."""
        call_options = (
            self.default_options
            if options is None
            else parse_options(options, self.default_options)
        )
        response = await self.perform(operation, path, query, headers, body, call_options)
        return Exchange(operation, response)

    def cursor(
        self,
        operation: Operation,
        path: tuple[Id, ...] = (),
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        body: object = OMIT,
        concurrency: int = 1,
        options: RequestOptions | None = None,
    ) -> Cursor[Any]:
        """Return a cursor over a list operation. Arguments are checked now, nothing is sent."""
        self.transport.check_open()
        self.check_allowed(operation)
        call_options = (
            self.default_options
            if options is None
            else parse_options(options, self.default_options)
        )
        return self._paged(operation, path, query, headers, body, call_options, concurrency)

    async def page(
        self,
        operation: Operation,
        path: tuple[Id, ...],
        query: Mapping[str, object] | None,
        headers: Mapping[str, object] | None,
        body: object,
        options: CallOptions,
        *,
        content: bytes,
    ) -> Any:
        """Return the page that an answer already received holds; later ones are fetched."""
        return await self._paged(operation, path, query, headers, body, options, 1, content)

    def _paged(
        self,
        operation: Operation,
        path: tuple[Id, ...],
        query: Mapping[str, object] | None,
        headers: Mapping[str, object] | None,
        body: object,
        options: CallOptions,
        concurrency: int,
        received: bytes | None = None,
    ) -> Cursor[Any]:
        from asyncposthog.pagination import cursor

        first = _merge(query, options.query)
        content = body
        if isinstance(body, Mapping) or options.body:
            content = _merge(cast("object", body), options.body)
        # What the options add is part of the first page's query now: the server's own
        # parameters for the next page must win over it.
        rest = replace(options, query=None, body=None)
        prepare_request(operation, "0", path, first, headers, content)

        fetch: Fetch = PageFetcher(self, operation, path, headers, rest)
        if received is not None:
            fetch = _with_prefetched_page(received, fetch)
        return cursor(
            fetch, operation, first, content, path, concurrency=concurrency, strict=options.strict
        )

    def decode(self, operation: Operation, response: httpx.Response, *, strict: bool) -> Any:
        """Turn the answer to an operation into what its method returns."""
        decode = self._decode
        if decode is None:
            from asyncposthog.decoding import decode

            self._decode = decode
        return decode(
            operation.result,
            response.content,
            strict=strict,
            operation=operation,
            media=response.headers.get("Content-Type", ""),
        )

    async def perform(
        self,
        operation: Operation,
        path: tuple[object, ...],
        query: Mapping[str, object] | None,
        headers: Mapping[str, object] | None,
        body: object,
        options: CallOptions,
        *,
        stream: bool = False,
        on_behalf_of: Operation | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> httpx.Response:
        """Check, encode and send: everything but decoding.

        Args:
            operation: What to call.
            path: What stands in its path.
            query: Query parameters.
            headers: Header parameters.
            body: The body.
            options: The settings of the call.
            stream: Whether to leave the body unread.
            on_behalf_of: The operation that was asked for, where this is a step of it: what `allow`
                says of that one counts.
            on_sent: Told when an attempt goes on the wire.

        Raises:
            PostHogError: The call failed.
            TypeError, ValueError: An argument cannot be sent. Nothing was.
        """
        self.transport.check_open()
        if self._guarded:
            self.check_allowed(on_behalf_of or operation)
        # The call's time includes that of looking up which project is meant.
        started_at = self.transport.clock.monotonic()
        owner_id = None
        if needs_owner(operation):
            if operation.owner == "project":
                owner_id = str(
                    options.project_id or await self.project_id(options.policy, started_at)
                )
            else:
                owner_id = options.organization_id or await self._organization_id(
                    options.policy, started_at
                )
        request = build_request(operation, owner_id, path, query, headers, body, options)
        return await self.transport.send(
            self._context or self._make_context(),
            operation,
            request,
            options.policy,
            retry_safe=_is_retry_safe(operation, options),
            stream=stream,
            on_sent=on_sent,
            started_at=started_at,
        )

    def is_allowed(self, operation: Operation) -> bool:
        """Tell whether `read_only` and `allow` let an operation pass."""
        allow, read_only = self.settings.allow, self.settings.read_only
        if allow is not None and any(fnmatchcase(operation.id, pattern) for pattern in allow):
            return True
        if read_only:
            return not operation.writes
        return allow is None

    def check_allowed(self, operation: Operation) -> None:
        """Refuse what `read_only` and `allow` do not let pass.

        Raises:
            ReadOnlyError: The operation is not allowed.
        """
        if self.is_allowed(operation):
            return
        what = (
            "read_only=True refuses writes" if self.settings.read_only else "allow does not list it"
        )
        raise ReadOnlyError(
            f"{operation.id} was not sent: {what}.",
            operation=operation.id,
            suggestion=f"To allow it, add {operation.id!r} to allow=[...].",
        )

    async def _organization_id(self, policy: Policy, started_at: float) -> str:
        time = TimeLimits(policy, started_at, self.transport.clock)
        return await self.owners.organization_id(
            self.settings.api_key, partial(self._request_json, policy, started_at), time
        )

    async def project_id(
        self, policy: Policy | None = None, started_at: float | None = None
    ) -> int:
        """Return the number of the client's project, looking it up if it was left out.

        Args:
            policy: The time limits of the call that needs it; None: those of the client.
            started_at: When that call began, by the clock of the transport; None: now.
        """
        cached = self.settings.project_id or self.owners.cached_project_id(self.settings.api_key)
        if cached is not None:
            return cached
        clock = self.transport.clock
        policy = self.default_options.policy if policy is None else policy
        started_at = clock.monotonic() if started_at is None else started_at
        time = TimeLimits(policy, started_at, clock)
        return await self.owners.project_id(
            self.settings.api_key, partial(self._request_json, policy, started_at), time
        )

    async def request_json(self, operation: Operation, *path: Id) -> Any:
        """Make one of our own calls, which `allow` has no say in, and return its JSON."""
        return await self._request_json(self.default_options.policy, None, operation, *path)

    async def _request_json(
        self, policy: Policy, started_at: float | None, operation: Operation, *path: Id
    ) -> Any:
        response = await self.transport.send(
            self._context or self._make_context(),
            operation,
            prepare_request(operation, None, path),
            policy,
            retry_safe=True,
            started_at=started_at,
        )
        try:
            return from_json(response.content)
        except ValueError:
            raise DecodeError(
                f"{self.settings.host} did not answer {operation.path} with JSON.",
                operation=operation.id,
                status=response.status_code,
                suggestion="Is it the host of a PostHog, without a login page before it?",
            ) from None

    def with_hosts(self, hosts: Hosts) -> Executor:
        """Return an executor with the same key for other hosts."""
        settings = replace(self.settings, hosts=hosts)
        return Executor(
            settings,
            self.transport,
            owners=OwnerResolver(),
            middleware=self.middleware,
            on_retry=self.on_retry,
        )

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
        for name, value in settings.headers:
            headers[name] = value
        keys = [settings.api_key.reveal()]
        if settings.project_api_key is not None:
            keys.append(settings.project_api_key.reveal())
        redactor = Redactor(keys)
        self._context = ClientContext(
            hosts=hosts,
            key_kind=settings.api_key.kind,
            credentials=Credentials(settings.api_key, (hosts.app, hosts.ingest), headers),
            headers=headers,
            redactor=redactor,
            middleware=self.middleware,
            on_retry=self.on_retry,
            max_bytes=settings.max_response_bytes,
            rate_limits=self.transport.rate_limits_for(hosts.app, settings.api_key.reveal()),
        )
        return self._context


def build_request(
    operation: Operation,
    owner_id: str | None,
    path: tuple[object, ...],
    query: Mapping[str, object] | None,
    headers: Mapping[str, object] | None,
    body: object,
    options: CallOptions,
) -> PreparedRequest:
    """Put the options of a call over its arguments, and encode both."""
    if options.query:
        query = _merge(query, options.query)
    headers_sent = headers
    if operation.result.media != "application/json":
        # A view may offer JSON alone, and answer 406 to anything narrower.
        headers_sent = {"Accept": f"{operation.result.media}, */*;q=0.5", **(headers_sent or {})}
    if options.headers:
        headers_sent = {**(headers_sent or {}), **dict(options.headers)}
    return prepare_request(operation, owner_id, path, query, headers_sent, body, options.body)


def _merge(given: object, extra: Mapping[str, object] | None) -> dict[str, object]:
    """Return both mappings in one, without what is left out."""
    both: dict[str, object] = {}
    if isinstance(given, Mapping):
        both.update(cast("Mapping[str, object]", given))
    both.update(extra or {})
    return {name: value for name, value in both.items() if value is not OMIT}


def _is_retry_safe(operation: Operation, options: CallOptions) -> bool:
    if options.idempotent is not None:
        return options.idempotent
    # The method alone does not make a GET harmless: some views write when they are read.
    return operation.method in _IDEMPOTENT or operation.idempotent or not operation.writes
