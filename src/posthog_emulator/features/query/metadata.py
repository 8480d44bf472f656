"""HogQLMetadata: validate a query without running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.parse import Expression, parse_expression
from posthog_emulator.http.errors import ApiError, invalid

from .result import Result, encode_json
from .runner import QuerySession, check_hogql
from .unknown_fields import reject_unknown_fields

__all__ = ["run_metadata"]

_ALLOWED: Final = frozenset(
    {"kind", "language", "query", "filters", "variables", "tags", "version", "modifiers", "debug"}
)


def run_metadata(
    session: QuerySession, query: Mapping[str, Any], options: Mapping[str, Any]
) -> Result:
    """Validate a query.

    Args:
        session: The session it would run in.
        query: The HogQLMetadata query.
        options: The translation options from its filters and variables.

    Raises:
        ApiError: 400, the language or a field is not supported.
    """
    reject_unknown_fields(query, _ALLOWED, "HogQLMetadata")
    language, text = query.get("language"), str(query.get("query"))
    if language not in {"hogQL", "hogQLExpr"}:
        raise invalid(f"The emulator supports hogQL and hogQLExpr only, not {language}.")
    message: str | None = None
    try:
        if language == "hogQLExpr":
            values = {"expression": Expression(parse_expression(text))}
            check_hogql(session, "SELECT {expression} FROM events", values=values, **options)
        else:
            check_hogql(session, text, **options)
    except (HogQLError, ApiError) as error:
        message = error.detail
    errors = (
        [] if message is None else [{"message": message, "start": 0, "end": len(text), "fix": None}]
    )
    head: dict[str, Any] = {
        "isValid": message is None,
        "query": text,
        "warnings": [],
        "notices": [],
    }
    return Result(encode_json(errors), head, field="errors")
