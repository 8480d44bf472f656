"""User middleware: `async def handle(request, call_next)`, run for every attempt.

It sees error answers as responses, and requests without their `Authorization`, which is added
after it. `request.extensions["asyncposthog"]` tells the operation's id and path, and the number
of the attempt.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias, cast

import httpx

__all__ = ["CallNext", "Middleware", "compose", "observe", "validate_middleware"]

CallNext: TypeAlias = Callable[[httpx.Request], Awaitable[httpx.Response]]
"""Sends a request on, and returns the answer."""

Middleware: TypeAlias = Callable[[httpx.Request, CallNext], Awaitable[httpx.Response]]
"""Handles one attempt: usually by calling the next, with something done before or after."""


def observe(
    on_request: Callable[[httpx.Request], object] | None = None,
    on_response: Callable[[httpx.Response], object] | None = None,
) -> Middleware:
    """Return middleware that tells functions of every attempt, and changes nothing.

    Args:
        on_request: Called before an attempt is sent; a function or an async function.
        on_response: Called with its answer, errors included. The body may not be read yet.
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
    """Return the middleware given by a user.

    Raises:
        TypeError: It is no iterable of async callables of two arguments.
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
        getattr(item, "__call__", None)  # noqa: B004 - the method itself is looked at
    )


def compose(middleware: tuple[Middleware, ...], last: CallNext) -> CallNext:
    """Return one function that runs the middleware, the first outermost, and then `last`."""
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
