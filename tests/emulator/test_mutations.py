"""Mutated responses: fields, JSON, links, pages, latency."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import httpx
import pytest

from asyncposthog import AsyncPostHog, PaginationError, PostHogError, SchemaDrift
from posthog_emulator import Emulator
from posthog_emulator.faults.mutations import FIELD_MUTATIONS, NEW_FIELD, NEW_VALUE

pytestmark = pytest.mark.anyio

WIDGETS = "/api/projects/1/widgets/"


async def page(http: httpx.AsyncClient, **query: Any) -> Any:
    answer = await http.get(WIDGETS, params=query)
    assert answer.status_code == 200
    return answer.json()


def names(page: Any) -> list[str]:
    return [row["name"] for row in page["results"]]


# --- Fields -------------------------------------------------------------------------------------


async def test_missing_fields(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("widgets", 3)
    before = await page(tiny_http)
    tiny.faults.mutate_fields("missing")
    after = await page(tiny_http)
    assert after.keys() == before.keys()
    for whole, less in zip(before["results"], after["results"], strict=True):
        (gone,) = whole.keys() - less.keys()
        assert gone != "id"
        assert less == {name: value for name, value in whole.items() if name != gone}
    tiny.faults.clear()
    assert await page(tiny_http) == before


async def test_other_field_mutations(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("widgets", 1, {"kind": "round", "size": 3})
    (before,) = (await page(tiny_http))["results"]
    tiny.faults.mutate_fields("extra", times=1)
    (after,) = (await page(tiny_http))["results"]
    assert {k: v for k, v in after.items() if k != NEW_FIELD} == before
    assert NEW_FIELD in after
    tiny.faults.mutate_fields("null", fields=["size"], times=1)
    assert (await page(tiny_http))["results"] == [{**before, "size": None}]
    tiny.faults.mutate_fields("mistyped", fields=["size"], times=1)
    assert (await page(tiny_http))["results"] == [{**before, "size": "about 3"}]
    tiny.faults.mutate_fields("enum", times=1)
    assert (await page(tiny_http))["results"] == [{**before, "kind": NEW_VALUE}]
    assert (await page(tiny_http))["results"] == [before]


@pytest.mark.parametrize(
    ("field", "sent"),
    [("active", "true"), ("name", {"text": "a"}), ("tags", "[]"), ("created_by", [])],
)
async def test_mistyped_fields(
    tiny: Emulator, tiny_http: httpx.AsyncClient, field: str, sent: Any
) -> None:
    made = tiny.add("widgets", {"name": "a", "active": True, "tags": ["x"]})
    tiny.faults.mutate_fields("mistyped", fields=[field])
    shown = (await tiny_http.get(f"{WIDGETS}{made['id']}/")).json()
    assert shown == {**made, field: sent}


async def test_stored_objects_are_not_changed(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.faults.mutate_fields(seed=4)
    made = (await tiny_http.post(WIDGETS, json={"name": "a"})).json()
    tiny.faults.clear()
    assert (await tiny_http.get(f"{WIDGETS}{made['id']}/")).json() == tiny.items("widgets")[0]


async def test_errors_are_not_mutated(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    plain = (await tiny_http.get(f"{WIDGETS}9/")).json()
    tiny.faults.mutate_fields()
    assert (await tiny_http.get(f"{WIDGETS}9/")).json() == plain


async def test_the_same_seed_gives_the_same_mutations(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    tiny.seed("widgets", 20, {"kind": "round"})
    runs: list[Any] = []
    for seed in (1, 1, 2):
        tiny.faults.clear()
        tiny.faults.mutate_fields(rate=0.5, seed=seed)
        runs.append([await page(tiny_http) for _ in range(6)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert len({json.dumps(answer) for answer in runs[0]}) > 2


@pytest.mark.parametrize("kind", FIELD_MUTATIONS)
async def test_the_client_tolerates_mutated_fields(kind: Any) -> None:
    emulator = Emulator()
    emulator.seed("feature_flags", 5)
    emulator.faults.mutate_fields(kind)
    expected = pytest.warns(SchemaDrift) if kind == "mistyped" else nullcontext()
    async with AsyncPostHog.emulated(emulator) as ph:
        with expected:
            flags = await ph.feature_flags.list().collect()
    assert [flag["id"] for flag in flags] == [1, 2, 3, 4, 5]


# --- No JSON ------------------------------------------------------------------------------------


async def test_invalid_json(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("widgets", 2)
    tiny.faults.corrupt_json()
    tiny.faults.corrupt_json(times=None, seed=2)
    seen: set[bytes] = set()
    for _ in range(25):
        answer = await tiny_http.get(WIDGETS)
        assert answer.headers["content-length"] == str(len(answer.content))
        with pytest.raises(ValueError, match=r".+"):
            json.loads(answer.content.decode())
        seen.add(answer.content)
    assert len(seen) == 5


@pytest.mark.parametrize("status", [200, 404, 502])
async def test_html_errors(tiny: Emulator, tiny_http: httpx.AsyncClient, status: int) -> None:
    tiny.faults.html_error(status)
    answer = await tiny_http.get(WIDGETS)
    assert (answer.status_code, answer.text[:6]) == (status, "<html>")
    assert answer.headers["content-type"].startswith("text/html")


# --- Links and pages ----------------------------------------------------------------------------


async def test_mutated_links(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("widgets", 9)
    there = f"http://emulator{WIDGETS}"
    honest = await page(tiny_http, limit=3, offset=3)
    assert honest["next"] == f"{there}?limit=3&offset=6"
    tiny.faults.mutate_links("foreign", host="https://elsewhere.example:8443", times=1)
    led = await page(tiny_http, limit=3, offset=3)
    assert led["next"] == honest["next"].replace(
        "http://emulator", "https://elsewhere.example:8443"
    )
    assert led["previous"].startswith("https://elsewhere.example:8443/")
    tiny.faults.mutate_links("http", times=1)
    secure = httpx.AsyncClient(
        transport=tiny.transport(), base_url="https://emulator", headers=tiny_http.headers
    )
    async with secure as http:
        assert (await page(http, limit=3))["next"].startswith("http://emulator/")
    tiny.faults.mutate_links("previous", times=1)
    assert (await page(tiny_http, limit=3, offset=3))["previous"] == f"{there}?limit=3&offset=3"
    tiny.faults.mutate_links("loop", times=1)
    assert (await page(tiny_http, limit=3, offset=3))["next"] == f"{there}?limit=3&offset=3"
    assert await page(tiny_http, limit=3, offset=3) == honest
    tiny.faults.mutate_links("loop")
    assert (await page(tiny_http))["next"] is None


async def test_repeated_rows(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("widgets", 6)
    tiny.faults.mutate_pages("duplicate")
    assert names(await page(tiny_http, limit=3)) == ["widgets-0", "widgets-1", "widgets-2"]
    second = await page(tiny_http, limit=3, offset=3)
    assert names(second) == ["widgets-0", "widgets-1", "widgets-2"]
    assert names(await page(tiny_http, limit=3)) == ["widgets-0", "widgets-1", "widgets-2"]
    tiny.faults.clear()
    tiny.faults.mutate_pages("overlap")
    await page(tiny_http, limit=3)
    assert names(await page(tiny_http, limit=3, offset=3)) == [
        f"widgets-{number}" for number in (2, 3, 4, 5)
    ]


async def test_reordered_rows(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("widgets", 40)
    order = names(await page(tiny_http))
    tiny.faults.mutate_pages("shuffle")
    mixed = names(await page(tiny_http, limit=20))
    assert mixed != order[:20]
    assert sorted(mixed) == sorted(order[:20])
    tiny.faults.clear()
    tiny.faults.mutate_pages("reorder")
    both = [names(await page(tiny_http, limit=20, offset=at)) for at in (0, 20)]
    assert 20 < len({*both[0], *both[1]}) < 40


async def test_the_client_does_not_follow_foreign_links(tiny: Emulator) -> None:
    emulator = Emulator()
    emulator.seed("cohorts", 30)
    async with AsyncPostHog.emulated(emulator) as ph:
        emulator.faults.mutate_links("foreign", "http")
        assert len(await ph.cohorts.list(limit=10).collect()) == 30
        emulator.faults.clear()
        emulator.faults.mutate_links("loop")
        with pytest.raises(PaginationError):
            await ph.cohorts.list(limit=10).collect()
        emulator.faults.clear()
        emulator.faults.mutate_pages("duplicate")
        with pytest.raises(PaginationError):
            await ph.cohorts.list(limit=10).collect()
        emulator.faults.clear()
        emulator.faults.corrupt_json(times=None)
        with pytest.raises(PostHogError):
            await ph.cohorts.get(1)


# --- Latency and errors by chance ---------------------------------------------------------------


class RecordedSleeps:
    """A sleep that returns at once, and records its arguments."""

    def __init__(self, emulator: Emulator) -> None:
        self.seconds: list[float] = []
        emulator.settings.sleep = self

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.mark.parametrize(
    ("latency", "low", "high", "mean"),
    [
        (0.25, 0.25, 0.25, 0.25),
        ("0.25", 0.25, 0.25, 0.25),
        ("uniform 0.1 0.5", 0.1, 0.5, 0.3),
        ("normal 1 0.2", 0.0, 2.0, 1.0),
        ("lognormal 0.2 0.5", 0.0, 5.0, 0.227),
    ],
)
async def test_latency(
    tiny: Emulator,
    tiny_http: httpx.AsyncClient,
    latency: float | str,
    low: float,
    high: float,
    mean: float,
) -> None:
    runs: list[list[float]] = []
    for seed in (1, 1):
        sleeps = RecordedSleeps(tiny)
        tiny.faults.clear()
        tiny.faults.latency(latency, seed=seed)
        for _ in range(150):
            await tiny_http.get("/api/projects/1/settings/")
        runs.append(sleeps.seconds)
    assert runs[0] == runs[1]
    assert all(low <= seconds <= high for seconds in runs[0])
    assert sum(runs[0]) / 150 == pytest.approx(mean, rel=0.15)


async def test_latency_by_path_and_rate(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    sleeps = RecordedSleeps(tiny)
    tiny.faults.latency(1, path="*/settings/")
    tiny.faults.latency(2, path="*/settings/", method="get", times=1)
    tiny.faults.latency(8, path="*/widgets/", rate=0.5)
    await tiny_http.get("/api/projects/1/settings/")
    await tiny_http.get("/api/projects/1/settings/")
    for _ in range(40):
        await tiny_http.get(WIDGETS)
    assert sleeps.seconds[:2] == [3, 1]
    assert set(sleeps.seconds[2:]) == {8}
    assert 10 < len(sleeps.seconds) - 2 < 30


@pytest.mark.parametrize(
    "latency",
    [
        *("", "soon", "uniform 1", "uniform 2 1", "normal 1 2 3", "gamma 1 2", "-1"),
        *("lognormal 0 1", "nan", "uniform 1 inf"),
    ],
)
def test_invalid_latency(tiny: Emulator, latency: str) -> None:
    with pytest.raises(ValueError, match=r"latency|bounds"):
        tiny.faults.latency(latency)


async def test_error_rates(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    runs: list[list[int]] = []
    for seed in (1, 1, 2):
        tiny.faults.clear()
        tiny.faults.error_rates({500: 0.1, 429: 0.3}, seed=seed, retry_after=2)
        runs.append([(await tiny_http.get(WIDGETS)).status_code for _ in range(200)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert 10 < runs[0].count(500) < 32
    assert 42 < runs[0].count(429) < 78
    assert {*runs[0]} == {200, 429, 500}


async def test_bursts(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.faults.error_bursts(2, 5, retry_after=7, path="*/widgets/")
    seen = [await tiny_http.get(WIDGETS) for _ in range(10)]
    assert [answer.status_code for answer in seen] == [200, 200, 200, 429, 429] * 2
    assert seen[3].headers["retry-after"] == "7"
    assert (await tiny_http.get("/api/projects/1/settings/")).status_code == 200


async def test_combined_faults(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    sleeps = RecordedSleeps(tiny)
    tiny.seed("widgets", 4)
    tiny.faults.latency(3)
    tiny.faults.error_bursts(1, 2)
    tiny.faults.mutate_fields("extra")
    tiny.faults.mutate_links("foreign")
    answer = await page(tiny_http, limit=2)
    assert all(NEW_FIELD in row for row in answer["results"])
    assert answer["next"].startswith("https://posthog.invalid/")
    assert (await tiny_http.get(WIDGETS)).status_code == 429
    assert sleeps.seconds == [3, 3]
    tiny.reset()
    assert await page(tiny_http, limit=2) == await page(tiny_http, limit=2)
    assert sleeps.seconds == [3, 3]


@pytest.mark.parametrize(
    ("method", "given", "options", "message"),
    [
        ("mutate_fields", ["extinct"], {}, "kinds are some of"),
        ("mutate_links", ["sideways"], {}, "kinds are some of"),
        ("mutate_pages", ["torn"], {}, "kinds are some of"),
        ("mutate_fields", [], {"rate": 2}, "rate must be from 0 to 1"),
        ("latency", [1], {"times": 0}, "times must be at least 1"),
        ("error_bursts", [0, 5], {}, "burst"),
        ("error_bursts", [6, 5], {}, "burst"),
        ("error_rates", [{500: 0.7, 503: 0.7}], {}, "rates must be"),
        ("error_rates", [{500: -0.1}], {}, "rates must be"),
        ("error_rates", [{}], {}, "rates must be"),
    ],
)
def test_invalid_arguments(
    tiny: Emulator, method: str, given: list[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(tiny.faults, method)(*given, **options)
