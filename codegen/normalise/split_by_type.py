"""Normalise the types, values and limits of one schema, without references and combinators.

The result is a list of cores, one for each type, each with the keywords that apply to this type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from codegen.json_access import (
    as_mapping,
    as_sequence,
    as_text,
    join_pointer,
    matches_type,
    type_of,
    unique,
)

from .keywords import APPLICABLE, BLANK, NULL, Context, Schema

__all__ = ["split_by_type"]

_NUMBER_FORMATS = {"double": "number", "float": "number", "int32": "integer", "int64": "integer"}
_WHOLE = ("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties")
# Sorted so that a bound comes before the flag that makes it exclusive: `_limit` moves the bound.
_LIMITS = (*_WHOLE, *sorted(APPLICABLE["number"], reverse=True))
_OBJECT_ONLY = ("dependentRequired", "dependentSchemas", "patternProperties")
_INT64_EDGE = 2**63


def split_by_type(raw: Mapping[str, Any], pointer: str, context: Context) -> list[Schema]:
    """Return a core for each type that the keywords of a schema allow."""
    types = _types(raw, pointer, context)
    values = _allowed_values(raw, pointer, context)
    if values is not None:
        return _split_values(raw, types, values, pointer, context)
    types = types or _implied_types(raw, pointer, context)
    return [_core(raw, kind, types, pointer, context) for kind in types]


def _allowed_values(raw: Mapping[str, Any], pointer: str, context: Context) -> list[Any] | None:
    """Return the values that `const` and `enum` allow, or None if there is neither."""
    values = None
    if "enum" in raw:
        listed = as_sequence(raw["enum"], join_pointer(pointer, "enum"))
        values = unique(listed)
        if len(values) < len(listed):
            context.report(
                join_pointer(pointer, "enum"), "the enum repeats values; each is kept once"
            )
        if not values:
            context.report(join_pointer(pointer, "enum"), "the enum is empty; it is dropped")
            values = None
    if "const" in raw:
        if values is not None and raw["const"] not in values:
            context.report(
                join_pointer(pointer, "const"), "the const is not in the enum; the const is kept"
            )
        values = [raw["const"]]
    return values


def _types(raw: Mapping[str, Any], pointer: str, context: Context) -> list[str]:
    listed = raw.get("type")
    if listed is None:
        return []
    types: list[str] = []
    for kind in unique(
        [listed] if isinstance(listed, str) else as_sequence(listed, pointer + "/type")
    ):
        if isinstance(kind, str) and kind in APPLICABLE:
            types.append(kind)
        else:
            context.report(
                join_pointer(pointer, "type"), f"{kind!r} is not a JSON type; it is dropped"
            )
    return types


def _implied_types(raw: Mapping[str, Any], pointer: str, context: Context) -> list[str]:
    """Return the type that the keywords of a schema without a type imply."""
    kinds = ("array", "number", "object", "string")
    types = [kind for kind in kinds if APPLICABLE[kind] & raw.keys()]
    if not types and any(key in raw for key in _OBJECT_ONLY):
        types = ["object"]
    if not types and isinstance(raw.get("format"), str):
        types = [_NUMBER_FORMATS.get(raw["format"], "string")]
    if len(types) > 1:
        names = " and ".join(types)
        context.report(pointer, f"it has no type and keywords of {names}; it is read as any value")
        return []
    return types


def _split_values(
    raw: Mapping[str, Any], types: list[str], values: list[Any], pointer: str, context: Context
) -> list[Schema]:
    """Return a core for each type of the allowed values."""
    declared = [kind for kind in types if kind != "null"]
    rest = [value for value in values if value is not None]
    cores: list[Schema] = []
    for kind in declared:
        own_values = [value for value in rest if matches_type(value, kind)]
        rest = [value for value in rest if not matches_type(value, kind)]
        cores += _enumerated(raw, kind, declared, own_values, pointer, context)
    if rest and declared:
        context.report(
            pointer, f"{rest!r} is not of type {' or '.join(declared)}; the values are kept"
        )
    for kind in unique([type_of(value) for value in rest]):
        own_values = [value for value in rest if type_of(value) == kind]
        cores += _enumerated(raw, kind, [kind], own_values, pointer, context)
    if None in values or "null" in types:
        cores.append(dict(NULL))
    return cores


def _enumerated(
    raw: Mapping[str, Any],
    kind: str,
    types: list[str],
    values: list[Any],
    pointer: str,
    context: Context,
) -> list[Schema]:
    if not values:
        return []
    if values == [""]:
        return [dict(BLANK)]
    if kind == "integer":
        values = [int(value) for value in values]
    core = _core(raw, kind, types, pointer, context)
    if kind in {"array", "object"}:
        # The values are given in full, so their properties and items say nothing more.
        core = {"type": kind}
    return [core | ({"const": values[0]} if "const" in raw else {"enum": values})]


def _core(
    raw: Mapping[str, Any], kind: str, types: list[str], pointer: str, context: Context
) -> Schema:
    core: Schema = {"type": kind}
    keep = APPLICABLE[kind]
    for key in _LIMITS:
        if key in keep and key in raw:
            _limit(core, raw, key, pointer, context)
    for key in ("contentEncoding", "contentMediaType", "pattern"):
        if key in keep and key in raw:
            core[key] = as_text(raw[key], join_pointer(pointer, key))
    if kind == "array":
        _array(core, raw, pointer, context)
    elif kind == "object":
        _object(core, raw, pointer, context)
    if isinstance(raw.get("format"), str) and _carries_format(raw["format"], kind, types):
        core["format"] = raw["format"]
    # The empty string is the only string without characters.
    return dict(BLANK) if core.get("maxLength") == 0 else core


def _carries_format(form: str, kind: str, types: list[str]) -> bool:
    """Whether a format applies to one of several types."""
    if kind in {"array", "boolean", "null", "object"}:
        return False
    scalars = [name for name in types if name in {"integer", "number", "string"}]
    if len(scalars) < 2:
        return True
    return (form in _NUMBER_FORMATS) == (kind != "string")


def _limit(core: Schema, raw: Mapping[str, Any], key: str, pointer: str, context: Context) -> None:
    value = raw[key]
    if isinstance(value, bool) and key.startswith("exclusive"):
        # OpenAPI 3.0 writes a flag beside the bound; 3.1 writes the bound itself.
        bound = key.removeprefix("exclusive").lower()
        if value and bound in core:
            core[key] = core.pop(bound)
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        context.report(
            join_pointer(pointer, key), f"{value!r} is not a number; the limit is dropped"
        )
        return
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if core["type"] == "integer" and float(value) == _INT64_EDGE:
        # 2**63 - 1 has no exact double, so writers of JSON round the largest 64-bit integer up.
        value = _INT64_EDGE - 1
    elif core["type"] == "integer" and float(value) == -_INT64_EDGE:
        value = -_INT64_EDGE
    core[key] = value


def _array(core: Schema, raw: Mapping[str, Any], pointer: str, context: Context) -> None:
    items, where = raw.get("items", True), join_pointer(pointer, "items")
    prefix, rest = raw.get("prefixItems"), join_pointer(pointer, "prefixItems")
    if isinstance(items, list):
        # JSON Schema before 2020-12 writes a tuple as a list of `items`.
        prefix, rest = cast("list[Any]", items), where
        items, where = raw.get("additionalItems", True), join_pointer(pointer, "additionalItems")
    if prefix is not None:
        core["prefixItems"] = [
            context.normalise(value, join_pointer(rest, index))
            for index, value in enumerate(as_sequence(prefix, rest))
        ]
    if items is False:
        core |= {"items": False} if prefix else {"items": {}, "maxItems": 0}
    else:
        core["items"] = context.normalise(items, where)
    if raw.get("uniqueItems") is True:
        core["uniqueItems"] = True


def _object(core: Schema, raw: Mapping[str, Any], pointer: str, context: Context) -> None:
    properties: Schema = {}
    where = join_pointer(pointer, "properties")
    for name, value in as_mapping(raw.get("properties", {}), where).items():
        if value is False:
            context.report(
                join_pointer(where, name), "a property that is not allowed; it is dropped"
            )
        else:
            properties[name] = context.normalise(value, join_pointer(where, name))
    if properties:
        core["properties"] = properties
    required = raw.get("required", [])
    if isinstance(required, list):
        where = join_pointer(pointer, "required")
        names = sorted({as_text(name, where) for name in cast("list[Any]", required)})
        if names:
            core["required"] = names
    else:
        context.report(
            join_pointer(pointer, "required"), "`required` is not a list of names; it is dropped"
        )
    # In a merged schema both mean the same, because there is no `allOf` left.
    for key in ("additionalProperties", "unevaluatedProperties"):
        if key in raw and "additionalProperties" not in core:
            extra = raw[key]
            core["additionalProperties"] = (
                extra
                if isinstance(extra, bool)
                else context.normalise(extra, join_pointer(pointer, key))
            )
    if "propertyNames" in raw:
        core["propertyNames"] = context.normalise(
            raw["propertyNames"], join_pointer(pointer, "propertyNames")
        )
