"""ASGI middleware: the person, session and feature flags of each request.

It is pure ASGI, and so serves FastAPI, Starlette, Litestar and Quart. Only HTTP and WebSocket
connections get a context.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any, Final, TypeAlias, cast

from asyncposthog.client import AsyncPostHog

from .request_context import (
    Identity,
    RequestContext,
    UserId,
    cookie_name,
    current_request,
    identity,
)

__all__ = ["PostHogMiddleware", "RequestContext", "current_request"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

SCOPE_KEY: Final = "posthog"
"""Where the context of a request is in its scope."""
_MAX_PATH_CHARS: Final = 1000


class PostHogMiddleware:
    """ASGI middleware: `app.add_middleware(PostHogMiddleware, user=user_id)`.

    Each request gets a `RequestContext`, in `scope["posthog"]` and from `current_request()`. An
    exception that leaves the application is captured once and raised again.
    """

    def __init__(
        self,
        app: ASGIApp,
        client: AsyncPostHog | Callable[[Scope], AsyncPostHog] | None = None,
        *,
        user: Callable[[Scope], UserId | Awaitable[UserId]] | None = None,
        flag_options: Callable[[Scope], Mapping[str, Any]] | None = None,
        trust_headers: bool = True,
        trust_cookie: bool = True,
        capture_exceptions: bool = True,
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            client: The client, or a function that returns it for a scope. None: `posthog` in the
                state of the application, where `contrib.fastapi` puts it.
            user: A function or async function that returns the id of the user who is logged in,
                or None. It wins over what the request claims, which a client can forge.
            flag_options: Returns arguments of `ph.flags.evaluate` for a scope: `groups`,
                `person_properties` and others.
            trust_headers: Whether to believe `X-POSTHOG-DISTINCT-ID` and `X-POSTHOG-SESSION-ID`.
            trust_cookie: Whether to believe the cookie of PostHog's JavaScript.
            capture_exceptions: Whether to capture exceptions that leave the application.
        """
        self.app = app
        self._client = client
        self._user = user
        self._flag_options = flag_options
        self._trust_headers = trust_headers
        self._trust_cookie = trust_cookie
        self._capture_exceptions = capture_exceptions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        context = scope[SCOPE_KEY] = self._context(scope)
        await context.resolve()
        token, capture_context = context.enter()
        try:
            with capture_context:
                await self.app(scope, receive, send)
        except Exception as error:
            if self._capture_exceptions:
                await context.capture_exception(error)
            raise
        finally:
            context.leave(token)

    def _context(self, scope: Scope) -> RequestContext:
        client = self._find_client(scope)
        properties = {"$request_path": str(scope.get("path", ""))[:_MAX_PATH_CHARS]}
        if "method" in scope:
            properties["$request_method"] = str(scope["method"])[:20]
        user, options = self._user, self._flag_options
        return RequestContext(
            client,
            self._claimed(scope, client),
            user=None if user is None else partial(user, scope),
            flag_options=None if options is None else partial(options, scope),
            properties=properties,
        )

    def _claimed(self, scope: Scope, client: AsyncPostHog) -> Identity:
        headers: Iterable[tuple[bytes, bytes]] = scope.get("headers") or ()

        def header(name: str) -> str | None:
            return _header(headers, name.encode()) if self._trust_headers else None

        def cookie() -> str | None:
            token = client.settings.project_api_key
            if token is None or not self._trust_cookie:
                return None
            return _cookie(headers, cookie_name(token.reveal()))

        return identity(header, cookie)

    def _find_client(self, scope: Scope) -> AsyncPostHog:
        client = self._client
        if client is None:
            state: object = scope.get("state")
            candidate: object = None
            if isinstance(state, Mapping):
                candidate = cast("Mapping[str, object]", state).get("posthog")
            if candidate is None:
                candidate = getattr(getattr(scope.get("app"), "state", None), "posthog", None)
            if not isinstance(candidate, AsyncPostHog):
                raise RuntimeError(
                    "PostHogMiddleware has no client: pass client=, or put an AsyncPostHog into "
                    "the state of the application, as the lifespan of contrib.fastapi does"
                )
            return candidate
        return client if isinstance(client, AsyncPostHog) else client(scope)


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the first value of a header."""
    for key, value in headers:
        if key.lower() == name:
            try:
                return value.decode()
            except UnicodeDecodeError:
                return value.decode("latin-1")
    return None


def _cookie(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    """Return the value of a cookie. HTTP/2 may send cookies in several headers."""
    for key, value in headers:
        if key.lower() != b"cookie":
            continue
        for pair in value.decode("latin-1").split(";"):
            cookie_name, _, text = pair.strip().partition("=")
            if cookie_name == name:
                return text.strip('"')
    return None
