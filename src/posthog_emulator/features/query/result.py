"""What a query found, as JSON that is put together without being read again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Result", "encode_json", "json_object"]


def encode_json(value: Any) -> bytes:
    """A value as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def json_object(name: str, value: bytes, rest: Mapping[str, Any]) -> bytes:
    """A JSON object whose first field is JSON already."""
    tail = encode_json(dict(rest))
    return b"".join([b'{"', name.encode(), b'":', value, b"," if len(tail) > 2 else b"", tail[1:]])


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a query, but for what caching adds."""

    rows: bytes
    """The value of `results`, or of another field."""
    head: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """The other fields."""
    count: int = 0
    field: str = "results"

    def body(self, more: Mapping[str, Any]) -> bytes:
        """The answer, with more fields."""
        return json_object(self.field, self.rows, {**self.head, **more})
