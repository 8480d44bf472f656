"""How far a query in the background has come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

__all__ = ["OnProgress", "QueryProgress", "read_progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryProgress:
    """How far a query in the background has come."""

    query_id: str
    elapsed: float
    """Seconds since it was submitted."""
    started: bool
    """Whether it runs: until then it waits its turn."""
    rows_read: int = 0
    rows_total: int = 0
    """An estimate of how many will be read; 0: there is none yet."""
    bytes_read: int = 0


OnProgress: TypeAlias = Callable[[QueryProgress], "Awaitable[object] | object"]


def read_progress(query_id: str, status: Mapping[str, Any], elapsed: float) -> QueryProgress:
    """Return what the server says of a job.

    Args:
        query_id: The job.
        status: The server's `query_status`.
        elapsed: Seconds since it was submitted.
    """
    given = status.get("query_progress")
    read: Mapping[str, Any] = (
        cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else dict[str, Any]()
    )
    return QueryProgress(
        query_id=query_id,
        elapsed=elapsed,
        started=bool(status.get("pickup_time") or read.get("rows_read")),
        rows_read=read.get("rows_read") or 0,
        rows_total=read.get("estimated_rows_total") or 0,
        bytes_read=read.get("bytes_read") or 0,
    )
