"""Rows of a HogQL query, for features that need figures from events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from posthog_emulator.state import EmulatorState

__all__ = ["hogql_rows"]

_MAX_ROWS = 50_000


def hogql_rows(
    state: EmulatorState, project: int, sql: str, values: Mapping[str, Any]
) -> list[list[Any]]:
    """Return the rows of a HogQL query over the events of a project; at most 50,000.

    Args:
        state: The emulator's state.
        project: The project.
        sql: The query, with a LIMIT if it may have more than 100 rows.
        values: The values of its placeholders.

    Raises:
        ApiError: The query fails.
    """
    # Imported here because the query engine is large.
    from posthog_emulator.features.query.runner import QuerySession, run_hogql

    session = QuerySession(
        team_id=project,
        now=state.settings.clock(),
        store=lambda: state.events,
        cohorts={},
        stubs=[],
    )
    rows: list[list[Any]] = json.loads(run_hogql(session, sql, values, max_rows=_MAX_ROWS).rows)
    return rows
