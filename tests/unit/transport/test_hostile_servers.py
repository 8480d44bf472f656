"""Whatever a server says, what is raised is a `PostHogError`, `TypeError` or `ValueError`."""

from __future__ import annotations

import gzip
import random
import ssl
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

import httpx
import pytest

from asyncposthog import ConfigurationError, PostHogError, ServerError
from asyncposthog.operation import Operation, Result
from tests.helpers.fake_transport import Client, new_call
from tests.helpers.hostile_server import (
    CERTIFICATE,
    Connection,
    HostileServer,
    answer,
    envelope,
    hostile,
)
from tests.helpers.manual_clock import ManualClock
from tests.helpers.transports import BACKENDS, backend, transport_settings

pytestmark = [
    pytest.mark.anyio,
    # httpx does not close its own generators when one of them stops early, and trio notices.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEY = "phx_s3cr3tK3yOfTheTests"
DOWNLOAD = Operation(
    id="things.download",
    method="GET",
    path="/api/projects/{project_id}/things/download/",
    result=Result(kind="bytes", status=302, media="application/octet-stream"),
    writes=False,
)

Call = Callable[[Client], Awaitable[object]]
HTTPX_ALONE = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Generator[str]:
    with backend(str(request.param)) as name:
        yield name


def says(data: bytes) -> Callable[[Connection], None]:
    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.send(data)
            if b"\r\nX-End:" in data:
                return

    return script


def chunked(body: bytes, *headers: bytes, status: int = 200) -> bytes:
    lines = [b"HTTP/1.1 %d X" % status, b"Transfer-Encoding: chunked", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


def ended(body: bytes, *headers: bytes, status: int = 200) -> bytes:
    """An answer whose body ends with the connection."""
    return b"\r\n".join([b"HTTP/1.1 %d X" % status, b"X-End: 1", *headers]) + b"\r\n\r\n" + body


async def get(ph: Client) -> object:
    return await ph.things.get(1)


async def text(ph: Client) -> object:
    raw = await ph.raw(ph.things.report)
    return raw.text(), raw.request_id, raw.headers


async def adhoc(ph: Client) -> object:
    return await ph.request("GET", "/api/x/")


async def lines(ph: Client) -> object:
    async with ph.stream(ph.things.report) as streamed:
        return [line async for line in streamed.aiter_lines()]


async def pieces(ph: Client) -> object:
    async with ph.stream(ph.things.report) as streamed:
        return [piece async for piece in streamed.aiter_bytes()]


async def download(ph: Client) -> object:
    executor = ph.things._executor
    return await executor.call(new_call(DOWNLOAD))


async def listed(ph: Client) -> object:
    return [thing async for thing in ph.things.list()]


async def looked_up(ph: Client) -> object:
    return await ph.with_options(project_id=None).things.get(1)


LOCATIONS: Final = [
    b"https://[", b"http://[::1", b"http://xn--/", b"https://xn--a/", b"http://xn--ls8h.la:99999/",
    b"//xn--\xff/", b"http://\xc3\xbc\xc3\xbc/", b"http://\xfc/", b"http://a..b/", b"http://.",
    b"http://" + b"a" * 300 + b"/", b"http://" + b"a." * 200 + b"com/", b"/" + b"a" * 70_000,
    b"?" + b"a" * 70_000, b"http://%00/", b"http://a b/", b"\x01", b":", b"::", b"//", b"http:",
    b"http://", b"http:///x", b"https://u:p@[::1%25eth0]/", b"javascript:alert(1)", b"data:,x",
    b"file:///etc/passwd", b"http://127.0.0.1:1/", b"http://127.0.0.1:0/", b"http://[::1]:1/x",
    b"http://256.256.256.256/", b"http://-a-/", b"http://*/", b"http://a_b/", b"mailto:x", b"#",
    b"http://127.0.0.1:port/", b"http://1/", b"\xe2\x98\x83", b"http://\xe2\x98\x83.example/",
    b"http://xn--" + b"9" * 60 + b"/", b"//127.0.0.1:1\\@x/", b"http://\xef\xbc\x8e/",
]  # fmt: skip

BODIES: Final = [
    b"", b"[" * 100_000, b"{" * 1000, b'{"a":' * 100_000, b"9" * 10_000, b'{"code":' + b"9" * 9000,
    b'{"code": %s, "detail": "x"}' % (b"9" * 9000), b"NaN", b"\xff\xfe\x00", b"\xef\xbb\xbf{}",
    b'{"detail": "\\ud800"}', b'"\\ud800"', b'{"detail": {"a": [1, {"b": null}]}}', b"null", b"0",
    b'{"error": ' * 150 + b"1" + b"}" * 150, b'{"list": [' * 90 + b"1" + b"]}" * 90, b"[[[[1]]]]",
    b"<html>" + b"<title>" * 2000, b"<h1>" * 3000, b"<script" * 3000, b"<" * 20_000, b"<!doctype",
    b'{"query_status": {"error_message": 1e999}}', b'{"detail": true, "code": [1], "attr": {}}',
    b'{"type": "t", "code": 1e999, "detail": NaN}', b"\x00" * 100, b'{"team": {"id": true}}',
    b'{"team": {"id": -1}, "organization": {"id": "../x"}}', b'{"results": 1}', b'{"next": 1}',
    b'{"results": [], "next": "http://["}', b'{"results": [1], "next": "http://xn--/"}',
    b'{"results": [{"id": 1}], "next": "?%s"}' % (b"a" * 70_000),
]  # fmt: skip

CHARSETS: Final = [
    b"hex", b"undefined", b"idna", b"punycode", b"utf-16", b"utf-32", b"zlib", b"rot13", b"uu",
    b"base64", b"unicode_escape", b"raw_unicode_escape", b"mbcs", b"", b'"', b"\xff", b"a" * 5000,
    b"quopri", b"utf-7", b"x y",
]  # fmt: skip

HEADERS: Final = [
    b"X-Server: M\xfcnchen", "X-Server: Zürich ☃".encode(), b"X-Request-Id: \xff\xfe",
    b"Retry-After: \xb2", b"Retry-After: " + b"9" * 5000, b"Retry-After: 1e5000",
    b"Retry-After: " + b"Mon, " * 3000, b"Set-Cookie: \xff", b"Set-Cookie: " + b"a=b; " * 5000,
    b"Set-Cookie: a=b; expires=Thu, 99 Foo 99999999999; max-age=zz; domain=..", b"X:",
    b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: zz", b"Content-Length: 1,1",
    b"Content-Length: " + b"9" * 40, "Content-Length: ٣".encode(), b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked, chunked", b"Content-Encoding: gzip", b"Content-Encoding: deflate",
    b"Content-Encoding: br", b"Content-Encoding: zstd", b"Content-Encoding: xyz\xff",
    b"Content-Encoding: gzip, deflate, gzip, br", b"Content-Encoding: " + b"gzip, " * 2000,
    b" folded: x", b"no colon", b": no name", b"a b: c", b"X: a\x00b", b"X: a\rb", b"\xff: x",
    b"X: " + b"x" * 300_000, b"\r\n".join(b"X-%d: x" % n for n in range(2000)),
    b"Location: \xff\xfe", b"Upgrade: h2c", b"Connection: upgrade, \xff",
    b"WWW-Authenticate: Basic realm=\xff",
]  # fmt: skip


def locations() -> dict[str, bytes]:
    return {
        f"{status} to {location[:30]!r}": answer(status, b"", b"Location: " + location)
        for location in LOCATIONS
        for status in (302, 308)
    }


def bodies(*statuses: int, media: bytes = b"application/json") -> dict[str, bytes]:
    return {
        f"{status} with {body[:30]!r}": answer(status, body, media=media)
        for body in BODIES
        for status in statuses
    }


def charsets() -> dict[str, bytes]:
    media = [(name, b"text/plain; charset=" + name) for name in CHARSETS]
    return {
        f"{status} in {name[:20]!r}": answer(status, b"a\xff\x80\nb", media=kind)
        for name, kind in media
        for status in (200, 400)
    }


def headers() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    packed = gzip.compress(b'{"id": 1}')
    for header in HEADERS:
        name = repr(header[:30])
        found[name] = answer(200, b'{"id": 1}', header)
        found[f"503 {name}"] = answer(503, b"{}", header)
        found[f"chunked {name}"] = chunked(b'{"id": 1}', header)
        found[f"ended {name}"] = ended(b'{"id": 1}', header)
        found[f"packed {name}"] = answer(200, packed, b"Content-Encoding: gzip", header)
    return found


def nonsense() -> dict[str, bytes]:
    raw = [
        b"", b"\r\n\r\n", b"HTTP/1.1", b"HTTP/1.1 \r\n\r\n", b"HTTP/1.1 20\r\n\r\n", b"SSH-2.0\r\n",
        b"HTTP/1.1 2000 X\r\n\r\n", b"HTTP/1.1 000 X\r\n\r\n", b"HTTP/1.1 999 X\r\n\r\n",
        b"HTTP/1.1 099 X\r\n\r\n", b"HTTP/9.9 200 X\r\n\r\n", b"HTTP/1.1 200 \xff\xfe\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 X\r\n\r\n", b"HTTP/1.0 200\n\n{}", b"http/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n" * 500,
        b"HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\nhello", b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 200 " + b"x" * 300_000,
        chunked(b"{}")[:-3], chunked(b"{}").replace(b"\r\n2\r\n", b"\r\n-2\r\n"),
        chunked(b"{}").replace(b"\r\n2\r\n", b"\r\nffffffffffffffffffff\r\n"),
        chunked(b"{}").replace(b"\r\n2\r\n", b"\r\n2;" + b"x" * 100_000 + b"\r\n"),
        chunked(b"{}").replace(b"0\r\n\r\n", b"0\r\nX: \xff\x00\r\n\r\n"),
        chunked(b"{}").replace(b"{}\r\n", b"{}xx"),
    ]  # fmt: skip
    return {f"bytes {data[:30]!r}": data for data in raw}


Answers = Callable[[], dict[str, bytes]]
ON_BOTH: Final[list[tuple[Call, Answers]]] = [
    (download, locations),
    (get, headers),
    (get, nonsense),
    (pieces, nonsense),
]
"""Connections that end at any place, which both event loops report in their own ways."""
ON_ONE: Final[list[tuple[Call, Answers]]] = [
    (get, locations),
    (get, lambda: bodies(200, 400, 503)),
    (adhoc, lambda: bodies(200, 302, media=b"text/plain")),
    (listed, lambda: bodies(200)),
    (looked_up, lambda: bodies(200)),
    (text, charsets),
    (adhoc, charsets),
    (lines, charsets),
]
"""Complete answers, whose content no event loop sees."""


def client(server: HostileServer, **settings: Any) -> Client:
    chosen: dict[str, Any] = {
        "api_key": KEY,
        "project_id": 1,
        "host": server.url,
        "clock": ManualClock(),
        "limits": False,
        "max_retries": 0,
        "retry_budget": None,
        "timeout": 5,
        **transport_settings(),
        **settings,
    }
    return Client(**chosen)


async def outcome(call: Call, ph: Client) -> str | None:
    """Make a call; return what is wrong with what it raises."""
    try:
        await call(ph)
    except (PostHogError, TypeError, ValueError) as error:
        if KEY in str(error):
            return f"the key is in {error}"
        return None if str(error) else f"{type(error).__name__} says nothing"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.filterwarnings("ignore::asyncposthog.SchemaDrift")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("call", "answers"), ON_ONE)
async def test_no_complete_answer_raises_anything_untyped(call: Call, answers: Answers) -> None:
    assert await untyped(call, answers) == {}


@pytest.mark.filterwarnings("ignore::asyncposthog.SchemaDrift")
@pytest.mark.parametrize(("call", "answers"), ON_BOTH)
async def test_no_answer_raises_anything_untyped(call: Call, answers: Answers) -> None:
    assert await untyped(call, answers) == {}


async def untyped(call: Call, answers: Answers) -> dict[str, str]:
    """Return what is wrong with what is raised for each answer."""
    current = b""

    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.send(current)
            if b"X-End:" in current or not current.startswith(b"HTTP/1.1 200 Whatever"):
                return

    found: dict[str, str] = {}
    with hostile(script) as server:
        async with client(server) as ph:
            for name, data in answers().items():
                current = data
                wrong = await outcome(call, ph)
                if wrong is not None:
                    found[name] = wrong
    return found


def _flipped(rng: random.Random) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return damage


def _damages() -> list[Callable[[bytes], bytes]]:
    rng = random.Random(1)
    alerts = [b"\x15\x03\x03\x00\x02\x02" + bytes([code]) for code in (10, 20, 40, 80, 116)]
    return [
        *(_flipped(rng) for _ in range(60)),
        *(lambda data, kind=kind: bytes([kind]) + data[1:] for kind in (0, 20, 21, 22, 24, 255)),
        *(lambda data, cut=cut: data[:cut] for cut in (1, 4, 5, 20)),
        *(lambda data, alert=alert: alert + data for alert in alerts),
        lambda data: b"HTTP/1.1 200 OK\r\n\r\n" + data,
        lambda data: data[:3] + b"\xff\xff" + data[5:],
        lambda data: data[:3] + b"\x00\x00" + data[5:],
        lambda data: data + data,
        lambda data: data[:5] + bytes(len(data) - 5),
    ]


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("anyio_backend", "call"),
    # Both event loops have TLS of their own; the calls differ in what they do with a response.
    [("asyncio", get), ("asyncio", pieces), ("asyncio", download), ("trio", get)],
)
async def test_damaged_tls_records_raise_nothing_untyped(call: Call) -> None:
    damage: Callable[[bytes], bytes] = bytes

    def script(connection: Connection) -> None:
        connection.damage = damage
        connection.request()
        connection.send(answer(200, b'{"id": 1}' + b" " * 5000))

    found: dict[str, str] = {}
    with hostile(script, tls=True) as server:
        async with client(server) as ph:
            assert await ph.things.get(1) == {"id": 1}
            for number, damage in enumerate(_damages()):  # noqa: B007 - the script reads it
                wrong = await outcome(call, ph)
                if wrong is not None:
                    found[f"damage {number}"] = wrong
    assert found == {}


