"""User middleware: `async def handle(request, call_next)`, called for each attempt.

It gets error responses as responses, and requests without `Authorization`, which is added later.
`request.extensions["asyncposthog"]` has the id and path of the operation, and the number of the
attempt.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias, cast

import httpx

__all__ = ["CallNext", "Middleware", "compose", "observe", "validate_middleware"]

CallNext: TypeAlias = Callable[[httpx.Request], Awaitable[httpx.Response]]
"""Sends a request and returns the response."""

Middleware: TypeAlias = Callable[[httpx.Request, CallNext], Awaitable[httpx.Response]]
"""Handles one attempt, usually by calling `call_next`."""


def observe(
    on_request: Callable[[httpx.Request], object] | None = None,
    on_response: Callable[[httpx.Response], object] | None = None,
) -> Middleware:
    """Return middleware that calls functions for each attempt, and changes nothing.

    Args:
        on_request: A function or async function, called before an attempt is sent.
        on_response: A function or async function, called with the response, also for an error
            status. The body may not be read yet.
    """

    async def watch(request: httpx.Request, call_next: CallNext) -> httpx.Response:
        if on_request is not None:
            await _call_hook(on_request(request))
        response = await call_next(request)
        if on_response is not None:
            await _call_hook(on_response(response))
        return response

    return watch


async def _call_hook(result: object) -> None:
    if inspect.isawaitable(result):
        await result


def validate_middleware(value: object) -> tuple[Middleware, ...]:
    """Return valid middleware.

    Raises:
        TypeError: It is not an iterable of async callables with two arguments.
    """
    if callable(value) or isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError("middleware must be a list of async callables, such as [handle]")
    items = tuple(cast("Iterable[object]", value))
    for item in items:
        name = getattr(item, "__name__", type(item).__name__)
        if not callable(item):
            raise TypeError(f"middleware holds {name}, which cannot be called")
        if not _is_async(item):
            raise TypeError(
                f"middleware {name} must be async: async def {name}(request, call_next)"
            )
        try:
            inspect.signature(item).bind(None, None)
        except TypeError:
            raise TypeError(
                f"middleware {name} must take two arguments: (request, call_next)"
            ) from None
    return cast("tuple[Middleware, ...]", items)


def _is_async(item: object) -> bool:
    return inspect.iscoroutinefunction(item) or inspect.iscoroutinefunction(
        getattr(item, "__call__", None)  # noqa: B004 - an instance with `async def __call__`
    )


def compose(middleware: tuple[Middleware, ...], last: CallNext) -> CallNext:
    """Return a function that runs the middleware, the first one outermost, and then `last`."""
    for handle in reversed(middleware):
        last = _bind(handle, last)
    return last


def _bind(handle: Middleware, call_next: CallNext) -> CallNext:
    async def step(request: httpx.Request) -> httpx.Response:
        response = cast("object", await handle(request, call_next))
        if not isinstance(response, httpx.Response):
            name = getattr(handle, "__name__", type(handle).__name__)
            raise TypeError(
                f"middleware {name} returned {type(response).__name__}, not an httpx.Response"
            )
        return response

    return step
