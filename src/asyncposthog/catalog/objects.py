"""The resources of the registry as objects: names, fields, operations, and paths. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from asyncposthog import registry
from asyncposthog.operation import Operation

from .arguments import close_names
from .schema import arguments, enum_of, resolve, result_schema, types_of

__all__ = [
    "canonical",
    "fields",
    "find_read",
    "methods_of",
    "near_objects",
    "object_names",
    "operation_of",
]

_ALIASES: Final = {
    "error_tracking": "error_tracking.issues",
    "replays": "session_recordings",
    "flags": "feature_flags",
}
"""Objects that other drivers name differently, or that stand for a nested resource."""
_TABLES: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "events": {
        "uuid": ("string", "Unique identifier of the event."),
        "event": ("string", "Event name."),
        "timestamp": ("datetime", "When the event occurred."),
        "distinct_id": ("string", "Identifier of the user."),
        "person_id": ("string", "UUID of the person."),
        "properties": ("object", "Properties of the event."),
        "elements_chain": ("string", "The clicked element and its parents, for autocapture."),
        "created_at": ("datetime", "When PostHog received the event."),
        "$session_id": ("string", "The session of the event."),
    },
    "sessions": {
        "session_id": ("string", "Unique identifier of the session."),
        "distinct_id": ("string", "Identifier of the user."),
        "$start_timestamp": ("datetime", "Time of the first event."),
        "$end_timestamp": ("datetime", "Time of the last event."),
        "$session_duration": ("integer", "Seconds between the first and the last event."),
        "$entry_current_url": ("string", "URL of the first page."),
        "$end_current_url": ("string", "URL of the last page."),
        "$pageview_count": ("integer", "Number of page views."),
        "$autocapture_count": ("integer", "Number of autocaptured events."),
        "$is_bounce": ("boolean", "Whether it has one page view and no other activity."),
        "$channel_type": ("string", "Where the visit came from."),
    },
}
"""Columns of the tables of HogQL that no operation describes."""
_COMMON_TEXTS: Final = {
    "archived": "Whether it is archived.",
    "created_at": "When it was created.",
    "created_by": "Who created it.",
    "deleted": "Whether it is deleted.",
    "description": "What it is for.",
    "id": "Identifier.",
    "name": "Name.",
    "tags": "Tags.",
    "updated_at": "When it was last changed.",
}
_PROJECT: Final = re.compile(r"^(?:api/)?(?:projects|environments)/[^/]+/")


@cache
def _by_resource() -> dict[str, dict[str, Operation]]:
    operations: dict[str, dict[str, Operation]] = {}
    for operation in registry.operations():
        operations.setdefault(operation.resource, {})[operation.name] = operation
    return operations


@cache
def object_names() -> tuple[str, ...]:
    """Return the names of all objects, sorted."""
    names: set[str] = set()
    for resource in _by_resource():
        parts = resource.split(".")
        names.update(".".join(parts[: end + 1]) for end in range(len(parts)))
    return tuple(sorted(names))


def canonical(name: str) -> str | None:
    """Return the resource that an object's name means; None if there is none."""
    path = name.strip().strip("/").replace("/", ".").replace("-", "_").lower()
    resources = _by_resource()
    if path in resources and "list" in resources[path]:
        return path
    path = _ALIASES.get(path, path)
    return path if path in resources or path in object_names() else None


def near_objects(name: str) -> list[str]:
    """Return the names of objects that are close to a name."""
    return close_names(name.strip("/").replace("/", ".").replace("-", "_"), object_names(), 5)


def operation_of(name: str, method: str) -> Operation | None:
    """Return an operation of an object: `list`, `get`, `create`, `update` or `delete`."""
    return _by_resource().get(canonical(name) or "", {}).get(method)


def methods_of(name: str) -> list[str]:
    """Return the names of an object's methods."""
    return sorted(_by_resource().get(canonical(name) or "", {}))


