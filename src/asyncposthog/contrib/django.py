"""Django: middleware for async views.

Settings of the project:

- `POSTHOG_CLIENT`: the dotted path of an `AsyncPostHog`, or of a function that returns one.
- `POSTHOG_USER`: the dotted path of a function or async function that takes the request and
  returns the id of the user who is logged in. Default: the primary key of `request.auser()`.
- `POSTHOG_TRUST_HEADERS`, `POSTHOG_TRUST_COOKIE`, `POSTHOG_CAPTURE_EXCEPTIONS`: booleans, True by
  default; see `PostHogMiddleware` of `contrib.asgi`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
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

__all__ = ["PostHogMiddleware", "current_request"]

# Django has no type annotations.
_asgiref: Any = import_module("asgiref.sync")
_conf: Any = import_module("django.conf")
_exceptions: Any = import_module("django.core.exceptions")
_loading: Any = import_module("django.utils.module_loading")
HttpRequest: TypeAlias = Any
HttpResponse: TypeAlias = Any

_EXCEPTION: Final = "_posthog_exception"


class PostHogMiddleware:
    """Middleware for async views: `request.posthog` is the context of the request.

    Put it after the middleware that authenticates. An exception of a view is captured once.
    """

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> None:
        """Read the settings of the project.

        Raises:
            ImproperlyConfigured: `POSTHOG_CLIENT` is missing.
        """
        settings = _conf.settings
        path = getattr(settings, "POSTHOG_CLIENT", None)
        if path is None:
            raise _exceptions.ImproperlyConfigured(
                "POSTHOG_CLIENT is not set: name the dotted path of an AsyncPostHog, or of a "
                "function that returns one"
            )
        self.get_response = get_response
        self._client: object = _loading.import_string(path) if isinstance(path, str) else path
        user = getattr(settings, "POSTHOG_USER", None)
        self._user = cast(
            "Callable[[HttpRequest], UserId | Awaitable[UserId]]",
            _loading.import_string(user) if isinstance(user, str) else user or _logged_in_user,
        )
        self._trust_headers = bool(getattr(settings, "POSTHOG_TRUST_HEADERS", True))
        self._trust_cookie = bool(getattr(settings, "POSTHOG_TRUST_COOKIE", True))
        self._capture_exceptions = bool(getattr(settings, "POSTHOG_CAPTURE_EXCEPTIONS", True))
        _asgiref.markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Handle a request."""
        client = self._get_client()
        context = RequestContext(
            client,
            self._claimed(request, client),
            user=partial(self._user, request),
            properties={"$request_path": request.path[:1000], "$request_method": request.method},
        )
        request.posthog = context
        await context.resolve()
        token, capture_context = context.enter()
        try:
            with capture_context:
                response = await self.get_response(request)
            # Django has turned the exception of the view into a response already.
            error = getattr(request, _EXCEPTION, None)
            if error is not None:
                await context.capture_exception(error)
            return response
        except Exception as error:
            if self._capture_exceptions:
                await context.capture_exception(error)
            raise
        finally:
            context.leave(token)

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Keep the exception of a view, which does not reach the middleware otherwise."""
        if self._capture_exceptions:
            setattr(request, _EXCEPTION, exception)

    def _get_client(self) -> AsyncPostHog:
        configured = self._client
        client: object = (
            configured if isinstance(configured, AsyncPostHog) else cast("Any", configured)()
        )
        if not isinstance(client, AsyncPostHog):
            raise _exceptions.ImproperlyConfigured(
                f"POSTHOG_CLIENT is a {type(client).__name__}, not an AsyncPostHog"
            )
        return client

    def _claimed(self, request: HttpRequest, client: AsyncPostHog) -> Identity:
        def header(name: str) -> str | None:
            return request.headers.get(name) if self._trust_headers else None

        def cookie() -> str | None:
            token = client.settings.project_api_key
            if token is None or not self._trust_cookie:
                return None
            return request.COOKIES.get(cookie_name(token.reveal()))

        return identity(header, cookie)


async def _logged_in_user(request: HttpRequest) -> UserId:
    """Return the primary key of the user who is logged in."""
    find = getattr(request, "auser", None)
    if find is None:
        return None
    user = await find()
    return str(user.pk) if user is not None and user.is_authenticated else None
