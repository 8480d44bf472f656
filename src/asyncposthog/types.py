"""The small vocabulary every signature is written in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date, datetime
from typing import IO, Any, Final, Literal, TypeAlias, TypedDict, final
from uuid import UUID

__all__ = [
    "JSON",
    "OMIT",
    "FileInput",
    "Id",
    "KeyKind",
    "Omit",
    "Region",
    "RequestOptions",
    "Timestamp",
]

JSON: TypeAlias = Any
"""Any JSON value: the schema says nothing about its shape."""

Id: TypeAlias = int | str | UUID
"""What may stand in a URL path. It is checked and percent-encoded before it is sent."""

Timestamp: TypeAlias = datetime | date | str
"""A moment. A `datetime` has to carry its zone; a `str` is sent as it is."""

Region: TypeAlias = Literal["us", "eu"]
"""A region of PostHog Cloud."""

KeyKind: TypeAlias = Literal["personal", "project", "project_secret", "oauth", "unprefixed"]
"""What an API key is, by its prefix."""

FileInput: TypeAlias = (
    bytes
    | IO[bytes]
    | os.PathLike[str]
    | tuple[str, bytes | IO[bytes]]
    | tuple[str, bytes | IO[bytes], str]
)
"""A file to upload: its bytes, an open file, a path, or `(name, content[, media type])`."""


@final
class Omit:
    """The type of `OMIT`. There is one instance, and it is falsy."""

    _instance: Omit | None = None

    def __new__(cls) -> Omit:
        """Return the one instance."""
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __bool__(self) -> Literal[False]:
        """Be falsy, so that `value or default` reads naturally."""
        return False

    def __repr__(self) -> str:
        """Read as the name users write."""
        return "OMIT"

    def __reduce__(self) -> str:
        """Survive pickling as the same object."""
        return "OMIT"


OMIT: Final = Omit()
"""The default of every optional argument: leave the field out. `None` is sent as null."""


class RequestOptions(TypedDict, total=False):
    """What one call may do differently from its client.

    Every generated method takes these as `options={...}`.
    """

    timeout: float | None
    """Seconds one attempt may take; `None` waits for ever."""
    deadline: float | None
    """Seconds the whole call may take, waits and retries included."""
    max_retries: int
    """Repeats after the first attempt."""
    idempotent: bool
    """Whether repeating the call is harmless, whatever its method says."""
    headers: Mapping[str, str]
    """Headers added to, or put in place of, our own. `Authorization` and `Host` are refused."""
    query: Mapping[str, Any]
    """Query parameters added to, or put in place of, those of the call."""
    body: Mapping[str, Any]
    """Fields merged into a JSON object body."""
    project_id: int
    """The project to use in place of the client's."""
    organization_id: str
    """The organization (a UUID) to use in place of the client's."""
    strict: bool
    """Whether an answer that departs from the schema is an error."""
