"""A server on loopback that holds one response until it is released."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from urllib.parse import parse_qs, urlsplit

from tests.helpers.fake_query_api import ReceivedQuery, Server, events

from .graceful_ends_worker import DAY

ITEMS = [{"id": number, "name": f"cohort {number}"} for number in range(90)]


class HoldingServer:
    """Server of events and of 90 cohorts, which holds the response to one request."""

    def __init__(self) -> None:
        self.model = Server(events(90, spread=3 * DAY))
        self.hold_at: int | None = None
        self.arrived, self.released = Event(), Event()
        self.requests = 0
        self._lock = Lock()
        self.url = ""

    def hold(self, number: int) -> None:
        """Hold the response to the nth request from now on."""
        self.arrived.clear()
        self.released.clear()
        with self._lock:
            self.hold_at = self.requests + number

    def wait(self) -> None:
        """Wait until that request has arrived."""
        assert self.arrived.wait(60)

    def answer(self, path: str, body: bytes) -> bytes:
        with self._lock:
            self.requests += 1
            held = self.requests == self.hold_at
        if held:
            self.arrived.set()
            self.released.wait(60)
        if body:
            data = json.loads(body)
            node = data["query"]
            with self._lock:
                query = ReceivedQuery(self.requests, node["query"], node["values"], data)
                return self.model.answer(query).content
        offset = int(parse_qs(urlsplit(path).query).get("offset", ["0"])[0])
        items = ITEMS[offset : offset + 30]
        behind = f"{self.url}/api/projects/1/cohorts/?limit=30&offset={offset + 30}"
        following = behind if offset + 30 < len(ITEMS) else None
        page = {"count": len(ITEMS), "next": following, "previous": None, "results": items}
        return json.dumps(page).encode()


@contextmanager
def holding_server() -> Generator[HoldingServer]:
    server = HoldingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self) -> None:
            self._answer(b"")

        def do_DELETE(self) -> None:
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            content = server.answer(self.path, body)
            try:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the client was interrupted
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Loopback(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Loopback(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            http.shutdown()
            thread.join()


def everything(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder, including hidden ones."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
