"""Syncs: rounds of new events and snapshots, each row once, whatever interrupts them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncposthog import ExportError
from asyncposthog.export.locks import FileLock
from asyncposthog.sync import Round, Sync, SyncConfig, SyncExport, parse_config
from posthog_emulator import Emulator
from tests.helpers.fake_query_api import (
    START,
    Server,
    client,
    events,
    export_clock,
    refusal,
    to_micros,
)
from tests.helpers.manual_clock import ManualClock

HOUR = 3600
CONFIG = """
state = "state"

[exports.events]
start = 2026-01-01T00:00:00Z
target = "{target}"
every = 3600
overlap = 7200
format = "jsonl"
"""


@pytest.fixture
def clock() -> ManualClock:
    return export_clock(START.timestamp() + HOUR)


@pytest.fixture
def memory() -> Iterator[Any]:
    from fsspec.implementations.memory import MemoryFileSystem

    filesystem = MemoryFileSystem()
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def make_config(tmp_path: Path, target: str = "memory://lake/events") -> SyncConfig:
    config = parse_config(CONFIG.format(target=target))
    return replace(config, state=str(tmp_path / "state"))


def uuids(memory: Any) -> list[str]:
    files = memory.find("/lake/events")
    return [json.loads(line)["uuid"] for f in files for line in memory.cat_file(f).splitlines()]


@pytest.mark.anyio
async def test_rounds_have_each_row_once_with_late_rows_and_failures(
    clock: ManualClock, memory: Any, tmp_path: Path
) -> None:
    every = sorted(events(400, spread=3 * HOUR * 1_000_000))
    server = Server([])
    rounds: list[Round] = []
    async with client(server, clock=clock) as ph:
        for hour in (1, 2, 3, 4):
            now = to_micros(START) + hour * HOUR * 1_000_000
            # Every fourth event arrives an hour late.
            server.rows = [
                row for n, row in enumerate(every) if row.time < now - n % 4 // 3 * HOUR * 1_000_000
            ]
            fails = hour == 3
            server.fault = lambda query, fails=fails: refusal(400) if fails else None
            complete = await Sync(ph, make_config(tmp_path), clock=clock).run(
                rounds.append, once=True
            )
            assert complete is not fails
            await clock.sleep(HOUR)
    assert [r.status for r in rounds] == ["ok", "ok", "failed", "ok"]
    # The last round finished the one that failed, with the end of that one.
    assert [r.number for r in rounds] == [1, 2, None, 3]
    assert sorted(uuids(memory)) == sorted(
        row.uuid for row in every if row.time < to_micros(START) + (3 * HOUR - 60) * 1_000_000
    )
    assert rounds[1].lag_seconds == pytest.approx(60, abs=1)
    assert rounds[2].error is not None


@pytest.mark.anyio
async def test_loop_keeps_its_schedule_and_cancellation_loses_nothing(
    clock: ManualClock, memory: Any, tmp_path: Path
) -> None:
    server = Server(events(300, spread=3 * HOUR * 1_000_000))
    rounds: list[Round] = []
    async with client(server, clock=clock) as ph:
        for stop_after in (2, 5):
            with anyio.CancelScope() as scope:

                def note(result: Round, stop_after: int = stop_after, scope: Any = scope) -> None:
                    rounds.append(result)
                    if len(rounds) == stop_after:
                        scope.cancel()

                await Sync(ph, make_config(tmp_path), clock=clock).run(note)
            assert scope.cancelled_caught
    assert [r.number for r in rounds] == [1, 2, 3, 4, 5]
    assert sorted(uuids(memory)) == sorted(row.uuid for row in server.rows)
    # A round without rows leaves no file.
    assert rounds[-1].rows == 0
    assert len(memory.find("/lake/events")) < 5


@pytest.mark.anyio
async def test_state_in_use_and_state_of_another_sync(
    clock: ManualClock, memory: Any, tmp_path: Path
) -> None:
    server = Server(events(50, spread=HOUR * 1_000_000))
    config = make_config(tmp_path)
    os.mkdir(config.state)
    async with client(server, clock=clock) as ph:
        lock = FileLock.acquire(Path(config.state) / ".sync.lock")
        assert lock is not None
        with pytest.raises(ExportError, match="used by another sync"):
            await Sync(ph, config, clock=clock).run(lambda result: None, once=True)
        lock.release()
        assert server.queries == []
        await Sync(ph, config, clock=clock).run(lambda result: None, once=True)
        other = SyncExport(
            name="events", kind="events", target="memory://lake/x", start=START, where="1"
        )
        failed: list[Round] = []
        changed = replace(config, exports=(other,))
        assert not await Sync(ph, changed, clock=clock).run(failed.append, once=True)
        assert "another export" in str(failed[0].error)
        state = tmp_path / "state" / "events.checkpoint"
        state.rename(tmp_path / "state" / "paid.checkpoint")
        renamed = replace(config, exports=(replace(config.exports[0], name="paid"),))
        await Sync(ph, renamed, clock=clock).run(failed.append, once=True)
        assert "not the state of the export paid" in str(failed[1].error)


def test_program_runs_a_configuration_once(
    store_emulator: Emulator,
    store_url: str,
    stored: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from asyncposthog.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTHOG_HOST", store_url)
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", store_emulator.key)
    monkeypatch.setenv("POSTHOG_PROJECT_ID", "1")
    cohorts = '[exports.cohorts]\ntarget = "cohorts.csv"\nformat = "csv"\n'
    Path("sync.toml").write_text(CONFIG.format(target="events") + cohorts)
    for rows in (len(stored), 0):
        assert main(["sync", "sync.toml", "--once"]) == 0
        out, err = capsys.readouterr()
        lines = [json.loads(line) for line in out.splitlines()]
        assert [(line["export"], line["rows"]) for line in lines] == [
            ("events", rows),
            ("cohorts", 3),
        ]
        assert "events: ok" in err
    assert [path.name for path in Path("events").iterdir()] == ["events-000001.jsonl"]
    Path("sync.toml").write_text('state = "state"\n[exports.nothing]\ntarget = "x.parquet"\n')
    assert main(["sync", "sync.toml", "--once"]) == 3
    assert "there is no list 'nothing'" in capsys.readouterr().err
    assert main(["sync", "absent.toml"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("state", "sstate"), "sstate is unknown"),
        (('state = "state"', ""), "state must be"),
        (("every = 3600", "every = 0"), r"exports.events.every must be 1 or more"),
        (("start = 2026-01-01T00:00:00Z", ""), r"exports.events.start is missing"),
        (("00:00:00Z", "00:00:00"), "must have an offset"),
        (('"jsonl"', '"xlsx"'), "must be parquet, jsonl or csv"),
        (("overlap", "overlaps"), r"exports.events.overlaps is unknown"),
        (("[exports.events]", "[exports.cohorts]"), "is for events only"),
        (("[exports.events]", "[exports"), "not TOML"),
    ],
)
def test_wrong_configuration_names_the_field(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_config(CONFIG.format(target="x").replace(*change, 1))


def test_durations_are_seconds() -> None:
    export = parse_config(CONFIG.format(target="x")).exports[0]
    assert timedelta(seconds=export.overlap) == timedelta(hours=2)
