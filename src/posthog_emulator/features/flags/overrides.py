"""Set the value of a flag in one call, for tests of applications."""

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
    """Set the value of a flag, for all persons or for one.

    It becomes an ordinary flag with ordinary conditions, so that clients with local evaluation
    get the same value. A condition for one person comes before the general one and remains when
    the general one is set again.

    Args:
        state: The emulator's state.
        project_id: The project.
        key: The flag's key; the flag is created if it does not exist.
        variant: The key of the variant; none by default.
        enabled: Whether the flag is on.
        payload: The JSON payload of the value, for everyone who gets that value.
        distinct_id: The person to set it for; all by default.

    Returns:
        The stored flag.

    Raises:
        ValueError: A variant or a payload was given for a flag that is off.
    """
    if not enabled and (variant is not None or payload is not UNSET):
        raise ValueError(f"flag {key!r} is off: only a flag that is on has a variant or a payload")
    flag = _get_or_create_flag(state, project_id, key)
    filters = as_object(flag.get("filters"))
    personal = [
        item for item in filters.get("groups") or () if _overridden_distinct_id(item) is not None
    ]
    general = [
        item for item in filters.get("groups") or () if _overridden_distinct_id(item) is None
    ]
    condition = _condition(variant, enabled=enabled, distinct_id=distinct_id)
    if distinct_id is None:
        general = [condition]
    else:
        flag["active"] = True
        personal = [item for item in personal if _overridden_distinct_id(item) != distinct_id]
        personal.insert(0, condition)
    variants: list[dict[str, Any]] = as_object(filters.get("multivariate")).get("variants") or []
    if variant is not None and variant not in [item["key"] for item in variants]:
        # A share of 0 %: only conditions that name the variant return it.
        variants = [*variants, {"key": variant, "name": variant, "rollout_percentage": 0}]
    payloads = dict(as_object(filters.get("payloads")))
    if payload is not UNSET:
        payloads[variant or "true"] = json.dumps(payload, ensure_ascii=False)
    flag["filters"] = {
        **filters,
        "groups": [*personal, *general],
        "multivariate": {"variants": variants} if variants else None,
        "payloads": payloads,
        # A person for whom the flag is set to off must not match the general condition.
        "early_exit": any(item["rollout_percentage"] == 0 for item in personal),
    }
    if distinct_id is None:
        flag["active"] = enabled or bool(personal)
    # Clients with local evaluation notice a change by the version.
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
    """Return the distinct id of a condition that `set_flag` made for one person, else None."""
    tests: list[dict[str, Any]] = condition.get("properties") or []
    if len(tests) != 1 or tests[0].get("key") != "distinct_id":
        return None
    value: Any = tests[0].get("value")
    return str(value[0]) if is_array(value) and len(value) == 1 else None
