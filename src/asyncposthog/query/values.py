"""Bind Python values to the placeholders of a query. Pure.

Values are sent beside the query, as JSON, and the server inserts them as constants: none is written
into the SQL. JSON has no datetimes, though, and ClickHouse would parse their text in the time zone
of the project. So the placeholder of a datetime becomes `toDateTime({name})`, and that of a decimal
which no float represents exactly becomes `toDecimal({name}, scale)`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast
from uuid import UUID

from .sql_scan import Placeholder, SqlScan, scan_sql

__all__ = ["bind"]

_SERVER_PLACEHOLDERS: Final = frozenset({"filters", "variables"})
"""Placeholders that the server fills in itself."""
_DECIMAL_DIGITS: Final = 18
"""Digits of a Decimal64, the only decimal type that HogQL creates."""


def bind(sql: str, values: Mapping[str, object] | None) -> tuple[str, dict[str, object]]:
    """Return a query and its values in the form in which they are sent.

    Args:
        sql: HogQL with a `{name}` for each value.
        values: The values by name.

    Raises:
        TypeError: A value has no constant in HogQL.
        ValueError: The query is empty, a value is missing or unused, or a datetime has no zone.
    """
    if not sql.strip():
        raise ValueError("the query is empty")
    values = dict(values or {})
    scan = scan_sql(sql)
    _check_names(scan, values)
    sent = {name: _to_json(value, f"values[{name!r}]") for name, value in values.items()}
    return _wrap_placeholders(sql, scan, values), sent


def _check_names(scan: SqlScan, values: Mapping[str, object]) -> None:
    for name in values:
        if not isinstance(cast("object", name), str) or not name.isidentifier():
            raise ValueError(f"values: {name!r} is not a valid placeholder name")
    required = {p.name for p in scan.placeholders if p.name} - (
        _SERVER_PLACEHOLDERS - values.keys()
    )
    missing = sorted(required - values.keys())
    # An f-string, an expression or a tag may use a name that the scan does not see.
    unused = sorted(values.keys() - required) if scan.complete else []
    if missing:
        message = f"the query has {{{missing[0]}}}, and values has no {missing[0]!r}"
        if similar := difflib.get_close_matches(missing[0], unused, 1):
            message += f"; did you mean {similar[0]!r}?"
        raise ValueError(message)
    if unused:
        raise ValueError(
            f"values has {unused[0]!r}, and the query has no {{{unused[0]}}}; a placeholder is "
            "written without quotes around it"
        )


def _to_json(value: object, what: str, *, nested: bool = False) -> object:
    """Return a value as JSON data that the server inserts as the right constant."""
    if isinstance(value, Enum):
        return _to_json(value.value, what, nested=nested)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{what} is {value}, which JSON cannot represent")
        return value
    if isinstance(value, datetime):
        # The list is one placeholder: the conversion cannot be put around its elements.
        if nested:
            raise TypeError(f"{what}: a datetime inside a list; give each a placeholder of its own")
        return _format_datetime(value, what)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return _decimal(value, what, nested)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # A numpy scalar.
        return _to_json(cast("Any", value).item(), what, nested=nested)
    if isinstance(value, list | tuple | set | frozenset):
        items = cast("list[object]", value)
        return [_to_json(v, f"{what}[{i}]", nested=True) for i, v in enumerate(items)]
    kind = type(value).__name__
    raise TypeError(f"{what} is a {kind}, for which HogQL has no constant{_type_hint(value)}")


def _type_hint(value: object) -> str:
    if isinstance(value, timedelta):
        return ": give its seconds, and write toIntervalSecond({name})"
    if isinstance(value, time):
        return ": give it as text"
    if isinstance(value, bytes):
        return ": decode it"
    if isinstance(value, Mapping):
        return ": give json.dumps(…) of it, or its fields one by one"
    return ""


def _format_datetime(value: datetime, what: str) -> str:
    if value.utcoffset() is None:
        raise ValueError(
            f"{what} is a datetime without a time zone ({value.isoformat()}): the server would use "
            "that of the project. Add one: datetime.now(UTC), or value.replace(tzinfo=UTC)"
        )
    utc = value.astimezone(UTC).replace(tzinfo=None)
    return f"{utc.isoformat()}Z"


def _decimal(value: Decimal, what: str, nested: bool) -> object:
    if not value.is_finite():
        raise ValueError(f"{what} is {value}, which JSON cannot represent")
    if value == value.to_integral_value():
        return int(value)
    # JSON has the shortest text of a float, which the server parses back to this decimal.
    if Decimal(repr(float(value))) == value:
        return float(value)
    if nested:
        raise TypeError(f"{what}: {value} inside a list has more digits than a float represents")
    digits, scale = len(value.as_tuple().digits), _scale(value)
    if max(digits, scale) > _DECIMAL_DIGITS:
        # The server would convert it to NULL.
        raise ValueError(
            f"{what} is {value}, and HogQL's decimals have {_DECIMAL_DIGITS} digits: round it"
        )
    return format(value, "f")


def _scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # It is finite.
    return max(0, -exponent)


def _wrap_placeholders(sql: str, scan: SqlScan, values: Mapping[str, object]) -> str:
    """Return the query with conversions around its placeholders, and without a trailing `;`."""
    pieces: list[str] = []
    position = 0
    for placeholder in scan.placeholders:
        wrapped = _wrap_placeholder(sql, placeholder, values)
        pieces += [sql[position : placeholder.start], wrapped]
        position = placeholder.end
    return "".join([*pieces, sql[position : scan.end]])


def _wrap_placeholder(sql: str, placeholder: Placeholder, values: Mapping[str, object]) -> str:
    text = sql[placeholder.start : placeholder.end]
    value = values.get(placeholder.name)
    while isinstance(value, Enum):
        value = value.value
    if isinstance(value, datetime) and not placeholder.is_datetime_argument:
        return f"toDateTime({text})"
    if isinstance(value, Decimal) and isinstance(_decimal(value, placeholder.name, False), str):
        return f"toDecimal({text}, {_scale(value)})"
    return text
