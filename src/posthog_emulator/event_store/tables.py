"""Tables of the event store. Timestamps are UTC with microsecond precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["MAX_GROUP_TYPES", "TABLES", "ddl"]

MAX_GROUP_TYPES: Final = 5
"""Maximum number of group types of a project, as on the server."""

_TEXT = "VARCHAR"

TABLES: Mapping[str, Mapping[str, str]] = {
    "events": {
        "team_id": "INTEGER",
        "uuid": "UUID",
        "event": _TEXT,
        "distinct_id": _TEXT,
        "person_id": "UUID",
        "timestamp": "TIMESTAMP",
        "created_at": "TIMESTAMP",
        "properties": _TEXT,
        "elements_chain": _TEXT,
        "session_id": _TEXT,
        "window_id": _TEXT,
        **{f"group_{index}": _TEXT for index in range(MAX_GROUP_TYPES)},
    },
    "persons": {
        "team_id": "INTEGER",
        "id": "UUID",
        "created_at": "TIMESTAMP",
        "properties": _TEXT,
        "is_identified": "BOOLEAN",
        "version": "BIGINT",
    },
    "person_records": {
        "team_id": "INTEGER",
        "id": "UUID",
        "number": "BIGINT",
        "name": _TEXT,
        "last_seen_at": "TIMESTAMP",
    },
    "person_distinct_ids": {"team_id": "INTEGER", "distinct_id": _TEXT, "person_id": "UUID"},
    "groups": {
        "team_id": "INTEGER",
        "group_type_index": "INTEGER",
        "group_key": _TEXT,
        "created_at": "TIMESTAMP",
        "properties": _TEXT,
    },
    "group_types": {"team_id": "INTEGER", "group_type": _TEXT, "group_type_index": "INTEGER"},
    "cohort_people": {"team_id": "INTEGER", "cohort_id": "INTEGER", "person_id": "UUID"},
    "property_types": {"team_id": "INTEGER", "scope": _TEXT, "name": _TEXT, "type": _TEXT},
}
"""Column types by table and column.

`properties` is the text of a JSON object and never null; the other text columns of `events` are
empty where there is no value. `person_records` has what the persons API returns and HogQL does
not: the number, and an explicit name. The `scope` of a property is `event`, `person`, `group` or
`session`; its `type` is `String`, `Numeric`, `Boolean` or `DateTime`.
"""


def ddl() -> list[str]:
    """Return the statements that create missing tables."""
    return [
        f"CREATE TABLE IF NOT EXISTS {table} "
        f"({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
        for table, columns in TABLES.items()
    ]
