"""Fixtures every test may use."""

from __future__ import annotations

import pytest
from hypothesis import settings

# A slow machine is no failure: no test is judged by its time.
settings.register_profile("default", deadline=None)
settings.load_profile("default")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each `anyio` test once on asyncio and once on trio."""
    return str(request.param)
