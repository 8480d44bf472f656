"""The dlt source, into DuckDB and into files: a second run loads nothing new."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from posthog_emulator import Emulator
from tests.integration.stores.conftest import END

START = END - timedelta(days=11)

pytestmark = pytest.mark.filterwarnings("ignore")  # dlt and its dependencies use old interfaces


@pytest.fixture
def make_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "ERROR")
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.chdir(tmp_path)
    import dlt

    def make(destination: Any) -> Any:
        return dlt.pipeline(
            "posthog",
            destination=destination,
            dataset_name="posthog",
            pipelines_dir=str(tmp_path / "pipelines"),
        )

    return make


def loaded(pipeline: Any) -> dict[str, int]:
    counts = pipeline.last_trace.last_normalize_info.row_counts
    return {name: count for name, count in counts.items() if not name.startswith("_dlt")}


def test_duckdb_has_each_row_once_after_each_run(
    make_pipeline: Callable[[Any], Any],
    store_emulator: Emulator,
    store_url: str,
    stored: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import dlt
    import duckdb

    from asyncposthog.contrib.dlt import hogql, posthog

    monkeypatch.setenv("SOURCES__POSTHOG__API_KEY", store_emulator.key)
    pipeline = make_pipeline(dlt.destinations.duckdb(str(tmp_path / "web.duckdb")))

    def run() -> dict[str, int]:
        source: Any = posthog(START, host=store_url, project_id=1)
        query = hogql(
            "names",
            "SELECT DISTINCT event FROM events",
            key="event",
            api_key=store_emulator.key,
            host=store_url,
            project_id=1,
        )
        resources = source.with_resources("events", "sessions", "cohorts", "persons")
        pipeline.run([resources, query])
        return loaded(pipeline)

    first = run()
    assert first["events"] == len(stored)
    assert first["cohorts"] == 3
    second = run()
    assert second["events"] < 100  # those of the last day
    with duckdb.connect(str(tmp_path / "web.duckdb")) as connection:
        for table, key in (("events", "uuid"), ("sessions", "session_id"), ("persons", "id")):
            counts: Any = connection.execute(
                f"SELECT count(*), count(DISTINCT {key}) FROM posthog.{table}"
            ).fetchone()
            assert counts == (first[table], first[table])
        rows = connection.execute(
            "SELECT uuid FROM posthog.events ORDER BY timestamp, uuid"
        ).fetchall()
        names = connection.execute("SELECT count(*) FROM posthog.names").fetchone()
    assert [str(row[0]) for row in rows] == stored
    assert names == (first["names"],)


def test_files_get_no_row_again_without_a_look_back(
    make_pipeline: Callable[[Any], Any],
    store_emulator: Emulator,
    store_url: str,
    stored: list[str],
    tmp_path: Path,
) -> None:
    import dlt
    from pyarrow import parquet

    from asyncposthog.contrib.dlt import posthog

    pipeline = make_pipeline(dlt.destinations.filesystem(f"file://{tmp_path}/lake"))
    arguments: Any = {"api_key": store_emulator.key, "host": store_url, "project_id": 1}
    for end in (END - timedelta(days=3), END, END):
        source: Any = posthog(START, end, look_back=timedelta(0), **arguments)
        pipeline.run(source.with_resources("events"), loader_file_format="parquet")
    files = (tmp_path / "lake" / "posthog" / "events").glob("*.parquet")
    tables: list[Any] = [parquet.ParquetFile(path).read(["uuid"]) for path in files]
    assert sorted(uuid for table in tables for uuid in table["uuid"].to_pylist()) == sorted(stored)


def test_bad_arguments_are_told_before_anything_is_sent() -> None:
    from asyncposthog.contrib.dlt import hogql, posthog

    with pytest.raises(ValueError, match="time zone"):
        posthog(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="look_back"):
        posthog(START, look_back=timedelta(days=-1))
    with pytest.raises(ValueError, match="pair of a time column"):
        hogql("names", "SELECT 1", key="event", start=START)
