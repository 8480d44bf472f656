"""The wire: credentials, redirects, sizes, middleware, logs."""

from __future__ import annotations

import gzip
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
import respx

from asyncposthog import (
    ClosedError,
    ConnectionError,  # noqa: A004
    PostHogError,
    RedirectError,
    ResponseTooLargeError,
    ServerError,
)
from asyncposthog.transport.middleware import CallNext
from tests.helpers.fake_transport import KEY, Server, client

pytestmark = pytest.mark.anyio

OK = httpx.Response(200, json={"id": 1})


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("https://eu.posthog.com", "https://eu.posthog.com/api/projects/1/things/7/"),
        (
            "https://a.example.org:8443/ph/api",
            "https://a.example.org:8443/ph/api/projects/1/things/7/",
        ),
        ("http://[::1]:8000", "http://[::1]:8000/api/projects/1/things/7/"),
    ],
)
async def test_a_get_on_the_wire(host: str, url: str) -> None:
    server = Server(OK)
    async with client(server, host=host) as ph:
        await ph.things.get(7)
    request = server.last
    assert (request.method, str(request.url), request.content) == ("GET", url, b"")
    assert server.authorizations == [f"Bearer {KEY}"]
    assert request.headers["Host"] == httpx.URL(url).netloc.decode()
    assert request.headers["Accept"] == "application/json"
    assert "gzip" in request.headers["Accept-Encoding"]
    assert request.headers["User-Agent"].startswith("asyncposthog/")
    assert " python/3." in request.headers["User-Agent"]
    assert not {"Content-Length", "Content-Type", "Cookie"} & set(request.headers)


async def test_a_post_on_the_wire() -> None:
    server = Server(OK)
    async with client(server) as ph:
        await ph.things.create(name="né")
        assert server.last.content == '{"name":"né"}'.encode()
        assert server.last.headers["Content-Length"] == "14"
        assert server.last.headers["Content-Type"] == "application/json"
        await ph.request("POST", "/api/x/")
        assert server.last.headers["Content-Length"] == "0"
        assert server.authorizations == [f"Bearer {KEY}"] * 2


async def test_through_httpx_own_transport() -> None:
    with respx.mock(assert_all_called=True) as router:
        route = router.post("https://us.posthog.com/api/projects/1/things/", json={"name": "x"})
        route.respond(201, json={"id": 5})
        async with client(None, transport=None) as ph:
            assert await ph.things.create(name="x") == {"id": 5}
        assert route.calls.last.request.headers["Host"] == "us.posthog.com"


async def test_own_headers() -> None:
    server = Server(OK)
    async with client(server, headers={"X-A": "1", "user-agent": "mine"}) as ph:
        await ph.things.get(1, options={"headers": {"X-B": "2", "x-a": "3"}})
        sent = server.last.headers
        assert (sent["X-A"], sent["X-B"], sent["User-Agent"]) == ("3", "2", "mine")
        assert server.authorizations == [f"Bearer {KEY}"]
        await ph.things.get(1)
        assert server.last.headers["X-A"] == "1"
        assert "X-B" not in server.last.headers


async def test_requests_forget_the_key() -> None:
    server = Server(OK, httpx.Response(404), httpx.ReadError("gone"))
    async with client(server, max_retries=0) as ph:
        raw = await ph.raw(ph.things.get, 1)
        with pytest.raises(PostHogError) as refused:
            await ph.things.get(1)
        with pytest.raises(ConnectionError) as broken:
            await ph.things.get(1)
    assert refused.value.response is not None
    cause = broken.value.__cause__
    assert isinstance(cause, httpx.ReadError)
    for request in (raw.http.request, refused.value.response.request, *server.requests):
        assert "Authorization" not in request.headers
    assert server.authorizations == [f"Bearer {KEY}"] * 3


async def test_a_client_of_ones_own() -> None:
    server = Server(httpx.Response(200, json={}, headers={"Set-Cookie": "session=1; Path=/"}))
    own = httpx.AsyncClient(
        transport=httpx.MockTransport(server),
        auth=("user", "hunter2"),
        headers={"X-Theirs": "1", "Authorization": "Basic hunter2"},
        cookies={"theirs": "1"},
        base_url="https://evil.example.org",
        params={"theirs": "1"},
        follow_redirects=True,
    )
    async with client(None, transport=None, http_client=own) as ph:
        await ph.things.get(1)
        await ph.things.get(1)
    assert not own.is_closed
    assert server.authorizations == [f"Bearer {KEY}"] * 2
    assert str(server.last.url) == "https://us.posthog.com/api/projects/1/things/1/"
    assert not {"x-theirs", "cookie"} & set(server.last.headers)
    await own.aclose()


