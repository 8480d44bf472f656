"""Query results as JSON bytes, assembled into response bodies without parsing them again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Result", "encode_json", "json_object"]


def encode_json(value: Any) -> bytes:
    """Encode a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def json_object(name: str, value: bytes, rest: Mapping[str, Any]) -> bytes:
    """Return a JSON object whose first field is already encoded."""
    # The rows may be many megabytes: they are joined as bytes, not parsed and encoded again.
    tail = encode_json(dict(rest))
    return b"".join([b'{"', name.encode(), b'":', value, b"," if len(tail) > 2 else b"", tail[1:]])


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a query, without the fields that caching adds to the response."""

    rows: bytes
    """The encoded value of `results`, or of `field`."""
    head: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """The other fields."""
    count: int = 0
    field: str = "results"

    def body(self, more: Mapping[str, Any]) -> bytes:
        """Return the response body with additional fields."""
        return json_object(self.field, self.rows, {**self.head, **more})