@pytest.mark.usefixtures("trusted")
async def test_a_damaged_record_is_retried_for_a_read_alone() -> None:
    calls = 0

    def script(connection: Connection) -> None:
        nonlocal calls
        calls += 1
        connection.damage = (lambda data: data[:-1] + bytes([data[-1] ^ 1])) if calls % 2 else bytes
        connection.request()
        connection.send(answer())

    with hostile(script, tls=True) as server:
        async with client(server, max_retries=2) as ph:
            assert await ph.things.get(1) == {"id": 1}
            assert calls == 2
            with pytest.raises(ConnectionError) as caught:
                await ph.things.create(name="x")
            assert calls == 3
    assert isinstance(caught.value, PostHogError)
    causes: list[BaseException] = [caught.value]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    assert any(isinstance(cause, ssl.SSLError) for cause in causes)


@pytest.mark.parametrize(
    "garbage",
    [
        b"", b"\x00", b"HTTP/1.1 200 OK\r\n\r\n", b"\x16\x03\x01\x00\x05hello",
        b"\x15\x03\x03\x00\x02\x02\x28",
    ],
)  # fmt: skip
async def test_no_tls_at_all(garbage: bytes) -> None:
    def script(connection: Connection) -> None:
        connection.send_plain(garbage)

    with hostile(script) as server:
        async with client(server, host=server.url.replace("http:", "https:")) as ph:
            with pytest.raises(PostHogError):
                await ph.things.get(1)


