"""Exports from the emulator on a Dask cluster of two processes, with rate limits in Redis."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import duckdb
import pytest
from distributed import Client, LocalCluster

from asyncposthog import AsyncPostHog, ConfigurationError, ExportError
from asyncposthog.contrib.dask import REDIS_VARIABLE, export_events, from_environment
from asyncposthog.export import Report
from posthog_emulator import Emulator
from tests.integration.redis.redis_server import Server as RedisServer
from tests.integration.redis.redis_server import redis_server
from tests.integration.stores.conftest import s3
from tests.unit.cli.helpers import served

__all__ = ["redis_server", "s3"]

# Distributed warns if the machine is slow.
pytestmark = pytest.mark.filterwarnings("ignore:Creating scratch directories:UserWarning")

COUNT = 900
END = datetime(2026, 3, 1, tzinfo=UTC)
START = END - timedelta(days=4)
KEY = "phx_emulator"


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    emulator = Emulator()
    assert emulator.key == KEY
    emulator.add_demo_events(events=COUNT, days=3, until=END, duplicate_timestamps=0.3)
    return emulator


@pytest.fixture(scope="module")
def stored(emulator: Emulator) -> list[str]:
    """Return the UUIDs of all events in the order of an export."""
    rows = emulator.state.events.read(
        "SELECT toString(uuid) FROM events ORDER BY timestamp, toString(uuid)"
    )
    return [row[0] for row in rows]


@pytest.fixture(scope="module")
def cluster(emulator: Emulator, redis_server: RedisServer) -> Iterator[LocalCluster]:
    """Two workers with the environment of the emulator and of Redis."""
    with pytest.MonkeyPatch.context() as patch, served(emulator) as url:
        for name in ("POSTHOG_API_KEY", "POSTHOG_API_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("POSTHOG_HOST", url)
        patch.setenv("POSTHOG_PERSONAL_API_KEY", KEY)
        patch.setenv("POSTHOG_PROJECT_ID", "1")
        patch.setenv(REDIS_VARIABLE, redis_server.url)
        options: dict[str, Any] = {"dashboard_address": "127.0.0.1:0"}
        made: Any = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **options)
        with made as cluster:
            yield cluster


def rows_in(folder: Path) -> list[dict[str, Any]]:
    lines = [line for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def test_parts_cover_all_rows_once(
    cluster: LocalCluster, stored: list[str], redis_server: RedisServer, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []

    def note(done: int, of: int, part: Report) -> None:
        told.append((done, of))

    async def export(client: Client) -> tuple[Report, Report]:
        async with from_environment() as ph:
            whole = await ph.export.events(START, END).to_jsonl(tmp_path / "whole.jsonl")
        parted = await export_events(
            client,
            START,
            END,
            out=tmp_path / "parts",
            format="jsonl",
            page_size=90,
            partitions=6,
            on_part=note,
        )
        return whole, parted

    with Client(cluster) as client:
        whole, parted = anyio.run(export, client)
    rows = rows_in(tmp_path / "parts")
    assert [row["uuid"] for row in rows] == stored
    assert (parted.rows, parted.checksum) == (whole.rows, whole.checksum) == (COUNT, whole.checksum)
    count = len(told)
    assert 1 < count <= 6
    assert told == [(n + 1, count) for n in range(count)]
    names = [f"part-{n:05}.jsonl" for n in range(count)]
    assert sorted(os.listdir(tmp_path / "parts")) == names
    assert [Path(file.path).name for file in parted.files] == names
    assert parted.bytes_written == sum(
        path.stat().st_size for path in (tmp_path / "parts").iterdir()
    )
    with redis_server.client() as shared:
        assert any("asyncposthog" in str(key) for key in shared.scan_iter())


def test_asynchronous_client_and_columns(cluster: LocalCluster, tmp_path: Path) -> None:
    async def export() -> Report:
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            return await export_events(
                client, START, END, out=tmp_path / "parts", format="csv",
                event="$pageview", columns=["uuid", "event"],
                page_size=90, partitions=2,
            )  # fmt: skip

    report = anyio.run(export)
    lines = [p.read_text().splitlines() for p in sorted((tmp_path / "parts").iterdir())]
    assert {part[0] for part in lines} == {"uuid,event"}
    assert sum(len(part) - 1 for part in lines) == report.rows
    assert all(line.endswith(",$pageview") for part in lines for line in part[1:])


def test_parts_are_written_to_s3(
    cluster: LocalCluster, stored: list[str], s3: dict[str, Any]
) -> None:
    from s3fs import S3FileSystem

    async def export(client: Client, format: Any) -> Report:
        return await export_events(
            client, START, END, out=f"s3://lake/{format}", format=format,
            page_size=300, partitions=3, storage_options=s3,
        )  # fmt: skip

    filesystem: Any = S3FileSystem(**s3, use_listings_cache=False)
    with Client(cluster) as client:
        report = anyio.run(export, client, "jsonl")
        with pytest.raises(FileExistsError, match=r"s3://lake/jsonl exists"):
            anyio.run(export, client, "jsonl")
        parquet = anyio.run(export, client, "parquet")
    paths = sorted(filesystem.find("lake/jsonl"))
    assert [f"s3://{path}" for path in paths] == [file.path for file in report.files]
    lines = [line for path in paths for line in filesystem.cat_file(path).splitlines()]
    assert [json.loads(line)["uuid"] for line in lines] == stored
    assert (parquet.rows, parquet.checksum) == (report.rows, report.checksum)
    found = sorted(f"s3://{path}" for path in filesystem.find("lake/parquet"))
    assert found == [file.path for file in parquet.files]


def test_a_killed_worker_loses_no_rows(
    cluster: LocalCluster, emulator: Emulator, stored: list[str], tmp_path: Path
) -> None:
    killed: list[str] = []
    with Client(cluster) as client:
        workers: dict[str, Any] = cast("Any", cluster).workers
        processing: Callable[[], dict[str, Any]] = cast("Any", client).processing

        def kill(done: int, of: int, part: Report) -> None:
            if killed:
                return
            assert done < of - 1
            busy = {address for address, tasks in processing().items() if tasks}
            nanny = next(n for n in workers.values() if n.worker_address in busy)
            os.kill(nanny.pid, signal.SIGKILL)
            killed.append(nanny.worker_address)

        report = anyio.run(
            partial(
                export_events, client, START, END,
                out=tmp_path / "parts", page_size=60, partitions=10, on_part=kill,
            )
        )  # fmt: skip
    assert killed
    assert report.rows == COUNT
    found = sorted(str(path) for path in (tmp_path / "parts").rglob("*") if path.is_file())
    assert found == [file.path for file in report.files]
    with duckdb.connect() as db:
        rows = db.sql(
            f"SELECT uuid::VARCHAR, typeof(uuid) FROM '{tmp_path}/parts/*/*.parquet'"
        ).fetchall()
    assert Counter(uuid for uuid, _ in rows) == Counter(stored)
    assert {kind for _, kind in rows} == {"UUID"}
    assert sorted(os.listdir(tmp_path / "parts")) == sorted({f.split("/")[-2] for f in found})


def test_a_failed_part_is_named_and_leaves_no_file(
    cluster: LocalCluster, emulator: Emulator, tmp_path: Path
) -> None:
    def use_up(done: int, of: int, part: Report) -> None:
        emulator.faults.fail(402, detail="Used up.", times=None, path="*/query/")

    try:
        with Client(cluster) as client, pytest.raises(ExportError) as raised:
            anyio.run(
                partial(
                    export_events, client, START, END,
                    out=tmp_path / "parts", format="jsonl", page_size=30, on_part=use_up,
                )
            )  # fmt: skip
    finally:
        emulator.faults.clear()
    assert "Part " in str(raised.value)
    assert "Used up." in str(raised.value)
    assert KEY not in str(raised.value)
    whole = [path for path in (tmp_path / "parts").iterdir() if not path.name.startswith(".")]
    assert 1 <= len(whole) < 25
    assert all(path.read_bytes().endswith(b"\n") for path in whole)


def _no_cluster(arguments: dict[str, Any]) -> Callable[[], Any]:
    nobody: Any = None
    return partial(export_events, nobody, START, END, **arguments)


def test_connect_functions_with_a_key_are_rejected(cluster: LocalCluster, tmp_path: Path) -> None:
    careless = partial(AsyncPostHog, KEY, limits=False)
    with pytest.raises(ConfigurationError, match="unencrypted") as raised:
        anyio.run(_no_cluster({"out": tmp_path / "parts", "connect": careless}))
    assert KEY not in str(raised.value)
    with pytest.raises(TypeError, match="pickled"):
        anyio.run(_no_cluster({"out": tmp_path / "p", "connect": _Unpicklable()}))
    assert os.listdir(tmp_path) == []


class _Unpicklable:
    def __call__(self) -> AsyncPostHog:
        return AsyncPostHog(limits=False)

    def __reduce__(self) -> str:
        raise TypeError("this cannot be pickled")


def test_existing_output_and_missing_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(FileExistsError, match="not an empty folder"):
        anyio.run(_no_cluster({"out": tmp_path / "full"}))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        anyio.run(_no_cluster({"out": tmp_path / "no" / "where"}))
    with pytest.raises(ValueError, match="format must be"):
        anyio.run(_no_cluster({"out": tmp_path / "x", "format": "xlsx"}))
    monkeypatch.delenv(REDIS_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=REDIS_VARIABLE):
        anyio.run(_no_cluster({"out": tmp_path / "x"}))
    assert os.listdir(tmp_path) == ["full"]
