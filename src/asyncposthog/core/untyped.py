"""Calls to paths that no generated method has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import httpx

from asyncposthog.operation import Body, Operation, Owner, Result
from asyncposthog.types import OMIT

from .raw_response import as_text, load_json

__all__ = ["adhoc", "read"]

_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ROOTS: Final[dict[str, Owner]] = {"{project_id}": "project", "{organization_id}": "organization"}
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~{}"


def adhoc(
    method: object, path: object, base: str, files: Mapping[str, object] | None
) -> tuple[Operation, dict[str, object]]:
    """Return the operation that a method and a path stand for, and the query in the path.

    Args:
        method: An HTTP method.
        path: Below the host, as `/api/projects/{project_id}/…/`; or a whole URL of this host.
        base: The client's base URL.
        files: Files of a form, by field.

    Raises:
        TypeError: Method or path is no str.
        ValueError: The path leads elsewhere.
    """
    if not isinstance(method, str) or not isinstance(path, str):
        raise TypeError("request() takes a method and a path, both str")
    verb = method.upper()
    if verb not in _METHODS:
        raise ValueError(f"request(): there is no method {method!r}")
    bare, query = _split(path, base)
    writes = verb not in _READS
    if writes and "@current" in unquote(bare):
        raise ValueError(
            "request(): '@current' follows whatever its user last opened in the browser, so it is "
            "never used for a write; write {project_id} and the client's own is filled in"
        )
    found = re.findall(r"\{[^{}]*\}", bare)
    if len(found) > 1 or any(name not in _ROOTS for name in found):
        raise ValueError(
            f"request(): {path!r} has placeholders: only one {{project_id}} or {{organization_id}} "
            "is filled in"
        )
    operation = Operation(
        id="request",
        method=verb,
        path=bare,
        root=_ROOTS[found[0]] if found else "instance",
        body=Body(media="multipart", files=tuple(files)) if files else Body(),
        result=Result(kind="json"),
        writes=writes,
    )
    return operation, query


def _split(path: str, base: str) -> tuple[str, dict[str, object]]:
    """Return the path below the base URL, encoded, and its query."""
    if re.search(r"[\x00-\x20\x7f\\]", path):
        raise ValueError(f"request(): {path!r} has spaces, control characters or a backslash")
    try:
        parts = urlsplit(path)
    except ValueError as error:
        raise ValueError(f"request(): {path!r} is no path: {error}") from None
    own = urlsplit(base)
    bare = parts.path
    if parts.scheme or parts.netloc:
        if (parts.scheme, parts.netloc.lower()) != (own.scheme, own.netloc):
            raise ValueError(
                f"request(): {parts.netloc or path!r} is not the client's host ({base}); "
                "give the path alone"
            )
        bare = bare.removeprefix(own.path)
    if not bare.startswith("/"):
        raise ValueError(f"request(): the path {path!r} must begin with a slash")
    segments = unquote(bare).split("/")
    if any(s in {".", ".."} for s in segments) or "//" in bare or parts.fragment:
        raise ValueError(f"request(): {path!r} has empty or dot segments, or a fragment")
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        query.setdefault(name, []).append(value)
    return quote(bare, safe=_PATH_CHARACTERS), {**query}


def form(body: object, files: Mapping[str, object]) -> dict[str, object]:
    """Return the fields and the files of a form in one mapping."""
    if body is OMIT or body is None:
        return dict(files)
    if not isinstance(body, Mapping):
        raise TypeError("request(): with files, body must be a mapping of the form's other fields")
    return {**cast("Mapping[str, object]", body), **files}


def read(operation: Operation, response: httpx.Response) -> Any:
    """Return a body as its content type says: plain data, text, bytes, or None if it is empty."""
    if not response.content:
        return None
    media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media in {"", "application/json"} or media.endswith("+json"):
        return load_json(operation, response)
    return as_text(response) if media.startswith("text/") else response.content
