"""The SQL beside this module, with the demo's words put in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from posthog_emulator.event_store.tables import MAX_GROUP_TYPES
from posthog_emulator.timestamps import micros, moment

from . import data
from .calendar import DAY, Day, days_of

if TYPE_CHECKING:
    import duckdb

    from posthog_emulator.event_store.ingest import ProjectEvents
    from posthog_emulator.event_store.property_types import Scope
    from posthog_emulator.event_store.store import EventStore

__all__ = ["Demo", "load", "statements"]


def statements(name: str, values: Mapping[str, object]) -> list[str]:
    """The statements of a file.

    Args:
        name: `macros`, `visitors`, `sessions`, `events` or `people`.
        values: Numbers and expressions, ours all of them, to put in place of `@these@`.
    """
    text = _text(name)
    for word, value in values.items():
        text = text.replace(f"@{word}@", str(value))
    return [statement for statement in text.split(";\n") if statement.strip()]


@cache
def _text(name: str) -> str:
    text = Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
    for word, texts in data.LISTS.items():
        text = text.replace(f"@{word}@", _array(texts)).replace(f"@n_{word}@", str(len(texts)))
    offsets = ", ".join(str(offset) for offset, _ in data.PLACES)
    return text.replace("@offsets@", f"[{offsets}]")


def _array(texts: Iterable[str]) -> str:
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"


_CHUNK = 250_000
_MOST_DAYS = 3650
_TAIL = 3 * 3_600_000_000
"""The last session begins so long before the end that it is over by then."""
_PAIRED = 0.9
"""How many events of a session of ordinary length can share a moment with their neighbour."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What was made."""

    events: int
    persons: int
    groups: int
    start: datetime
    end: datetime
    """When it all ends; the last event is within a few hours before."""


def load(
    store: EventStore,
    team_id: int,
    events: int,
    *,
    days: int,
    seed: int,
    until: datetime,
    ties: float,
    number: int,
) -> Demo:
    """Make the demo's events, persons and groups.

    Args:
        store: Where to put them.
        team_id: The project.
        events: How many.
        days: Over how many days.
        seed: Another makes another product; the same, with all else the same, the same bytes.
        until: When it ends.
        ties: About which part of the events is to share its moment with another.
        number: The highest number of a person so far.

    Raises:
        ValueError: An argument is out of its range, or the project has the demo already.
    """
    _check(events, days, ties)
    end = micros(until)
    start = end - _TAIL - days * DAY
    calendar = days_of(events, days, start)
    visitors = calendar[-1].first_user + calendar[-1].fresh
    project = store.project(team_id)
    with store.bulk_load() as connection:
        _enter_days(connection, calendar)
        index = project.ensure_group_type("company")
        if index is None:
            raise ValueError("the project has five group types, and none of them is 'company'")
        words = {
            "seed": seed,
            "dawn": start % DAY / DAY,
            "team": team_id,
            "days": days,
            "companies": max(5, visitors // 25),
            "ties": min(1.0, ties / _PAIRED),
            "number": number,
            "index": index,
            "groups": _columns(index),
        }

        def run(name: str, **more: int) -> None:
            for statement in statements(name, {**words, **more}):
                connection.execute(statement)

        run("macros")
        run("visitors")
        _refuse_twice(connection, team_id)
        for first, last in _chunks(calendar):
            run("sessions", first=first, last=last)
            before = _highest_row(connection)
            run("events")
            _note_events(connection, project, before)
        run("people")
        _note_persons(connection, project)
        project.groups.flush()
        project.property_types.flush()
        _compact(connection)
    groups = store.read("SELECT count(*) FROM groups WHERE team_id = ?", [team_id])[0][0]
    return Demo(events, visitors, groups, moment(start), moment(end))


def _check(events: int, days: int, ties: float) -> None:
    if events < 1:
        raise ValueError(f"a demo has at least one event, not {events}")
    if not 1 <= days <= _MOST_DAYS:
        raise ValueError(f"a demo goes over 1 to {_MOST_DAYS} days, not {days}")
    if not 0 <= ties <= 0.9:
        raise ValueError(f"ties is a part from 0 to 0.9, not {ties}")


def _enter_days(connection: duckdb.DuckDBPyConnection, calendar: list[Day]) -> None:
    connection.execute(
        "CREATE TEMP TABLE demo_days AS SELECT unnest(?::INTEGER[]) AS number, "
        "unnest(?::BIGINT[]) AS start, unnest(?::BIGINT[]) AS events, "
        "unnest(?::BIGINT[]) AS first_user, unnest(?::BIGINT[]) AS fresh",
        [
            [day.number for day in calendar],
            [day.start for day in calendar],
            [day.events for day in calendar],
            [day.first_user for day in calendar],
            [day.fresh for day in calendar],
        ],
    )


def _columns(index: int) -> str:
    columns = ["''"] * MAX_GROUP_TYPES
    columns[index] = "CASE WHEN identified THEN company ELSE '' END"
    return ", ".join(columns)


def _chunks(calendar: list[Day]) -> Iterator[tuple[int, int]]:
    """Runs of days that have about so many events as are made at once."""
    first, held = 0, 0
    for day in calendar:
        held += day.events
        if held >= _CHUNK:
            yield first, day.number + 1
            first, held = day.number + 1, 0
    if held:
        yield first, len(calendar)


def _refuse_twice(connection: duckdb.DuckDBPyConnection, team_id: int) -> None:
    known = connection.execute(
        "SELECT 1 FROM persons JOIN demo_visitors ON person_id = persons.id "
        "WHERE team_id = ? LIMIT 1",
        [team_id],
    ).fetchall()
    if known:
        raise ValueError(f"project {team_id} has this demo already; reset the emulator first")


def _highest_row(connection: duckdb.DuckDBPyConnection) -> int:
    found = connection.execute("SELECT coalesce(max(rowid), -1) FROM events").fetchall()
    return found[0][0]


def _note_events(
    connection: duckdb.DuckDBPyConnection, project: ProjectEvents, before: int
) -> None:
    """Look at a few events of each name, for the properties they have."""
    rows = connection.execute(
        "SELECT event, epoch_us(max(timestamp)), [arg_min(properties, timestamp), "
        "arg_max(properties, timestamp), min(properties), max(properties), "
        "arg_max(properties, length(properties))] FROM events WHERE rowid > ? "
        "GROUP BY event ORDER BY event",
        [before],
    ).fetchall()
    for name, at, samples in rows:
        for properties in samples:
            project.record_definition(name, at, json.loads(properties))


def _note_persons(connection: duckdb.DuckDBPyConnection, project: ProjectEvents) -> None:
    persons = "SELECT properties FROM persons WHERE team_id = ? LIMIT 1000"
    groups = "SELECT properties FROM groups WHERE team_id = ? LIMIT 10"
    scopes: tuple[tuple[Scope, str], ...] = (("person", persons), ("group", groups))
    for scope, query in scopes:
        for (properties,) in connection.execute(query, [project.team_id]).fetchall():
            project.property_types.record(scope, json.loads(properties))


def _compact(connection: duckdb.DuckDBPyConnection) -> None:
    for table in ("demo_days", "demo_visitors", "demo_sessions"):
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
    for macro in ("chance", "pick", "moment_uuid", "time_of_day"):
        connection.execute(f"DROP MACRO IF EXISTS temp.{macro}")
