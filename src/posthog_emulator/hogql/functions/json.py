"""JSON functions. A value that is missing or of another type becomes the type's empty value."""

from __future__ import annotations

from collections.abc import Sequence

from posthog_emulator.hogql.fields import number_in, path
from posthog_emulator.hogql.problems import illegal_type, untranslated
from posthog_emulator.hogql.types import (
    BOOL,
    FLOAT,
    INT64,
    STRING,
    UINT64,
    Type,
    array,
    bits_of,
    named,
)
from posthog_emulator.hogql.values import Value, quoted, truth

from .table import Call, function

__all__: list[str] = []


def _place(call: Call, keys: Sequence[Value]) -> tuple[str, str]:
    """Return the SQL of a valid JSON text, or NULL, and of the path into it."""
    root = call.arguments[0]
    if root.type.name not in {"String", "Nothing"}:
        raise illegal_type(call.name, root.type, "a String")
    steps: list[str | int] = []
    for key in keys:
        if not isinstance(key.literal, str | int) or isinstance(key.literal, bool):
            raise untranslated(f"{call.name} with keys that are no constants")
        if isinstance(key.literal, int) and key.literal < 1:
            raise untranslated(f"{call.name} counting from the end")
        steps.append(key.literal)
    if root.json is not None and not root.json.keys:
        sql = root.json.root
    else:
        # DuckDB raises an error for malformed JSON, ClickHouse returns the empty value.
        sql = f"(CASE WHEN json_valid({root.sql}) THEN {root.sql} END)"
    for at, step in enumerate(steps):
        if isinstance(step, int):
            told = quoted(f"the emulator does not translate {call.name} by the number of a key")
            inside = f"json_type({sql}, {path(steps[:at])}) = 'OBJECT'"
            sql = f"(CASE WHEN {inside} THEN error({told}) ELSE {sql} END)"
    return sql, path(steps)


_NUMBERS = "('BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE', 'VARCHAR')"


def _float(kind: str, text: str) -> str:
    return f"CASE WHEN {kind} IN {_NUMBERS} THEN {number_in(text)} END"


def _whole(kind: str, text: str, wanted: Type) -> str:
    """Return the SQL of an integer in JSON, also of text or a boolean; NULL out of range."""
    read = number_in(text)
    cut = f"TRY_CAST(trunc({read}) AS BIGINT)"
    if wanted.name == "UInt64":
        told = quoted("the emulator supports integers of at most 63 bits")
        more = f"{read} >= 9223372036854775808 AND {read} <= 18446744073709551616"
        cut = f"CASE WHEN {more} THEN CAST(error({told}) AS BIGINT) ELSE {cut} END"
    digits = f"regexp_full_match({text}, '-?\\d{{1,19}}')"
    value = (
        f"(CASE WHEN {kind} = 'BOOLEAN' THEN CAST({text} = 'true' AS BIGINT) "
        f"WHEN {digits} AND TRY_CAST({text} AS BIGINT) IS NOT NULL THEN TRY_CAST({text} AS BIGINT) "
        f"WHEN {kind} IN {_NUMBERS} THEN {cut} END)"
    )
    signed, bits = bits_of(wanted)
    if signed and bits == 64:
        return value
    least, most = (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2 ** min(bits, 63) - 1)
    )
    return f"CASE WHEN {value} BETWEEN {least} AND {most} THEN {value} END"


def _extracted(root: str, where: str, type: Type) -> str:
    """Return the SQL of the value at a path; NULL if it is missing or of another type."""
    kind = f"json_type({root}, {where})"
    text = f"json_extract_string({root}, {where})"
    if type.name == "String":
        return text
    if type.name == "Bool":
        return (
            f"(CASE WHEN {kind} = 'BOOLEAN' THEN {text} = 'true' "
            f"WHEN {kind} IN ('BIGINT', 'UBIGINT') THEN {text} <> '0' END)"
        )
    if type.is_number and type.name != "Decimal":
        return f"({_float(kind, text) if type.is_float else _whole(kind, text, type)})"
    raise untranslated(f"JSONExtract of a {type}")


def _typed(call: Call, type: Type, keys: Sequence[Value]) -> Value:
    root, where = _place(call, keys)
    if type.name == "Array":
        items = f"CAST(json_extract({root}, {where}) AS JSON[])"
        item = _extracted("e", "'$'", type.items[0])
        filled = item if type.items[0].nullable else f"coalesce({item}, {type.items[0].empty})"
        sql = (
            f"(CASE WHEN json_type({root}, {where}) = 'ARRAY' "
            f"THEN list_transform({items}, lambda e: {filled}) ELSE {type.empty} END)"
        )
        return call.make(sql, type, nullable=False)
    sql = _extracted(root, where, type)
    if type.nullable:
        return call.make(sql, type)
    return call.make(f"coalesce({sql}, {type.empty})", type, nullable=False)


