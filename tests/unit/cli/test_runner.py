"""Start and end of the program: statuses, keys, terminals, pipes, Ctrl-C."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import httpx
import pytest

import asyncposthog.cli
from asyncposthog import __version__, testing
from posthog_emulator import Emulator
from tests.helpers.subprocesses import run_json

from .helpers import CompletedCommand, Terminal, closed_early, environment, finish, held, start

Program = Callable[..., CompletedCommand]

KEY = "phx_" + "Zq3" * 12


def test_help_lists_commands_and_statuses(program: Program) -> None:
    ended = program("--help")
    assert ended.status == 0
    for word in ("resources", "list", "delete", "doctor", "emulator", "130 Ctrl-C"):
        assert word in ended.out
    assert program("list", "-h").status == 0
    nothing = program()
    assert (nothing.status, nothing.out) == (2, "")
    assert "Commands:" in nothing.err


def test_the_version(program: Program) -> None:
    assert program("--version").out == f"asyncposthog {__version__}\n"


def test_help_does_not_import_the_client_or_rich() -> None:
    loaded = run_json(
        "import contextlib, io, json, sys\n"
        "from asyncposthog.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): main(['--help'])\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    assert "typer" in loaded
    assert not {"httpx", "pydantic", "asyncposthog.client", "rich", "duckdb"} & set(loaded)


@pytest.mark.parametrize("missing", [("typer",), ("rich",), ("typer", "rich")])
def test_a_missing_extra(
    missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find(name: str) -> object | None:
        return None if name in missing else object()

    monkeypatch.setattr(asyncposthog.cli, "find_spec", find)
    assert asyncposthog.cli.main(["--version"]) == 1
    wanted = f"needs {' and '.join(missing)}: pip install 'asyncposthog[cli]'"
    assert wanted in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "cohorts", "--api-key", "x"),
        ("--api_key=x", "list", "cohorts"),
        ("list", "cohorts", "--token", KEY),
        ("list", "cohorts", KEY),
        ("list", "cohorts", "-p", f"search={KEY}"),
        ("create", "cohorts", "-d", f'{{"name": "{KEY}"}}'),
        ("create", "cohorts", "--", f"Bearer {KEY}"),
    ],
)
def test_keys_in_arguments_are_rejected(
    program: Program, emulator: Emulator, arguments: tuple[str, ...]
) -> None:
    sent = len(emulator.requests)
    ended = program(*arguments)
    assert ended.status == 2
    assert "POSTHOG_PERSONAL_API_KEY" in ended.err
    assert KEY not in ended.out + ended.err
    assert len(emulator.requests) == sent


def test_the_configured_key_in_arguments_is_rejected(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", "an-old-unprefixed-key")
    ended = program("list", "cohorts", "-p", "search=an-old-unprefixed-key")
    assert ended.status == 2
    assert "an-old-unprefixed-key" not in ended.err


def test_no_key_and_a_wrong_key(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", KEY)
    wrong = program("list", "cohorts")
    assert wrong.status == 4
    assert "401" in wrong.err
    assert "`asyncposthog doctor`" in wrong.err
    assert KEY not in wrong.err
    assert KEY not in program("list", "cohorts", "--debug").err
    monkeypatch.delenv("POSTHOG_PERSONAL_API_KEY")
    none = program("list", "cohorts")
    assert none.status == 4
    assert none.err.startswith("No API key was given.\nSet POSTHOG_PERSONAL_API_KEY.")


def test_a_server_error_has_a_suggestion(program: Program) -> None:
    ended = program("get", "cohorts", "987654")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[0].startswith("404 not_found")
    assert "Check the id" in ended.err
    assert "Traceback" not in ended.err
    assert "Traceback" in program("--debug", "get", "cohorts", "987654").err


def test_an_unreachable_host(program: Program) -> None:
    with testing():
        ended = program("list", "cohorts", "--host", "http://127.0.0.1:1")
    assert ended.status == 1
    assert "--host or --region" in ended.err


def test_global_options_at_any_position(program: Program, emulator: Emulator) -> None:
    for arguments in (
        ("--project", "1", "list", "cohorts"),
        ("list", "--project=1", "cohorts"),
        ("list", "cohorts", "--project", "1"),
    ):
        assert program(*arguments).status == 0
    assert program("list", "cohorts", "--project").status == 2
    assert program("list", "cohorts", "--project", "x").status == 2
    assert program("list", "--", "--debug").status == 2
    assert program("frobnicate").status == 2


def test_doctor(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = program("doctor")
    assert fine.status == 0
    assert fine.json["ok"]
    assert {check["name"] for check in fine.json["checks"]} >= {"key", "host", "project", "scopes"}
    assert fine.json["limits"]["burst"]["limit"] == 480
    table = program("doctor", "cohorts.*", "--format", "table").out
    assert "ok    key: phx_***" in table
    assert "bucket" in table
    assert program("doctor", "xyzzy.*").status == 2
    assert program("doctor", "--project", "77").status == 1
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", KEY)
    wrong = program("doctor")
    assert wrong.status == 4
    assert not wrong.json["ok"]
    assert KEY not in wrong.out + wrong.err


def test_a_closed_pipe_is_not_an_error(pointed: None, emulator: Emulator) -> None:
    emulator.seed("annotations", 400)
    process = start("list", "annotations")
    closed_early(process).close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=300) == 141
    process.stderr.close()


def test_ctrl_c_ends_at_once(pointed: None, emulator: Emulator) -> None:
    with held(emulator) as arrived:
        process = start("list", "cohorts")
        assert arrived.wait(300)
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    assert (ended.status, ended.out, ended.err) == (130, "", "Interrupted.\n")


def test_coloured_tables_on_a_terminal(pointed: None, emulator: Emulator) -> None:
    emulator.seed("cohorts", 2)
    status, seen = Terminal("list", "cohorts", "-c", "id", env=environment(TERM="xterm")).end()
    assert status == 0
    assert "\x1b[1m" in seen
    assert "─" in seen
    env = environment(TERM="xterm", NO_COLOR="1")
    _, plain = Terminal("get", "cohorts", "77777", env=env).end()
    assert "404" in plain
    assert "\x1b[31m" not in plain
    _, red = Terminal("get", "cohorts", "77777", env=environment(TERM="xterm")).end()
    assert "\x1b[1;31m" in red


def test_control_characters_are_replaced(pointed: None, program: Program) -> None:
    name = "\x1b]0;owned\x07\x1b[2J"
    made = program("create", "cohorts", "-d", json.dumps({"name": name})).json
    _, seen = Terminal(
        "get", "cohorts", str(made["id"]), "-c", "name", env=environment(TERM="xterm")
    ).end()
    assert "owned" in seen
    assert "\x1b]0;" not in seen
    assert "\x1b[2J" not in seen


def test_delete_asks_on_a_terminal(pointed: None, program: Program) -> None:
    number = str(program("create", "cohorts", "-f", "name=Doomed").json["id"])
    for answer, status in (("n\n", 2), ("y\n", 0)):
        terminal = Terminal("delete", "cohorts", number, env=environment(TERM="dumb"))
        terminal.read_until(f"Delete cohorts {number}? [y/N]")
        terminal.type(answer)
        assert terminal.end()[0] == status
    assert program("get", "cohorts", number).json["deleted"] is True


def test_key_prompt_on_a_terminal(pointed: None) -> None:
    env = environment(POSTHOG_PERSONAL_API_KEY=None, TERM="dumb")
    for key, status in (("phx_emulator", 0), (KEY, 4), ("", 2)):
        terminal = Terminal("list", "cohorts", "--debug", env=env)
        terminal.read_until("not shown")
        terminal.type(key + "\n")
        ended, seen = terminal.end()
        assert ended == status, seen
        assert not key or key not in seen


def test_a_list_below_its_count_prints_a_warning(
    program: Program, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def short(self: object, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"count": 5, "next": None, "results": []})

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", short)
    ended = program("list", "cohorts")
    assert ended.status == 0
    note = [line for line in ended.err.splitlines() if "the server counts 5" in line]
    assert len(note) == 1
    assert note[0].startswith("Warning: cohorts.list: ")
    assert "warnings.warn" not in ended.err
