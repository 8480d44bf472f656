"""Tables of the event store, shaped like PostHog's. Timestamps are UTC, to the microsecond."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["COLUMNS", "FORMAT", "MAX_GROUP_TYPES", "TABLES"]

MAX_GROUP_TYPES: Final = 5
"""Maximum number of group types of a project, as on the server."""

FORMAT: Final = 1
"""Version of the tables, which is saved with their files. To be raised with every change."""

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "events": {
        "team_id": "Int64",
        "uuid": "UUID",
        "event": "String",
        "distinct_id": "String",
        "person_id": "UUID",
        "timestamp": "DateTime64",
        "created_at": "DateTime64",
        "properties": "String",
        "elements_chain": "String",
        "$session_id": "String",
        "$window_id": "String",
        **{f"$group_{index}": "String" for index in range(MAX_GROUP_TYPES)},
        "person_mode": "String",
        "_number": "UInt64",
    },
    "person": {
        "team_id": "Int64",
        "id": "UUID",
        "created_at": "DateTime64",
        "properties": "String",
        "is_identified": "UInt8",
        "is_deleted": "UInt8",
        "version": "UInt64",
    },
    "person_record": {
        "team_id": "Int64",
        "id": "UUID",
        "number": "Int64",
        "name": "String",
        "last_seen_at": "DateTime64",
        "is_deleted": "UInt8",
        "version": "UInt64",
    },
    "person_distinct_id2": {
        "team_id": "Int64",
        "distinct_id": "String",
        "person_id": "UUID",
        "is_deleted": "UInt8",
        "version": "UInt64",
    },
    "person_distinct_id_overrides": {
        "team_id": "Int64",
        "distinct_id": "String",
        "person_id": "UUID",
        "is_deleted": "UInt8",
        "version": "UInt64",
    },
    "groups": {
        "team_id": "Int64",
        "group_type_index": "Int64",
        "group_key": "String",
        "created_at": "DateTime64",
        "updated_at": "DateTime64",
        "group_properties": "String",
    },
    "cohortpeople": {
        "team_id": "Int64",
        "cohort_id": "Int64",
        "person_id": "UUID",
        "sign": "Int8",
        "version": "UInt64",
    },
    "person_static_cohort": {
        "team_id": "Int64",
        "cohort_id": "Int64",
        "person_id": "UUID",
        "_number": "UInt64",
    },
    "project_types": {
        "team_id": "Int64",
        "scope": "String",
        "name": "String",
        "type": "String",
        "version": "UInt64",
    },
}
"""Types by table and column.

`properties` is the text of a JSON object; the other text columns of `events` are empty where there
is no value. `_number` counts rows in order of arrival. `person_record` has what the persons API
returns and HogQL does not: the number, an explicit name (empty if there is none), the time of the
last event. `project_types` has the types of properties (`String`, `Numeric`, `Boolean`,
`DateTime`), with the scope `event`, `person` or `group`, and the index of each group type, with the
scope `group_type`.
"""

_REPLACING: Final = "ReplacingMergeTree(version) ORDER BY"
_ENGINES: Final[Mapping[str, str]] = {
    "events": "MergeTree ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id), "
    "cityHash64(uuid))",
    "person": f"{_REPLACING} (team_id, id)",
    "person_record": f"{_REPLACING} (team_id, id)",
    "person_distinct_id2": f"{_REPLACING} (team_id, distinct_id)",
    "person_distinct_id_overrides": f"{_REPLACING} (team_id, distinct_id)",
    "groups": "ReplacingMergeTree(updated_at) ORDER BY (team_id, group_type_index, group_key)",
    # A partition for each cohort: its members are replaced at once.
    "cohortpeople": "MergeTree PARTITION BY (team_id, cohort_id) ORDER BY person_id",
    "person_static_cohort": "MergeTree ORDER BY (team_id, cohort_id, person_id)",
    "project_types": f"{_REPLACING} (team_id, scope, name)",
}
_LOW_CARDINALITY: Final = {("events", "person_mode")}


def _definition(table: str) -> str:
    columns: list[str] = []
    for name, kind in COLUMNS[table].items():
        if kind == "DateTime64":
            kind = "DateTime64(6, 'UTC')"
        elif (table, name) in _LOW_CARDINALITY:
            kind = f"LowCardinality({kind})"
        columns.append(f"`{name}` {kind}")
    return f"({', '.join(columns)}) ENGINE = {_ENGINES[table]}"


TABLES: Mapping[str, str] = {table: _definition(table) for table in COLUMNS}
"""The definition of each table."""
