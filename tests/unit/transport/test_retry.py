"""Retries: what is tried again, when, and what the caller learns of it."""

from __future__ import annotations

import time
from collections.abc import Generator
from email.utils import formatdate
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog import (
    ConnectionError,  # noqa: A004
    NotFoundError,
    PostHogError,
    QueryTooLargeError,
    RateLimitError,
    RetryDetails,
    ServerError,
    TimeoutError,  # noqa: A004
    testing,
)
from asyncposthog.call import Policy
from asyncposthog.errors.from_response import parse_retry_after
from asyncposthog.transport.retry import Failure, GiveUp, RetryAfter, decide
from tests.helpers.fake_transport import Server, client
from tests.helpers.manual_clock import ManualClock

SURVEY = "0190c0de-0000-7000-8000-000000000001"

OK = httpx.Response(200, json={"id": 1})
CONNECT = httpx.ConnectError("no route")
READ = httpx.ReadError("reset")
BUSY = httpx.Response(
    503,
    json={"type": "server_error", "code": "error", "detail": "At capacity.", "attr": None},
)
NO_SLOT = httpx.Response(
    429,
    json={
        "type": "throttled_error",
        "code": "throttled",
        "detail": "Exceeded maximum concurrency limit: 3 for key: api:query",
        "attr": None,
    },
)
THROTTLED = httpx.Response(
    429,
    json={
        "type": "throttled_error",
        "code": "throttled",
        "detail": "Request was throttled. Expected available in 1 second.",
        "attr": None,
    },
    headers={"Retry-After": "1"},
)
TOO_MANY = httpx.Response(
    429,
    json={
        "type": "server_error",
        "code": "too_many_concurrent_backfills",
        "detail": "Too many backfills.",
        "attr": None,
    },
)

policies = st.builds(
    Policy,
    deadline=st.none() | st.floats(0.1, 1000),
    max_retries=st.integers(0, 20),
    max_retry_after=st.floats(0, 300),
)
failures = st.builds(
    Failure,
    kind=st.sampled_from(["status", "not_sent", "connection_lost", "permanent"]),
    status=st.none() | st.integers(300, 600),
    retry_after=st.none() | st.floats(0, 1000),
    not_executed=st.booleans(),
)


def decision_for(
    failure: Failure, policy: Policy | None = None, **arguments: Any
) -> RetryAfter | GiveUp:
    defaults: dict[str, Any] = {"retry_safe": True, "attempt": 1, "elapsed": 0.0, "jitter": 1.0}
    return decide(policy or Policy(), failure, **{**defaults, **arguments})


def status(code: int, retry_after: float | None = None, *, not_executed: bool = False) -> Failure:
    return Failure(kind="status", status=code, retry_after=retry_after, not_executed=not_executed)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_repeatable_calls_are_repeated(code: int) -> None:
    assert decision_for(status(code)) == RetryAfter(0.5)


@pytest.mark.parametrize("code", [302, 400, 401, 402, 403, 404, 405, 409, 422, 501, 512, 513])
def test_other_answers_are_final(code: int) -> None:
    assert decision_for(status(code)) == GiveUp("not_retryable")


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503])
@pytest.mark.parametrize("not_executed", [False, True])
def test_writes_are_repeated_only_where_nothing_was_done(code: int, not_executed: bool) -> None:
    assert (
        isinstance(
            decision_for(status(code, not_executed=not_executed), retry_safe=False), RetryAfter
        )
        is not_executed
    )


def test_broken_connections() -> None:
    assert decision_for(Failure(kind="not_sent"), retry_safe=False) == RetryAfter(0.5)
    assert decision_for(Failure(kind="connection_lost"), retry_safe=True) == RetryAfter(0.5)
    assert decision_for(Failure(kind="connection_lost"), retry_safe=False) == GiveUp(
        "not_retryable"
    )
    assert decision_for(Failure(kind="permanent")) == GiveUp("not_retryable")


def test_a_slow_query_is_not_repeated() -> None:
    assert decision_for(status(504), query=True) == GiveUp("not_retryable")
    assert decision_for(status(503), query=True) == RetryAfter(0.5)


