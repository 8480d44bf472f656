"""Exports to object stores: whole objects, resumed after kills, and errors before any query."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncposthog import AsyncPostHog, ExportError
from asyncposthog.export import object_store
from asyncposthog.export.sinks import objects
from tests.helpers.fake_query_api import START, Server, client, events
from tests.helpers.forked_processes import exit_code

from . import store_worker

END = START + timedelta(days=3)
ROWS = 600


@pytest.fixture
def server() -> Server:
    return Server(events(ROWS, ties=3, spread=3 * 86_400_000_000))


@pytest.fixture
async def ph(server: Server, anyio_backend: str) -> AsyncGenerator[AsyncPostHog]:
    async with client(server) as ph:
        yield ph


@pytest.fixture
def memory() -> Iterator[Any]:
    """The filesystem of `memory://`, empty."""
    from fsspec.implementations.memory import MemoryFileSystem

    filesystem = MemoryFileSystem()
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def contents(filesystem: Any, folder: str) -> dict[str, bytes]:
    """Return all objects below a folder, hidden ones as well, by their relative names."""
    filesystem.invalidate_cache()
    found = filesystem.find(folder)
    return {name.partition(folder.strip("/"))[2]: filesystem.cat_file(name) for name in found}


def local_contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {f"/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}


@pytest.mark.anyio
async def test_objects_have_the_bytes_of_local_files(
    ph: AsyncPostHog, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "SEGMENT_BYTES", 50_000)
    job = ph.export.events(START, END, page_size=150)
    for name in ("a.jsonl", "a.jsonl.gz", "a.csv"):
        write: Callable[..., Any] = job.to_csv if name.endswith("csv") else job.to_jsonl
        local, report = await write(tmp_path / name), await write(f"memory://lake/{name}")
        assert report.files[0].path == f"memory:///lake/{name}"
        assert report.files[0].sha256 == local.files[0].sha256
    await job.to_parquet(tmp_path / "a.parquet", rows_per_group=50)
    await job.to_parquet("/lake/a.parquet", rows_per_group=50, filesystem=memory)
    await job.to_parquet(tmp_path / "days", rows_per_file=40)
    report = await job.to_parquet("memory://lake/days", rows_per_file=40)
    assert report.rows == ROWS
    written = local_contents(tmp_path)
    assert contents(memory, "/lake") == written
    # A file: URL, and a filesystem of local files, are local files.
    await job.to_jsonl(f"file://{tmp_path}/b.jsonl")
    assert (tmp_path / "b.jsonl").read_bytes() == written["/a.jsonl"]


@pytest.mark.anyio
async def test_existing_targets_are_kept_or_replaced_as_a_whole(
    ph: AsyncPostHog, memory: Any, server: Server
) -> None:
    job = ph.export.events(START, END)
    memory.pipe_file("/lake/a.jsonl", b"other")
    memory.pipe_file("/lake/days/date=2020-01-01/part-00000.parquet", b"other")
    memory.pipe_file("/lake/days/notes.txt", b"kept")
    with pytest.raises(FileExistsError, match=r"memory:///lake/a.jsonl already exists"):
        await job.to_jsonl("memory://lake/a.jsonl")
    with pytest.raises(FileExistsError, match="already has Parquet files"):
        await job.to_parquet("memory://lake/days/")
    assert server.queries == []
    await job.to_jsonl("memory://lake/a.jsonl", overwrite=True)
    report = await job.to_parquet("memory://lake/days/", overwrite=True)
    left = contents(memory, "/lake")
    assert len(left["/a.jsonl"].splitlines()) == ROWS
    assert left.pop("/days/notes.txt") == b"kept"
    assert {f"memory:///lake{name}" for name in left if "days" in name} == {
        file.path for file in report.files
    }


@pytest.mark.anyio
async def test_cancelled_export_resumes_elsewhere_from_what_the_store_has(
    ph: AsyncPostHog, memory: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(objects, "SEGMENT_BYTES", 30_000)
    whole = await ph.export.events(START, END).to_jsonl("memory://lake/whole.jsonl")
    monkeypatch.setattr("asyncposthog.export.sinks.parquet_targets._PART_ROWS", 100)
    for target in ("memory://lake/a.jsonl", "memory://lake/a.parquet", "memory://lake/days/"):
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        job = ph.export.events(START, END, page_size=60)
        write: Callable[..., Any] = partial(job.to_parquet, rows_per_group=50)
        if target.endswith("jsonl"):
            write = job.to_jsonl
        with anyio.CancelScope() as scope:

            def stop(progress: Any, scope: anyio.CancelScope = scope) -> None:
                if progress.rows > ROWS / 2:
                    scope.cancel()

            await write(target, on_progress=stop)
        assert scope.cancelled_caught
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
        report = await write(target)
        assert report.resumed
        assert report.checksum == whole.checksum
    left = contents(memory, "/lake")
    assert left["/a.jsonl"] == left["/whole.jsonl"]
    assert not [name for name in left if "/." in name]


@pytest.mark.anyio
async def test_passing_failures_of_the_store_change_nothing(
    ph: AsyncPostHog, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    calls = 0

    def flaky(name: str) -> Any:
        function = getattr(MemoryFileSystem, name)

        def call(self: Any, *args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls % 3 == 0:
                raise OSError("SlowDown")
            return function(self, *args, **options)

        return call

    names = ("put_file", "get_file", "info", "cp_file", "rm_file", "find")
    methods: Any = {name: flaky(name) for name in names}
    filesystem: Any = type("FlakyFileSystem", (MemoryFileSystem,), methods)()
    monkeypatch.setattr(object_store, "_RETRY_SECONDS", (0, 0, 0, 0))
    monkeypatch.setattr(objects, "SEGMENT_BYTES", 30_000)
    job = ph.export.events(START, END, page_size=100)
    await job.to_jsonl("memory://lake/whole.jsonl")
    await job.to_jsonl("/lake/a.jsonl", filesystem=filesystem)
    await job.to_parquet("/lake/days", filesystem=filesystem, rows_per_file=50, overwrite=True)
    await job.to_parquet("memory://lake/other", rows_per_file=50)
    left = contents(memory, "/lake")
    assert calls > 60
    assert left["/a.jsonl"] == left["/whole.jsonl"]
    days = {n.removeprefix("/days"): c for n, c in left.items() if n.startswith("/days")}
    assert days == {n.removeprefix("/other"): c for n, c in left.items() if n.startswith("/other")}


@pytest.mark.anyio
async def test_bad_targets_fail_before_the_first_query(
    ph: AsyncPostHog, memory: Any, server: Server, s3: dict[str, Any], tmp_path: Path
) -> None:
    from botocore.exceptions import NoCredentialsError

    job = ph.export.events(START, END)
    with pytest.raises(ExportError, match=r"Cannot write s3://absent/.*a.jsonl"):
        await job.to_jsonl("s3://absent/a.jsonl", storage_options=s3)
    for refusal in (PermissionError("Forbidden"), NoCredentialsError()):

        def refuse(*_: object, refusal: Exception = refusal) -> None:
            raise refusal

        filesystem: Any = type("Refusing", (type(memory),), {"put_file": refuse})()
        for target in ("/lake/a.jsonl", "/lake/a/"):
            write = job.to_parquet if target.endswith("/") else job.to_jsonl
            with pytest.raises(ExportError, match="Check the credentials of the store"):
                await write(target, filesystem=filesystem, checkpoint=False)
    with pytest.raises(ImportError, match="pip install gcsfs"):
        await job.to_jsonl("gs://lake/a.jsonl")
    with pytest.raises(ImportError, match="pip install adlfs"):
        await job.to_parquet("az://lake/a/")
    with pytest.raises(ValueError, match="no filesystem for nope://"):
        await job.to_jsonl("nope://lake/a.jsonl")
    with pytest.raises(ValueError, match="suffix of Parquet"):
        await job.to_jsonl("memory://lake/a.parquet")
    with pytest.raises(ValueError, match="storage_options are for a URL"):
        await job.to_jsonl(tmp_path / "a.jsonl", storage_options={})
    with pytest.raises(TypeError, match="fsspec filesystem, not str"):
        await job.to_jsonl("a.jsonl", filesystem="memory")  # type: ignore[arg-type]
    overlapping = ph.export.events(START, END, overlap=3600)
    with pytest.raises(ValueError, match="of a local file"):
        await overlapping.to_jsonl("memory://lake/a.jsonl", checkpoint="memory://lake/state")
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(ImportError, match=r"asyncposthog\[fsspec\]' s3fs"):
            await job.to_jsonl("s3://lake/a.jsonl")
    assert server.queries == []
    assert contents(memory, "/lake") == {}


def test_killed_exports_to_s3_end_in_the_same_bytes(s3: dict[str, Any]) -> None:
    from s3fs import S3FileSystem

    kills = {"events.jsonl": (5,), "days/": (6,)}
    for name, uploads in kills.items():
        anyio.run(store_worker.export, f"s3://lake/whole/{name}", s3, 0)
        for seed, count in enumerate(uploads):
            arguments = (f"s3://lake/killed/{name}", s3, count, seed)
            assert exit_code(store_worker.main, *arguments) == -signal.SIGKILL
        anyio.run(store_worker.export, f"s3://lake/killed/{name}", s3, 9)
    filesystem: Any = S3FileSystem(**s3, use_listings_cache=False)
    assert contents(filesystem, "lake/killed") == contents(filesystem, "lake/whole")
