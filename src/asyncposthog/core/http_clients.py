"""Build HTTP clients: of httpx, over aiohttp, or with objects that the user passes."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal, cast

import httpx

from asyncposthog.errors import ConfigurationError
from asyncposthog.transport.client_pool import Sharing, connection_limit
from asyncposthog.transport.environment import (
    certificate_settings,
    check_proxies,
    environment_error,
)
from asyncposthog.transport.exchange import NoCookies
from asyncposthog.transport.http_client import HttpClient, OwnClient, OwnTransport

__all__ = ["connection_settings", "http_client_factory"]


def http_client_factory(
    http_client: OwnClient | None,
    transport: OwnTransport | Literal["aiohttp"] | None,
    max_connections: int,
    http2: bool,
) -> Callable[[], HttpClient]:
    """Return a function that builds an HTTP client, for settings that are valid otherwise.

    Raises:
        ConfigurationError, TypeError: `http_client` or `transport` cannot be used.
    """
    if http_client is not None:
        is_httpx2 = _is_of_httpx2(http_client, "AsyncClient")
        if not is_httpx2 and not isinstance(cast("object", http_client), httpx.AsyncClient):
            raise TypeError(
                "http_client must be an AsyncClient of httpx or httpx2, not "
                f"{_full_name(http_client)}"
            )
        if is_httpx2:
            from asyncposthog.transport.httpx2_client import Httpx2Client

            client = Httpx2Client(cast("Any", http_client))
            return lambda: client
        return lambda: cast("HttpClient", http_client)
    if isinstance(transport, str):
        return _build_aiohttp_client
    if transport is not None and not isinstance(
        cast("object", transport), httpx.AsyncBaseTransport
    ):
        if _is_of_httpx2(transport, "AsyncBaseTransport"):
            from asyncposthog.transport.httpx2_client import build_client

            return partial(build_client, cast("Any", transport))
        raise TypeError(
            'transport must be "aiohttp", or an AsyncBaseTransport of httpx or httpx2, not '
            f"{_full_name(transport)}"
        )
    # Over HTTP/1.1 each call has a client of its own, with one connection.
    size = max_connections if http2 else 1
    limits = httpx.Limits(max_connections=size, max_keepalive_connections=20)
    timeout = httpx.Timeout(None)  # every request carries its own
    context: ssl.SSLContext | None = None
    has_proxies = True

    def build() -> httpx.AsyncClient:
        nonlocal context, has_proxies
        try:
            if context is None and transport is None:
                check_proxies()
                context = _ssl_context(http2, certificate_settings())
            client = httpx.AsyncClient(
                transport=cast("httpx.AsyncBaseTransport | None", transport),
                http2=http2,
                verify=True if context is None else context,
                limits=limits,
                timeout=timeout,
                cookies=NoCookies(),
                # Reading the proxies takes most of the time to build a client, and each connection
                # has one. Like a single httpx client, we read them once.
                trust_env=has_proxies,
            )
            has_proxies = bool(getattr(client, "_mounts", True))
            return client
        except ConfigurationError:
            raise
        except Exception:
            error = environment_error()
        # Outside of the handler: the original exception may show the password of a proxy, and must
        # not become the context.
        raise error

    return build


def _is_of_httpx2(value: object, name: str) -> bool:
    """Return whether a value is of a class of httpx2.

    Raises:
        ConfigurationError: It is, and that version of httpx2 is not supported.
    """
    httpx2: Any = sys.modules.get("httpx2")  # it is imported if there is such a value
    if httpx2 is None or not isinstance(value, getattr(httpx2, name, ())):
        return False
    version = str(getattr(httpx2, "__version__", "unknown"))
    if version.partition(".")[0] != "2":
        raise ConfigurationError(
            f"{_full_name(value)} is of httpx2 {version}, which is not supported.",
            suggestion="Install httpx2 2.x, or pass an object of httpx.",
        )
    return True


def _full_name(value: object) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _build_aiohttp_client() -> HttpClient:
    # Imported for the first call: building a client should not take that time.
    from asyncposthog.transport.aiohttp_client import AiohttpClient

    check_proxies()
    return AiohttpClient(_aiohttp_ssl_context)


def _aiohttp_ssl_context() -> ssl.SSLContext:
    """Return the TLS settings of httpx, with the certificates that the environment names."""
    try:
        return _ssl_context(False, certificate_settings())
    except Exception:
        error = environment_error()
    raise error


@lru_cache(maxsize=8)
def _ssl_context(http2: bool, certificates: tuple[object, ...]) -> ssl.SSLContext:
    """Return the TLS settings of clients, which take tens of milliseconds to load.

    Clients with the same settings share them. `http2` is one: httpcore stores in them which
    versions of HTTP it offers.
    """
    return httpx.create_ssl_context()


def connection_settings(
    http_client: OwnClient | None,
    transport: OwnTransport | Literal["aiohttp"] | None,
    max_connections: int,
    http2: bool,
) -> tuple[Sharing, int | None]:
    """Return how calls share httpx clients, and how many are sent at the same time.

    The limit of a user's httpx client or transport is used if it can be read.
    """
    if http_client is not None:
        mounts: dict[object, object] = getattr(http_client, "_mounts", {})
        own = (getattr(http_client, "_transport", None), *mounts.values())
        return "fixed", connection_limit(own, max_connections)
    if isinstance(transport, str):
        return "direct", max_connections
    if transport is not None:
        return "fixed", connection_limit((transport,), max_connections)
    return ("multiplexed" if http2 else "exclusive"), max_connections
