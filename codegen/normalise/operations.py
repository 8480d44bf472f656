"""Paths and their operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from codegen.json_access import as_mapping, as_sequence, as_text, child

from .keywords import Schema
from .media import body, responses
from .parameters import parameters
from .references import Target, follow
from .schemas import Schemas
from .security import security
from .values import unique
from .walk import METHODS

__all__ = ["paths"]

_ITEM_KEYS: Final = frozenset({"$ref", "description", "parameters", "servers", "summary"})


def paths(document: Mapping[str, Any], schemas: Schemas, *, keep_prose: bool) -> Schema:
    """Return the paths of a document, with each operation normalised."""
    built: Schema = {}
    known: dict[str, str] = {}
    for path, value in sorted(as_mapping(document.get("paths", {}), "/paths").items()):
        item, at = follow(document, value, child("/paths", path))
        operations: Schema = {}
        for key in sorted(item.keys() - _ITEM_KEYS):
            where = child(at, key)
            if key in METHODS:
                operations[key] = _operation(document, item, path, where, schemas, keep_prose)
                _unlike(operations[key], known, where, schemas)
            elif key[:2] != "x-":
                schemas.report(where, f"a client does not call {key.upper()}; it is dropped")
        built[path] = operations
    return built


def _unlike(operation: Schema, known: dict[str, str], at: str, schemas: Schemas) -> None:
    """Report an operation id that is there already."""
    name = operation.get("operationId")
    if name in known:
        schemas.report(at, f"the operation id {name!r} is used before, at {known[name]}")
    elif name is not None:
        known[name] = at


def _operation(
    document: Mapping[str, Any],
    item: Mapping[str, Any],
    path: str,
    at: str,
    schemas: Schemas,
    keep_prose: bool,
) -> Schema:
    raw = as_mapping(item[at.rpartition("/")[2]], at)
    built: Schema = {}
    if raw.get("operationId") is not None:
        built["operationId"] = as_text(raw["operationId"], child(at, "operationId"))
    if raw.get("tags"):
        built["tags"] = unique(as_sequence(raw["tags"], child(at, "tags")))
    if raw.get("deprecated") is True:
        built["deprecated"] = True
    if keep_prose:
        prose = ("description", "externalDocs", "summary")
        built |= {key: raw[key] for key in prose if raw.get(key)}
    listed = _listed(document, item, at.rpartition("/")[0]) + _listed(document, raw, at)
    found = parameters(listed, path, at, schemas, keep_prose=keep_prose)
    if found:
        built["parameters"] = found
    if "requestBody" in raw:
        target = follow(document, raw["requestBody"], child(at, "requestBody"))
        content = body(target, schemas, keep_prose=keep_prose)
        if content is not None:
            built["requestBody"] = content
    where = child(at, "responses")
    answers = {
        str(code): follow(document, answer, child(where, code))
        for code, answer in as_mapping(raw.get("responses") or {}, where).items()
        if str(code)[:2] != "x-"
    }
    if answers:
        built["responses"] = responses(answers, schemas, keep_prose=keep_prose)
    required = raw.get("security", document.get("security"))
    if required is not None:
        built["security"] = security(required, child(at, "security"), schemas.report)
    for key in ("callbacks", "servers"):
        if raw.get(key):
            schemas.report(child(at, key), f"the {key} of an operation; they are dropped")
    return built


def _listed(document: Mapping[str, Any], holder: Mapping[str, Any], at: str) -> list[Target]:
    where = child(at, "parameters")
    values = as_sequence(holder.get("parameters") or [], where)
    return [follow(document, value, child(where, index)) for index, value in enumerate(values)]
