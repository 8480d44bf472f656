"""What PostHog checks beside storing a cohort when it changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import is_array, is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import Change, EmulatorState, Lifecycle, fill_path

from .stored_cohorts import cohorts_collection, live_cohorts

__all__ = ["LIFECYCLE", "cohort_uses", "flags_with_cohort", "referenced_cohorts"]

_FLAGS: Final = "/api/projects/{}/feature_flags/"


def referenced_cohorts(value: Any) -> Iterator[str]:
    """Yield the ids of the cohorts in filters of any shape."""
    if is_object(value):
        if value.get("type") == "cohort":
            # Filters of cohorts have the id in `value`; `key` is only the word `id`.
            yield str(value.get("value"))
        for inner in value.values():
            yield from referenced_cohorts(inner)
    elif is_array(value):
        for inner in value:
            yield from referenced_cohorts(inner)


def flags_with_cohort(state: EmulatorState, project: str, cohort_id: str) -> list[StoredObject]:
    """Return the live flags whose conditions name a cohort."""
    flags = state.store.collections.get(fill_path(_FLAGS, [project]), ())
    return [
        row
        for row in flags
        if not row.deleted and cohort_id in referenced_cohorts(row.data.get("filters"))
    ]


def _check(change: Change) -> None:
    row, sent = change.row, change.sent
    if row is None:
        return
    if sent.get("deleted") is True and not row.deleted:
        flags = flags_with_cohort(change.state, change.project, row.key)
        names = [
            str(flag.data.get("name") or flag.data.get("key"))
            for flag in flags
            if flag.data.get("active")
        ]
        if names:
            raise invalid(
                f"This cohort is used in {len(names)} active feature flag(s): "
                f"{', '.join(names)}. Please remove the cohort from these feature flags before "
                "deleting it."
            )
    if sent.keys() & {"filters", "groups"} and _makes_loop(change, row.key):
        raise invalid("Cohorts cannot reference other cohorts in a loop.")


def _makes_loop(change: Change, changed: str) -> bool:
    rows = cohorts_collection(change.state, change.project).rows
    sent: Mapping[str, Any] = change.sent

    def references(key: str) -> set[str]:
        data: Mapping[str, Any] = rows[key].data if key in rows else {}
        current: Mapping[str, Any] = sent if key == changed else {}
        return {
            cohort_id
            for name in ("filters", "groups")
            for cohort_id in referenced_cohorts(current.get(name, data.get(name)))
        }

    waiting, seen = references(changed), set[str]()
    while waiting:
        key = waiting.pop()
        if key == changed:
            return True
        if key not in seen:
            seen.add(key)
            waiting |= references(key)
    return False


def cohort_uses(state: EmulatorState, project: str, cohort_id: str) -> dict[str, Any]:
    """Return the flags, insights and cohorts that name a cohort, as `used_in` lists them."""
    insights = state.store.collections.get(f"/api/projects/{project}/insights/", ())
    used: Mapping[str, list[dict[str, Any]]] = {
        "feature_flags": [
            {name: row.data.get(name) for name in ("id", "key", "name")}
            for row in flags_with_cohort(state, project, cohort_id)
        ],
        "insights": [
            {
                "id": row.data["id"],
                "short_id": row.data["short_id"],
                "name": row.data.get("name") or row.data.get("derived_name") or "",
            }
            for row in insights
            if not row.deleted and cohort_id in referenced_cohorts(row.data.get("query"))
        ],
        "cohorts": [
            {"id": row.data["id"], "name": row.data.get("name") or ""}
            for row in live_cohorts(state, project)
            if cohort_id in referenced_cohorts([row.data.get("filters"), row.data.get("groups")])
        ],
    }
    return {
        name: {"results": rows, "total": len(rows), "has_more": False}
        for name, rows in used.items()
    }


LIFECYCLE = Lifecycle("Cohort", _check)
"""The lifecycle of cohorts."""
