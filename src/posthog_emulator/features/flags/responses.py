"""Evaluated flags in each of the forms that clients ask for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from posthog_emulator.http.messages import Request, Response
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.state import EmulatorState

from .evaluator import Evaluation
from .lookup import cohorts_by_id, group_types, project_flags

__all__ = [
    "EvaluatedFlags",
    "conditional_response",
    "flag_definitions",
    "flags_body",
    "payload_for",
]

EvaluatedFlags = Mapping[str, tuple[Mapping[str, Any], Evaluation]]
"""Flags and what they came to, by key."""

_PROJECT_CONFIG: Mapping[str, Any] = {
    "supportedCompression": ["gzip", "gzip-js"],
    "sessionRecording": False,
    "capturePerformance": False,
    "autocapture_opt_out": False,
    "surveys": False,
    "toolbarParams": {},
    "isAuthenticated": False,
    "siteApps": [],
    "defaultIdentifiedOnly": True,
}
"""What `config=true` adds: the settings of a project that has turned nothing on."""


def flags_body(
    evaluated: EvaluatedFlags, version: int, *, decide: bool, config: bool
) -> dict[str, Any]:
    """What is answered, but for the id and the time.

    Args:
        evaluated: The flags.
        version: The form asked for by `v`.
        decide: Whether it was asked at `/decide`, whose numbers mean other forms.
        config: Whether to add the project's settings.
    """
    failed = any(evaluation.failed for _, evaluation in evaluated.values())
    form = version if not decide else {4: 2}.get(version, min(version, 3) - 4)
    shown: dict[str, Any]
    if form >= 3:
        shown = {"flags": {key: _flag_v3(*one) for key, one in evaluated.items()}}
    elif form == 2:
        shown = {"flags": {key: _flag_v2(*one) for key, one in evaluated.items()}}
    else:
        shown = _legacy_flags(evaluated, form)
    return {**(_PROJECT_CONFIG if config else {}), "errorsWhileComputingFlags": failed, **shown}


def _legacy_flags(evaluated: EvaluatedFlags, form: int) -> dict[str, Any]:
    """The forms of old: -3 a list of keys, -2 a map of what is on, else a map of all."""
    values = {key: evaluation.value for key, (_, evaluation) in evaluated.items()}
    on = {key: value for key, value in values.items() if value is not False}
    if form == -3:
        return {"featureFlags": list(on)}
    if form == -2:
        return {"featureFlags": on}
    payloads = {key: payload_for(*one) for key, one in evaluated.items()}
    return {
        "featureFlags": values,
        "featureFlagPayloads": {k: text for k, text in payloads.items() if text is not None},
    }


def payload_for(flag: Mapping[str, Any], evaluation: Evaluation) -> Any:
    """The payload that goes with a value: JSON text as it was stored."""
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
    """Every flag of a project, its group types, and the filters of its cohorts.

    Args:
        state: The emulator's state.
        project_id: The project.
        cohorts: Whether to add the cohorts.
    """
    flags = project_flags(state, project_id)
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
    """Answer with definitions, or with nothing where the client has them already."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = [("ETag", tag), ("Cache-Control", "private, must-revalidate")]
    held = {mark.strip() for mark in request.headers.get("if-none-match", "").split(",")}
    if held & {tag, tag.removeprefix("W/"), "*"}:
        return Response(304, headers=headers)
    return Response(200, content, headers=headers)


def _definition(
    flag: Mapping[str, Any], keys: Mapping[str, str], needs: Mapping[str, list[str]], team: int
) -> dict[str, Any]:
    shown = {name: flag.get(name) for name in _DEFINITION_FIELDS}
    filters = as_object(json.loads(json.dumps(flag.get("filters") or {})))
    for condition in filters.get("groups") or ():
        for test in as_object(condition).get("properties") or ():
            if as_object(test).get("type") == "flag":
                test["key"] = keys.get(str(test.get("key")), str(test.get("key")))
                test["dependency_chain"] = _dependency_chain(test["key"], needs)
    return {
        **shown,
        "filters": filters,
        "deleted": bool(flag.get("deleted")),
        "active": bool(flag.get("active", True)),
        "team_id": team,
        "evaluation_contexts": flag.get("evaluation_contexts") or [],
    }


def _dependencies(flag: Mapping[str, Any], keys: Mapping[str, str]) -> list[str]:
    """The keys of the flags a flag depends on."""
    return [
        keys.get(str(test.get("key")), str(test.get("key")))
        for condition in as_object(flag.get("filters")).get("groups") or ()
        for test in as_object(condition).get("properties") or ()
        if as_object(test).get("type") == "flag"
    ]


def _dependency_chain(key: str, needs: Mapping[str, list[str]]) -> list[str]:
    """The flags to evaluate for one, itself the last; empty where they go in circles."""
    chain: list[str] = []
    above: list[str] = []

    def visit(one: str) -> bool:
        if one in above:
            return False
        if one in chain:
            return True
        above.append(one)
        sound = all(visit(other) for other in needs.get(one, ()))
        above.pop()
        chain.append(one)
        return sound

    return chain if visit(key) else []


def _cohort_filters(state: EmulatorState, project_id: int) -> dict[str, Any]:
    """The filters of the cohorts that filters make; nobody can evaluate the others."""
    rules: dict[str, Any] = {}
    for key, cohort in cohorts_by_id(state, project_id).items():
        rule = as_object(cohort.get("filters")).get("properties")
        if not cohort.get("is_static") and is_object(rule):
            rules[key] = rule
    return rules
