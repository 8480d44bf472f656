"""Rows of a HogQL query, for features that compute numbers from events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from posthog_emulator.state import ApiCall

__all__ = ["query_rows"]


def query_rows(call: ApiCall, sql: str, values: Mapping[str, Any]) -> list[list[Any]]:
    """Run a HogQL query in the project of a call, and return its rows.

    Without an open event store there are no events: nothing is run, and no row is returned.

    Args:
        call: The call; its first path parameter is the project.
        sql: The query, with a LIMIT if it may have more than 100 rows.
        values: The values of its placeholders.

    Raises:
        ApiError: The query is rejected or fails.
    """
    if not call.state.has_events and call.state.directory is None:
        return []
    # Imported here because it loads the query engine.
    from posthog_emulator.features.query.endpoint import create_session
    from posthog_emulator.features.query.runner import run_hogql

    session = create_session(call, call.operation.id, sql)
    return json.loads(run_hogql(session, sql, values).rows)
