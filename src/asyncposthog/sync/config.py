"""Parse the configuration of a sync. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from math import isfinite
from typing import Any, Final, Literal, TypeAlias, cast

__all__ = ["FileFormat", "SyncConfig", "SyncExport", "parse_config"]

FileFormat: TypeAlias = Literal["parquet", "jsonl", "csv"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_RESOURCE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TIMED: Final = frozenset({"events", "sessions"})
_FIELDS: Final = frozenset(
    {
        "kind", "target", "start", "every", "overlap", "min_age", "format", "event", "where",
        "columns", "storage_options",
    }
)  # fmt: skip
_EVENT_FIELDS: Final = frozenset({"overlap", "min_age", "event"})
_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncExport:
    """One export of a sync."""

    name: str
    kind: str
    """`events`, whose new rows are exported in each round; or `sessions`, `persons`, `groups` or
    the name of a list such as `cohorts`, which are exported as a whole."""
    target: str
    """A folder or URL for events, and the file or URL of a snapshot."""
    start: datetime | None = None
    """Start of events and sessions."""
    every: float = _HOUR
    """Seconds from the start of a round to that of the next."""
    overlap: float = _HOUR
    """Seconds of the end of a round that the next one reads again, for events that arrive late."""
    min_age: float = 60.0
    """Events younger than this many seconds are left for the next round."""
    format: FileFormat = "parquet"
    event: tuple[str, ...] = ()
    where: str | None = None
    columns: tuple[str, ...] | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """The configuration of a sync."""

    state: str
    """The folder for the state."""
    exports: tuple[SyncExport, ...]


def parse_config(text: str) -> SyncConfig:
    """Return the configuration that a TOML text has.

    Raises:
        ValueError: It is not TOML, or a field is missing, unknown or wrong. The message names it.
    """
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from None
    _check_names(fields, {"state", "exports"}, "")
    state, exports = fields.get("state"), fields.get("exports")
    if not isinstance(state, str) or not state or "://" in state:
        raise ValueError("state must be the path of a local folder")
    if not isinstance(exports, dict) or not exports:
        raise ValueError("exports must have at least one table: [exports.events]")
    tables = cast("dict[str, object]", exports)
    return SyncConfig(state, tuple(_export(name, table) for name, table in tables.items()))


def _export(name: str, value: object) -> SyncExport:
    where = f"exports.{name}"
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{where}: a name has letters, digits, '-' and '_'")
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a table")
    fields = dict(cast("dict[str, Any]", value))
    _check_names(fields, _FIELDS, f"{where}.")
    kind = fields.get("kind", name)
    if not isinstance(kind, str) or _RESOURCE.fullmatch(kind) is None:
        raise ValueError(f"{where}.kind must be events, or the name of a list such as cohorts")
    target = fields.get("target")
    if not isinstance(target, str) or not target:
        raise ValueError(f"{where}.target must be a path or a URL")
    unused = sorted(fields.keys() & _EVENT_FIELDS) if kind != "events" else []
    if unused:
        raise ValueError(f"{where}.{unused[0]} is for events only")
    format_ = fields.get("format", "parquet")
    if format_ not in ("parquet", "jsonl", "csv"):
        raise ValueError(f"{where}.format must be parquet, jsonl or csv, not {format_!r}")
    start = _start(fields.get("start"), where)
    if (kind in _TIMED) != (start is not None):
        raise ValueError(
            f"{where}.start is {'missing' if kind in _TIMED else 'for events and sessions only'}"
        )
    condition = fields.get("where")
    if condition is not None and not isinstance(condition, str):
        raise ValueError(f"{where}.where must be a HogQL condition")
    options = fields.get("storage_options")
    if options is not None and not isinstance(options, dict):
        raise ValueError(f"{where}.storage_options must be a table")
    event = fields.get("event", [])
    columns = fields.get("columns")
    return SyncExport(
        name=name,
        kind=kind,
        target=target,
        start=start,
        every=_seconds(fields, "every", _HOUR, where, minimum=1),
        overlap=_seconds(fields, "overlap", _HOUR, where, minimum=1),
        min_age=_seconds(fields, "min_age", 60, where, minimum=0),
        format=format_,
        event=_texts([event] if isinstance(event, str) else event, f"{where}.event"),
        where=condition,
        columns=None if columns is None else _texts(columns, f"{where}.columns"),
        storage_options=cast("dict[str, Any] | None", options),
    )


def _check_names(fields: Mapping[str, Any], known: set[str] | frozenset[str], prefix: str) -> None:
    unknown = sorted(fields.keys() - known)
    if unknown:
        raise ValueError(f"{prefix}{unknown[0]} is unknown: there are {', '.join(sorted(known))}")


def _start(value: object, where: str) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{where}.start must have an offset: 2026-01-01T00:00:00Z")
        return value
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise ValueError(f"{where}.start must be a date or a date and time")


def _seconds(
    fields: Mapping[str, Any], name: str, default: float, where: str, *, minimum: float
) -> float:
    value: object = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where}.{name} must be a number of seconds")
    if not isfinite(value) or value < minimum:
        raise ValueError(f"{where}.{name} must be {minimum:g} or more")
    return float(value)


def _texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        isinstance(item, str) and item for item in cast("list[object]", value)
    ):
        raise ValueError(f"{where} must be a list of texts")
    return tuple(cast("list[str]", value))
