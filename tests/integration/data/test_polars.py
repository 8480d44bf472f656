"""Scans with Polars over a real socket: what is asked of the server, and what comes back."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from asyncposthog import AsyncPostHog, ExportError, QueryError
from posthog_emulator import Emulator
from tests.integration.data.conftest import END, ROWS

START = END - timedelta(days=11)
MIDDLE = END - timedelta(days=5)


class Spy:
    """A client that records the queries it sends."""

    def __init__(self, emulator: Emulator, url: str) -> None:
        self.queries: list[str] = []
        self.client = AsyncPostHog(emulator.key, host=url, project_id=1, middleware=[self.record])

    async def record(self, request: httpx.Request, call_next: Any) -> Any:
        if request.content:
            self.queries.append(json.loads(request.content)["query"]["query"])
        return await call_next(request)


@pytest.fixture(scope="module")
def spy(data_emulator: Emulator, data_url: str) -> Spy:
    return Spy(data_emulator, data_url)


def test_time_range_columns_and_limit_reach_the_server(spy: Spy, stored: list[str]) -> None:
    import polars as pl

    from asyncposthog.contrib.polars import scan_events

    spy.queries.clear()
    time = pl.col("timestamp")
    frame = (
        scan_events(spy.client)
        .filter(time >= START, time < END)
        .select("uuid", "timestamp")
        .head(100)
        .collect()
    )
    assert frame["uuid"].to_list() == stored[:100]
    assert len(spy.queries) == 1
    assert spy.queries[0].startswith("SELECT uuid, timestamp\nFROM events\nWHERE")
    assert spy.queries[0].endswith("LIMIT 100")


def test_every_form_of_a_query_has_the_rows_of_the_whole_table(spy: Spy) -> None:
    import polars as pl

    from asyncposthog.contrib.polars import scan_events

    scan = scan_events(spy.client, START, END)
    whole = scan.collect()
    assert whole.height == ROWS
    time, event = pl.col("timestamp"), pl.col("event")
    predicates = [
        time.is_between(MIDDLE, END, closed="left") & (event == "$pageview"),
        (time > MIDDLE) | (event == "$pageview"),
        time == whole["timestamp"][7],
        pl.lit(MIDDLE) >= time,
        time.dt.hour() < 5,
    ]
    for predicate in predicates:
        for plan in (
            scan.filter(predicate),
            scan.select("uuid", "timestamp", "event").filter(predicate),
        ):
            assert plan.collect()["uuid"].to_list() == whole.filter(predicate)["uuid"].to_list()
    assert (
        scan.head(50).filter(time > MIDDLE).collect().equals(whole.head(50).filter(time > MIDDLE))
    )
    assert scan.filter(event == "$pageview").select("uuid").head(3).collect().height == 3
    assert scan.select(pl.len()).collect().item() == ROWS
    assert scan.filter(time < START).collect().height == 0


def test_sink_parquet_and_other_tables(spy: Spy, tmp_path: Path) -> None:
    import polars as pl

    from asyncposthog.contrib.polars import scan_events, scan_persons, scan_sessions

    scan = scan_events(
        spy.client, START, END, columns=["uuid", "properties.$browser AS b", "{x} AS x"],
        values={"x": 5},
    )  # fmt: skip
    scan.sink_parquet(tmp_path / "events.parquet")
    assert pl.read_parquet(tmp_path / "events.parquet").equals(scan.collect())
    assert scan.select("b").collect().columns == ["b"]  # without the value of the other column
    assert scan_persons(spy.client).select("id", "is_identified").collect().height > 0
    assert scan_sessions(spy.client, START).collect().schema["$pageview_count"] == pl.Int64


def test_bad_input(spy: Spy) -> None:
    import polars as pl

    from asyncposthog.contrib.polars import scan_events

    with pytest.raises((ExportError, pl.exceptions.ComputeError), match="no start of timestamp"):
        scan_events(spy.client).collect()
    with pytest.raises(QueryError, match="nope"):
        scan_events(spy.client, START, columns=["nope"])
    with pytest.raises(ValueError, match="not \\*"):
        scan_events(spy.client, START, columns=["*"])
