"""Fixtures every test may use."""

from __future__ import annotations

import gc
import signal

import pytest
from hypothesis import HealthCheck, settings

# A slow machine is no failure: no test is judged by its time. What is tried is the same each time,
# so that a change fails for what it did; `--hypothesis-profile explore` tries something new.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", _PATIENT, derandomize=True)
settings.register_profile("explore", _PATIENT, max_examples=1000)
settings.load_profile("default")

# A shell has what it starts in the background ignore Ctrl-C, and so would our own children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Collect no garbage while tests are collected.

    What is loaded then stays, and looking for garbage in it takes as long again. A process that
    starts workers collects no tests.
    """
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
        gc.disable()


def pytest_collection_finish() -> None:
    """Make garbage collection cheaper, which takes a tenth of the time of the suite otherwise.

    What collecting tests has loaded is not looked at again, and the collector runs less often.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    gc.enable()


def pytest_sessionfinish() -> None:
    """Give it back: DuckDB's binding complains of what is left when the interpreter ends."""
    gc.unfreeze()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each `anyio` test once on asyncio and once on trio."""
    return str(request.param)
