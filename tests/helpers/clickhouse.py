"""Databases of the embedded ClickHouse with the emulator's tables, for tests of SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from posthog_emulator.clickhouse import engine
from posthog_emulator.clickhouse.errors import ClickHouseError
from posthog_emulator.event_store.tables import TABLES

__all__ = ["ClickHouseError", "Database", "engine_functions"]


@cache
def _open(name: str) -> engine.Database:
    return engine.open_database(TABLES)


class Database:
    """A database of this process, the same for each name."""

    def __init__(self, name: str) -> None:
        self._database = _open(name)

    def run(self, sql: str) -> None:
        """Run a statement."""
        self._database.execute(sql.encode())

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
        text = self._database.select(
            f"SELECT * FROM ({sql}\n)",
            "JSONCompact",
            settings={"output_format_json_quote_decimals": 0, **(settings or {})},
        )
        answer = json.loads(text)
        return [one["type"] for one in answer["meta"]], answer["data"]


@cache
def engine_functions() -> frozenset[str]:
    """Return the names of the functions that the installed engine has."""
    return _open("functions").function_names()
