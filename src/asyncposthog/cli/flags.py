"""`flags evaluate`: print the values of feature flags for a person, and why they have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import exit_codes
from .error_messages import UsageError
from .output import Format, resolve_format
from .session import session
from .terminal import print_status, table, to_text, write

if TYPE_CHECKING:
    from asyncposthog import AsyncPostHog
    from asyncposthog.flags.snapshot import FlagSnapshot

__all__ = ["EvaluateOptions", "run_evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """Options of the command."""

    user: str
    keys: Sequence[str] = ()
    groups: Sequence[str] = ()
    properties: Sequence[str] = ()
    group_properties: Sequence[str] = ()
    local: bool = False
    format: Format = "auto"


async def run_evaluate(options: EvaluateOptions) -> int:
    """Print the values; return the exit status: an error if some values are not known."""
    if not options.user:
        raise UsageError("USER is empty.", "Pass the distinct id of a person.")
    groups = _pairs("--group", options.groups)
    properties = _parsed(_pairs("--property", options.properties))
    group_properties = _group_properties(options.group_properties, groups)
    async with session.make_client() as client:
        ph = await _with_token(client)
        async with ph.flags.local(required=True) if options.local else nullcontext():
            snapshot = await ph.flags.evaluate(
                options.user,
                groups=groups,
                person_properties=properties,
                group_properties=group_properties,
                keys=list(options.keys) or None,
            )
    keys = list(options.keys) or sorted({*snapshot.results, *snapshot.unavailable})
    _write([_row(snapshot, key) for key in keys], options.format)
    if snapshot.quota_limited:
        print_status("The project's quota of flag requests is exhausted: no value is known.")
    elif snapshot.partial:
        print_status("The server returned a partial result: some values are not known.")
    return exit_codes.ERROR if snapshot.partial else exit_codes.OK


async def _with_token(client: AsyncPostHog) -> AsyncPostHog:
    """Return the client with the project's token, which is looked up if it has none."""
    if client.settings.project_api_key is not None:
        return client
    project_id = client.settings.project_id
    project = await (
        client.projects.current() if project_id is None else client.projects.get(project_id)
    )
    return client.with_options(project_api_key=project.api_token)


def _row(snapshot: FlagSnapshot, key: str) -> dict[str, Any]:
    reason = snapshot.reason(key)
    result = snapshot.results.get(key)
    decided = result is not None or reason.code == "flag_missing"
    return {
        "key": key,
        "value": (False if result is None else result.value) if decided else None,
        "reason": reason.code,
        "description": reason.description,
        "payload": None if result is None else result.payload,
        "local": result is not None and result.local,
    }


def _write(rows: list[dict[str, Any]], format: Format) -> None:
    output_format = resolve_format(format, "json")
    if output_format == "table":
        if not rows:
            print_status("The project has no flags.")
            return
        names = ["key", "value", "reason", "description", "payload"]
        table(names, ([row[name] for name in names] for row in rows), wrap=False)
    elif output_format == "jsonl":
        for row in rows:
            write(to_text(row) + "\n")
    else:
        write(to_text(rows, indent=2) + "\n")


def _pairs(option: str, arguments: Sequence[str]) -> dict[str, str]:
    """Parse arguments of the form `name=value`."""
    pairs: dict[str, str] = {}
    for text in arguments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} takes NAME=VALUE, not {text!r}.")
        if name in pairs:
            raise UsageError(f"{option} has {name} twice.")
        pairs[name] = value
    return pairs


def _parsed(pairs: dict[str, str]) -> dict[str, Any]:
    """Parse values as JSON; what is no JSON is text."""
    values: dict[str, Any] = {}
    for name, text in pairs.items():
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def _group_properties(
    arguments: Sequence[str], groups: dict[str, str]
) -> dict[str, dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = {}
    for name, value in _parsed(_pairs("--group-property", arguments)).items():
        group_type, dot, property_name = name.partition(".")
        if not dot or not property_name:
            raise UsageError(f"--group-property takes TYPE.NAME=VALUE, not {name!r}.")
        if group_type not in groups:
            raise UsageError(
                f"--group-property is about {group_type}, and there is no such --group.",
                f"Add --group {group_type}=KEY.",
            )
        properties.setdefault(group_type, {})[property_name] = value
    return properties
