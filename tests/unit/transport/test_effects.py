"""How often a write has its effect, over byte-level servers that fail in every way they can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asyncposthog import (
    NotFoundError,
    PostHogError,
    RateLimitError,
    RetryDetails,
    TimeoutError,  # noqa: A004
)
from tests.helpers.fake_transport import Client
from tests.helpers.hostile_server import Connection, HostileServer, answer, envelope, hostile
from tests.helpers.manual_clock import ManualClock

pytestmark = pytest.mark.anyio

KEY = "phx_s3cr3tK3yOfTheTests"
THROTTLED = envelope(
    "throttled", "Request was throttled. Expected available in 1 second.", "throttled_error"
)
NO_SLOT = envelope(
    "throttled", "Exceeded maximum concurrency limit: 3 for key: api:query", "throttled_error"
)
PROXY = b"upstream connect error or disconnect/reset before headers"
PAGE = b"<html><head><title>Service Unavailable</title></head></html>"

Ending = Callable[[Connection], None]


class Effects:
    """A view that has an effect for each request it has read, then ends in some way."""

    def __init__(self, ending: Ending, *, before: Ending | None = None) -> None:
        self.ending = ending
        self.before = before
        self.count = 0

    def __call__(self, connection: Connection) -> None:
        if self.before is not None:
            self.before(connection)
        while True:
            connection.request()
            self.count += 1
            self.ending(connection)


def says(data: bytes) -> Ending:
    return lambda connection: connection.send(data)


def breaks_after(data: bytes) -> Ending:
    def end(connection: Connection) -> None:
        connection.send(data)
        connection.reset()

    return end


def ends_after(data: bytes) -> Ending:
    def end(connection: Connection) -> None:
        connection.send(data)
        raise ConnectionError  # the socket is closed in order

    return end


def _statuses() -> dict[str, Ending]:
    """Every status that is ever repeated, in every form, after the effect."""
    found: dict[str, Ending] = {}
    for status in (408, 429, 500, 502, 503, 504, 512, 513, 409, 423, 425):
        bodies = {
            "own": envelope("error", "At capacity."),
            "proxy": PROXY,
            "page": PAGE,
            "empty": b"",
        }
        for name, body in bodies.items():
            found[f"{status} {name}"] = says(answer(status, body))
            found[f"{status} {name} retry-after"] = says(answer(status, body, b"Retry-After: 1"))
    found["database"] = says(
        answer(503, envelope("database_unavailable", "Try again."), b"Retry-After: 1")
    )
    found["slots"] = says(answer(429, NO_SLOT))
    found["header outside ASCII"] = says(answer(503, PROXY, b"X-Server: M\xfcnchen"))
    return found


ENDINGS: dict[str, Ending] = {
    **_statuses(),
    "reset": breaks_after(b""),
    "closed": ends_after(b""),
    "half a status line": breaks_after(b"HTTP/1.1 2"),
    "half a status line, closed": ends_after(b"HTTP/1.1 2"),
    "no status line": ends_after(b"\x00\x01\x02 nonsense\r\n\r\n"),
    "half a head": breaks_after(b"HTTP/1.1 201 Created\r\nContent-"),
    "half a body": ends_after(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"),
    "half a body, reset": breaks_after(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"),
    "half a chunk": ends_after(b"HTTP/1.1 201 C\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"),
    "damaged chunk size": ends_after(
        b"HTTP/1.1 201 C\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
    ),
    "damaged gzip": ends_after(answer(201, b"{}", b"Content-Encoding: gzip")),
    "half an error body": ends_after(
        b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\n" + envelope("error", "x")
    ),
    "continue, then reset": breaks_after(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "huge head": ends_after(b"HTTP/1.1 201 Created\r\nX: " + b"x" * 300_000 + b"\r\n\r\n"),
}


def client(server: HostileServer, **settings: Any) -> Client:
    chosen: dict[str, Any] = {
        "api_key": KEY,
        "project_id": 1,
        "host": server.url,
        "clock": ManualClock(),
        "limits": False,
        **settings,
    }
    return Client(**chosen)


async def _write(ph: Client, method: str) -> object:
    if method == "POST":
        return await ph.things.create(name="x")
    return await ph.request("PATCH", "/api/projects/{project_id}/things/1/", body={"name": "x"})


# httpx does not close its own generators when a body cannot be decoded, and trio notices.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_write_has_its_effect_at_most_once(method: str) -> None:
    found: dict[str, int] = {}
    view = Effects(says(b""))
    with hostile(view) as server:
        async with client(server, retry_budget=None) as ph:
            for name, ending in ENDINGS.items():
                view.ending, view.count = ending, 0
                with pytest.raises(PostHogError) as caught:
                    await _write(ph, method)
                assert len(str(caught.value)) > 40, name
                assert KEY not in str(caught.value)
                found[name] = view.count
    assert {name: count for name, count in found.items() if count != 1} == {}


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("part", ["nothing", "head"])
async def test_a_request_that_was_not_read_whole_is_not_sent_again(method: str, part: str) -> None:
    # From this side it looks just like a request that was read and carried out.
    def before(connection: Connection) -> None:
        if part == "head":
            connection.head()
        connection.reset()

    view = Effects(says(answer()), before=before)
    with hostile(view) as server:
        async with client(server) as ph:
            with pytest.raises(PostHogError):
                await _write(ph, method)
    assert view.count == 0
    # A connection that was reset before anything was sent on it may be opened again.
    assert part == "nothing" or server.connections == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_write_without_an_answer_is_not_sent_again(method: str) -> None:
    view = Effects(Connection.wait)
    with hostile(view) as server:
        async with client(server, timeout=0.8) as ph:
            with pytest.raises(TimeoutError):
                await _write(ph, method)
    assert view.count == 1


class Throttling:
    """Refuses some requests before the view sees them, as PostHog's throttles do."""

    def __init__(self, refusal: bytes, times: int) -> None:
        self.refusal, self.times, self.effects = refusal, times, 0

    def __call__(self, connection: Connection) -> None:
        while True:
            connection.request()
            if self.times:
                self.times -= 1
                connection.send(self.refusal)
            else:
                self.effects += 1
                connection.send(answer(201))


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(
    "refusal",
    [
        answer(429, THROTTLED, b"Retry-After: 1"),
        answer(429, envelope("too_many_concurrent_backfills", "Too many backfills.")),
        answer(429, envelope("too_many_concurrent_file_downloads", "Too many downloads.")),
    ],
)
async def test_a_refusal_before_the_view_is_repeated(method: str, refusal: bytes) -> None:
    view = Throttling(refusal, 2)
    with hostile(view) as server:
        async with client(server) as ph:
            assert await _write(ph, method) == {"id": 1}
    assert view.effects == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_server_that_was_not_there_is_called_again(method: str) -> None:
    view = Effects(says(answer(201)))
    gone = HostileServer(view)
    gone.stop()
    started: list[HostileServer] = []

    def start(details: RetryDetails) -> None:
        started.append(HostileServer(view, port=gone.port))

    try:
        async with client(gone, on_retry=start) as ph:
            assert await _write(ph, method) == {"id": 1}
    finally:
        for server in started:
            server.stop()
    assert (view.count, len(started)) == (1, 1)


