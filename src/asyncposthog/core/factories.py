"""Validate the arguments of a client, and build its parts when they are first needed.

Nothing here imports httpx or pydantic: a program that only constructs a client does not pay for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from asyncposthog.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncposthog.rate_limits.limits import LimitRules, Limits, QueryPlan
    from asyncposthog.transport.clock import Clock
    from asyncposthog.transport.limiter import Limiter
    from asyncposthog.transport.retry import OnRetry

__all__ = [
    "enable_debug_logging",
    "limiter_factory",
    "validate_http_settings",
    "validate_on_retry",
    "validate_retry_budget",
]


def validate_http_settings(
    http_client: object, transport: object, max_connections: int, http2: bool
) -> None:
    """Raise an error if the HTTP settings are invalid, or contradict each other.

    Raises:
        ConfigurationError: They are, or need a package that is not installed.
        TypeError: A setting is of the wrong type.
    """
    if http_client is not None:
        if transport is not None or http2:
            raise ConfigurationError(
                "http_client was given together with transport or http2.",
                suggestion="Configure the http_client itself.",
            )
        return
    if isinstance(transport, str):
        _check_aiohttp(transport, http2)
    _validate_max_connections(max_connections)
    if http2 and transport is None and find_spec("h2") is None:
        raise ConfigurationError(
            "http2=True needs a package that is not installed.",
            suggestion="Run: pip install 'asyncposthog[http2]'.",
        )


def _validate_max_connections(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_connections must be an int, not {type(value).__name__}")
    if value < 1:
        raise ConfigurationError(f"max_connections must be 1 or more, not {value}.")


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
    from asyncposthog.transport.native_cancellation import in_other_event_loop

    if in_other_event_loop():
        raise ConfigurationError(
            'transport="aiohttp" works on asyncio only, and another event loop is running.',
            suggestion='Leave transport="aiohttp" out.',
        )


def limiter_factory(
    limiter: Limiter | None,
    limits: Limits | Literal[False] | None,
    query_plan: QueryPlan,
    query_slots: int,
    clock: Clock | None,
    rules: LimitRules | None = None,
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
            limits=limits,
            query_plan=query_plan,
            query_slots=query_slots,
            clock=clock,
            rules=rules,
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
