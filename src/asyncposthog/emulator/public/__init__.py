"""Paths outside the private API: no personal key, no throttles, no schema.

To add some, write a module with a `ROUTES` table and enter it here. Capture, flags and the
emulator's own pages differ in all else, so a handler gets the whole emulator and the request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from asyncposthog.emulator.capture import v0, v1
from asyncposthog.emulator.exports import objects
from asyncposthog.emulator.flags import routes as flags
from asyncposthog.emulator.web.messages import Answer, Request

if TYPE_CHECKING:
    from asyncposthog.emulator.core import Emulator

__all__ = ["PublicHandler", "find"]

PublicHandler: TypeAlias = "Callable[[Emulator, Request], Answer]"

_ROUTES: Mapping[str, PublicHandler] = {**v0.ROUTES, **v1.ROUTES, **flags.ROUTES}
"""By path, without the slash at its end; the root is the empty string."""

_BELOW: Mapping[str, PublicHandler] = {**objects.BELOW}
"""By what the path begins with, slash at its end included."""


def find(path: str) -> PublicHandler | None:
    """Return what answers a path; None: it is the private API's."""
    handler = _ROUTES.get(path.rstrip("/"))
    if handler is not None:
        return handler
    return next((known for start, known in _BELOW.items() if path.startswith(start)), None)
