"""`CAST(x AS type)` and `x::type`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from .errors import HogQLError
from .escape import string
from .values import Printed

__all__ = ["cast_sql"]

_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("int", "integer", "bigint", "int64", "int8_"), ("Int64", "int")),
    **{f"int{n}": (f"Int{n}", "int") for n in (8, 16, 32, 128, 256)},
    **{f"uint{n}": (f"UInt{n}", "int") for n in (8, 16, 32, 64, 128, 256)},
    "smallint": ("Int16", "int"), "tinyint": ("Int8", "int"),
    "float": ("Float64", "float"), "float64": ("Float64", "float"),
    "float32": ("Float32", "float"), "real": ("Float32", "float"),
    "double": ("Float64", "float"), "double precision": ("Float64", "float"),
    "string": ("String", "string"), "text": ("String", "string"), "varchar": ("String", "string"),
    "char": ("String", "string"), "bool": ("Bool", "bool"), "boolean": ("Bool", "bool"),
    "uuid": ("UUID", "uuid"), "date": ("Date", "date"), "date32": ("Date32", "date"),
    "datetime": ("DateTime", "datetime"), "timestamp": ("DateTime64(6)", "datetime"),
    "timestamp with time zone": ("DateTime64(6)", "datetime"),
    "timestamptz": ("DateTime64(6)", "datetime"), "datetime64": ("DateTime64(6)", "datetime"),
    "json": ("String", "string"),
}  # fmt: skip
_SIZED: Final = {
    "decimal": "Decimal", "numeric": "Decimal", "decimal32": "Decimal32",
    "decimal64": "Decimal64", "decimal128": "Decimal128", "datetime64": "DateTime64",
    "fixedstring": "FixedString", "varchar": "String", "char": "String",
}  # fmt: skip
_WRAPPERS: Final = {
    "nullable": "Nullable", "array": "Array", "tuple": "Tuple", "map": "Map",
    "lowcardinality": "LowCardinality",
}  # fmt: skip
_CALL: Final = re.compile(r"(\w+)\((.*)\)\Z", re.S)


def _split(text: str) -> list[str]:
    parts, depth, last = list[str](), 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(text[last:at].strip())
            last = at + 1
    return [*parts, text[last:].strip()]


def _type(text: str) -> tuple[str, str]:
    """Return the ClickHouse type and the kind of a type as HogQL writes it.

    Raises:
        HogQLError: There is no such type.
    """
    text = text.strip()
    plain = _NAMES.get(text)
    if plain is not None:
        return plain
    inner = _CALL.match(text)
    if inner is not None:
        name, args = inner[1], _split(inner[2])
        if name in _WRAPPERS:
            types = [_type(arg) for arg in args]
            kind = types[0][1] if name in {"nullable", "lowcardinality"} else name
            return f"{_WRAPPERS[name]}({', '.join(one for one, _ in types)})", kind
        if name in _SIZED and all(re.fullmatch(r"\d{1,3}", arg) for arg in args):
            if _SIZED[name] == "String":
                return "String", "string"
            kind = (
                "datetime"
                if name == "datetime64"
                else ("string" if name == "fixedstring" else "number")
            )
            return f"{_SIZED[name]}({', '.join(args)})", kind
    raise HogQLError(f"Unsupported type '{text}' in a cast.")


def cast_sql(value: Printed, name: str, *, tried: bool) -> Printed:
    """Return a value as one of another type.

    Args:
        value: The value.
        name: The name of the type, in lower case.
        tried: Whether a value that does not fit becomes NULL.

    Raises:
        HogQLError: There is no such type.
    """
    clickhouse, kind = _type(name)
    if tried:
        return Printed(f"accurateCastOrNull({value.sql}, {string(clickhouse)})", kind)
    if value.nullable and not clickhouse.startswith(("Nullable", "Array", "Tuple", "Map", "Low")):
        clickhouse = f"Nullable({clickhouse})"
    return Printed(f"CAST({value.sql}, {string(clickhouse)})", kind, value.nullable)
