"""Translate the HogQL query of an export for DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthog_emulator.features.query.endpoint import create_session
from posthog_emulator.features.query.runner import create_context
from posthog_emulator.http.errors import ApiError
from posthog_emulator.state import ApiCall

from .files import quote_identifier

__all__ = ["duckdb_query"]


def duckdb_query(call: ApiCall, sql: str, values: Mapping[str, Any]) -> str:
    """Translate a HogQL query to DuckDB's SQL, keeping the names of its columns.

    Args:
        call: The request.
        sql: The HogQL query; every column needs an alias.
        values: The values of its placeholders.

    Raises:
        ApiError: The query is rejected.
    """
    from posthog_emulator.hogql.problems import HogQLError
    from posthog_emulator.hogql.translate import whole

    try:
        query = whole(sql, create_context(create_session(call, "export"), {"values": values}))
    except HogQLError as error:
        raise ApiError(error.status, code=error.code, detail=error.detail) from None
    columns = [f"c{n} AS {quote_identifier(name)}" for n, (name, _) in enumerate(query.columns)]
    return f"SELECT {', '.join(columns)} FROM ({query.sql}) AS q"  # noqa: S608
