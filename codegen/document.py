"""Load an OpenAPI document from a file, a URL or an instance; write the pinned one."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import httpx

from codegen.normalise.walk import references

from .diagnostics import FIX_DOCUMENT, USE_SERVED_SCHEMA, SchemaError
from .json_access import MISSING, lookup, split_pointer
from .parsing import parse

__all__ = ["dump", "fetch", "load", "validate_document"]

_ACCEPT: Final = "application/vnd.oai.openapi+json, application/json;q=0.9, application/yaml;q=0.5"
_WIDTH: Final = 100


def load(
    source: str, *, timeout: float = 60.0, transport: httpx.BaseTransport | None = None
) -> dict[str, Any]:
    """Return the OpenAPI document of a PostHog instance.

    JSON and YAML are detected by content. Values have the types of JSON: a YAML timestamp or a bare
    `on` is a string.

    Args:
        source: A path, or an http(s) URL.
        timeout: Seconds to wait for each step of a download (connecting, sending, receiving).
        transport: An httpx transport to use instead of the network.

    Raises:
        SchemaError: It cannot be read, or is not an OpenAPI document of PostHog that can be used.
    """
    if source.lower().startswith(("http://", "https://")):
        return _download(source, timeout, transport)
    try:
        data = Path(source).read_bytes()
    except FileNotFoundError:
        raise SchemaError(source, "there is no such file", "Give a path or a URL") from None
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
        raise SchemaError(source, reason, "Give a readable file or a URL") from None
    return validate_document(parse(data, source), source)


def fetch(
    host: str, *, timeout: float = 60.0, transport: httpx.BaseTransport | None = None
) -> dict[str, Any]:
    """Return the document that an instance serves at `/api/schema/`.

    Args:
        host: The instance, such as `https://us.posthog.com`. The scheme defaults to https; a path
            prefix is kept.
        timeout: Seconds to wait for each step of the download (connecting, sending, receiving).
        transport: An httpx transport to use instead of the network.

    Raises:
        SchemaError: The instance does not return a document that can be used.
    """
    base = host if "://" in host else f"https://{host}"
    base = base.rstrip("/").removesuffix("/api/schema").removesuffix("/api")
    return _download(f"{base}/api/schema/", timeout, transport)


def dump(document: Mapping[str, Any]) -> str:
    """Return a document as JSON text that is stable and gives readable diffs.

    Keys are sorted. A value that fits into a line of 100 characters is written on one line.
    """
    return "".join((*_format_value(document, 0), "\n"))


def _download(url: str, timeout: float, transport: httpx.BaseTransport | None) -> dict[str, Any]:
    # Errors show this one: the query and the user information of a URL may hold secrets.
    safe_url = url.partition("?")[0]
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise SchemaError(
            safe_url, f"it is not a URL ({error})", "Give one such as https://host"
        ) from None
    if address.scheme not in {"http", "https"} or not address.host:
        raise SchemaError(safe_url, "it is not an http(s) URL", "Give one such as https://host")
    safe_url = str(address.copy_with(userinfo=b"", query=None, fragment=None))
    hooks = {"request": [_refuse_plain_http]}
    with httpx.Client(
        event_hooks=hooks,
        follow_redirects=True,
        headers={"Accept": _ACCEPT},
        timeout=timeout,
        transport=transport,
    ) as client:
        try:
            response = client.get(address)
        except httpx.TimeoutException:
            reason = f"no response within {timeout:g} s"
            raise SchemaError(safe_url, reason, "Try again later") from None
        except (httpx.RequestError, httpx.InvalidURL) as error:
            reason = f"it cannot be reached ({str(error) or type(error).__name__})"
            raise SchemaError(safe_url, reason, "Check the address and the network") from None
    if response.status_code in {401, 403}:
        reason = f"it responds with {response.status_code}"
        remedy = "Save the document from a browser that is logged in, and give the file"
        raise SchemaError(safe_url, reason, remedy)
    if not response.is_success:
        raise SchemaError(safe_url, f"it responds with {response.status_code}", USE_SERVED_SCHEMA)
    return validate_document(parse(response.content, safe_url), safe_url)


def _refuse_plain_http(request: httpx.Request) -> None:
    # A hook, not a check of the given URL, because a redirect can lead from https to http. Code is
    # generated from this document, so it must not be possible to change it in transit.
    if request.url.scheme != "https" and not _is_loopback(request.url.host):
        safe_url = str(request.url.copy_with(userinfo=b"", query=None, fragment=None))
        reason = "a document read over plain http can be changed on the way"
        raise SchemaError(safe_url, reason, "Use https:// (http:// works for this machine only)")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def validate_document(value: Any, source: str) -> dict[str, Any]:
    """Return the document if it is a usable OpenAPI document of PostHog."""
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else f"{type(value).__name__} data"
        raise SchemaError(source, f"it holds {kind}, not an OpenAPI document", USE_SERVED_SCHEMA)
    document = cast("dict[str, Any]", value)
    if "swagger" in document:
        reason = f"it is Swagger {document['swagger']}"
        raise SchemaError(source, reason, "Convert it to OpenAPI 3.0 or 3.1 first")
    if "openapi" not in document:
        raise SchemaError(source, "it has no `openapi` key", USE_SERVED_SCHEMA)
    version = str(document["openapi"])
    if version.split(".")[:2] not in (["3", "0"], ["3", "1"]):
        reason = f"its version is OpenAPI {version}"
        raise SchemaError(f"{source}#/openapi", reason, "Give one of version 3.0 or 3.1")
    paths = document.get("paths")
    if not isinstance(paths, dict) or not paths:
        raise SchemaError(f"{source}#/paths", "it has no operations", USE_SERVED_SCHEMA)
    if not any(str(path).startswith("/api/") for path in cast("dict[str, Any]", paths)):
        reason = "no path starts with /api/, so it is not PostHog's"
        raise SchemaError(f"{source}#/paths", reason, USE_SERVED_SCHEMA)
    # Checked here, once, so that later stages can rely on every reference.
    for pointer, target in references(document):
        where = f"{source}#{pointer}"
        if not isinstance(target, str) or not target.startswith("#/"):
            reason = f"it refers to {target!r}, outside the document"
            raise SchemaError(where, reason, "Bundle the document into one file first")
        if lookup(document, split_pointer(target)) is MISSING:
            reason = f"it refers to {target!r}, which is not in the document"
            raise SchemaError(where, reason, FIX_DOCUMENT)
    return document


def _format_value(value: Any, depth: int, prefix_width: int = 0) -> list[str]:
    """Return the pieces of a value; `prefix_width` is the width of the key before it."""
    # `json.dumps(indent=1)` would write every item of a list of names on a line of its own.
    line = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True)
    if not value or not isinstance(value, dict | list) or depth + prefix_width + len(line) < _WIDTH:
        return [line]
    pieces: list[str] = []
    pad = " " * (depth + 1)
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        for key in sorted(mapping):
            name = f"{json.dumps(key, ensure_ascii=False)}: "
            pieces += [",\n" if pieces else "{\n", pad, name]
            pieces += _format_value(mapping[key], depth + 1, len(name))
        return [*pieces, "\n", " " * depth, "}"]
    for item in cast("list[Any]", value):
        pieces += [",\n" if pieces else "[\n", pad, *_format_value(item, depth + 1)]
    return [*pieces, "\n", " " * depth, "]"]
