"""Property filters of the API as SQL about a column of JSON objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import is_array, is_object

__all__ = ["filter_sql", "json_pointer", "parse_filters"]


def parse_filters(text: str | None) -> list[dict[str, Any]]:
    """The filters in a query parameter `properties`.

    Raises:
        Problem: 400, they cannot be read.
    """
    if not text:
        return []
    try:
        given: Any = json.loads(text)
    except ValueError:
        raise invalid("Properties are unparsable!", "properties") from None
    conditions: list[Any] = given if is_array(given) else [given]
    if not all(is_object(one) and isinstance(one.get("key"), str) for one in conditions):
        raise invalid("Properties are unparsable!", "properties")
    return conditions


def json_pointer(key: str) -> str:
    """A JSON pointer to a property."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def filter_sql(column: str, property_filter: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """One filter.

    Args:
        column: The column of JSON texts.
        given: `key`, `value` and perhaps `operator`.

    Returns:
        SQL, and the values of its placeholders.

    Raises:
        Problem: 400, the emulator does not know the operator.
    """
    held, path = f"json_extract_string({column}, ?)", json_pointer(property_filter["key"])
    wanted = property_filter.get("value")
    texts = [_text(one) for one in (wanted if is_array(wanted) else [wanted])]
    listed = "(SELECT unnest(?::VARCHAR[]))"
    match property_filter.get("operator") or "exact":
        case "exact":
            return f"{held} IN {listed}", [path, texts]
        case "is_not":
            return f"({held} IS NULL OR {held} NOT IN {listed})", [path, path, texts]
        case "icontains":
            return f"contains(lower({held}), lower(?))", [path, texts[0]]
        case "not_icontains":
            return f"NOT contains(lower(coalesce({held}, '')), lower(?))", [path, texts[0]]
        case "gt" | "gte" | "lt" | "lte" as operator:
            sign = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[operator]
            return f"TRY_CAST({held} AS DOUBLE) {sign} TRY_CAST(? AS DOUBLE)", [path, texts[0]]
        case "is_set":
            return f"json_exists({column}, ?)", [path]
        case "is_not_set":
            return f"NOT json_exists({column}, ?)", [path]
        case operator:
            raise invalid(f"The emulator cannot filter by '{operator}'.", "properties")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
