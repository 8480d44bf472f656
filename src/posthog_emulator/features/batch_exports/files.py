"""Write exported rows to Parquet and JSONLines files with DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import duckdb

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
_ISO_COLUMN: Final = "strftime({0} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%f+00:00') AS {0}"

_EVENTS_SQL: Final = """
SELECT e.uuid::VARCHAR AS uuid, e.timestamp AT TIME ZONE 'UTC' AS timestamp,
       e.created_at AT TIME ZONE 'UTC' AS created_at, e.event,
       nullif(e.properties, '') AS properties, e.distinct_id, e.elements_chain,
       p.properties AS person_properties, e.person_id::VARCHAR AS person_id
FROM events e LEFT JOIN persons p ON p.team_id = e.team_id AND p.id = e.person_id
WHERE e.team_id = $team AND {when}
  AND (len($include) = 0 OR list_contains($include, e.event))
  AND NOT list_contains($exclude, e.event)
ORDER BY e.created_at, e.timestamp, e.uuid
"""
_BY_ARRIVAL: Final = (
    "e.created_at >= $start AND e.created_at < $end "
    "AND e.timestamp >= $oldest AND e.timestamp < $newest"
)
_BY_TIMESTAMP: Final = "e.timestamp >= $start AND e.timestamp < $end"
# A person is exported once per distinct id, and also when only `last_seen_at` has changed, which
# is stored to the hour: hence the rounded start.
_PERSONS_SQL: Final = """
SELECT d.team_id::BIGINT AS team_id, d.distinct_id, p.id::VARCHAR AS person_id, p.properties,
       0::BIGINT AS person_distinct_id_version, p.version AS person_version,
       p.created_at AT TIME ZONE 'UTC' AS created_at, false AS is_deleted
FROM persons p JOIN person_distinct_ids d ON d.team_id = p.team_id AND d.person_id = p.id
LEFT JOIN person_records r ON r.team_id = p.team_id AND r.id = p.id
WHERE p.team_id = $team AND p.created_at < $end
  AND greatest(p.created_at, coalesce(r.last_seen_at, p.created_at)) >= date_trunc('hour', $start)
ORDER BY p.created_at, p.id, d.distinct_id
"""
_SESSIONS_SQL: Final = """
SELECT e.session_id, e.session_id AS session_id_v7, any_value(e.team_id)::BIGINT AS team_id,
       arg_min(e.distinct_id, e.timestamp) AS distinct_id,
       min(e.timestamp) AT TIME ZONE 'UTC' AS start_timestamp,
       max(e.timestamp) AT TIME ZONE 'UTC' AS end_timestamp,
       count(DISTINCT e.properties ->> '$."$current_url"')::BIGINT AS num_uniq_urls,
       arg_min(e.properties ->> '$."$current_url"', e.timestamp) AS entry_current_url,
       arg_min(e.properties ->> '$."$pathname"', e.timestamp) AS entry_pathname,
       arg_max(e.properties ->> '$."$current_url"', e.timestamp) AS end_current_url,
       arg_max(e.properties ->> '$."$pathname"', e.timestamp) AS end_pathname,
       count(*) FILTER (e.event = '$pageview')::BIGINT AS pageview_count,
       count(*) FILTER (e.event = '$autocapture')::BIGINT AS autocapture_count,
       count(*) FILTER (e.event = '$screen')::BIGINT AS screen_count,
       date_diff('second', min(e.timestamp), max(e.timestamp))::BIGINT AS session_duration,
       date_diff('second', min(e.timestamp), max(e.timestamp))::BIGINT AS duration
FROM events e WHERE e.team_id = $team AND e.session_id <> ''
GROUP BY e.session_id
HAVING greatest(max(e.created_at), max(e.timestamp)) >= $start
   AND greatest(max(e.created_at), max(e.timestamp)) < $end
