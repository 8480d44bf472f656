"""Gateways: servers in front of PostHog that have a key, a path and limits of their own.

`AsyncPostHog(gateway=Maton())`; see docs/gateways.md. Public names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .connections import Connection, Connections
    from .gateway import Gateway, MissingConnectionError
    from .maton import Maton
    from .tokens import OAuthRefresh, OAuthToken, TokenProvider

__all__ = [
    "Connection",
    "Connections",
    "Gateway",
    "Maton",
    "MissingConnectionError",
    "OAuthRefresh",
    "OAuthToken",
    "TokenProvider",
]

_MODULES: Final = {
    "Connection": "connections",
    "Connections": "connections",
    "Gateway": "gateway",
    "Maton": "maton",
    "MissingConnectionError": "gateway",
    "OAuthRefresh": "tokens",
    "OAuthToken": "tokens",
    "TokenProvider": "tokens",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
