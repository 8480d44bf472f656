"""HTTP requests and responses as plain values, and their conversion from and to ASGI."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol
from urllib.parse import parse_qsl, quote, urlencode

from asyncposthog.operation import Operation

__all__ = [
    "FIDELITY_HEADER",
    "ConnectionDropped",
    "DeferredBody",
    "Headers",
    "Request",
    "Response",
    "json_response",
    "text_response",
]

Headers = list[tuple[str, str]]

FIDELITY_HEADER: Final = "X-Emulator-Fidelity"
"""The response header that says where a response of the private API comes from.

- `stateful`: from the objects that the emulator stores;
- `schema`: a sample that is valid by the schema, but has nothing to do with stored objects;
- `error`: an error that the server would return as well;
- `fault`: an injected fault.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request whose body has been read completely."""

    method: str
    scheme: str
    host: str
    path: str
    """The path, percent-decoded, as Django sees it."""
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    """Header values by lower-case name; repeated headers are joined by commas."""
    content: bytes = b""
    client: str = "127.0.0.1"
    """The IP address of the client; empty if the ASGI server does not report it."""
    in_process: bool = False
    """Whether the client calls the emulator in its own process, not through a socket."""
    shuffle: int | None = None
    """The seed by which the rows of a list are shuffled before paging; None leaves their order."""

    @classmethod
    def from_scope(
        cls, scope: MutableMapping[str, Any], content: bytes, *, in_process: bool = False
    ) -> Request:
        """Return the request of an ASGI connection scope."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            text = value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        # latin-1 maps each byte to one character. `parse_qsl` then decodes %XX as UTF-8.
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        client = scope.get("client")
        return cls(
            method=scope["method"].upper(),
            scheme=scope.get("scheme", "http"),
            host=headers.get("host", "localhost"),
            path=scope["path"],
            query=tuple(query),
            headers=headers,
            content=content,
            client=client[0] if client else "",
            in_process=in_process,
        )

    def query_value(self, name: str) -> str | None:
        """Return the value of a query parameter; None if it is absent."""
        values = self.query_values(name)
        # Django's QueryDict returns the last value of a repeated parameter.
        return values[-1] if values else None

    def query_values(self, name: str) -> list[str]:
        """Return every value of a query parameter, in order."""
        return [value for key, value in self.query if key == name]

    def link(self, base: str | None, changes: Mapping[str, str | int | None]) -> str:
        """Return the URL of this request with changed query parameters.

        Args:
            base: Scheme and host of the URL; those of the request when None.
            changes: The parameters to set; None removes a parameter.
        """
        pairs = [(key, value) for key, value in self.query if key not in changes]
        pairs += [(key, str(value)) for key, value in changes.items() if value is not None]
        root = base.rstrip("/") if base is not None else f"{self.scheme}://{self.host}"
        query = f"?{urlencode(pairs)}" if pairs else ""
        return f"{root}{quote(self.path, safe='/@:')}{query}"


class DeferredBody(Protocol):
    """The part of a response that takes long to compute."""

    def run(self) -> tuple[int, bytes]:
        """Return the status and the body. Called in a worker thread."""
        ...

    def interrupt(self) -> None:
        """Make a running `run` raise soon. Called from another thread."""
        ...


@dataclass(slots=True)
class Response:
    """An HTTP response."""

    status: int
    content: bytes = b""
    media: str | None = "application/json"
    headers: Headers = field(default_factory=list[tuple[str, str]])
    deferred: DeferredBody | None = None
    """Computes status and body, in a thread and without the emulator's lock."""
    transport_fault: Literal["cut", "stall"] | None = None
    """Whether the connection is closed, or pauses, in the middle of the body."""
    operation: Operation | None = None
    """The operation of the private API that was called, if any."""

    def set_fidelity(self, fidelity: str) -> Response:
        """Set the fidelity header, replacing an earlier value; return this response."""
        self.headers = [(name, text) for name, text in self.headers if name != FIDELITY_HEADER]
        self.headers.append((FIDELITY_HEADER, fidelity))
        return self

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers in the form of ASGI, with `content-length` and `content-type`."""
        pairs = [("content-length", str(len(self.content)))]
        if self.media is not None and self.content:
            pairs.append(("content-type", self.media))
        pairs += self.headers
        return [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in pairs]


def json_response(status: int, data: Any, headers: Headers | None = None) -> Response:
    """Return a response with a JSON body."""
    # The format of Django REST framework: UTF-8 without escapes, and no spaces.
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, content, headers=list(headers or ()))


def text_response(status: int, text: str, media: str = "text/plain; charset=utf-8") -> Response:
    """Return a response with a text body."""
    return Response(status, text.encode(), media)


class ConnectionDropped(Exception):
    """Raised to close the connection before the response is complete."""

    def __init__(self, *, reset: bool = False, response_started: bool = False) -> None:
        super().__init__()
        self.reset = reset
        """Whether the connection is reset (RST) instead of closed (FIN)."""
        self.response_started = response_started
        """Whether part of the response has been sent."""
