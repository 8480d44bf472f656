"""The emulator's own pages, for programs on this machine: status page and control API."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from posthog_emulator.http.errors import ApiError, permission_denied
from posthog_emulator.http.messages import Request, Response

if TYPE_CHECKING:
    from posthog_emulator.core import EmulatorCore

__all__ = ["AdminHandler", "find_page", "localhost_only"]

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


def find_page(path: str) -> AdminHandler | None:
    """Return the handler of a path; None if it is not one of the emulator's own pages."""
    if path == "/":
        return _dashboard
    if path == _CONTROL_ROOT or path.startswith(f"{_CONTROL_ROOT}/"):
        return _control_api
    return None


@localhost_only
def _dashboard(emulator: EmulatorCore, request: Request) -> Response:
    from .dashboard import dashboard_page

    return dashboard_page(emulator, request)


@localhost_only
def _control_api(emulator: EmulatorCore, request: Request) -> Response:
    from .control_api import handle_control

    return handle_control(emulator, request)
