"""The connections of a gateway account to PostHog, which its control server manages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, cast
from urllib.parse import quote

import httpx

from asyncposthog.config import Secret
from asyncposthog.errors import (
    AuthenticationError,
    ConnectionError,  # noqa: A004
    DecodeError,
    RequestInfo,
    TimeoutError,  # noqa: A004
)
from asyncposthog.errors.from_response import error_from_response
from asyncposthog.errors.suggestions import ErrorContext
from asyncposthog.hosts import resolve_host
from asyncposthog.operation import Operation
from asyncposthog.redact import Redactor, Unpicklable

__all__ = ["Connection", "Connections"]

Status: TypeAlias = Literal["ACTIVE", "PENDING", "FAILED"]

_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A connection to PostHog. The `repr` does not show its URL, which is a credential."""

    id: str
    status: str
    """`ACTIVE`, `PENDING` until the user has opened the URL, or `FAILED`."""
    url: str | None = field(default=None, repr=False)
    """The page on which the user connects a PostHog account. Open it in a browser."""
    app: str = "posthog"
    created_at: datetime | None = None
    updated_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def is_active(self) -> bool:
        """Whether calls can use it."""
        return self.status == "ACTIVE"


class Connections(Unpicklable):
    """The connections of an account. Each call opens and closes its own connection."""

    def __init__(
        self,
        key: Secret,
        url: str,
        *,
        app: str,
        transport: httpx.AsyncBaseTransport | None = None,
        allow_http: bool = False,
    ) -> None:
        """Keep the settings. Nothing is sent.

        Args:
            key: The API key of the gateway.
            url: The base URL of the control server.
            app: The name of PostHog at the gateway.
            transport: An httpx transport, for tests.
            allow_http: Allow plain `http://` to a host other than this machine.
        """
        self._key = key
        self._url = resolve_host(url, allow_http=allow_http).app
        self._app = app
        self._transport = transport
        self._redactor = Redactor([key.reveal()])

    def __repr__(self) -> str:
        """Return the address, without the key."""
        return f"Connections({self._url!r})"

    async def list(self, status: Status | None = "ACTIVE") -> list[Connection]:
        """Return the connections, the oldest first.

        Args:
            status: Only connections in this status; None: all.

        Raises:
            PostHogError: The call failed.
        """
        query = {"app": self._app, **({} if status is None else {"status": status})}
        body = await self._call("GET", "/connections", query=query)
        found = [self._parse(item) for item in cast("list[Any]", body.get("connections") or [])]
        return sorted(found, key=lambda c: (c.created_at is None, str(c.created_at)))

    async def create(self) -> Connection:
        """Make a connection, and return it. The user has to open its `url` to complete it.

        Raises:
            PostHogError: The call failed.
        """
        body = await self._call("POST", "/connections", body={"app": self._app})
        connection = self._parse(body.get("connection", body))
        # The URL may be part of the connection only, and not of the answer to this call.
        return connection if connection.url is not None else await self.get(connection.id)

    async def get(self, id: str) -> Connection:
        """Return a connection.

        Raises:
            NotFoundError: There is none with this id.
            PostHogError: The call failed.
        """
        body = await self._call("GET", "/connections/{id}", id)
        return self._parse(body.get("connection", body))

    async def delete(self, id: str) -> None:
        """Delete a connection. Calls that use it fail from now on.

        Raises:
            NotFoundError: There is none with this id.
            PostHogError: The call failed.
        """
        await self._call("DELETE", "/connections/{id}", id)

    def _parse(self, value: object) -> Connection:
        facts = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        identifier = facts.get("connection_id")
        if not isinstance(identifier, str) or not identifier:
            raise DecodeError(
                f"The answer of {self._url} has no connection.",
                suggestion="The gateway may have changed; look at its documentation.",
            )
        url, metadata = facts.get("url"), facts.get("metadata")
        return Connection(
            id=identifier,
            status=str(facts.get("status") or "PENDING"),
            url=url if isinstance(url, str) and url else None,
            app=str(facts.get("app") or self._app),
            created_at=_time(facts.get("creation_time")),
            updated_at=_time(facts.get("last_updated_time")),
            metadata=MappingProxyType(
                cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}
            ),
        )

    async def _call(
        self,
        method: str,
        path: str,
        *values: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> dict[str, Any]:
        target = path
        for value in values:
            if not value or value in {".", ".."}:
                raise ValueError("the id of a connection must not be empty")
            target = target.replace("{id}", quote(value, safe=""))
        info = RequestInfo(method, target)
        operation = Operation(
            id=f"connections.{method.lower()}", method=method, path=path, owner=None
        )
        failure: httpx.HTTPError | None = None
        response: httpx.Response | None = None
        try:
            async with httpx.AsyncClient(
                transport=self._transport, timeout=_TIMEOUT, follow_redirects=False
            ) as client:
                response = await client.request(
                    method,
                    self._url + target,
                    params=query,
                    json=body,
                    headers={"Authorization": f"Bearer {self._key.reveal()}"},
                )
        except httpx.HTTPError as error:
            failure = error
        if response is None:
            # Outside of the handler: httpx's exception refers to the request, which has the key.
            late = isinstance(failure, httpx.TimeoutException)
            kind = TimeoutError if late else ConnectionError
            reason, failure = type(failure).__name__, None
            raise kind(
                f"{self._url} does not answer: {reason}.",
                operation=operation.id,
                request=info,
                suggestion="Check the network. A call that makes a connection may have made it.",
            )
        if response.status_code >= 300:
            error = error_from_response(
                operation,
                info,
                response.status_code,
                response.headers,
                response.content,
                ErrorContext(app=self._url, region=None, redact=self._redactor),
            )
            if isinstance(error, AuthenticationError):
                error.suggestion = "Check the API key of the gateway (MATON_API_KEY)."
            raise error
        try:
            answer: object = response.json() if response.content else {}
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise DecodeError(
                f"The answer of {self._url} is not a JSON object.",
                operation=operation.id,
                request=info,
                status=response.status_code,
            )
        return cast("dict[str, Any]", answer)


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
