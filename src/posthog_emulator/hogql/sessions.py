"""The table `sessions`, derived from the events with the same `$session_id`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .types import BOOL, DATETIME64, INT64, STRING, UINT64, Type

__all__ = ["SESSIONS", "Derived"]


@dataclass(frozen=True, slots=True)
class Derived:
    """A table that is a query over others."""

    sql: str
    columns: Mapping[str, tuple[str, Type]]
    """Name in HogQL → name in the query, and type."""


_PAGES = "event IN ('$pageview', '$screen')"


def _first(property: str, *, last: bool = False) -> str:
    read = f"json_extract_string(properties, '$.\"{property}\"')"
    chosen = "arg_max" if last else "arg_min"
    return f"{chosen}({read}, timestamp) FILTER (WHERE {read} IS NOT NULL)"


def _count(event: str) -> str:
    return f"count(*) FILTER (WHERE event = '{event}')"


# A whole number of seconds, as in PostHog's sessions table.
_SECONDS = "date_diff('second', min(timestamp), max(timestamp))"
_PAGEVIEWS = _count("$pageview")
_TEXTS: Final = {
    "$entry_current_url": _first("$current_url"),
    "$entry_pathname": _first("$pathname"),
    "$entry_hostname": _first("$host"),
    "$end_current_url": _first("$current_url", last=True),
    "$end_pathname": _first("$pathname", last=True),
    "$end_hostname": _first("$host", last=True),
    "$entry_referring_domain": _first("$referring_domain"),
    **{
        f"$entry_{name}": _first(name)
        for name in (
            "utm_source", "utm_campaign", "utm_medium", "utm_term", "utm_content",
            "gclid", "gad_source", "fbclid",
        )
    },
}  # fmt: skip
_MADE: Final[dict[str, tuple[str, Type]]] = {
    "session_id": ("session_id", STRING),
    "id": ("session_id", STRING),
    "distinct_id": ("arg_max(distinct_id, timestamp)", STRING),
    "$start_timestamp": ("min(timestamp)", DATETIME64),
    "$end_timestamp": ("max(timestamp)", DATETIME64),
    "$session_duration": (_SECONDS, INT64.or_null()),
    "duration": (_SECONDS, INT64.or_null()),
    "$pageview_count": (_PAGEVIEWS, UINT64),
    "$autocapture_count": (_count("$autocapture"), UINT64),
    "$screen_count": (_count("$screen"), UINT64),
    "$is_bounce": (
        f"(count(*) FILTER (WHERE {_PAGES}) > 0 AND count(*) FILTER (WHERE {_PAGES}) <= 1 "
        f"AND {_count('$autocapture')} = 0 AND {_SECONDS} < 10)",
        BOOL.or_null(),
    ),
    **{name: (sql, STRING.or_null()) for name, sql in _TEXTS.items()},
}


def _derived() -> Derived:
    # DuckDB's identifiers are case-insensitive and have no `$`, so the columns are numbered.
    columns = {name: (f"s{n}", kind) for n, (name, (_, kind)) in enumerate(_MADE.items())}
    columns["session_id"] = ("session_id", STRING)
    made = [f"{sql} AS s{n}" for n, (sql, _) in enumerate(_MADE.values()) if sql != "session_id"]
    columns["id"] = ("session_id", STRING)
    sql = (
        f"(SELECT session_id, {', '.join(made)} FROM events "  # noqa: S608
        "WHERE team_id = {team} AND session_id <> '' GROUP BY session_id)"
    )
    return Derived(sql, columns)


SESSIONS: Final = _derived()
"""The table `sessions`."""
