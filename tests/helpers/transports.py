"""Run tests over aiohttp as well as over httpx: `transport="aiohttp"`, which is for asyncio."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["BACKENDS", "backend", "transport_settings"]

BACKENDS: Final = ("asyncio", "trio", "aiohttp")
"""Event loops with httpx, and asyncio with aiohttp: the parameters of a fixture `anyio_backend`."""
_chosen: dict[str, Any] = {}


def transport_settings() -> dict[str, Any]:
    """Return the settings of a client in the current test."""
    return dict(_chosen)


@contextmanager
def backend(name: str) -> Generator[str]:
    """Choose the transport, and return the event loop for anyio."""
    if name != "aiohttp":
        yield name
        return
    _chosen["transport"] = "aiohttp"
    try:
        yield "asyncio"
    finally:
        _chosen.clear()
