"""Capture against the emulator over a real socket, beside PostHog's own SDK."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import anyio
import pytest
from posthog import Posthog
from pydantic import BaseModel

from asyncposthog import AsyncPostHog, CaptureSettings, LostEvents
from posthog_emulator import Emulator, serve_sync
from tests.helpers.hostile_server import Connection, answer, hostile
from tests.helpers.manual_clock import ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UUID_1 = UUID("01890000-0000-7000-8000-000000000001")


class Plan(BaseModel):
    name: str
    price: Decimal


@dataclasses.dataclass
class Seat:
    row: int


PROPERTIES: dict[str, Any] = {
    "plan": Plan(name="pro", price=Decimal("12.5")),
    "seat": Seat(3),
    "day": date(2026, 1, 2),
    "at": datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2))),
    "id": UUID_1,
    "amount": Decimal("1.25"),
    "nothing": float("nan"),
    "nested": {"list": [1, 2.5, None, True, "text"], "tuple": (1, 2)},
    "unicode": "grüße 🚀",
}


@pytest.fixture
def emulator() -> Emulator:
    return Emulator()


@pytest.fixture
def url(emulator: Emulator) -> Iterator[str]:
    with serve_sync(emulator) as url:
        yield url


def stored(emulator: Emulator) -> list[dict[str, Any]]:
    """Return the events without what differs by design: ids of persons, and the library."""
    events = emulator.captured_events()
    for event in events:
        event.pop("person_id")
        for name in ("$lib", "$lib_version"):
            event["properties"].pop(name, None)
    return sorted(events, key=lambda event: event["uuid"])


def uuids() -> Iterator[str]:
    return (f"01890000-0000-7000-8000-{number:012x}" for number in range(100))


def capture_with_official(url: str, mode: str) -> None:
    client = Posthog("phc_emulator", host=url, capture_mode=mode, flush_interval=0.05, timeout=60)
    ids = uuids()
    at: dict[str, Any] = {"timestamp": AT}
    client.capture("visit", distinct_id="visitor", properties=PROPERTIES, uuid=next(ids), **at)
    client.capture("paid", distinct_id="ada", groups={"company": "acme"}, uuid=next(ids), **at)
    client.capture(
        "quiet",
        distinct_id="ada",
        properties={"$process_person_profile": False, "$session_id": "s-1"},
        uuid=next(ids),
        **at,
    )
    client.set(distinct_id="ada", properties={"email": "a@example.com"}, uuid=next(ids), **at)
    client.set_once(distinct_id="ada", properties={"first": 1}, uuid=next(ids), **at)
    client.alias("ada", "ada@example.com", uuid=next(ids), **at)
    client.group_identify("company", "acme", {"seats": 7}, distinct_id="ada", uuid=next(ids), **at)
    client.shutdown()


async def capture_with_ours(url: str, mode: str) -> None:
    settings = CaptureSettings(protocol=mode, compression="none")  # pyright: ignore[reportArgumentType]
    async with AsyncPostHog(project_api_key="phc_emulator", host=url, capture=settings) as client:
        capture = client.capture
        ids = uuids()
        at: dict[str, Any] = {"timestamp": AT}
        await capture("visit", "visitor", properties=PROPERTIES, uuid=next(ids), **at)
        await capture("paid", "ada", groups={"company": "acme"}, uuid=next(ids), **at)
        await capture(
            "quiet",
            "ada",
            properties={"$process_person_profile": False, "$session_id": "s-1"},
            uuid=next(ids),
            **at,
        )
        await capture.set("ada", {"email": "a@example.com"}, uuid=next(ids), **at)
        await capture.set_once("ada", {"first": 1}, uuid=next(ids), **at)
        await capture.alias("ada", "ada@example.com", uuid=next(ids), **at)
        await capture.group_identify(
            "company", "acme", {"seats": 7}, distinct_id="ada", uuid=next(ids), **at
        )


@pytest.mark.parametrize("mode", ["v0", "v1"])
async def test_the_official_sdk_and_ours_send_the_same(mode: str) -> None:
    found: list[list[dict[str, Any]]] = []
    for ours in (False, True):
        emulator = Emulator()
        with serve_sync(emulator) as url:
            if ours:
                await capture_with_ours(url, mode)
            else:
                await anyio.to_thread.run_sync(capture_with_official, url, mode)
        found.append(stored(emulator))
    official, own = found
    assert [event["event"] for event in official] == [
        "visit", "paid", "quiet", "$set", "$set_once", "$create_alias", "$groupidentify",
    ]  # fmt: skip
    for theirs, mine in zip(official, own, strict=True):
        # The servers correct the times by the time of the request, which is never the same.
        moments = [theirs.pop("timestamp"), mine.pop("timestamp")]
        assert abs(moments[0] - moments[1]) < timedelta(seconds=120)
        # Only the order of what all events have is different.
        own_system = {"$python_runtime", "$python_version", "$os", "$os_version", "$os_distro"}
        for event in (theirs, mine):
            event["properties"] = {
                name: value for name, value in event["properties"].items() if name not in own_system
            }
    assert own == official


async def test_persons_and_groups(emulator: Emulator, url: str) -> None:
    async with AsyncPostHog(project_api_key="phc_emulator", host=url) as client:
        capture = client.capture
        await capture("visit", "visitor")
        await capture.identify(
            "ada", {"email": "a@example.com", "old": 1}, set_once={"first": 1},
            anonymous_id="visitor",
        )  # fmt: skip
        await capture.unset("ada", ["old"])
        await capture.group_identify("company", "acme", {"seats": 7})
        await capture("paid", "ada", groups={"company": "acme"})
    events = {event["event"]: event for event in emulator.captured_events()}
    assert events["visit"]["person_id"] == events["paid"]["person_id"]
    async with AsyncPostHog.emulated(emulator) as client:
        (person,) = await client.persons.list(distinct_id="ada").collect()
        assert person.properties == {"email": "a@example.com", "first": 1}
    groups = emulator.state.events.read("SELECT group_key FROM groups")
    assert groups == [("acme",)]


async def test_faults_of_the_emulator(emulator: Emulator, url: str) -> None:
    emulator.faults.randomize(rate=0.3, seed=5)
    emulator.settings.capture_retries = 20
    lost: list[LostEvents] = []
    settings = CaptureSettings(flush_at=20, max_batch_events=20, on_error=lost.append)
    client = AsyncPostHog(
        project_api_key="phc_emulator", host=url, capture=settings, clock=ManualClock()
    )
    async with client:
        for number in range(500):
            await client.capture(f"event {number}", "ada")
        await client.capture.flush()
        stats = client.capture.stats
    assert lost == []
    assert (stats.sent, stats.accepted) == (500, 500)
    assert stats.retried > 0
    names = {event["event"] for event in emulator.captured_events()}
    assert names == {f"event {number}" for number in range(500)}


async def test_a_quota(emulator: Emulator, url: str) -> None:
    emulator.settings.exhausted_quotas = {"events"}
    lost: list[LostEvents] = []
    async with AsyncPostHog(
        project_api_key="phc_emulator", host=url, capture=CaptureSettings(on_error=lost.append)
    ) as client:
        await client.capture("paid", "ada")
        await client.capture.flush()
        assert client.capture.stats.quota_limited
    assert [item.reason for item in lost] == ["quota"]


async def test_a_server_that_breaks_off() -> None:
    scripts = iter(["reset", "half", "garbage", "nothing", "fine"])

    def script(connection: Connection) -> None:
        kind = next(scripts)
        _, body = connection.request()
        assert body
        if kind == "reset":
            connection.reset()
        elif kind == "half":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        elif kind == "garbage":
            connection.send(b"\x00\x01\x02\r\n\r\n")
        elif kind == "fine":
            connection.send(answer(body=b'{"results": {}}'))

    with hostile(script) as server:
        settings = CaptureSettings(compression="none")
        client = AsyncPostHog(
            project_api_key="phc_x", host=server.url, capture=settings, clock=ManualClock()
        )
        async with client:
            await client.capture("paid", "ada")
            await client.capture.flush()
            stats = client.capture.stats
    assert (stats.sent, stats.requests, stats.retried) == (1, 5, 4)


async def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    lost: list[LostEvents] = []
    settings = CaptureSettings(on_error=lost.append, close_timeout=0.0)
    async with AsyncPostHog(
        project_api_key="phc_x", host=f"http://127.0.0.1:{port}", capture=settings
    ) as client:
        await client.capture("paid", "ada")
    assert [(item.reason, item.count) for item in lost] == [("closed", 1)]


async def test_large_ai_events(emulator: Emulator, url: str) -> None:
    async with AsyncPostHog(project_api_key="phc_emulator", host=url) as client:
        properties = {"$ai_input": "x" * 2_000_000}
        await client.capture.ai("$ai_generation", "ada", properties=properties)
        # The server takes nothing else on that endpoint.
        (result,) = await client.capture.batch([{"event": "paid", "distinct_id": "a"}], ai=True)
        assert (result.status, result.detail) == ("drop", "rejected")
        with pytest.raises(ValueError, match="8,388,608"):
            await client.capture.ai("$ai_generation", "ada", properties={"x": "x" * 9_000_000})
    (event,) = emulator.captured("$ai_generation", count=1)
    assert len(event["properties"]["$ai_input"]) == 2_000_000
