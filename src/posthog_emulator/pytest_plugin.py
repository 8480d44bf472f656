"""Pytest fixtures: an emulator, and a client of it, for each test.

pytest loads this plugin wherever the package is installed; `pytest -p no:asyncposthog` disables it.
The fixtures need the extra `asyncposthog[emulator]`, which is imported when one of them is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from asyncposthog import AsyncPostHog

    from . import Emulator


class CaptureBudget(Protocol):
    """Limits the events that a test may capture."""

    def __call__(self, *, max: int) -> None:
        """Let the test fail if it captures more than `max` events."""
        ...


__all__ = [
    "capture_budget",
    "posthog",
    "posthog_emulator",
    "posthog_emulator_options",
    "posthog_url",
]


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "posthog_emulator(**options): arguments of the `Emulator` of this test, in addition to "
        "those of the fixture `posthog_emulator_options`; `strict_fidelity=True` makes the test "
        "fail if a response would be generated from the schema.",
    )


@pytest.fixture
def posthog_emulator_options() -> dict[str, Any]:
    """Return the keyword arguments of `Emulator`; none by default. Override this fixture."""
    return {}


@pytest.fixture
def posthog_emulator(
    request: pytest.FixtureRequest, posthog_emulator_options: dict[str, Any]
) -> Generator[Emulator]:
    """Yield an emulator that is used by this test only. It has no objects but its account."""
    from . import Emulator

    options = dict(posthog_emulator_options)
    # The marker that is closest to the test comes first, and wins.
    for marker in reversed([*request.node.iter_markers("posthog_emulator")]):
        options |= marker.kwargs
    with Emulator(**options) as emulator:
        yield emulator
        refused = sorted(
            {item.operation or "" for item in emulator.requests if item.refused_generated}
        )
    if refused:
        # The test may have caught the error of the client.
        pytest.fail(
            f"the emulator does not implement {', '.join(refused)}, and strict_fidelity=True "
            "refuses responses generated from the schema. Respond with a mock, or set "
            "strict_fidelity=False for this test.",
            pytrace=False,
        )


@pytest.fixture
def posthog(posthog_emulator: Emulator) -> Generator[AsyncPostHog]:
    """Yield a client of `posthog_emulator` that calls it in process, closed after the test.

    The client may be used on one event loop: the one that uses it first.
    """
    from asyncposthog import AsyncPostHog

    client = AsyncPostHog.emulated(posthog_emulator)
    try:
        yield client
    finally:
        # Not `aclose()`: the event loop of the test may be closed already, and in process there
        # is no connection to close.
        client._executor.transport.discard()  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def capture_budget(posthog_emulator: Emulator) -> Generator[CaptureBudget]:
    """Yield a function that limits the events of the test: `capture_budget(max=20)`.

    The test fails at its end if `posthog_emulator` has got more, retries of the same event
    counted once.
    """
    limits: list[int] = []

    def limit(*, max: int) -> None:
        limits.append(max)

    yield limit
    captured = {event["uuid"]: event["event"] for event in posthog_emulator.captured_events()}
    if limits and len(captured) > min(limits):
        names = Counter(captured.values()).most_common(10)
        listed = ", ".join(f"{count} × {name}" for name, count in names)
        pytest.fail(
            f"the test captured {len(captured)} events, and capture_budget(max={min(limits)}) "
            f"allows fewer: {listed}",
            pytrace=False,
        )


@pytest.fixture
def posthog_url(posthog_emulator: Emulator) -> Generator[str]:
    """Yield the base URL of `posthog_emulator` on a free local port, for other processes."""
    from . import serve_sync

    with serve_sync(posthog_emulator) as url:
        yield url