async def test_a_client_of_ones_own_that_was_closed() -> None:
    own = httpx.AsyncClient()
    await own.aclose()
    async with client(None, transport=None, http_client=own) as ph:
        with pytest.raises(ClosedError, match="Keep it open"):
            await ph.things.get(1)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirects_within_the_origin(code: int) -> None:
    server = Server(httpx.Response(code, headers={"Location": "/api/projects/2/things/1/"}), OK)
    async with client(server) as ph:
        assert await ph.things.get(1) == {"id": 1}
    assert server.last.url.path == "/api/projects/2/things/1/"
    assert server.authorizations == [f"Bearer {KEY}"] * 2


@pytest.mark.parametrize("code", [307, 308])
async def test_a_body_follows_its_redirect(code: int) -> None:
    location = "https://us.posthog.com/api/projects/2/things/"
    server = Server(httpx.Response(code, headers={"Location": location}), OK)
    async with client(server) as ph:
        await ph.things.create(name="x")
    assert [r.method for r in server.requests] == ["POST", "POST"]
    assert server.last.content == b'{"name":"x"}'
    assert server.last.headers["Content-Length"] == "12"


@pytest.mark.parametrize("code", [301, 302, 303])
async def test_a_write_does_not_become_a_read(code: int) -> None:
    server = Server(httpx.Response(code, headers={"Location": "/elsewhere/"}), OK)
    async with client(server) as ph:
        with pytest.raises(RedirectError):
            await ph.things.create(name="x")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        "https://bucket.s3.example.org/file?X-Amz-Signature=hunter2",
        "//bucket.s3.example.org/file",
        "http://us.posthog.com/api/",
        "https://us.posthog.com:8443/api/",
        "https://us.posthog.com@evil.example.org/",
        "https://eu.posthog.com/api/projects/1/things/1/",
    ],
)
async def test_other_origins_get_nothing(location: str) -> None:
    server = Server(httpx.Response(302, headers={"Location": location}), OK)
    async with client(server) as ph:
        with pytest.raises(RedirectError) as caught:
            await ph.things.get(1)
    assert len(server.requests) == 1
    assert caught.value.location == location
    assert "hunter2" not in str(caught.value)
    assert "Credentials stay with https://us.posthog.com" in str(caught.value)


@pytest.mark.parametrize("location", [None, "", "https://["])
async def test_redirects_to_nowhere(location: str | None) -> None:
    headers = {} if location is None else {"Location": location}
    async with client(Server(httpx.Response(302, headers=headers))) as ph:
        with pytest.raises(RedirectError):
            await ph.things.get(1)


async def test_redirects_in_a_circle() -> None:
    server = Server(httpx.Response(307, headers={"Location": "/api/"}))
    async with client(server) as ph:
        with pytest.raises(RedirectError):
            await ph.things.get(1)
    assert len(server.requests) == 6


