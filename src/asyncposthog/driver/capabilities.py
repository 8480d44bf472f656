"""What a driver can do, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["DriverCapabilities", "PaginationStyle"]


class PaginationStyle(Enum):
    """How a driver reads long lists."""

    CURSOR = "cursor"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverCapabilities:
    """What a driver can do with its key and its settings."""

    read: bool = True
    write: bool = True
    update: bool = True
    delete: bool = True
    batch_operations: bool = True
    """Whether `read_batched` and `capture_batch` work."""
    streaming: bool = True
    """Whether lists of any length are read in constant memory."""
    pagination: PaginationStyle = PaginationStyle.CURSOR
    query_language: str = "HogQL"
    max_page_size: int = 100
    """Records in one request. Longer reads make several requests."""
