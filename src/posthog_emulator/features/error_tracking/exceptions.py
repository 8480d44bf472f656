"""What an `$exception` event says about its issue, as pure functions of its properties."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from posthog_emulator.json_types import as_object, is_array

__all__ = ["ExceptionSummary", "summarize"]


class ExceptionSummary(NamedTuple):
    """The fingerprint of an exception, and the name and description of a new issue for it."""

    fingerprint: str
    name: str
    description: str
    types: list[str]
    """The types of the exception and of those that caused it."""
    values: list[str]
    """Their messages."""


def summarize(properties: Mapping[str, Any]) -> ExceptionSummary:
    """Return the summary of an exception.

    A fingerprint of the client wins. Otherwise exceptions have the same fingerprint if their
    types and the functions of their stack are the same; without a stack, if their types and
    messages are.

    Args:
        properties: The properties of the event.
    """
    listed: Any = properties.get("$exception_list")
    if isinstance(listed, str):
        listed = _parse(listed)
    chain = [as_object(item) for item in listed] if is_array(listed) else []
    if not chain:
        # Older SDKs send one exception in separate properties.
        chain = [
            {
                "type": properties.get("$exception_type"),
                "value": properties.get("$exception_message"),
            }
        ]
    types = [str(item.get("type") or "Error") for item in chain]
    values = [str(item.get("value") or "") for item in chain]
    custom = properties.get("$exception_fingerprint")
    fingerprint = custom if isinstance(custom, str) and custom else _fingerprint(chain)
    name = properties.get("$issue_name")
    description = properties.get("$issue_description")
    return ExceptionSummary(
        fingerprint,
        name if isinstance(name, str) and name else types[0],
        description if isinstance(description, str) and description else values[0],
        types,
        values,
    )


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _fingerprint(chain: list[dict[str, Any]]) -> str:
    parts: list[Any] = []
    for item in chain:
        stack = as_object(item.get("stacktrace")).get("frames")
        frames = [as_object(frame) for frame in stack] if is_array(stack) else []
        # Frames of libraries change with every update; they count only if there are no others.
        own = [frame for frame in frames if frame.get("in_app")] or frames
        where = [
            [frame.get("filename") or frame.get("module"), frame.get("function")] for frame in own
        ]
        parts.append([item.get("type"), where or item.get("value")])
    return hashlib.sha512(json.dumps(parts, default=str).encode()).hexdigest()
