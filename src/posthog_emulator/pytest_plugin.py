"""Fixtures for pytest: a small PostHog for each test.

Installed with the package; `pytest -p no:asyncposthog` leaves it out. It needs the extra
`asyncposthog[emulator]` as soon as a fixture is used, and imports nothing before.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from asyncposthog import AsyncPostHog

    from . import Emulator

__all__ = ["posthog", "posthog_emulator", "posthog_emulator_options", "posthog_url"]


@pytest.fixture
def posthog_emulator_options() -> dict[str, Any]:
    """Arguments for the emulator of a test. Override it to change them.

    Returns:
        Keyword arguments of `Emulator`; none by default.
    """
    return {}


@pytest.fixture
def posthog_emulator(posthog_emulator_options: dict[str, Any]) -> Generator[Emulator]:
    """A PostHog of this test's own, in this process: it starts empty, and ends with the test."""
    from . import Emulator

    with Emulator(**posthog_emulator_options) as emulator:
        yield emulator


@pytest.fixture
def posthog(posthog_emulator: Emulator) -> Generator[AsyncPostHog]:
    """A client of `posthog_emulator`, without a network, closed after the test.

    It belongs to the event loop that uses it first, whichever plugin or test client runs that.
    """
    from asyncposthog import AsyncPostHog

    client = AsyncPostHog.emulated(posthog_emulator)
    try:
        yield client
    finally:
        # The loop of the test may be another plugin's, and over: there is nothing to wait for.
        client._executor.transport.discard()  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def posthog_url(posthog_emulator: Emulator) -> Generator[str]:
    """The base URL of `posthog_emulator` on a free local port, for other processes and SDKs."""
    from . import served

    with served(posthog_emulator) as url:
        yield url
