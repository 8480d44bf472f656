"""Normalise paths, operations and security requirements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from codegen.json_access import (
    ResolvedObject,
    as_mapping,
    as_sequence,
    as_text,
    follow_reference,
    join_pointer,
    unique,
)

from .keywords import Schema
from .media import body, responses
from .parameters import parameters
from .schemas import SchemaNormaliser
from .walk import METHODS

__all__ = ["paths"]

_PERSONAL_API_KEY: Final = "PersonalAPIKeyAuth"
"""The security scheme of personal API keys, the only one the client uses."""
_ITEM_KEYS: Final = frozenset({"$ref", "description", "parameters", "servers", "summary"})


def paths(document: Mapping[str, Any], normaliser: SchemaNormaliser, *, keep_prose: bool) -> Schema:
    """Return the paths of a document with normalised operations."""
    built: Schema = {}
    operation_ids: dict[str, str] = {}
    for path, value in sorted(as_mapping(document.get("paths", {}), "/paths").items()):
        item, pointer = follow_reference(document, value, join_pointer("/paths", path))
        operations: Schema = {}
        for key in sorted(item.keys() - _ITEM_KEYS):
            where = join_pointer(pointer, key)
            if key in METHODS:
                operations[key] = _operation(document, item, path, where, normaliser, keep_prose)
                _report_duplicate_id(operations[key], operation_ids, where, normaliser)
            elif key[:2] != "x-":
                normaliser.report(where, f"no method is generated for {key.upper()}; it is dropped")
        built[path] = operations
    return built


def _report_duplicate_id(
    operation: Schema, operation_ids: dict[str, str], pointer: str, normaliser: SchemaNormaliser
) -> None:
    """Report an operation id that another operation has."""
    name = operation.get("operationId")
    if name in operation_ids:
        normaliser.report(
            pointer, f"the operation id {name!r} is used before, at {operation_ids[name]}"
        )
    elif name is not None:
        operation_ids[name] = pointer


def _operation(
    document: Mapping[str, Any],
    item: Mapping[str, Any],
    path: str,
    pointer: str,
    normaliser: SchemaNormaliser,
    keep_prose: bool,
) -> Schema:
    raw = as_mapping(item[pointer.rpartition("/")[2]], pointer)
    built: Schema = {}
    if raw.get("operationId") is not None:
        built["operationId"] = as_text(raw["operationId"], join_pointer(pointer, "operationId"))
    if raw.get("tags"):
        built["tags"] = unique(as_sequence(raw["tags"], join_pointer(pointer, "tags")))
    if raw.get("deprecated") is True:
        built["deprecated"] = True
    if keep_prose:
        prose = ("description", "externalDocs", "summary")
        built |= {key: raw[key] for key in prose if raw.get(key)}
    listed = _parameter_list(document, item, pointer.rpartition("/")[0]) + _parameter_list(
        document, raw, pointer
    )
    normalised_parameters = parameters(listed, path, pointer, normaliser, keep_prose=keep_prose)
    if normalised_parameters:
        built["parameters"] = normalised_parameters
    if "requestBody" in raw:
        target = follow_reference(
            document, raw["requestBody"], join_pointer(pointer, "requestBody")
        )
        content = body(target, normaliser, keep_prose=keep_prose)
        if content is not None:
            built["requestBody"] = content
    where = join_pointer(pointer, "responses")
    response_objects = {
        str(code): follow_reference(document, response, join_pointer(where, code))
        for code, response in as_mapping(raw.get("responses") or {}, where).items()
        if str(code)[:2] != "x-"
    }
    if response_objects:
        built["responses"] = responses(response_objects, normaliser, keep_prose=keep_prose)
    required = raw.get("security", document.get("security"))
    if required is not None:
        built["security"] = _security(
            required, join_pointer(pointer, "security"), normaliser.report
        )
    for key in ("callbacks", "servers"):
        if raw.get(key):
            normaliser.report(
                join_pointer(pointer, key), f"the {key} of an operation; they are dropped"
            )
    return built


def _parameter_list(
    document: Mapping[str, Any], holder: Mapping[str, Any], pointer: str
) -> list[ResolvedObject]:
    where = join_pointer(pointer, "parameters")
    values = as_sequence(holder.get("parameters") or [], where)
    return [
        follow_reference(document, value, join_pointer(where, index))
        for index, value in enumerate(values)
    ]


def _security(
    raw: Any, pointer: str, report: Callable[[str, str], None]
) -> list[dict[str, list[str]]]:
    """Return one requirement with all scopes, sorted; an empty list if no key is required."""
    # Several requirements of one scheme are joined, because an operation has one list of scopes.
    scopes: dict[str, set[str]] = {}
    is_public_too = False
    for index, value in enumerate(as_sequence(raw, pointer)):
        requirement = as_mapping(value, join_pointer(pointer, index))
        is_public_too = is_public_too or not requirement
        for scheme, listed in requirement.items():
            where = join_pointer(pointer, index, scheme)
            required = {as_text(scope, where) for scope in as_sequence(listed, where)}
            scopes.setdefault(scheme, set()).update(required)
    if not scopes:
        return []
    if is_public_too:
        report(pointer, "it can be called with or without a key; a key is sent")
    if _PERSONAL_API_KEY in scopes:
        return [{_PERSONAL_API_KEY: sorted(scopes[_PERSONAL_API_KEY])}]
    report(pointer, f"it does not accept personal API keys, only {' or '.join(sorted(scopes))}")
    return [{scheme: sorted(required)} for scheme, required in sorted(scopes.items())]
