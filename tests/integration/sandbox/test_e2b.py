"""The backend `e2b`: the real SDK against a stand-in of E2B's API."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncposthog.sandbox import (
    E2B,
    SandboxError,
    SandboxExecutor,
    SandboxUnavailableError,
    ScriptLimits,
)
from asyncposthog.sandbox.wheel import pack_wheel
from posthog_emulator import Emulator, serve_sync
from tests.helpers.fake_e2b import FakeE2B

KEY = "phx_sandbox_secret_key"


@pytest.fixture
def e2b(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeE2B]:
    fake = FakeE2B(tmp_path)
    with fake.serve(monkeypatch):
        yield fake


def executor(**settings: Any) -> SandboxExecutor:
    return SandboxExecutor(
        E2B(install=settings.pop("install", False)), api_key=KEY, project_id=1, **settings
    )


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 - of another thread
        await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_template_runs_with_this_package_installed(e2b: FakeE2B) -> None:
    emulator = Emulator()
    emulator.seed("insights", 2)
    with serve_sync(emulator) as url:
        async with SandboxExecutor("e2b", api_key=emulator.key, project_id=1, host=url) as sandbox:
            result = await sandbox.execute_template("get_insights", {"limit": 1})
    assert len(result.json()) == 1
    assert e2b.alive == []
    assert e2b.created[0]["templateID"] == "base"
    assert e2b.keys == ["e2b_0123456789abcdef"]
    assert "asyncposthog/client.py" in e2b.installed
    install, script = e2b.commands
    # The key is in the environment of the script, and nowhere else.
    assert install["envs"] == {}
    assert script["envs"]["POSTHOG_PERSONAL_API_KEY"] == emulator.key
    assert emulator.key not in json.dumps([e2b.created, e2b.networks, install, script["args"]])
    files = [path for path in e2b.path("/var/tmp/asyncposthog").rglob("*") if path.is_file()]
    assert not [path for path in files if emulator.key.encode() in path.read_bytes()]
    assert e2b.networks == [{"allowOut": ["127.0.0.1"], "denyOut": ["0.0.0.0/0"]}]


@pytest.mark.asyncio
async def test_results_errors_and_limits(e2b: FakeE2B) -> None:
    async with executor(limits=ScriptLimits(output=2000)) as sandbox:
        fine = await sandbox.execute_script(
            "import os, sys; print(os.environ['POSTHOG_PERSONAL_API_KEY'], 6 * 7); "
            "print('warned', file=sys.stderr)",
            "Multiply",
        )
        assert (fine.success, fine.exit_code, fine.description) == (True, 0, "Multiply")
        assert fine.output == "phx_*** 42\n"
        assert fine.error == "warned\n"
        failed = await sandbox.execute_script("raise SystemExit(3)")
        assert (failed.success, failed.exit_code, failed.ending) == (False, 3, "finished")
        with pytest.raises(SandboxError, match="exit code 3"):
            failed.raise_for_failure()
        assert len(e2b.created) == 1
        # What reaches a limit may go on running there: the sandbox is killed.
        flood = await sandbox.execute_script("while True: print('x' * 1000, flush=True)")
        assert flood.ending == "output"
        assert len(flood.output) <= 2000
        assert e2b.alive == []
        hang = await sandbox.execute_script(
            "import time\nprint('on', flush=True)\ntime.sleep(600)",
            limits=ScriptLimits(seconds=1),
        )
        assert hang.ending == "timeout"
        assert "1 s" in hang.error
        assert e2b.alive == []
        both = await asyncio.gather(
            sandbox.execute_script("print(1)"), sandbox.execute_script("print(2)")
        )
        assert [result.output for result in both] == ["1\n", "2\n"]
        assert e2b.alive == ["sbx2"]
    assert e2b.alive == []
    assert e2b.ended == 2


@pytest.mark.asyncio
async def test_the_sandbox_is_killed_on_an_early_return_and_on_cancellation(e2b: FakeE2B) -> None:
    async def early() -> str:
        async with executor() as sandbox:
            return (await sandbox.execute_script("print('early')")).output

    assert await early() == "early\n"
    assert e2b.alive == []

    async def fails() -> None:
        async with executor():
            raise KeyError("mine")

    with pytest.raises(KeyError):
        await fails()
    assert e2b.alive == []

    async def hang() -> None:
        async with executor() as sandbox:
            await sandbox.execute_script("import time; time.sleep(600)")

    for cancel in ("native", "timeout", "scope"):
        before = len(e2b.commands)
        if cancel == "native":
            task = asyncio.create_task(hang())
            await until(lambda before=before: len(e2b.commands) > before)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif cancel == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await hang()
        else:
            with anyio.move_on_after(0.5):
                await hang()
        assert e2b.alive == []

    # Cancelled while E2B starts it: the answer comes afterwards.
    e2b.hold.append(True)
    started = e2b.create_started
    task = asyncio.create_task(hang())
    await until(lambda: e2b.create_started > started)
    task.cancel()
    await asyncio.sleep(0)
    e2b.hold.clear()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(e2b.created) == 6
    assert e2b.alive == []


@pytest.mark.asyncio
async def test_what_is_missing_is_named_and_nothing_is_used_instead(
    e2b: FakeE2B, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused() -> SandboxUnavailableError:
        with pytest.raises(SandboxUnavailableError) as error:
            async with executor(install=True) as sandbox:
                await sandbox.execute_script("print(1)")
        assert e2b.alive == []
        return error.value

    e2b.install_fails = True
    assert "no matching distribution" in str(await refused())
    e2b.refuse = 401
    error = await refused()
    assert "E2B started no sandbox" in str(error)
    assert "e2b_0123456789abcdef" not in str(error)
    monkeypatch.setenv("E2B_DEBUG", "true")
    assert "E2B_DEBUG" in str(await refused())
    monkeypatch.delenv("E2B_API_KEY")
    assert "E2B_API_KEY" in str(await refused())
    monkeypatch.setitem(sys.modules, "e2b", None)
    assert "pip install 'asyncposthog[e2b]'" in str(await refused())
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(E2B(api_key="e2b_secret_key"))
    assert "secret" not in repr(E2B(api_key="e2b_secret_key"))


def test_e2b_needs_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2B_API_KEY", "e2b_key")
    monkeypatch.delenv("E2B_DEBUG", raising=False)

    async def start() -> None:
        with pytest.raises(SandboxUnavailableError, match="needs asyncio"):
            await executor().__aenter__()

    anyio.run(start, backend="trio")


def test_the_wheel_is_one_that_pip_accepts(tmp_path: Path) -> None:
    name, content = pack_wheel()
    path = tmp_path / name
    path.write_bytes(content)
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        info = name.split("-py3")[0] + ".dist-info"
        metadata = wheel.read(f"{info}/METADATA").decode()
        record = wheel.read(f"{info}/RECORD").decode().splitlines()
    assert len(names) == len(set(names)) == len(record)
    assert "asyncposthog/py.typed" in names
    assert not [name for name in names if "__pycache__" in name]
    assert "Requires-Dist: httpx" in metadata
    assert f"Version: {name.split('-')[1]}" in metadata
