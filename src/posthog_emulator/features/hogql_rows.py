"""Rows of a HogQL query, for features that compute numbers from events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthog_emulator.state import ApiCall, EmulatorState

__all__ = ["hogql_rows", "query_rows"]


def query_rows(call: ApiCall, sql: str, values: Mapping[str, Any]) -> list[list[Any]]:
    """Run a HogQL query in the project of a call, and return its rows.

    Args:
        call: The call; its first path parameter is the project.
        sql: The query, with a LIMIT if it may have more than 100 rows.
        values: The values of its placeholders.

    Raises:
        ApiError: The query is rejected or fails.
    """
    return hogql_rows(call.state, int(call.path_values[0]), sql, values)


def hogql_rows(
    state: EmulatorState, project: int, sql: str, values: Mapping[str, Any]
) -> list[list[Any]]:
    """Run a HogQL query in a project, and return its rows.

    Without an open event store there are no events: nothing is run, and no row is returned.

    Args:
        state: The emulator's state.
        project: The project.
        sql: The query, with a LIMIT if it may have more than 100 rows.
        values: The values of its placeholders.

    Raises:
        ApiError: The query is rejected or fails.
    """
    if not state.has_events and state.directory is None:
        return []
    # Imported here because it loads the query engine.
    from posthog_emulator.features.cohorts.membership import (
        project_cohorts,
        project_session,
        recalculate,
    )
    from posthog_emulator.features.query.runner import run_rows

    session = project_session(state, str(project))
    if "cohort" in f"{sql}{values}".lower():
        recalculate(state, str(project))
        session.cohorts = project_cohorts(state, str(project))
    return run_rows(session, sql, values)
