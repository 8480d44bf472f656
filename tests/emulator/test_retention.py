"""What an emulator keeps is bounded: in bytes, and not only in number."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthog_emulator import Emulator
from posthog_emulator import recorder as recording
from posthog_emulator.clickhouse.errors import MemoryLimitError
from posthog_emulator.clickhouse.inserts import insert_columns
from posthog_emulator.event_store import persons as people
from posthog_emulator.event_store import store
from posthog_emulator.event_store.store import EventStore
from posthog_emulator.features.batch_exports import object_store
from posthog_emulator.features.query import state as desk
from posthog_emulator.features.query.state import query_state
from posthog_emulator.retention import BoundedCache, BoundedLog

QUERY = "/api/projects/1/query/"
Connect = Callable[..., httpx.AsyncClient]

sizes = st.lists(st.integers(0, 30), max_size=60)


@given(sizes=sizes, items=st.integers(1, 10), most=st.integers(0, 100))
def test_a_log_keeps_the_latest_within_its_bounds(sizes: list[int], items: int, most: int) -> None:
    log: BoundedLog[int] = BoundedLog(items, most)
    for number, size in enumerate(sizes):
        log.append(number, size)
        kept = list(log)
        assert kept == list(range(number + 1))[-len(kept) :]
        assert len(kept) == len(log) <= items
        assert log.bytes == sum(sizes[n] for n in kept)
        assert log.bytes <= most or len(kept) == 1
    log.clear()
    assert (len(log), log.bytes) == (0, 0)


@given(
    puts=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=60),
    most=st.integers(0, 100),
)
def test_a_cache_keeps_the_latest_used_within_its_bound(
    puts: list[tuple[int, int]], most: int
) -> None:
    cache: BoundedCache[int, tuple[int, int]] = BoundedCache(most)
    for key, size in puts:
        cache.put(key, (key, size), size)
        assert cache.get(key) == ((key, size) if size <= most else None)
        kept = [found for one in range(10) if (found := cache.get(one)) is not None]
        assert cache.bytes == sum(size for _, size in kept) <= most
        assert len(kept) == len(cache)


def test_what_was_used_last_stays() -> None:
    cache: BoundedCache[str, str] = BoundedCache(2)
    cache.put("a", "A", 1)
    cache.put("b", "B", 1)
    assert cache.get("a") == "A"
    cache.put("c", "C", 1)
    assert [cache.get(key) for key in "abc"] == ["A", None, "C"]


async def ask(http: httpx.AsyncClient, sql: str, **more: Any) -> dict[str, Any]:
    query = {"kind": "HogQLQuery", "query": sql}
    answer = await http.post(QUERY, json={"query": query, **more})
    assert answer.status_code in {200, 202}, answer.text
    body: dict[str, Any] = answer.json()
    return body


def large(name: int) -> str:
    return f"SELECT '{name}', repeat('x', 1000) FROM numbers(100)"


@pytest.mark.anyio
async def test_results_are_kept_for_a_while_and_not_all_of_them(
    emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_MAX_CACHE_BYTES", 550_000)
    async with connect(emulator) as http:
        for name in range(12):
            assert not (await ask(http, large(name), refresh="force_blocking"))["is_cached"]
        cache = query_state(emulator.state).cache
        assert (len(cache), cache.bytes <= 550_000) == (5, True)
        assert (await ask(http, large(11)))["is_cached"]
        assert not (await ask(http, large(0)))["is_cached"]


@pytest.mark.anyio
async def test_jobs_are_dropped_when_their_time_is_over_or_they_take_too_much(
    emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_MAX_JOB_BYTES", 350_000)
    async with connect(emulator) as http:

        async def run(name: int) -> int:
            await ask(http, large(name), refresh="force_async", client_query_id=f"q{name}")
            return (await http.get(f"{QUERY}q{name}/")).status_code

        assert [await run(name) for name in range(8)] == [200] * 8
        jobs = query_state(emulator.state)
        assert [name for _, name in jobs.async_queries] == ["q4", "q5", "q6", "q7"]
        assert (await http.get(f"{QUERY}q7/")).status_code == 200
        assert (await http.get(f"{QUERY}q0/")).status_code == 404
        emulator.advance(timedelta(minutes=21))
        assert await run(8) == 200
        assert [name for _, name in jobs.async_queries] == ["q8"]


@pytest.mark.anyio
async def test_large_requests_are_forgotten_earlier_than_small_ones(
    emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_MAX_BYTES", 100_000)
    async with connect(emulator) as http:
        for number in range(50):
            body = {"name": f"c{number}", "description": "x" * 9_000}
            await http.post("/api/projects/1/cohorts/", json=body)
        found = emulator.requests
        assert 5 <= len(found) < 12
        assert sum(request.size for request in found) <= 100_000
        assert [request.body["name"] for request in found][-2:] == ["c48", "c49"]
        await http.post(
            "/api/projects/1/cohorts/", json={"name": "y", "description": "y" * 200_000}
        )
        assert [request.body["name"] for request in found] == ["y"]
        emulator.requests.clear()
        await http.get("/api/projects/1/cohorts/")
        assert len(found) == 1


@pytest.mark.anyio
async def test_captured_events_are_remembered_within_bounds_and_none_is_lost(
    emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_MAX_RECENT_BYTES", 50_000)
    async with connect(emulator, None) as http:
        for number in range(20):
            event = {"event": f"e{number}", "distinct_id": "d", "properties": {"x": "x" * 9_000}}
            body = {"api_key": "phc_emulator", "batch": [event]}
            assert (await http.post("/batch/", json=body)).status_code == 200
    assert [one["event"] for one in emulator.captured_events()] == [
        "e15",
        "e16",
        "e17",
        "e18",
        "e19",
    ]
    assert emulator.state.events.read("SELECT count() FROM events") == [(20,)]


def test_large_events_do_not_wait_for_many_others(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []

    def count(*arguments: Any, **options: Any) -> None:
        if arguments[1] == "events":
            batches.append(len(arguments[3][0]))
        insert_columns(*arguments, **options)

    monkeypatch.setattr(store, "insert_columns", count)
    monkeypatch.setattr(store, "_MAX_BUFFERED_BYTES", 50_000)
    kept = EventStore()
    for number in range(100):
        kept.append(1, [{"event": f"e{number}", "properties": {"x": "x" * 1_000}}])
    kept.flush()
    assert batches == [50, 50]
    assert kept.read("SELECT count() FROM events") == [(100,)]
    kept.close()


def test_persons_are_forgotten_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "_MAX_CACHED", 10)
    kept = EventStore()
    for number in range(35):
        personal = {"$process_person_profile": False} if number % 2 else {"$set": {"n": number}}
        kept.append(1, [{"event": "e", "distinct_id": f"d{number}", "properties": personal}])
        kept.flush()
    ids = kept.read("SELECT distinct_id, toString(person_id) FROM events")
    known = kept.project(1).persons
    assert dict(ids) == {name: known.person_id(name) for name, _ in ids}
    assert [p.properties for n in (0, 34) if (p := known.find(f"d{n}"))] == [{"n": 0}, {"n": 34}]
    kept.close()


@pytest.mark.parametrize("in_folder", [False, True])
def test_clickhouse_is_bounded_and_writes_nothing_where_it_runs(
    in_folder: bool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = EventStore(tmp_path / "events" if in_folder else None)
    kept.append(1, [{"event": "e"}])
    ((limit,),) = kept.read("SELECT getSetting('max_memory_usage')")
    assert 0 < limit <= 2 * 1024**3
    distinct = "SELECT uniqExact(hex(MD5(toString(number)))) FROM numbers(700000)"
    with pytest.raises(MemoryLimitError):
        kept.run_query(distinct, settings={"max_memory_usage": 20_000_000})
    assert kept.run_query("SELECT count() FROM events").rows == b"[[1]]"
    kept.close()
    assert [path.name for path in tmp_path.iterdir()] == (["events"] if in_folder else [])


def test_files_of_exports_are_deleted_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_MAX_BYTES", 2500)
    kept = object_store.ObjectStore()
    paths = [kept.path(f"run{number}/file") for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * 1000)
        os.utime(path, (number, number))
        kept.prune([path])
    assert [path.exists() for path in paths] == [False, False, False, True, True]
    paths[0].write_bytes(b"x" * 10_000)
    kept.prune([paths[0]])
    assert [path.exists() for path in paths] == [True, False, False, False, False]
