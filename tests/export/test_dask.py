"""Exports on a real Dask cluster of two processes, with their limits in a real Redis."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from distributed import Client, LocalCluster

from asyncposthog import AsyncPostHog, ConfigurationError, ExportError
from asyncposthog.export import Report
from asyncposthog.export.dask import REDIS_VARIABLE, export_events, from_environment
from tests.cli.kit import served_model
from tests.export.model import START, Server, events, refusal
from tests.limits.redis_server import Server as RedisServer
from tests.limits.redis_server import redis_server

__all__ = ["redis_server"]

END = START + timedelta(days=1)
KEY = "phx_" + "Dask" * 8


@pytest.fixture(scope="module")
def server() -> Server:
    return Server(events(3_000, ties=3))


@pytest.fixture(scope="module")
def cluster(server: Server, redis_server: RedisServer) -> Iterator[LocalCluster]:
    """Two workers whose environment says where everything is."""
    with pytest.MonkeyPatch.context() as patch, served_model(server) as url:
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


def test_the_parts_are_all_rows_once(
    cluster: LocalCluster, server: Server, redis_server: RedisServer, tmp_path: Path
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
            page_size=300,
            partitions=6,
            on_part=note,
        )
        return whole, parted

    with Client(cluster) as client:
        whole, parted = anyio.run(export, client)
    rows = rows_in(tmp_path / "parts")
    assert [row["uuid"] for row in rows] == [row.uuid for row in server.rows]
    assert (parted.rows, parted.checksum) == (whole.rows, whole.checksum) == (3_000, whole.checksum)
    count = len(told)
    assert 1 < count <= 6
    assert told == [(n + 1, count) for n in range(count)]
    names = [f"part-{n:05}.jsonl" for n in range(count)]
    assert sorted(os.listdir(tmp_path / "parts")) == names
    assert [Path(file.path).name for file in parted.files] == names
    assert parted.written == sum(path.stat().st_size for path in (tmp_path / "parts").iterdir())
    with redis_server.client() as shared:
        assert any("asyncposthog" in str(key) for key in shared.scan_iter())


def test_an_asynchronous_client_and_columns_of_choice(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    async def export() -> Report:
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            return await export_events(
                client, START, END, out=tmp_path / "parts", format="csv",
                event="signed up", columns=["uuid", "event"],
                page_size=300, partitions=2,
            )  # fmt: skip

    report = anyio.run(export)
    lines = [p.read_text().splitlines() for p in sorted((tmp_path / "parts").iterdir())]
    assert {part[0] for part in lines} == {"uuid,event"}
    assert sum(len(part) - 1 for part in lines) == report.rows
    assert all(line.endswith(",signed up") for part in lines for line in part[1:])


def test_a_part_that_fails_says_which_and_leaves_no_half_file(
    cluster: LocalCluster, server: Server, tmp_path: Path
) -> None:
    server.fault = lambda ask: None if ask.counts else refusal(402, "quota", "Used up.")
    try:
        with Client(cluster) as client, pytest.raises(ExportError) as raised:
            anyio.run(
                partial(
                    export_events, client, START, END,
                    out=tmp_path / "parts", format="jsonl", page_size=300,
                )
            )  # fmt: skip
    finally:
        server.fault = lambda ask: None
    assert "Part " in str(raised.value)
    assert "Used up." in str(raised.value)
    assert KEY not in str(raised.value)
    visible = [name for name in os.listdir(tmp_path / "parts") if not name.startswith(".")]
    assert visible == []


def _no_cluster(arguments: dict[str, Any]) -> Callable[[], Any]:
    nobody: Any = None
    return partial(export_events, nobody, START, END, **arguments)


def test_what_would_carry_the_key_is_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    careless = partial(AsyncPostHog, KEY, limits=False)
    with pytest.raises(ConfigurationError, match="in clear") as raised:
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


def test_nothing_is_written_over_and_the_limits_must_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(FileExistsError, match="no empty folder"):
        anyio.run(_no_cluster({"out": tmp_path / "full"}))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        anyio.run(_no_cluster({"out": tmp_path / "no" / "where"}))
    with pytest.raises(ValueError, match="format must be"):
        anyio.run(_no_cluster({"out": tmp_path / "x", "format": "xlsx"}))
    monkeypatch.delenv(REDIS_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=REDIS_VARIABLE):
        anyio.run(_no_cluster({"out": tmp_path / "x"}))
    assert os.listdir(tmp_path) == ["full"]
