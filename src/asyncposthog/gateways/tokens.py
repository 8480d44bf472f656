"""OAuth tokens that expire: when to get a new one, and how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

import anyio
import httpx

from asyncposthog.config import Secret, validate_option
from asyncposthog.errors import AuthenticationError, PostHogError, shorten
from asyncposthog.hosts import resolve_host
from asyncposthog.redact import Redactor, Unpicklable, mask
from asyncposthog.transport.clock import Clock, SystemClock

__all__ = ["OAuthRefresh", "OAuthToken", "TokenProvider", "Tokens"]

_EARLY: Final = 30.0
"""Seconds before its end from which on a token is not used any more."""
_TIMEOUT: Final = 30.0
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class OAuthToken:
    """An access token, and for how long it is valid."""

    value: Secret
    expires_in: float | None = None
    """Seconds from now; None: until the server rejects it."""


TokenProvider: TypeAlias = Callable[[], Awaitable[str | Secret | OAuthToken]]
"""An async function that returns a new token. It is called when there is none, when it expires, and
when the server rejects it; never twice at a time."""


class Tokens(Unpicklable):
    """The current token of a provider. Calls that need a new one at the same time share it."""

    def __init__(self, provider: TokenProvider, clock: Clock | None = None) -> None:
        """Keep the provider. It is called for the first request."""
        self._provider = provider
        self._clock: Clock = clock or SystemClock()
        self._lock: anyio.Lock | None = None
        self._current: Secret | None = None
        self._expires_at: float | None = None
        self._redactor: Redactor | None = None

    async def get(self) -> Secret:
        """Return a token that is valid now.

        Raises:
            AuthenticationError: There is none, and the provider cannot make one.
        """
        current = self._valid()
        if current is not None:
            return current
        async with self._locked():
            return self._valid() or await self._fetch()

    async def renew(self, rejected: Secret) -> Secret | None:
        """Return another token than one that the server rejected; None: the provider has none.

        Raises:
            AuthenticationError: The provider cannot make one.
        """
        async with self._locked():
            current = self._current
            if current is None or current == rejected:
                current = await self._fetch()
            return None if current == rejected else current

    def _locked(self) -> anyio.Lock:
        if self._lock is None:
            self._lock = anyio.Lock()
        return self._lock

    def _valid(self) -> Secret | None:
        expires_at = self._expires_at
        if expires_at is not None and self._clock.monotonic() >= expires_at:
            return None
        return self._current

    async def _fetch(self) -> Secret:
        self._current = None
        text = None
        try:
            token: object = await self._provider()
        except PostHogError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {shorten(mask(str(error)), 200)}"
            token = None
        if text is not None:
            # Outside of the handler: an exception of the user's code may show a token.
            raise AuthenticationError(
                f"The OAuth token could not be renewed, and nothing was sent: {text}",
                suggestion="Check the token provider of the gateway; the user may have to sign in "
                "again.",
            )
        expires_in = None
        if isinstance(token, OAuthToken):
            token, expires_in = token.value, token.expires_in
        secret = cast("Secret", validate_option("api_key", token))
        self._redactor = Redactor([secret.reveal()])  # masks it as long as it is in use
        self._expires_at = None
        if expires_in is not None:
            # A token that lives for less than the margin is still used for half of its life.
            usable = max(expires_in - _EARLY, expires_in / 2)
            self._expires_at = self._clock.monotonic() + usable
        self._current = secret
        return secret


class OAuthRefresh(Unpicklable):
    """A token provider that uses an OAuth refresh token (RFC 6749, section 6)."""

    def __init__(
        self,
        url: str,
        *,
        refresh_token: str | Secret,
        client_id: str,
        client_secret: str | Secret | None = None,
        on_refresh: Callable[[str], Awaitable[object]] | None = None,
        timeout: float = _TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
        allow_http: bool = False,
    ) -> None:
        """Keep the settings. Nothing is sent.

        Args:
            url: The token endpoint, such as `https://us.posthog.com/oauth/token/`.
            refresh_token: The refresh token.
            client_id: The id of the OAuth application.
            client_secret: Its secret, if it has one.
            on_refresh: An async function that gets the new refresh token, if the server has
                replaced it. Store it: the old one is no longer valid.
            timeout: Seconds for a request.
            transport: An httpx transport, for tests.
            allow_http: Allow plain `http://` to a host other than this machine.

        Raises:
            ConfigurationError: A setting is invalid.
        """
        parts = urlsplit(url)
        resolve_host(f"{parts.scheme}://{parts.netloc}", allow_http=allow_http)
        self._url = url
        self._refresh_token = _secret(refresh_token)
        self._client_id = client_id
        self._client_secret = None if client_secret is None else _secret(client_secret)
        self._on_refresh = on_refresh
        self._timeout = timeout
        self._transport = transport
        self._redactor = self._make_redactor()

    def __repr__(self) -> str:
        """Return the endpoint and the application."""
        return f"OAuthRefresh(url={self._url!r}, client_id={self._client_id!r})"

    def _make_redactor(self) -> Redactor:
        secrets = [self._refresh_token, *([self._client_secret] if self._client_secret else [])]
        return Redactor([secret.reveal() for secret in secrets])

    async def __call__(self) -> OAuthToken:
        """Return a new access token.

        Raises:
            AuthenticationError: The server refuses the refresh token, or does not answer.
        """
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._refresh_token.reveal(),
            "client_id": self._client_id,
        }
        if self._client_secret is not None:
            form["client_secret"] = self._client_secret.reveal()
        status, answer = await self._post(form)
        token = answer.get("access_token")
        if status != 200 or not isinstance(token, str) or not token:
            code = answer.get("error")
            reason = f"{status} {code}" if isinstance(code, str) else str(status)
            raise AuthenticationError(
                f"The OAuth token has expired and was not renewed: {shorten(reason, 100)}.",
                code=code if isinstance(code, str) else None,
                suggestion="The refresh token is no longer valid: the user has to sign in again."
                if code == "invalid_grant"
                else "Check the token endpoint, client_id= and client_secret=.",
            )
        replaced = answer.get("refresh_token")
        if isinstance(replaced, str) and replaced and replaced != self._refresh_token.reveal():
            self._refresh_token = _secret(replaced)
            self._redactor = self._make_redactor()
            if self._on_refresh is not None:
                await self._on_refresh(replaced)
        seconds = answer.get("expires_in")
        # Not isinstance: True is an instance of int.
        lifetime = float(cast("float", seconds)) if type(seconds) in {int, float} else None
        return OAuthToken(_secret(token), lifetime)

    async def _post(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        try:
            async with httpx.AsyncClient(
                transport=self._transport, timeout=self._timeout, follow_redirects=False
            ) as client:
                response = await client.post(self._url, data=form)
        except httpx.HTTPError as error:
            failure = type(error).__name__
        else:
            try:
                body: object = response.json() if len(response.content) < _MAX_BYTES else None
            except ValueError:
                body = None
            answer = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
            return response.status_code, answer
        # Outside of the handler: httpx's exception refers to the request, which has the secrets.
        raise AuthenticationError(
            f"The OAuth token has expired and was not renewed: {self._url} does not answer "
            f"({failure}).",
            suggestion="Try again later.",
        )


def _secret(value: str | Secret) -> Secret:
    return cast("Secret", validate_option("api_key", value))
