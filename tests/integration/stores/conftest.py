"""An S3 server and an emulator with events, for exports to object stores and lakes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from posthog_emulator import Emulator, serve_sync

END = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = 600


@pytest.fixture(scope="session")
def store_emulator() -> Emulator:
    emulator = Emulator()
    emulator.add_demo_events(events=ROWS, days=10, until=END, duplicate_timestamps=0.3)
    emulator.seed("cohorts", 3)
    return emulator


@pytest.fixture(scope="session")
def store_url(store_emulator: Emulator) -> Iterator[str]:
    with serve_sync(store_emulator) as url:
        yield url


@pytest.fixture(scope="session")
def stored(store_emulator: Emulator) -> list[str]:
    """Return the UUIDs of all events in the order of an export."""
    rows = store_emulator.state.events.read(
        "SELECT toString(uuid) FROM events ORDER BY timestamp, toString(uuid)"
    )
    return [row[0] for row in rows]


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, Any]]:
    """Return the options for a server on loopback that has a bucket `lake`."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server: Any = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        options: dict[str, Any] = {
            "key": "testing",
            "secret": "testing",
            "client_kwargs": {"endpoint_url": f"http://{host}:{port}"},
        }
        S3FileSystem(**options).mkdir("lake")
        yield options
    server.stop()
