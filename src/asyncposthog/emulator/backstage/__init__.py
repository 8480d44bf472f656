"""What PostHog does not have: the emulator's own pages, and its controls for other languages.

Requests for them are neither recorded nor spoilt, and they are answered to this machine alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncposthog.emulator.backstage.local import BackstageHandler, local
from asyncposthog.emulator.web.messages import Answer, Request

if TYPE_CHECKING:
    from asyncposthog.emulator.core import Emulator

__all__ = ["find"]

_CONTROLS = "/_emulator"


def find(path: str) -> BackstageHandler | None:
    """Return what answers a path; None: it belongs to PostHog."""
    if path == "/":
        return _page
    if path == _CONTROLS or path.startswith(f"{_CONTROLS}/"):
        return _controls
    return None


@local
def _page(emulator: Emulator, request: Request) -> Answer:
    from asyncposthog.emulator.backstage.page import page

    return page(emulator, request)


@local
def _controls(emulator: Emulator, request: Request) -> Answer:
    from asyncposthog.emulator.backstage.controls import control

    return control(emulator, request)
