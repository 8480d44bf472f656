"""`python -m posthog_emulator` as a subprocess and in process."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import httpx
import pytest

from posthog_emulator import Emulator
from posthog_emulator.cli import main, run

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio only: the emulator runs in another process."""
    return "asyncio"


@asynccontextmanager
async def running(
    *options: str,
) -> AsyncGenerator[tuple[anyio.abc.Process, httpx.AsyncClient]]:
    """Start the command and yield a client for the URL that it prints."""
    command = [sys.executable, "-m", "posthog_emulator", "--port", "0", *options]
    async with await anyio.open_process(command, stderr=None) as process:
        try:
            assert process.stdout is not None
            output = b""
            while output.count(b"\n") < 3:
                output += await process.stdout.receive()
            of = dict(line.split("=") for line in output.decode().split())
            key = {"Authorization": f"Bearer {of['POSTHOG_PERSONAL_API_KEY']}"}
            url = f"{of['POSTHOG_HOST']}/api/projects/{of['POSTHOG_PROJECT_ID']}/"
            async with httpx.AsyncClient(base_url=url, headers=key, timeout=60) as http:
                yield process, http
        except BaseException:
            process.kill()  # it is waited for
            raise


async def test_it_serves_until_terminated_and_saves_its_state(tmp_path: Path) -> None:
    box = str(tmp_path / "box")
    options = ["--project-id", "7", "--data", box, "--seed", "demo", "--events", "1_000"]
    async with running(*options, "--rate-limits") as (process, http):
        assert (await http.post("cohorts/", json={"name": "mine"})).status_code == 201
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    with Emulator(path=box, project_id=7) as emulator:
        assert "mine" in [cohort["name"] for cohort in emulator.items("cohorts")]
        assert emulator.state.events.read("SELECT count(*) FROM events") == [(1000,)]
    # What has been filled is not filled again.
    async with running(*options) as (process, http):
        assert "mine" in (await http.get("cohorts/")).text
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    with Emulator(path=box, project_id=7) as emulator:
        assert emulator.state.events.read("SELECT count(*) FROM events") == [(1000,)]


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        f"cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another port, or 0 for any free port\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port=70000"], "--port: the port must be an integer from 0 to 65535, not '70000'"),
        (["--port=-1"], "--port: the port must be an integer from 0"),
        (["--port=many"], "not 'many'"),
        (["--project-id=0"], "--project-id: the project id must be an integer of at least"),
        (["--seed", "apple"], "'apple' (choose from"),
        (["--seed", "demo", "--events", "0"], "--events: the number of events must be an integer"),
        (["--seed", "demo", "--events", "many"], "--events"),
        (["--sing"], "--sing"),
    ],
    ids=str,
)
def test_invalid_arguments(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_events_need_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0", "--events", "5"]) == 1
    assert "needs a seed: --seed demo" in capsys.readouterr().err


def test_unknown_seed() -> None:
    with pytest.raises(ValueError, match="no seed 'apple'; use one of: demo"):
        run(0, seed="apple")


def test_a_directory_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator(path=tmp_path):
        assert main(["--port", "0", "--data", str(tmp_path)]) == 1
    assert "in use by another emulator" in capsys.readouterr().err


def test_a_directory_with_another_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state.json").write_text("mine", encoding="utf-8")
    assert main(["--port", "0", "--data", str(tmp_path)]) == 1
    assert "move it away to start with an empty state" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"], prog="asyncposthog emulator")
    said = capsys.readouterr().out
    assert said.startswith("usage: asyncposthog emulator")
    assert "--data DIR" in said
