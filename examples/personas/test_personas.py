"""Each program answers its question on the demo data."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from asyncposthog import AsyncPostHog
from examples.personas.demo_project import create_emulator
from posthog_emulator import Emulator

ANSWERS = {
    "bug_investigation_with_error_tracking": "before the latest",
    "cohort_comparison_analysis": "shared a document",
    "complex_hogql_analysis": "edit_rate",
    "data_warehouse_export": "events, each once",
    "feature_impact_analysis": "change: +",
    "individual_user_journey": "user-000001: ",
    "marketing_channel_performance": "google: ",
    "power_user_identification": "at risk: ",
    "user_journey_funnel_analysis": "weakest: ",
}
"""A text that each program prints, by its module."""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with create_emulator(2_000) as emulator:
        yield emulator


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ANSWERS)
async def test_program_answers(
    name: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    program = import_module(f"examples.personas.{name}")
    async with AsyncPostHog.emulated(emulator) as ph:
        await program.main(ph)
    assert ANSWERS[name] in capsys.readouterr().out


def test_every_program_is_run() -> None:
    files = {path.stem for path in Path(__file__).parent.glob("*.py")}
    assert files - {"__init__", "demo_project", "test_personas"} == ANSWERS.keys()
