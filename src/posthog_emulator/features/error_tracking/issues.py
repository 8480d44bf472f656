"""The issues of a project, and the fingerprints that lead from exceptions to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from posthog_emulator.event_store.ingest import Event
from posthog_emulator.objects.store import ObjectCollection, StoredObject
from posthog_emulator.rest.activity import log_activity
from posthog_emulator.state import EmulatorState, fill_path
from posthog_emulator.timestamps import format_utc, from_micros

from .exceptions import ExceptionSummary, summarize

__all__ = [
    "FINGERPRINTS",
    "ISSUES",
    "SCOPE",
    "assign_issue",
    "assign_issues",
    "create_issue",
    "fingerprint_collection",
    "fingerprints_of",
    "issue_collection",
    "merge_issues",
    "split_issue",
]

ISSUES: Final = "/api/projects/{}/error_tracking/issues/"
FINGERPRINTS: Final = "/api/projects/{}/error_tracking/fingerprints/"
SCOPE: Final = "ErrorTrackingIssue"


def issue_collection(state: EmulatorState, project: str) -> ObjectCollection:
    """Return the issues of a project."""
    return state.store.collection(fill_path(ISSUES, [project]))


def fingerprint_collection(state: EmulatorState, project: str) -> ObjectCollection:
    """Return the fingerprints of a project, each with the id of its issue."""
    return state.store.collection(fill_path(FINGERPRINTS, [project]))


def fingerprints_of(state: EmulatorState, project: str, issue_id: str) -> list[StoredObject]:
    """Return the fingerprints of an issue."""
    rows = fingerprint_collection(state, project)
    return [row for row in rows if row.data.get("issue_id") == issue_id]


def assign_issues(state: EmulatorState, project: str, events: Iterable[Event]) -> list[Event]:
    """Add the issue to the properties of each exception, and return the events to store.

    An exception with a new fingerprint makes an issue; one of a resolved issue opens it again;
    those of a suppressed issue are dropped.

    Args:
        state: The emulator's state.
        project: The key of the project.
        events: Captured events; the properties of exceptions are changed.
    """
    return [
        event
        for event in events
        if event.event != "$exception"
        or assign_issue(state, project, event.properties, format_utc(from_micros(event.timestamp)))
    ]


def assign_issue(
    state: EmulatorState, project: str, properties: dict[str, Any], seen_at: str
) -> bool:
    """Add the issue to the properties of an exception; return whether the event is stored.

    Args:
        state: The emulator's state.
        project: The key of the project.
        properties: The properties of the event.
        seen_at: The timestamp of the event.
    """
    if not {ISSUES, FINGERPRINTS} <= state.plans.collections.keys():
        return True
    summary = summarize(properties)
    row = find_issue(state, project, summary.fingerprint)
    if row is None:
        row = create_issue(state, project, summary, seen_at)
    elif row.data.get("status") == "suppressed":
        return False
    elif row.data.get("status") == "resolved":
        change = {"type": SCOPE, "action": "changed", "field": "status"}
        changes = [{**change, "before": "resolved", "after": "active"}]
        row.data["status"] = "active"
        log_activity(state, project, SCOPE, "updated", row.data, changes)
    _see(row, seen_at)
    properties["$exception_fingerprint"] = summary.fingerprint
    properties["$exception_issue_id"] = row.key
    properties["$exception_types"] = summary.types
    properties["$exception_values"] = summary.values
    return True


def _see(row: StoredObject, seen_at: str) -> None:
    first = row.data.get("first_seen")
    # Not compared as texts: a fraction of a second may be missing.
    has_first = isinstance(first, str)
    row.data["first_seen"] = min(first, seen_at, key=_parse) if has_first else seen_at


def _parse(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def find_issue(state: EmulatorState, project: str, fingerprint: str) -> StoredObject | None:
    """Return the issue of a fingerprint; None if there is none yet."""
    record = fingerprint_collection(state, project).find(fingerprint, "fingerprint")
    issues = issue_collection(state, project)
    return None if record is None else issues.rows.get(str(record.data.get("issue_id")))


def create_issue(
    state: EmulatorState, project: str, summary: ExceptionSummary, seen_at: str
) -> StoredObject:
    """Create an issue with a fingerprint."""
    row = _insert_issue(
        state, project, {"name": summary.name, "description": summary.description}, seen_at
    )
    spec = state.plans.collections[FINGERPRINTS]
    path = fill_path(FINGERPRINTS, [project])
    record = fingerprint_collection(state, project).find(summary.fingerprint, "fingerprint")
    if record is not None:
        record.data["issue_id"] = row.key
    else:
        fields = {"fingerprint": summary.fingerprint, "issue_id": row.key}
        state.insert(spec, path, fields, int(project))
    return row


def _insert_issue(
    state: EmulatorState, project: str, fields: Mapping[str, Any], seen_at: Any
) -> StoredObject:
    nothing: dict[str, Any] = dict.fromkeys(("assignee", "cohort", "severity"))
    values = {
        **nothing,
        "status": "active",
        "first_seen": seen_at,
        "external_issues": list[Any](),
        **fields,
    }
    path = fill_path(ISSUES, [project])
    return state.insert(state.plans.collections[ISSUES], path, values, int(project))


def merge_issues(
    state: EmulatorState, project: str, target: StoredObject, others: Iterable[StoredObject]
) -> None:
    """Move the fingerprints of other issues to an issue, and remove the others."""
    for other in others:
        for record in fingerprints_of(state, project, other.key):
            record.data["issue_id"] = target.key
        if isinstance(other.data.get("first_seen"), str):
            _see(target, other.data["first_seen"])
        issue_collection(state, project).remove(other.key)


def split_issue(
    state: EmulatorState, project: str, issue: StoredObject, parts: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Make an issue of each of some fingerprints of an issue, and return the ids of the new ones.

    Args:
        state: The emulator's state.
        project: The key of the project.
        issue: The issue.
        parts: For each new issue its `fingerprint`, and optionally `name` and `description`.
    """
    new_ids: list[str] = []
    own = {str(row.data["fingerprint"]): row for row in fingerprints_of(state, project, issue.key)}
    for part in parts:
        record = own.get(str(part.get("fingerprint")))
        if record is None:
            continue
        fields = {name: part.get(name) or issue.data.get(name) for name in ("name", "description")}
        row = _insert_issue(state, project, fields, issue.data.get("first_seen"))
        record.data["issue_id"] = row.key
        new_ids.append(row.key)
    return new_ids
