"""Exports to tables of Delta Lake and Iceberg: each row once, whatever happened before."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncposthog import AsyncPostHog, ExportError
from asyncposthog.export import ExportJob, Report
from tests.helpers.fake_query_api import START, Server, client, events

END = START + timedelta(days=3)
ROWS = 400


@pytest.fixture
def server() -> Server:
    return Server(events(ROWS, ties=3, spread=3 * 86_400_000_000))


def job(ph: AsyncPostHog, **options: Any) -> ExportJob:
    return ph.export.events(START, END, page_size=50, **options)


def delta_rows(path: Path) -> list[str]:
    from deltalake import DeltaTable

    return sorted(DeltaTable(path).to_pyarrow_table()["uuid"].to_pylist())


async def killed_after_commits(
    write: Callable[[], Any], table: type[Any], commits: int, patch: pytest.MonkeyPatch
) -> None:
    """Export, and stop as a kill would: after a commit, before anything else is saved."""
    append = table.append
    remaining = commits

    def fail(self: Any, *arguments: Any) -> None:
        nonlocal remaining
        append(self, *arguments)
        remaining -= 1
        if not remaining:
            raise RuntimeError("killed")

    with patch.context() as patched:
        patched.setattr(table, "append", fail)
        with pytest.raises(ExportError, match="killed"):
            await write()


@pytest.mark.anyio
async def test_delta_table_has_each_row_once_after_kills_and_repeats(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncposthog.export.sinks.delta_table import DeltaTable

    path = tmp_path / "events"
    async with client(server) as ph:

        async def write() -> Report:
            return await job(ph).to_delta(path, rows_per_commit=100)

        for commits in (1, 2):
            await killed_after_commits(write, DeltaTable, commits, monkeypatch)
        before = len(server.pages)
        report = await write()
        assert report.resumed
        assert report.rows == ROWS
        assert len(server.pages) - before < ROWS / 50
        sent = len(server.queries)
        again = await write()
        assert (again.rows, again.checksum) == (ROWS, report.checksum)
        assert len(server.queries) == sent
        # Another range of the same table is another export.
        with pytest.raises(FileExistsError, match="append=True"):
            await ph.export.events(START, START + timedelta(days=1)).to_delta(path)
    assert delta_rows(path) == sorted(event.uuid for event in server.rows)


@pytest.mark.anyio
async def test_open_end_is_kept_in_the_checkpoint(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncposthog.export.sinks.delta_table import DeltaTable

    path = tmp_path / "events"
    async with client(server) as ph:
        open_ended = ph.export.events(START, END, page_size=50, min_age=60)
        with pytest.raises(ValueError, match="checkpoint=PATH"):
            await open_ended.to_delta(path)

        async def write() -> Report:
            return await open_ended.to_delta(
                path, rows_per_commit=100, checkpoint=tmp_path / "state"
            )

        await killed_after_commits(write, DeltaTable, 2, monkeypatch)
        await write()
    assert delta_rows(path) == sorted(event.uuid for event in server.rows)


@pytest.mark.anyio
async def test_table_with_other_columns_is_refused(server: Server, tmp_path: Path) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    path = tmp_path / "other"
    write_deltalake(path, pa.table({"uuid": ["x"], "event": [1]}))
    async with client(server) as ph:
        with pytest.raises(ExportError, match=r"column event of type int64.*has string"):
            await job(ph).to_delta(path, append=True)
        with pytest.raises(ValueError, match="has no time range"):
            await ph.export.list(ph.cohorts.list()).to_delta(path)
        with pytest.raises(ValueError, match="rows_per_commit"):
            await job(ph).to_delta(path, rows_per_commit=0)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("deltalake", "pyiceberg.catalog"):
                patch.setitem(sys.modules, name, None)
            with pytest.raises(ImportError, match=r"asyncposthog\[delta\]"):
                await job(ph).to_delta(path)
            with pytest.raises(ImportError, match=r"asyncposthog\[iceberg\]"):
                await job(ph).to_iceberg("web.events")


@pytest.mark.asyncio
async def test_iceberg_table_has_each_row_once_after_kills_and_repeats(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    from asyncposthog.export.sinks.iceberg_table import IcebergTable

    catalog = SqlCatalog(
        "local", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse"
    )
    async with client(server) as ph:

        async def write() -> Report:
            return await job(ph).to_iceberg("web.events", catalog=catalog, rows_per_commit=150)

        await killed_after_commits(write, IcebergTable, 1, monkeypatch)
        report = await write()
        assert report.resumed
        sent = len(server.queries)
        assert (await write()).rows == ROWS
        assert len(server.queries) == sent
        with pytest.raises(FileExistsError, match=r"local.web.events already exists"):
            await ph.export.events(START, START + timedelta(days=1)).to_iceberg(
                "web.events", catalog=catalog
            )
        with pytest.raises(ValueError, match=r"namespace.table"):
            await job(ph).to_iceberg("events", catalog=catalog)
        with pytest.raises(ExportError, match=r"Cannot read the iceberg table nowhere.a.b"):
            await job(ph).to_iceberg("a.b", catalog="nowhere")
    rows = catalog.load_table("web.events").scan().to_arrow()["uuid"].to_pylist()
    assert sorted(rows) == sorted(event.uuid for event in server.rows)
    catalog.close()
