"""The emulator's event store: speed of ingestion over a socket, and of demo data."""

from __future__ import annotations

import json
import random
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

from benchmarks.measure import Row
from posthog_emulator import Emulator

__all__ = ["rows"]

AREA = "emulator"
ROUNDS = 3
EVENTS = 100_000
BATCH = 100
INGEST = 30_000
DEMO = 1_000_000
DEMO_SECONDS = 30

SERVER = """
import sys
from posthog_emulator import Emulator
from posthog_emulator.http.server import listen, make_server
emulator, listener = Emulator(), listen()
emulator.state.events
print(listener.getsockname()[1], flush=True)
make_server(emulator.app).run(sockets=[listener])
"""


def rows() -> Iterator[Row]:
    """Measure the rows with targets."""
    yield _ingest()
    yield _demo()


def _ingest() -> Row:
    """Measure events per second through `/batch/`, until all are stored and counted."""
    speeds = [_round(number) for number in range(ROUNDS)]
    speed = statistics.median(speeds)
    name = f"ingest through /batch/, {BATCH} events a request, one socket"
    return Row(AREA, name, speed, None, None, INGEST, speed >= INGEST, "events/s")


def _round(seed: int) -> float:
    batches = _batches(seed)
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as connection:
            _send(connection, b"POST /batch/", _batches(seed, 10)[0])
            _query(connection)
            started = time.perf_counter()
            for batch in batches:
                _send(connection, b"POST /batch/", batch)
            counted = _query(connection)
            elapsed = time.perf_counter() - started
        assert counted == EVENTS + 10, counted
        return EVENTS / elapsed
    finally:
        process.terminate()
        process.wait()


def _query(connection: socket.socket) -> int:
    """Return the number of stored events. The server writes pending ones first."""
    body = json.dumps({"query": {"kind": "HogQLQuery", "query": "SELECT count() FROM events"},
                       "refresh": "force_blocking"}).encode()  # fmt: skip
    return json.loads(_send(connection, b"POST /api/projects/1/query/", body))["results"][0][0]


def _send(connection: socket.socket, line: bytes, body: bytes) -> bytes:
    head = (
        b" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer phx_emulator\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    connection.sendall(line + head + body)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    start, _, content = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 200"), answer
    length = next(
        int(field.split(b":")[1])
        for field in start.lower().split(b"\r\n")
        if field.startswith(b"content-length:")
    )
    while len(content) < length:
        content += connection.recv(65536)
    return content


def _batches(seed: int, size: int = BATCH) -> list[bytes]:
    """Return bodies with pageviews of a few thousand persons, about 500 bytes an event."""
    rng, number = random.Random(seed), count()
    at = datetime.now(UTC).isoformat()
    return [
        json.dumps(
            {
                "api_key": "phc_emulator",
                "batch": [_event(rng, next(number), at) for _ in range(size)],
            }
        ).encode()
        for _ in range(EVENTS // BATCH)
    ]


def _event(rng: random.Random, number: int, at: str) -> dict[str, object]:
    person = rng.randrange(5000)
    return {
        "event": rng.choice(("$pageview", "$autocapture", "signed up", "paid")),
        "distinct_id": f"user-{person}",
        "uuid": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "timestamp": at,
        "properties": {
            "$current_url": f"https://example.com/page/{number % 97}",
            "$browser": "Chrome",
            "$os": "Mac OS X",
            "$session_id": f"session-{person}-{number // 5000}",
            "$lib": "web",
            "$lib_version": "1.256.0",
            "$screen_width": 1920,
            "plan": "free",
            "amount": number % 100,
        },
    }


def _demo() -> Row:
    emulator = Emulator()
    started = time.perf_counter()
    demo = emulator.add_demo_events(DEMO)
    seconds = time.perf_counter() - started
    assert demo.events == DEMO
    name = "1 M demo events generated and stored"
    return Row(AREA, name, seconds, None, None, DEMO_SECONDS, seconds <= DEMO_SECONDS, "s")
