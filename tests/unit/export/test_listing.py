"""Exports of lists: the report, and the fingerprint in a checkpoint."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from asyncposthog import (
    AsyncPostHog,
    ExportError,
    PaginationWarning,
    RequestOptions,
    registry,
)
from asyncposthog.export.list_columns import item_columns
from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: reports do not depend on it. `test_emulated` lists on both."""
    return "asyncio"


async def test_the_report_of_a_list(tmp_path: Path) -> None:
    emulator = Emulator()
    emulator.seed("cohorts", 45)
    async with AsyncPostHog.emulated(emulator) as ph:
        job = ph.export.list(ph.cohorts.list(limit=10))
        report = await job.to_jsonl(tmp_path / "cohorts.jsonl")
        assert (report.rows, report.requests, report.retries, report.waits) == (45, 5, 0, 0)
        assert report.bytes_received > report.bytes_written > 45
        wide = ph.export.list(ph.cohorts.list(limit=45), columns=["name"])
        assert (await wide.to_parquet(tmp_path / "cohorts")).checksum == report.checksum
        emulator.faults.fail(503, times=2)
        again = await job.to_csv(tmp_path / "cohorts.csv")
        assert (again.checksum, again.requests, again.retries) == (report.checksum, 7, 2)
        assert (again.waits, again.waited_seconds > 0) == (2, True)
        await ph.cohorts.create(name="one more")
        more = await job.to_jsonl(tmp_path / "more.jsonl")
        assert more.checksum != report.checksum


async def test_a_checkpoint_identifies_its_list(tmp_path: Path) -> None:
    emulator = Emulator()
    cohorts = [cohort["id"] for cohort in emulator.seed("cohorts", 2)]
    options: RequestOptions = {"project_id": 2}
    async with AsyncPostHog.emulated(emulator) as ph:
        state = tmp_path / "state"
        first, second = (ph.cohorts.persons(cohort) for cohort in cohorts)
        await ph.export.list(first).to_jsonl(tmp_path / "a", checkpoint=state)
        await ph.export.list(first).to_jsonl(tmp_path / "a", checkpoint=state)
        with pytest.raises(ExportError, match=r"ids was \[\d+\]"):
            await ph.export.list(second).to_jsonl(tmp_path / "a", checkpoint=state)
        state = tmp_path / "another"
        await ph.export.list(ph.cohorts.list()).to_jsonl(tmp_path / "b", checkpoint=state)
        for other in (
            ph.cohorts.list(options=options),
            ph.with_options(project_id=2).cohorts.list(),
        ):
            with pytest.raises(ExportError, match="project was 1 and is 2"):
                await ph.export.list(other).to_jsonl(tmp_path / "b", checkpoint=state)


async def test_a_list_that_differs_from_its_count_is_noted(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params.get("offset", 0))
        url = "https://us.posthog.com/api/projects/1/cohorts/?limit=10&offset=10"
        items = [{"id": number} for number in range(offset, min(offset + 10, 20))]
        following = url if offset == 0 else None
        return httpx.Response(200, json={"count": 23, "next": following, "results": items})

    transport = httpx.MockTransport(answer)
    async with AsyncPostHog("phx_x", project_id=1, limits=False, transport=transport) as ph:
        job = ph.export.list(ph.cohorts.list(limit=10))
        with pytest.warns(PaginationWarning, match="23"):
            report = await job.to_jsonl(tmp_path / "c.jsonl")
    assert report.rows == 20
    assert report.notes == (
        "the server counted 23 items, and its pages had 20: items may have been created or deleted "
        "during the export",
    )
    async with AsyncPostHog("phx_x", project_id=1, limits=False, transport=transport) as ph:
        tail = ph.export.list(ph.cohorts.list(limit=10, offset=10))
        with pytest.warns(PaginationWarning, match="23"):
            report = await tail.to_jsonl(tmp_path / "tail.jsonl")
    assert report.notes == ()


def empty(request: httpx.Request) -> httpx.Response:
    """Return a page without items."""
    return httpx.Response(200, json={"count": 0, "next": None, "previous": None, "results": []})


async def test_an_empty_list_has_the_columns_of_its_schema(
    tmp_path: Path,
) -> None:
    transport = httpx.MockTransport(empty)
    async with AsyncPostHog("phx_x", project_id=1, limits=False, transport=transport) as ph:
        job = ph.export.list(ph.cohorts.list())
        await job.to_parquet(tmp_path / "c.parquet")
        names = pq.read_schema(tmp_path / "c.parquet").names
        assert {"id", "name", "filters", "created_by"} <= set(names)
        assert "_create_in_folder" not in names  # write-only
        assert pq.read_table(tmp_path / "c.parquet").num_rows == 0
        await job.to_csv(tmp_path / "c.csv")
        assert (tmp_path / "c.csv").read_text() == ",".join(names) + "\n"
        await job.to_csv(tmp_path / "c.csv.gz")
        plain = gzip.decompress((tmp_path / "c.csv.gz").read_bytes())
        assert plain == (tmp_path / "c.csv").read_bytes()
        await job.to_jsonl(tmp_path / "c.jsonl")
        assert (tmp_path / "c.jsonl").read_bytes() == b""
        await ph.export.list(ph.surveys.list(), columns=["id"]).to_csv(tmp_path / "s.csv")
        assert (tmp_path / "s.csv").read_text() == "id\n"


async def test_every_list_operation_has_columns() -> None:
    bare = {op.id for op in registry.operations() if op.pagination and not item_columns(op)}
    assert bare == {"hog_flows.batch_jobs.list", "insights.suggestions.list"}
    names = {op.id for op in registry.operations() if item_columns(op) == ("value",)}
    assert names == {"integrations.github.branches", "users.integrations.github.branches"}


async def test_an_empty_first_page_does_not_fix_the_columns(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        later = "cursor" in request.url.params
        link = None if later else f"{request.url}?cursor=a"
        items = [{"id": "1", "surprise": 2}] if later else []
        return httpx.Response(200, json={"next": link, "previous": None, "results": items})

    transport = httpx.MockTransport(answer)
    async with AsyncPostHog("phx_x", project_id=1, limits=False, transport=transport) as ph:
        report = await ph.export.list(ph.annotations.list()).to_csv(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "id,surprise\n1,2\n"
    assert (report.rows, report.windows) == (1, 2)


@pytest.mark.parametrize("name", ["x.xlsx", "x.tsv", "x.arrow", "x.feather", "x.orc", "x.avro.gz"])
@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
async def test_unsupported_formats_are_errors(name: str, form: str, tmp_path: Path) -> None:
    transport = httpx.MockTransport(empty)
    async with AsyncPostHog("phx_x", project_id=1, limits=False, transport=transport) as ph:
        job = ph.export.list(ph.cohorts.list())
        with pytest.raises(ValueError, match=r"is not written: use \.jsonl, \.csv or \.parquet"):
            await getattr(job, f"to_{form}")(tmp_path / name)
    assert os.listdir(tmp_path) == []
