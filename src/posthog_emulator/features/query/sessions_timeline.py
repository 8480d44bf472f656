"""SessionsTimelineQuery: events by session, or by the time between them where there is none."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from posthog_emulator.json_types import as_object

from .dates import bound, local_now
from .insight_results import insight_result
from .properties import Values
from .result import Result
from .runner import QuerySession, run_rows
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields

__all__ = ["run_sessions_timeline"]

_FIELDS: Final = ("kind", "tags", "version", "modifiers", "response", "after", "before", "personId")
_EVENTS: Final = 1_000
_GAP: Final = 1_800
"""Seconds from an event to the first one that it still belongs with, without a session."""


def run_sessions_timeline(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a SessionsTimelineQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    reject_unknown_fields(query, _FIELDS, "SessionsTimelineQuery")
    modifiers = as_object(query.get("modifiers"))
    reject_unknown_fields(modifiers, IGNORED_MODIFIERS, "SessionsTimelineQuery.modifiers")
    values, now = Values(session), local_now(session)
    tests = [
        f"timestamp > {values.add(bound(query.get('after') or '-24h', now))}",
        f"timestamp < {values.add(bound(query.get('before') or '-0h', now))}",
    ]
    if query.get("personId"):
        tests.append(f"person_id = toUUID({values.add(str(query['personId']))})")
    rows = run_rows(
        session,
        "SELECT toString(uuid), toString(person_id), timestamp, event, properties, distinct_id, "  # noqa: S608
        f"elements_chain, $session_id FROM events WHERE {' AND '.join(tests)} "
        f"ORDER BY timestamp DESC, uuid DESC LIMIT {_EVENTS + 1}",
        values.by_name,
    )
    entries: dict[str, dict[str, Any]] = {}
    runs: dict[str, _Run] = {}
    for uuid, person, timestamp, name, properties, distinct_id, chain, visit in reversed(
        rows[:_EVENTS]
    ):
        run = runs.setdefault(person, _Run())
        begun_by = run.add(uuid, int(datetime.fromisoformat(timestamp).timestamp()), visit)
        key = visit or begun_by
        if key not in entries:
            entries[key] = {"sessionId": visit or None, "events": [], "recording_duration_s": None}
        entries[key]["events"].insert(0, {
            "id": uuid, "distinct_id": distinct_id, "event": name, "timestamp": timestamp,
            "properties": json.loads(properties), "elements": [], "elements_chain": chain or None,
        })  # fmt: skip
    recordings = {
        str(recording["id"]): recording.get("recording_duration") or None
        for recording in session.recordings
    }
    for key, entry in entries.items():
        entry["recording_duration_s"] = recordings.get(key)
    results = list(reversed(entries.values()))
    return insight_result(results, hasMore=len(rows) > _EVENTS)


class _Run:
    """The latest events of a person that are of one session, or of none."""

    def __init__(self) -> None:
        self._session = ""
        self._events: deque[tuple[int, str]] = deque()

    def add(self, uuid: str, second: int, session: str) -> str:
        """Add an event, and return the first one of the run that is not long before it."""
        if session != self._session:
            self._session = session
            self._events.clear()
        self._events.append((second, uuid))
        while self._events[0][0] < second - _GAP:
            self._events.popleft()
        return self._events[0][1]
