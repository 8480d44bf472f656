"""What tests of applications have for captured events."""

from __future__ import annotations

import pytest

from asyncposthog import AsyncPostHog
from posthog_emulator import Emulator

pytest_plugins = ["pytester"]

BUDGET = """
import pytest

@pytest.mark.anyio
@pytest.mark.parametrize("events", [2, 3])
async def test_events(posthog, posthog_emulator, capture_budget, events):
    capture_budget(max=2)
    for number in range(events):
        await posthog.capture("paid", "ada", uuid=f"01890000-0000-7000-8000-{number:012}")
    # The same event again is not another one.
    await posthog.capture("paid", "ada", uuid="01890000-0000-7000-8000-000000000000")
    await posthog.capture.flush()
    assert posthog_emulator.captured("paid", distinct_id="ada")
    await posthog.aclose()

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def test_a_budget_fails_a_test_that_captures_more(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(BUDGET)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*captured 3 events, and capture_budget(max=2) allows fewer*"])


@pytest.mark.anyio
async def test_captured() -> None:
    emulator = Emulator()
    async with AsyncPostHog.emulated(emulator) as client:
        await client.capture("paid", "ada", properties={"plan": "pro", "seats": 7})
        await client.capture("paid", "bob", properties={"plan": "free"})
        await client.capture.flush()
    (event,) = emulator.captured("paid", properties={"plan": "pro"})
    assert event["distinct_id"] == "ada"
    assert len(emulator.captured(count=2)) == 2
    assert emulator.captured("left", count=0) == []
    with pytest.raises(AssertionError, match=r"event='left'.*found 0.*'paid' of 'ada'"):
        emulator.captured("left")
    with pytest.raises(AssertionError, match="expected 1 events"):
        emulator.captured("paid", count=1)
    with pytest.raises(AssertionError, match="properties="):
        emulator.captured("paid", distinct_id="bob", properties={"plan": "pro"})
