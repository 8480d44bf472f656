"""Paths outside the private API: no personal key, no throttles, no schema.

To add some, write a module with a `ROUTES` table and enter it here. Capture, flags and the
emulator's own pages differ in all else, so a handler gets the whole state and the request.
What takes long to load is loaded with its first request.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from posthog_emulator.features.batch_exports import object_store
from posthog_emulator.features.flags import routes as flags
from posthog_emulator.http.messages import Answer, Request

if TYPE_CHECKING:
    from .state import EmulatorState

__all__ = ["PublicHandler", "find"]

PublicHandler: TypeAlias = "Callable[[EmulatorState, Request], Answer]"

_ROUTES: Mapping[str, PublicHandler] = {**flags.ROUTES}
"""By path, without the slash at its end; the root is the empty string."""

_LATER: Mapping[str, str] = {
    **dict.fromkeys(
        ("/batch", "/capture", "/e", "/engage", "/i/v0/ai/batch", "/i/v0/e", "/s", "/track"),
        "posthog_emulator.features.capture.legacy",
    ),
    **dict.fromkeys(
        ("/i/v1/ai/events", "/i/v1/analytics/events"), "posthog_emulator.features.capture.v1"
    ),
}
"""The modules of other paths, likewise."""

_BELOW: Mapping[str, PublicHandler] = {**object_store.PREFIX_ROUTES}
"""By what the path begins with, slash at its end included."""


def find(path: str) -> PublicHandler | None:
    """Return what answers a path; None: it is the private API's."""
    bare = path.rstrip("/")
    handler = _ROUTES.get(bare)
    if handler is not None:
        return handler
    if bare in _LATER:
        return importlib.import_module(_LATER[bare]).ROUTES[bare]
    return next((known for start, known in _BELOW.items() if path.startswith(start)), None)