_TYPES = {
    "JSONExtractString": STRING,
    "JSONExtractInt": INT64,
    "JSONExtractUInt": UINT64,
    "JSONExtractFloat": FLOAT,
    "JSONExtractBool": BOOL,
}


@function(*_TYPES, least=1, most=None)
def _extract_kind(call: Call) -> Value:
    made = _typed(call, _TYPES[call.name], call.arguments[1:])
    if call.name != "JSONExtractBool":
        return made
    return truth(made.sql, call.text, *call.arguments)


@function("JSONExtract", least=2, most=None)
def _extract(call: Call) -> Value:
    return _typed(call, named(call.constant(len(call.arguments) - 1, str)), call.arguments[1:-1])


@function("JSONExtractRaw", least=1, most=None)
def _raw(call: Call) -> Value:
    root, where = _place(call, call.arguments[1:])
    sql = f"coalesce(CAST(json_extract({root}, {where}) AS VARCHAR), '')"
    return call.make(sql, STRING, nullable=False)


@function("JSONExtractArrayRaw", least=1, most=None)
def _array_raw(call: Call) -> Value:
    root, where = _place(call, call.arguments[1:])
    items = f"CAST(json_extract({root}, {where}) AS JSON[])"
    sql = (
        f"(CASE WHEN json_type({root}, {where}) = 'ARRAY' "
        f"THEN list_transform({items}, lambda e: CAST(e AS VARCHAR)) "
        "ELSE CAST([] AS VARCHAR[]) END)"
    )
    return call.make(sql, array(STRING), nullable=False)


@function("JSONExtractKeys", least=1, most=None)
def _keys(call: Call) -> Value:
    root, where = _place(call, call.arguments[1:])
    sql = f"coalesce(json_keys({root}, {where}), CAST([] AS VARCHAR[]))"
    return call.make(sql, array(STRING), nullable=False)


@function("JSONHas", least=1, most=None)
def _has(call: Call) -> Value:
    root, where = _place(call, call.arguments[1:])
    return truth(f"coalesce(json_exists({root}, {where}), false)", call.text, *call.arguments)


@function("JSONLength", least=1, most=None)
def _length(call: Call) -> Value:
    root, where = _place(call, call.arguments[1:])
    kind = f"json_type({root}, {where})"
    items = f"CAST(json_array_length({root}, {where}) AS BIGINT)"
    keys = f"CAST(len(json_keys({root}, {where})) AS BIGINT)"
    sql = (
        f"coalesce(CASE WHEN {kind} = 'ARRAY' THEN {items} "
        f"WHEN {kind} = 'OBJECT' THEN {keys} END, 0)"
    )
    return call.make(sql, UINT64, nullable=False)


_KINDS = {
    "OBJECT": "Object", "ARRAY": "Array", "VARCHAR": "String", "BIGINT": "Int64",
    "UBIGINT": "Int64", "DOUBLE": "Double", "BOOLEAN": "Bool", "NULL": "Null",
}  # fmt: skip


@function("JSONType", least=1, most=None)
def _kind(call: Call) -> Value:
    root, where = _place(call, call.arguments[1:])
    whens = " ".join(f"WHEN {quoted(own)} THEN {quoted(name)}" for own, name in _KINDS.items())
    sql = f"(CASE coalesce(json_type({root}, {where}), 'NULL') {whens} END)"
    return call.make(sql, STRING, nullable=False)


@function("isValidJSON", least=1)
def _valid(call: Call) -> Value:
    value = call.arguments[0]
    if value.type.name != "String":
        raise illegal_type(call.name, value.type, "a String")
    return truth(f"json_valid({value.sql})", call.text, value, nullable=value.type.nullable)


@function("toJSONString", least=1)
def _to_json(call: Call) -> Value:
    value = call.arguments[0]
    if value.type.name in {"String", "Bool"} or value.type.is_integer:
        return call.make(f"CAST(to_json({value.plain}) AS VARCHAR)", STRING)
    if value.type.name == "Array" and value.type.items[0].name in {"String", "Bool"}:
        return call.make(f"CAST(to_json({value.sql}) AS VARCHAR)", STRING)
    raise untranslated(f"toJSONString of a {value.type}")
