"""Requests, their repeats, and what the client makes of the answers."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import httpx
import pytest

from asyncposthog import LostEvents
from asyncposthog.capture import compression
from asyncposthog.errors import ServerError

from .capture_helpers import TOKEN, Responder, Sent, Server, accept, error

pytestmark = pytest.mark.anyio

RFC3339 = "%Y-%m-%dT%H:%M:%S.%fZ"


async def test_the_request_of_v1() -> None:
    server = Server()
    at = datetime(2026, 1, 2, 8, 34, 5, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    async with server.client() as client:
        uuid = await client.capture(
            "paid",
            "ada",
            properties={"plan": "pro", "$session_id": "s-1", "$process_person_profile": False},
            timestamp=at,
            groups={"company": "acme"},
            options={"cookieless_mode": True},
        )
    (sent,) = server.sent
    assert sent.path == "/i/v1/analytics/events"
    headers = sent.headers
    assert headers["host"] == "eu.i.posthog.com"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["content-type"] == "application/json"
    assert headers["posthog-sdk-info"].startswith("asyncposthog/")
    assert headers["posthog-attempt"] == "1"
    assert UUID(headers["posthog-request-id"])
    assert datetime.strptime(headers["posthog-request-timestamp"], RFC3339)
    assert set(sent.body) == {"created_at", "batch"}
    (event,) = sent.events
    properties = event.pop("properties")
    assert event == {
        "event": "paid",
        "uuid": uuid,
        "distinct_id": "ada",
        "timestamp": "2026-01-02T03:04:05.000000Z",
        "session_id": "s-1",
        "options": {"cookieless_mode": True, "process_person_profile": False},
    }
    assert properties["plan"] == "pro"
    assert properties["$groups"] == {"company": "acme"}
    assert properties["$geoip_disable"] is True
    assert properties["$is_server"] is True
    assert not {"$session_id", "$process_person_profile"} & set(properties)


async def test_a_repeat_is_the_same_request_with_a_new_time() -> None:
    answers = [error(503), httpx.ConnectError("gone"), error(429, Retry_After="7")]

    def respond(sent: Sent) -> httpx.Response:
        if not answers:
            return accept(sent)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    server = Server(respond)
    async with server.client() as client:
        await client.capture("paid", "ada")
        await client.capture.flush()
        stats = client.capture.stats
    first, *others = server.sent
    assert [sent.headers["posthog-attempt"] for sent in server.sent] == ["1", "2", "3", "4"]
    for sent in others:
        assert sent.body == first.body
        assert sent.headers["posthog-request-id"] == first.headers["posthog-request-id"]
    times = [sent.headers["posthog-request-timestamp"] for sent in server.sent]
    assert len(set(times)) == 4
    assert server.clock.slept == [1.0, 2.0, 7.0]
    assert (stats.sent, stats.retried, stats.requests, stats.lost) == (1, 3, 4, {})


async def test_only_events_to_be_repeated_are_repeated() -> None:
    def respond(sent: Sent) -> httpx.Response:
        if len(server.sent) > 1:
            return accept(sent)
        return accept(
            sent,
            warned=("warning", "person_processing_disabled"),
            dropped=("drop", "missing_distinct_id"),
            again=("retry", "not_persisted"),
            future=("delayed", None),
        )

    server = Server(respond)
    lost: list[LostEvents] = []
    async with server.client(flush_at=100, on_error=lost.append) as client:
        for name in ("fine", "warned", "dropped", "again", "future"):
            await client.capture(name, "ada")
        await client.capture.flush()
        stats = client.capture.stats
    assert [sent.names for sent in server.sent] == [
        ["fine", "warned", "dropped", "again", "future"],
        ["again"],
    ]
    assert (stats.sent, stats.warned, stats.retried) == (4, 2, 1)
    assert stats.lost == {"server_drop": 1}
    assert [(item.reason, item.detail, item.count) for item in lost] == [
        ("server_drop", "missing_distinct_id", 1)
    ]
    assert lost[0].events[0]["event"] == "dropped"


@pytest.mark.parametrize(
    ("status", "tag", "reason"),
    [
        (401, "invalid_api_token", "refused"),
        (402, "billing_limit_exceeded", "quota"),
        (403, "forbidden", "refused"),
        (415, "unsupported", "refused"),
        (429, "billing_limit_exceeded", "quota"),
    ],
)
async def test_final_answers(status: int, tag: str, reason: str) -> None:
    server = Server(lambda sent: error(status, tag))
    lost: list[LostEvents] = []
    async with server.client(flush_at=100, on_error=lost.append) as client:
        for _ in range(3):
            await client.capture("paid", "ada")
        await client.capture.flush()
        stats = client.capture.stats
    assert len(server.sent) == 1
    assert stats.lost == {reason: 3}
    assert stats.quota_limited is (reason == "quota")
    assert [(item.reason, item.count) for item in lost] == [(reason, 3)]
    assert lost[0].error is not None
    assert lost[0].error.status == status


async def test_one_bad_event_does_not_sink_its_batch() -> None:
    server = Server(lambda sent: error(400) if "bad" in sent.names else accept(sent))
    lost: list[LostEvents] = []
    async with server.client(flush_at=100, on_error=lost.append) as client:
        for number in range(50):
            await client.capture("bad" if number == 17 else f"good {number}", "ada")
        await client.capture.flush()
        stats = client.capture.stats
    assert (stats.sent, stats.lost) == (49, {"refused": 1})
    assert [event["event"] for item in lost for event in item.events] == ["bad"]


async def test_a_request_that_is_too_large_is_split() -> None:
    server = Server(lambda sent: error(413) if len(sent.events) > 3 else accept(sent))
    async with server.client(flush_at=100) as client:
        for number in range(10):
            await client.capture(f"event {number}", "ada")
        await client.capture.flush()
        assert client.capture.stats.sent == 10
    good = [sent for sent in server.sent if len(sent.events) <= 3]
    assert [name for sent in good for name in sent.names] == [f"event {n}" for n in range(10)]
    ids = [sent.headers["posthog-request-id"] for sent in server.sent]
    assert len(set(ids)) == len(ids)


async def test_batches_are_cut_by_bytes() -> None:
    server = Server()
    async with server.client(flush_at=100, max_batch_bytes=4000) as client:
        for _ in range(10):
            await client.capture("paid", "ada", properties={"text": "x" * 1000})
    assert [len(sent.events) for sent in server.sent] == [3, 3, 3, 1]


@pytest.mark.parametrize(
    "missing",
    [
        httpx.Response(404, text="Not Found"),
        httpx.Response(405, text="Method Not Allowed"),
        httpx.Response(302, headers={"Location": "https://eu.i.posthog.com/login"}),
        httpx.Response(403, html="<h1>CSRF verification failed</h1>"),
        httpx.Response(200, html="<html>PostHog</html>"),
    ],
    ids=lambda response: str(response.status_code),
)
async def test_an_instance_without_v1(missing: httpx.Response) -> None:
    def respond(sent: Sent) -> httpx.Response:
        if sent.path.startswith("/i/v1/"):
            return httpx.Response(
                missing.status_code, headers=missing.headers, content=missing.content
            )
        return httpx.Response(200, json={"status": "Ok"})

    server = Server(respond)
    async with server.client() as client:
        await client.capture(
            "first", "ada", properties={"$session_id": "s"}, options={"cookieless_mode": True}
        )
        await client.capture.flush()
        await client.capture("second", "ada")
        await client.capture.flush()
        assert client.capture.stats.protocol == "v0"
        assert client.capture.stats.sent == 2
    legacy = [sent for sent in server.sent if sent.path == "/batch/"]
    assert [sent.path for sent in server.sent[-2:]] == ["/batch/", "/batch/"]
    first, second = legacy
    assert first.body["api_key"] == TOKEN
    assert datetime.strptime(first.body["sent_at"], RFC3339)
    properties: dict[str, Any] = first.events[0]["properties"]
    assert properties["$session_id"] == "s"
    assert properties["$cookieless_mode"] is True
    assert properties["$lib"] == "asyncposthog"
    assert set(second.events[0]) == {"event", "uuid", "distinct_id", "timestamp", "properties"}


async def test_a_404_of_an_instance_with_v1_is_repeated() -> None:
    def missing(sent: Sent) -> httpx.Response:
        return error(404)

    answers: list[Responder] = [accept, missing, accept]
    server = Server(lambda sent: answers.pop(0)(sent))
    async with server.client() as client:
        await client.capture("first", "ada")
        await client.capture.flush()
        await client.capture("second", "ada")
        await client.capture.flush()
    assert server.delivered == ["first", "second", "second"]
    assert {sent.path for sent in server.sent} == {"/i/v1/analytics/events"}


async def test_a_host_without_either_protocol_is_asked_again() -> None:
    server = Server(
        lambda sent: accept(sent) if len(server.sent) > 4 else httpx.Response(404, text="no")
    )
    async with server.client() as client:
        await client.capture("first", "ada")
        await client.capture.flush()
        assert client.capture.stats.protocol == "v1"
    paths = [sent.path for sent in server.sent]
    assert paths == ["/i/v1/analytics/events", "/batch/"] * 2 + ["/i/v1/analytics/events"]


async def test_ai_events_have_an_endpoint_of_their_own() -> None:
    server = Server()
    async with server.client(privacy_mode=True) as client:
        await client.capture.ai(
            "$ai_generation", "ada", properties={"$ai_input": "secret", "$ai_model": "m"}
        )
        await client.capture("paid", "ada", properties={"$ai_input": "kept"})
        await client.capture("$ai_trace", "ada", properties={"$ai_input": "secret"})
        with pytest.raises(ValueError, match=r"\$ai_"):
            await client.capture.ai("paid", "ada")
    by_path = {sent.path: sent for sent in server.sent}
    ai = by_path["/i/v1/ai/events"].events[0]["properties"]
    assert (ai["$ai_input"], ai["$ai_model"]) == (None, "m")
    events = {event["event"]: event for sent in server.sent for event in sent.events}
    assert events["paid"]["properties"]["$ai_input"] == "kept"
    assert events["$ai_trace"]["properties"]["$ai_input"] is None


async def test_zstd_is_used_until_the_server_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # No module for zstd is needed to see when it would be used.
    monkeypatch.setattr(compression, "zstd_function", lambda: zlib.compress)
    monkeypatch.setattr("asyncposthog.capture.delivery.zstd_function", lambda: zlib.compress)
    encodings: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        encodings.append(request.headers["content-encoding"])
        if encodings[-1] == "zstd":
            return error(415, "unsupported_content_encoding")
        return accept(Sent(request))

    server = Server()
    server._answer = respond  # pyright: ignore[reportAttributeAccessIssue]
    async with server.client(compression="auto") as client:
        for _ in range(2):
            await client.capture("paid", "ada")
            await client.capture.flush()
        assert client.capture.stats.sent == 2
    assert encodings == ["zstd", "gzip", "gzip"]


async def test_immediate_and_batch_return_the_answers() -> None:
    server = Server(
        lambda sent: accept(
            sent, guest=("warning", "person_processing_disabled"), no=("drop", "rejected")
        )
    )
    async with server.client() as client:
        result = await client.capture.immediate("guest", "ada")
        assert (result.status, result.detail) == ("warning", "person_processing_disabled")
        assert result.delivered
        results = await client.capture.batch(
            [
                {"event": "yes", "distinct_id": "ada", "properties": {"n": 1}},
                {"event": "no", "distinct_id": "ada"},
                {"event": "", "distinct_id": "ada"},
                {"event": "yes", "distinct_id": "ada", "what": 1},
            ],
            historical=True,
        )
        stats = client.capture.stats
    assert [result.status for result in results] == ["ok", "drop", "invalid", "invalid"]
    assert results[1].detail == "rejected"
    assert server.sent[-1].body["historical_migration"] is True
    assert (stats.accepted, stats.sent, stats.lost) == (3, 2, {"server_drop": 1})


async def test_immediate_raises_if_there_is_no_answer() -> None:
    server = Server(lambda sent: error(503))
    async with server.client() as client:
        with pytest.raises(ServerError):
            await client.capture.immediate("paid", "ada", max_retries=1)
        results = await client.capture.batch(
            [{"event": "paid", "distinct_id": "ada"}], max_retries=0
        )
    assert [(result.status, result.detail) for result in results] == [
        ("failed", "retries_exhausted")
    ]
    assert results[0].error is not None
    assert len(server.sent) == 3


async def test_the_clock_of_the_server_is_compared(caplog: pytest.LogCaptureFixture) -> None:
    def respond(sent: Sent) -> httpx.Response:
        response = accept(sent)
        response.headers["Date"] = "Sun, 15 Jun 2025 16:00:00 GMT"
        return response

    server = Server(respond)
    async with server.client() as client:
        await client.capture("paid", "ada")
        await client.capture.flush()
        skew = client.capture.stats.clock_skew
    assert skew == pytest.approx(1750003200 - server.clock.time(), abs=1)
    assert "the clock of this machine differs" in caplog.text
