"""The log of received requests, without their credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from posthog_emulator.http.errors import ApiError
from posthog_emulator.http.messages import Request
from posthog_emulator.json_types import is_object
from posthog_emulator.retention import MIB
from posthog_emulator.schema.request_body import RequestBody, Upload, parse_body

__all__ = ["RecordedRequest", "RequestLog", "record_public_request", "record_request"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_SECRET_FIELDS = frozenset({"personal_api_key", "secret_api_key"})


@dataclass(slots=True)
class RecordedRequest:
    """A received request and the outcome of it."""

    method: str
    path: str
    query: dict[str, str | list[str]]
    """Query parameters by name; a list where a parameter was repeated."""
    headers: dict[str, str]
    """Headers by lower-case name, without credentials."""
    body: Any
    """The JSON value or the form fields; None without a body, or if it could not be parsed."""
    files: Mapping[str, list[Upload]] = field(default_factory=dict[str, list[Upload]])
    status: int = 0
    """The status of the response; 0 if the connection was dropped."""
    operation: str | None = None
    """The id of the operation that was called, for example `cohorts.list`."""
    refused_generated: bool = False
    """Whether `strict_fidelity` refused it: the response would be generated from the schema."""
    at: datetime = _EPOCH
    """The time of arrival, by the emulator's clock."""
    seconds: float = 0.0
    """The duration, injected latency included, by the monotonic system clock."""
    size: int = field(default=0, repr=False, compare=False)
    """Bytes of body, query and headers, for the bound of `RequestLog`."""


_MAX_BYTES: Final = 16 * MIB


class RequestLog(list[RecordedRequest]):
    """The latest requests in order of arrival, bounded in number and in bytes."""

    _bytes: int = 0

    def add(self, request: RecordedRequest, max_items: int) -> None:
        """Append a request and drop the oldest ones beyond the bounds.

        The newest request is kept whatever its size.

        Args:
            request: The request.
            max_items: The number of requests to keep.
        """
        self.append(request)
        del self[:-max_items]
        self._bytes += request.size
        if self._bytes <= _MAX_BYTES:
            return
        # This is a public list that users may clear or slice, so `_bytes` is only an upper bound:
        # count again. Drop down to three quarters, so that this happens once in many requests.
        self._bytes = sum(item.size for item in self)
        dropped = 0
        while self._bytes > _MAX_BYTES * 3 // 4 and dropped < len(self) - 1:
            self._bytes -= self[dropped].size
            dropped += 1
        del self[:dropped]

    def matching(
        self,
        *,
        method: str | None = None,
        path: str | None = None,
        operation: str | None = None,
        status: int | None = None,
    ) -> list[RecordedRequest]:
        """Return the requests that match all given arguments.

        Args:
            method: The HTTP method, in any case.
            path: A shell-style pattern of the path: `*/cohorts/*`.
            operation: The id of the operation, or a shell-style pattern of it: `cohorts.*`.
            status: The status of the response; 0 for dropped connections.
        """
        return [
            request
            for request in self
            if (method is None or request.method == method.upper())
            and (path is None or fnmatchcase(request.path, path))
            and (operation is None or fnmatchcase(request.operation or "", operation))
            and (status is None or request.status == status)
        ]


def record_request(request: Request) -> tuple[RecordedRequest, RequestBody | ApiError]:
    """Return a record of a request to the private API.

    Returns:
        The record, and the parsed body or the error of parsing it. The error is not raised here
        because routing and authentication come first on the server.
    """
    try:
        body: RequestBody | ApiError = parse_body(request)
    except ApiError as error:
        body = error
    return _record(request, body, len(request.content)), body


def record_public_request(request: Request) -> RecordedRequest:
    """Return a record of a request to a public path such as `/batch`, without its body.

    Such bodies may be compressed or encoded in many ways, and the events in them are stored.
    """
    return _record(request, RequestBody(), 0)


def _record(request: Request, body: RequestBody | ApiError, size: int) -> RecordedRequest:
    query: dict[str, str | list[str]] = {}
    for name, value in request.query:
        # The server accepts keys in query strings and bodies as well as in headers.
        if name in _SECRET_FIELDS:
            continue
        earlier = query.get(name)
        if earlier is None:
            query[name] = value
        else:
            query[name] = [*earlier, value] if isinstance(earlier, list) else [earlier, value]
    return RecordedRequest(
        method=request.method,
        path=request.path,
        query=query,
        headers={k: v for k, v in request.headers.items() if k not in _SECRET_HEADERS},
        body=_without_secrets(body.data) if isinstance(body, RequestBody) else None,
        files=body.files if isinstance(body, RequestBody) else {},
        size=size
        + sum(len(name) + len(value) for name, value in request.query)
        + sum(len(name) + len(value) for name, value in request.headers.items()),
    )


def _without_secrets(data: Any) -> Any:
    if not is_object(data):
        return data
    return {name: value for name, value in data.items() if name not in _SECRET_FIELDS}
