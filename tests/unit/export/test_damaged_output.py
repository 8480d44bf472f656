"""Files of an earlier run are compared with their checksums before they are used or renamed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncposthog import ExportError
from asyncposthog.export import Progress, Report
from asyncposthog.export.engines.files.cache import JobFolder
from asyncposthog.export.sinks import parquet_targets
from tests.helpers.fake_query_api import (
    START,
    Server,
    client,
    events,
    export_clock,
    to_datetime,
    to_micros,
)
from tests.integration.export.holding_server import everything

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: what is compared is on disk. `test_events` writes files on both."""
    return "asyncio"


COUNT = 200
END = to_datetime(to_micros(START) + 86_400_000_000)


class Interrupted(Exception):
    pass


async def export(kind: str, folder: Path, stop_at: int = 0, **given: Any) -> tuple[Report, int]:
    """Export into a folder, at most `stop_at` rows. Return the number of queries too."""

    def on_progress(progress: Progress) -> None:
        if 0 < stop_at <= progress.rows:
            raise Interrupted

    server = Server(events(COUNT))
    given |= {"on_progress": on_progress}
    async with client(server) as ph:
        job = ph.export.events(START, END, page_size=25, engine="query")
        if kind == "jsonl":
            report = await job.to_jsonl(folder / "e.jsonl", **given)
        elif kind == "file":
            report = await job.to_parquet(folder / "e.parquet", rows_per_group=10, **given)
        else:
            report = await job.to_parquet(folder / "e", rows_per_file=40, **given)
    return report, len(server.queries)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def outputs(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in {".jsonl", ".parquet"}]


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_targets, "_PART_ROWS", 50)


DAY = "date=2026-01-01"
RUNNING = [
    ("jsonl", ".e.jsonl.partial", {}),
    ("file", ".e.parquet.parts/part-00001.parquet", {}),
    ("folder", f"e/{DAY}/part-00001.parquet", {}),
    ("folder", f"e/.new/{DAY}/part-00001.parquet", {"overwrite": True}),
]
FINISHING = [
    ("jsonl", ".e.jsonl.partial", {}),
    ("file", ".e.parquet.partial", {}),
    ("folder", f"e/{DAY}/part-00001.parquet", {}),
    ("folder", f"e/.new/{DAY}/part-00001.parquet", {"overwrite": True}),
]
DONE = [
    ("jsonl", "e.jsonl"),
    ("file", "e.parquet"),
    ("folder", f"e/{DAY}/part-00001.parquet"),
]


