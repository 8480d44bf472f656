"""FastAPI: a lifespan that opens the client, and dependencies for the client and flags.

```
app = FastAPI(lifespan=lifespan())
app.add_middleware(PostHogMiddleware)

@app.get("/")
async def home(flags: Flags) -> str:
    return "new" if flags.is_enabled("new-home", False) else "old"
```
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from asyncposthog.client import AsyncPostHog
from asyncposthog.flags.snapshot import FlagSnapshot

from .asgi import SCOPE_KEY, PostHogMiddleware
from .request_context import RequestContext, current_request

__all__ = [
    "Client",
    "Context",
    "Flags",
    "PostHogMiddleware",
    "connect",
    "current_request",
    "get_client",
    "get_context",
    "get_flags",
    "lifespan",
]


@asynccontextmanager
async def connect(
    app: FastAPI,
    client: AsyncPostHog | None = None,
    *,
    local_flags: bool | Mapping[str, Any] = False,
    **settings: Any,
) -> AsyncGenerator[AsyncPostHog]:
    """Open a client for an application, within its own lifespan; close it at the end.

    Args:
        app: The application. The client is in `app.state.posthog` meanwhile.
        client: The client; it is closed at the end. None: one that is made with `settings`.
        local_flags: Whether to evaluate flags in this process; a mapping has arguments of
            `ph.flags.local`.
        settings: Arguments of `AsyncPostHog`.

    Raises:
        ConfigurationError: A setting is missing or invalid.
        ImportError: `local_flags` needs the extra `asyncposthog[local-flags]`.
    """
    async with AsyncPostHog(**settings) if client is None else client as opened:
        app.state.posthog = opened
        try:
            if local_flags is False:
                yield opened
            else:
                options = dict[str, Any]() if isinstance(local_flags, bool) else local_flags
                async with opened.flags.local(**options):
                    yield opened
        finally:
            del app.state.posthog


def lifespan(
    client: AsyncPostHog | None = None,
    *,
    local_flags: bool | Mapping[str, Any] = False,
    **settings: Any,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return a lifespan: `FastAPI(lifespan=lifespan(local_flags=True))`.

    The arguments are those of `connect`, which serves applications that have a lifespan already.
    """

    @asynccontextmanager
    async def posthog_lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with connect(app, client, local_flags=local_flags, **settings):
            yield

    return posthog_lifespan


def get_client(connection: HTTPConnection) -> AsyncPostHog:
    """Return the client of the application. A dependency; tests can override it.

    Raises:
        RuntimeError: The application has none.
    """
    client = getattr(connection.app.state, "posthog", None)
    if not isinstance(client, AsyncPostHog):
        raise RuntimeError(
            "the application has no PostHog client: use FastAPI(lifespan=lifespan()) of "
            "asyncposthog.contrib.fastapi"
        )
    return client


def get_context(connection: HTTPConnection) -> RequestContext:
    """Return the context of the request. A dependency; tests can override it.

    Raises:
        RuntimeError: `PostHogMiddleware` is not installed.
    """
    context = connection.scope.get(SCOPE_KEY)
    if not isinstance(context, RequestContext):
        raise RuntimeError(
            "the request has no PostHog context: add app.add_middleware(PostHogMiddleware)"
        )
    return context


async def get_flags(
    context: Annotated[RequestContext, Depends(get_context)],
) -> FlagSnapshot:
    """Return the feature flags of the person. A dependency; tests can override it."""
    return await context.flags()


Client: TypeAlias = Annotated[AsyncPostHog, Depends(get_client)]
"""The client of the application."""
Context: TypeAlias = Annotated[RequestContext, Depends(get_context)]
"""The person and session of the request."""
Flags: TypeAlias = Annotated[FlagSnapshot, Depends(get_flags)]
"""The feature flags of the person, evaluated for endpoints that ask for them."""
