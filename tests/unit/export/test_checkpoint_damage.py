"""A damaged checkpoint is an error that says what to do, or the export resumes correctly."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asyncposthog import ExportError
from asyncposthog.export import Progress
from asyncposthog.export.checkpoint import render
from tests.helpers.fake_query_api import START, Server, client, events, to_datetime, to_micros
from tests.integration.export.holding_server import ITEMS, everything

DAY = 86_400_000_000
COUNT = 90
ROWS = events(COUNT, spread=3 * DAY)
KINDS = ["jsonl", "csv.gz", "parquet", "list", "overlap"]
NULLABLE = {("position", "key"), ("position", "next")}
"""Fields for which null is valid, so that only the checksum shows the damage."""


class Interrupted(Exception):
    pass


async def answer(request: httpx.Request) -> httpx.Response:
    if request.url.path.endswith("/query/"):
        return await Server(ROWS)(request)
    offset = int(request.url.params.get("offset", "0"))
    behind = str(request.url.copy_set_param("offset", str(offset + 30)))
    return httpx.Response(
        200,
        json={
            "count": len(ITEMS),
            "next": behind if offset + 30 < len(ITEMS) else None,
            "previous": None,
            "results": ITEMS[offset : offset + 30],
        },
    )


async def export(kind: str, folder: Path, stop_at: int = 0) -> None:
    """Export into a folder with the checkpoint `state`; `stop_at`: stop after so many batches."""
    left = stop_at

    def on_progress(progress: Progress) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Interrupted

    given: dict[str, Any] = {"checkpoint": folder / "state", "on_progress": on_progress}
    async with client(answer) as ph:
        end = to_datetime(to_micros(START) + 3 * DAY)
        overlap = 2 * 86_400 if kind == "overlap" else 0
        job = ph.export.events(START, end, page_size=20, engine="query", overlap=overlap)
        if kind == "list":
            await ph.export.list(ph.cohorts.list(limit=30)).to_jsonl(folder / "e", **given)
        elif kind == "parquet":
            await job.to_parquet(folder / "e", rows_per_file=10, **given)
        elif kind == "csv.gz":
            await job.to_csv(folder / "e.csv.gz", **given)
        else:
            await job.to_jsonl(folder / "e", **given)


class Case:
    """An interrupted export, and the expected output."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._keep = tempfile.TemporaryDirectory()
        self.folder = Path(self._keep.name)
        anyio.run(export, kind, self.folder)
        self.whole = self.output()
        self.done = everything(self.folder)
        self.restore({})
        with suppress(Interrupted):
            anyio.run(export, kind, self.folder, 2)
        self.left = everything(self.folder)
        self.content = self.left.get("state", b"")
        if not self.content:  # no gzip member is full, so there is nothing to resume
            self.left, self.content = self.done, self.done["state"]
        self.fields: dict[str, Any] = json.loads(self.content)["checkpoint"]

    def output(self) -> dict[str, bytes]:
        return {n: c for n, c in everything(self.folder).items() if not n.startswith("state")}

    def restore(self, files: dict[str, bytes]) -> None:
        """Replace the content of the folder by these files."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        for name, content in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)

    def resume_with(self, checkpoint: bytes) -> ExportError | None:
        """Run the export with another content of the checkpoint; return its error, if any."""
        self.restore({**self.left, "state": checkpoint})
        try:
            anyio.run(export, self.kind, self.folder)
        except ExportError as error:
            return error
        assert self.output() == self.whole
        return None


@cache
def case(kind: str) -> Case:
    return Case(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_undamaged_checkpoints_resume(kind: str) -> None:
    assert case(kind).resume_with(case(kind).content) is None
    assert case(kind).resume_with(render(case(kind).fields)) is None


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    at = draw(st.integers(0, len(content) - 1))
    kind = draw(st.sampled_from(["flip", "cut", "insert", "zero", "repeat"]))
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    if kind == "insert":
        return content[:at] + draw(st.binary(min_size=1, max_size=9)) + content[at:]
    if kind == "zero":
        return content[:at] + bytes(len(content) - at)
    return content[:at] + content[:at] + content[at:]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(data=st.data())
def test_changed_bytes_are_an_error(kind: str, data: st.DataObject) -> None:
    content = data.draw(damaged(case(kind).content))
    assume(content != case(kind).content)
    assert case(kind).resume_with(content) is not None


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of all values inside of a value."""
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


OTHERS: list[Any] = [None, True, -1, 3, 0.5, 10**30, "x", [], [1], {}, {"a": None}]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50)
@given(data=st.data())
def test_missing_or_mistyped_fields(kind: str, data: st.DataObject) -> None:
    fields = json.loads(json.dumps(case(kind).fields))
    path = data.draw(st.sampled_from(list(places(fields))))
    assume(path[:3] != ("position", "next", "query"))  # any text or number may be valid
    parent: Any = fields
    for key in path[:-1]:
        parent = parent[key]
    if data.draw(st.booleans()):
        assume(path[:2] != ("fingerprint", "values"))
        del parent[path[-1]]
    else:
        value = data.draw(st.sampled_from(OTHERS))
        assume(type(value) is not type(parent[path[-1]]) or value in (-1, 10**30))
        assume(value is not None or path not in NULLABLE)
        parent[path[-1]] = value
    case(kind).resume_with(render(fields))


def phase(fields: dict[str, Any]) -> None:
    fields["phase"] = "publishing"


def finishing(fields: dict[str, Any]) -> None:
    fields["phase"] = "finishing"


def done(fields: dict[str, Any]) -> None:
    fields["phase"] = "done"


def beyond(fields: dict[str, Any]) -> None:
    fields["sink"]["offset"] += 10_000_000


def negative(fields: dict[str, Any]) -> None:
    fields["stats"]["requests"] = -1


def no_position(fields: dict[str, Any]) -> None:
    fields["position"] = None


@pytest.mark.parametrize("change", [phase, finishing, done, beyond, negative, no_position])
def test_checkpoints_that_contradict_the_output(change: Callable[[dict[str, Any]], None]) -> None:
    here = case("jsonl")
    fields = json.loads(json.dumps(here.fields))
    change(fields)
    assert here.resume_with(render(fields)) is not None
    assert {**everything(here.folder), "state": here.content} == here.left, "nothing was touched"


def outside(fields: dict[str, Any]) -> None:
    fields["sink"]["files"][0]["name"] = "../../part-00000.parquet"


def another(fields: dict[str, Any]) -> None:
    fields["sink"]["files"].pop()


@pytest.mark.parametrize("change", [outside, another, finishing])
def test_output_of_another_export(change: Callable[[dict[str, Any]], None]) -> None:
    here = case("parquet")
    fields = json.loads(json.dumps(here.fields))
    change(fields)
    assert here.resume_with(render(fields)) is not None
    assert {**everything(here.folder), "state": here.content} == here.left, "nothing was touched"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not the checkpoint of an export"),
        (b"my notes", "is not the checkpoint of an export"),
        (b"[]", "is not the checkpoint of an export"),
        (b'{"version": 3}', "is not the checkpoint of an export"),
        (b'{"version": 1, "fingerprint": {}, "phase": "running"}', "by another version"),
        (b"[" * 100_000, "is not the checkpoint of an export"),
    ],
)
def test_files_that_are_not_checkpoints(content: bytes, words: str) -> None:
    error = case("jsonl").resume_with(content)
    assert error is not None
    assert words in error.message
    assert case("jsonl").folder.joinpath("state").read_bytes() == content