@pytest.mark.parametrize(("kind", "file", "given"), RUNNING)
async def test_damage_after_an_interrupted_run(
    kind: str, file: str, given: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        await export(kind, tmp_path, 150, **given)
    flip(tmp_path / file)
    before = everything(tmp_path)
    with pytest.raises(ExportError, match="its bytes changed") as caught:
        await export(kind, tmp_path, **given)
    assert str(tmp_path / file) in caught.value.message
    assert "emove the checkpoint" in str(caught.value)
    assert everything(tmp_path) == before


@pytest.mark.parametrize(("kind", "file", "given"), FINISHING)
async def test_damage_before_the_output_has_its_name(
    kind: str, file: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "overwrite" in given:
        await export(kind, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("asyncposthog.export.run.ExportRun._commit", _fail)
        with pytest.raises(Interrupted):
            await export(kind, tmp_path, **given)
    whole = (tmp_path / file).read_bytes()
    flip(tmp_path / file)
    before = everything(tmp_path)
    with pytest.raises(ExportError, match="its bytes changed"):
        await export(kind, tmp_path, **given)
    assert everything(tmp_path) == before
    (tmp_path / file).write_bytes(whole)
    report, _ = await export(kind, tmp_path, **given)
    for written in report.files:
        assert digest(written.path) == written.sha256


def _fail(*_: object) -> None:
    raise Interrupted


@pytest.mark.parametrize(("kind", "file"), DONE)
async def test_damage_after_a_completed_export(kind: str, file: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first, _ = await export(kind, tmp_path, checkpoint=state)
    again, asked = await export(kind, tmp_path, checkpoint=state)
    assert (again.files, asked) == (first.files, 0)
    flip(tmp_path / file)
    with pytest.raises(ExportError, match="its bytes changed"):
        await export(kind, tmp_path, checkpoint=state)


@pytest.mark.parametrize("kind", ["jsonl", "file", "folder"])
async def test_overwrite_repeats_a_completed_export(kind: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"checkpoint": tmp_path / "state", "overwrite": True}
    await export(kind, tmp_path, **given)
    whole = everything(tmp_path)
    output = outputs(tmp_path)[0]
    flip(output)
    damaged = everything(tmp_path)
    with pytest.raises(Interrupted):
        await export(kind, tmp_path, 1, **given)
    assert damaged[output.relative_to(tmp_path).as_posix()] == output.read_bytes()
    report, asked = await export(kind, tmp_path, **given)
    assert asked > 0
    assert report.rows == COUNT
    assert {**everything(tmp_path), "state": b""} == {**whole, "state": b""}


async def test_damaged_delivered_keys(tmp_path: Path) -> None:
    async def write(name: str, hours: int) -> Report:
        clock = export_clock(END.timestamp())
        async with client(Server(events(COUNT)), clock=clock) as ph:
            end = START + timedelta(hours=hours)
            job = ph.export.events(START, end, page_size=25, engine="query", overlap=6 * 3_600)
            return await job.to_jsonl(tmp_path / name, checkpoint=tmp_path / "state")

    first = await write("a.jsonl", 12)
    memory = tmp_path / "state.delivered-2"
    whole = memory.read_bytes()
    assert len(whole) > 24
    flip(memory)
    with pytest.raises(ExportError, match=r"delivered-2 is not what .*: its bytes changed"):
        await write("b.jsonl", 24)
    assert not (tmp_path / "b.jsonl").exists()
    memory.write_bytes(whole)
    assert first.rows + (await write("b.jsonl", 24)).rows == COUNT


def changed(note: bytes) -> bytes:
    return note.replace(b'"selected":3', b'"selected":4')


def cut(note: bytes) -> bytes:
    return note[:-9]


def unsigned(note: bytes) -> bytes:
    return b'{"id": "x", "files": ["a"], "records": 9}'


@pytest.mark.parametrize("change", [changed, cut, unsigned])
def test_damaged_download_state(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    parts = {"0": {"rows": 5, "selected": 3, "sha256": "0" * 64}}
    note = {"id": "x", "files": ["a"], "records": 5, "parts": parts}
    folder.write_state(note)
    assert folder.read_state() == note
    path = tmp_path / "job.json"
    path.write_bytes(change(path.read_bytes()))
    assert folder.read_state() == {}, "the files are made anew"


@pytest.mark.parametrize(
    "note",
    [
        {"id": 3},
        {"id": "x", "files": "ab", "records": 5},
        {"id": "x", "files": ["a"], "records": 5, "parts": {"1": {}}},
        {"id": "x", "files": ["a"], "records": 5, "parts": {"0": [5, 3]}},
        {"id": "x", "more": 1},
    ],
)
def test_download_state_of_another_program(note: dict[str, Any], tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.write_state(note)
    assert json.dumps(note)[1:5] in (tmp_path / "job.json").read_text()
    assert folder.read_state() == {}


@pytest.mark.parametrize("kind", ["jsonl", "file", "folder"])
async def test_a_replaced_file_keeps_its_permissions(kind: str, tmp_path: Path) -> None:
    usual = os.umask(0o022)
    try:
        await export(kind, tmp_path)
        paths = outputs(tmp_path)
        paths[0].chmod(0o600)
        before = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
        assert set(before.values()) <= {0o600, 0o644}
        await export(kind, tmp_path, overwrite=True)
        assert before == {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    finally:
        os.umask(usual)


async def test_a_folder_at_the_output_path_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").mkdir()
    with pytest.raises(FileExistsError, match=r"Remove it, or choose another name\.$"):
        await export("jsonl", tmp_path)
