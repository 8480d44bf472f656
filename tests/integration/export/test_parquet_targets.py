"""One Parquet file, folders that are replaced, and names that imply another format."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest
from pyarrow import parquet

from asyncposthog import AsyncPostHog, ExportError
from asyncposthog.export import Progress
from asyncposthog.export.sinks import parquet_targets
from asyncposthog.export.targets import format_from_name, parse_target
from posthog_emulator import Emulator
from tests.helpers.fake_query_api import START, Server, client, events
from tests.helpers.forked_processes import exit_code

from . import parquet_worker

DAY = timedelta(days=1)
END = START + 3 * DAY
SPREAD = 3 * 86_400_000_000

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: files are written in threads, as `tests/unit/export` does on both."""
    return "asyncio"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use small parts, so that a few thousand rows fill several."""
    monkeypatch.setattr(parquet_targets, "_PART_ROWS", 300)


def read(target: Path) -> pa.Table:
    if target.is_file():
        return parquet.read_table(target)
    paths = sorted(target.rglob("*.parquet"))
    return pa.concat_tables([parquet.ParquetFile(path).read() for path in paths])


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


async def test_one_file_equals_a_folder(tmp_path: Path) -> None:
    server = Server(events(1_000, spread=SPREAD))
    async with client(server) as ph:
        job = ph.export.events(START, END, page_size=170)
        whole = await job.to_parquet(tmp_path / "events.parquet", rows_per_group=100)
        parts = await job.to_parquet(f"{tmp_path / 'events'}/", rows_per_group=100)
        small = await job.to_parquet(tmp_path / "small.pq", rows_per_group=2_000)
    assert sorted(os.listdir(tmp_path)) == ["events", "events.parquet", "small.pq"]
    assert whole.rows == parts.rows == small.rows == 1_000
    assert whole.checksum == parts.checksum == small.checksum
    assert read(tmp_path / "events.parquet").equals(read(tmp_path / "events"))
    assert read(tmp_path / "small.pq").equals(read(tmp_path / "events"))
    meta = parquet.read_metadata(tmp_path / "events.parquet")
    assert {meta.row_group(n).num_rows for n in range(meta.num_row_groups)} == {100}
    (file,) = whole.files
    assert (file.path, file.rows) == (str(tmp_path / "events.parquet"), 1_000)
    assert file.bytes == whole.bytes_written == (tmp_path / "events.parquet").stat().st_size


@pytest.mark.parametrize("name", ["e.parquet", "e/"])
async def test_empty_exports_have_columns(name: str, tmp_path: Path) -> None:
    async with client(Server([])) as ph:
        report = await ph.export.events(START, END).to_parquet(f"{tmp_path}/{name}")
    assert report.rows == 0
    (file,) = report.files
    assert file.rows == 0
    table = parquet.read_table(file.path)
    assert table.num_rows == 0
    assert table.schema.field("timestamp").type == pa.timestamp("us", "UTC")
    assert table.column_names[:2] == ["uuid", "event"]
    assert [path for path in tree(tmp_path) if not path.endswith(".parquet")] == []


async def test_empty_downloads_have_columns(tmp_path: Path) -> None:
    async with AsyncPostHog.emulated(Emulator()) as ph:
        for engine in ("files", "query"):
            job = ph.export.events(START, END, engine=engine)
            await job.to_parquet(tmp_path / f"{engine}.parquet")
            await job.to_csv(tmp_path / f"{engine}.csv")
    assert parquet.read_schema(tmp_path / "files.parquet").equals(
        parquet.read_schema(tmp_path / "query.parquet")
    )
    assert (tmp_path / "files.csv").read_text() == (tmp_path / "query.csv").read_text() != ""


class CrashError(BaseException):
    """Raised by all file operations after a simulated crash."""


@contextmanager
def crash_at(number: int) -> Generator[list[str]]:
    """Ignore all file operations from the nth on, as if the process had been killed."""
    steps: list[str] = []
    usual: list[tuple[Any, str, Any]] = []

    def deadly(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if str(args[0]).endswith("lock"):
                return step(*args, **kwargs)  # a killed process releases its locks
            steps.append(name)
            if len(steps) >= number:
                raise CrashError
            return step(*args, **kwargs)

        return call

    for module, names in ((os, ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir")),
                          (shutil, ("rmtree",))):  # fmt: skip
        for name in names:
            usual.append((module, name, getattr(module, name)))
            setattr(module, name, deadly(name, getattr(module, name)))
    try:
        yield steps
    finally:
        for module, name, step in usual:
            setattr(module, name, step)


async def export(target: str, **options: Any) -> Any:
    server = Server(events(1_000, ties=3, spread=SPREAD))
    async with client(server) as ph:
        job = ph.export.events(START, END, page_size=170)
        return await job.to_parquet(target, rows_per_group=100, **options)


@pytest.mark.parametrize(("name", "old"), [("e.parquet", False), ("e.parquet", True), ("e/", True)])
# A killed process does not close its files.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_simulated_kills_at_every_step(name: str, old: bool, tmp_path: Path) -> None:
    expected = tmp_path / "expected"
    expected.mkdir()
    before: dict[str, bytes] = {}
    await export(f"{expected}/{name}")
    options: dict[str, Any] = {"overwrite": True} if old else {}
    number, deaths = 0, 0
    while True:
        number += 5
        folder = tmp_path / str(number)
        folder.mkdir()
        if old:
            async with client(Server(events(50, seed=5))) as ph:
                job = ph.export.events(START, START + DAY)
                await job.to_parquet(f"{folder}/{name}")
            before = tree(folder)
        died = True
        with crash_at(number):
            try:
                await export(f"{folder}/{name}", **options)
                died = False
            except* CrashError:
                deaths += 1
        if not died:
            break
        left = tree(folder)
        published = {path for path in left if left[path] == tree(expected).get(path)}
        if old and not published:
            assert before.items() <= left.items()
        report = await export(f"{folder}/{name}", **options)
        assert report.rows == 1_000
        assert tree(folder) == tree(expected)
    assert deaths > 4
    assert tree(folder) == tree(expected)


@pytest.mark.parametrize("name", ["e.parquet", "e"])
def test_real_kills(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_targets, "_PART_ROWS", 200)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    anyio.run(parquet_worker.export, str(whole / name))
    for step in (14, 25):
        code = exit_code(parquet_worker.main, str(broken / name), step)
        assert code == -signal.SIGKILL
    report = anyio.run(parquet_worker.export, str(broken / name))
    assert report.resumed
    assert tree(broken) == tree(whole)


async def test_a_file_resumes_after_its_last_part(tmp_path: Path) -> None:
    server = Server(events(1_000, spread=SPREAD))
    path = tmp_path / "e.parquet"

    def stop(progress: Progress) -> None:
        if progress.rows >= 600:
            raise RuntimeError

    async with client(server) as ph:
        job = ph.export.events(START, END, page_size=150)
        with pytest.raises(RuntimeError):
            await job.to_parquet(path, rows_per_group=100, on_progress=stop)
        assert not path.exists()
        asked = len(server.pages)
        report = await job.to_parquet(path, rows_per_group=100)
        assert len(server.pages) - asked < asked
        assert (report.rows, report.resumed) == (1_000, True)
        assert os.listdir(tmp_path) == ["e.parquet"]
        with pytest.raises(RuntimeError):
            await job.to_parquet(tmp_path / "f.parquet", checkpoint=False, on_progress=stop,
                                 rows_per_group=100)  # fmt: skip
    assert os.listdir(tmp_path) == ["e.parquet"]


@pytest.mark.parametrize("name", ["e.jsonl", "e.csv", "e.csv.gz", "e.parquet"])
async def test_a_file_is_replaced_only_when_the_new_one_is_complete(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    form = format_from_name(path)
    seen: list[bytes] = []

    def stop(progress: Progress) -> None:
        seen.append(path.read_bytes())
        if len(seen) == 3:
            raise RuntimeError

    async with client(Server(events(1_000, spread=SPREAD))) as ph:
        job = ph.export.events(START, END, page_size=170)
        write: Any = getattr(job, f"to_{form}")
        await write(tmp_path / f"new-{name}")
        new = (tmp_path / f"new-{name}").read_bytes()
        path.write_bytes(b"old")
        with pytest.raises(FileExistsError, match="overwrite=True"):
            await write(path)
        with pytest.raises(RuntimeError):
            await write(path, overwrite=True, on_progress=stop)
        assert path.read_bytes() == b"old"
        with pytest.raises(FileExistsError, match="overwrite=True"):
            await write(path)
        await write(path, overwrite=True)
        assert path.read_bytes() == new
        assert set(seen) == {b"old"}
        with pytest.raises(RuntimeError):
            await write(path, overwrite=True, checkpoint=False, on_progress=stop_at_once)
    assert path.read_bytes() == new
    assert sorted(os.listdir(tmp_path)) == sorted([name, f"new-{name}"])


def stop_at_once(progress: Progress) -> None:
    raise RuntimeError


async def test_a_folder_is_replaced_only_when_the_new_files_are_complete(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    async with client(Server(events(40, seed=9, spread=5 * 86_400_000_000))) as ph:
        await ph.export.events(START, START + 5 * DAY).to_parquet(folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "date=2026-01-05" / "notes.txt").write_text("mine too")
    old = tree(folder)
    assert len(old) == 5 + 2

    def stop(progress: Progress) -> None:
        assert old.items() <= tree(folder).items()
        assert read(folder).num_rows >= 40
        if progress.rows > 600:
            raise RuntimeError

    async with client(Server(events(1_000, spread=SPREAD))) as ph:
        job = ph.export.events(START, END, page_size=170)
        await job.to_parquet(tmp_path / "new")
        with pytest.raises(FileExistsError, match="overwrite=True"):
            await job.to_parquet(folder)
        with pytest.raises(RuntimeError):
            await job.to_parquet(folder, overwrite=True, on_progress=stop)
        assert old.items() <= tree(folder).items()
        report = await job.to_parquet(folder, overwrite=True)
    mine = {"notes.txt": b"mine", "date=2026-01-05/notes.txt": b"mine too"}
    assert tree(folder) == tree(tmp_path / "new") | mine
    assert report.resumed
    assert not (folder / "date=2026-01-04").exists()
    assert {file.path for file in report.files} == {str(p) for p in folder.rglob("*.parquet")}


async def test_completed_exports_are_not_repeated(tmp_path: Path) -> None:
    path, state = tmp_path / "e.parquet", tmp_path / "state"
    server = Server(events(1_000, spread=SPREAD))
    async with client(server) as ph:
        job = ph.export.events(START, END, page_size=170)
        first = await job.to_parquet(path, checkpoint=state, rows_per_group=100)
        asked = len(server.queries)
        again = await job.to_parquet(path, checkpoint=state, rows_per_group=100)
        assert len(server.queries) == asked
        assert (again.files, again.rows) == (first.files, 1_000)
        path.unlink()
        with pytest.raises(ExportError, match="is gone"):
            await job.to_parquet(path, checkpoint=state, rows_per_group=100)


async def test_files_at_the_staging_path_are_kept(tmp_path: Path) -> None:
    server = Server(events(10))
    (tmp_path / "e.parquet").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".f.parquet.parts").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "mine").write_text("mine")
    async with client(server) as ph:
        job = ph.export.events(START, END)
        for overwrite in (False, True):
            with pytest.raises(FileExistsError, match="is a folder"):
                await job.to_parquet(tmp_path / "e.parquet", overwrite=overwrite)
            with pytest.raises(FileExistsError, match="already exists"):
                await job.to_jsonl(tmp_path / "e.parquet" / "..", overwrite=overwrite)
        with pytest.raises(ExportError, match="not a folder of this user"):
            await job.to_parquet(tmp_path / "f.parquet")
        with pytest.raises(ExportError, match="there is no folder"):
            await job.to_parquet(tmp_path / "no" / "e.parquet")
    assert server.queries == []
    assert (tmp_path / "elsewhere" / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("method", "name", "words"),
    [
        ("to_csv", "x.parquet", "'x.parquet' has the suffix of Parquet, but the format is CSV"),
        ("to_csv", "x.jsonl.gz", "suffix of JSON lines, but the format is CSV"),
        ("to_csv", "x.CSV.zst", "only compression is .gz"),
        ("to_csv", "x/", "name of a folder, but CSV is written to one file"),
        ("to_jsonl", "x.csv", "suffix of CSV, but the format is JSON lines"),
        ("to_jsonl", "x.parquet", "suffix of Parquet, but the format is JSON lines"),
        ("to_parquet", "x.csv", "or 'x.csv/' for a folder"),
        ("to_parquet", "x.jsonl.gz", "suffix of JSON lines, but the format is Parquet"),
        ("to_parquet", "x.parquet.gz", "Parquet files are compressed"),
    ],
)
async def test_names_of_other_formats_are_errors(
    method: str, name: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    server = Server(events(10))
    async with client(server) as ph:
        with pytest.raises(ValueError, match=words):
            await getattr(ph.export.events(START, END), method)(name)
    assert server.queries == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("", ValueError, "has an empty name"),
        (".", ValueError, "name of a folder"),
        (b"x.csv", TypeError, "must be a str or a path of text, not bytes"),
        (None, TypeError, "must be a str or a path, not NoneType"),
    ],
)
async def test_invalid_names(name: Any, error: type[Exception], words: str) -> None:
    async with client(Server([])) as ph:
        with pytest.raises(error, match=words):
            await ph.export.events(START, END).to_csv(name)


async def test_row_numbers_must_be_integers() -> None:
    async with client(Server([])) as ph:
        rows: Any = 1.5
        with pytest.raises(TypeError, match="rows_per_group must be an int, not float"):
            await ph.export.events(START, END).to_parquet("x.parquet", rows_per_group=rows)


async def test_rows_per_file_is_for_folders() -> None:
    async with client(Server([])) as ph:
        with pytest.raises(ValueError, match=r"write to 'x.parquet/'"):
            await ph.export.events(START, END).to_parquet("x.parquet", rows_per_file=10)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("events", True),
        ("events/", True),
        ("events.parquet/", True),
        ("2026.01", True),
        ("events.parquet", False),
        ("a/EVENTS.PARQUET", False),
        ("events.pq", False),
        (Path("events.parquet"), False),
    ],
)
def test_folder_or_file_by_name(name: Any, folder: bool) -> None:
    assert parse_target(name, "parquet").is_folder is folder
