"""The emulator: coverage, validity, start time and speed."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import anyio

from benchmarks.measure import Row, alternate
from tests.contract.emulated import DEVIATIONS, UNLIKE_SCHEMA, Judged, judged

__all__ = ["rows"]

AREA = "emulator"
RUNS = 5
CONNECTIONS = 8
REQUESTS = 8_000

FIRST = """
import anyio, httpx
from posthog_emulator import Emulator
async def first():
    emulator = Emulator()
    headers = {"Authorization": "Bearer phx_emulator"}
    transport = emulator.transport()
    async with httpx.AsyncClient(transport=transport, base_url="http://e", headers=headers) as http:
        assert (await http.get("/api/projects/1/cohorts/")).status_code == 200
anyio.run(first)
"""
SERVER = """
from posthog_emulator import Emulator
from posthog_emulator.http.server import listen, make_server
emulator, listener = Emulator(), listen()
emulator.seed("cohorts", 100)
print(listener.getsockname()[1], flush=True)
try:
    make_server(emulator.app).run(sockets=[listener])
except KeyboardInterrupt:
    pass
"""
REQUEST = (
    b"GET /api/projects/1/cohorts/7/ HTTP/1.1\r\nHost: localhost\r\n"
    b"Authorization: Bearer phx_emulator\r\nAccept: application/json\r\n\r\n"
)


def rows() -> Iterator[Row]:
    """Measure the rows with targets."""
    yield from _answers()
    yield _start()
    yield _gets()


def _answers() -> Iterator[Row]:
    results = anyio.run(_contract_results)
    answered = [result for result in results if result.status != 501]
    yield Row(
        AREA, "operations answered, none with a 501",
        len(answered), None, None, len(results), len(answered) == len(results), "operations",
    )  # fmt: skip
    aside = {**DEVIATIONS, **UNLIKE_SCHEMA}
    listed = [result for result in results if result.operation.id not in aside]
    valid = [result for result in listed if result.declared and not result.found]
    yield Row(
        AREA, f"valid against the pinned schema ({len(aside)} listed aside)",
        100 * len(valid) / len(listed), None, None, 100, len(valid) == len(listed), "%",
    )  # fmt: skip


async def _contract_results() -> list[Judged]:
    return [result async for result in judged()]


def _start() -> Row:
    taken, _ = alternate({"first": FIRST}, RUNS)["first"]
    seconds = taken / 1000
    return Row(
        AREA, "start to first answer in a fresh process, imports included",
        seconds, None, None, 0.5, seconds <= 0.5, "s",
    )  # fmt: skip


def _gets() -> Row:
    """Request one object repeatedly; the server process is limited to one core."""
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(server.pid, cores[:1])
        try:
            rate = statistics.median(_rate(port) for _ in range(3))
        finally:
            server.send_signal(signal.SIGINT)
    return Row(
        AREA, "GET on an item over a socket, one core",
        rate, None, None, 1500, rate >= 1500, "/s",
    )  # fmt: skip


def _rate(port: int) -> float:
    opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    try:
        for connection in opened:
            _send(connection)
            _read(connection)
        started_at = time.perf_counter()
        for _ in range(REQUESTS // CONNECTIONS):
            for connection in opened:
                _send(connection)
            for connection in opened:
                _read(connection)
        return REQUESTS / (time.perf_counter() - started_at)
    finally:
        for connection in opened:
            connection.close()


def _send(connection: socket.socket) -> None:
    connection.sendall(REQUEST)


def _read(connection: socket.socket) -> None:
    buffer = b""
    while True:
        buffer += connection.recv(65_536)
        head, ended, body = buffer.partition(b"\r\n\r\n")
        if ended:
            lines = head.lower().split(b"\r\n")
            (length,) = [line for line in lines if line.startswith(b"content-length:")]
            if len(body) >= int(length.partition(b":")[2]):
                assert lines[0].split()[1] == b"200", head
                return