ORDER BY start_timestamp, session_id
"""
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
    """The DuckDB query of the model `hogql`."""

    def sql(self) -> tuple[str, dict[str, Any]]:
        """Return the query and its parameters."""
        if self.query is not None:
            return self.query, {}
        start, end = _naive_utc(self.start), _naive_utc(self.end)
        values: dict[str, Any] = {"team": self.team_id, "start": start, "end": end}
        if self.model == "persons":
            return _PERSONS_SQL, values
        if self.model == "sessions":
            return _SESSIONS_SQL, values
        values |= {"include": list(self.include), "exclude": list(self.exclude)}
        if self.by_timestamp:
            return _EVENTS_SQL.format(when=_BY_TIMESTAMP), values
        values |= {"oldest": start - LOOKBACK, "newest": end + timedelta(days=1)}
        return _EVENTS_SQL.format(when=_BY_ARRIVAL), values


def count_rows(store: EventStore, selection: Selection) -> int:
    """Count the rows of a selection."""
    sql, values = selection.sql()
    cursor = store.cursor()
    try:
        rows = cursor.execute(f"SELECT count(*) FROM ({sql})", values).fetchall()  # noqa: S608
        return int(rows[0][0])
    finally:
        cursor.close()


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
    """
    sql, values = selection.sql()
    cursor = store.cursor()
    try:
        # Materialized, so that all files have the rows of one moment and parts do not overlap.
        cursor.execute(f"CREATE OR REPLACE TEMP TABLE exported AS {sql}", values)
        rows = int(cursor.execute("SELECT count(*) FROM exported").fetchall()[0][0])
        if not rows:
            return [], 0
        objects = _JSON_COLUMNS if selection.query is None else frozenset[str]()
        columns = _jsonlines_columns(cursor, objects) if format == "JSONLines" else "*"
        _copy(cursor, columns, "", path(0), format, compression)
        size = path(0).stat().st_size
        # The size of compressed rows is known only once they are written: the rows are split
        # evenly by the size of one file with all of them.
        parts = 1 if max_bytes is None else -(-size // max_bytes)
        if parts > 1:
            share = -(-rows // parts)
            parts = -(-rows // share)
            for part in range(parts):
                piece = f"LIMIT {share} OFFSET {part * share}"
                _copy(cursor, columns, piece, path(part), format, compression)
        return [path(part) for part in range(parts)], rows
    finally:
        cursor.execute("DROP TABLE IF EXISTS exported")
        cursor.close()


def _copy(
    cursor: duckdb.DuckDBPyConnection,
    columns: str,
    limit_clause: str,
    path: Path,
    format: str,
    compression: str | None,
) -> None:
    if format == "Parquet":
        options = f"FORMAT parquet, COMPRESSION {compression or 'uncompressed'}"
    else:
        options = f"FORMAT json, COMPRESSION {compression or 'none'}"
    rows = f"SELECT {columns} FROM exported {limit_clause}"  # noqa: S608
    target = str(path).replace("'", "''")
    cursor.execute(f"COPY ({rows}) TO '{target}' ({options})")


def _jsonlines_columns(cursor: duckdb.DuckDBPyConnection, objects: Collection[str]) -> str:
    """Return the SELECT list for JSONLines: JSON columns as objects, timestamps as ISO 8601."""
    described = cursor.execute("DESCRIBE exported").fetchall()
    columns: list[str] = []
    for column, kind, *_ in described:
        name = quote_identifier(column)
        if column in objects:
            columns.append(f"{name}::JSON AS {name}")
        elif kind == "TIMESTAMP WITH TIME ZONE":
            columns.append(_ISO_COLUMN.format(name))
        else:
            columns.append(name)
    return ", ".join(columns)


def quote_identifier(name: str) -> str:
    """Quote a column name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _naive_utc(timestamp: datetime) -> datetime:
    return timestamp.astimezone(UTC).replace(tzinfo=None)


def mebibytes_to_bytes(size: int | None) -> int | None:
    """Convert a size to bytes; None and 0 mean no limit."""
    return size * _MIB if size else None
