"""Response bodies with evaluated flags, in every version, and with flag definitions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from posthog_emulator.features.cohorts.stored_cohorts import is_dynamic, live_cohorts
from posthog_emulator.http.messages import Request, Response
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.state import EmulatorState

from .evaluator import Evaluation
from .links import TARGETING_PREFIX
from .lookup import group_types, project_flags

__all__ = [
    "EvaluatedFlags",
    "conditional_response",
    "flag_definitions",
    "flags_body",
    "payload_for",
]

EvaluatedFlags = Mapping[str, tuple[Mapping[str, Any], Evaluation]]
"""Flags and their evaluations, by key."""


def flags_body(
    evaluated: EvaluatedFlags, version: int, *, decide: bool, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the response body for evaluated flags, without request id and time.

    Args:
        evaluated: The flags.
        version: The query parameter `v`.
        decide: Whether the path is `/decide`, whose versions differ from those of `/flags`.
        config: Settings of the project to add, if any.
    """
    failed = any(evaluation.failed for _, evaluation in evaluated.values())
    # Forms from 1 on are those of `/flags`; `/decide` has three older ones, here -3 to -1, and
    # its version 4 is form 2.
    form = version if not decide else {4: 2}.get(version, min(version, 3) - 4)
    flags: dict[str, Any]
    if form >= 3:
        flags = {"flags": {key: _flag_v3(*item) for key, item in evaluated.items()}}
    elif form == 2:
        flags = {"flags": {key: _flag_v2(*item) for key, item in evaluated.items()}}
    else:
        flags = _legacy_flags(evaluated, form)
    return {**config, "errorsWhileComputingFlags": failed, **flags}


def _legacy_flags(evaluated: EvaluatedFlags, form: int) -> dict[str, Any]:
    """Return a legacy body: -3 a list of keys, -2 a map of enabled flags, else a map of all."""
    values = {key: evaluation.value for key, (_, evaluation) in evaluated.items()}
    enabled = {key: value for key, value in values.items() if value is not False}
    if form == -3:
        return {"featureFlags": list(enabled)}
    if form == -2:
        return {"featureFlags": enabled}
    payloads = {key: payload_for(*item) for key, item in evaluated.items()}
    return {
        "featureFlags": values,
        "featureFlagPayloads": {k: text for k, text in payloads.items() if text is not None},
    }


def payload_for(flag: Mapping[str, Any], evaluation: Evaluation) -> Any:
    """Return the payload of a value, as the JSON text that was stored; None if there is none."""
    if not evaluation.enabled:
        return None
    payloads = as_object(as_object(flag.get("filters")).get("payloads"))
    return payloads.get(evaluation.variant or "true")


def _flag_details(flag: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    record: dict[str, Any] = {
        "key": flag["key"],
        "reason": {
            "code": evaluation.reason,
            "condition_index": evaluation.condition_index,
            "description": evaluation.description,
        },
        "metadata": {
            "id": flag.get("id"),
            "version": flag.get("version") or 0,
            "description": None,
            "payload": payload_for(flag, evaluation),
            "has_experiment": bool(flag.get("experiment_set")),
        },
    }
    if evaluation.failed:
        record["failed"] = True
    return record


def _flag_v2(flag: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    about = {"enabled": evaluation.enabled, "variant": evaluation.variant}
    return {**_flag_details(flag, evaluation), **about}


def _flag_v3(flag: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    record = _flag_details(flag, evaluation)
    record["value"] = None if evaluation.failed else evaluation.value
    record["metadata"] |= {
        "config_version": 1,
        "rule_type": None,
        "rule_id": None,
        "variant_key": evaluation.variant,
    }
    return record


_DEFINITION_FIELDS = (
    "id", "name", "key", "filters", "deleted", "active", "ensure_experience_continuity",
    "has_encrypted_payloads", "version", "evaluation_runtime", "bucketing_identifier",
)  # fmt: skip


def flag_definitions(state: EmulatorState, project_id: int, *, cohorts: bool) -> dict[str, Any]:
    """Return all flags of a project, its group types and, on request, its cohorts' filters.

    Args:
        state: The emulator's state.
        project_id: The project.
        cohorts: Whether to include the cohorts.
    """
    flags = [
        flag
        for flag in project_flags(state, project_id)
        # Local evaluation is for servers, and these flags are only for showing surveys.
        if not str(flag["key"]).startswith(TARGETING_PREFIX)
    ]
    keys = {str(flag.get("id")): str(flag["key"]) for flag in flags}
    needs = {str(flag["key"]): _dependencies(flag, keys) for flag in flags}
    return {
        "flags": [_definition(flag, keys, needs, project_id) for flag in flags],
        "group_type_mapping": {
            str(index): name for index, name in sorted(group_types(state, project_id).items())
        },
        "cohorts": _cohort_filters(state, project_id) if cohorts else {},
    }


def conditional_response(request: Request, body: Mapping[str, Any]) -> Response:
    """Respond with definitions, or with 304 if the client's `If-None-Match` is current."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = [("ETag", tag), ("Cache-Control", "private, must-revalidate")]
    client_tags = {
        tag_text.strip() for tag_text in request.headers.get("if-none-match", "").split(",")
    }
    # If-None-Match is a weak comparison (RFC 9110): with or without the prefix `W/`.
    if client_tags & {tag, tag.removeprefix("W/"), "*"}:
        return Response(304, headers=headers)
    return Response(200, content, headers=headers)


def _definition(
    flag: Mapping[str, Any], keys: Mapping[str, str], needs: Mapping[str, list[str]], team: int
) -> dict[str, Any]:
    definition = {name: flag.get(name) for name in _DEFINITION_FIELDS}
    filters = as_object(json.loads(json.dumps(flag.get("filters") or {})))
    for condition in filters.get("groups") or ():
        for test in as_object(condition).get("properties") or ():
            if as_object(test).get("type") == "flag":
                # Stored by id. SDKs know flags by key, and need the order of evaluation.
                test["key"] = keys.get(str(test.get("key")), str(test.get("key")))
                test["dependency_chain"] = _dependency_chain(test["key"], needs)
    return {
        **definition,
        "filters": filters,
        "deleted": bool(flag.get("deleted")),
        "active": bool(flag.get("active", True)),
        "team_id": team,
        "evaluation_contexts": flag.get("evaluation_contexts") or [],
    }


def _dependencies(flag: Mapping[str, Any], keys: Mapping[str, str]) -> list[str]:
    """Return the keys of the flags that a flag depends on."""
    return [
        keys.get(str(test.get("key")), str(test.get("key")))
        for condition in as_object(flag.get("filters")).get("groups") or ()
        for test in as_object(condition).get("properties") or ()
        if as_object(test).get("type") == "flag"
    ]


def _dependency_chain(key: str, needs: Mapping[str, list[str]]) -> list[str]:
    """Return the flags to evaluate for a flag, itself last; empty if they form a circle."""
    chain: list[str] = []
    above: list[str] = []

    def visit(current: str) -> bool:
        if current in above:
            return False
        if current in chain:
            return True
        above.append(current)
        sound = all(visit(other) for other in needs.get(current, ()))
        above.pop()
        chain.append(current)
        return sound

    return chain if visit(key) else []


def _cohort_filters(state: EmulatorState, project_id: int) -> dict[str, Any]:
    """Return the filters of dynamic cohorts; clients cannot evaluate other cohorts."""
    filters: dict[str, Any] = {}
    for row in live_cohorts(state, str(project_id)):
        properties = as_object(row.data.get("filters")).get("properties")
        if is_dynamic(row) and is_object(properties):
            filters[str(row.data["id"])] = properties
    return filters
