"""Shell completion of resources, operations, parameters and fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import pytest

from asyncposthog.cli.completion import EXPORT_COLUMNS
from asyncposthog.export import service
from asyncposthog.export.source import Source
from tests.helpers.subprocesses import run_json

from .helpers import CompletedCommand

Program = Callable[..., CompletedCommand]


@pytest.fixture
def complete(program: Program, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return a function that completes the last word of a line, as bash does."""

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_ASYNCPOSTHOG_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        ended = program()
        assert ended.err == ""
        return ended.out.split()

    return ask


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("asyncposthog list coho", ["cohorts"]),
        ("asyncposthog get error_tracking.iss", ["error_tracking.issues"]),
        ("asyncposthog resources coho", ["cohorts"]),
        ("asyncposthog create activity_l", []),
        ("asyncposthog call cohorts.act", ["cohorts.activity"]),
        ("asyncposthog doctor cohorts.li", ["cohorts.list"]),
        ("asyncposthog doctor cohorts.*", ["cohorts.*"]),
        ("asyncposthog list cohorts -c is_", ["is_calculating", "is_static"]),
        ("asyncposthog list cohorts -c id,is_s", ["id,is_static"]),
        ("asyncposthog list cohorts -c created_by.em", ["created_by.email"]),
        ("asyncposthog get cohorts 1 --column nam", ["name"]),
        ("asyncposthog call cohorts.list -c nam", ["name"]),
        ("asyncposthog call users.me -c emai", ["email"]),
        ("asyncposthog list feature_flags -p act", ["active="]),
        ("asyncposthog create feature_flags -f ke", ["key="]),
        ("asyncposthog export list coho", ["cohorts"]),
        ("asyncposthog export list cohorts -c is_s", ["is_static"]),
        ("asyncposthog list xyzzy -c i", []),
        ("asyncposthog export events --column ti", ["timestamp"]),
        (
            "asyncposthog export events --from 2026-01-01 -c per",
            ["person.properties.", "person_id"],
        ),
        ("asyncposthog export persons -c is", ["is_identified"]),
        ("asyncposthog export sessions -c session", ["session_id"]),
        ("asyncposthog export groups --column k", ["key"]),
    ],
)
def test_completions(complete: Callable[[str], list[str]], line: str, offered: list[str]) -> None:
    assert complete(line) == offered


def test_completions_of_export_columns() -> None:
    # The columns are defined twice, because importing the exports is slow.
    usual = {source.kind: source.columns for source in vars(service).values() if _is_source(source)}
    assert usual.keys() == EXPORT_COLUMNS.keys()
    for kind, columns in usual.items():
        assert set(columns) <= set(EXPORT_COLUMNS[kind])


def _is_source(value: object) -> TypeGuard[Source]:
    return isinstance(value, Source)


def test_completion_does_not_import_the_client_or_models() -> None:
    loaded = run_json(
        "import contextlib, io, json, os, sys\n"
        "os.environ.update(_ASYNCPOSTHOG_COMPLETE='complete_bash', COMP_CWORD='4',\n"
        "    COMP_WORDS='asyncposthog list cohorts -c na')\n"
        "from asyncposthog.cli import main\n"
        "out = io.StringIO()\n"
        "with contextlib.redirect_stdout(out): main([])\n"
        "assert out.getvalue().split() == ['name'], out.getvalue()\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    heavy = {"httpx", "rich", "asyncposthog.client", "asyncposthog.models", "asyncposthog.model"}
    assert not heavy & set(loaded)  # typer itself may import pydantic
