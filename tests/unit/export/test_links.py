"""Symbolic links at predictable paths are rejected; only the owner can read partial files."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from asyncposthog import ExportError
from asyncposthog.export import Progress
from tests.helpers.fake_query_api import START, Server, client, events, to_datetime, to_micros

END = to_datetime(to_micros(START) + 86_400_000_000)
COUNT = 60

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: paths are opened in threads. `test_events` writes files on both."""
    return "asyncio"


def write(ph: Any, target: Path, **given: Any) -> Any:
    """Export to JSONL or to a folder of Parquet files, by the name of the target."""
    overlap = 60 if "overlap" in given else 0
    given.pop("overlap", None)
    job = ph.export.events(START, END, page_size=25, overlap=overlap, engine="query")
    if target.suffix == ".jsonl":
        return job.to_jsonl(target, **given)
    return job.to_parquet(target, **given)


@pytest.mark.parametrize("victim_exists", [True, False])
@pytest.mark.parametrize(
    ("target", "link", "given"),
    [
        ("e.jsonl", "e.jsonl", {}),
        ("e.jsonl", ".e.jsonl.partial", {}),
        ("e.jsonl", ".e.jsonl.partial", {"checkpoint": False}),
        ("e.jsonl", ".e.jsonl.lock", {}),
        ("e.jsonl", ".e.jsonl.checkpoint", {}),
        ("e.jsonl", "..e.jsonl.checkpoint.partial", {}),
        ("e.jsonl", "..e.jsonl.checkpoint.lock", {}),
        ("e.jsonl", "state", {"checkpoint": "state"}),
        ("e.jsonl", ".state.partial", {"checkpoint": "state"}),
        ("e.jsonl", "state.delivered-1", {"checkpoint": "state", "overlap": True}),
        ("e.jsonl", ".state.delivered-2.partial", {"checkpoint": "state", "overlap": True}),
        ("e.parquet", "e.parquet", {}),
        ("e.parquet", ".e.parquet.partial", {}),
        ("e.parquet", ".e.parquet.partial", {"overwrite": True}),
        ("e.parquet", ".e.parquet.lock", {}),
        ("events", "events/.asyncposthog.lock", {}),
        ("events", "events/.checkpoint", {}),
        ("events", "events/date=2026-01-01/.part-00000.parquet.partial", {}),
        ("events", "events/date=2026-01-01/part-00000.parquet", {}),
    ],
)
async def test_links_to_files_are_refused(
    target: str, link: str, given: dict[str, Any], victim_exists: bool, tmp_path: Path
) -> None:
    ours, victim = tmp_path / "ours", tmp_path / "victim"
    (ours / link).parent.mkdir(parents=True)
    if victim_exists:
        victim.write_text("precious")
    (ours / link).symlink_to(victim)
    if given.get("checkpoint"):
        given = {**given, "checkpoint": ours / given["checkpoint"]}
    async with client(Server(events(COUNT))) as ph:
        with pytest.raises((ExportError, FileExistsError)) as caught:
            await write(ph, ours / target, **given)
    if not isinstance(caught.value, FileExistsError):
        assert f"{ours / link} is a symbolic link" in str(caught.value)
        assert "Remove the link" in str(caught.value)
    assert (ours / link).is_symlink()
    assert victim.exists() == victim_exists
    assert not victim_exists or victim.read_text() == "precious"


async def test_links_in_place_of_the_staging_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, victim = tmp_path / "ours", tmp_path / "victim"
    ours.mkdir()
    victim.mkdir()
    monkeypatch.setattr("asyncposthog.export.sinks.parquet_targets._PART_ROWS", 10)
    hidden = ours / ".e.parquet.parts"

    def replace(progress: Progress) -> None:
        if not hidden.is_symlink():
            hidden.rename(ours / "moved")
            hidden.symlink_to(victim)

    async with client(Server(events(COUNT))) as ph:
        job = ph.export.events(START, END, page_size=25, engine="query")
        with pytest.raises(ExportError, match=r"\.e\.parquet\.parts is a symbolic link"):
            await job.to_parquet(ours / "e.parquet", rows_per_group=10, on_progress=replace)
    assert os.listdir(victim) == []


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_links_to_folders_are_refused(when: str, tmp_path: Path) -> None:
    ours, victim = tmp_path / "ours", tmp_path / "victim"
    ours.mkdir()
    victim.mkdir()
    (victim / "part-00000.parquet").write_text("precious")
    (victim / ".part-00000.parquet.partial").write_text("precious")
    day = ours / "date=2026-01-01"

    def replace(progress: Progress) -> None:
        for path in day.iterdir():
            path.unlink()
        day.rmdir()
        day.symlink_to(victim)

    if when == "before":
        day.symlink_to(victim)
    async with client(Server(events(COUNT))) as ph:
        job = ph.export.events(START, END, page_size=25, engine="query")
        with pytest.raises(ExportError, match="date=2026-01-01 is a symbolic link"):
            await job.to_parquet(
                ours, rows_per_file=20, on_progress=replace if when == "meanwhile" else None
            )
    found = {path.name: path.read_text() for path in victim.iterdir()}
    assert found == {
        "part-00000.parquet": "precious",
        ".part-00000.parquet.partial": "precious",
    }


async def test_links_in_the_given_path_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    async with client(Server(events(COUNT))) as ph:
        await write(ph, tmp_path / "link" / "e.jsonl", checkpoint=tmp_path / "link" / "state")
        (tmp_path / "real" / "folder").mkdir()
        (tmp_path / "real" / "events").symlink_to("folder")
        await write(ph, tmp_path / "link" / "events")
    assert sorted(os.listdir(tmp_path / "real")) == ["e.jsonl", "events", "folder", "state"]
    assert os.listdir(tmp_path / "real" / "folder") == ["date=2026-01-01"]


@pytest.mark.parametrize("name", ["state", ".e.jsonl.partial", ".e.jsonl.lock"])
async def test_named_pipes_do_not_block(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    async with client(Server(events(COUNT))) as ph:
        with pytest.raises(ExportError, match="is not a regular file"):
            await write(ph, tmp_path / "e.jsonl", checkpoint=tmp_path / "state")


@pytest.fixture(params=[0o022, 0o027], ids=oct)
def umask(request: pytest.FixtureRequest) -> Generator[int]:
    usual = os.umask(request.param)
    yield request.param
    os.umask(usual)


@pytest.mark.parametrize("target", ["e.jsonl", "events"])
async def test_partial_files_are_private(target: str, umask: int, tmp_path: Path) -> None:
    seen = dict[str, set[int]]()

    def modes() -> dict[str, int]:
        return {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in tmp_path.rglob("*")
            if path.is_file()
        }

    def look(progress: Progress) -> None:
        for name, mode in modes().items():
            seen.setdefault(name.split(".")[-1], set()).add(mode)

    async with client(Server(events(COUNT))) as ph:
        job = ph.export.events(START, END, page_size=25, engine="query")
        given: Any = {"checkpoint": tmp_path / "state", "on_progress": look}
        if target == "events":
            await job.to_parquet(tmp_path / target, rows_per_file=40, **given)
        else:
            await job.to_jsonl(tmp_path / target, **given)
    assert seen["partial"] == seen["state"] == {0o600}
    assert modes().pop("state") == 0o600
    complete = {mode for name, mode in modes().items() if name != "state"}
    assert complete == {0o666 & ~umask}
