"""Translate property filters of the API to SQL conditions on a JSON column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import is_array, is_object

__all__ = ["filter_sql", "json_pointer", "parse_filters"]


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


def json_pointer(key: str) -> str:
    """Return the JSON pointer of a property."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def filter_sql(column: str, property_filter: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return the SQL condition of one filter.

    Args:
        column: The JSON column.
        property_filter: `key`, `value` and optionally `operator`.

    Returns:
        SQL, and the values of its parameters.

    Raises:
        ApiError: 400, the emulator does not support the operator.
    """
    # The key is passed as a parameter, as a JSON pointer: it may contain any character.
    value_sql, path = f"json_extract_string({column}, ?)", json_pointer(property_filter["key"])
    expected = property_filter.get("value")
    texts = [_text(item) for item in (expected if is_array(expected) else [expected])]
    values_sql = "(SELECT unnest(?::VARCHAR[]))"
    match property_filter.get("operator") or "exact":
        case "exact":
            return f"{value_sql} IN {values_sql}", [path, texts]
        case "is_not":
            return f"({value_sql} IS NULL OR {value_sql} NOT IN {values_sql})", [path, path, texts]
        case "icontains":
            return f"contains(lower({value_sql}), lower(?))", [path, texts[0]]
        case "not_icontains":
            return f"NOT contains(lower(coalesce({value_sql}, '')), lower(?))", [path, texts[0]]
        case "gt" | "gte" | "lt" | "lte" as operator:
            sign = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[operator]
            return f"TRY_CAST({value_sql} AS DOUBLE) {sign} TRY_CAST(? AS DOUBLE)", [path, texts[0]]
        case "is_set":
            return f"json_exists({column}, ?)", [path]
        case "is_not_set":
            return f"NOT json_exists({column}, ?)", [path]
        case operator:
            raise invalid(
                f"The emulator does not support the operator '{operator}' of a property filter.",
                "properties",
            )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
