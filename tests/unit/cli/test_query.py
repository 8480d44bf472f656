"""`query`: the request, and the formats of rows."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
import respx

from asyncposthog.cli import main

from .helpers import CompletedCommand

Program = Callable[..., CompletedCommand]

HOST = "https://us.posthog.com"
ANSWER: dict[str, Any] = {
    "columns": ["event", "n", "at", "id", "tags", "paid"],
    "types": [
        ["event", "String"],
        ["n", "UInt64"],
        ["at", "DateTime64(6, 'UTC')"],
        ["id", "UUID"],
        ["tags", "Array(String)"],
        ["paid", "Nullable(Bool)"],
    ],
    "results": [
        ["$pageview", 12, "2026-01-02T03:04:05.000006Z", "0190b1d0-0000-7000-8000-000000000001",
         ["a", "b"], True],
        ['say "hi", you', 3, "2026-01-02T03:04:06Z", "0190b1d0-0000-7000-8000-000000000002",
         [], None],
    ],
}  # fmt: skip


@pytest.fixture
def query_route(monkeypatch: pytest.MonkeyPatch) -> Iterator[respx.Route]:
    """PostHog's query endpoint with one response."""
    for name in ("POSTHOG_API_KEY", "POSTHOG_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POSTHOG_HOST", HOST)
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", "phx_emulator")
    monkeypatch.setenv("POSTHOG_PROJECT_ID", "1")
    with respx.mock(base_url=HOST, assert_all_called=False) as router:
        yield router.post("/api/projects/1/query/").mock(httpx.Response(200, json=ANSWER))


@pytest.fixture
def program(query_route: respx.Route, capsys: pytest.CaptureFixture[str]) -> Program:
    def run(*arguments: str) -> CompletedCommand:
        status = main(arguments)
        out, err = capsys.readouterr()
        return CompletedCommand(status, out, err)

    return run


def sent(query_route: respx.Route) -> dict[str, Any]:
    return json.loads(query_route.calls.last.request.content)


def test_json_lines_without_a_terminal(program: Program, query_route: respx.Route) -> None:
    ended = program("query", "SELECT event FROM events LIMIT 5")
    assert (ended.status, ended.err) == (0, "")
    assert ended.lines[0] == {
        "event": "$pageview",
        "n": 12,
        "at": "2026-01-02T03:04:05.000006Z",
        "id": "0190b1d0-0000-7000-8000-000000000001",
        "tags": ["a", "b"],
        "paid": True,
    }
    assert sent(query_route)["query"]["query"] == "SELECT event FROM events LIMIT 5"
    assert sent(query_route)["refresh"] == "force_blocking"
    assert program("query", "SELECT 1 LIMIT 1", "--format", "json").json == ended.lines


def test_values_are_sent_separately(program: Program, query_route: respx.Route) -> None:
    names = ", ".join(f"{{{name}}}" for name in "abcdefghik")
    ended = program(
        "query", f"SELECT {names} LIMIT 1",
        "-v", "a=5", "-v", "b:text=5", "-v", "c=x", "-v", "d=true",
        "-v", 'e=["p", "q"]', "-v", "f:datetime=2026-01-01T00:00:00Z", "-v", "g=null",
        "-v", "h:decimal=1.50", "-v", "i:date=2026-01-31", "-v", "k=a=b",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    values = sent(query_route)["query"]["values"]
    wanted = {"a": 5, "b": "5", "c": "x", "d": True, "e": ["p", "q"], "g": None, "k": "a=b"}
    assert {name: values[name] for name in wanted} == wanted
    assert "2026-01-01" in values["f"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a", "NAME=VALUE"),
        ("a:int=x", "'x' is not a valid int"),
        ("a:bool=1", "'1' is not a valid bool"),
        ("a:uuid=1", "'1' is not a valid uuid"),
        ("a:number=1", "Types: text, int"),
        ("a:datetime=2026-01-01T00:00:00", "has no time zone"),
        ("a:datetime=soon", "must be a date or a timestamp"),
    ],
)
def test_invalid_values(program: Program, query_route: respx.Route, value: str, words: str) -> None:
    ended = program("query", "SELECT {a}", "--value", value)
    assert ended.status == 2
    assert words in ended.err
    assert program("query", "SELECT {a}", "-v", "a=1", "-v", "a=2").status == 2
    assert not query_route.called


def test_query_from_file_stdin_or_node(
    program: Program, query_route: respx.Route, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "q.sql").write_text("SELECT 7 LIMIT 1")
    program("query", f"@{tmp_path / 'q.sql'}")
    assert sent(query_route)["query"]["query"] == "SELECT 7 LIMIT 1"
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 8 LIMIT 1"))
    program("query", "-")
    assert sent(query_route)["query"]["query"] == "SELECT 8 LIMIT 1"
    query_route.mock(httpx.Response(200, json={"results": {"a": [1]}}))
    ended = program("query", '{"kind": "TracesQuery"}')
    assert sent(query_route)["query"]["kind"] == "TracesQuery"
    assert ended.json == {"a": [1]}
    assert program("query", '{"kind": "TracesQuery"}', "--format", "csv").status == 2
    for bad in ('{"kind"', " ", "@nowhere.sql"):
        assert program("query", bad).status in {1, 2}
    assert program("query", '{"kind": "TracesQuery"}', "-v", "a=1").status == 2


