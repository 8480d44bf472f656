"""Reading a `next` link: its parameters, and nothing else.

Host, scheme, path and credentials stay ours. The server builds the link from what a proxy lets it
see, so it may say `http://`, or name an internal host; and a key must never follow it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel

from asyncposthog.operation import Operation
from asyncposthog.redact import mask_target

from .state import Call, PageState, failure

__all__ = ["follow"]

_CREDENTIALS: Final = frozenset(
    {
        "access_token",
        "api_key",
        "personal_api_key",
        "project_api_key",
        "sharing_access_token",
        "temporary_token",
        "token",
    }
)


def follow(call: Call, state: PageState, link: object) -> PageState:
    """Return the state of the page that a `next` link leads to.

    Its parameters win over ours; those that it does not mention stay.

    Raises:
        PaginationError: It is not a link, or leads to another resource.
    """
    if not isinstance(link, str):
        raise failure(call.operation, f"`next` is not a link but {_kind(link)}")
    try:
        parts = urlsplit(link)
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise failure(call.operation, "`next` is not a valid link") from None
    if not _same_resource(call.operation, parts.path):
        raise failure(
            call.operation,
            f"`next` leads to another resource: {mask_target(parts.path)[:200]}",
            "A proxy may be rewriting links wrongly.",
        )
    parameters: dict[str, str | list[str]] = {}
    for name, value in pairs:
        before = parameters.get(name)
        if before is None:
            parameters[name] = value
        else:
            parameters[name] = [*before, value] if isinstance(before, list) else [before, value]
    taken = _taken(call, parameters)
    return PageState({**state.query, **taken}, state.after)


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _taken(call: Call, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters to send: not credentials, and not what only we can encode."""
    own = call.query or {}
    presence_only = {p.name for p in call.operation.query_parameters if p.presence_only}
    return {
        name: value
        for name, value in parameters.items()
        if name not in presence_only
        and not (name in _CREDENTIALS and name not in own)
        # The server only repeats these, in its own encoding.
        and not isinstance(own.get(name), list | tuple | set | frozenset | Mapping | BaseModel)
    }


def _same_resource(operation: Operation, path: str) -> bool:
    """Compare the end of a path with the operation's: a proxy may change how it begins."""
    found = [segment for segment in path.split("/") if segment]
    if not found:
        return True
    tail = _tail(operation)
    if any(p.multi_segment for p in operation.path_parameters):
        tail = tail[-1:]
    if len(found) < len(tail):
        return False
    ends = found[len(found) - len(tail) :]
    return all(
        ours.startswith("{") or ours == theirs for ours, theirs in zip(tail, ends, strict=True)
    )


def _tail(operation: Operation) -> list[str]:
    """Return the segments of the path after the project or organization."""
    segments = [segment for segment in operation.path.split("/") if segment]
    if operation.owner is None:
        return segments[1:] or segments
    first = next((i for i, s in enumerate(segments) if s.startswith("{")), -1)
    return segments[first + 1 :] or segments[-1:]
