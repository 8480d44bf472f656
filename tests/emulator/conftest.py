"""Emulators under test, and plain httpx clients for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from posthog_emulator import Emulator

from . import widget_api


@pytest.fixture
def emulator() -> Emulator:
    """Yield an emulator of the whole registry."""
    return Emulator()


@pytest.fixture
def tiny() -> Emulator:
    """Yield an emulator of the operations of `widget_api`."""
    return Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS)


def client(emulator: Emulator, key: str | None = "phx_emulator") -> httpx.AsyncClient:
    """Return a plain httpx client that calls an emulator in process."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(
        transport=emulator.transport(), base_url="http://emulator", headers=headers
    )


@pytest.fixture
async def http(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of `emulator`."""
    async with client(emulator) as http:
        yield http


@pytest.fixture
async def tiny_http(tiny: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of `tiny`."""
    async with client(tiny) as http:
        yield http


@pytest.fixture
def connect() -> Callable[..., httpx.AsyncClient]:
    """Return `client`, for tests that need several."""
    return client