def test_csv(program: Program, query_route: respx.Route) -> None:
    rows = list(csv.reader(io.StringIO(program("query", "SELECT 1 LIMIT 1", "--format=csv").out)))
    assert rows == [
        ["event", "n", "at", "id", "tags", "paid"],
        ["$pageview", "12", "2026-01-02T03:04:05.000006Z",
         "0190b1d0-0000-7000-8000-000000000001", '["a","b"]', "true"],
        ['say "hi", you', "3", "2026-01-02T03:04:06Z", "0190b1d0-0000-7000-8000-000000000002",
         "[]", ""],
    ]  # fmt: skip


def test_a_table(program: Program, query_route: respx.Route) -> None:
    lines = program("query", "SELECT 1 LIMIT 1", "--format", "table").out.splitlines()
    assert lines[0].split() == ["event", "n", "at", "id", "tags", "paid"]
    assert len(lines) == 4


def test_parquet_keeps_the_types(
    program: Program, query_route: respx.Route, tmp_path: Path
) -> None:
    path = tmp_path / "rows.parquet"
    ended = program("query", "SELECT 1 LIMIT 1", "-o", str(path))
    assert (ended.status, ended.out) == (0, "")
    with duckdb.connect() as db:
        kinds = dict(db.sql(f"SELECT column_name, column_type FROM (DESCRIBE '{path}')").fetchall())
        rows = db.sql(f"SELECT event, n FROM '{path}'").fetchall()
    assert rows == [("$pageview", 12), ('say "hi", you', 3)]
    assert kinds["n"] == "UBIGINT"
    assert kinds["at"] == "TIMESTAMP WITH TIME ZONE"
    assert kinds["tags"] == "VARCHAR[]"
    assert kinds["paid"] == "BOOLEAN"
    assert kinds["id"] == "UUID"
    assert os.listdir(tmp_path) == ["rows.parquet"]


def test_output_files(program: Program, query_route: respx.Route, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    assert program("query", "SELECT 1 LIMIT 1", "-o", str(path)).status == 0
    assert path.read_text().startswith("event,n,at")
    path.write_text("mine")
    refused = program("query", "SELECT 1 LIMIT 1", "-o", str(path))
    assert refused.status == 2
    assert "exists" in refused.err
    assert path.read_text() == "mine"
    assert program("query", "SELECT 1 LIMIT 1", "-o", str(path), "--force").status == 0
    assert program("query", "SELECT 1 LIMIT 1", "--out", str(path), "--overwrite").status == 0
    assert path.read_text().startswith("event,n,at")
    for name in ("rows.xlsx", "no/such/rows.csv", "."):
        assert program("query", "SELECT 1 LIMIT 1", "-o", str(tmp_path / name)).status == 2
    assert program("query", "SELECT 1", "--format", "parquet").status == 2
    assert program("query", "SELECT 1", "--format", "table", "-o", str(path)).status == 2


def test_an_error_leaves_no_file(
    program: Program, query_route: respx.Route, tmp_path: Path
) -> None:
    detail = {"type": "validation_error", "code": "illegal", "detail": "Unable to resolve x."}
    query_route.mock(httpx.Response(400, json=detail))
    ended = program("query", "SELECT x", "-o", str(tmp_path / "rows.csv"))
    assert (ended.status, ended.out) == (1, "")
    assert "Unable to resolve x." in ended.err
    assert os.listdir(tmp_path) == []


def test_a_truncated_result_has_a_warning(program: Program, query_route: respx.Route) -> None:
    rows = [[n] for n in range(100)]
    cut = {"columns": ["n"], "types": [["n", "UInt64"]], "results": rows, "hasMore": True}
    query_route.mock(httpx.Response(200, json=cut))
    ended = program("query", "SELECT n FROM numbers")
    assert ended.status == 0
    assert len(ended.lines) == 100
    assert "Only 100 rows are here: without a LIMIT" in ended.err


def test_duplicate_column_names(program: Program, query_route: respx.Route) -> None:
    twice = {"columns": ["n", "n"], "types": [["n", "Int8"], ["n", "Int8"]], "results": [[1, 2]]}
    query_route.mock(httpx.Response(200, json=twice))
    ended = program("query", "SELECT 1 AS n, 2 AS n LIMIT 1")
    assert (ended.status, ended.out) == (2, "")
    assert "AS" in ended.err
    assert program("query", "SELECT 1 LIMIT 1", "--format", "csv").out == "n,n\n1,2\n"


@pytest.mark.parametrize(
    ("name", "form", "words"),
    [
        ("x.xlsx", "csv", "suffix of a format that is not written"),
        ("x.arrow", "parquet", "suffix of a format that is not written"),
        ("x.parquet", "csv", "has the suffix of Parquet, but the format is CSV"),
        ("x.csv.gz", "csv", "the result of a query is not compressed"),
    ],
)
def test_a_name_of_another_format_is_an_error(
    program: Program, query_route: respx.Route, tmp_path: Path, name: str, form: str, words: str
) -> None:
    ended = program("query", "SELECT 1", "--format", form, "--output", str(tmp_path / name))
    assert ended.status == 2
    assert words in ended.err
    assert not query_route.called
    assert list(tmp_path.iterdir()) == []
