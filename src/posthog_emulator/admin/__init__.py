"""Who may look behind the scenes: programs on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from posthog_emulator.http.errors import ApiError, permission_denied
from posthog_emulator.http.messages import Answer, Request

if TYPE_CHECKING:
    from posthog_emulator.core import EmulatorCore

__all__ = ["BackstageHandler", "find", "local"]

BackstageHandler: TypeAlias = "Callable[[EmulatorCore, Request], Answer]"

_NAMES = frozenset({"localhost", "emulator", "testclient", "testserver"})
"""Hosts that stand for this machine: in process, there is no address."""


def local(handler: BackstageHandler) -> BackstageHandler:
    """Let a handler answer this machine alone, and no page of another site in its browser."""

    @wraps(handler)
    def guarded(emulator: EmulatorCore, request: Request) -> Answer:
        try:
            if request.client and not _is_local(request.client):
                raise permission_denied("The emulator's own pages are for this machine alone.")
            origin = request.headers.get("origin")
            if origin is not None and not _is_local(urlsplit(origin).hostname or ""):
                raise permission_denied("The emulator's own pages are not for other sites.")
            return handler(emulator, request)
        except ApiError as problem:
            return problem.answer()

    return guarded


def _is_local(host: str) -> bool:
    if host in _NAMES or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


_CONTROLS = "/_emulator"


def find(path: str) -> BackstageHandler | None:
    """Return what answers a path; None: it belongs to PostHog."""
    if path == "/":
        return _page
    if path == _CONTROLS or path.startswith(f"{_CONTROLS}/"):
        return _controls
    return None


@local
def _page(emulator: EmulatorCore, request: Request) -> Answer:
    from .dashboard import page

    return page(emulator, request)


@local
def _controls(emulator: EmulatorCore, request: Request) -> Answer:
    from .control_api import control

    return control(emulator, request)
