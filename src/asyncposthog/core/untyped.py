"""Calls of endpoints that have no generated method."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import httpx

from asyncposthog.operation import Body, Operation, Owner, Result
from asyncposthog.types import OMIT

from .raw_response import response_json, response_text

__all__ = ["decode_untyped", "operation_for_path"]

_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_READ_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWNER_PLACEHOLDERS: Final[dict[str, Owner]] = {
    "{project_id}": "project",
    "{organization_id}": "organization",
}
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~{}"


def operation_for_path(
    method: object, path: object, base_url: str, files: Mapping[str, object] | None
) -> tuple[Operation, dict[str, object]]:
    """Return an operation for a method and a path, and the query parameters in the path.

    Args:
        method: An HTTP method.
        path: A path such as `/api/projects/{project_id}/…/`, or a URL of the client's host.
        base_url: The client's base URL.
        files: Files of a form, by field.

    Raises:
        TypeError: The method or the path is not a str.
        ValueError: The method is not supported, or the path is invalid or on another host.
    """
    if not isinstance(method, str) or not isinstance(path, str):
        raise TypeError("request() takes a method and a path, both str")
    operation, query = _parse(method, path, base_url, tuple(files or ()))
    return operation, {**query}


@lru_cache(maxsize=1024)
def _parse(
    method: str, path: str, base_url: str, files: tuple[str, ...]
) -> tuple[Operation, dict[str, object]]:
    # Cached: programs call the same paths again and again, and parsing one takes longer than
    # encoding it.
    http_method = method.upper()
    if http_method not in _METHODS:
        raise ValueError(f"request(): unsupported method {method!r}")
    bare_path, query = _split(path, base_url)
    writes = http_method not in _READ_METHODS
    if writes and "@current" in unquote(bare_path):
        raise ValueError(
            "request(): '@current' is whatever the owner of the key last opened in the browser, "
            "so it is not permitted for a write; use {project_id} for the client's own project"
        )
    placeholders = re.findall(r"\{[^{}]*\}", bare_path)
    if len(placeholders) > 1 or any(name not in _OWNER_PLACEHOLDERS for name in placeholders):
        raise ValueError(
            f"request(): {path!r} has unknown placeholders: only one {{project_id}} or "
            "{{organization_id}} is replaced"
        )
    operation = Operation(
        id="request",
        method=http_method,
        path=bare_path,
        owner=_OWNER_PLACEHOLDERS[placeholders[0]] if placeholders else None,
        body=Body(media="multipart", files=files) if files else Body(),
        result=Result(kind="json"),
        writes=writes,
    )
    return operation, query


def _split(path: str, base_url: str) -> tuple[str, dict[str, object]]:
    """Return the encoded path below the base URL, and its query parameters."""
    if re.search(r"[\x00-\x20\x7f\\]", path):
        raise ValueError(f"request(): {path!r} has spaces, control characters or a backslash")
    try:
        parts = urlsplit(path)
    except ValueError as error:
        raise ValueError(f"request(): {path!r} is not a path: {error}") from None
    client_url = urlsplit(base_url)
    bare_path = parts.path
    if parts.scheme or parts.netloc:
        if (parts.scheme, parts.netloc.lower()) != (client_url.scheme, client_url.netloc):
            raise ValueError(
                f"request(): {parts.netloc or path!r} is not the client's host ({base_url}); "
                "give the path alone"
            )
        bare_path = bare_path.removeprefix(client_url.path)
    if not bare_path.startswith("/"):
        raise ValueError(f"request(): the path {path!r} must begin with a slash")
    segments = unquote(bare_path).split("/")
    if any(s in {".", ".."} for s in segments) or "//" in bare_path or parts.fragment:
        raise ValueError(f"request(): {path!r} has empty or dot segments, or a fragment")
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        query.setdefault(name, []).append(value)
    return quote(bare_path, safe=_PATH_CHARACTERS), {**query}


def multipart_fields(body: object, files: Mapping[str, object]) -> dict[str, object]:
    """Return the fields and files of a form in one mapping."""
    if body is OMIT or body is None:
        return dict(files)
    if not isinstance(body, Mapping):
        raise TypeError("request(): with files, body must be a mapping of the form's other fields")
    return {**cast("Mapping[str, object]", body), **files}


def decode_untyped(operation: Operation, response: httpx.Response) -> Any:
    """Return a body by its content type: JSON data, text, bytes, or None if it is empty."""
    if not response.content:
        return None
    media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media in {"", "application/json"} or media.endswith("+json"):
        return response_json(operation, response)
    return response_text(response) if media.startswith("text/") else response.content
