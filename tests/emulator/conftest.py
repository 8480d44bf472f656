"""Emulators under test, and plain httpx clients for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from posthog_emulator import Emulator

from . import widget_api


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Yield an emulator of the whole registry."""
    emulator = Emulator()
    yield emulator
    # The next one takes its tables over, which is quicker than creating them.
    emulator.close()


@pytest.fixture
def tiny() -> Iterator[Emulator]:
    """Yield an emulator of the operations of `widget_api`."""
    emulator = Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS)
    yield emulator
    emulator.close()


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
