"""Maton: a managed gateway with OAuth connections to PostHog and limits of its own."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Final

from asyncposthog.config import Secret
from asyncposthog.errors import AuthenticationError, ConfigurationError, StatusError
from asyncposthog.operation import Operation

from .gateway import Gateway, MissingConnectionError

if TYPE_CHECKING:
    import httpx

    from asyncposthog.rate_limits.limits import LimitRules

    from .connections import Connections

__all__ = ["Maton"]

_URL: Final = "https://gateway.maton.ai/posthog"
_CONTROL_URL: Final = "https://ctrl.maton.ai"
_APP: Final = "posthog"
_ANALYTICS: Final = frozenset({"insights", "persons", "session_recordings"})
_CONNECT: Final = (
    "Make one: `connection = await maton.connections.create()`, and open connection.url in a "
    "browser."
)


class Maton(Gateway):
    """PostHog through maton.ai: `AsyncPostHog(gateway=Maton())`. No key of PostHog is needed.

    `maton.connections` manages the connections of the Maton account to PostHog.
    """

    def __init__(
        self,
        api_key: str | Secret | None = None,
        *,
        connection: str | None = None,
        ingest: str | None = None,
        url: str = _URL,
        control_url: str = _CONTROL_URL,
        transport: httpx.AsyncBaseTransport | None = None,
        allow_http: bool = False,
    ) -> None:
        """Validate the settings. Nothing is sent.

        Args:
            api_key: A Maton API key; by default `MATON_API_KEY` in the environment.
            connection: The id of a connection; None: the oldest active one of the account.
            ingest: Where captured events and evaluations of flags go, with the project token: `us`,
                `eu` or a URL. None: they cannot be used, as Maton does not serve them.
            url: The base URL of the gateway.
            control_url: The base URL of the management of connections.
            transport: An httpx transport for the management of connections, for tests.
            allow_http: Allow plain `http://` to a host other than this machine.

        Raises:
            ConfigurationError: There is no key, or a setting is invalid.
        """
        key = api_key if api_key is not None else os.environ.get("MATON_API_KEY")
        if not key:
            raise ConfigurationError(
                "No Maton API key was given.",
                suggestion="Pass api_key= or set MATON_API_KEY. Keys are at "
                "https://maton.ai/settings.",
            )
        super().__init__(
            url,
            key=key,
            headers=None if connection is None else {"Maton-Connection": connection},
            ingest=ingest,
            rules=maton_rules(),
            allow_http=allow_http,
        )
        self.connection = connection
        self._control = control_url, transport, allow_http

    @cached_property
    def connections(self) -> Connections:
        """The connections of the Maton account to PostHog: list, create, get, delete."""
        from .connections import Connections

        url, transport, allow_http = self._control
        return Connections(self.secret, url, app=_APP, transport=transport, allow_http=allow_http)

    def explain(self, error: StatusError) -> StatusError:
        """Return the error for an error response of Maton, or of PostHog through it.

        Maton answers 400 without a connection and 401 without a valid key. PostHog's own errors
        pass through; they have a `type`.
        """
        if error.type is None and isinstance(error, AuthenticationError):
            error.suggestion = (
                "The Maton API key is invalid: check api_key= or MATON_API_KEY. Keys are at "
                "https://maton.ai/settings."
            )
        elif isinstance(error, AuthenticationError):
            error.suggestion = (
                f"PostHog refuses the credentials of the Maton connection: delete it. {_CONNECT}"
            )
        elif _is_missing_connection(error):
            return _missing_connection(error, self.connection)
        else:
            return super().explain(error)
        return error


def _is_missing_connection(error: StatusError) -> bool:
    detail = (error.detail or "").lower()
    return (
        error.status == 400
        and error.type is None
        and error.attr is None
        and (not detail or "connection" in detail)
    )


def _missing_connection(error: StatusError, connection: str | None) -> MissingConnectionError:
    what = "to PostHog" if connection is None else f"{connection[:60]!r} to PostHog"
    missing = MissingConnectionError(
        f"The Maton account has no active connection {what}.",
        status=error.status,
        code=error.code,
        detail=error.detail,
        request_id=error.request_id,
        operation=error.operation,
        request=error.request,
        response=error.response,
        suggestion=_CONNECT
        if connection is None
        else f"See `await maton.connections.list()`. {_CONNECT}",
    )
    missing.retry_after = error.retry_after
    return missing


def maton_rules() -> LimitRules:
    """Return the rate limits of Maton, which count by Maton API key."""
    from asyncposthog.rate_limits.limits import Bucket, LimitRules

    buckets = (
        Bucket("maton_analytics_minute", 240, 60.0),
        Bucket("maton_analytics_hour", 1200, 3600.0),
        Bucket("maton_hogql_hour", 120, 3600.0),
        Bucket("maton_other_minute", 480, 60.0),
        Bucket("maton_other_hour", 4800, 3600.0),
    )
    return LimitRules({bucket.name: bucket for bucket in buckets}, _assign)


def _assign(operation: Operation, hogql: bool) -> tuple[str, ...]:
    """Return the limits of Maton that a call counts against."""
    if not operation.path.startswith("/api/"):
        return ()
    if hogql:
        return ("maton_hogql_hour",)
    queries = any("quer" in name for name in operation.buckets)
    if queries or _resource(operation) in _ANALYTICS:
        return ("maton_analytics_minute", "maton_analytics_hour")
    return ("maton_other_minute", "maton_other_hour")


def _resource(operation: Operation) -> str:
    """Return the first segment of a path after the project."""
    segments = operation.path.removeprefix("/api/").split("/")
    return segments[2] if segments[0] in {"projects", "environments"} and segments[2:] else ""
