"""What a client needs to evaluate flags on its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from asyncposthog.emulator.flags.project import cohorts_of, flags_of, group_types
from asyncposthog.emulator.guards import as_object, is_object
from asyncposthog.emulator.state.world import World
from asyncposthog.emulator.web.messages import Answer, Request

__all__ = ["definitions", "definitions_answer"]

_SHOWN = (
    "id", "name", "key", "filters", "deleted", "active", "ensure_experience_continuity",
    "has_encrypted_payloads", "version", "evaluation_runtime", "bucketing_identifier",
)  # fmt: skip


def definitions(world: World, project_id: int, *, cohorts: bool) -> dict[str, Any]:
    """Every flag of a project, its group types, and the filters of its cohorts.

    Args:
        world: The emulator's state.
        project_id: The project.
        cohorts: Whether to add the cohorts.
    """
    flags = flags_of(world, project_id)
    keys = {str(flag.get("id")): str(flag["key"]) for flag in flags}
    needs = {str(flag["key"]): _needs(flag, keys) for flag in flags}
    return {
        "flags": [_shown(flag, keys, needs, project_id) for flag in flags],
        "group_type_mapping": {
            str(index): name for index, name in sorted(group_types(world, project_id).items())
        },
        "cohorts": _rules(world, project_id) if cohorts else {},
    }


def definitions_answer(request: Request, body: Mapping[str, Any]) -> Answer:
    """Answer with definitions, or with nothing where the client has them already."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = [("ETag", tag), ("Cache-Control", "private, must-revalidate")]
    held = {mark.strip() for mark in request.headers.get("if-none-match", "").split(",")}
    if held & {tag, tag.removeprefix("W/"), "*"}:
        return Answer(304, headers=headers)
    return Answer(200, content, headers=headers)


def _shown(
    flag: Mapping[str, Any], keys: Mapping[str, str], needs: Mapping[str, list[str]], team: int
) -> dict[str, Any]:
    shown = {name: flag.get(name) for name in _SHOWN}
    filters = as_object(json.loads(json.dumps(flag.get("filters") or {})))
    for condition in filters.get("groups") or ():
        for test in as_object(condition).get("properties") or ():
            if as_object(test).get("type") == "flag":
                test["key"] = keys.get(str(test.get("key")), str(test.get("key")))
                test["dependency_chain"] = _chain(test["key"], needs)
    return {
        **shown,
        "filters": filters,
        "deleted": bool(flag.get("deleted")),
        "active": bool(flag.get("active", True)),
        "team_id": team,
        "evaluation_contexts": flag.get("evaluation_contexts") or [],
    }


def _needs(flag: Mapping[str, Any], keys: Mapping[str, str]) -> list[str]:
    """The keys of the flags a flag depends on."""
    return [
        keys.get(str(test.get("key")), str(test.get("key")))
        for condition in as_object(flag.get("filters")).get("groups") or ()
        for test in as_object(condition).get("properties") or ()
        if as_object(test).get("type") == "flag"
    ]


def _chain(key: str, needs: Mapping[str, list[str]]) -> list[str]:
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


def _rules(world: World, project_id: int) -> dict[str, Any]:
    """The filters of the cohorts that filters make; nobody can evaluate the others."""
    rules: dict[str, Any] = {}
    for key, cohort in cohorts_of(world, project_id).items():
        rule = as_object(cohort.get("filters")).get("properties")
        if not cohort.get("is_static") and is_object(rule):
            rules[key] = rule
    return rules
