"""`--column`, and tables that never cut an id."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from asyncposthog import registry
from asyncposthog.cli.columns import field_names
from asyncposthog.cli.output import Format, show_object
from asyncposthog.cli.terminal import fitting_widths
from posthog_emulator import Emulator

from .helpers import Ended, Terminal, environment

Program = Callable[..., Ended]


def test_names_are_repeated_or_joined_by_commas(program: Program, emulator: Emulator) -> None:
    emulator.seed("cohorts", 2)
    lines = program("list", "cohorts", "-c", "id,name", "-c", "created_by.email,id").lines
    assert len(lines) == 2
    assert list(lines[0]) == ["id", "name", "created_by.email"]
    assert isinstance(lines[0]["id"], int)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "cohorts", "-c", "nme"), "cohorts.list has no field 'nme'.\nDid you mean name?"),
        (("get", "cohorts", "1", "-c", "xyzzy"), "Its fields: cohort_type, count, created_at,"),
        (("list", "cohorts", "-c", "id,"), "--column takes NAME or NAME,NAME, not 'id,'."),
        (("list", "cohorts", "-c", "created_by.emial"), "Did you mean created_by.email?"),
        (("list", "cohorts", "-c", "name.x"), "name has no fields inside"),
        (("create", "cohorts", "-f", "name=x", "-c", "nme"), "has no field 'nme'"),
        (("call", "users.me", "-c", "emial"), "Did you mean email?"),
        (("export", "list", "cohorts", "-c", "id,nme"), "Did you mean name?"),
    ],
)
def test_an_unknown_column_is_refused_before_anything_is_sent(
    program: Program, emulator: Emulator, arguments: tuple[str, ...], words: str
) -> None:
    sent = len(emulator.requests)
    ended = program(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert words in ended.err
    assert len(emulator.requests) == sent


def test_inside_of_open_objects_any_name_goes(program: Program, emulator: Emulator) -> None:
    emulator.add("feature_flags", {"key": "beta", "filters": {"groups": [], "multivariate": None}})
    ended = program("list", "feature_flags", "-c", "key,filters.multivariate,filters.xyzzy")
    assert ended.lines == [
        {"key": "beta", "filters.multivariate": None, "filters.xyzzy": None},
    ]
    assert ended.err == "No object has filters.xyzzy: empty.\n"


def test_every_model_has_fields_to_choose_from() -> None:
    free = {"query.create", "query.create_for_kind"}  # whose answers depend on the query
    modelled = [op for op in registry.operations() if op.result.kind == "model"]
    assert {op.id for op in modelled if not field_names(op)} == free


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_columns_of_a_bare_array_are_chosen(
    form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    show_object([{"a": 1, "b": 2}, {"a": None}], form, ["a"])
    out, err = capsys.readouterr()
    assert "".join(out.split()).strip("[]").replace(",", "") == '{"a":1}{"a":null}'
    assert err == ""


@pytest.mark.parametrize(
    ("natural", "whole", "available", "widths"),
    [
        ([36, 10, 10], [True, False, False], 100, [36, 10, 10]),
        ([36, 50, 10], [True, False, False], 66, [36, 20, 10]),
        ([36, 50, 30], [True, False, False], 76, [36, 20, 20]),
        ([36, 50, 30], [True, False, False], 20, [36, 8, 8]),
        ([36, 36], [True, True], 20, [36, 36]),
        ([3, 5], [False, False], 2, [3, 5]),
    ],
)
def test_what_may_be_cut_gives_way_to_ids(
    natural: list[int], whole: list[bool], available: int, widths: list[int]
) -> None:
    assert fitting_widths(natural, whole, available) == widths


def test_ids_are_whole_on_a_narrow_terminal(pointed: None, emulator: Emulator) -> None:
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
