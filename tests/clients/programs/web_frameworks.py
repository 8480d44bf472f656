"""Serve an application of Litestar and one of Quart with the ASGI middleware, and call both.

The argument is the base URL of an emulator. Prints what the services answered.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import httpx
from litestar import Litestar
from litestar import get as route
from litestar.exceptions import HTTPException
from litestar.response import Stream
from quart import Quart, got_request_exception, request

from asyncposthog import AsyncPostHog
from asyncposthog.contrib.asgi import PostHogMiddleware, RequestContext, current_request

HEADERS = {"X-POSTHOG-DISTINCT-ID": "ada", "X-POSTHOG-SESSION-ID": "s1"}
PATHS = ("/flag", "/sync", "/stream", "/fail", "/known", "/nowhere")


def context() -> RequestContext:
    """Return the context of the request."""
    current = current_request()
    assert current is not None
    return current


async def flag() -> str:
    """Return the value of a flag."""
    return str(await context().is_enabled("special"))


def who() -> str:
    """Return the person."""
    return str(context().distinct_id)


async def known(framework: str) -> str:
    """Capture an exception, and raise it."""
    error = LookupError(f"{framework} known")
    await context().client.capture.exception(error)
    raise error


async def capture(error: Exception, scope: Any) -> None:
    """Capture an exception that Litestar makes a response of."""
    if not isinstance(error, HTTPException):
        await context().capture_exception(error)


def litestar_application(ph: AsyncPostHog) -> Any:
    """Return an application of Litestar."""

    @route("/flag")
    async def get_flag(scope: dict[str, Any]) -> str:
        assert scope["posthog"] is current_request()
        return await flag()

    @route("/sync", sync_to_thread=True)
    def get_sync() -> str:
        return who()

    @route("/stream")
    async def get_stream() -> Stream:
        async def parts() -> Any:
            yield who()

        return Stream(parts())

    @route("/fail")
    async def get_fail() -> str:
        raise LookupError("litestar fail")

    @route("/known")
    async def get_known() -> str:
        return await known("litestar")

    routes = [get_flag, get_sync, get_stream, get_fail, get_known]
    return PostHogMiddleware(Litestar(routes, after_exception=[capture]), ph)


def quart_application(ph: AsyncPostHog) -> Any:
    """Return an application of Quart."""
    app = Quart("service")
    app.logger.disabled = True

    @app.get("/flag")
    async def get_flag() -> str:
        assert request.scope["posthog"] is current_request()
        return await flag()

    @app.get("/sync")
    def get_sync() -> str:
        return who()

    @app.get("/stream")
    async def get_stream() -> Any:
        async def parts() -> Any:
            yield who().encode()

        return parts()

    @app.get("/fail")
    async def get_fail() -> str:
        raise LookupError("quart fail")

    @app.get("/known")
    async def get_known() -> str:
        return await known("quart")

    app.asgi_app = PostHogMiddleware(app.asgi_app, ph)  # type: ignore[method-assign]
    return app


async def capture_of_quart(app: Any, exception: Exception) -> None:
    """Capture an exception that Quart makes a response of."""
    await context().capture_exception(exception)


async def call(make: Callable[[AsyncPostHog], Any], host: str) -> dict[str, list[object]]:
    """Call each endpoint of an application, and return its answers."""
    said: dict[str, list[object]] = {}
    settings: dict[str, Any] = {"project_id": 1, "project_api_key": "phc_emulator", "host": host}
    async with AsyncPostHog("phx_emulator", **settings) as ph:
        transport = httpx.ASGITransport(make(ph), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            for path in PATHS:
                response = await http.get(path, headers=HEADERS)
                text = response.text if response.status_code == 200 else ""
                said[path] = [response.status_code, text]
    return said


async def main(host: str) -> None:
    """Print the answers of both applications."""
    got_request_exception.connect(capture_of_quart)
    said = {
        "litestar": await call(litestar_application, host),
        "quart": await call(quart_application, host),
    }
    print(json.dumps(said))


asyncio.run(main(sys.argv[1]))
