"""Exports and results as Arrow: readers for synchronous code, tables, the PyCapsule interface."""

from __future__ import annotations

import gc
import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest

from asyncposthog import AsyncPostHog, ClosedError, ConfigurationError, QueryError
from asyncposthog.core.background import BackgroundIterator, BackgroundLoop
from posthog_emulator import Emulator
from tests.integration.data.conftest import END, ROWS

START = END - timedelta(days=11)


@pytest.fixture(scope="module")
def ph(data_emulator: Emulator, data_url: str) -> AsyncPostHog:
    """A client that no event loop has used."""
    return AsyncPostHog(data_emulator.key, host=data_url, project_id=1)


def event_loop_threads() -> list[str]:
    gc.collect()
    return [t.name for t in threading.enumerate() if t.name == "asyncposthog event loop"]


def test_reader_has_every_row_once_in_order(ph: AsyncPostHog, stored: list[str]) -> None:
    reader: Any = ph.export.events(START, END, page_size=100).to_reader()
    assert type(reader).__name__ == "RecordBatchReader"
    assert reader.read_all()["uuid"].to_pylist() == stored
    assert event_loop_threads() == []


def test_reader_that_is_dropped_half_way_leaves_no_thread(ph: AsyncPostHog) -> None:
    reader: Any = ph.export.events(START, END, page_size=100).to_reader()
    assert reader.read_next_batch().num_rows
    assert len(event_loop_threads()) == 1
    del reader
    assert event_loop_threads() == []


def test_reader_of_no_rows_has_the_columns(ph: AsyncPostHog) -> None:
    start = START - timedelta(days=50)
    table: Any = ph.export.events(start, start + timedelta(days=1)).to_reader().read_all()
    assert table.num_rows == 0
    assert "timestamp: timestamp[us, tz=UTC]" in str(table.schema)


def test_error_of_a_query_is_raised_as_it_is(ph: AsyncPostHog) -> None:
    with pytest.raises(QueryError, match="nope"):
        ph.export.events(START, END, columns=["nope"]).to_reader()
    assert event_loop_threads() == []


def test_jobs_and_lists_are_arrow_streams(ph: AsyncPostHog, stored: list[str]) -> None:
    import polars as pl
    import pyarrow as pa

    job = ph.export.events(START, END, columns=["uuid", "timestamp"])
    assert pl.DataFrame(job)["uuid"].to_list() == stored
    assert pa.table(ph.export.list(ph.cohorts.list())).num_rows == 3


def test_client_with_connections_of_its_own_is_rejected(data_emulator: Emulator) -> None:
    ph = AsyncPostHog(data_emulator.key, project_id=1, http_client=httpx.AsyncClient())
    with pytest.raises(ConfigurationError, match="http_client"):
        ph.export.events(START, END).to_reader()
    with pytest.raises(ValueError, match="overlap="):
        ph.export.events(START, END, overlap=60).to_reader()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_table_and_reader_inside_an_event_loop(
    data_emulator: Emulator, data_url: str
) -> None:
    import pyarrow as pa

    async with AsyncPostHog(data_emulator.key, host=data_url, project_id=1) as ph:
        job = ph.export.events(START, END, page_size=250)
        table: Any = await job.to_arrow(uuids=True)
        assert table.num_rows == ROWS
        assert table.schema.field("uuid").type == pa.uuid()
        reader: Any = job.to_reader(uuids=True)  # while the client is in use in this loop
        assert reader.read_all().equals(table)
        result = await ph.query("SELECT event, count() AS n FROM events GROUP BY event")
        assert pa.table(result).column_names == ["event", "n"]
        # What the other event loop sent counts for the limits of this client as well.
        assert ph.rate_limits["api_queries_burst"].used >= 7


def test_background_loop_ends_its_tasks_before_it_closes() -> None:
    import anyio

    order: list[str] = []
    started = threading.Event()
    errors: list[BaseException] = []

    async def forever() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            order.append("task")

    async def close() -> None:
        order.append("closed")

    def wait() -> None:
        try:
            loop.run(forever)
        except ClosedError as error:
            errors.append(error)

    loop = BackgroundLoop()
    loop.on_close(close)
    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()
    loop.close()
    thread.join()
    assert order == ["task", "closed"]
    assert len(errors) == 1
    with pytest.raises(ClosedError):
        loop.run(close)


def test_iterator_makes_only_a_few_items_ahead_of_the_reader() -> None:
    made: list[int] = []

    async def produce(emit: Any) -> None:
        for number in range(50):
            made.append(number)
            await emit(number)

    iterator = BackgroundIterator[int](BackgroundLoop(), produce)
    assert [next(iterator), next(iterator)] == [0, 1]
    assert len(made) <= 4
    assert list(iterator) == list(range(2, 50))
    assert list(iterator) == []
