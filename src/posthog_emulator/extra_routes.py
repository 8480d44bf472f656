"""Routes outside the private API: capture, flags, SDKs in browsers, downloads, the schema.

Their handlers get the whole state and the request, because nothing of the private API applies to
them: no personal API key, no rate limits, no schema. To add a route, write a module with a table
of handlers and enter it here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from posthog_emulator.features import api_document, browser
from posthog_emulator.features.batch_exports import object_store
from posthog_emulator.features.flags import routes as flags
from posthog_emulator.http.messages import Request, Response

if TYPE_CHECKING:
    from .state import EmulatorState

__all__ = ["PUBLIC_API_PATHS", "ExtraRouteHandler", "find_handler"]

ExtraRouteHandler: TypeAlias = "Callable[[EmulatorState, Request], Response]"

_ROUTES: Mapping[str, ExtraRouteHandler] = {
    **flags.ROUTES,
    **api_document.ROUTES,
    **browser.ROUTES,
}
"""Handlers by path, without trailing slash."""

PUBLIC_API_PATHS = frozenset(path for path in _ROUTES if path.startswith("/api/"))
"""The only routes of this module below `/api/`, without trailing slash."""

# Imported with their first request, so that an emulator that captures nothing starts faster.
_LAZY_MODULES: Mapping[str, str] = {
    **dict.fromkeys(
        ("/batch", "/capture", "/e", "/engage", "/i/v0/ai/batch", "/i/v0/e", "/s", "/track"),
        "posthog_emulator.features.capture.legacy",
    ),
    **dict.fromkeys(
        ("/i/v1/ai/events", "/i/v1/analytics/events"), "posthog_emulator.features.capture.v1"
    ),
    "/i/v0/ai": "posthog_emulator.features.capture.ai",
    **dict.fromkeys(
        (f"{root}/{name}" for root in ("/i/v1", "/v1") for name in ("logs", "metrics", "traces")),
        "posthog_emulator.features.capture.otlp",
    ),
}
"""Modules with a table `ROUTES`, by path, without trailing slash."""

_PREFIX_ROUTES: Mapping[str, ExtraRouteHandler] = {
    **object_store.PREFIX_ROUTES,
    **browser.PREFIX_ROUTES,
}
"""Handlers by the prefix of the path, with trailing slash."""


def find_handler(path: str) -> ExtraRouteHandler | None:
    """Return the handler of a path; None if it belongs to the private API."""
    bare = path.rstrip("/")
    handler = _ROUTES.get(bare)
    if handler is not None:
        return handler
    if bare in _LAZY_MODULES:
        return importlib.import_module(_LAZY_MODULES[bare]).ROUTES[bare]
    return next(
        (handler for prefix, handler in _PREFIX_ROUTES.items() if path.startswith(prefix)), None
    )
