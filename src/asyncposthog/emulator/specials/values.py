"""The values a property has, the commonest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncposthog.emulator.events.conditions import pointer
from asyncposthog.emulator.state.world import Call

__all__ = ["common_values"]

_MOST = 25


def common_values(
    call: Call,
    table: str,
    key: str,
    mentioned: str | None,
    conditions: Sequence[str],
    values: Sequence[Any],
) -> list[dict[str, Any]]:
    """Values and how often each is there.

    Args:
        call: The call; its first placeholder is the project.
        table: `events`, `persons` or `groups`.
        key: The property.
        mentioned: What they are to contain.
        conditions: More conditions, as SQL.
        values: For the placeholders in those.
    """
    held = "json_extract_string(properties, ?)"
    where = " AND ".join(["team_id = ?", f"{held} IS NOT NULL", *conditions])
    given: list[Any] = [pointer(key), int(call.values[0]), pointer(key), *values]
    if mentioned:
        where += f" AND contains(lower({held}), lower(?))"
        given += [pointer(key), mentioned]
    rows = call.world.events.read(
        f"SELECT {held} AS name, count(*) AS n FROM {table} WHERE {where} "  # noqa: S608
        "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?",
        [*given, _MOST],
    )
    return [{"name": name, "count": count} for name, count in rows]
