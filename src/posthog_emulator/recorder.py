"""What an emulator remembers of the requests it saw, without their credentials."""

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
from posthog_emulator.schema.forms import Form, Upload, read_form

__all__ = ["RecordedRequest", "Requests", "noted", "recorded"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_FIELDS = frozenset({"personal_api_key", "secret_api_key"})


@dataclass(slots=True)
class RecordedRequest:
    """One request, as it came."""

    method: str
    path: str
    query: dict[str, str | list[str]]
    """By name; a list where a parameter was repeated."""
    headers: dict[str, str]
    """By lower-case name, without credentials."""
    body: Any
    """The JSON value, or the fields of a form; None when there was none or it was unreadable."""
    files: Mapping[str, Upload] = field(default_factory=dict[str, Upload])
    status: int = 0
    """What it was answered with; 0 when the connection was dropped."""
    operation: str | None = None
    """The id of the operation it reached."""
    at: datetime = _EPOCH
    """When it came, by the emulator's clock."""
    seconds: float = 0.0
    """How long it took, delays included, by a clock nobody can turn."""
    size: int = field(default=0, repr=False, compare=False)
    """Bytes of what is kept of it, as they came."""


_MOST_BYTES: Final = 16 * MIB


class Requests(list[RecordedRequest]):
    """The latest requests, in the order they came, bounded in number and in bytes."""

    _bytes: int = 0

    def add(self, request: RecordedRequest, most: int) -> None:
        """Add a request, and drop the oldest ones beyond the bounds. The newest one stays.

        Args:
            request: The request.
            most: How many requests to keep.
        """
        self.append(request)
        del self[:-most]
        self._bytes += request.size
        if self._bytes <= _MOST_BYTES:
            return
        # The list may have been changed from outside: count again, and make some room.
        self._bytes = sum(one.size for one in self)
        dropped = 0
        while self._bytes > _MOST_BYTES * 3 // 4 and dropped < len(self) - 1:
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
        """Those that are alike in all that is given.

        Args:
            method: The method.
            path: A shell-style pattern of the path: `*/cohorts/*`.
            operation: The operation's id, or a shell-style pattern of it: `cohorts.*`.
            status: The status it was answered with; 0 when the connection was dropped.
        """
        return [
            request
            for request in self
            if (method is None or request.method == method.upper())
            and (path is None or fnmatchcase(request.path, path))
            and (operation is None or fnmatchcase(request.operation or "", operation))
            and (status is None or request.status == status)
        ]


def recorded(request: Request) -> tuple[RecordedRequest, Form | ApiError]:
    """Take down a request.

    Returns:
        The record, and the body, or what makes it unreadable.
    """
    try:
        form: Form | ApiError = read_form(request)
    except ApiError as problem:
        form = problem
    return _record(request, form, len(request.content)), form


def noted(request: Request) -> RecordedRequest:
    """Take down a request to a public path, whose body may be anything and is not kept."""
    return _record(request, Form(), 0)


def _record(request: Request, form: Form | ApiError, size: int) -> RecordedRequest:
    query: dict[str, str | list[str]] = {}
    for name, value in request.query:
        if name in _FIELDS:
            continue
        held = query.get(name)
        if held is None:
            query[name] = value
        else:
            query[name] = [*held, value] if isinstance(held, list) else [held, value]
    return RecordedRequest(
        method=request.method,
        path=request.path,
        query=query,
        headers={k: v for k, v in request.headers.items() if k not in _HEADERS},
        body=_without_keys(form.data) if isinstance(form, Form) else None,
        files=form.files if isinstance(form, Form) else {},
        size=size
        + sum(len(name) + len(value) for name, value in request.query)
        + sum(len(name) + len(value) for name, value in request.headers.items()),
    )


def _without_keys(body: Any) -> Any:
    if not is_object(body):
        return body
    fields = body
    return {name: value for name, value in fields.items() if name not in _FIELDS}
