"""Match properties against the property filters of flag conditions."""

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
# Python's float() also accepts `nan`, `1_000` and surrounding spaces; the server does not.
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
# For substrings the server ignores the case of ASCII letters only; `exact` ignores all case.
_ASCII_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class EvaluationError(Exception):
    """A condition cannot be evaluated; the evaluation of its flag fails."""


def matches(condition: Mapping[str, Any], properties: Mapping[str, Any], now: datetime) -> bool:
    """Return whether properties match a filter.

    A missing property matches only negative operators: `is_not`, `is_not_set`, `not_icontains`
    and so on.

    Args:
        condition: An object with `key`, `operator` (`exact` by default) and `value`.
        properties: The properties of the person or group.
        now: The time that relative dates count from.

    Raises:
        EvaluationError: The operator is unknown or its value is invalid.
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
    # A filter for `true` or `false` compares booleans, whatever type the property has.
    if _is_boolean_like(expected):
        return _as_boolean(expected) == _as_boolean(value)
    candidates: list[Any] = expected if is_array(expected) else [expected]
    return _text(value).lower() in [_text(candidate).lower() for candidate in candidates]


def _is_boolean_like(value: Any) -> bool:
    """Return whether a value is a boolean or its text, or a list of nothing else."""
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
        contained = part in text
    else:
        contained = text.startswith(part) if kind == "starts_with" else text.endswith(part)
    return contained != operator.startswith("not_")


def _regex(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    try:
        # In Python `$` also matches before a final line break; in the server's engine, written
        # in Rust, it matches at the end only, as `\Z` does here.
        pattern = re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", str(expected)))
    except re.error:
        return False
    return (pattern.search(_text(value)) is not None) != operator.startswith("not_")


def _compare(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    bound, number = _parse_number(expected), _parse_number(value)
    if bound is None:
        raise EvaluationError(f"{expected!r} is not a number")
    return number is not None and _COMPARISONS[operator](number, bound)


def _between(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    bounds = [_parse_number(bound) for bound in expected] if is_array(expected) else []
    if len(bounds) != 2 or bounds[0] is None or bounds[1] is None:
        raise EvaluationError(f"{expected!r} is not a pair of numbers")
    number = _parse_number(value)
    inside = number is not None and bounds[0] <= number <= bounds[1]
    return inside == (operator == "between")


def _date(operator: str, expected: Any, value: Any, now: datetime) -> bool:
    if value is None:
        return False
    bound = parse_date(str(expected), now)
    if bound is None:
        raise EvaluationError(f"{expected!r} is not a date")
    if isinstance(value, int | float) and not isinstance(value, bool):
        at = _from_unix_seconds(value)
    else:
        # Relative dates such as `-7d` are valid in filters only, not in properties.
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
    actual = parse_version(_text(value))
    if operator in {"semver_tilde", "semver_caret", "semver_wildcard"}:
        bounds = version_range(operator, _text(expected))
        if bounds is None:
            raise EvaluationError(f"{expected!r} is not a range of versions")
        return actual is not None and bounds[0] <= actual < bounds[1]
    bound = parse_version(_text(expected))
    if bound is None:
        raise EvaluationError(f"{expected!r} is not a version")
    if actual is None:
        return False
    if operator in {"semver_eq", "semver_neq"}:
        return (actual == bound) == (operator == "semver_eq")
    return _COMPARISONS[operator.removeprefix("semver_")](actual, bound)


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
    """Return a value as the server compares it: text as it is, anything else as compact JSON."""
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
"""The test of each operator, for properties that are set."""

_NEGATIVE_OPERATORS: Final = frozenset(
    {"is_not", "not_icontains", "not_starts_with", "not_ends_with", "not_regex", "not_between"}
)
