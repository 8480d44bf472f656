"""TracesQuery, TraceQuery, SessionQuery and TraceNeighborsQuery: events of language models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .dates import bound, local_now, query_period
from .insight_results import insight_result
from .properties import Values, property_tests
from .result import Result, encode_json
from .runner import QuerySession, run_rows
from .unknown_fields import check_query

__all__ = ["run_ai_session", "run_trace", "run_trace_neighbors", "run_traces"]

_FIELDS: Final = ("dateRange", "properties")
_ROWS: Final = 100
_MARGIN: Final = timedelta(minutes=10)
"""How much longer than the time range a trace may last."""
_NEAR: Final = timedelta(days=3)
"""How far from a trace its neighbors are looked for."""
_ID: Final = "properties.$ai_trace_id"
_EVENTS: Final = (
    "event IN ('$ai_span', '$ai_generation', '$ai_embedding', '$ai_metric', '$ai_feedback', "
    "'$ai_trace') AND isNotNull(properties.$ai_trace_id) AND properties.$ai_trace_id != ''"
)
_PAID: Final = ("$ai_generation", "$ai_embedding")
"""The events whose tokens and costs count."""
_TOTALS: Final = {
    "inputTokens": "input_tokens", "outputTokens": "output_tokens", "inputCost": "input_cost_usd",
    "outputCost": "output_cost_usd", "requestCost": "request_cost_usd",
    "webSearchCost": "web_search_cost_usd", "totalCost": "total_cost_usd",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Event:
    """An event of a trace."""

    at: str
    uuid: str
    name: str
    person: str
    properties: Mapping[str, Any]

    def value(self, name: str) -> Any:
        """Return a property by its name without `$ai_`; None if it is empty."""
        value = self.properties.get(f"$ai_{name}")
        return None if value == "" else value

    def number(self, name: str) -> float | None:
        """Return a property that is a number, or text of one."""
        try:
            return float(self.value(name))
        except (TypeError, ValueError):
            return None

    @property
    def is_top(self) -> bool:
        """Return whether it is a direct child of the trace."""
        return self.value("parent_id") == self.value("trace_id")


def run_traces(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a TracesQuery: the traces of a time range, the latest first.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    check_query(query, *_FIELDS, "filterTestAccounts", "filterSupportTraces", "groupKey",
                "groupTypeIndex", "limit", "offset", "personId",
                "showColumnConfigurator")  # fmt: skip
    values, period = Values(session), query_period(session, query, "minute")
    tests = [*_within(values, period.start, period.end), *_filters(query, values)]
    if query.get("personId"):
        tests.append(f"toString(person_id) = {values.add(str(query['personId']))}")
    if query.get("groupKey"):
        index = int(query.get("groupTypeIndex") or 0)
        tests.append(f"$group_{index} = {values.add(str(query['groupKey']))}")
    chosen = f"{_ID} IN (SELECT {_ID} FROM events WHERE {' AND '.join([_EVENTS, *tests])})"  # noqa: S608
    where = [chosen, *_within(values, period.start - _MARGIN, period.end + _MARGIN)]
    having = " AND ".join(_within(values, period.start, period.end, "min(timestamp)"))
    return _traces(
        query, values, where, having,
        lambda event: event.name in ("$ai_metric", "$ai_feedback")
        or (event.is_top and event.name != "$ai_trace"),
    )  # fmt: skip


def run_trace(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a TraceQuery: one trace with all its events.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    check_query(query, *_FIELDS, "traceId")
    values, period = Values(session), query_period(session, query, "minute")
    where = [
        f"{_ID} = {values.add(str(query['traceId']))}", *_filters(query, values),
        *_within(values, period.start - _MARGIN, period.end + _MARGIN),
    ]  # fmt: skip
    start, end = values.add(period.start), values.add(period.end)
    having = f"min(timestamp) <= {end} AND max(timestamp) >= {start}"
    return _traces(query, values, where, having)


def run_ai_session(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a SessionQuery: the traces of a session of a language model, with all events.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    check_query(query, *_FIELDS, "sessionId", "limit", "offset")
    values, within = Values(session), list[str]()
    if as_object(query.get("dateRange")).get("date_from"):
        period = query_period(session, query, "minute")
        within = _within(values, period.start, period.end)
    in_session = f"properties.$ai_session_id = {values.add(str(query['sessionId']))}"
    tests = " AND ".join([_EVENTS, in_session, *within])
    where = [f"{_ID} IN (SELECT {_ID} FROM events WHERE {tests})", *within]  # noqa: S608
    return _traces(query, values, where, "true")


def run_trace_neighbors(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a TraceNeighborsQuery: the traces before and after a trace.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    check_query(
        query, *_FIELDS, "traceId", "timestamp", "filterTestAccounts", "filterSupportTraces"
    )
    date_range = as_object(query.get("dateRange"))
    at = bound(query["timestamp"], local_now(session))
    start, end = at - _NEAR, at + _NEAR
    if date_range.get("date_from") or date_range.get("date_to"):
        period = query_period(session, query, "minute")
        start, end = period.start, period.end
    neighbors: dict[str, Any] = {}
    for name, sign, order in (("older", "<", "DESC"), ("newer", ">", "ASC")):
        values = Values(session)
        now = values.add(at)
        tests = [
            _EVENTS, f"timestamp {sign}= {now}", *_within(values, start, end),
            *_filters(query, values),
        ]  # fmt: skip
        rows = run_rows(
            session,
            f"SELECT {_ID} AS id, toString(max(timestamp)) FROM events "  # noqa: S608
            f"WHERE {' AND '.join(tests)} GROUP BY id HAVING max(timestamp) {sign} {now} OR "
            f"(max(timestamp) = {now} AND id {sign} {values.add(str(query['traceId']))}) "
            f"ORDER BY max(timestamp) {order}, id {order} LIMIT 1",
            values.by_name,
        )
        key, latest = rows[0] if rows else (None, None)
        neighbors |= {f"{name}TraceId": key,
                  f"{name}Timestamp": latest and _iso(latest, session)}  # fmt: skip
    rest = dict(neighbors)
    return Result(encode_json(rest.pop("olderTraceId")), rest, field="olderTraceId")


def _within(values: Values, start: datetime, end: datetime, column: str = "timestamp") -> list[str]:
    return [f"{column} >= {values.add(start)}", f"{column} <= {values.add(end)}"]


def _filters(query: Mapping[str, Any], values: Values) -> list[str]:
    tests = property_tests(query.get("properties"), values)
    if query.get("filterTestAccounts"):
        tests += property_tests(values.session.test_account_filters, values)
    if query.get("filterSupportTraces"):
        tests.append("ifNull(toString(properties.ai_support_impersonated), '') != 'true'")
    return tests


def _is_inside(event: _Event) -> bool:
    return event.name != "$ai_trace"


def _traces(
    query: Mapping[str, Any],
    values: Values,
    where: list[str],
    having: str,
    is_listed: Callable[[_Event], bool] = _is_inside,
) -> Result:
    """Return the traces of the events that meet `where`, with those that are listed."""
    limit, skipped = int(query.get("limit") or _ROWS), int(query.get("offset") or 0)
    if limit < 0 or skipped < 0:
        raise invalid("limit and offset must not be negative.")
    rows = run_rows(
        values.session,
        f"SELECT {_ID} AS id, groupArray(tuple(toString(timestamp), toString(uuid), event, "  # noqa: S608
        f"distinct_id, properties)) FROM events WHERE {' AND '.join([_EVENTS, *where])} "
        f"GROUP BY id HAVING {having} ORDER BY min(timestamp) DESC, id "
        f"LIMIT {limit + 1} OFFSET {skipped}",
        values.by_name,
    )
    results = [
        _trace(
            key,
            [
                _Event(at, uuid, name, person, json.loads(text))
                for at, uuid, name, person, text in sorted(events)
            ],
            is_listed,
            values.session,
        )
        for key, events in rows[:limit]
    ]
    return insight_result(results, hasMore=len(rows) > limit, limit=limit, offset=skipped)


def _trace(
    key: str, events: list[_Event], is_listed: Callable[[_Event], bool], session: QuerySession
) -> dict[str, Any]:
    """Return a trace of its events, which are in order."""
    root = next((event for event in events if event.name == "$ai_trace"), None)
    paid = [event for event in events if event.name in _PAID]
    totals = {name: _sum(event.number(key) for event in paid) for name, key in _TOTALS.items()}
    names = [
        event.value("span_name") or event.value("trace_name") for event in (root, *events) if event
    ]
    tools = ",".join(str(event.value("tools_called") or "") for event in events
                     if event.name == "$ai_generation").split(",")  # fmt: skip
    return {
        "id": key,
        "aiSessionId": next((event.value("session_id") for event in events
                             if event.value("session_id")), None),
        "createdAt": _iso(events[0].at, session),
        "distinctId": (root or events[0]).person,
        "totalLatency": _latency(events),
        **{name: total if total is None or "Tokens" in name else round(total, 10)
           for name, total in totals.items()},
        "inputState": _state(root and root.value("input_state")),
        "outputState": _state(root and root.value("output_state")),
        "traceName": next((name for name in names if name), None),
        "errorCount": sum(str(event.value("is_error")).lower() == "true"
                          or event.properties.get("$ai_error") is not None for event in events),
        "isSupportTrace": any(_is_support(event) for event in events),
        "tools": [tool for tool in dict.fromkeys(tools) if tool],
        "events": [
            {"id": event.uuid, "event": event.name, "createdAt": _iso(event.at, session),
             "properties": event.properties}
            for event in events
            if is_listed(event)
        ],
    }  # fmt: skip


def _is_support(event: _Event) -> bool:
    return str(event.properties.get("ai_support_impersonated")).lower() == "true"


def _latency(events: list[_Event]) -> float | None:
    """Return the latency of the trace itself, or of its generations, or of its children."""
    latencies = [
        (event, latency) for event in events if (latency := event.number("latency")) is not None
    ]
    own = max((latency for event, latency in latencies if event.name == "$ai_trace"), default=0)
    if own > 0:
        return round(own, 2)
    slow = [(event, latency) for event, latency in latencies if latency > 0]
    if not slow or any(event.name != "$ai_generation" for event, _ in slow):
        slow = [(event, latency) for event, latency in latencies
                if event.is_top or event.value("parent_id") is None]  # fmt: skip
    total = _sum(latency for _, latency in slow)
    return None if total is None else round(total, 2)


def _sum(numbers: Iterable[float | None]) -> float | None:
    addends = [number for number in numbers if number is not None]
    return sum(addends) if addends else None


def _state(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _iso(text: str, session: QuerySession) -> str:
    """Return a time of the project's time zone in ISO 8601."""
    zone = local_now(session).tzinfo
    return datetime.fromisoformat(text).replace(tzinfo=zone).isoformat()
