"""PostHog's own Python SDK, unchanged, with its host pointed at the emulator."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from posthog import AsyncPosthog, Posthog

from posthog_emulator import Emulator, serve_sync

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

PATIENT: dict[str, Any] = {"timeout": 60, "feature_flags_request_timeout_seconds": 60}
COMPANY = {"name": "Acme", "seats": 7}


@pytest.fixture
def anyio_backend() -> str:
    """The SDK's asynchronous client knows no other event loop."""
    return "asyncio"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK find no settings around it."""
    for name in ("POSTHOG_HOST", "POSTHOG_PROJECT_API_KEY", "POSTHOG_PERSONAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def url(emulator: Emulator) -> Iterator[str]:
    with serve_sync(emulator) as url:
        yield url


def sdk(url: str, **options: Any) -> Posthog:
    return Posthog("phc_emulator", host=url, flush_interval=0.05, **PATIENT, **options)


def names(emulator: Emulator) -> list[str]:
    return [event["event"] for event in emulator.captured_events()]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gzip": True},
        {"sync_mode": True},
        {"capture_mode": "v1"},
        {"capture_mode": "v1", "capture_compression": "gzip"},
    ],
    ids=str,
)
def test_events_persons_and_groups(emulator: Emulator, url: str, options: dict[str, Any]) -> None:
    client = sdk(url, **options)
    client.capture("anonymous visit", distinct_id="visitor")
    client.capture("signed up", distinct_id="visitor", properties={"plan": "pro"})
    client.capture("$identify", distinct_id="ada", properties={"$anon_distinct_id": "visitor"})
    client.alias("ada", "ada@example.com")
    client.set(distinct_id="ada", properties={"email": "ada@example.com", "age": 36})
    client.set_once(distinct_id="ada", properties={"email": "other@example.com", "first": 1})
    client.group_identify("company", "acme", COMPANY)
    client.capture("paid", distinct_id="ada", groups={"company": "acme"})
    client.shutdown()

    events = {event["event"]: event for event in emulator.captured_events()}
    assert events["signed up"]["properties"]["plan"] == "pro"
    assert events["paid"]["properties"]["$groups"] == {"company": "acme"}
    people = {events[name]["person_id"] for name in ("anonymous visit", "signed up", "paid")}
    assert len(people) == 1
    read = emulator.state.events.read
    assert read("SELECT count() FROM events WHERE event = 'paid' AND `$group_0` = 'acme'") == [(1,)]
    ((properties,),) = read(
        "SELECT properties FROM person FINAL WHERE is_deleted = 0 AND id IN (SELECT person_id "
        "FROM person_distinct_id2 FINAL WHERE distinct_id = 'ada@example.com')"
    )
    assert '"email":"ada@example.com"' in properties.replace(": ", ":")
    assert read("SELECT group_key FROM groups FINAL") == [("acme",)]


def test_exceptions(emulator: Emulator, url: str) -> None:
    client = sdk(url)
    try:
        raise LookupError("no such thing")
    except LookupError as error:
        client.capture_exception(error, distinct_id="ada")
    client.shutdown()
    (event,) = emulator.captured_events("$exception")
    assert event["properties"]["$exception_list"][0]["type"] == "LookupError"


def test_flags_asked_of_the_server(emulator: Emulator, url: str) -> None:
    emulator.set_flag("on")
    emulator.set_flag("off", enabled=False)
    emulator.set_flag("layout", variant="b", payload={"columns": 2})
    emulator.set_flag("special", distinct_id="ada")
    client = sdk(url)
    assert client.feature_enabled("on", "ada") is True
    assert client.feature_enabled("off", "ada") is False
    assert client.get_feature_flag("layout", "ada") == "b"
    assert client.get_feature_flag_payload("layout", "ada") == {"columns": 2}
    flags = client.get_all_flags("bob")
    assert flags is not None
    assert (flags["on"], flags["layout"], flags.get("special", False)) == (True, "b", False)
    evaluated = client.evaluate_flags("ada")
    assert evaluated.is_enabled("special")
    client.shutdown()
    called = [event["properties"]["$feature_flag"] for event in emulator.captured_events()]
    assert {"on", "off", "layout"} <= {*called}
    asked = emulator.requests.matching(path="/flags*")
    assert asked
    assert all(request.query["v"] == "4" for request in asked)


def test_flags_decided_on_the_spot(emulator: Emulator, url: str) -> None:
    emulator.add(
        "feature_flags",
        {
            "key": "staff",
            "active": True,
            "filters": {
                "groups": [
                    {
                        "properties": [
                            {
                                "key": "email",
                                "value": "@example.com",
                                "operator": "icontains",
                                "type": "person",
                            }
                        ],
                        "rollout_percentage": 100,
                    }
                ]
            },
        },
    )
    client = sdk(url, personal_api_key=emulator.key, poll_interval=3600)
    client.load_feature_flags()
    asked = emulator.requests.matching(path="/flags*")
    for email, expected in (("ada@example.com", True), ("bob@elsewhere.org", False)):
        enabled = client.feature_enabled(
            "staff", "someone", person_properties={"email": email}, only_evaluate_locally=True
        )
        assert enabled is expected
    assert emulator.requests.matching(path="/flags*") == asked
    client.shutdown()


def test_when_the_server_fails(
    emulator: Emulator, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.faults.fail(503, path="/batch*")
    failures: list[Any] = []

    def failed(error: Any, batch: Any) -> None:
        failures.append((error, batch))

    client = sdk(url, max_retries=1, on_error=failed)
    with caplog.at_level(logging.CRITICAL, logger="posthog"):
        client.capture("kept", distinct_id="ada")
        client.shutdown()
    assert [request.status for request in emulator.requests.matching(path="/batch*")] == [503, 200]
    assert (names(emulator), failures) == (["kept"], [])


async def test_the_asynchronous_client(emulator: Emulator, url: str) -> None:
    emulator.set_flag("on")
    async with AsyncPosthog("phc_emulator", host=url, **PATIENT) as client:
        client.capture("signed up", distinct_id="ada", properties={"plan": "pro"})
        client.set(distinct_id="ada", properties={"age": 36})
        client.group_identify("company", "acme", COMPANY)
        await client.flush()
        evaluated = await client.evaluate_flags("ada")
        assert evaluated.is_enabled("on")
    assert emulator.captured_events("signed up")[0]["properties"]["plan"] == "pro"
    assert set(names(emulator)) >= {"$set", "$groupidentify"}


def test_a_key_nobody_knows(emulator: Emulator, url: str) -> None:
    client = Posthog("phc_somebody_elses", host=url, flush_interval=0.05, **PATIENT)
    client.capture("lost", distinct_id="ada")
    client.shutdown()
    assert [request.status for request in emulator.requests] == [200]
    assert names(emulator) == []
