"""`Gateway`: the address, the credentials and the limits of a server in front of PostHog."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from asyncposthog.config import Secret, validate_option
from asyncposthog.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    StatusError,
)
from asyncposthog.hosts import Hosts, region_hosts, resolve_host
from asyncposthog.redact import Unpicklable

from .tokens import TokenProvider, Tokens

if TYPE_CHECKING:
    from asyncposthog.rate_limits.limits import LimitRules
    from asyncposthog.transport.clock import Clock

__all__ = ["Gateway", "MissingConnectionError"]

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SCHEME: Final = re.compile(r"[!-~]*")
_UNUSABLE: Final = frozenset({"host", "content-length", "transfer-encoding", "content-type"})


class MissingConnectionError(AuthenticationError):
    """The gateway has no connection to PostHog for this key. The user has to make one."""


class Gateway(Unpicklable):
    """A server in front of PostHog: `AsyncPostHog(gateway=Gateway(url, key=…))`.

    It takes the place of the host and of PostHog's API key. The key is sent to its origin only, and
    is shown nowhere. A gateway cannot be pickled or copied.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | Secret | None = None,
        token: TokenProvider | None = None,
        header: str = "Authorization",
        scheme: str = "Bearer",
        headers: Mapping[str, str] | None = None,
        ingest: str | None = None,
        rules: LimitRules | None = None,
        allow_http: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """Validate the settings. Nothing is sent.

        Args:
            url: Its base URL, with the path prefix that is put before PostHog's own paths:
                `https://gateway.example.com/posthog`.
            key: Its API key.
            token: Instead of a key that never changes: an async function that returns an access
                token, or an `OAuthToken` with its lifetime. It is called for the first request,
                when the token expires, and once when the server answers 401.
            header: The header that carries the key.
            scheme: The word before the key in the header; empty for none.
            headers: Further headers of every request to the gateway.
            ingest: Where captured events and evaluations of flags go, with the project token: `us`,
                `eu` or a URL. None: they cannot be used, as a gateway does not serve them.
            rules: Its rate limits; None: those of PostHog.
            allow_http: Allow plain `http://` to a host other than this machine.
            clock: The clock for the lifetime of tokens, replaceable in tests.

        Raises:
            ConfigurationError: A setting is missing or invalid.
            TypeError: A setting is of the wrong type.
        """
        if (key is None) == (token is None):
            raise ConfigurationError(
                "A gateway needs either a key or a token provider.",
                suggestion="Pass key=, or token= with an async function that returns a token.",
            )
        if token is not None and not callable(token):
            raise TypeError(f"token must be an async function, not {type(token).__name__}")
        if not _TOKEN.fullmatch(header) or header.lower() in _UNUSABLE:
            raise ConfigurationError(f"{header!r} cannot carry the key of a gateway.")
        if not _SCHEME.fullmatch(scheme):
            raise ConfigurationError(f"{scheme!r} cannot stand before a key: it must be one word.")
        base = resolve_host(url, allow_http=allow_http)
        events = None if ingest is None else _ingest(ingest, allow_http)
        self.hosts = Hosts(base.app, base.ingest if events is None else events, base.region)
        """The hosts of a client that uses the gateway."""
        self.has_ingest = events is not None or base.region is not None
        """Whether events and evaluations of flags have a host."""
        self.secret: Secret = (
            validate_option("api_key", key)
            if key is not None
            # Tells the rate limits and cached ids of this gateway from those of others.
            else Secret(f"token-provider-{secrets.token_hex(16)}")
        )
        """The key. With a token provider, a random name, which is not sent."""
        self.tokens: Tokens | None = None if token is None else Tokens(token, clock)
        """Where tokens come from that expire."""
        self.header = header
        self.scheme = scheme
        self.headers: tuple[tuple[str, str], ...] = cast(
            "tuple[tuple[str, str], ...]", validate_option("headers", headers)
        )
        """Further headers."""
        if any(name.lower() == header.lower() for name, _ in self.headers):
            raise ConfigurationError(
                f"headers has {header}, which carries the key.", suggestion="Pass the key as key=."
            )
        self.rules = rules
        """Its rate limits; None: those of PostHog."""

    @property
    def url(self) -> str:
        """The base URL, without a final slash."""
        return self.hosts.app

    def explain(self, error: StatusError) -> StatusError:
        """Return the error for an error response of the gateway, or of PostHog through it."""
        if isinstance(error, AuthenticationError):
            error.suggestion = (
                f"The server at {self.url} refuses the OAuth token, also after it was renewed."
                if self.tokens is not None
                else f"Check the key of the gateway at {self.url}, or the connection it stands for."
            )
        elif isinstance(error, PermissionDeniedError) and error.missing_scope:
            error.suggestion = (
                f"The key that the gateway at {self.url} has for PostHog lacks the scope "
                f"{error.missing_scope}: add it there."
            )
        return error

    def __repr__(self) -> str:
        """Return the address, without the key."""
        return f"{type(self).__name__}({self.url!r})"


def _ingest(value: str, allow_http: bool) -> str:
    if value in {"us", "eu"}:
        return region_hosts(value).ingest
    return resolve_host(value, allow_http=allow_http).ingest
