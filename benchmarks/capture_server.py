"""A server that takes events: `python -m benchmarks.capture_server`. It prints its port.

It speaks both protocols of capture, counts events by UUID, and stores nothing else. `POST /control`
with JSON changes its behaviour; `GET /count` tells what it has received.
"""

from __future__ import annotations

import json
import random
import re
import socketserver
import sys
import threading
import time
import zlib
from typing import Any

__all__ = ["State"]

_UUID = re.compile(rb'"uuid": ?"([0-9a-f-]{36})"')


class State:
    """What the server has received, and how it behaves."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.uuids: set[bytes] = set()
        self.received = 0
        self.requests = 0
        self.latency = 0.0
        self.fault_rate = 0.0
        self.down = False
        self.random = random.Random(1)


STATE = State()


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        while line := self.rfile.readline():
            method, path, _ = line.split(b" ", 2)
            length, encoding = 0, b""
            while (header := self.rfile.readline()) not in {b"\r\n", b""}:
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                elif name.lower() == b"content-encoding":
                    encoding = value.strip()
            body = self.rfile.read(length)
            if encoding == b"gzip":
                body = zlib.decompress(body, 31)
            status, answer = self._answer(method, path, body)
            self.wfile.write(
                b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                % (status, len(answer)) + answer
            )  # fmt: skip

    def _answer(self, method: bytes, path: bytes, body: bytes) -> tuple[int, bytes]:
        if path == b"/control":
            changes: dict[str, Any] = json.loads(body)
            if changes.pop("reset", False):
                STATE.reset()
            for name, value in changes.items():
                setattr(STATE, name, value)
            return 200, b"{}"
        if method == b"GET":
            with STATE.lock:
                counts = {
                    "distinct": len(STATE.uuids),
                    "received": STATE.received,
                    "requests": STATE.requests,
                    "uuids": sorted(uuid.decode() for uuid in STATE.uuids)
                    if path.endswith(b"uuids")
                    else [],
                }
            return 200, json.dumps(counts).encode()
        if STATE.latency:
            time.sleep(STATE.latency)
        with STATE.lock:
            STATE.requests += 1
            failing = STATE.down or STATE.random.random() < STATE.fault_rate
        if failing:
            return 503, b'{"error": "service_unavailable"}'
        uuids = _UUID.findall(body)
        with STATE.lock:
            STATE.uuids.update(uuids)
            STATE.received += len(uuids)
        if b"/v1/" not in path:
            return 200, b'{"status":"Ok"}'
        results = b",".join(b'"%b":{"result":"ok"}' % uuid for uuid in uuids)
        return 200, b'{"results":{%b}}' % results


class Server(socketserver.ThreadingTCPServer):
    """The server."""

    daemon_threads = True
    request_queue_size = 64


def main() -> None:
    """Serve until the process is ended."""
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
