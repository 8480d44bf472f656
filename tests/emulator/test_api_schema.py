"""What emulators of the same API share, and what they do not."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest

from posthog_emulator import Emulator
from posthog_emulator.api_schema import load_registry_schema
from posthog_emulator.schema.catalogue import Catalogue
from posthog_emulator.schema.sampling import SampleGenerator

from .conftest import client

PATHS = (
    "/api/projects/1/cohorts/",
    "/api/projects/1/insights/",
    "/api/projects/1/health_issues/summary/",
    "/api/users/@me/",
)


def test_the_registry_schema_is_shared() -> None:
    one, other = Emulator(), Emulator()
    assert one.state.plans is other.state.plans is load_registry_schema().plans
    assert one.state.store is not other.state.store
    assert gc.isenabled()


@pytest.mark.anyio
async def test_emulators_do_not_share_objects() -> None:
    one, other = Emulator(), Emulator()
    made = one.add("insights")
    made["tags"] = ["changed"]
    one.add("cohorts")["filters"] = {"properties": {"type": "OR"}}
    assert other.items("insights") == []
    assert other.add("insights")["tags"] != ["changed"]
    async with client(other) as http:
        assert (await http.get("/api/projects/1/cohorts/")).json()["count"] == 0


def test_defaults_are_copied() -> None:
    schemas = {"A": {"type": "object", "properties": {"b": {"type": "array", "default": ["c"]}}}}
    maker = SampleGenerator(Catalogue(schemas), "response", "plain")
    schema = {"$ref": "#/components/schemas/A"}
    maker.value(schema)["b"].append("d")
    assert maker.value(schema) == {"b": ["c"]}


def test_concurrent_first_use() -> None:
    async def asked() -> list[bytes]:
        emulator = Emulator()
        emulator.freeze("2026-03-01T12:00:00Z")
        emulator.seed("insights", 2)
        async with client(emulator) as http:
            answers: list[httpx.Response] = [await http.get(path) for path in PATHS]
        assert {answer.status_code for answer in answers} == {200}
        return [answer.content for answer in answers]

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(anyio.run, asked) for _ in range(12)]
        found = [one.result() for one in running]
    assert all(one == found[0] for one in found)