NON_ASCII: Final = [b"X-Server: M\xfcnchen", "X-Server: Z\u00fcrich \u2603".encode()]


@pytest.mark.parametrize("header", NON_ASCII)
async def test_headers_outside_ascii_arrive_as_they_were_sent(header: bytes) -> None:
    large = b'{"id": "' + b"x" * (1 << 20) + b'"}'
    packed = gzip.compress(b'{"id": 1}')
    answers = [
        answer(200, b'{"id": 1}', header),
        chunked(b'{"id": 1}', header),
        answer(200, packed, b"Content-Encoding: gzip", header),
        answer(200, large, header),
    ]

    def script(connection: Connection) -> None:
        while answers:
            connection.request()
            connection.send(answers.pop(0))

    sent = header.partition(b": ")[2]
    with hostile(script) as server:
        async with client(server) as ph:
            while answers:
                raw = await ph.raw(ph.things.get, 1)
                assert (b"X-Server", sent) in raw.http.headers.raw


@pytest.mark.parametrize("header", NON_ASCII)
async def test_an_error_with_a_header_outside_ascii_is_the_error_and_is_retried(
    header: bytes,
) -> None:
    answers = [answer(503, b"{}", header), answer(), answer(400, envelope("x", "No."), header)]

    def script(connection: Connection) -> None:
        while answers:
            connection.request()
            connection.send(answers.pop(0))

    with hostile(script) as server:
        async with client(server, max_retries=1) as ph:
            assert await ph.things.get(1) == {"id": 1}
            with pytest.raises(PostHogError, match="No\\.") as caught:
                await ph.things.get(1)
    assert caught.value.response is not None
    assert (b"X-Server", header.partition(b": ")[2]) in caught.value.response.headers.raw


