"""Translate the HogQL query of an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthog_emulator.features.query.endpoint import create_session
from posthog_emulator.features.query.runner import create_context
from posthog_emulator.http.errors import ApiError
from posthog_emulator.state import ApiCall

__all__ = ["clickhouse_query"]


def clickhouse_query(
    call: ApiCall, sql: str, values: Mapping[str, Any]
) -> tuple[str, Mapping[str, object]]:
    """Translate a HogQL query to ClickHouse SQL, with the names of its columns.

    Args:
        call: The request.
        sql: The HogQL query; every column needs an alias.
        values: The values of its placeholders.

    Returns:
        The SQL, and the settings that it needs.

    Raises:
        ApiError: The query is rejected.
    """
    from posthog_emulator.hogql.errors import HogQLError
    from posthog_emulator.hogql.translate import whole

    try:
        query = whole(sql, create_context(create_session(call, "export"), {"values": values}))
    except HogQLError as error:
        raise ApiError(error.status, code=error.code, detail=error.detail) from None
    return query.sql, query.settings
