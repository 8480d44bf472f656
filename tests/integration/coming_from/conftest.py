"""An emulator with demo data, its address, and a driver of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asyncposthog import AsyncPostHog
from posthog_emulator import Emulator, serve_sync


@pytest.fixture(scope="module")
def demo() -> Iterator[Emulator]:
    """An emulator with three dashboards and 1,500 events of a demo product."""
    with Emulator() as emulator:
        emulator.settings.stale_person_reads = 0
        emulator.seed("dashboards", 3)
        emulator.add_demo_events(events=1500, seed=1)
        yield emulator


@pytest.fixture(scope="module")
def demo_url(demo: Emulator) -> Iterator[str]:
    """The address of the emulator, on a real socket."""
    with serve_sync(demo) as url:
        yield url


@pytest.fixture
def environment(demo: Emulator, demo_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment that the documents of the other systems ask for; return the URL."""
    for name in ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POSTHOG_API_KEY", demo.key)
    monkeypatch.setenv("POSTHOG_API_URL", f"{demo_url}/api")
    monkeypatch.setenv("POSTHOG_PROJECT_ID", str(demo.project_id))
    monkeypatch.setenv("POSTHOG_PROJECT_API_KEY", demo.project_token)
    return demo_url


@pytest.fixture
def client(demo: Emulator) -> AsyncPostHog:
    """A client of the emulator. Its calls stay in this process."""
    return AsyncPostHog.emulated(demo)


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone: what these tests show does not depend on the event loop."""
    return "asyncio"
