"""Tables of HogQL as data: their columns, the tables joined when asked for, how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .sessions import SESSION_COLUMNS, SESSIONS
from .tables import Column, Lazy, Table

__all__ = ["OWN_OBJECTS", "TABLES"]

_GROUPS: Final = range(5)


def _plain(name: str, kind: str = "string", **more: object) -> Column:
    return Column(f"{{t}}.`{name}`", kind, **more)  # pyright: ignore[reportArgumentType]


def _latest(name: str, by: str, kind: str = "string", scope: str = "") -> Column:
    return Column(f"argMax({{t}}.{name}, {{t}}.{by})", kind, scope=scope)


def _latest_rows(physical: str, key: str) -> str:
    """Return how to read the rows of a table that are neither deleted nor replaced."""
    return (
        f"(SELECT {{columns}} FROM {physical} AS {{t}} WHERE {{t}}.team_id = {{team}} "  # noqa: S608
        f"GROUP BY {key} HAVING argMax({{t}}.is_deleted, {{t}}.version) = 0)"
    )


_TEAM: Final = _plain("team_id", "int", hidden=True)
_PERSON: Final = Lazy("persons", "{l}.person_id = {r}.id", "INNER JOIN", left="person_id")
_PDI: Final = Lazy("person_distinct_ids", "{l}.distinct_id = {r}.distinct_id", "INNER JOIN")


def _ids(physical: str) -> Table:
    return Table(
        {
            "distinct_id": Column("{t}.distinct_id"),
            "person_id": _latest("person_id", "version", "uuid"),
            "team_id": Column("any({t}.team_id)", "int", hidden=True),
        },
        {"person": _PERSON},
        derived=_latest_rows(physical, "{t}.distinct_id"),
    )


_CHAIN: Final = "{t}.elements_chain"
_ELEMENTS: Final = r"(?:^|;)(a|button|form|input|select|textarea|label)(?:\\.|$|:)"
_EVENTS: Final = Table(
    {
        "uuid": _plain("uuid", "uuid"),
        "event": _plain("event"),
        "properties": _plain("properties", scope="event"),
        "timestamp": _plain("timestamp", "datetime"),
        "team_id": _TEAM,
        "distinct_id": _plain("distinct_id"),
        "elements_chain": _plain("elements_chain"),
        "created_at": _plain("created_at", "datetime"),
        "$session_id": _plain("$session_id"),
        "$session_id_uuid": Column(
            "accurateCastOrNull({t}.`$session_id`, 'UUID')", "uuid", nullable=True, hidden=True
        ),
        "$window_id": _plain("$window_id"),
        "person_mode": _plain("person_mode"),
        # Replaced by the merged person when the project has merged persons.
        "person_id": _plain("person_id", "uuid"),
        "event_person_id": _plain("person_id", "uuid", hidden=True),
        **{f"$group_{n}": _plain(f"$group_{n}") for n in _GROUPS},
        "elements_chain_href": Column(f"extract({_CHAIN}, '(?::|\")href=\"(.*?)\"')"),
        "elements_chain_texts": Column(
            f"arrayDistinct(extractAll({_CHAIN}, '(?::|\")text=\"(.*?)\"'))", "array"
        ),
        "elements_chain_ids": Column(
            f"arrayDistinct(extractAll({_CHAIN}, '(?::|\")attr_id=\"(.*?)\"'))", "array"
        ),
        "elements_chain_elements": Column(
            f"arrayDistinct(extractAll({_CHAIN}, '{_ELEMENTS}'))", "array"
        ),
        "event_issue_id": Column(
            "accurateCastOrNull(JSONExtractString({t}.properties, '$exception_issue_id'), 'UUID')",
            "uuid",
            nullable=True,
            hidden=True,
        ),
        "issue_id": Column(
            "accurateCastOrNull(JSONExtractString({t}.properties, '$exception_issue_id'), 'UUID')",
            "uuid",
            nullable=True,
            hidden=True,
        ),
    },
    {
        "person": _PERSON,
        "poe": Lazy("persons", "{l}.person_id = {r}.id", "LEFT JOIN", left="person_id"),
        "pdi": _PDI,
        "override": Lazy(
            "raw_person_distinct_id_overrides", "{l}.distinct_id = {r}.distinct_id", "LEFT JOIN"
        ),
        "session": Lazy("sessions", "{l}.`$session_id` = {r}.session_id", "LEFT JOIN",
                        right="session_id"),
        **{
            f"{name}_{n}": Lazy(
                "groups",
                f"{{l}}.`$group_{n}` = {{r}}.key AND {{r}}.index = {n}",
                "LEFT JOIN",
                right="key index",
                scope=f"group_{n}",
            )
            for n in _GROUPS
            for name in ("group", "goe")
        },
    },
    physical="events",
)  # fmt: skip

_PERSONS: Final = Table(
    {
        "id": Column("{t}.id", "uuid"),
        "created_at": _latest("created_at", "version", "datetime"),
        "team_id": Column("any({t}.team_id)", "int", hidden=True),
        "properties": _latest("properties", "version", scope="person"),
        "is_identified": _latest("is_identified", "version", "bool"),
    },
    {"pdi": Lazy("person_distinct_ids", "{l}.id = {r}.person_id", "INNER JOIN", right="person_id")},
    derived=_latest_rows("person", "{t}.id"),
)

_GROUP_TABLE: Final = Table(
    {
        "index": Column("{t}.group_type_index", "int"),
        "team_id": Column("any({t}.team_id)", "int", hidden=True),
        "key": Column("{t}.group_key"),
        "created_at": Column("argMax({t}.created_at, {t}.updated_at)", "datetime"),
        "updated_at": Column("max({t}.updated_at)", "datetime"),
        "properties": _latest("group_properties", "updated_at", scope="group"),
    },
    derived="(SELECT {columns} FROM groups AS {t} WHERE {t}.team_id = {team} "
    "GROUP BY {t}.group_type_index, {t}.group_key)",
)

TABLES: Final[Mapping[str, Table]] = {
    "events": _EVENTS,
    "persons": _PERSONS,
    "raw_persons": Table(
        {
            "id": _plain("id", "uuid"),
            "created_at": _plain("created_at", "datetime"),
            "team_id": _TEAM,
            "properties": _plain("properties", scope="person"),
            "is_identified": _plain("is_identified", "bool"),
            "is_deleted": _plain("is_deleted", "bool"),
            "version": _plain("version", "int"),
        },
        physical="person",
    ),
    "person_distinct_ids": _ids("person_distinct_id2"),
    "raw_person_distinct_ids": Table(
        {
            "distinct_id": _plain("distinct_id"),
            "person_id": _plain("person_id", "uuid"),
            "team_id": _TEAM,
            "is_deleted": _plain("is_deleted", "bool"),
            "version": _plain("version", "int"),
        },
        {"person": _PERSON},
        physical="person_distinct_id2",
    ),
    "person_distinct_id_overrides": _ids("person_distinct_id_overrides"),
    "raw_person_distinct_id_overrides": _ids("person_distinct_id_overrides"),
    "groups": _GROUP_TABLE,
    "raw_groups": Table(
        {
            "index": Column("{t}.group_type_index", "int"),
            "team_id": _TEAM,
            "key": Column("{t}.group_key"),
            "created_at": _plain("created_at", "datetime"),
            "updated_at": _plain("updated_at", "datetime"),
            "properties": Column("{t}.group_properties", scope="group"),
        },
        physical="groups",
    ),
    "cohort_people": Table(
        {
            "person_id": Column("{t}.person_id", "uuid"),
            "cohort_id": Column("{t}.cohort_id", "int"),
            "team_id": Column("{t}.team_id", "int", hidden=True),
        },
        {"person": _PERSON},
        derived="(SELECT DISTINCT {columns} FROM cohortpeople AS {t} "
        "WHERE {t}.team_id = {team} AND {cohorts})",
    ),
    "raw_cohort_people": Table(
        {
            "person_id": _plain("person_id", "uuid"),
            "cohort_id": _plain("cohort_id", "int"),
            "team_id": _TEAM,
            "sign": _plain("sign", "int"),
            "version": _plain("version", "int"),
        },
        {"person": _PERSON},
        physical="cohortpeople",
    ),
    "static_cohort_people": Table(
        {
            "person_id": _plain("person_id", "uuid"),
            "cohort_id": _plain("cohort_id", "int"),
            "team_id": _TEAM,
        },
        {"person": _PERSON},
        physical="person_static_cohort",
    ),
    "sessions": Table(SESSION_COLUMNS, derived=SESSIONS),
    "raw_sessions": Table(SESSION_COLUMNS, derived=SESSIONS),
}
"""By name."""

OWN_OBJECTS: Final = frozenset(
    {"session_replay_events", "log_entries", "app_metrics", "heatmaps", "query_log", "logs"}
)
"""Tables outside `system` whose rows the emulator gives."""
