"""Who may look behind the scenes: programs on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from asyncposthog.emulator.web.messages import Answer, Request
from asyncposthog.emulator.web.problems import Problem, permission_denied

if TYPE_CHECKING:
    from asyncposthog.emulator.core import Emulator

__all__ = ["BackstageHandler", "local"]

BackstageHandler: TypeAlias = "Callable[[Emulator, Request], Answer]"

_NAMES = frozenset({"localhost", "emulator", "testclient", "testserver"})
"""Hosts that stand for this machine: in process, there is no address."""


def local(handler: BackstageHandler) -> BackstageHandler:
    """Let a handler answer this machine alone, and no page of another site in its browser."""

    @wraps(handler)
    def guarded(emulator: Emulator, request: Request) -> Answer:
        try:
            if request.client and not _is_local(request.client):
                raise permission_denied("The emulator's own pages are for this machine alone.")
            origin = request.headers.get("origin")
            if origin is not None and not _is_local(urlsplit(origin).hostname or ""):
                raise permission_denied("The emulator's own pages are not for other sites.")
            return handler(emulator, request)
        except Problem as problem:
            return problem.answer()

    return guarded


def _is_local(host: str) -> bool:
    if host in _NAMES or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
