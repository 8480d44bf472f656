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

__all__ = ["OPERATORS", "EvaluationError", "matches"]

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": gt,
    "gte": ge,
    "lt": lt,
    "lte": le,
}
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ASCII_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class EvaluationError(Exception):
    """A condition that cannot be judged; its flag fails."""


def matches(condition: Mapping[str, Any], properties: Mapping[str, Any], now: datetime) -> bool:
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
        raise EvaluationError(f"Unknown operator {operator}")
    key = str(condition.get("key"))
    if operator in {"is_set", "is_not_set"}:
        return (key in properties) == (operator == "is_set")
    if key not in properties:
        return operator in _NEGATIVE_OPERATORS
    return test(operator, condition.get("value"), properties[key], now)


def _exact(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    return _equal(expected, value) == (operator == "exact")


def _equal(expected: Any, value: Any) -> bool:
    if _is_boolean_like(expected):
        return _as_boolean(expected) == _as_boolean(value)
    candidates: list[Any] = expected if is_array(expected) else [expected]
    return _text(value).lower() in [_text(candidate).lower() for candidate in candidates]


def _is_boolean_like(value: Any) -> bool:
    """Whether a value is `true` or `false`, perhaps as text, or only such values."""
    if is_array(value):
        return all(_is_boolean_like(item) for item in value)
    return isinstance(value, bool) or (
        isinstance(value, str) and value.lower() in {"true", "false"}
    )


def _as_boolean(value: Any) -> bool:
    if is_array(value):
        return all(_as_boolean(item) for item in value)
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _substring(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    kind = operator.removeprefix("not_")
    text, part = _text(value).translate(_ASCII_LOWER), _text(expected).translate(_ASCII_LOWER)
    if kind == "icontains":
        found = part in text
    else:
        found = text.startswith(part) if kind == "starts_with" else text.endswith(part)
    return found != operator.startswith("not_")


def _regex(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    try:
        # The server's engine has a strict `$`.
        pattern = re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", str(expected)))
    except re.error:
        return False
    return (pattern.search(_text(value)) is not None) != operator.startswith("not_")


def _compare(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    bound, number = _parse_number(expected), _parse_number(value)
    if bound is None:
        raise EvaluationError(f"{expected!r} is no number")
    return number is not None and _COMPARISONS[operator](number, bound)


def _between(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    bounds = [_parse_number(bound) for bound in expected] if is_array(expected) else []
    if len(bounds) != 2 or bounds[0] is None or bounds[1] is None:
        raise EvaluationError(f"{expected!r} is no pair of numbers")
    number = _parse_number(value)
    inside = number is not None and bounds[0] <= number <= bounds[1]
    return inside == (operator == "between")


def _date(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    if value is None:
        return False
    bound = parse_date(str(expected), now)
    if bound is None:
        raise EvaluationError(f"{expected!r} is no date")
    if isinstance(value, int | float) and not isinstance(value, bool):
        at = _from_unix_seconds(value)
    else:
        # Only a filter may speak of so long ago: what a person has is a date or none.
        at = parse_absolute_date(value.strip(), now) if isinstance(value, str) else None
    if at is None:
        return False
    if operator == "is_date_exact":
        return at.date() == bound.date()
    return at < bound if operator == "is_date_before" else at > bound


def _from_unix_seconds(value: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _semver(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    if value is None:
        return False
    own = parse_version(_text(value))
    if operator in {"semver_tilde", "semver_caret", "semver_wildcard"}:
        bounds = version_range(operator, _text(expected))
        if bounds is None:
            raise EvaluationError(f"{expected!r} is no range of versions")
        return own is not None and bounds[0] <= own < bounds[1]
    other = parse_version(_text(expected))
    if other is None:
        raise EvaluationError(f"{expected!r} is no version")
    if own is None:
        return False
    if operator in {"semver_eq", "semver_neq"}:
        return (own == other) == (operator == "semver_eq")
    return _COMPARISONS[operator.removeprefix("semver_")](own, other)


def _is_set(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    return operator == "is_set"


def _parse_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
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
    **dict.fromkeys(("is_set", "is_not_set"), _is_set),
    **{
        f"{no}{kind}": _substring
        for no in ("", "not_")
        for kind in ("icontains", "starts_with", "ends_with")
    },
    **dict.fromkeys(("regex", "not_regex"), _regex),
    **dict.fromkeys(_COMPARISONS, _compare),
    **dict.fromkeys(("between", "not_between"), _between),
    **dict.fromkeys(("is_date_exact", "is_date_before", "is_date_after"), _date),
    **{
        f"semver_{kind}": _semver
        for kind in ("eq", "neq", "gt", "gte", "lt", "lte", "tilde", "caret", "wildcard")
    },
}
"""What each operator does with a property that is there."""

_NEGATIVE_OPERATORS: Final = frozenset(
    {"is_not", "not_icontains", "not_starts_with", "not_ends_with", "not_regex", "not_between"}
)
