"""HogQL whose rows are wanted as files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncposthog.emulator.exports.files import quoted
from asyncposthog.emulator.queries.endpoint import session_of
from asyncposthog.emulator.queries.run import context_of
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.web.problems import Problem

__all__ = ["duckdb_query"]


def duckdb_query(call: Call, sql: str, values: Mapping[str, Any]) -> str:
    """The query for DuckDB, its columns by their names.

    Args:
        call: The request.
        sql: HogQL; every column needs an alias.
        values: The constants of its placeholders.

    Raises:
        Problem: It is refused.
    """
    from asyncposthog.emulator.hogql.problems import HogQLError
    from asyncposthog.emulator.hogql.translate import whole

    try:
        query = whole(sql, context_of(session_of(call, "export"), {"values": values}))
    except HogQLError as error:
        raise Problem(error.status, code=error.code, detail=error.detail) from None
    columns = [f"c{n} AS {quoted(name)}" for n, (name, _) in enumerate(query.columns)]
    return f"SELECT {', '.join(columns)} FROM ({query.sql}) AS q"  # noqa: S608
