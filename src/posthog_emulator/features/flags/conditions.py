"""Whether a property meets a filter of a flag's condition."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from operator import ge, gt, le, lt
from typing import Any, Final

from posthog_emulator.json_types import is_array, is_object
from posthog_emulator.relative_dates import (
    parse_absolute_date,
    parse_date,
    parse_version,
    version_range,
)

__all__ = ["OPERATORS", "Unevaluable", "matches"]

_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": gt,
    "gte": ge,
    "lt": lt,
    "lte": le,
}
_NUMERAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Unevaluable(Exception):
    """A condition that cannot be judged; its flag fails."""


def matches(condition: Mapping[str, Any], held: Mapping[str, Any], now: datetime) -> bool:
    """Whether properties meet a filter.

    A property that is not there meets only the operators that say no: `is_not`, `is_not_set`,
    `not_icontains` and the like.

    Args:
        condition: An object of `key`, `operator` (`exact` by default) and `value`.
        held: The properties.
        now: The moment that relative dates count from.

    Raises:
        Unevaluable: The operator is not known, or its value makes no sense.
    """
    operator = condition.get("operator") or "exact"
    test = OPERATORS.get(operator)
    if test is None:
        raise Unevaluable(f"Unknown operator {operator}")
    key = str(condition.get("key"))
    if operator in {"is_set", "is_not_set"}:
        return (key in held) == (operator == "is_set")
    if key not in held:
        return operator in _DENIALS
    return test(operator, condition.get("value"), held[key], now)


def _exact(operator: str, wanted: Any, value: Any, now: datetime) -> bool:
    return _equal(wanted, value) == (operator == "exact")


def _equal(wanted: Any, value: Any) -> bool:
    if _is_truth(wanted):
        return _truth(wanted) == _truth(value)
    candidates: list[Any] = wanted if is_array(wanted) else [wanted]
    return _text(value).lower() in [_text(candidate).lower() for candidate in candidates]


def _is_truth(value: Any) -> bool:
    """Whether a value is `true` or `false`, perhaps as text, or only such values."""
    if is_array(value):
        return all(_is_truth(item) for item in value)
    return isinstance(value, bool) or (
        isinstance(value, str) and value.lower() in {"true", "false"}
    )


def _truth(value: Any) -> bool:
    if is_array(value):
        return all(_truth(item) for item in value)
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _words(operator: str, wanted: Any, value: Any, now: datetime) -> bool:
    kind = operator.removeprefix("not_")
    text, part = _text(value).translate(_LOWER), _text(wanted).translate(_LOWER)
    if kind == "icontains":
        found = part in text
    else:
        found = text.startswith(part) if kind == "starts_with" else text.endswith(part)
    return found != operator.startswith("not_")


def _pattern(operator: str, wanted: Any, value: Any, now: datetime) -> bool:
    try:
        # The server's engine has a strict `$`.
        pattern = re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", str(wanted)))
    except re.error:
        return False
    return (pattern.search(_text(value)) is not None) != operator.startswith("not_")


def _order(operator: str, wanted: Any, value: Any, now: datetime) -> bool:
    bound, number = _number(wanted), _number(value)
    if bound is None:
        raise Unevaluable(f"{wanted!r} is no number")
    return number is not None and _ORDERS[operator](number, bound)


def _between(operator: str, wanted: Any, value: Any, now: datetime) -> bool:
    bounds = [_number(bound) for bound in wanted] if is_array(wanted) else []
    if len(bounds) != 2 or bounds[0] is None or bounds[1] is None:
        raise Unevaluable(f"{wanted!r} is no pair of numbers")
    number = _number(value)
    inside = number is not None and bounds[0] <= number <= bounds[1]
    return inside == (operator == "between")


def _date(operator: str, wanted: Any, value: Any, now: datetime) -> bool:
    if value is None:
        return False
    bound = parse_date(str(wanted), now)
    if bound is None:
        raise Unevaluable(f"{wanted!r} is no date")
    if isinstance(value, int | float) and not isinstance(value, bool):
        at = _of_number(value)
    else:
        # Only a filter may speak of so long ago: what a person has is a date or none.
        at = parse_absolute_date(value.strip(), now) if isinstance(value, str) else None
    if at is None:
        return False
    if operator == "is_date_exact":
        return at.date() == bound.date()
    return at < bound if operator == "is_date_before" else at > bound


def _of_number(value: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _versions(operator: str, wanted: Any, value: Any, now: datetime) -> bool:
    if value is None:
        return False
    own = parse_version(_text(value))
    if operator in {"semver_tilde", "semver_caret", "semver_wildcard"}:
        bounds = version_range(operator, _text(wanted))
        if bounds is None:
            raise Unevaluable(f"{wanted!r} is no range of versions")
        return own is not None and bounds[0] <= own < bounds[1]
    other = parse_version(_text(wanted))
    if other is None:
        raise Unevaluable(f"{wanted!r} is no version")
    if own is None:
        return False
    if operator in {"semver_eq", "semver_neq"}:
        return (own == other) == (operator == "semver_eq")
    return _ORDERS[operator.removeprefix("semver_")](own, other)


def _presence(operator: str, wanted: Any, value: Any, now: datetime) -> bool:
    return operator == "is_set"


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and not _NUMERAL.fullmatch(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    """A value as the server compares it: text as it is, all else as compact JSON."""
    if isinstance(value, str):
        return value
    if is_array(value) or is_object(value):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return json.dumps(value)


_Test = Callable[[str, Any, Any, datetime], bool]

OPERATORS: Final[Mapping[str, _Test]] = {
    **dict.fromkeys(("exact", "is_not"), _exact),
    **dict.fromkeys(("is_set", "is_not_set"), _presence),
    **{
        f"{no}{kind}": _words
        for no in ("", "not_")
        for kind in ("icontains", "starts_with", "ends_with")
    },
    **dict.fromkeys(("regex", "not_regex"), _pattern),
    **dict.fromkeys(_ORDERS, _order),
    **dict.fromkeys(("between", "not_between"), _between),
    **dict.fromkeys(("is_date_exact", "is_date_before", "is_date_after"), _date),
    **{
        f"semver_{kind}": _versions
        for kind in ("eq", "neq", "gt", "gte", "lt", "lte", "tilde", "caret", "wildcard")
    },
}
"""What each operator does with a property that is there."""

_DENIALS: Final = frozenset(
    {"is_not", "not_icontains", "not_starts_with", "not_ends_with", "not_regex", "not_between"}
)
