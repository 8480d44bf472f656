"""HogQLMetadata: validate a query without running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.http.errors import ApiError, invalid

from .result import Result, encode_json
from .runner import QuerySession, check_hogql
from .unknown_fields import reject_unknown_fields

__all__ = ["run_metadata"]

_KNOWN: Final = frozenset(
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
    from posthog_emulator.hogql.errors import HogQLError

    reject_unknown_fields(query, _KNOWN, "HogQLMetadata")
    language, text = query.get("language"), str(query.get("query"))
    if language not in {"hogQL", "hogQLExpr"}:
        raise invalid(f"The emulator supports hogQL and hogQLExpr only, not {language}.")
    message: str | None = None
    start, end = 0, len(text)
    try:
        if language == "hogQLExpr":
            from posthog_emulator.hogql.parse import parse_expression

            parse_expression(text)
            check_hogql(session, f"SELECT ({text}\n) FROM events", **options)  # noqa: S608
        else:
            check_hogql(session, text, **options)
    except (HogQLError, ApiError) as error:
        message = error.detail
        if isinstance(error, HogQLError) and error.start is not None and language == "hogQL":
            start, end = error.start, error.start if error.end is None else error.end
    errors = (
        [] if message is None else [{"message": message, "start": start, "end": end, "fix": None}]
    )
    head: dict[str, Any] = {
        "isValid": message is None,
        "query": text,
        "warnings": [],
        "notices": [],
    }
    return Result(encode_json(errors), head, field="errors")
