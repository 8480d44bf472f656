"""Requests and answers as plain values, and the way between them and ASGI."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol
from urllib.parse import parse_qsl, quote, urlencode

from asyncposthog.operation import Operation

__all__ = [
    "FIDELITY",
    "Answer",
    "ConnectionDropped",
    "Headers",
    "Later",
    "Request",
    "json_answer",
    "text_answer",
]

Headers = list[tuple[str, str]]

FIDELITY: Final = "X-Emulator-Fidelity"
"""The header by which an answer of the private API says what it is worth: `stateful` (from what is
held), `schema` (right by the schema, made up otherwise), `refused` (an error the server would
answer with) or `fault` (misbehaviour that was asked for)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, its body fully read."""

    method: str
    scheme: str
    host: str
    path: str
    """The path, percent-decoded, as the server's own framework sees it."""
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    """By lower-case name."""
    content: bytes = b""
    client: str = "127.0.0.1"
    """The address it came from."""
    shuffle: int | None = None
    """Show a list's rows in the order this number gives, whatever order is asked for."""

    @classmethod
    def from_scope(cls, scope: MutableMapping[str, Any], content: bytes) -> Request:
        """Read an ASGI connection scope."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            text = value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
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
        )

    def value(self, name: str) -> str | None:
        """The last value of a query parameter, as Django takes it."""
        found = [value for key, value in self.query if key == name]
        return found[-1] if found else None

    def values(self, name: str) -> list[str]:
        """Every value of a query parameter."""
        return [value for key, value in self.query if key == name]

    def link(self, base: str | None, changes: Mapping[str, str | int | None]) -> str:
        """This request's URL with some query parameters set, or dropped where None.

        Args:
            base: Scheme and host to claim; those of the request when None.
            changes: The parameters to set.
        """
        kept = [(key, value) for key, value in self.query if key not in changes]
        kept += [(key, str(value)) for key, value in changes.items() if value is not None]
        root = base.rstrip("/") if base is not None else f"{self.scheme}://{self.host}"
        query = f"?{urlencode(kept)}" if kept else ""
        return f"{root}{quote(self.path, safe='/@:')}{query}"


class Later(Protocol):
    """The rest of an answer, which takes its time."""

    def run(self) -> tuple[int, bytes]:
        """Make status and body."""
        ...

    def interrupt(self) -> None:
        """Give up; `run` raises soon."""
        ...


@dataclass(slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    content: bytes = b""
    media: str | None = "application/json"
    headers: Headers = field(default_factory=list[tuple[str, str]])
    later: Later | None = None
    """What makes status and body; run in a thread, outside of the emulator's lock."""
    breaks: Literal["cut", "stall"] | None = None
    """Whether it breaks off, or hangs, in the middle of the body."""
    operation: Operation | None = None
    """What was carried out, if it was an operation of the private API."""

    def mark(self, fidelity: str) -> Answer:
        """Let it say what it is worth, whatever it said before."""
        self.headers = [(name, text) for name, text in self.headers if name != FIDELITY]
        self.headers.append((FIDELITY, fidelity))
        return self

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI wants them, length and type included."""
        pairs = [("content-length", str(len(self.content)))]
        if self.media is not None and self.content:
            pairs.append(("content-type", self.media))
        pairs += self.headers
        return [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in pairs]


def json_answer(status: int, data: Any, headers: Headers | None = None) -> Answer:
    """An answer whose body is JSON."""
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, content, headers=list(headers or ()))


def text_answer(status: int, text: str, media: str = "text/plain; charset=utf-8") -> Answer:
    """An answer whose body is text."""
    return Answer(status, text.encode(), media)


class ConnectionDropped(Exception):
    """The connection is to be lost before the answer is complete."""

    def __init__(self, *, reset: bool = False, begun: bool = False) -> None:
        super().__init__()
        self.reset = reset
        """Whether by a reset (RST), rather than closed in good order."""
        self.begun = begun
        """Whether part of the answer has been sent."""