@pytest.mark.parametrize("declared", [True, False])
async def test_the_body_of_an_error_is_cut(declared: bool) -> None:
    body = envelope("error", "Broken.") + b" " * (40 << 20)
    data = answer(500, body) if declared else chunked(body, status=500)
    with hostile(says(data)) as server:
        async with client(server) as ph:
            with pytest.raises(ServerError, match="first 1,048,576 bytes") as caught:
                await ph.things.get(1)
    assert caught.value.detail == "Broken."
    assert caught.value.response is not None
    assert len(caught.value.response.content) == 1 << 20


@pytest.mark.parametrize("name", ["search", "properties"])
async def test_a_query_that_no_url_can_hold(name: str) -> None:
    with hostile(says(answer())) as server:
        async with client(server) as ph:
            with pytest.raises(ValueError, match=f"shorten its query, '{name}' above all"):
                await ph.things.get(1, options={"query": {name: "x" * 70_000, "limit": 1}})
            assert await ph.things.get(1, options={"query": {name: "x" * 60_000}}) == {"id": 1}
            with pytest.raises(ValueError, match="shorten its path"):
                await ph.request("GET", "/api/" + "x" * 70_000)
    assert server.connections == 1


@HTTPX_ALONE
@pytest.mark.parametrize(
    "host",
    [
        "https://xn--/", "https://a..b", "https://" + "a" * 64 + ".com", "https://xn--a",
        "https://" + "a." * 200 + "b", "https://[::1", "https://.", "https://h:99999",
        "https://h/" + "p" * 2000,
    ],
)  # fmt: skip
async def test_hosts_that_no_request_could_reach(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a host URL"):
        Client(KEY, project_id=1, host=host)


@HTTPX_ALONE
async def test_a_client_of_ones_own_that_is_closed_while_a_call_runs() -> None:
    own = httpx.AsyncClient()

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(answer(307, b"", b"Location: /api/x/"))

    async def closing(request: httpx.Request, call_next: Any) -> httpx.Response:
        await own.aclose()
        return await call_next(request)

    with hostile(script) as server:
        async with client(server, http_client=own, middleware=[closing]) as ph:
            with pytest.raises(PostHogError, match="was closed"):
                await ph.things.get(1)
