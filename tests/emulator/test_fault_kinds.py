"""Every kind of fault does the same by method and by header, and again with the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

from . import widget_api
from .conftest import client

pytestmark = pytest.mark.anyio

WIDGETS = "/api/projects/1/widgets/"
START = "2026-03-01T12:00:00Z"
FaultSetup = Callable[[Emulator, int], object]

EQUIVALENT: dict[str, tuple[FaultSetup, dict[str, str]]] = {
    "fixed latency": (lambda e, _: e.faults.latency(0.5), {"Latency": "0.5"}),
    "bursts": (
        lambda e, _: e.faults.error_bursts(2, every=5, retry_after=1),
        {"Fail": "429; retry-after=1; burst=2/5"},
    ),
    "one status": (lambda e, _: e.faults.fail(504, times=None), {"Fail": "504"}),
    "one code": (
        lambda e, _: e.faults.fail(402, code="payment_required", times=None),
        {"Fail": "402; code=payment_required"},
    ),
    "dropped": (lambda e, _: e.faults.drop(times=None), {"Break": "drop"}),
    "dropped late": (lambda e, _: e.faults.drop(times=None, after=True), {"Break": "drop-after"}),
    "reset": (lambda e, _: e.faults.drop(times=None, reset=True), {"Break": "reset"}),
    "reset late": (
        lambda e, _: e.faults.drop(times=None, reset=True, after=True),
        {"Break": "reset-after"},
    ),
    "truncated": (lambda e, _: e.faults.truncate(times=None), {"Break": "truncate"}),
    "cut": (lambda e, _: e.faults.truncate(times=None, cut=True), {"Break": "cut"}),
    "html": (lambda e, _: e.faults.html_error(502, times=None), {"Break": "html"}),
    "html of any status": (
        lambda e, _: e.faults.html_error(503, times=None),
        {"Fail": "503; html"},
    ),
    "http links": (lambda e, s: e.faults.mutate_links("http", seed=s), {"Links": "http"}),
    "foreign links": (lambda e, s: e.faults.mutate_links("foreign", seed=s), {"Links": "foreign"}),
    "wrong previous": (
        lambda e, s: e.faults.mutate_links("previous", seed=s),
        {"Links": "previous"},
    ),
    "loops": (lambda e, s: e.faults.mutate_links("loop", seed=s), {"Links": "loop"}),
    "duplicate pages": (
        lambda e, s: e.faults.mutate_pages("duplicate", seed=s),
        {"Pages": "duplicate"},
    ),
    "overlapping pages": (
        lambda e, s: e.faults.mutate_pages("overlap", seed=s),
        {"Pages": "overlap"},
    ),
}
"""Faults without randomness."""

CHANCE: dict[str, tuple[FaultSetup, dict[str, str]]] = {
    "uniform latency": (
        lambda e, s: e.faults.latency("uniform 0.1 0.5", seed=s),
        {"Latency": "uniform 0.1 0.5"},
    ),
    "normal latency": (
        lambda e, s: e.faults.latency("normal 0.3 0.1", seed=s),
        {"Latency": "normal 0.3 0.1"},
    ),
    "lognormal latency": (
        lambda e, s: e.faults.latency("lognormal 0.2 0.6", seed=s),
        {"Latency": "lognormal 0.2 0.6"},
    ),
    "error rates": (
        lambda e, s: e.faults.error_rates({500: 0.3, 503: 0.3}, seed=s),
        {"Fail": "500; rate=0.3, 503; rate=0.3"},
    ),
    "invalid JSON": (
        lambda e, s: e.faults.corrupt_json(times=None, seed=s),
        {"Break": "corrupt-json"},
    ),
    "missing fields": (
        lambda e, s: e.faults.mutate_fields("missing", seed=s),
        {"Fields": "missing"},
    ),
    "nulls": (lambda e, s: e.faults.mutate_fields("null", seed=s), {"Fields": "null"}),
    "other types": (
        lambda e, s: e.faults.mutate_fields("mistyped", seed=s),
        {"Fields": "mistyped"},
    ),
    "shuffled pages": (lambda e, s: e.faults.mutate_pages("shuffle", seed=s), {"Pages": "shuffle"}),
    "reordered lists": (
        lambda e, s: e.faults.mutate_pages("reorder", seed=s),
        {"Pages": "reorder"},
    ),
}
"""Faults that depend on the seed."""

DRAWN_ALIKE: dict[str, tuple[FaultSetup, dict[str, str]]] = {
    "extra fields": (lambda e, s: e.faults.mutate_fields("extra", seed=s), {"Fields": "extra"}),
    "new enum values": (lambda e, s: e.faults.mutate_fields("enum", seed=s), {"Fields": "enum"}),
}
"""Random faults with so few choices that two seeds may give the same ones."""

EVERY = {**EQUIVALENT, **CHANCE, **DRAWN_ALIKE}


async def outcome_of(
    setup: FaultSetup | None = None, fault_headers: dict[str, str] | None = None, seed: int = 1
) -> Any:
    """Return the outcomes of twelve requests, and the delays."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    emulator = Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS, sleep=sleep)
    emulator.freeze(START)
    emulator.seed("widgets", 9, {"kind": "round", "size": 1, "tags": ["a"]})
    if setup is not None:
        setup(emulator, seed)
    headers = {f"X-Emulator-{name}": text for name, text in (fault_headers or {}).items()}
    if fault_headers is not None:
        headers["X-Emulator-Seed"] = str(seed)
    found: list[Any] = []
    async with client(emulator) as http:
        http.base_url = httpx.URL("https://emulator")
        for number in range(12):
            query = {"limit": 3, "offset": number % 3 * 3}
            try:
                answer = await http.get(WIDGETS, params=query, headers=headers)
            except httpx.TransportError as error:
                found.append(type(error).__name__)
            else:
                after = answer.headers.get("retry-after")
                found.append((answer.status_code, after, answer.content))
    return found, slept