class Drip(httpx.AsyncByteStream):
    """A body that comes in pieces, and counts those that were taken."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.taken = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.taken += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.closed = True


class Bare(httpx.AsyncBaseTransport):
    """Answers with one stream."""

    def __init__(self, stream: Drip, headers: dict[str, str] | None = None, code: int = 200):
        self.stream, self.headers, self.code = stream, headers, code

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.code, headers=self.headers, stream=self.stream)


async def test_bodies_in_pieces() -> None:
    drip = Drip(b'{"id":', b" 1}")
    async with client(None, transport=Bare(drip)) as ph:
        assert await ph.things.get(1) == {"id": 1}
        assert drip.closed
    packed = gzip.compress(b'{"id": 2}')
    gzipped = Bare(Drip(packed[:5], packed[5:]), {"Content-Encoding": "gzip"})
    async with client(None, transport=gzipped) as ph:
        raw = await ph.raw(ph.things.get, 1)
        assert raw.json() == {"id": 2}
        assert raw.http.elapsed.total_seconds() >= 0
        assert raw.status == 200


# httpx does not close its own generators when one of them stops early, and trio notices.
abandons_httpx_generators = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@abandons_httpx_generators
@pytest.mark.parametrize(
    ("drip", "headers", "taken"),
    [
        (Drip(b"x" * 60, b"x" * 60, b"x" * 60), {}, 2),
        (Drip(b"x" * 180), {"Content-Length": "180"}, 0),
        (Drip(gzip.compress(b"x" * 100_000)), {"Content-Encoding": "gzip"}, 1),
        (Drip(b"x" * 180), {"Content-Length": "180", "Content-Encoding": "identity"}, 0),
    ],
)
async def test_bodies_that_are_too_large(drip: Drip, headers: dict[str, str], taken: int) -> None:
    drip.taken = 0
    async with client(None, transport=Bare(drip, headers), max_response_bytes=100) as ph:
        with pytest.raises(ResponseTooLargeError, match="larger than 100 bytes"):
            await ph.things.get(1)
    assert drip.taken == taken
    assert drip.closed


async def test_sizes_at_the_bound() -> None:
    body = b'{"id": 1}'
    async with client(Server(httpx.Response(200, content=body)), max_response_bytes=9) as ph:
        await ph.things.get(1)
        with pytest.raises(ResponseTooLargeError):
            await ph.with_options(max_response_bytes=8).things.get(1)
    drip = Drip(body)
    async with client(
        None, transport=Bare(drip, {"Content-Length": "9"}), max_response_bytes=None
    ) as ph:
        assert await ph.things.get(1) == {"id": 1}


async def test_an_answer_that_breaks_off() -> None:
    drip = Drip(b'{"id"', httpx.RemoteProtocolError("peer closed connection"))
    async with client(None, transport=Bare(drip), max_retries=0) as ph:
        with pytest.raises(ConnectionError, match="peer closed connection"):
            await ph.things.get(1)
    assert drip.closed


@abandons_httpx_generators
async def test_a_broken_compression() -> None:
    transport = Bare(Drip(b"not gzip"), {"Content-Encoding": "gzip"})
    async with client(None, transport=transport, max_retries=0) as ph:
        with pytest.raises(ConnectionError):
            await ph.things.get(1)


async def test_304_is_an_answer() -> None:
    async with client(Server(httpx.Response(304))) as ph:
        assert (await ph.raw(ph.things.get, 1)).status == 304


async def test_middleware_runs_inside_the_retry_loop() -> None:
    seen: list[Any] = []

    async def outer(request: httpx.Request, call_next: CallNext) -> httpx.Response:
        assert "Authorization" not in request.headers
        request.headers["X-Trace"] = "1"
        response = await call_next(request)
        seen.append(("outer", response.status_code))
        return response

    class Inner:
        async def __call__(self, request: httpx.Request, call_next: CallNext) -> httpx.Response:
            seen.append(("inner", request.content))
            return await call_next(request)

    body = {"type": "throttled_error", "code": "throttled", "detail": "Slow down.", "attr": None}
    server = Server(httpx.Response(429, json=body, headers={"Retry-After": "1"}), OK)
    async with client(server, middleware=[outer, Inner()]) as ph:
        assert await ph.things.create(name="x") == {"id": 1}
        assert seen == [
            ("inner", b'{"name":"x"}'),
            ("outer", 429),
            ("inner", b'{"name":"x"}'),
            ("outer", 200),
        ]
        assert server.authorizations == [f"Bearer {KEY}"] * 2
        assert server.last.headers["X-Trace"] == "1"
        await ph.with_options(middleware=()).things.get(1)
        assert len(seen) == 4


async def test_middleware_may_answer_itself() -> None:
    async def cached(request: httpx.Request, call_next: CallNext) -> httpx.Response:
        return httpx.Response(200, json={"cached": True})

    async def failing(request: httpx.Request, call_next: CallNext) -> httpx.Response:
        return httpx.Response(500, text="on purpose")

    server = Server(OK)
    async with client(server, middleware=[cached], max_retries=0) as ph:
        assert await ph.things.get(1) == {"cached": True}
        with pytest.raises(ServerError, match="on purpose"):
            await ph.with_options(middleware=[failing]).things.get(1)
    assert not server.requests


async def test_middleware_cannot_carry_the_key_away() -> None:
    async def elsewhere(request: httpx.Request, call_next: CallNext) -> httpx.Response:
        request.url = httpx.URL("https://evil.example.org/")
        return await call_next(request)

    async def own(request: httpx.Request, call_next: CallNext) -> httpx.Response:
        request.headers["Authorization"] = "Bearer theirs"
        return await call_next(request)

    server = Server(OK)
    async with client(server, middleware=[elsewhere]) as ph:
        await ph.things.get(1)
        await ph.with_options(middleware=[own]).things.get(1)
    assert server.authorizations == [None, "Bearer theirs"]


async def test_middleware_that_returns_nothing() -> None:
    async def forgetful(request: httpx.Request, call_next: CallNext) -> httpx.Response:
        await call_next(request)
        return cast("httpx.Response", None)

    async with client(Server(OK), middleware=[forgetful]) as ph:
        with pytest.raises(TypeError, match="forgetful returned NoneType"):
            await ph.things.get(1)


def _not_async(request: httpx.Request, call_next: CallNext) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("middleware", "says"),
    [
        (_not_async, "a list of async callables"),
        ([_not_async], "must be async"),
        ([1], "cannot be called"),
        (1, "a list"),
        ("handle", "a list"),
    ],
)
def test_refused_middleware(middleware: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        client(Server(), middleware=middleware)


def test_middleware_of_the_wrong_shape() -> None:
    async def lonely(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200)

    with pytest.raises(TypeError, match="must take two arguments"):
        client(Server(), middleware=[lonely])


async def test_logs_show_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(
        httpx.Response(500, text=f"secret body {KEY}", headers={"X-Secret": "hunter2"}), OK
    )
    caplog.set_level(logging.DEBUG, "asyncposthog")
    async with client(server, headers={"X-Own": "hunter3"}) as ph:
        await ph.things.get(1, options={"query": {"token": "hunter4", "q": KEY, "limit": 1}})
        await ph.things.create(name="hunter5")
    lines = [r.getMessage() for r in caplog.records if r.name == "asyncposthog"]
    target = "/api/projects/1/things/1/?token=***&q=phx_***&limit=1"
    assert lines == [
        f"GET {target}: 500 in 0 ms, attempt 1, burst+sustained",
        f"GET {target}: 200 in 0 ms, attempt 2, burst+sustained",
        "POST /api/projects/1/things/: 200 in 0 ms, attempt 1, burst+sustained",
    ]


async def test_logs_of_attempts_that_were_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(httpx.ReadError(f"reset, {KEY}"), httpx.ConnectTimeout("late"), OK)
    caplog.set_level(logging.DEBUG, "asyncposthog")
    async with client(server) as ph:
        await ph.things.get(1)
    lines = [r.getMessage() for r in caplog.records if r.name == "asyncposthog"]
    assert lines == [
        "GET /api/projects/1/things/1/: ReadError in 0 ms, attempt 1, burst+sustained",
        "GET /api/projects/1/things/1/: ConnectTimeout in 0 ms, attempt 2, burst+sustained",
        "GET /api/projects/1/things/1/: 200 in 0 ms, attempt 3, burst+sustained",
    ]


async def test_debug(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("asyncposthog")
    handlers, level = logger.handlers[:], logger.level
    propagate, logger.propagate = logger.propagate, False
    try:
        async with client(Server(OK), debug=True) as ph, client(Server(OK), debug=True) as other:
            await ph.things.get(1)
            await other.things.get(2)
            assert len(logger.handlers) == len(handlers) + 1
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
    shown = capsys.readouterr().err
    assert shown.count("GET /api/projects/1/things/") == 2
    assert KEY not in shown


async def test_a_stream_that_breaks_off() -> None:
    drip = Drip(b"a,b\n", httpx.ReadError(f"reset {KEY}"))
    async with client(None, transport=Bare(drip)) as ph, ph.stream(ph.things.report) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "a,b"
        with pytest.raises(ConnectionError, match=r"reset phx_\*\*\*") as caught:
            await anext(lines)
        assert caught.value.operation == "things.report"
        assert str(caught.value.request) == "GET /api/projects/1/things/report/"
    assert drip.closed


async def test_a_stream_of_a_closed_client() -> None:
    drip = Drip(b"a", httpx.ReadError("closed"))
    ph = client(None, transport=Bare(drip))
    async with ph.stream(ph.things.report) as answer:
        await ph.aclose(timeout=0.001)
        pieces = answer.aiter_bytes()
        assert await anext(pieces) == b"a"
        with pytest.raises(ClosedError, match="while the response was read"):
            await anext(pieces)


async def test_streams_are_not_read_ahead() -> None:
    drip = Drip(b"x" * 10, b"y" * 10)
    bare = Bare(drip)
    async with (
        client(None, transport=bare, max_response_bytes=5) as ph,
        ph.stream(ph.things.report) as answer,
    ):
        assert drip.taken == 0
        assert [chunk async for chunk in answer.aiter_bytes()] == [b"x" * 10, b"y" * 10]
