"""Emulators to test, and clients for them that are not ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from posthog_emulator import Emulator

from . import widget_api


@pytest.fixture
def emulator() -> Emulator:
    """An emulator of the whole registry."""
    return Emulator()


@pytest.fixture
def tiny() -> Emulator:
    """An emulator of a few hand-written operations."""
    return Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS)


def client(emulator: Emulator, key: str | None = "phx_emulator") -> httpx.AsyncClient:
    """A plain httpx client that calls an emulator in this process."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(
        transport=emulator.transport(), base_url="http://emulator", headers=headers
    )


@pytest.fixture
async def http(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `emulator`."""
    async with client(emulator) as http:
        yield http


@pytest.fixture
async def tiny_http(tiny: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `tiny`."""
    async with client(tiny) as http:
        yield http


@pytest.fixture
def connect() -> Callable[..., httpx.AsyncClient]:
    """`client`, for tests that need several."""
    return client
