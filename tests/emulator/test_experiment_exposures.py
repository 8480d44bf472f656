"""ExperimentExposureQuery, against exposures counted by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


VARIANTS = [{"key": key, "rollout_percentage": 50} for key in ("control", "test")]
FLAG: dict[str, Any] = {"key": "nav", "filters": {"multivariate": {"variants": VARIANTS}}}
EXPOSURES = [
    # who, day, flag, variant
    ("ann", 1, "nav", "control"),
    ("ann", 2, "nav", "control"),
    ("bob", 1, "nav", "test"),
    ("cat", 3, "nav", "test"),
    ("dan", 2, "nav", "control"),
    ("dan", 3, "nav", "test"),
    ("eve", 3, "other", "test"),
    ("fay", 3, "nav", "unknown"),
    ("gus", 9, "nav", "test"),
]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    emulator = Emulator()
    emulator.freeze("2026-03-04T12:00:00Z")
    emulator.state.events.append(
        1,
        [
            {
                "event": "$feature_flag_called", "distinct_id": who,
                "timestamp": f"2026-03-{day:02}T10:00:00Z",
                "properties": {"$feature_flag": flag, "$feature_flag_response": variant},
            }
            for who, day, flag, variant in EXPOSURES
        ]
        + [
            {"event": "opened", "distinct_id": "hal", "timestamp": "2026-03-02T10:00:00Z",
             "properties": {"$feature/nav": "test", "from": "mail"}},
        ],
    )  # fmt: skip
    yield emulator
    emulator.close()


async def ask(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient], **fields: Any
) -> dict[str, Any]:
    query = {
        "kind": "ExperimentExposureQuery", "experiment_name": "Navigation", "feature_flag": FLAG,
        "start_date": "2026-03-01T00:00:00Z", **fields,
    }  # fmt: skip
    async with connect(emulator) as http:
        body = {"query": query, "refresh": "force_blocking"}
        response = await http.post("/api/projects/1/query/", json=body)
    return response.json()


async def test_exposures_by_day(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    answer = await ask(emulator, connect)
    days = ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]
    assert answer["timeseries"] == [
        {"variant": "control", "days": days, "exposure_counts": [1, 1, 1, 1]},
        {"variant": "test", "days": days, "exposure_counts": [1, 1, 2, 2]},
        {"variant": "$multiple", "days": days, "exposure_counts": [0, 1, 1, 1]},
    ]
    assert answer["total_exposures"] == {"control": 1, "test": 2, "$multiple": 1}
    assert answer["bias_risk"] == {"multiple_variant_percentage": 25.0}


async def test_the_first_variant_counts_if_it_is_to(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    criteria = {"multiple_variant_handling": "first_seen"}
    answer = await ask(emulator, connect, exposure_criteria=criteria)
    assert answer["total_exposures"] == {"control": 2, "test": 2}
    assert answer["bias_risk"] is None
    answer = await ask(
        emulator, connect, exposure_criteria=criteria, end_date="2026-03-02T00:00:00Z"
    )
    assert answer["total_exposures"] == {"control": 1, "test": 1}


async def test_exposures_by_another_event(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    config = {"kind": "ExperimentEventExposureConfig", "event": "opened", "properties": []}
    answer = await ask(emulator, connect, exposure_criteria={"exposure_config": config})
    assert answer["total_exposures"] == {"test": 1}
    only = [{"key": "from", "value": "ads", "type": "event", "operator": "exact"}]
    answer = await ask(
        emulator, connect, exposure_criteria={"exposure_config": {**config, "properties": only}}
    )
    assert (answer["total_exposures"], answer["timeseries"]) == ({}, [])


async def test_what_is_refused(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    answer = await ask(emulator, connect, feature_flag={"key": "nav", "filters": {}})
    assert "variants" in answer["detail"]
    criteria = {"activation_config": {"kind": "ExperimentEventExposureConfig", "event": "x",
                                      "properties": []}}  # fmt: skip
    answer = await ask(emulator, connect, exposure_criteria=criteria)
    assert "activation_config" in answer["detail"]
