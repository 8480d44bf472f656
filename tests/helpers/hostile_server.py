"""A server of bytes: it says and does whatever a test wants, over plain sockets or TLS."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

CERTIFICATE = Path(__file__).parents[1] / "data" / "loopback.pem"
"""Made for 127.0.0.1 and these tests; nothing else trusts it."""


class Connection:
    """One connection of a client."""

    def __init__(self, plain: socket.socket, tls: ssl.SSLContext | None) -> None:
        self._socket = plain
        self._received = b""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self.damage: Callable[[bytes], bytes] = bytes
        """What becomes of the bytes that go on the wire after the handshake."""
        if tls is not None:
            self._tls = tls.wrap_bio(self._in, self._out, server_side=True)
            self._step(self._tls.do_handshake)
            self._flush(bytes)

    def _step(self, act: Callable[[], Any]) -> Any:
        """Do something with TLS, reading from the wire as often as it takes."""
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                self._flush(bytes)
                if not (data := self._socket.recv(65536)):
                    raise ConnectionError("the client has gone") from None
                self._in.write(data)

    def _flush(self, damage: Callable[[bytes], bytes]) -> None:
        if data := self._out.read():
            self._socket.sendall(damage(data))

    def _receive(self) -> bytes:
        tls = self._tls
        data = self._socket.recv(65536) if tls is None else self._step(lambda: tls.read(65536))
        if not data:
            raise ConnectionError("the client has gone")
        return bytes(data)

    def head(self) -> bytes:
        """Read the head of a request."""
        while b"\r\n\r\n" not in self._received:
            self._received += self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head

    def request(self) -> tuple[bytes, bytes]:
        """Read a whole request: its head and its body."""
        head = self.head()
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(self._received) < length:
            self._received += self._receive()
        body, self._received = self._received[:length], self._received[length:]
        return head, body

    def send(self, data: bytes) -> None:
        if self._tls is None:
            self._socket.sendall(data)
            return
        self._tls.write(data)
        self._flush(self.damage)

    def send_plain(self, data: bytes) -> None:
        """Send bytes as they are, past TLS."""
        self._socket.sendall(data)

    def reset(self) -> None:
        """Close the connection with a reset in place of an end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def wait(self) -> None:
        """Say nothing until the client has gone."""
        with suppress(OSError):
            while self._socket.recv(65536):
                pass


Script: TypeAlias = Callable[[Connection], None]


class HostileServer:
    """Runs a script for each connection, each in a thread of its own."""

    def __init__(self, script: Script, *, tls: bool = False, port: int = 0) -> None:
        self.script = script
        self.connections = 0
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(CERTIFICATE)
        self._socket = socket.create_server(("127.0.0.1", port), backlog=100)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self._main = threading.Thread(target=self._accept)
        self._main.start()

    def _accept(self) -> None:
        while True:
            plain, _ = self._socket.accept()
            if self._stopping:
                plain.close()
                return
            self.connections += 1
            self._open.add(plain)
            thread = threading.Thread(target=self._serve, args=(plain,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with plain, suppress(OSError):  # ssl.SSLError among them
                plain.settimeout(10)
                self.script(Connection(plain, self._context))
        finally:
            self._open.discard(plain)

    def stop(self) -> None:
        self._stopping = True
        with socket.create_connection(("127.0.0.1", self.port)):
            self._main.join()
        self._socket.close()
        for plain in tuple(self._open):
            with suppress(OSError):
                plain.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


@contextmanager
def hostile(script: Script, *, tls: bool = False) -> Generator[HostileServer]:
    server = HostileServer(script, tls=tls)
    try:
        yield server
    finally:
        server.stop()


def answer(
    status: int = 200,
    body: bytes = b'{"id": 1}',
    *headers: bytes,
    media: bytes = b"application/json",
) -> bytes:
    """Return a whole answer, its length declared."""
    lines = [
        b"HTTP/1.1 %d Whatever" % status,
        b"Content-Type: " + media,
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def envelope(code: str, detail: str, type: str = "server_error") -> bytes:
    """Return PostHog's own form of an error."""
    return json.dumps({"type": type, "code": code, "detail": detail, "attr": None}).encode()
