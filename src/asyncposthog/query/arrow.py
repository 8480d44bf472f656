"""Convert ClickHouse types and columns to Arrow. Needs pyarrow, which is imported when used.

Each ClickHouse type has one Arrow type, whatever the values of a page are, so that the pages and
files of one query have the same schema: timestamps in microseconds (nanoseconds for finer types)
with their time zone, UUIDs, enums and IP addresses as strings, and types without a counterpart as
JSON text. UUIDs can also have Arrow's UUID type, which Parquet has too; Polars and pandas support
it less well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache, partial
from types import NoneType
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from pydantic_core import to_json

from asyncposthog.errors import DecodeError

from .clickhouse import ColumnType
from .convert import value_converter

__all__ = [
    "arrow_array",
    "arrow_schema",
    "arrow_table",
    "arrow_type",
    "pyarrow_module",
]

Convert: TypeAlias = Callable[[Any], Any]
# pyarrow has no type annotations.
Array: TypeAlias = Any
DataType: TypeAlias = Any
Schema: TypeAlias = Any
Table: TypeAlias = Any

_ARROW_TYPES: Final = {
    "Int8": "int8", "Int16": "int16", "Int32": "int32", "Int64": "int64",
    "UInt8": "uint8", "UInt16": "uint16", "UInt32": "uint32", "UInt64": "uint64",
    "Float32": "float32", "Float64": "float64", "BFloat16": "float32",
    "Bool": "bool_", "Boolean": "bool_", "Nothing": "null",
    "Date": "date32", "Date32": "date32",
}  # fmt: skip
_TIMES: Final = frozenset({"Date", "Date32", "DateTime", "DateTime64"})
_NIL_UUID: Final = str(UUID(int=0))


def pyarrow_module(extra: str = "arrow") -> Any:
    """Import pyarrow.

    Raises:
        ImportError: pyarrow is not installed; the message names the extra.
    """
    try:
        import pyarrow
    except ImportError:
        raise ImportError(f"This needs pyarrow: pip install 'asyncposthog[{extra}]'.") from None
    return pyarrow


@lru_cache(maxsize=512)
def arrow_type(kind: ColumnType) -> DataType:
    """Return the Arrow type (a `pyarrow.DataType`) of a ClickHouse type."""
    pa, kind = pyarrow_module(), kind.base
    name = kind.name
    if name in _ARROW_TYPES:
        return getattr(pa, _ARROW_TYPES[name])()
    if name in {"DateTime", "DateTime64"}:
        return pa.timestamp("ns" if kind.digits > 6 else "us", kind.zone or "UTC")
    if name in {"Int128", "UInt128"}:
        return pa.decimal256(39, 0)
    if name.startswith("Decimal"):
        wide = kind.precision > 38
        return (pa.decimal256 if wide else pa.decimal128)(kind.precision, kind.digits)
    if name.startswith("Interval"):
        return pa.int64()
    if name == "Array" and len(kind.items) == 1:
        return pa.list_(arrow_type(kind.items[0]))
    if name == "Map" and len(kind.items) == 2:
        return pa.map_(*(arrow_type(item) for item in kind.items))
    if name == "Tuple" and kind.items:
        return pa.struct(list(zip(_element_names(kind), map(arrow_type, kind.items), strict=True)))
    return pa.string()


def _column_type(kind: ColumnType, uuids: bool) -> DataType:
    return pyarrow_module().uuid() if uuids and kind.base.name == "UUID" else arrow_type(kind)


def arrow_schema(
    names: Sequence[str], kinds: Sequence[ColumnType], *, uuids: bool = False
) -> Schema:
    """Return the `pyarrow.Schema` of a table: its columns' names and types, all nullable.

    Args:
        names: The column names.
        kinds: The column types.
        uuids: Whether UUIDs have Arrow's UUID type instead of text.
    """
    types = (_column_type(kind, uuids) for kind in kinds)
    return pyarrow_module().schema(list(zip(names, types, strict=True)))


def arrow_table(
    names: Sequence[str],
    kinds: Sequence[ColumnType],
    columns: Sequence[Sequence[Any]],
    *,
    uuids: bool = False,
    pool: Any = None,
    alternative: str = "use the rows as they came",
) -> Table:
    """Return columns of JSON values as a `pyarrow.Table`.

    Args:
        names: The column names.
        kinds: The column types.
        columns: The values of each column.
        uuids: As for `arrow_schema`.
        pool: As for `arrow_array`.
        alternative: What the error suggests besides casting, if a value does not match its type.

    Raises:
        DecodeError: A value does not match the type of its column.
        ImportError: pyarrow is not installed.
    """
    arrays: list[Array] = []
    for name, kind, values in zip(names, kinds, columns, strict=True):
        try:
            arrays.append(arrow_array(kind, values, uuids=uuids, pool=pool))
        except ValueError as error:
            raise DecodeError(
                f"Column {name}: {error}.",
                suggestion=f"Cast it in the query (toString(…) takes anything), or {alternative}.",
            ) from None
    schema = arrow_schema(names, kinds, uuids=uuids)
    return pyarrow_module().Table.from_arrays(arrays, schema=schema)


def arrow_array(
    kind: ColumnType, values: Sequence[Any], *, uuids: bool = False, pool: Any = None
) -> Array:
    """Return a column of JSON values as a `pyarrow.Array`.

    Args:
        kind: The column type.
        values: The JSON values.
        uuids: As for `arrow_schema`.
        pool: The `pyarrow.MemoryPool` for text; None: the default one.

    Raises:
        ValueError: A value does not match the type.
        ImportError: pyarrow is not installed.
    """
    if uuids and kind.base.name == "UUID":
        return _uuid_array(values)
    pa, kind = pyarrow_module(), kind.base
    target = arrow_type(kind)
    array = _passthrough_array(kind, values, pool)
    if array is not None:
        return array
    prepare = _value_preparer(kind)
    try:
        return pa.array([None if v is None else prepare(v) for v in values], target)
    except _conversion_errors() as error:
        raise ValueError(_conversion_error(kind, values, prepare, str(error))) from None


def _uuid_array(values: Sequence[Any]) -> Array:
    """Return a column of UUIDs in Arrow's UUID type."""
    pa = pyarrow_module()
    texts = [_NIL_UUID if value is None else value for value in values]
    # One conversion for the whole column: UUID() for each value takes many times as long.
    content = b""
    with suppress(ValueError, TypeError):
        content = bytes.fromhex("".join(texts).replace("-", ""))
    # A text of another form would shift the bytes of all that follow: convert one by one then,
    # which also finds the text that is not a UUID.
    if len(content) != 16 * len(texts) or not set(map(len, texts)) <= {36}:
        content = b"".join(map(_uuid_bytes, texts))
    valid = pa.array([value is not None for value in values], pa.bool_()).buffers()[1]
    buffers = [valid if None in values else None, pa.py_buffer(content)]
    storage = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(texts), buffers)
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def _uuid_bytes(text: Any) -> bytes:
    try:
        return UUID(text).bytes
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"{text!r:.200} is not a UUID") from None


