"""A toolkit over an emulator with demo data."""

from __future__ import annotations

import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit
from posthog_emulator import Emulator


@pytest.fixture(scope="module")
def demo() -> Emulator:
    emulator = Emulator()
    emulator.add_demo_events(events=300, seed=1)
    return emulator


@pytest.fixture
def kit(demo: Emulator) -> Toolkit:
    return Toolkit(AsyncPostHog.emulated(demo))


@pytest.fixture
def anyio_backend() -> str:
    """The frameworks run on asyncio only."""
    return "asyncio"
