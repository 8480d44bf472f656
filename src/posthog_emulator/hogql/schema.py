"""Tables of HogQL, mapped to those of the event store. Queries can read no other table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from .sessions import SESSIONS
from .types import BOOL, DATETIME64, INT64, STRING, UINT64, UUID, Type

__all__ = ["ALIASES", "TABLES", "Column", "Lazy", "Table"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its SQL, with `{}` for the table's alias, and its type."""

    sql: str
    type: Type
    properties: str = ""
    """Whose properties it holds, when it is their JSON text."""
    shown: bool = True
    """Whether it is among those of `SELECT *`."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """A table that is joined when one of its columns is asked for."""

    table: str
    on: str
    """The condition, with `{left}` and `{right}` for the aliases."""
    instead: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Columns that the left table has as well, by its name for them: no join is needed."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table."""

    sql: str
    """What to select from, with `{team}` for the project's number."""
    columns: Mapping[str, Column]
    lazy: Mapping[str, Lazy] = field(default_factory=lambda: MappingProxyType({}))


# Every table is restricted to the project here, so that no query can read another project.
def _own(name: str) -> str:
    return f"(SELECT * FROM {name} WHERE team_id = {{team}})"  # noqa: S608


def _plain(name: str, type: Type, *, shown: bool = True, properties: str = "") -> Column:
    return Column(f"{{}}.{name}", type, properties, shown)


_PERSON = Lazy("persons", "{right}.id = {left}.person_id", {"id": "person_id"})
_PDI = Lazy("person_distinct_ids", "{right}.distinct_id = {left}.distinct_id")
_TEAM = _plain("team_id", Type("Int32"), shown=False)
_GROUPS: Final = range(5)

TABLES: Mapping[str, Table] = {
    "events": Table(
        _own("events"),
        {
            "uuid": _plain("uuid", UUID),
            "event": _plain("event", STRING),
            "properties": _plain("properties", STRING, properties="event"),
            "timestamp": _plain("timestamp", DATETIME64),
            "distinct_id": _plain("distinct_id", STRING),
            "elements_chain": _plain("elements_chain", STRING),
            "created_at": _plain("created_at", DATETIME64),
            "$session_id": Column("nullif({}.session_id, '')", STRING.or_null()),
            "$window_id": Column("nullif({}.window_id, '')", STRING.or_null()),
            "person_id": _plain("person_id", UUID),
            **{f"$group_{n}": _plain(f"group_{n}", STRING) for n in _GROUPS},
            "team_id": _TEAM,
        },
        {
            "person": _PERSON,
            "poe": _PERSON,
            "pdi": _PDI,
            "session": Lazy(
                "sessions",
                "{right}.session_id = {left}.session_id AND {left}.session_id <> ''",
            ),
            **{
                f"group_{n}": Lazy(
                    "groups",
                    f"{{right}}.group_type_index = {n} AND "
                    f"{{right}}.group_key = {{left}}.group_{n} AND {{left}}.group_{n} <> ''",
                )
                for n in _GROUPS
            },
        },
    ),
    "persons": Table(
        _own("persons"),
        {
            "id": _plain("id", UUID),
            "created_at": _plain("created_at", DATETIME64),
            "properties": _plain("properties", STRING, properties="person"),
            "is_identified": _plain("is_identified", BOOL),
            "team_id": _TEAM,
        },
        {"pdi": Lazy("person_distinct_ids", "{right}.person_id = {left}.id")},
    ),
    "person_distinct_ids": Table(
        _own("person_distinct_ids"),
        {
            "distinct_id": _plain("distinct_id", STRING),
            "person_id": _plain("person_id", UUID),
            "team_id": _TEAM,
        },
        {"person": _PERSON},
    ),
    "groups": Table(
        _own("groups"),
        {
            "index": _plain("group_type_index", INT64),
            "key": _plain("group_key", STRING),
            "created_at": _plain("created_at", DATETIME64),
            "properties": _plain("properties", STRING, properties="group"),
            "team_id": _TEAM,
        },
    ),
    "cohort_people": Table(
        _own("cohort_people"),
        {
            "person_id": _plain("person_id", UUID),
            "cohort_id": _plain("cohort_id", INT64),
            "team_id": _TEAM,
        },
        {"person": _PERSON},
    ),
    "sessions": Table(
        SESSIONS.sql,
        {name: Column(f"{{}}.{sql}", kind) for name, (sql, kind) in SESSIONS.columns.items()},
    ),
    "numbers": Table("", {"number": _plain("number", UINT64)}),
}
"""By name."""

ALIASES: Mapping[str, str] = {"raw_person_distinct_ids": "person_distinct_ids"}
"""Other names of tables: here the raw table has each distinct id once, as the other."""
