"""Write exported rows to Parquet and JSONLines files with ClickHouse."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from posthog_emulator.clickhouse.literals import bind, identifier, literal
from posthog_emulator.clickhouse.types import ColumnType, parse_type

if TYPE_CHECKING:
    from posthog_emulator.clickhouse.engine import Database
    from posthog_emulator.event_store.store import EventStore

__all__ = [
    "COMPRESSIONS",
    "LOOKBACK",
    "Selection",
    "count_rows",
    "mebibytes_to_bytes",
    "write_files",
]

LOOKBACK: Final = timedelta(days=4)
"""Events older than this on arrival are not exported with their interval, as on the server."""

COMPRESSIONS: Final[Mapping[str, Mapping[str | None, str]]] = {
    "Parquet": {
        None: ".parquet",
        **dict.fromkeys(("zstd", "gzip", "brotli", "lz4", "snappy"), ".parquet"),
    },
    "JSONLines": {None: ".jsonl", "gzip": ".jsonl.gz", "brotli": ".jsonl.br"},
}
"""File extension by format and compression."""

_MIB: Final = 1024 * 1024
_ROW: Final = "_export_row"
"""Name of the column that numbers the rows of an export."""
_BLOCK_BYTES: Final = 32 * _MIB
"""Bytes of rows that are written at once."""
_ROW_GROUP: Final = 122_880
"""Rows in a row group of a Parquet file, at most."""
_ROW_GROUP_BYTES: Final = 64 * _MIB
"""Bytes of rows in a row group, at most: the writer has several times as much in memory."""

_EVENTS_SQL: Final = """
SELECT toNullable(toString(e.uuid)) AS uuid, toNullable(e.timestamp) AS timestamp,
       toNullable(e.created_at) AS created_at, toNullable(toString(e.event)) AS event,
       nullIf(e.properties, '') AS properties, toNullable(e.distinct_id) AS distinct_id,
       toNullable(e.elements_chain) AS elements_chain,
       nullIf(p.properties, '') AS person_properties,
       toNullable(toString(e.person_id)) AS person_id
FROM {events} AS e LEFT JOIN (
    SELECT id, properties FROM person FINAL WHERE team_id = {team} AND is_deleted = 0
) AS p ON p.id = e.person_id
WHERE e.team_id = {team} AND {when}
"""
_BY_ARRIVAL: Final = (
    "e.created_at >= ? AND e.created_at < ? AND e.timestamp >= ? AND e.timestamp < ?"
)
_BY_TIMESTAMP: Final = "e.timestamp >= ? AND e.timestamp < ?"
# A person is exported once per distinct id, and also when only `last_seen_at` has changed, which
# is stored to the hour: hence the rounded start.
_PERSONS_SQL: Final = """
SELECT toNullable(toInt64({team})) AS team_id, toNullable(d.distinct_id) AS distinct_id,
       toNullable(toString(p.id)) AS person_id, toNullable(p.properties) AS properties,
       toNullable(toInt64(0)) AS person_distinct_id_version,
       toNullable(toInt64(p.version)) AS person_version, toNullable(p.created_at) AS created_at,
       toNullable(CAST(0, 'Bool')) AS is_deleted
FROM (SELECT * FROM person FINAL WHERE team_id = {team} AND is_deleted = 0) AS p
INNER JOIN (
    SELECT * FROM person_distinct_id2 FINAL WHERE team_id = {team} AND is_deleted = 0
) AS d ON d.person_id = p.id
LEFT JOIN (SELECT * FROM person_record FINAL WHERE team_id = {team}) AS r ON r.id = p.id
WHERE p.created_at < ? AND greatest(p.created_at, r.last_seen_at) >= toStartOfHour(?)
"""
_SESSIONS_SQL: Final = """
SELECT toNullable(e.session_id) AS session_id, session_id AS session_id_v7,
       toNullable(toInt64({team})) AS team_id,
       toNullable(argMin(e.distinct_id, e.timestamp)) AS distinct_id,
       toNullable(min(e.timestamp)) AS start_timestamp,
       toNullable(max(e.timestamp)) AS end_timestamp,
       toNullable(toInt64(uniqExact(e.url))) AS num_uniq_urls,
       argMin(e.url, e.timestamp) AS entry_current_url,
       argMin(e.path, e.timestamp) AS entry_pathname,
       argMax(e.url, e.timestamp) AS end_current_url,
       argMax(e.path, e.timestamp) AS end_pathname,
       toNullable(toInt64(countIf(e.event = '$pageview'))) AS pageview_count,
       toNullable(toInt64(countIf(e.event = '$autocapture'))) AS autocapture_count,
       toNullable(toInt64(countIf(e.event = '$screen'))) AS screen_count,
       toNullable(toInt64(dateDiff('second', min(e.timestamp), max(e.timestamp))))
           AS session_duration,
       session_duration AS duration
