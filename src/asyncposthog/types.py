"""Types that are used in signatures."""

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
"""Any JSON value; the schema does not define its structure."""

Id: TypeAlias = int | str | UUID
"""An identifier in a URL path. It is validated and percent-encoded."""

Timestamp: TypeAlias = datetime | date | str
"""A point in time. A `datetime` must be timezone-aware; a `str` is sent unchanged."""

Region: TypeAlias = Literal["us", "eu"]
"""A region of PostHog Cloud."""

KeyKind: TypeAlias = Literal["personal", "project", "project_secret", "oauth", "unprefixed"]
"""The kind of an API key, from its prefix."""

FileInput: TypeAlias = (
    bytes
    | IO[bytes]
    | os.PathLike[str]
    | tuple[str, bytes | IO[bytes]]
    | tuple[str, bytes | IO[bytes], str]
)
"""A file to upload: bytes, an open binary file, a path, or `(name, content[, media type])`."""


@final
class Omit:
    """The type of `OMIT`, of which there is one instance. It is falsy."""

    _instance: Omit | None = None

    def __new__(cls) -> Omit:
        """Return the only instance."""
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __bool__(self) -> Literal[False]:
        """Return False, for `value or default`."""
        return False

    def __repr__(self) -> str:
        """Return the name of the constant."""
        return "OMIT"

    def __reduce__(self) -> str:
        """Pickle by name, so that unpickling returns the same object."""
        return "OMIT"


OMIT: Final = Omit()
"""The default of optional arguments: the field is not sent. `None` is sent as null."""


class RequestOptions(TypedDict, total=False):
    """Settings of a single call, passed as `options={...}` to any generated method."""

    timeout: float | None
    """Seconds for one attempt; None: no limit."""
    deadline: float | None
    """Seconds for the whole call, waits and retries included; None: no limit."""
    max_retries: int
    """Retries after the first attempt."""
    idempotent: bool
    """Whether the call may be retried after it was possibly executed. Default: by operation."""
    headers: Mapping[str, str]
    """Headers to add or replace. `Authorization` and `Host` are not permitted."""
    query: Mapping[str, Any]
    """Query parameters to add or replace."""
    body: Mapping[str, Any]
    """Fields to add to, or replace in, a JSON object body."""
    project_id: int
    """A project id to use instead of the client's."""
    organization_id: str
    """An organization id (UUID) to use instead of the client's."""
    strict: bool
    """Whether to raise `DecodeError` for a response that does not match the schema."""
