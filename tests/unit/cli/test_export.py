"""`export`: rows to stdout and to files, plans, interruptions, errors."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyarrow import parquet

from asyncposthog.cli import main
from tests.helpers.fake_query_api import Event, ReceivedQuery, Server, events, refusal

from .helpers import CompletedCommand, Terminal, environment, finish, served_model, start

Program = Callable[..., CompletedCommand]

RANGE = ("--from", "2026-01-01", "--to", "2026-01-02T00:00:00Z")


@pytest.fixture
def server() -> Server:
    return Server(events(2_000, ties=3))


@pytest.fixture
def pointed(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with served_model(server) as url:
        for name in ("POSTHOG_API_KEY", "POSTHOG_API_URL", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("POSTHOG_HOST", url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", "phx_emulator")
        monkeypatch.setenv("POSTHOG_PROJECT_ID", "1")
        yield


@pytest.fixture
def program(pointed: None, capsys: pytest.CaptureFixture[str]) -> Program:
    def run(*arguments: str) -> CompletedCommand:
        capsys.readouterr()
        status = main(arguments)
        out, err = capsys.readouterr()
        return CompletedCommand(status, out, err)

    return run


def uuids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["uuid"] for row in rows]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_stdout_gets_json_lines(program: Program, server: Server) -> None:
    ended = program("export", "events", *RANGE)
    assert (ended.status, ended.err) == (0, "")
    assert uuids(ended.lines) == [row.uuid for row in server.rows]
    assert ended.lines[0]["properties"]["nested"] == {"a": [1, None]}
    rows = list(
        csv.DictReader(io.StringIO(program("export", "events", *RANGE, "--format=csv").out))
    )
    assert uuids(rows) == uuids(ended.lines)


def test_write_a_file_and_its_report(program: Program, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    ended = program("export", "events", *RANGE, "--out", str(path))
    assert (ended.status, ended.err) == (0, "")
    assert uuids(read(path)) == [row.uuid for row in server.rows]
    assert ended.json["rows"] == 2_000
    assert ended.json["files"][0]["path"] == str(path)
    assert os.listdir(tmp_path) == ["events.jsonl"]
    again = program("export", "events", *RANGE, "--out", str(path))
    assert again.status == 2
    assert "already exists" in again.err


def test_parquet_to_one_file(program: Program, tmp_path: Path) -> None:
    path, folder = tmp_path / "x.parquet", f"{tmp_path / 'y.parquet'}/"
    ended = program("export", "events", *RANGE, "--out", str(path))
    assert (ended.status, ended.err) == (0, "")
    assert [file["path"] for file in ended.json["files"]] == [str(path)]
    assert parquet.read_metadata(path).num_rows == 2_000
    assert program("export", "events", *RANGE, "--out", folder).status == 0
    assert sorted(os.listdir(folder)) == ["date=2026-01-01"]
    assert sorted(os.listdir(tmp_path)) == ["x.parquet", "y.parquet"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet", "x/"])
def test_overwrite(program: Program, tmp_path: Path, name: str) -> None:
    command = ("export", "events", *RANGE, "--out", f"{tmp_path}/{name}")
    assert program(*command, "--event", "signed up").status == 0
    refused = program(*command)
    assert refused.status == 2
    assert "--overwrite" in refused.err
    assert "overwrite=True" not in refused.err
    replaced = program(*command, "--overwrite")
    assert (replaced.status, replaced.err) == (0, "")
    assert replaced.json["rows"] == 2_000


def test_options_reach_the_query(program: Program, server: Server) -> None:
    ended = program(
        "export", "events", *RANGE, "--event", "signed up", "--event", "$pageview",
        "--where", "properties.n > {n}", "--value", "n:int=5", "-c", "uuid", "-c", "event",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    query = server.pages[0]
    assert query.values["export_events"] == ["signed up", "$pageview"]
    assert query.values["n"] == 5
    assert "properties.n > {n}" in query.sql
    assert list(ended.lines[0]) == ["uuid", "event"]
    first = datetime.fromtimestamp(query.span[0] / 1e6, UTC)
    assert first == datetime(2026, 1, 1, tzinfo=UTC)


def test_dry_run_shows_a_plan(program: Program, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    ended = program("export", "events", *RANGE, "--out", str(path), "--dry-run")
    assert ended.status == 0, ended.err
    plan = ended.json
    assert plan["rows"] == 2_000
    assert plan["windows"] == len(plan["plan"]) >= 1
    assert plan["requests"] >= 2
    assert plan["budget"]["api_queries_burst"]["limit"] == 240
    assert server.pages == []
    assert os.listdir(tmp_path) == []


def test_progress_as_json_lines(program: Program, tmp_path: Path) -> None:
    ended = program(
        "export", "events", *RANGE, "--out", str(tmp_path / "e.jsonl"), "--progress", "json"
    )
    last = json.loads(ended.err.splitlines()[-1])
    assert (last["rows"], last["expected"], last["fraction"]) == (2_000, 2_000, 1.0)
    assert last["budget"].endswith("/240 a minute")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("events", "--from", "2026-01-02", "--to", "2026-01-01"), "end must be after start"),
        (("events", "--from", "2026-01-01T00:00:00", "--to", "2026-01-02"), "no time zone"),
        (("events", "--from", "yesterday", "--to", "2026-01-02"), "--from must be a date"),
        (("events", "--from", "2026-01-01"), "--to"),
        (("events", *RANGE, "--out", "rows.txt"), "has no known format"),
        (("events", *RANGE, "--out", "rows.xlsx"), "suffix of a format that is not written"),
        (("events", *RANGE, "--out", "rows.tsv", "--format", "csv"), "that is not written"),
        (("events", *RANGE, "--out", "rows.zip"), "only compression is .gz"),
        (("events", *RANGE, "--format", "parquet"), "Parquet cannot be written to stdout"),
        (
            ("events", *RANGE, "--out", "x.parquet", "--format", "csv"),
            "suffix of Parquet, but the format is CSV",
        ),
        (("events", *RANGE, "--out", "x.csv", "--format", "parquet"), "or 'x.csv/' for a folder"),
        (("events", *RANGE, "--out", "x/", "--format", "csv"), "without a slash at the end"),
        (("events", *RANGE, "--out", "x.csv.zst"), "only compression is .gz"),
        (("events", *RANGE, "--overwrite"), "--overwrite is for a file or a folder"),
        (("events", *RANGE, "--out", "no/such/e.csv"), "there is no folder no/such"),
        (
            ("events", *RANGE, "-o", "e.csv", "--checkpoint", "no/such/state"),
            "Create the folder, or use another --checkpoint",
        ),
        (("events", *RANGE, "--resume"), "cannot be resumed"),
        (("events", *RANGE, "--out", "e.jsonl", "--resume"), "nothing to resume"),
        (("events", *RANGE, "--value", "n"), "NAME=VALUE"),
        (("hogql", "SELECT 1"), "--key"),
        (("hogql", " ", "--key", "uuid"), "empty"),
        (("list", "cohort"), "Did you mean cohorts"),
        (("list", "cohorts", "-p", "x=1"), "no parameter 'x'"),
    ],
)
def test_usage_errors(
    program: Program,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = program("export", *arguments)
    assert ended.status == 2
    assert words in ended.err
    assert server.queries == []
    assert os.listdir(tmp_path) == []


def test_exit_status_without_permission(program: Program, server: Server, tmp_path: Path) -> None:
    detail = "API key missing required scope 'query:read'"
    server.fault = lambda query: refusal(403, "permission_denied", detail)
    ended = program("export", "events", *RANGE, "--out", str(tmp_path / "e.jsonl"))
    assert ended.status == 4
    assert "query:read" in ended.err
    assert not (tmp_path / "e.jsonl").exists()


def test_an_interrupted_export_says_how_to_resume(
    program: Program, server: Server, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.jsonl"
    program("export", "events", *RANGE, "--out", str(whole))
    quota = refusal(402, "quota_exceeded", "The quota is used up.")
    server.clamp = 500
    server.queries.clear()
    server.fault = lambda query: quota if len(server.pages) > 2 else None
    path = tmp_path / "my events.jsonl"
    command = ("export", "events", *RANGE, "--out", str(path))
    ended = program(*command)
    assert ended.status == 3, ended.err
    assert "The quota is used up." in ended.err
    assert "asyncposthog export events --from 2026-01-01" in ended.err
    assert "--resume" in ended.err
    assert not path.exists()
    server.fault = lambda query: None
    resumed = program(*command, "--resume")
    assert resumed.status == 0, resumed.err
    assert resumed.json["resumed"] is True
    assert path.read_bytes() == whole.read_bytes()


def test_a_parquet_folder_resumes(program: Program, server: Server, tmp_path: Path) -> None:
    def day(n: int) -> list[Event]:
        start = 1_767_225_600_000_000 + n * 86_400_000_000
        return [Event(start + i, f"00000000-0000-4000-800{n}-{i:012d}") for i in range(700)]

    server.rows = [event for n in range(4) for event in day(n)]
    spans = ("--from", "2026-01-01", "--to", "2026-01-05")
    whole, folder = tmp_path / "whole", tmp_path / "events"
    assert program("export", "events", *spans, "--out", str(whole)).status == 0
    quota = refusal(402, "quota_exceeded", "The quota is used up.")
    server.clamp = 500
    server.queries.clear()
    server.fault = lambda query: quota if len(server.pages) > 4 else None
    command = ("export", "events", *spans, "--out", str(folder))
    ended = program(*command)
    assert ended.status == 3, ended.err
    assert "--resume" in ended.err
    server.fault = lambda query: None
    resumed = program(*command, "--resume")
    assert resumed.status == 0, resumed.err
    assert resumed.json["resumed"] is True
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.parquet"))
    assert len(files) == 4
    assert [(folder / f).read_bytes() for f in files] == [(whole / f).read_bytes() for f in files]
    assert program(*command, "--resume").status == 2


def test_a_value_that_parquet_cannot_store(
    program: Program, server: Server, tmp_path: Path
) -> None:
    server.rows = [Event(1_767_225_600_000_000, "no uuid")]
    ended = program("export", "events", *RANGE, "--out", str(tmp_path / "events"))
    assert ended.status == 1
    assert "Column uuid: 'no uuid' is not a UUID." in ended.err
    assert "toString" in ended.err
    assert "JSONL" in ended.err
    assert program("export", "events", *RANGE, "--out", str(tmp_path / "e.jsonl")).status == 0


def test_resumed_persons_keep_their_end(program: Program, server: Server, tmp_path: Path) -> None:
    old = [Event(1_600_000_000_000_000 + n, f"{n:04d}") for n in range(1_100)]
    server.rows = list(old)
    server.clamp = 500
    server.fault = lambda query: refusal(402, "quota_exceeded") if len(server.pages) > 2 else None
    path = tmp_path / "persons.jsonl"
    command = ("export", "persons", "-c", "uuid", "--out", str(path))
    assert program(*command).status == 3
    assert not path.exists()
    server.fault = lambda query: None
    server.rows.append(Event(int(time.time() * 1_000_000), "new"))
    ended = program(*command, "--resume")
    assert ended.status == 0, ended.err
    assert ended.json["resumed"] is True
    found = [json.loads(line)["uuid"] for line in path.read_bytes().splitlines()]
    assert found == [row.uuid for row in old]


def test_overlap_exports_late_rows(program: Program, server: Server, tmp_path: Path) -> None:
    everything = server.rows
    server.rows = everything[::2]
    command = ("export", "events", "--from", "2026-01-01", "--overlap", str(86_400))
    state = ("--checkpoint", str(tmp_path / "state"))
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    bare = program(*command, "--to", "2026-01-02", "--out", str(first))
    assert bare.status == 2
    assert "checkpoint" in bare.err
    assert program(*command, "--to", "2026-01-02", "--out", str(first), *state).status == 0
    server.rows = everything
    ended = program(*command, "--to", "2026-01-03", "--out", str(second), *state)
    assert (ended.json["rows"], ended.json["duplicates_skipped"]) == (1_000, 1_000)
    found = [json.loads(x)["uuid"] for p in (first, second) for x in p.read_bytes().splitlines()]
    assert sorted(found) == sorted(row.uuid for row in everything)


def test_ctrl_c_leaves_a_resumable_export(program: Program, server: Server, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.jsonl", tmp_path / "events.jsonl"
    program("export", "events", *RANGE, "--out", str(whole))
    reached, go_on = threading.Event(), threading.Event()

    def block(query: ReceivedQuery) -> httpx.Response | None:
        if len(server.pages) > 2:
            reached.set()
            go_on.wait(300)
        return None

    server.clamp = 500
    server.queries.clear()
    server.fault = block
    process = start("export", "events", *RANGE, "--out", str(path))
    assert reached.wait(300)
    try:
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    finally:
        go_on.set()
        process.kill()
    assert ended.status == 130, ended.err
    assert "Interrupted." in ended.err
    assert "--resume" in ended.err
    assert "Traceback" not in ended.err
    server.fault = lambda query: None
    assert program("export", "events", *RANGE, "--out", str(path), "--resume").status == 0
    assert path.read_bytes() == whole.read_bytes()


def test_a_terminal_shows_progress_and_a_summary(
    pointed: None, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    env = environment(TERM="xterm")
    terminal = Terminal("export", "events", *RANGE, "--out", str(path), env=env)
    status, seen = terminal.end()
    assert status == 0
    assert "2,000 rows in 0:0" in seen
    assert "requests." in seen
    status, seen = Terminal("export", "events", *RANGE, "--dry-run", env=env).end()
    assert status == 0
    assert "About 2,000 rows in" in seen
    assert "Nothing was exported" in seen