@pytest.mark.parametrize("kind", EVERY)
async def test_method_and_header_do_the_same(kind: str) -> None:
    setup, fault_headers = EVERY[kind]
    by_call, by_header = (
        await outcome_of(setup, seed=3),
        await outcome_of(fault_headers=fault_headers, seed=3),
    )
    assert by_call != await outcome_of()
    assert by_call == await outcome_of(setup, seed=3)
    assert by_header == await outcome_of(fault_headers=fault_headers, seed=3)
    if kind != "error rates":
        assert by_header == by_call
    else:
        # One lot for all statuses here, one for each there.
        for found, _ in (by_call, by_header):
            assert {status for status, _, _ in found} == {200, 500, 503}


@pytest.mark.parametrize("kind", CHANCE)
async def test_another_seed_gives_other_faults(kind: str) -> None:
    setup, fault_headers = CHANCE[kind]
    for arguments in ({"setup": setup}, {"fault_headers": fault_headers}):
        outcomes = [await outcome_of(**arguments, seed=seed) for seed in range(1, 5)]  # type: ignore[arg-type]
        assert any(outcome != outcomes[0] for outcome in outcomes[1:])


@pytest.mark.parametrize("kind", EQUIVALENT)
async def test_seed_has_no_effect_without_randomness(kind: str) -> None:
    setup, fault_headers = EQUIVALENT[kind]
    assert (
        await outcome_of(setup, seed=1)
        == await outcome_of(setup, seed=2)
        == await outcome_of(fault_headers=fault_headers, seed=5)
    )


async def test_bursts_by_header_follow_successes() -> None:
    found, _ = await outcome_of(fault_headers={"Fail": "429; retry-after=1; burst=2/5"})
    statuses = [one[0] for one in found]
    assert statuses == [200, 200, 200, 429, 429, 200, 200, 200, 429, 429, 200, 200]


async def test_stall_by_header_and_at_random() -> None:
    _, slept = await outcome_of(fault_headers={"Break": "stall"})
    assert slept == [0.2] * 12
    _, slept = await outcome_of(lambda e, s: e.faults.randomize(1, ["stall"], s))
    assert slept == [0.2] * 12
