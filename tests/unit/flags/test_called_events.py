"""Events about reads: once for each person, flag, value and groups, and never in the way."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio.to_thread
import pytest

from asyncposthog import AsyncPostHog, ConfigurationError, FlagSnapshot, FlagUnavailableError
from asyncposthog.flags.called_events import CalledEvents
from asyncposthog.flags.snapshot import FlagResult
from asyncposthog.flags.wire import parse_response
from posthog_emulator import Emulator

from .helpers import Server, Sink, flags_client, record, response
from .step_clock import settle

EXPERIMENT = {
    "value": "b",
    "reason": {"code": "experiment_split", "description": "Split"},
    "metadata": {
        "id": 4,
        "version": 9,
        "has_experiment": True,
        "config_version": 2,
        "rule_type": "experiment",
        "rule_id": "0198c2a4-0000-7000-8000-00000000000a",
        "variant_key": "b",
    },
}


def snapshot(
    events: CalledEvents, *records: Any, distinct_id: str = "ada", **more: Any
) -> FlagSnapshot:
    parsed = parse_response(response(*records, **more.pop("body", {})).content)
    return FlagSnapshot(
        distinct_id,
        parsed.results,
        parsed.unavailable,
        parsed.incomplete,
        request_id=parsed.request_id,
        evaluated_at=parsed.evaluated_at,
        minimal_events=parsed.minimal_events,
        on_read=events,
        **more,
    )


def test_an_event_says_what_was_read() -> None:
    sink = Sink()
    flags = snapshot(
        CalledEvents(lambda: sink),
        record("f", variant="b", metadata={"payload": '{"a": 1}'}),
        groups={"company": "acme"},
    )
    assert flags.variant("f") == "b"
    assert sink.events == [
        (
            "$feature_flag_called",
            "ada",
            {
                "$feature_flag": "f",
                "$feature_flag_response": "b",
                "locally_evaluated": False,
                "$feature/f": "b",
                "$feature_flag_id": 1,
                "$feature_flag_version": 3,
                "$feature_flag_reason": "Matched",
                "$feature_flag_has_experiment": False,
                "$feature_flag_payload": {"a": 1},
                "$feature_flag_request_id": "0198c2a4-0000-7000-8000-000000000001",
                "$feature_flag_evaluated_at": 1_760_000_000_000,
            },
            {"company": "acme"},
        )
    ]
    json.dumps(sink.events)


def test_a_read_is_reported_once() -> None:
    sink = Sink()
    events = CalledEvents(lambda: sink)
    flags = snapshot(events, record("f"), record("g", enabled=False))
    for _ in range(3):
        flags.is_enabled("f")
        flags.value("f")
    assert len(sink.events) == 1
    snapshot(events, record("f")).is_enabled("f")
    assert len(sink.events) == 1
    flags.is_enabled("g")
    snapshot(events, record("f"), distinct_id="eve").is_enabled("f")
    snapshot(events, record("f", variant="b")).is_enabled("f")
    snapshot(events, record("f"), groups={"company": "acme"}).is_enabled("f")
    assert len(sink.events) == 5


def test_payload_and_reason_are_no_reads() -> None:
    sink = Sink()
    flags = snapshot(CalledEvents(lambda: sink), record("f"))
    flags.payload("f")
    flags.reason("f")
    assert sink.events == []


def test_what_was_dropped_is_sent_by_the_next_read() -> None:
    sink = Sink(accepts=False)
    flags = snapshot(CalledEvents(lambda: sink), record("f"))
    flags.is_enabled("f")
    sink.accepts = True
    flags.is_enabled("f")
    flags.is_enabled("f")
    assert len(sink.events) == 2


def test_memory_is_bounded() -> None:
    sink = Sink()
    events = CalledEvents(lambda: sink, max_remembered=10)
    for number in range(100):
        snapshot(events, record("f"), distinct_id=str(number)).is_enabled("f")
    assert len(events._reported) == 10
    snapshot(events, record("f"), distinct_id="99").is_enabled("f")
    assert len(sink.events) == 100
    snapshot(events, record("f"), distinct_id="0").is_enabled("f")
    assert len(sink.events) == 101


def test_a_sink_that_fails_does_not_break_the_read(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Sink):
        def nowait(self, *arguments: Any, **more: Any) -> bool:
            raise RuntimeError("the queue is on fire")

    flags = snapshot(CalledEvents(lambda: Broken()), record("f"))
    with caplog.at_level(logging.WARNING, "asyncposthog"):
        assert flags.is_enabled("f")
        assert flags.is_enabled("f")
    [message] = caplog.messages
    assert message.endswith("was not sent: the queue is on fire")


@pytest.mark.parametrize(
    ("key", "body", "error"),
    [
        ("gone", {}, "flag_missing"),
        ("gone", {"errorsWhileComputingFlags": True}, "errors_while_computing_flags,flag_missing"),
        ("gone", {"quotaLimited": ["feature_flags"]}, "quota_limited"),
        ("bad", {}, "evaluation_failed"),
        ("f", {"errorsWhileComputingFlags": True}, "errors_while_computing_flags"),
    ],
)
def test_an_event_names_the_error(key: str, body: dict[str, Any], error: str) -> None:
    sink = Sink()
    flags = snapshot(CalledEvents(lambda: sink), record("f"), record("bad", failed=True), body=body)
    flags.is_enabled(key, False)
    [(_, _, properties, _)] = sink.events
    assert properties["$feature_flag_error"].split(",")[0] == error.split(",")[0]
    assert properties["$feature_flag_response"] is (True if key == "f" else None)


def test_a_read_that_raises_is_reported_as_well() -> None:
    sink = Sink()
    flags = snapshot(CalledEvents(lambda: sink), record("bad", failed=True))
    with pytest.raises(FlagUnavailableError):
        flags.is_enabled("bad")
    assert sink.names == ["$feature_flag_called"]


def test_small_events_on_request() -> None:
    sink = Sink()
    body = {"minimalFlagCalledEvents": True}
    events = CalledEvents(lambda: sink)
    flags = snapshot(
        events,
        record("f"),
        record("tested", metadata={"has_experiment": True}),
        record("unknown", metadata={"has_experiment": None}),
        body=body,
    )
    for key in flags:
        flags.is_enabled(key)
    small, *large = (properties for _, _, properties, _ in sink.events)
    assert "$feature/f" not in small
    assert small["$feature_flag_response"] is True
    assert [
        f"$feature/{name}" in event
        for name, event in zip(("tested", "unknown"), large, strict=True)
    ] == [True, True]


def test_experiments_have_an_exposure_of_their_own() -> None:
    sink = Sink()
    events = CalledEvents(lambda: sink)
    for _ in range(2):
        flags = snapshot(events, {"key": "f", **EXPERIMENT})
        assert flags.variant("f") == "b"
    assert sink.names == ["$feature_flag_called", "$experiment_exposure"]
    called, exposure = (properties for _, _, properties, _ in sink.events)
    assert called["$feature_flag_config_version"] == 2
    assert called["$feature_flag_reason_code"] == "experiment_split"
    assert "$feature_flag_reason" not in called
    assert exposure == {
        "$feature_flag": "f",
        "$feature_flag_response": "b",
        "locally_evaluated": False,
        "$feature_flag_rule_id": "0198c2a4-0000-7000-8000-00000000000a",
        "$feature_flag_variant_key": "b",
    }


@pytest.mark.parametrize(
    "change", [{"rule_id": "no uuid"}, {"rule_type": "holdout"}, {"variant_key": None},
               {"config_version": 1}]
)  # fmt: skip
def test_an_incomplete_experiment_has_none(change: dict[str, Any]) -> None:
    sink = Sink()
    metadata = {**EXPERIMENT["metadata"], **change}  # type: ignore[dict-item]
    snapshot(CalledEvents(lambda: sink), {"key": "f", **EXPERIMENT, "metadata": metadata}).variant(
        "f"
    )
    assert sink.names == ["$feature_flag_called"]


def test_a_snapshot_without_a_person_reports_nothing() -> None:
    sink = Sink()
    results = {"f": FlagResult("f", True)}
    flags = FlagSnapshot("", results, on_read=CalledEvents(lambda: sink))
    assert flags.is_enabled("f")
    assert sink.events == []


@pytest.mark.anyio
async def test_events_go_where_the_client_captures_and_can_be_switched_off() -> None:
    sink = Sink()
    async with flags_client(Server(response(record("f")))) as ph:
        ph.__dict__["capture"] = sink
        (await ph.flags.evaluate("ada")).is_enabled("f")
        assert sink.names == ["$feature_flag_called"]
        ph.flags.configure(send_events=False)
        (await ph.flags.evaluate("eve")).is_enabled("f")
    assert len(sink.events) == 1


@pytest.mark.anyio
async def test_events_arrive_also_from_threads() -> None:
    emulator = Emulator()
    emulator.set_flag("f", "b")
    async with AsyncPostHog.emulated(emulator) as ph:
        flags = await ph.flags.evaluate("ada")
        assert await anyio.to_thread.run_sync(flags.variant, "f") == "b"
        await anyio.to_thread.run_sync(flags.is_enabled, "gone")
        await settle()
        await ph.capture.flush()
    called, missing = emulator.captured_events("$feature_flag_called", "ada")
    assert called["properties"]["$feature_flag_response"] == "b"
    assert missing["properties"]["$feature_flag_error"] == "flag_missing"


@pytest.mark.anyio
async def test_a_client_with_nothing_but_the_token_evaluates_flags() -> None:
    server = Server(response(record("f")))
    async with flags_client(server, api_key=None) as ph:
        assert (await ph.flags.evaluate("ada")).is_enabled("f")
        with pytest.raises(ConfigurationError, match="No API key"):
            await ph.flags.load_definitions()
    assert str(server.requests[0].url).endswith("/flags/?v=2")
