"""An emulator with the demo data that the programs of this folder are run on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import anyio

from asyncposthog import AsyncPostHog
from posthog_emulator import Emulator

__all__ = ["NOW", "create_emulator", "run"]

NOW = datetime(2026, 3, 2, tzinfo=UTC)
"""The time at which the demo data ends."""


def create_emulator(events: int = 5_000) -> Emulator:
    """Return an emulator with 90 days of events of a fictional product."""
    emulator = Emulator()
    emulator.settings.clock = lambda: NOW
    emulator.add_demo_data(events, seed=7, until=NOW)
    return emulator


def run(program: Callable[[AsyncPostHog], Awaitable[None]]) -> None:
    """Run a program on the demo data. With a real project: `async with AsyncPostHog() as ph`."""

    async def main() -> None:
        with create_emulator() as emulator:
            async with AsyncPostHog.emulated(emulator) as ph:
                await program(ph)

    anyio.run(main)
