"""`--column`, and tables that never cut an id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from asyncposthog import registry
from asyncposthog.cli import terminal
from asyncposthog.cli.columns import field_names
from asyncposthog.cli.output import Format, show_object
from asyncposthog.cli.terminal import fitting_widths
from posthog_emulator import Emulator

from .helpers import CompletedCommand, Terminal, environment

Program = Callable[..., CompletedCommand]


def test_columns_can_be_repeated_or_joined(program: Program, emulator: Emulator) -> None:
    emulator.seed("cohorts", 2)
    lines = program("list", "cohorts", "-c", "id,name", "-c", "created_by.email,id").lines
    assert len(lines) == 2
    assert list(lines[0]) == ["id", "name", "created_by.email"]
    assert isinstance(lines[0]["id"], int)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "cohorts", "-c", "nme"), "cohorts.list has no field 'nme'.\nDid you mean name?"),
        (("get", "cohorts", "1", "-c", "xyzzy"), "Its fields: cohort_type, condition_type, count,"),
        (("list", "cohorts", "-c", "id,"), "--column takes NAME or NAME,NAME, not 'id,'."),
        (("list", "cohorts", "-c", "created_by.emial"), "Did you mean created_by.email?"),
        (("list", "cohorts", "-c", "name.x"), "name has no fields inside"),
        (("create", "cohorts", "-f", "name=x", "-c", "nme"), "has no field 'nme'"),
        (("call", "users.me", "-c", "emial"), "Did you mean email?"),
        (("export", "list", "cohorts", "-c", "id,nme"), "Did you mean name?"),
    ],
)
def test_an_unknown_column_is_a_usage_error(
    program: Program, emulator: Emulator, arguments: tuple[str, ...], words: str
) -> None:
    sent = len(emulator.requests)
    ended = program(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert words in ended.err
    assert len(emulator.requests) == sent


def test_open_objects_allow_any_column(program: Program, emulator: Emulator) -> None:
    emulator.add("feature_flags", {"key": "beta"})
    ended = program("list", "feature_flags", "-c", "key,features.xyzzy")
    assert ended.lines == [{"key": "beta", "features.xyzzy": None}]
    assert ended.err == "features.xyzzy is empty in every object.\n"


def test_every_model_has_fields() -> None:
    # Their responses depend on the query, or have any keys.
    free = {"query.create", "query.run_kind", "users.mark_product_intro_seen"}
    names = {"integrations.github.branches", "users.integrations.github.branches"}
    modelled = [op for op in registry.operations() if op.result.kind == "model"]
    assert {op.id for op in modelled if not field_names(op)} == free | names


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_columns_of_an_array(form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    show_object([{"a": 1, "b": 2}, {"a": None}], form, ["a"])
    out, err = capsys.readouterr()
    assert "".join(out.split()).strip("[]").replace(",", "") == '{"a":1}{"a":null}'
    assert err == ""


@pytest.mark.parametrize(
    ("natural", "least", "available", "widths"),
    [
        ([36, 10, 10], [36, 0, 0], 100, [36, 10, 10]),
        ([36, 50, 10], [36, 0, 0], 66, [36, 20, 10]),
        ([36, 50, 30], [36, 0, 0], 76, [36, 20, 20]),
        ([36, 50, 30], [36, 0, 0], 20, [36, 8, 8]),
        ([36, 50, 30], [36, 0, 25], 76, [36, 15, 25]),
        ([36, 36], [36, 36], 20, [36, 36]),
        ([3, 5], [0, 0], 2, [3, 5]),
        ([4], [0], 2, [4]),
    ],
)
def test_long_text_is_cut_before_ids(
    natural: list[int], least: list[int], available: int, widths: list[int]
) -> None:
    assert fitting_widths(natural, least, available) == widths


_ID = "0199aaaa-0000-7000-8000-000000000001"
_KEY = "a-key-of-a-feature-flag-that-is-longer-than-a-narrow-terminal-is-wide"
_LONG = "words " * 40
_USER = "a-distinct-id-that-is-longer-than-a-narrow-terminal-is-wide"
TABLES: list[tuple[Any, list[str]]] = [
    # One object, with names in the first column.
    ({"uuid": _ID, "distinct_id": _USER, "name": _LONG}, [_ID, _USER]),
    ({"name": _LONG, "key": _KEY}, [_KEY]),
    ({"name": _LONG, "other": _ID, "size": 10**40, "share": 0.12345678901234566}, [
        _ID, str(10**40), "0.12345678901234566",
    ]),
    # Several objects, with names in the header.
    ([{"name": _LONG, "description": _LONG, "distinct_ids": [_USER]}], [_USER]),
    ([{"name": _LONG, "description": _LONG, "key": _KEY, "alias": _ID}], [_KEY, _ID]),
    ([{"name": _LONG, "alias": None, "mixed": _LONG}, {"alias": _ID, "mixed": 10**30}], [
        _ID, str(10**30),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "whole"), TABLES)
def test_ids_keys_uuids_and_numbers_are_never_cut(
    data: Any, whole: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("asyncposthog.cli.terminal.is_tty", lambda: True)
    monkeypatch.setattr("asyncposthog.cli.output.is_tty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    rows: list[Any] = data if isinstance(data, list) else [data]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    terminal.stdout_console.cache_clear()
    try:
        show_object(data, "table", columns)
    finally:
        terminal.stdout_console.cache_clear()
    shown = capsys.readouterr().out
    for text in whole:
        assert text in shown
    assert _LONG.strip() not in shown


def test_ids_are_not_cut_on_a_narrow_terminal(pointed: None, emulator: Emulator) -> None:
    emulator.add("feature_flags", {"key": "narrow", "name": "words " * 40})
    terminal = Terminal(
        "list", "feature_flags", "-p", "search=narrow",
        "-c", "created_by.uuid,created_by.distinct_id,name,id,key",
        env=environment(COLUMNS="60"),
    )  # fmt: skip
    status, shown = terminal.end()
    assert status == 0
    row = next(line for line in shown.splitlines() if "narrow" in line).split()
    assert UUID(row[0])
    assert "…" in shown
