"""The emulator's own pages, for programs on this machine: status page and control API."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from posthog_emulator.http.errors import (
    ApiError,
    method_not_allowed,
    permission_denied,
    required,
)
from posthog_emulator.http.messages import Request, Response
from posthog_emulator.json_types import is_object

if TYPE_CHECKING:
    from posthog_emulator.core import EmulatorCore

__all__ = ["QUERY_PATH", "AdminHandler", "find_page", "localhost_only", "query_request"]

AdminHandler: TypeAlias = "Callable[[EmulatorCore, Request], Response]"

_LOCAL_NAMES = frozenset({"localhost", "emulator", "testclient", "testserver"})
"""Client names besides addresses: test clients that run in process put one of these there."""


def localhost_only(handler: AdminHandler) -> AdminHandler:
    """Return a handler that rejects (403) other machines, and other sites in a local browser."""

    @wraps(handler)
    def checked(emulator: EmulatorCore, request: Request) -> Response:
        try:
            if request.client and not _is_local(request.client):
                raise permission_denied("The emulator's own pages are for this machine only.")
            # A page of another site can send requests to localhost. Its browser adds the origin.
            origin = request.headers.get("origin")
            if origin is not None and not _is_local(urlsplit(origin).hostname or ""):
                raise permission_denied("The emulator's own pages are not for other sites.")
            return handler(emulator, request)
        except ApiError as error:
            return error.to_response()

    return checked


def _is_local(host: str) -> bool:
    if host in _LOCAL_NAMES or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


_CONTROL_ROOT = "/_emulator"
QUERY_PATH = f"{_CONTROL_ROOT}/query"
"""The path by which the status page runs HogQL, without a key."""


def find_page(path: str) -> AdminHandler | None:
    """Return the handler of a path; None if it is not one of the emulator's own pages."""
    if path == "/":
        return _dashboard
    if path == QUERY_PATH:
        # Only what `localhost_only` rejects is answered here; see `query_request`.
        return _accept
    if path == _CONTROL_ROOT or path.startswith(f"{_CONTROL_ROOT}/"):
        return _control_api
    return None


@localhost_only
def _dashboard(emulator: EmulatorCore, request: Request) -> Response:
    from .page import dashboard_page

    return dashboard_page(emulator, request)


@localhost_only
def _control_api(emulator: EmulatorCore, request: Request) -> Response:
    from .control_api import handle_control

    return handle_control(emulator, request)


@localhost_only
def _accept(_: EmulatorCore, request: Request) -> Response:
    if request.method != "POST":
        raise method_not_allowed(request.method, ["POST"])
    query = _query_text(request)
    if query is None:
        raise required("query")
    return Response(200)


def _query_text(request: Request) -> str | None:
    try:
        body: Any = json.loads(request.content)
    except (ValueError, RecursionError):
        return None
    query = body.get("query") if is_object(body) else None
    return query if isinstance(query, str) else None


def query_request(emulator: EmulatorCore, request: Request) -> Request:
    """Return the request of the private API that runs the query of an accepted request.

    The result of a query is never taken from the cache.
    """
    query = {"kind": "HogQLQuery", "query": _query_text(request)}
    return replace(
        request,
        path=f"/api/projects/{emulator.project_id}/query/",
        query=(),
        headers={
            "authorization": f"Bearer {emulator.key}",
            "content-type": "application/json",
            "host": request.host,
        },
        content=json.dumps({"query": query, "refresh": "force_blocking"}).encode(),
    )