def _conversion_errors() -> tuple[type[Exception], ...]:
    errors = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError)
    return (*errors, pyarrow_module().ArrowException)


def _passthrough_array(kind: ColumnType, values: Sequence[Any], pool: Any) -> Array:
    """Return a column that Arrow converts itself; None if values have to be prepared."""
    pa, target = pyarrow_module(), arrow_type(kind)
    kinds = set(map(type, values)) - {NoneType}
    try:
        if kind.name in _TIMES and kinds <= {str}:
            return pa.array(values, pa.string()).cast(target)
        if kinds <= _accepted_json_types(target):
            return pa.array(values, target, memory_pool=pool)
    except _conversion_errors():
        pass
    return None


def _accepted_json_types(target: DataType) -> set[type]:
    """Return the types of JSON values that Arrow converts to a type without loss."""
    types = pyarrow_module().types
    if types.is_string(target):
        return {str}
    if types.is_integer(target):
        return {int}
    if types.is_floating(target):
        return {int, float}
    return {bool} if types.is_boolean(target) else set()


def _conversion_error(
    kind: ColumnType, values: Sequence[Any], prepare: Convert, message: str
) -> str:
    pa, target = pyarrow_module(), arrow_type(kind)
    for value in values:
        try:
            pa.array([None if value is None else prepare(value)], target)
        except _conversion_errors():
            return f"{value!r:.200} is not of type {kind}"
    return message


@lru_cache(maxsize=512)
def _value_preparer(kind: ColumnType) -> Convert:
    """Return a function that converts a JSON value, other than None, to one that Arrow accepts."""
    kind = kind.base
    target = arrow_type(kind)
    types = pyarrow_module().types
    if types.is_string(target):
        return _to_text
    if types.is_decimal(target) and kind.name.endswith("Int128"):
        return Decimal
    if types.is_list(target):
        return partial(_list, _value_preparer(kind.items[0]))
    if types.is_map(target):
        return partial(_pairs, *(_value_preparer(item) for item in kind.items))
    if types.is_struct(target):
        return partial(_fields, _element_names(kind), tuple(map(_value_preparer, kind.items)))
    return value_converter(kind) or _identity


def _identity(value: Any) -> Any:
    return value


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def _unless_none(prepare: Convert, value: Any) -> Any:
    return None if value is None else prepare(value)


def _list(inner: Convert, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not an array")
    return [_unless_none(inner, item) for item in cast("list[Any]", value)]


def _pairs(key: Convert, inner: Convert, value: Any) -> list[tuple[Any, Any]]:
    pairs = cast("Mapping[Any, Any]", value).items() if isinstance(value, Mapping) else value
    return [(key(k), _unless_none(inner, v)) for k, v in list(pairs)]


def _fields(labels: tuple[str, ...], inners: tuple[Convert, ...], value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        value = [cast("Mapping[str, Any]", value)[label] for label in labels]
    items = zip(labels, inners, cast("list[Any]", value), strict=True)
    return {label: _unless_none(inner, item) for label, inner, item in items}


def _element_names(kind: ColumnType) -> tuple[str, ...]:
    """Return the names of the elements of a tuple."""
    # ClickHouse numbers unnamed elements from 1.
    return kind.labels or tuple(str(i + 1) for i in range(len(kind.items)))
