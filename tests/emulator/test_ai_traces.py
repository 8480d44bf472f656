"""Queries of traces of language models, against traces written by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from .insight_events import ZONE, Event, Project

START = datetime(2026, 3, 2, 10, tzinfo=ZONE)
RANGE = {"date_from": "2026-03-01", "date_to": "2026-03-10"}


def event(name: str, trace: str, minute: float, person: str = "ann", **properties: Any) -> Event:
    given = {"$ai_trace_id": trace, **{f"$ai_{key}": value for key, value in properties.items()}}
    return Event(f"$ai_{name}", person, START + timedelta(minutes=minute), given)


EVENTS = [
    event("trace", "t1", 3, span_name="chat", latency=2.5, input_state={"q": "hi"},
          output_state="bye", session_id="s1"),
    event("generation", "t1", 1, "proxy", parent_id="t1", latency=1.25, input_tokens=10,
          output_tokens=4, input_cost_usd=0.01, output_cost_usd=0.02, total_cost_usd=0.03,
          session_id="s1", tools_called="search,read"),
    event("span", "t1", 2, parent_id="t1", latency=0.5, is_error=True),
    event("generation", "t1", 2.5, parent_id="inner", latency=9, input_tokens=5, total_cost_usd=1,
          tools_called="read"),
    # Without a root: the latencies of its generations count, and its name is that of the first.
    event("generation", "t2", 60, "bob", latency=0.75, trace_name="draft", session_id="s1"),
    event("embedding", "t2", 61, "bob", input_tokens=7),
    event("generation", "t2", 62, "bob", parent_id="t2", latency=0.5),
    event("feedback", "t2", 63, "bob", feedback_text="good"),
    event("span", "t3", 24 * 60, "bob", latency=3),
    Event("$ai_generation", "ann", START, {"$ai_trace_id": ""}),
    Event("$ai_generation", "ann", START),
    event("generation", "old", -30 * 24 * 60),
]  # fmt: skip


@cache
def project() -> Project:
    return Project(EVENTS)


def traces(kind: str = "TracesQuery", **fields: Any) -> list[dict[str, Any]]:
    return project().results(kind, **{"dateRange": RANGE, **fields})


def ids(**fields: Any) -> list[str]:
    return [one["id"] for one in traces(**fields)]


def names(trace: dict[str, Any]) -> list[str]:
    return [one["event"] for one in trace["events"]]


def test_traces_are_summed_up() -> None:
    third, second, first = traces()
    assert {name: value for name, value in first.items() if name != "events"} == {
        "id": "t1", "aiSessionId": "s1", "createdAt": "2026-03-02T10:01:00-05:00",
        "distinctId": "ann", "totalLatency": 2.5, "inputTokens": 15.0, "outputTokens": 4.0,
        "inputCost": 0.01, "outputCost": 0.02, "requestCost": None, "webSearchCost": None,
        "totalCost": 1.03, "inputState": {"q": "hi"}, "outputState": "bye", "traceName": "chat",
        "errorCount": 1, "isSupportTrace": False, "tools": ["search", "read"],
    }  # fmt: skip
    assert names(first) == ["$ai_generation", "$ai_span"]
    assert first["events"][0]["properties"]["$ai_input_tokens"] == 10
    assert (second["totalLatency"], second["traceName"], second["inputTokens"]) == (
        1.25,
        "draft",
        7,
    )
    assert names(second) == ["$ai_generation", "$ai_feedback"]
    assert (third["totalLatency"], third["distinctId"], third["inputTokens"]) == (3, "bob", None)


def test_traces_are_filtered_and_paged() -> None:
    body = project().body({"kind": "TracesQuery", "dateRange": RANGE, "limit": 1, "offset": 1})
    assert ([one["id"] for one in body["results"]], body["hasMore"]) == (["t2"], True)
    assert ids(limit=1, offset=2) == ["t1"]
    assert ids(dateRange={"date_from": "2026-03-03"}) == ["t3"]
    # A filter is met by any event of the trace.
    error = [{"key": "$ai_is_error", "type": "event", "operator": "exact", "value": ["true"]}]
    (first,) = traces(properties=error)
    assert (first["id"], first["inputTokens"]) == ("t1", 15)
    assert ids(personId=project().person_ids["bob"]) == ["t3", "t2"]


def test_one_trace_has_all_its_events() -> None:
    (first,) = traces("TraceQuery", traceId="t1")
    assert names(first) == ["$ai_generation", "$ai_span", "$ai_generation"]
    assert traces("TraceQuery", traceId="none") == []
    assert traces("TraceQuery", traceId="t1", dateRange={"date_from": "2026-03-05"}) == []


def test_a_session_has_its_traces() -> None:
    found = project().results("SessionQuery", sessionId="s1")
    assert [(one["id"], len(one["events"])) for one in found] == [("t2", 4), ("t1", 3)]


def test_the_neighbors_of_a_trace() -> None:
    def around(trace: str, minute: int, **fields: Any) -> tuple[Any, ...]:
        at = (START + timedelta(minutes=minute)).isoformat()
        query = {"kind": "TraceNeighborsQuery", "traceId": trace, "timestamp": at, **fields}
        body = project().body(query)
        return tuple(body[f"{one}{part}"] for one in ("older", "newer")
                     for part in ("TraceId", "Timestamp"))  # fmt: skip

    assert around("t2", 63) == (
        "t1", "2026-03-02T10:03:00-05:00", "t3", "2026-03-03T10:00:00-05:00"
    )  # fmt: skip
    assert around("t3", 24 * 60) == ("t2", "2026-03-02T11:03:00-05:00", None, None)
    assert around("t3", 24 * 60, dateRange={"date_from": "2026-03-03"}) == (None,) * 4
    # Traces of the same time are ordered by id.
    assert around("t0", 63)[2] == "t2"


def test_what_is_not_computed_is_named() -> None:
    assert "randomOrder" in project().refusal("TracesQuery", randomOrder=True)
