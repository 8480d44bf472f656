"""ClickHouse types that HogQL uses, and the DuckDB types of their values.

Every integer is a BIGINT in DuckDB, every tuple a struct with the fields e1, e2, ….
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from .problems import HogQLError, no_common_type, untranslated

__all__ = [
    "BOOL", "DATE", "DATETIME", "DATETIME64", "FLOAT", "INT64", "INTERVALS", "NOTHING", "STRING",
    "UINT8", "UINT32", "UINT64", "UUID", "Type", "array", "bits_of", "common", "integer", "named",
    "of_integer", "tuple_",
]  # fmt: skip

_BITS: Final = {
    f"{sign}Int{bits}": (not sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)
}
_DUCKDB: Final = {
    "String": "VARCHAR",
    "Float64": "DOUBLE",
    "Float32": "DOUBLE",
    "Bool": "BOOLEAN",
    "Date": "DATE",
    "DateTime": "TIMESTAMP",
    "DateTime64": "TIMESTAMP",
    "UUID": "UUID",
    "Nothing": "VARCHAR",
}
_EMPTY: Final = {
    "String": "''",
    "Float64": "0::DOUBLE",
    "Float32": "0::DOUBLE",
    "Bool": "false",
    "Date": "DATE '1970-01-01'",
    "DateTime": "TIMESTAMP '1970-01-01 00:00:00'",
    "DateTime64": "TIMESTAMP '1970-01-01 00:00:00'",
    "UUID": "'00000000-0000-0000-0000-000000000000'::UUID",
}
INTERVALS: Final = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")


@dataclass(frozen=True, slots=True)
class Type:
    """A ClickHouse type."""

    name: str
    items: tuple[Type, ...] = ()
    parameters: tuple[int | str, ...] = ()
    nullable: bool = False

    def __str__(self) -> str:
        """Return the type as ClickHouse writes it."""
        inner = [str(item) for item in self.items]
        inner += [f"'{p}'" if isinstance(p, str) else str(p) for p in self.parameters]
        text = f"{self.name}({', '.join(inner)})" if inner or self.name == "Tuple" else self.name
        return f"Nullable({text})" if self.nullable else text

    def or_null(self, nullable: bool = True) -> Type:
        """Return the nullable type; arrays and tuples cannot be nullable."""
        if self.name in {"Array", "Tuple", "Map"} or self.nullable is nullable:
            return self
        return replace(self, nullable=nullable)

    @property
    def plain(self) -> Type:
        """The type without NULL."""
        return replace(self, nullable=False) if self.nullable else self

    @property
    def is_integer(self) -> bool:
        """Whether it is a whole number, a truth value not included."""
        return self.name in _BITS

    @property
    def is_number(self) -> bool:
        """Whether it can be reckoned with; truth values count as 0 and 1."""
        return self.is_integer or self.name in {"Float64", "Float32", "Bool", "Decimal"}

    @property
    def is_float(self) -> bool:
        """Whether it has an exponent."""
        return self.name in {"Float64", "Float32"}

    @property
    def is_moment(self) -> bool:
        """Whether it is a moment, to the second or finer."""
        return self.name in {"DateTime", "DateTime64"}

    @property
    def is_day(self) -> bool:
        """Whether it is a day or a moment."""
        return self.name == "Date" or self.is_moment

    @property
    def is_interval(self) -> bool:
        """Whether it is a stretch of time."""
        return self.name.startswith("Interval")

    @property
    def zone(self) -> str:
        """The time zone of a moment."""
        return next((p for p in self.parameters if isinstance(p, str)), "UTC")

    @property
    def duckdb(self) -> str:
        """DuckDB's type for its values."""
        if self.name in _BITS:
            return "BIGINT"
        if self.name == "Decimal":
            return f"DECIMAL({self.parameters[0]}, {self.parameters[1]})"
        if self.name == "Array":
            return f"{self.items[0].duckdb}[]"
        if self.name == "Tuple":
            fields = [f"e{n} {item.duckdb}" for n, item in enumerate(self.items, 1)]
            return f"STRUCT({', '.join(fields)})"
        if self.is_interval:
            return "INTERVAL"
        return _DUCKDB[self.name]

    @property
    def empty(self) -> str:
        """The SQL of the value ClickHouse has where there is none."""
        if self.nullable or self.name == "Nothing":
            return "NULL"
        if self.name == "Array":
            return f"CAST([] AS {self.duckdb})"
        if self.name == "Tuple":
            fields = [f"e{n} := {item.empty}" for n, item in enumerate(self.items, 1)]
            return f"struct_pack({', '.join(fields)})"
        if self.name == "Decimal":
            return f"0::{self.duckdb}"
        return _EMPTY.get(self.name, "0::BIGINT")