def test_backoff_doubles_up_to_its_cap() -> None:
    waits = [decision_for(status(500), Policy(max_retries=9), attempt=n) for n in range(1, 8)]
    assert [w.delay for w in waits] == [0.5, 1, 2, 4, 8, 8, 8]


def test_retry_after_is_a_floor() -> None:
    assert decision_for(status(429, 37.0)) == RetryAfter(37.0)
    assert decision_for(status(429, 0.1)) == RetryAfter(0.5)
    assert decision_for(status(429, 121.0)) == GiveUp("retry_after_too_long", 121.0)
    assert decision_for(status(429, 37.0), Policy(deadline=30.0)) == GiveUp("deadline", 37.0)


@given(
    policies,
    failures,
    st.booleans(),
    st.booleans(),
    st.integers(1, 50),
    st.floats(0, 2000),
    st.floats(0, 1),
)
def test_decisions_respect_the_policy(
    policy: Policy,
    failure: Failure,
    retry_safe: bool,
    query: bool,
    attempt: int,
    elapsed: float,
    jitter: float,
) -> None:
    decision = decide(
        policy,
        failure,
        retry_safe=retry_safe,
        query=query,
        attempt=attempt,
        elapsed=elapsed,
        jitter=jitter,
    )
    if isinstance(decision, GiveUp):
        return
    assert attempt <= policy.max_retries
    assert decision.delay >= (failure.retry_after or 0)
    assert decision.delay <= max(8.0, policy.max_retry_after)
    assert policy.deadline is None or elapsed + decision.delay < policy.deadline
    assert failure.kind != "permanent"
    if failure.kind == "status":
        assert failure.status in {408, 429, 500, 502, 503, 504}
        assert retry_safe or failure.not_executed
        assert not (query and failure.status == 504)
    if failure.kind == "connection_lost":
        assert retry_safe


