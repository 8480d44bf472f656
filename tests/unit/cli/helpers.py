"""Run the program: in this process if possible, and as a process where needed."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import anyio
import anyio.to_thread
import httpx
import uvicorn

from posthog_emulator import Emulator
from posthog_emulator.http.server import listen, make_server
from tests.helpers.subprocesses import ROOT

PROGRAM = (sys.executable, "-m", "asyncposthog")


@dataclass(frozen=True)
class CompletedCommand:
    """Result of a run."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@contextmanager
def served(emulator: Emulator) -> Generator[str]:
    """Serve an emulator in a thread."""
    server, listener = make_server(emulator.app), listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def served_model(answer: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> Generator[str]:
    """Serve a function of requests in a thread."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        content, more = b"", True
        while more:
            message = await receive()
            content += message.get("body", b"")
            more = message.get("more_body", False)
        request = httpx.Request(scope["method"], f"http://x{scope['path']}", content=content)
        # In a thread of its own: the function may block.
        response = await anyio.to_thread.run_sync(anyio.run, answer, request)
        headers = [(b"content-type", b"application/json")]
        start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": response.content})

    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    server, listener = uvicorn.Server(config), listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def held(emulator: Emulator) -> Generator[threading.Event]:
    """Hold all responses during the block; the event tells that a request has arrived."""
    arrived, over = threading.Event(), threading.Event()

    async def wait(seconds: float) -> None:
        arrived.set()
        await anyio.to_thread.run_sync(over.wait)

    usual = emulator.settings.sleep
    emulator.settings.sleep = wait
    emulator.faults.latency(1)
    try:
        yield arrived
    finally:
        over.set()
        emulator.faults.clear()
        emulator.settings.sleep = usual


def environment(**changes: str | None) -> dict[str, str]:
    """Return the environment of a child process; None removes a variable."""
    combined: Mapping[str, str | None] = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONWARNINGS": "error",
        "COLUMNS": "100",
        "LINES": "30",
        **changes,
    }
    return {name: value for name, value in combined.items() if value is not None}


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start the program with pipes."""
    options.setdefault("env", environment())
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process: subprocess.Popen[str], stdin: str | None = None) -> CompletedCommand:
    out, err = process.communicate(stdin, timeout=300)
    return CompletedCommand(process.returncode, out, err)


class Terminal:
    """The program with a terminal as stdin, stdout and stderr."""

    def __init__(self, *arguments: str, env: Mapping[str, str]) -> None:
        self._main, other = pty.openpty()
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=other, stdout=other, stderr=other, env=dict(env), start_new_session=True,
        )  # fmt: skip
        os.close(other)
        self.seen = ""

    def read_until(self, text: str) -> str:
        """Read until a text is shown."""
        while text not in self.seen:
            assert self._read(), f"{text!r} never came: {self.seen!r}"
        return self.seen

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def end(self) -> tuple[int, str]:
        """Read to the end; return the status and the output."""
        while self._read():
            pass
        os.close(self._main)
        return self.process.wait(timeout=300), self.seen

    def _read(self) -> bool:
        ready, _, _ = select.select([self._main], [], [], 300)
        assert ready, f"nothing more came: {self.seen!r}"
        try:
            got = os.read(self._main, 65536)
        except OSError:  # Linux raises it after the last process of the terminal has ended
            return False
        self.seen += got.decode(errors="replace")
        return bool(got)


def closed_early(process: subprocess.Popen[str]) -> IO[str]:
    """Return the stdout of a process, to be closed by the reader."""
    assert process.stdout is not None
    return process.stdout