STRING: Final = Type("String")
UINT8: Final = Type("UInt8")
UINT32: Final = Type("UInt32")
UINT64: Final = Type("UInt64")
INT64: Final = Type("Int64")
FLOAT: Final = Type("Float64")
BOOL: Final = Type("Bool")
DATE: Final = Type("Date")
DATETIME: Final = Type("DateTime", parameters=("UTC",))
DATETIME64: Final = Type("DateTime64", parameters=(6, "UTC"))
UUID: Final = Type("UUID")
NOTHING: Final = Type("Nothing", nullable=True)


def array(item: Type) -> Type:
    """Return the array type of an item type."""
    return Type("Array", (item,))


def tuple_(*items: Type) -> Type:
    """Return the tuple type of item types."""
    return Type("Tuple", items)


def integer(bits: int, *, signed: bool) -> Type:
    """Return the smallest integer type with that many bits, 64 at most."""
    width = next(known for known in (8, 16, 32, 64) if known >= min(bits, 64))
    return Type(f"{'' if signed else 'U'}Int{width}")


def of_integer(value: int) -> Type:
    """Return the type of an integer literal.

    Raises:
        HogQLError: The number has more than 63 bits.
    """
    bits = value.bit_length() if value >= 0 else (value + 1).bit_length() + 1
    if bits > 63:
        raise untranslated(f"the number {value}, which has more than 63 bits")
    return integer(bits or 1, signed=value < 0)


def bits_of(type: Type) -> tuple[bool, int]:
    """Return whether an integer or boolean type is signed, and its bits."""
    return _BITS.get(type.name, (False, 8))


def common(left: Type, right: Type) -> Type:
    """Return the common type of two types.

    Raises:
        HogQLError: The types have no common type.
    """
    nullable = left.nullable or right.nullable
    if left.name == "Nothing":
        return right.or_null(nullable)
    if right.name == "Nothing":
        return left.or_null(nullable)
    a, b = left.plain, right.plain
    if a == b:
        return a.or_null(nullable)
    if a.name == b.name == "Array":
        return array(common(a.items[0], b.items[0]))
    if a.name == b.name == "Tuple" and len(a.items) == len(b.items):
        return tuple_(*(common(x, y) for x, y in zip(a.items, b.items, strict=True)))
    if a.is_number and b.is_number:
        return _common_number(a, b).or_null(nullable)
    if a.is_day and b.is_day:
        names = {a.name, b.name}
        finer = DATETIME64 if "DateTime64" in names else DATETIME
        zoned = a if a.is_moment else b
        zone = zoned.zone
        return replace(finer, parameters=(*finer.parameters[:-1], zone)).or_null(nullable)
    raise no_common_type(left, right)


def _common_number(a: Type, b: Type) -> Type:
    if a.is_float or b.is_float:
        return FLOAT
    if "Decimal" in {a.name, b.name}:
        return a if a.name == "Decimal" else b
    (signed_a, bits_a), (signed_b, bits_b) = bits_of(a), bits_of(b)
    if signed_a == signed_b:
        return integer(max(bits_a, bits_b), signed=signed_a)
    # A signed type needs twice the bits to hold all values of an unsigned one.
    unsigned = bits_b if signed_a else bits_a
    return integer(max(bits_a, bits_b, unsigned * 2), signed=True)


_NAMED: Final = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*$", re.DOTALL)


def named(text: str) -> Type:
    """Parse the name of a type, as in `JSONExtract(x, 'Nullable(Int64)')`.

    Raises:
        HogQLError: The emulator does not support the type.
    """
    found = _NAMED.match(text)
    if found is not None:
        name, inner = found[1], found[2]
        if name in {"Nullable", "LowCardinality"} and inner:
            return named(inner).or_null(name == "Nullable" or named(inner).nullable)
        if name == "Array" and inner:
            return array(named(inner))
        if name == "DateTime64":
            return DATETIME64
        if inner is None and (name in _BITS or name in _DUCKDB) and name != "Nothing":
            return DATETIME if name == "DateTime" else Type(name)
        if name == "DateTime":
            return DATETIME
        if name == "Decimal" and inner and re.fullmatch(r"\s*\d+\s*,\s*\d+\s*", inner):
            precision, scale = (int(part) for part in inner.split(","))
            return Type("Decimal", parameters=(min(precision, 38), scale))
    raise HogQLError(f"Unknown data type family: {text}", "unknown_type")
