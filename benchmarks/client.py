"""The client: coverage, import cost, cost of a call and of paging."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anyio
import httpx
from pydantic import TypeAdapter

from asyncposthog import AsyncPostHog, models
from benchmarks.measure import Row, alternate, median_of
from benchmarks.transport import example_flag
from codegen import pipeline

AREA = "client"
IMPORT_RUNS = 15
ALONE = "import asyncposthog\n"
OURS = 'import asyncposthog\nclient = asyncposthog.AsyncPostHog(api_key="phx_x", project_id=1)\n'
FLOOR = "import httpx, pydantic\nclient = httpx.AsyncClient()\n"
OFFICIAL = 'import posthog\nclient = posthog.Posthog("phc_x", host="http://127.0.0.1:9")\n'
DECODE = """
before = time.perf_counter()
from asyncposthog.decoding import decode
from asyncposthog.registry.families import {resource}
decode({resource}.GET.result, b'{{"id": 1, "key": "x"}}', strict=False,
       operation={resource}.GET, media="application/json")
spent = time.perf_counter() - before
started = time.perf_counter() - spent
"""
DECODE_BOUNDS = {"feature_flags": 0.3, "insights": 0.5}
"""First decode of one object of a resource, to the import of httpx and pydantic."""
ENDLESS = {"burst": (10**9, 60.0), "sustained": (10**9, 3600.0)}
"""Rate limits are on, as by default, and never reached."""
EVERYTHING = """
import asyncposthog.models as models
from pydantic import BaseModel
for name in models.__all__:
    value = getattr(models, name)
    if isinstance(value, type) and issubclass(value, BaseModel):
        value.model_rebuild()
"""


def rows() -> Iterator[Row]:
    """Measure the whole area."""
    yield coverage()
    yield from imports()
    yield from calls()


def coverage() -> Row:
    """Count the operations of the pinned schema that a method reaches."""
    generated = pipeline.build()
    surface = generated.surface
    reached = {o for m in surface.methods for o in m.operation.schema_operations}
    total = len(surface.schema_operations) + len(surface.skipped)
    added = sum(1 for m in surface.methods if m.operation.schema_gap_source)
    return Row(
        AREA, f"operations of the schema callable ({added} more added)",
        len(reached), total, len(reached) / total, 1.0, len(reached) == total, "operations",
    )  # fmt: skip


def imports() -> Iterator[Row]:
    """Compare import and construction with the bare dependencies and with the official SDK."""
    taken = alternate(
        {
            "alone": ALONE,
            "ours": OURS,
            "floor": FLOOR,
            "official": OFFICIAL,
            **{name: OURS + DECODE.format(resource=name) for name in DECODE_BOUNDS},
            "everything": OURS + EVERYTHING,
        },
        IMPORT_RUNS,
    )
    ours, floor, official = taken["ours"], taken["floor"], taken["official"]
    alone = taken["alone"]
    yield Row.ratio_of(AREA, "import, wall, to httpx + pydantic", alone[0], floor[0], 0.15, "ms")
    name = "import and construct"
    yield Row.ratio_of(AREA, f"{name}, wall, to httpx + pydantic", ours[0], floor[0], 0.65, "ms")
    yield Row.ratio_of(AREA, f"{name}, RSS, to httpx + pydantic", ours[1], floor[1], 1.0, "MiB")
    yield Row.ratio_of(AREA, f"{name}, wall, to posthog", ours[0], official[0], 0.9, "ms")
    yield Row.ratio_of(AREA, f"{name}, RSS, to posthog", ours[1], official[1], 0.9, "MiB")
    for resource, bound in DECODE_BOUNDS.items():
        what = f"first {resource} decode, to that import"
        yield Row.ratio_of(AREA, what, taken[resource][0], floor[0], bound, "ms")
    everything = taken["everything"]
    yield Row.information(AREA, "every model imported and built, wall", everything[0], "ms")
    yield Row.information(AREA, "every model imported and built, RSS", everything[1], "MiB")


def calls() -> Iterator[Row]:
    """Compare one call and a long list with hand-written httpx and pydantic."""
    flag = example_flag(1)
    single = json.dumps(flag).encode()
    seconds = anyio.run(_time_get, single)
    yield Row.ratio_of(
        AREA, "one get, to httpx + TypeAdapter",
        seconds["ours"] * 1e6, seconds["rival"] * 1e6, 1.4, "µs",
    )  # fmt: skip
    seconds = anyio.run(_time_list)
    yield Row.ratio_of(
        AREA, "10,000 items in pages of 100, to a loop by hand",
        seconds["ours"] * 1e3, seconds["rival"] * 1e3, 1.2, "ms",
    )  # fmt: skip


async def _time_get(body: bytes) -> dict[str, float]:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body, headers={"content-type": "application/json"})

    transport = httpx.MockTransport(answer)
    get_adapter = TypeAdapter(models.FeatureFlag)
    headers = {"authorization": "Bearer phx_x"}
    async with (
        AsyncPostHog(api_key="phx_x", project_id=1, transport=transport, limits=ENDLESS) as ph,
        httpx.AsyncClient(transport=transport, base_url="https://us.posthog.com") as bare,
    ):

        async def ours() -> None:
            for _ in range(200):
                await ph.feature_flags.get(1)

        async def rival() -> None:
            for _ in range(200):
                response = await bare.get("/api/projects/1/feature_flags/1/", headers=headers)
                get_adapter.validate_json(response.content)

        taken = await median_of({"ours": ours, "rival": rival}, 15)
    return {name: seconds / 200 for name, seconds in taken.items()}


async def _time_list() -> dict[str, float]:
    pages: dict[int, bytes] = {}
    for offset in range(0, 10_000, 100):
        path = "https://us.posthog.com/api/projects/1/feature_flags/"
        following = f"{path}?limit=100&offset={offset + 100}"
        page = {
            "count": 10_000,
            "next": following if offset < 9_900 else None,
            "previous": None,
            "results": [example_flag(offset + number) for number in range(100)],
        }
        pages[offset] = json.dumps(page).encode()

    def answer(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params.get("offset", 0))
        return httpx.Response(
            200, content=pages[offset], headers={"content-type": "application/json"}
        )

    transport = httpx.MockTransport(answer)
    envelope = models.PaginatedFeatureFlagList
    headers = {"authorization": "Bearer phx_x"}
    async with (
        AsyncPostHog(api_key="phx_x", project_id=1, transport=transport, limits=ENDLESS) as ph,
        httpx.AsyncClient(transport=transport, base_url="https://us.posthog.com") as bare,
    ):

        async def ours() -> None:
            seen = 0
            async for _ in ph.feature_flags.list(limit=100):
                seen += 1
            assert seen == 10_000

        async def rival() -> None:
            seen, url = 0, "/api/projects/1/feature_flags/?limit=100"
            while url:
                response = await bare.get(url, headers=headers)
                page = envelope.model_validate_json(response.content)
                for _ in page.results:
                    seen += 1
                url = page.next or ""
            assert seen == 10_000

        return await median_of({"ours": ours, "rival": rival}, 15)