@pytest.mark.parametrize("body", [envelope("error", "At capacity."), PROXY])
async def test_a_query_is_a_read_and_is_repeated(body: bytes) -> None:
    view = Throttling(answer(503, body), 2)
    with hostile(view) as server:
        async with client(server) as ph:
            assert await ph.things.query(query={"kind": "HogQLQuery"}) == {"id": 1}


@pytest.mark.parametrize("status", [404, 410])
async def test_a_deletion_that_an_earlier_attempt_may_have_made(status: int) -> None:
    answers = [answer(503, PROXY), answer(status, envelope("not_found", "Not found."))]

    def script(connection: Connection) -> None:
        while answers:
            connection.request()
            connection.send(answers.pop(0))

    with hostile(script) as server:
        async with client(server) as ph:
            with pytest.raises(NotFoundError, match="may have deleted it") as caught:
                await ph.request("DELETE", "/api/projects/{project_id}/things/1/")
    assert len(caught.value.attempts) == 2


async def test_a_deletion_that_no_earlier_attempt_can_have_made() -> None:
    answers = [
        answer(429, THROTTLED, b"Retry-After: 1"),
        answer(404, envelope("not_found", "Not found.")),
    ]

    def script(connection: Connection) -> None:
        while answers:
            connection.request()
            connection.send(answers.pop(0))

    with hostile(script) as server:
        async with client(server) as ph:
            with pytest.raises(NotFoundError) as caught:
                await ph.request("DELETE", "/api/projects/{project_id}/things/1/")
    assert "may have deleted" not in str(caught.value)


async def test_a_write_that_was_refused_says_what_to_do() -> None:
    view = Effects(says(answer(429, NO_SLOT)))
    with hostile(view) as server:
        async with client(server) as ph:
            with pytest.raises(RateLimitError, match="three queries a project"):
                await ph.things.create(name="x")
    assert view.count == 1
