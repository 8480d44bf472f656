"""Flags set up in one line, for tests of applications."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import EmulatorState, fill_path

from .lookup import FLAGS

__all__ = ["UNSET", "set_flag"]

UNSET: Any = object()


def set_flag(
    state: EmulatorState,
    project_id: int,
    key: str,
    variant: str | None = None,
    *,
    enabled: bool = True,
    payload: Any = UNSET,
    distinct_id: str | None = None,
) -> dict[str, Any]:
    """Make a flag have a value, for everybody or for one person.

    It becomes an ordinary flag with ordinary conditions, so that clients which evaluate on their
    own come to the same value. A person's own condition stands before those for everybody, and
    stays when these are set anew.

    Args:
        state: The emulator's state.
        project_id: The project.
        key: The flag's key.
        variant: The variant; none by default.
        enabled: Whether it is on.
        payload: What goes with the value, whoever gets it; anything JSON.
        distinct_id: Whom it is for; everybody by default.

    Returns:
        The flag as it is kept.

    Raises:
        ValueError: A variant or a payload of a flag that is off.
    """
    if not enabled and (variant is not None or payload is not UNSET):
        raise ValueError(f"flag {key!r} is off: only a flag that is on has a variant or a payload")
    flag = _get_or_create_flag(state, project_id, key)
    filters = as_object(flag.get("filters"))
    personal = [
        one for one in filters.get("groups") or () if _overridden_distinct_id(one) is not None
    ]
    general = [one for one in filters.get("groups") or () if _overridden_distinct_id(one) is None]
    condition = _condition(variant, enabled=enabled, distinct_id=distinct_id)
    if distinct_id is None:
        general = [condition]
    else:
        flag["active"] = True
        personal = [one for one in personal if _overridden_distinct_id(one) != distinct_id]
        personal.insert(0, condition)
    variants: list[dict[str, Any]] = as_object(filters.get("multivariate")).get("variants") or []
    if variant is not None and variant not in [one["key"] for one in variants]:
        # Without a share: only conditions that name it lead to it.
        variants = [*variants, {"key": variant, "name": variant, "rollout_percentage": 0}]
    payloads = dict(as_object(filters.get("payloads")))
    if payload is not UNSET:
        payloads[variant or "true"] = json.dumps(payload, ensure_ascii=False)
    flag["filters"] = {
        **filters,
        "groups": [*personal, *general],
        "multivariate": {"variants": variants} if variants else None,
        "payloads": payloads,
        # Who is left out by a condition of their own is not to get in by the next.
        "early_exit": any(one["rollout_percentage"] == 0 for one in personal),
    }
    if distinct_id is None:
        flag["active"] = enabled or bool(personal)
    flag["version"] = (flag.get("version") or 0) + 1
    return flag


def _get_or_create_flag(state: EmulatorState, project_id: int, key: str) -> dict[str, Any]:
    address = fill_path(FLAGS, [str(project_id)])
    rows: list[StoredObject] = [row for row in state.store.collection(address) if not row.deleted]
    for row in rows:
        if row.data.get("key") == key:
            return row.data
    fields: dict[str, Any] = {
        "key": key,
        "name": key,
        "active": True,
        "version": 0,
        "filters": {"groups": []},
    }
    return state.insert(state.plans.collections[FLAGS], address, fields, project_id).data


def _condition(variant: str | None, *, enabled: bool, distinct_id: str | None) -> dict[str, Any]:
    whom: list[dict[str, Any]] = []
    if distinct_id is not None:
        whom = [
            {"key": "distinct_id", "type": "person", "operator": "exact", "value": [distinct_id]}
        ]
    share = 100 if enabled else 0
    return {"properties": whom, "rollout_percentage": share, "variant": variant}


def _overridden_distinct_id(condition: Mapping[str, Any]) -> str | None:
    """Whom a condition is about, if it is one that `force` has made for a person."""
    tests: list[dict[str, Any]] = condition.get("properties") or []
    if len(tests) != 1 or tests[0].get("key") != "distinct_id":
        return None
    wanted: Any = tests[0].get("value")
    return str(wanted[0]) if is_array(wanted) and len(wanted) == 1 else None
