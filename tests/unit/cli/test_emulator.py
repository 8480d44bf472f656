"""`emulator`: serve an emulator on a port, and run other commands against it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

from .helpers import CompletedCommand, environment, finish, start

Program = Callable[..., CompletedCommand]


def test_emulator_prints_its_settings_and_ends_with_ctrl_c(program: Program) -> None:
    serving = start("emulator", "--port", "0", "--project-id", "7")
    assert serving.stdout is not None
    told = dict(serving.stdout.readline().strip().split("=", 1) for _ in range(3))
    assert told["POSTHOG_PROJECT_ID"] == "7"
    ended = finish(start("doctor", env=environment(**told)))
    assert ended.status == 0, ended.err
    assert ended.json["ok"]
    serving.send_signal(signal.SIGINT)
    stopped = finish(serving)
    assert (stopped.status, stopped.err) == (0, "")


def test_a_port_in_use(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = program("emulator", "--port", str(taken.getsockname()[1]))
    assert ended.status == 1
    assert "cannot listen on 127.0.0.1:" in ended.err
    assert "Traceback" not in ended.err


def test_emulator_has_its_own_options(program: Program) -> None:
    shown = program("emulator", "--help")
    assert shown.status == 0
    assert "--port" in shown.out
    assert program("emulator", "--port", "x").status == 2
    assert program("emulator", "--frobnicate").status == 2
