"""One emulator with events for the doors to Arrow, DuckDB, Polars, SQL and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from posthog_emulator import Emulator, serve_sync

END = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = 600


@pytest.fixture(scope="session")
def data_emulator() -> Emulator:
    emulator = Emulator()
    emulator.add_demo_events(events=ROWS, days=10, until=END, duplicate_timestamps=0.3)
    emulator.seed("cohorts", 3)
    return emulator


@pytest.fixture(scope="session")
def data_url(data_emulator: Emulator) -> Iterator[str]:
    with serve_sync(data_emulator) as url:
        yield url


@pytest.fixture(scope="session")
def stored(data_emulator: Emulator) -> list[str]:
    """Return the UUIDs of all events in the order of an export."""
    rows = data_emulator.state.events.read(
        "SELECT toString(uuid) FROM events ORDER BY timestamp, toString(uuid)"
    )
    return [row[0] for row in rows]
