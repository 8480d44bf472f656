"""Tables of HogQL as data: their columns, the tables joined when asked for, how they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from .escape import quoted
from .sessions import SESSION_COLUMNS, SESSION_HIDDEN, SESSIONS

__all__ = ["OWN_OBJECTS", "TABLES", "Column", "Lazy", "Table"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    sql: str
    """With `{t}` for the alias of the table."""
    kind: str = "string"
    """Kind of its values; see `values.py`."""
    nullable: bool = False
    hidden: bool = False
    """Whether `*` leaves it out."""
    scope: str = ""
    """Whose properties it holds, when it is their JSON text."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """A table that is joined when one of its columns is asked for."""

    table: str
    left: str
    """The column of the left table."""
    right: str
    """The column of the right table that equals it."""
    how: str = "LEFT JOIN"
    index: int | None = None
    """Which groups are meant, for the table `groups`."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: either one of the database, or derived by a subquery."""

    columns: Mapping[str, Column]
    lazy: Mapping[str, Lazy] = field(default_factory=dict[str, Lazy])
    physical: str = ""
    derived: str = ""
    """What follows SELECT … FROM, with `{t}` for the alias inside, `{team}` and `{cohorts}`."""


_COLUMN: Final = re.compile(r"([^=:!?@]+)(?:=([^:!?@]+))?(?::(\w+))?(\??)(!?)(?:@(\w+))?\Z")


def _columns(text: str) -> dict[str, Column]:
    """Read columns: `name=physical:kind?!@scope`, `?` for nullable and `!` for hidden."""
    columns: dict[str, Column] = {}
    for word in text.split():
        match = _COLUMN.match(word)
        assert match is not None
        name, physical, kind, null, hidden, scope = match.groups()
        sql = f"{{t}}.{quoted(physical or name)}"
        columns[name] = Column(sql, kind or "string", bool(null), bool(hidden), scope or "")
    return columns


def _own(table: str, more: str = "") -> str:
    """Return how to read the rows of a table that are not replaced by newer ones."""
    return f"{table} AS {{t}} FINAL WHERE {{t}}.team_id = {{team}}{more}"


_LIVING: Final = " AND {t}.is_deleted = 0"
_GROUPS: Final = range(5)
_PERSON: Final = {"person": Lazy("persons", "person_id", "id", "INNER JOIN")}
_IDS: Final = "distinct_id person_id:uuid team_id:int!"
_ISSUE: Final = (
    "accurateCastOrNull(JSONExtractString({t}.properties, '$exception_issue_id'), 'UUID')"
)
_CHAINS: Final = {
    "elements_chain_href": ("extract({t}.elements_chain, {})", '(?::|")href="(.*?)"', "string"),
    **{
        f"elements_chain_{name}": (
            "arrayDistinct(extractAll({t}.elements_chain, {}))",
            regex,
            "array",
        )
        for name, regex in (
            ("texts", '(?::|")text="(.*?)"'),
            ("ids", '(?::|")attr_id="(.*?)"'),
            ("elements", r"(?:^|;)(a|button|form|input|select|textarea|label)(?:\\.|$|:)"),
        )
    },
}

TABLES: Final[Mapping[str, Table]] = {
    "events": Table(
        {
            # person_id is that of the merged person when the project has merged persons.
            **_columns(
                "uuid:uuid event properties@event timestamp:datetime team_id:int! distinct_id "
                "elements_chain created_at:datetime $session_id $window_id person_mode "
                "person_id:uuid event_person_id=person_id:uuid! "
                + " ".join(f"$group_{n}" for n in _GROUPS)
            ),
            **{
                name: Column(sql.replace("{}", f"'{regex}'"), kind)
                for name, (sql, regex, kind) in _CHAINS.items()
            },
            "$session_id_uuid": Column(
                "accurateCastOrNull({t}.`$session_id`, 'UUID')", "uuid", True, True
            ),
            "issue_id": Column(_ISSUE, "uuid", True, True),
            "event_issue_id": Column(_ISSUE, "uuid", True, True),
        },
        {
            **_PERSON,
            "poe": Lazy("persons", "person_id", "id"),
            "pdi": Lazy("person_distinct_ids", "distinct_id", "distinct_id", "INNER JOIN"),
            "override": Lazy("person_distinct_id_overrides", "distinct_id", "distinct_id"),
            "session": Lazy("sessions", "$session_id", "session_id"),
            **{
                f"{name}_{n}": Lazy("groups", f"$group_{n}", "key", index=n)
                for n in _GROUPS
                for name in ("group", "goe")
            },
        },
        physical="events",
    ),
    "persons": Table(
        _columns("id:uuid created_at:datetime team_id:int! properties@person is_identified:bool"),
        {"pdi": Lazy("person_distinct_ids", "id", "person_id", "INNER JOIN")},
        derived=_own("person", _LIVING),
    ),
    "raw_persons": Table(
        _columns(
            "id:uuid created_at:datetime team_id:int! properties@person is_identified:bool "
            "is_deleted:bool version:int"
        ),
        physical="person",
    ),
    "person_distinct_ids": Table(
        _columns(_IDS), _PERSON, derived=_own("person_distinct_id2", _LIVING)
    ),
    "raw_person_distinct_ids": Table(
        _columns(f"{_IDS} is_deleted:bool version:int"), _PERSON, physical="person_distinct_id2"
    ),
    "person_distinct_id_overrides": Table(
        _columns(_IDS), _PERSON, derived=_own("person_distinct_id_overrides", _LIVING)
    ),
    "groups": Table(
        _columns(
            "index=group_type_index:int team_id:int! key=group_key created_at:datetime "
            "updated_at:datetime properties=group_properties@group"
        ),
        derived=_own("groups"),
    ),
    "raw_groups": Table(
        _columns(
            "index=group_type_index:int team_id:int! key=group_key created_at:datetime "
            "updated_at:datetime properties=group_properties@group"
        ),
        physical="groups",
    ),
    "cohort_people": Table(
        _columns("person_id:uuid cohort_id:int team_id:int!"),
        _PERSON,
        derived="(SELECT DISTINCT team_id, person_id, cohort_id FROM cohortpeople WHERE team_id = "
        "{team} AND {cohorts}) AS {t}",
    ),
    "raw_cohort_people": Table(
        _columns("person_id:uuid cohort_id:int team_id:int! sign:int version:int"),
        _PERSON,
        physical="cohortpeople",
    ),
    "static_cohort_people": Table(
        _columns("person_id:uuid cohort_id:int team_id:int!"),
        _PERSON,
        physical="person_static_cohort",
    ),
    **{
        name: Table(
            {
                column: Column(sql, kind, nullable, column in SESSION_HIDDEN)
                for column, (sql, kind, nullable) in SESSION_COLUMNS.items()
            },
            derived=SESSIONS,
        )
        for name in ("sessions", "raw_sessions")
    },
}
"""By name."""

OWN_OBJECTS: Final = frozenset(
    {"session_replay_events", "log_entries", "app_metrics", "heatmaps", "query_log", "logs"}
)
"""Tables outside `system` whose rows the emulator gives."""