def fields(name: str) -> dict[str, dict[str, Any]]:
    """Return the fields of an object: type, required, read_only, and what they mean."""
    resource = canonical(name) or name
    described: dict[str, dict[str, Any]] = {
        column: {"type": kind, "required": False, "read_only": True, "description": text}
        for column, (kind, text) in _TABLES.get(resource, {}).items()
    }
    operations = _by_resource().get(resource, {})
    create = operations.get("create")
    required: set[str] = set()
    if create is not None:
        required = {a.wire_name for a in arguments(create).values() if a.required}
    writable: set[str] = set()
    for method in ("create", "update"):
        if method in operations:
            taken = arguments(operations[method]).values()
            writable |= {a.wire_name for a in taken if a.location == "field"}
    texts = registry.docs()["fields"]
    for method in ("get", "list", "create"):
        operation = operations.get(method)
        if operation is None:
            continue
        schema = result_schema(operation)
        descriptions = _field_texts(operation, texts)
        for field, inner in schema.get("properties", {}).items():
            if field in described:
                continue
            described[field] = {
                "type": _kind(inner),
                "required": field in required,
                "read_only": field not in writable,
                "description": descriptions.get(field) or _COMMON_TEXTS.get(field, ""),
            }
            values = enum_of(inner)
            if values:
                described[field]["enum"] = [value for value in values if value not in (None, "")]
    if create is not None:
        for argument in arguments(create).values():
            if argument.location == "field" and argument.wire_name not in described:
                described[argument.wire_name] = {
                    "type": _kind(argument.schema),
                    "required": argument.required,
                    "read_only": False,
                    "description": argument.text,
                }
    return described


def _field_texts(operation: Operation, texts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    descriptions: dict[str, str] = {}
    for component in (operation.result.schema, operation.body.schema if operation.body else None):
        descriptions |= dict(texts.get(component or "", {}))
    schema = resolve({"$ref": operation.result.schema} if operation.result.schema else {})
    if operation.pagination is not None and operation.pagination.items is not None:
        schema = resolve(schema.get("properties", {}).get(operation.pagination.items))
    reference = schema.get("items", {}).get("$ref") if schema.get("type") == "array" else None
    if isinstance(reference, str):
        descriptions |= dict(texts.get(reference.rpartition("/")[2], {}))
    return descriptions


def _kind(schema: object) -> str:
    """Return the type of a field: `string`, `datetime`, `integer`, `object`, …; `any`: unknown."""
    resolved = resolve(schema)
    formats = {resolved.get("format")}
    for keyword in ("anyOf", "oneOf"):
        formats |= {resolve(branch).get("format") for branch in resolved.get(keyword, ())}
    if "date-time" in formats:
        return "datetime"
    types = sorted(types_of(resolved) - {"null"})
    return types[0] if len(types) == 1 else "any"


def find_read(path: str) -> tuple[Operation, dict[str, str]] | None:
    """Return the GET operation of a path, and the values of its placeholders; None: there is none.

    Args:
        path: A path such as `/dashboards`, `/dashboards/5`, `/api/projects/1/dashboards/` or
            `error_tracking.issues`.
    """
    bare = _PROJECT.sub("", path.strip().partition("?")[0].strip("/")).removeprefix("api/")
    segments = tuple(segment for segment in bare.split("/") if segment)
    best: tuple[int, Operation, dict[str, str]] | None = None
    for template, operation in _read_paths().get(len(segments), ()):
        values: dict[str, str] = {}
        literal = 0
        for pattern, segment in zip(template, segments, strict=True):
            if pattern.startswith("{"):
                values[pattern[1:-1]] = segment
            elif pattern == segment.replace("-", "_") or pattern == segment:
                literal += 1
            else:
                break
        else:
            if best is None or literal > best[0]:
                best = literal, operation, values
    if best is not None:
        return best[1], best[2]
    operation = operation_of(bare, "list")
    return None if operation is None else (operation, {})


@cache
def _read_paths() -> dict[int, list[tuple[tuple[str, ...], Operation]]]:
    paths: dict[int, list[tuple[tuple[str, ...], Operation]]] = {}
    for operation in registry.operations():
        if operation.method == "GET" and operation.result.kind in {"json", "model"}:
            bare = _PROJECT.sub("", operation.path.strip("/")).removeprefix("api/")
            names = {p.name: p.python_name for p in operation.path_parameters}
            template = tuple(
                f"{{{names.get(s[1:-1], s[1:-1])}}}" if s.startswith("{") else s
                for s in bare.split("/")
            )
            if "{organization_id}" in template:
                continue
            paths.setdefault(len(template), []).append((template, operation))
    return paths