FROM (
    SELECT `$session_id` AS session_id, distinct_id, timestamp, created_at, event,
        if(JSONHas(properties, '$current_url'),
            toNullable(JSONExtractString(properties, '$current_url')), NULL) AS url,
        if(JSONHas(properties, '$pathname'),
            toNullable(JSONExtractString(properties, '$pathname')), NULL) AS path
    FROM events WHERE team_id = {team} AND `$session_id` != ''
) AS e
GROUP BY e.session_id
HAVING greatest(max(e.created_at), max(e.timestamp)) >= ?
   AND greatest(max(e.created_at), max(e.timestamp)) < ?
"""
_ORDERS: Final[Mapping[str, str]] = {
    "events": "created_at, timestamp, uuid",
    "persons": "created_at, person_id, distinct_id",
    "sessions": "start_timestamp, session_id",
    "hogql": _ROW,
}
"""The order of the rows, by model. Those of a HogQL query are numbered in its own order."""
_JSON_COLUMNS: Final = frozenset({"properties", "person_properties"})


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows to export."""

    team_id: int
    model: str
    """`events`, `persons`, `sessions` or `hogql`."""
    start: datetime
    """Inclusive start; of the time of arrival, unless `by_timestamp`."""
    end: datetime
    """Exclusive end."""
    include: Sequence[str] = ()
    """Names of the events to export; all if empty."""
    exclude: Sequence[str] = ()
    by_timestamp: bool = False
    """Whether the interval applies to the events' own timestamps, as in backfills."""

    query: str | None = None
    """The ClickHouse query of the model `hogql`."""
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """The settings that the query needs."""

    def sql(self, store: EventStore) -> str:
        """Return the query."""
        if self.query is not None:
            return self.query
        team = str(int(self.team_id))
        if self.model == "persons":
            return bind(_PERSONS_SQL.replace("{team}", team), [self.end, self.start])
        if self.model == "sessions":
            return bind(_SESSIONS_SQL.replace("{team}", team), [self.start, self.end])
        when = _BY_TIMESTAMP if self.by_timestamp else _BY_ARRIVAL
        values: list[Any] = [self.start, self.end]
        if not self.by_timestamp:
            values += [self.start - LOOKBACK, self.end + timedelta(days=1)]
        for names, condition in ((self.include, "IN"), (self.exclude, "NOT IN")):
            if names:
                when += f" AND e.event {condition} ?"
                values.append(list(names))
        events = store.events_table(self.team_id)
        sql = _EVENTS_SQL.format(events=events, team=team, when=when)
        return bind(sql, values)


def count_rows(store: EventStore, selection: Selection) -> int:
    """Count the rows of a selection.

    Raises:
        ClickHouseError: The query of the selection fails.
    """
    sql, database = selection.sql(store), store.database()
    text = database.select(
        f"(SELECT count() FROM ({sql}\n))",  # noqa: S608
        "TSV",
        settings=selection.settings,
    )
    return int(text)


