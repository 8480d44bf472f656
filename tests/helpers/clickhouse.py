"""One ClickHouse session for the whole test process, with tables as the emulator has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from chdb import session as chdb_session

TABLES = (
    "CREATE TABLE IF NOT EXISTS events (team_id Int64, uuid UUID, event String, "
    "distinct_id String, person_id UUID, timestamp DateTime64(6, 'UTC'), "
    "created_at DateTime64(6, 'UTC'), properties String, elements_chain String, "
    "`$session_id` String, `$window_id` String, `$group_0` String, `$group_1` String, "
    "`$group_2` String, `$group_3` String, `$group_4` String, person_mode String) "
    "ENGINE = MergeTree ORDER BY (team_id, toDate(timestamp), event)",
    "CREATE TABLE IF NOT EXISTS person (team_id Int64, id UUID, created_at DateTime64(6, 'UTC'), "
    "properties String, is_identified UInt8, is_deleted UInt8, version UInt64) "
    "ENGINE = ReplacingMergeTree(version) ORDER BY (team_id, id)",
    *(
        f"CREATE TABLE IF NOT EXISTS {name} (team_id Int64, distinct_id String, "
        "person_id UUID, is_deleted UInt8, version UInt64) "
        "ENGINE = ReplacingMergeTree(version) ORDER BY (team_id, distinct_id)"
        for name in ("person_distinct_id2", "person_distinct_id_overrides")
    ),
    "CREATE TABLE IF NOT EXISTS groups (team_id Int64, group_type_index UInt8, group_key String, "
    "created_at DateTime64(6, 'UTC'), updated_at DateTime64(6, 'UTC'), group_properties String) "
    "ENGINE = ReplacingMergeTree(updated_at) ORDER BY (team_id, group_type_index, group_key)",
    "CREATE TABLE IF NOT EXISTS cohortpeople (team_id Int64, cohort_id Int64, person_id UUID, "
    "sign Int8, version UInt64) ENGINE = MergeTree ORDER BY (team_id, cohort_id, person_id)",
    "CREATE TABLE IF NOT EXISTS person_static_cohort (team_id Int64, cohort_id Int64, "
    "person_id UUID) ENGINE = MergeTree ORDER BY (team_id, cohort_id, person_id)",
)


class ClickHouseError(Exception):
    """The engine refused a query."""


@cache
def _session() -> Any:
    return chdb_session.Session()


class Database:
    """A database of the session."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.run(f"CREATE DATABASE IF NOT EXISTS {name}", "default")
        for table in TABLES:
            self.run(table)

    def run(self, sql: str, database: str = "") -> Any:
        """Run a statement."""
        try:
            session = _session()
            session.query(f"USE {database or self._name}")
            return session.query(sql, "JSONCompact")
        except Exception as error:
            raise ClickHouseError(str(error)) from None

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows."""
        lines = "\n".join(json.dumps(row) for row in rows)
        self.run(
            f"INSERT INTO {table} SETTINGS date_time_input_format = 'best_effort' "
            f"FORMAT JSONEachRow {lines}"
        )

    def query(
        self, sql: str, settings: Mapping[str, str | int] | None = None
    ) -> tuple[list[str], list[list[Any]]]:
        """Return the types of the columns, and the rows."""
        given = {"output_format_json_quote_64bit_integers": 0, **(settings or {})}
        written = ", ".join(
            f"{name} = {value!r}" if isinstance(value, str) else f"{name} = {value}"
            for name, value in given.items()
        )
        answer = json.loads(self.run(f"SELECT * FROM ({sql}) SETTINGS {written}").bytes())
        return [one["type"] for one in answer["meta"]], answer["data"]


@cache
def engine_functions() -> frozenset[str]:
    """Return the names of the functions that the installed engine has."""
    answer = json.loads(
        _session().query("SELECT name FROM system.functions", "JSONCompact").bytes()
    )
    return frozenset(row[0] for row in answer["data"])
