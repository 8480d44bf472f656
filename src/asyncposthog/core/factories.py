"""Validate the arguments of a client, and build its parts when they are first needed."""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, cast

import httpx

from asyncposthog.errors import ConfigurationError
from asyncposthog.transport.client_pool import Sharing, connection_limit
from asyncposthog.transport.clock import Clock
from asyncposthog.transport.environment import check_proxies, environment_error
from asyncposthog.transport.exchange import NoCookies
from asyncposthog.transport.http_client import HttpClient, OwnClient, OwnTransport
from asyncposthog.transport.limiter import Limiter
from asyncposthog.transport.native_cancellation import in_other_event_loop
from asyncposthog.transport.retry import OnRetry

if TYPE_CHECKING:
    from asyncposthog.rate_limits.limits import Limits, QueryPlan

__all__ = [
    "connection_settings",
    "enable_debug_logging",
    "http_client_factory",
    "limiter_factory",
    "validate_on_retry",
    "validate_retry_budget",
]


def http_client_factory(
    http_client: OwnClient | None,
    transport: OwnTransport | Literal["aiohttp"] | None,
    max_connections: int,
    http2: bool,
) -> Callable[[], HttpClient]:
    """Validate the HTTP settings, and return a function that builds an HTTP client."""
    if http_client is not None:
        is_httpx2 = _is_of_httpx2(http_client, "AsyncClient")
        if not is_httpx2 and not isinstance(cast("object", http_client), httpx.AsyncClient):
            raise TypeError(
                "http_client must be an AsyncClient of httpx or httpx2, not "
                f"{_full_name(http_client)}"
            )
        if transport is not None or http2:
            raise ConfigurationError(
                "http_client was given together with transport or http2.",
                suggestion="Configure the http_client itself.",
            )
        if is_httpx2:
            from asyncposthog.transport.httpx2_client import Httpx2Client

            client = Httpx2Client(cast("Any", http_client))
            return lambda: client
        return lambda: cast("HttpClient", http_client)
    if isinstance(transport, str):
        _check_aiohttp(transport, http2)
    elif transport is not None and not isinstance(
        cast("object", transport), httpx.AsyncBaseTransport
    ):
        if _is_of_httpx2(transport, "AsyncBaseTransport"):
            from asyncposthog.transport.httpx2_client import build_client

            _validate_max_connections(max_connections)
            return partial(build_client, cast("Any", transport))
        raise TypeError(
            'transport must be "aiohttp", or an AsyncBaseTransport of httpx or httpx2, not '
            f"{_full_name(transport)}"
        )
    _validate_max_connections(max_connections)
    if http2 and transport is None and find_spec("h2") is None:
        raise ConfigurationError(
            "http2=True needs a package that is not installed.",
            suggestion="Run: pip install 'asyncposthog[http2]'.",
        )
    if isinstance(transport, str):
        return _build_aiohttp_client
    # Over HTTP/1.1 each call has a client of its own, with one connection.
    size = max_connections if http2 else 1
    limits = httpx.Limits(max_connections=size, max_keepalive_connections=20)
    timeout = httpx.Timeout(None)  # every request carries its own
    contexts: list[ssl.SSLContext] = []
    has_proxies = True

    def build() -> httpx.AsyncClient:
        nonlocal has_proxies
        try:
            if not contexts and transport is None:
                check_proxies()
                contexts.append(
                    httpx.create_ssl_context()
                )  # takes tens of milliseconds, and is the same for all
            client = httpx.AsyncClient(
                transport=cast("httpx.AsyncBaseTransport | None", transport),
                http2=http2,
                verify=contexts[0] if contexts else True,
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


def _validate_max_connections(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_connections must be an int, not {type(value).__name__}")
    if value < 1:
        raise ConfigurationError(f"max_connections must be 1 or more, not {value}.")


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


def _check_aiohttp(transport: str, http2: bool) -> None:
    """Raise an error if `transport="aiohttp"` cannot be used.

    Raises:
        ConfigurationError: It needs another package, another event loop, or other settings.
    """
    if transport != "aiohttp":
        raise ConfigurationError(
            f"transport={transport!r} is not known.",
            suggestion='Pass "aiohttp", an httpx.AsyncBaseTransport, or nothing.',
        )
    if http2:
        raise ConfigurationError(
            'transport="aiohttp" was given together with http2=True: aiohttp has no HTTP/2.',
            suggestion="Leave one of them out.",
        )
    if find_spec("aiohttp") is None:
        raise ConfigurationError(
            'transport="aiohttp" needs a package that is not installed.',
            suggestion="Run: pip install 'asyncposthog[aiohttp]'.",
        )
    if in_other_event_loop():
        raise ConfigurationError(
            'transport="aiohttp" works on asyncio only, and another event loop is running.',
            suggestion='Leave transport="aiohttp" out.',
        )


def _build_aiohttp_client() -> HttpClient:
    # Imported for the first call: building a client should not take that time.
    from asyncposthog.transport.aiohttp_client import AiohttpClient

    check_proxies()
    return AiohttpClient(_ssl_context)


def _ssl_context() -> ssl.SSLContext:
    """Return the TLS settings of httpx, with the certificates that the environment names."""
    try:
        return httpx.create_ssl_context()
    except Exception:
        error = environment_error()
    raise error


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


def limiter_factory(
    limiter: Limiter | None,
    limits: Limits | Literal[False] | None,
    query_plan: QueryPlan,
    query_slots: int,
    clock: Clock | None,
) -> Callable[[], Limiter] | None:
    """Validate the rate-limit settings, and return a function that builds the limiter."""
    is_default = (query_plan, query_slots) == ("auto", 3)
    if limits is False and not is_default:
        raise ConfigurationError(
            "limits=False was given together with query_plan or query_slots.",
            suggestion="Leave limits out: the default limits apply then.",
        )
    if limiter is not None:
        if limits or not is_default:
            raise ConfigurationError(
                "limiter was given together with limits, query_plan or query_slots.",
                suggestion="Configure the limiter itself: RateLimiter(limits=…).",
            )
        if not callable(getattr(limiter, "for_key", None)):
            raise TypeError(f"limiter must be a RateLimiter, not {type(limiter).__name__}")
        return lambda: limiter
    if limits is False:
        return None

    def make() -> Limiter:
        # Imported for the first request: building a client should not take that time.
        from asyncposthog.rate_limits.limiter import RateLimiter

        return RateLimiter(
            limits=limits, query_plan=query_plan, query_slots=query_slots, clock=clock
        )

    if limits is None and is_default:
        return make
    built = make()
    return lambda: built


def validate_on_retry(hook: OnRetry | None) -> OnRetry | None:
    """Return a valid `on_retry`."""
    if hook is not None and not callable(hook):
        raise TypeError(f"on_retry must be a function, not {type(hook).__name__}")
    return hook


def validate_retry_budget(size: object) -> int | None:
    """Return a valid `retry_budget`."""
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"retry_budget must be an int or None, not {type(size).__name__}")
    if size < 0:
        raise ConfigurationError(f"retry_budget must be 0 or more, not {size}.")
    return size


def enable_debug_logging() -> None:
    """Log to stderr, unless the program has configured logging."""
    logger = logging.getLogger("asyncposthog")
    logger.setLevel(logging.DEBUG)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
