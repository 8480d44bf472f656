"""Parse a `next` link: use its query parameters, and nothing else.

Scheme, host, path and credentials of the first request are kept. The server builds the link from
what a proxy passes on, so the link may have the scheme `http` or an internal host, and the API key
must not be sent there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel

from asyncposthog.operation import Operation
from asyncposthog.redact import mask_target

from .state import ListCall, PageState, pagination_error

__all__ = ["state_from_link"]

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


def state_from_link(call: ListCall, state: PageState, link: object) -> PageState:
    """Return the state of the page that a `next` link leads to.

    Parameters of the link replace those of the call; other parameters of the call are kept.

    Raises:
        PaginationError: The value is not a link, or leads to another resource.
    """
    if not isinstance(link, str):
        raise pagination_error(call.operation, f"`next` is not a link but {_with_article(link)}")
    try:
        parts = urlsplit(link)
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise pagination_error(call.operation, "`next` is not a valid link") from None
    if not _same_resource(call.operation, parts.path):
        raise pagination_error(
            call.operation,
            f"`next` leads to another resource: {mask_target(parts.path)[:200]}",
            "A proxy may be rewriting links wrongly.",
        )
    parameters: dict[str, str | list[str]] = {}
    for name, value in pairs:
        earlier = parameters.get(name)
        if earlier is None:
            parameters[name] = value
        else:
            parameters[name] = [*earlier, value] if isinstance(earlier, list) else [earlier, value]
    accepted = _accepted_parameters(call, parameters)
    return PageState({**state.query, **accepted}, state.after)


def _with_article(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _accepted_parameters(call: ListCall, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a link that may be sent."""
    own = call.query or {}
    presence_only = {p.name for p in call.operation.query_parameters if p.presence_only}
    return {
        name: value
        for name, value in parameters.items()
        if name not in presence_only
        # A credential in a link is never sent on, unless the caller passed that parameter.
        and not (name in _CREDENTIALS and name not in own)
        # The link repeats structured values in an encoding of the server's own.
        and not isinstance(own.get(name), list | tuple | set | frozenset | Mapping | BaseModel)
    }


def _same_resource(operation: Operation, path: str) -> bool:
    """Return whether the end of a path is that of the operation."""
    # Only the end: a proxy may serve PostHog below a prefix, which the link may lack or repeat.
    segments = [segment for segment in path.split("/") if segment]
    if not segments:
        return True
    tail = _path_suffix(operation)
    if any(p.multi_segment for p in operation.path_parameters):
        tail = tail[-1:]
    if len(segments) < len(tail):
        return False
    end = segments[len(segments) - len(tail) :]
    return all(
        expected.startswith("{") or expected == actual
        for expected, actual in zip(tail, end, strict=True)
    )


def _path_suffix(operation: Operation) -> list[str]:
    """Return the segments of an operation's path after the project or organization."""
    segments = [segment for segment in operation.path.split("/") if segment]
    if operation.owner is None:
        return segments[1:] or segments
    first = next((i for i, s in enumerate(segments) if s.startswith("{")), -1)
    return segments[first + 1 :] or segments[-1:]
