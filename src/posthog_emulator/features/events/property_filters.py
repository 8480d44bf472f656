"""Translate property filters of the API to SQL conditions on a JSON column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import is_array, is_object

__all__ = ["contains_sql", "filter_sql", "parse_filters", "property_sql"]


def parse_filters(text: str | None) -> list[dict[str, Any]]:
    """Parse the query parameter `properties`.

    Raises:
        ApiError: 400, the filters are malformed.
    """
    if not text:
        return []
    try:
        parsed: Any = json.loads(text)
    except ValueError:
        raise invalid("Properties are unparsable!", "properties") from None
    filters: list[Any] = parsed if is_array(parsed) else [parsed]
    if not all(is_object(item) and isinstance(item.get("key"), str) for item in filters):
        raise invalid("Properties are unparsable!", "properties")
    return filters


def property_sql(column: str, key: str) -> tuple[str, list[Any]]:
    """Return the SQL of a property as text, and the values of its placeholders.

    Strings are without quotes, other values are JSON; a missing property and null are NULL.
    """
    return (
        f"if(JSONType({column}, ?) = 'String', JSONExtractString({column}, ?), "
        f"nullIf(nullIf(JSONExtractRaw({column}, ?), ''), 'null'))",
        [key] * 3,
    )


def filter_sql(column: str, property_filter: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return the SQL condition of one filter.

    Args:
        column: The JSON column.
        property_filter: `key`, `value` and optionally `operator`.

    Returns:
        SQL, and the values of its placeholders.

    Raises:
        ApiError: 400, the emulator does not support the operator.
    """
    key = property_filter["key"]
    value_sql, path = property_sql(column, key)
    expected = property_filter.get("value")
    texts = [_text(item) for item in (expected if is_array(expected) else [expected])]
    match property_filter.get("operator") or "exact":
        case "exact":
            return (f"{value_sql} IN ?", [*path, texts]) if texts else ("0", [])
        case "is_not":
            if not texts:
                return "1", []
            return f"ifNull({value_sql} NOT IN ?, 1)", [*path, texts]
        case "icontains":
            return contains_sql(value_sql), [*path, texts[0]]
        case "not_icontains":
            text = f"ifNull({value_sql}, '')"
            return f"NOT ({contains_sql(text)})", [*path, texts[0]]
        case "gt" | "gte" | "lt" | "lte" as operator:
            sign = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[operator]
            number = f"toFloat64OrNull({value_sql})"
            return f"{number} {sign} toFloat64OrNull(?)", [*path, texts[0]]
        case "is_set":
            return f"JSONHas({column}, ?)", [key]
        case "is_not_set":
            return f"NOT JSONHas({column}, ?)", [key]
        case operator:
            raise invalid(
                f"The emulator does not support the operator '{operator}' of a property filter.",
                "properties",
            )


def contains_sql(text: str) -> str:
    """Return the SQL condition that a text contains the value of a placeholder in any case."""
    return f"positionCaseInsensitiveUTF8({text}, ?) > 0"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
