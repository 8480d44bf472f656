"""`resources`, `list`, `get`, `create`, `update`, `delete`, `call`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncposthog import registry
from posthog_emulator import Emulator

from .helpers import CompletedCommand

Program = Callable[..., CompletedCommand]

LISTS = sorted(
    op.id.removesuffix(".list")
    for op in registry.operations()
    if op.id.endswith(".list")
    and op.api_key_allowed
    and not any(p.location == "path" or p.required for p in op.parameters)
)


def test_create_get_update_list_delete(program: Program) -> None:
    made = program("create", "cohorts", "-f", "name=Readers", "-f", "is_static=true").json
    assert (made["name"], made["is_static"]) == ("Readers", True)
    number = str(made["id"])
    assert program("get", "cohorts", number).json["name"] == "Readers"
    changed = program("update", "cohorts", number, "--data", '{"name": "Writers"}').json
    assert changed["name"] == "Writers"
    assert "Writers" in [row["name"] for row in program("list", "cohorts").lines]
    gone = program("delete", "cohorts", number, "--yes")
    assert (gone.status, gone.out, gone.err) == (0, "", "")
    assert "Writers" not in [row["name"] for row in program("list", "cohorts").lines]


@pytest.mark.parametrize("resource", LISTS[::6])
def test_all_kinds_of_lists(program: Program, resource: str) -> None:
    ended = program("list", resource, "--limit", "1")
    assert (ended.status, ended.err) == (0, ""), resource


def test_resources(program: Program) -> None:
    everything = {row["resource"]: row["methods"] for row in program("resources").lines}
    assert sum(map(len, everything.values())) == len(list(registry.operations()))
    assert {"get", "list", "create", "update", "delete"} <= set(everything["feature_flags"])
    rows = program("resources", "error-tracking", "--format", "json").json
    assert "error_tracking.issues.get" in [row["operation"] for row in rows]
    assert program("resources", "cohort").status == 2


def test_lists_in_every_format(program: Program, emulator: Emulator) -> None:
    emulator.seed("dashboards", 3)
    listed = ["list", "dashboards", "-c", "id", "-c", "created_by.email"]
    lines = program(*listed).lines
    assert len(lines) == 3
    assert list(lines[0]) == ["id", "created_by.email"]
    assert program(*listed, "--format", "json").json == lines
    assert program(*listed, "--format", "jsonl", "--limit", "2").lines == lines[:2]
    table = program(*listed, "--format", "table").out.splitlines()
    assert table[0].split() == ["id", "created_by.email"]
    assert len(table) == 2 + 3


def test_a_long_table_is_cut_with_a_message(program: Program, emulator: Emulator) -> None:
    emulator.seed("annotations", 130)
    short = program("list", "annotations", "--format", "table")
    assert len(short.out.splitlines()) == 2 + 50
    assert "The first 50 are shown" in short.err
    longer = program("list", "annotations", "--format", "table", "--limit", "120")
    assert (len(longer.out.splitlines()), longer.err) == (2 + 120, "")
    assert len(program("list", "annotations").lines) == 130


def test_a_list_of_names(program: Program, emulator: Emulator) -> None:
    parent = emulator.add("integrations")["id"]
    for name in ("main", "fix-login", "fix-logout"):
        emulator.add("integrations.github.branches", {"name": name}, parents=[parent])
    call = ("call", "integrations.github.branches", str(parent), "--param", "repo=acme/site")
    assert program(*call, "--param", "limit=2").lines == ["main", "fix-login", "fix-logout"]
    assert "fix-logout" in program(*call, "--format", "table").out


def test_an_empty_list(program: Program) -> None:
    assert program("list", "subscriptions", "--format", "json").json == []
    assert program("list", "subscriptions").out == ""
    assert program("list", "subscriptions", "--format", "table").err == "Nothing found.\n"


def test_fields_are_parsed_by_the_schema(program: Program) -> None:
    body = program(
        "create", "feature_flags", "--dry-run",
        "-f", "key=123", "-f", "active=no", "-f", 'filters={"groups": []}', "-f", 'tags=["a"]',
        "-f", "rollout_percentage=5",
    )  # fmt: skip
    assert body.status == 2
    assert "has no field 'rollout_percentage'" in body.err
    shown = program(
        "create", "feature_flags", "--dry-run",
        "-f", "key=123", "-f", "active=no", "-f", 'filters={"groups": []}', "-f", 'tags=["a"]',
    )  # fmt: skip
    sent = {"key": "123", "active": False, "filters": {"groups": []}, "tags": ["a"]}
    assert shown.json["body"] == sent
    assert shown.json["method"] == "POST"
    assert shown.err == "Nothing was sent.\n"


def test_data_from_argument_file_or_stdin(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"name": "From a file", "a_field_of_tomorrow": 1}
    (tmp_path / "body.json").write_text(json.dumps(body))
    shown = program("create", "cohorts", "--dry-run", "--data", f"@{tmp_path / 'body.json'}")
    assert shown.json["body"] == body
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(body)))
    assert program("create", "cohorts", "--dry-run", "-d", "-").json["body"] == body
    assert "is not JSON" in program("create", "cohorts", "-d", "{").err
    assert program("create", "cohorts", "-d", "[1]").status == 2
    assert program("create", "cohorts", "-d", "@nowhere.json").status == 1


def test_query_parameters(program: Program) -> None:
    shown = program("call", "feature_flags.list", "--dry-run", "-p", "active=true", "-p", "limit=7")
    assert shown.json["query"] == {"active": "true", "limit": "7"}


def test_file_uploads(program: Program, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    made = program("call", "uploaded_media.upload", "-f", f"image=@{tmp_path / 'a.png'}")
    assert made.status == 0, made.err
    assert "is a file" in program("call", "uploaded_media.upload", "-f", "image=a.png").err


def test_nested_resources_and_other_methods(program: Program) -> None:
    assert program("list", "error_tracking.issues").status == 0
    assert program("call", "feature_flags.mine").status == 0
    assert program("call", "users.me", "-c", "email").json == {"email": "someone@example.com"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "feature_flag"), "Did you mean feature_flags"),
        (("list", "issues"), "error_tracking.issues"),
        (("list", "error_tracking"), "error_tracking.issues"),
        (("list", "xyzzy"), "`asyncposthog resources` lists all"),
        (("delete", "activity_log", "1", "--yes"), "It has: list."),
        (("call", "cohorts.lst"), "It has: "),
        (("call", "cohorts"), "'cohorts' is not an operation: use RESOURCE.METHOD."),
        (("query", "SELECT {x}"), "Add --value x=VALUE."),
        (
            ("get", "cohorts"),
            "cohorts.get takes one id, but none was given.\nUsage: asyncposthog get cohorts ID",
        ),
        (("list", "cohorts", "7"), "cohorts.list takes no id, but one was given."),
        (("list", "cohorts", "7", "8"), "but 2 were given.\nUsage: asyncposthog list cohorts\n"),
        (("call", "cohorts.persons"), "Usage: asyncposthog call cohorts.persons ID"),
        (("delete", "cohorts"), "cohorts.delete takes one id, but none was given."),
        (("get", "cohorts", "x"), "id must be a whole number, not 'x'"),
        (("get", "surveys", "7"), "id must be a UUID, not '7'"),
        (("list", "cohorts", "-p", "lmit=1"), "Did you mean limit?"),
        (("list", "cohorts", "-p", "limit"), "--param takes NAME=VALUE"),
        (("list", "cohorts", "-p", "limit=x"), "limit must be a whole number"),
        (("create", "feature_flags", "-f", "kei=1"), "Did you mean key?"),
        (("create", "feature_flags", "-f", "active=maybe"), "active must be true or false"),
        (("create", "surveys"), "Add --field"),
        (("update", "cohorts", "1"), "Nothing to update"),
        (("call", "cohorts.list", "-f", "a=1"), "Use --param for the query"),
        (("call", "environments.experiments_config.update", "1"), "--data JSON"),
    ],
)
def test_usage_errors(
    program: Program, emulator: Emulator, arguments: tuple[str, ...], words: str
) -> None:
    sent = len(emulator.requests)
    ended = program(*arguments)
    assert ended.status == 2
    assert words in ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert len(emulator.requests) == sent


def test_delete_needs_confirmation_or_yes(program: Program, emulator: Emulator) -> None:
    emulator.seed("cohorts", 1)
    number = str(program("list", "cohorts", "-n", "1").lines[0]["id"])
    refused = program("delete", "cohorts", number)
    assert refused.status == 2
    assert "--yes" in refused.err
    assert program("get", "cohorts", number).json["deleted"] is False