@pytest.fixture
def far_from_greenwich() -> Generator[None]:
    """Be in another zone than HTTP is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "EST5EDT")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("37", 37.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-5", 0.0),
        (formatdate(1030, usegmt=True), 30.0),
        (formatdate(970, usegmt=True), 0.0),
        ("", None),
        (None, None),
        ("soon", None),
        ("1e9999", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("Wed, 99 Foo 2026 00:00:00 GMT", None),
        ("-inf", None),
        ("5, 10", None),
        ("9" * 12, 999_999_999_999.0),
        ("Thu, 01 Jan 1970 02:17:10 +0200", 30.0),
        # Without a zone it is UTC, whatever the machine's own is.
        ("Thu, 01 Jan 1970 00:17:10", 30.0),
        ("Thu Jan  1 00:17:10 1970", 30.0),
        ("Thu, 01 Jan 1970 00:17:10 -0000", 30.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_299_799.0),
    ],
)
@pytest.mark.usefixtures("far_from_greenwich")
def test_reading_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=1000.0) == seconds


@given(st.text(max_size=60))
def test_reading_any_retry_after(value: str) -> None:
    seconds = parse_retry_after(value, now=0.0)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.anyio
async def test_a_get_is_retried_until_it_succeeds() -> None:
    clock = ManualClock()
    server = Server(CONNECT, httpx.Response(502), httpx.Response(503), OK)
    async with client(server, clock=clock) as ph:
        assert await ph.things.get(1) == {"id": 1}
    assert len(server.requests) == 4
    assert clock.slept == [0.5, 1.0, 2.0]


@pytest.mark.anyio
async def test_the_last_error_lists_all_attempts() -> None:
    body = {"type": "throttled_error", "code": "throttled", "detail": "Slow down.", "attr": None}
    server = Server(
        READ, httpx.Response(500), httpx.Response(429, json=body, headers={"Retry-After": "3"})
    )
    clock = ManualClock()
    async with client(server, clock=clock) as ph:
        with pytest.raises(RateLimitError) as caught:
            await ph.things.get(1)
    error = caught.value
    assert [(a.number, a.reason, a.status, a.delay) for a in error.attempts] == [
        (1, "ConnectionError", None, 0.5),
        (2, "500", 500, 1.0),
        (3, "429 throttled", 429, 3.0),
        (4, "429 throttled", 429, None),
    ]
    assert [a.elapsed for a in error.attempts] == [0, 0.5, 1.5, 4.5]
    assert "4 attempts" in str(error)
    assert clock.slept == [0.5, 1.0, 3.0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("failure", "calls"),
    [
        (READ, 1),
        (httpx.ReadTimeout("slow"), 1),
        (httpx.RemoteProtocolError("gone"), 1),
        (httpx.Response(500), 1),
        (httpx.Response(504), 1),
        (httpx.ConnectTimeout("slow"), 2),
        (CONNECT, 2),
        (httpx.PoolTimeout("full"), 2),
        # Raised before the view runs, or before it begins what it was asked for.
        (THROTTLED, 2),
        (TOO_MANY, 2),
        # The view may raise these after the object was written, and a proxy at any time.
        (BUSY, 1),
        (NO_SLOT, 1),
        (httpx.Response(429), 1),
        (httpx.Response(429, headers={"Retry-After": "1"}), 1),
        # A proxy answers so, too, when the server was lost in the middle of the request.
        (httpx.Response(503), 1),
        (httpx.Response(503, text="upstream connect error or disconnect/reset before headers"), 1),
        (httpx.Response(503, html="<h1>503 Service Unavailable</h1>"), 1),
        (httpx.Response(503, json={"message": "no answer", "code": 503}), 1),
    ],
)
async def test_a_create_is_never_done_twice(failure: Any, calls: int) -> None:
    server = Server(failure, OK)
    async with client(server) as ph:
        if calls == 1:
            with pytest.raises(PostHogError):
                await ph.things.create(name="x")
        else:
            assert await ph.things.create(name="x") == {"id": 1}
    assert len(server.requests) == calls
    assert {request.content for request in server.requests} == {b'{"name":"x"}'}


@pytest.mark.anyio
async def test_idempotent_writes_and_the_option() -> None:
    server = Server(READ, OK)
    async with client(server) as ph:
        await ph.things.delete(1)
        assert len(server.requests) == 2
        server.answers = [READ, OK]
        await ph.things.create(name="x", options={"idempotent": True})
        assert len(server.requests) == 4
        server.answers = [READ, OK]
        with pytest.raises(ConnectionError):
            await ph.things.get(1, options={"idempotent": False})


@pytest.mark.anyio
async def test_not_found_after_a_lost_delete_says_so() -> None:
    async with client(Server(httpx.ReadError("gone"), httpx.Response(404))) as ph:
        with pytest.raises(NotFoundError, match="may have deleted it"):
            await ph.surveys.delete(SURVEY)
    async with client(Server(httpx.Response(404))) as ph:
        with pytest.raises(NotFoundError) as caught:
            await ph.surveys.delete(SURVEY)
    assert "may have deleted" not in str(caught.value)


@pytest.mark.anyio
async def test_queries_are_repeated_unless_they_are_too_slow() -> None:
    server = Server(httpx.Response(502), OK)
    async with client(server) as ph:
        await ph.things.query(query={})
        assert len(server.requests) == 2
        for code in (504, 512, 513):
            server.answers = [httpx.Response(code), OK]
            with pytest.raises(QueryTooLargeError):
                await ph.things.query(query={})


@pytest.mark.anyio
async def test_a_wait_that_is_too_long_fails_at_once() -> None:
    clock = ManualClock()
    server = Server(httpx.Response(429, headers={"Retry-After": "3600"}))
    async with client(server, clock=clock, limits=False) as ph:
        with pytest.raises(RateLimitError) as caught:
            await ph.things.get(1)
        assert caught.value.retry_after == 3600
        assert "asks to wait 3600 s, longer than max_retry_after (120 s)" in str(caught.value)
        with pytest.raises(RateLimitError, match="after the deadline of 5 s"):
            await ph.with_options(max_retry_after=9999, deadline=5).things.get(1)
    assert clock.slept == []
    assert len(server.requests) == 2


@pytest.mark.anyio
async def test_retry_after_as_a_date() -> None:
    clock = ManualClock(chance=0.0)
    server = Server(
        httpx.Response(503, headers={"Retry-After": formatdate(clock.time() + 20, usegmt=True)}), OK
    )
    async with client(server, clock=clock) as ph:
        await ph.things.get(1)
    assert clock.slept == [20.0]


@pytest.mark.anyio
async def test_the_deadline_covers_all_attempts() -> None:
    clock = ManualClock()
    server = Server(httpx.Response(500))
    async with client(server, clock=clock, max_retries=99) as ph:
        with pytest.raises(ServerError, match="after the deadline of 10 s"):
            await ph.things.get(1, options={"deadline": 10})
    assert sum(clock.slept) < 10


@pytest.mark.anyio
async def test_max_retries() -> None:
    server = Server(httpx.Response(500))
    async with client(server, max_retries=0) as ph:
        with pytest.raises(ServerError) as caught:
            await ph.things.get(1)
        assert len(caught.value.attempts) == 1
        with pytest.raises(ServerError):
            await ph.things.get(1, options={"max_retries": 1})
    assert len(server.requests) == 3


@pytest.mark.anyio
async def test_a_broken_certificate_is_not_retried() -> None:
    import ssl

    failed = httpx.ConnectError("certificate verify failed")
    failed.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    server = Server(failed)
    async with client(server) as ph:
        with pytest.raises(ConnectionError, match="SSL_CERT_FILE"):
            await ph.things.get(1)
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_on_retry_is_called_before_every_wait() -> None:
    notified: list[RetryDetails] = []

    async def later(details: RetryDetails) -> None:
        notified.append(details)

    server = Server(httpx.Response(500), CONNECT, OK)
    async with client(server, on_retry=notified.append) as ph:
        await ph.things.get(1)
        assert [(d.attempt, d.delay, d.elapsed, type(d.error)) for d in notified] == [
            (1, 0.5, 0.0, ServerError),
            (2, 1.0, 0.5, ConnectionError),
        ]
        assert notified[0].operation == "things.get"
        assert str(notified[0].request) == "GET /api/projects/1/things/1/"
        with pytest.raises(AttributeError):
            notified[0].delay = 0  # type: ignore[misc]
        server.answers = [httpx.Response(500), OK]
        await ph.with_options(on_retry=later).things.get(1)
        assert len(notified) == 3


@pytest.mark.anyio
async def test_an_error_of_the_hook_ends_the_call() -> None:
    def hook(details: RetryDetails) -> None:
        raise LookupError(details.operation)

    async with client(Server(httpx.Response(500)), on_retry=hook) as ph:
        with pytest.raises(LookupError, match=r"things\.get"):
            await ph.things.get(1)


@pytest.mark.anyio
async def test_foreign_errors_are_raised_unchanged() -> None:
    server = Server(LookupError("a bug"))
    async with client(server) as ph:
        with pytest.raises(LookupError, match="a bug"):
            await ph.things.get(1)
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_uploads_are_sent_whole_every_time() -> None:
    import io

    server = Server(THROTTLED, OK)
    async with client(server) as ph:
        await ph.things.upload(file=("a.bin", io.BytesIO(b"\0abc")), note="n")
    first, second = server.requests
    assert first.content == second.content
    assert b"\0abc" in first.content
    assert first.headers["Content-Type"].startswith("multipart/form-data; boundary=")


@pytest.mark.anyio
async def test_testing_switches_waiting_off() -> None:
    server = Server(httpx.Response(429, headers={"Retry-After": "100"}), OK)
    async with client(server, clock=None) as ph:
        with testing(), testing():
            pass
        with testing():
            assert await ph.things.get(1) == {"id": 1}


@pytest.mark.anyio
async def test_timeouts_of_httpx() -> None:
    server = Server(httpx.ReadTimeout("slow"))
    async with client(server, max_retries=1) as ph:
        with pytest.raises(TimeoutError, match="did not answer in time") as caught:
            await ph.things.get(1)
    assert not caught.value.deadline_exceeded
    assert len(caught.value.attempts) == 2