def write_files(
    store: EventStore,
    selection: Selection,
    *,
    format: str,
    compression: str | None,
    max_bytes: int | None,
    path: Callable[[int], Path],
) -> tuple[list[Path], int]:
    """Write the rows of a selection to files.

    Args:
        store: The event store.
        selection: The rows.
        format: `Parquet` or `JSONLines`.
        compression: One of the compressions of the format.
        max_bytes: The approximate maximum size of a file; None for a single file.
        path: Returns the path of the n-th file, from 0.

    Returns:
        The files, in order, and the number of rows. Without rows there are no files.

    Raises:
        ClickHouseError: The query of the selection fails.
    """
    database = store.database()
    order = _ORDERS[selection.model]
    with _materialized(database, store, selection, order) as table:
        ((rows,),) = database.rows(f"SELECT count() FROM {table}")  # noqa: S608
        if not rows:
            return [], 0
        objects = _JSON_COLUMNS if selection.query is None else frozenset[str]()
        columns = _columns(database, table, format, objects)

        def write(part: int, first: int, count: int) -> None:
            select = (
                f"SELECT {columns} FROM {table} "  # noqa: S608
                f"ORDER BY {order} LIMIT {first}, {count}"
            )
            database.export(select, path(part), _options(format, compression))

        write(0, 0, rows)
        size = path(0).stat().st_size
        # The size of compressed rows is known only once they are written: the rows are split
        # evenly by the size of one file with all of them.
        parts = 1 if max_bytes is None else -(-size // max_bytes)
        if parts > 1:
            share = -(-rows // parts)
            parts = -(-rows // share)
            for part in range(parts):
                write(part, part * share, share)
        return [path(part) for part in range(parts)], rows


@contextmanager
def _materialized(
    database: Database, store: EventStore, selection: Selection, order: str
) -> Generator[str]:
    """Give a table with the rows of a selection, sorted by some columns."""
    # All files have the rows of one moment, and parts do not overlap. On disk, not in memory: the
    # table sorts blocks of rows when they are written, and merges them when they are read.
    table = f"exported_{uuid4().hex}"
    settings = {
        **selection.settings,
        "max_threads": 1,
        "max_insert_threads": 1,
        "max_block_size": 8192,
        "min_insert_block_size_bytes": _BLOCK_BYTES,
        "min_insert_block_size_rows": 0,
    }
    changes = ", ".join(f"{name} = {literal(value)}" for name, value in settings.items())
    sql = f"{selection.sql(store)}\n"
    if order == _ROW:
        sql = f"SELECT *, rowNumberInAllBlocks() AS {_ROW} FROM ({sql})"  # noqa: S608
    try:
        database.execute_apart(
            f"CREATE TABLE {table} ENGINE = MergeTree ORDER BY ({order}) "
            f"SETTINGS allow_nullable_key = 1 EMPTY AS {sql}"
        )
        database.execute_apart(f"INSERT INTO {table} {sql} SETTINGS {changes}")
        database.release_memory()
        yield table
    finally:
        database.execute_apart(f"DROP TABLE IF EXISTS {table}")
        database.release_memory()


def _options(format: str, compression: str | None) -> str:
    """Return the format and compression of a file."""
    if format == "Parquet":
        return (
            f"FORMAT Parquet SETTINGS output_format_parquet_row_group_size = {_ROW_GROUP}, "
            f"output_format_parquet_row_group_size_bytes = {_ROW_GROUP_BYTES}, "
            "output_format_parquet_parallel_encoding = 0, max_threads = 1, max_block_size = 8192, "
            f"output_format_parquet_compression_method = {literal(compression or 'none')}"
        )
    return f"COMPRESSION {literal(compression or 'none')} FORMAT LineAsString"


def _columns(database: Database, table: str, format: str, objects: Collection[str]) -> str:
    """Return the SELECT list of a file.

    Args:
        database: The database.
        table: The table.
        format: `Parquet` or `JSONLines`.
        objects: The columns with JSON, which are objects in JSONLines.
    """
    described = [
        (name, parse_type(kind))
        for name, kind, *_ in database.rows(f"DESCRIBE TABLE {table}")
        if name != _ROW
    ]
    if format == "Parquet":
        return ", ".join(_parquet_column(name, kind) for name, kind in described)
    pieces: list[str] = []
    for number, (name, kind) in enumerate(described):
        key = literal(("," if number else "{") + f"{_json_text(name)}:")
        column = identifier(name)
        if name in objects:
            value = f"ifNull({column}, 'null')"
        elif _plain(kind).name in {"DateTime", "DateTime64"}:
            value = _json_moment(column)
        else:
            value = f"ifNull(toJSONString({column}), 'null')"
        pieces += [key, value]
    return f"concat({', '.join(pieces)}, '}}') AS line"


def _plain(type: ColumnType) -> ColumnType:
    """Return a type without `Nullable` and `LowCardinality`."""
    return _plain(type.items[0]) if type.name in {"Nullable", "LowCardinality"} else type


def _parquet_column(name: str, type: ColumnType) -> str:
    column, plain = identifier(name), _plain(type)
    # As text, because Parquet has no type for them that every reader knows.
    if plain.name in {"UUID", "Enum8", "Enum16", "FixedString", "IPv4", "IPv6"} or (
        type.name == "LowCardinality" and plain.name == "String"
    ):
        return f"toString({column}) AS {column}"
    if plain.name == "DateTime":
        return f"toDateTime64({column}, 6, 'UTC') AS {column}"
    return column


def _json_moment(column: str) -> str:
    text = f"toString(toDateTime64({column}, 6, 'UTC'))"
    return f"ifNull(concat('\"', replaceOne({text}, ' ', 'T'), '+00:00\"'), 'null')"


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def mebibytes_to_bytes(size: int | None) -> int | None:
    """Convert a size to bytes; None and 0 mean no limit."""
    return size * _MIB if size else None
