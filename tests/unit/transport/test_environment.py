"""What the environment says of proxies and certificates is kept to, over real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import certifi
import pytest

from asyncposthog import (
    AsyncPostHog,
    ConfigurationError,
    ConnectionError,  # noqa: A004
)
from tests.helpers.fake_transport import KEY
from tests.helpers.transports import BACKENDS, backend, transport_settings

pytestmark = pytest.mark.anyio
CERTIFICATE = Path(__file__).parents[2] / "data" / "loopback.pem"
"""Made for 127.0.0.1 and these tests; nobody trusts it."""
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"id": 7}'


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Generator[str]:
    with backend(str(request.param)) as name:
        yield name


class Listener:
    """Answers one request after the other, and keeps what it read."""

    def __init__(self, context: ssl.SSLContext | None, answer: bytes) -> None:
        self.read: list[bytes] = []
        self._context = context
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            plain, _ = self._socket.accept()
            with plain, suppress(OSError):
                plain.settimeout(10)
                if self._context is None:
                    begun = self._speak(plain)
                else:
                    with self._context.wrap_socket(plain, server_side=True) as wrapped:
                        begun = self._speak(wrapped)
                if begun == b"stop":
                    return

    def _speak(self, connection: socket.socket) -> bytes:
        begun = connection.recv(65536)
        if begun and begun != b"stop":
            self.read.append(begun)
            connection.sendall(self._answer)
        return begun

    def stop(self) -> None:
        self._context = None
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"stop")
        self._thread.join()
        self._socket.close()


@contextmanager
def listening(context: ssl.SSLContext | None, answer: bytes) -> Generator[Listener]:
    listener = Listener(context, answer)
    try:
        yield listener
    finally:
        listener.stop()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without any of the variables."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)


def tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


def client(host: str) -> AsyncPostHog:
    return AsyncPostHog(KEY, project_id=1, host=host, max_retries=0, **transport_settings())


async def test_a_certificate_that_nobody_trusts() -> None:
    with listening(tls(), ANSWER) as server:
        async with client(f"https://127.0.0.1:{server.port}") as ph:
            with pytest.raises(ConnectionError, match="SSL_CERT_FILE"):
                await ph.feature_flags.get(7)
        assert server.read == []


async def test_an_authority_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with listening(tls(), ANSWER) as server:
        async with client(f"https://127.0.0.1:{server.port}") as ph:
            flag = await ph.feature_flags.get(7)
        assert flag.id == 7
        assert f"Authorization: Bearer {KEY}".encode() in server.read[0]


async def test_a_new_client_reads_certificates_that_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(certifi.contents().encode())
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with listening(tls(), ANSWER) as server:
        for _ in range(2):
            async with client(f"https://127.0.0.1:{server.port}") as ph:
                with pytest.raises(ConnectionError, match="SSL_CERT_FILE"):
                    await ph.feature_flags.get(7)
        trusted.write_bytes(CERTIFICATE.read_bytes())
        async with client(f"https://127.0.0.1:{server.port}") as ph:
            assert (await ph.feature_flags.get(7)).id == 7


async def test_a_proxy_learns_where_to_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(None, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with client("https://us.posthog.com") as ph:
            with pytest.raises(ConnectionError):
                await ph.feature_flags.get(7)
        assert proxy.read[0].startswith(b"CONNECT us.posthog.com:443 HTTP/1.1\r\n")
        assert KEY.encode() not in b"".join(proxy.read)


async def test_hosts_that_need_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with listening(None, ANSWER) as server:
        async with client(f"http://127.0.0.1:{server.port}") as ph:
            assert (await ph.feature_flags.get(7)).id == 7


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SSL_CERT_FILE", "/no/such/file.pem", "names '/no/such/file.pem'"),
        ("SSL_CERT_FILE", __file__, "no certificates can be read"),
        ("SSL_CERT_FILE", "/", "Is a directory"),
        ("SSLKEYLOGFILE", "/no/such/folder/keys.log", "cannot be written"),
        ("ALL_PROXY", "socks5://user:hunter2@127.0.0.1:9", r"httpx\[socks\]"),
        ("all_proxy", "socks5h://127.0.0.1:9", r"httpx\[socks\]"),
        ("HTTPS_PROXY", "ftp://user:hunter2@127.0.0.1:9", "does not begin with"),
        ("https_proxy", "http://user:hunter2@[::1", "is no address of a proxy"),
        ("HTTP_PROXY", "::::", "is no address of a proxy"),
        ("NO_PROXY", "[::1", "no host"),
        ("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:99999", "names port 99999"),
        ("ALL_PROXY", "http://user:hunter2@127.0.0.1:-1", "names port -1"),
        ("HTTPS_PROXY", "http://", "names no host"),
        ("HTTPS_PROXY", "http://user:hunter2@exa mple:80", "characters that no host has"),
    ],
)
async def test_a_variable_that_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    async with client("https://127.0.0.1:9") as ph:
        with pytest.raises(ConfigurationError, match=says) as caught:
            await ph.feature_flags.get(7)
    assert caught.value.message.startswith(f"{name} in the environment")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "hunter2" not in f"{seen} {seen.args}"
        seen = seen.__cause__ or seen.__context__


async def test_a_proxy_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{port}")
    async with client("https://us.posthog.com") as ph:
        with pytest.raises(ConnectionError, match="the proxy that HTTPS_PROXY") as caught:
            await ph.feature_flags.get(7)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
