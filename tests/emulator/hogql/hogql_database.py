"""A few events and persons in ClickHouse, and HogQL asked of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from posthog_emulator.hogql.context import Action, Cohort, Context
from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.parse import Expression, parse_expression, parse_select
from posthog_emulator.hogql.translate import Translation, translate
from tests.helpers.clickhouse import Database

NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
SESSION_1 = "01945d6a-0000-7000-8000-000000000001"
SESSION_2 = "01945d6a-0000-7000-8000-000000000002"
ANN, BOB, EVE, GONE = (f"00000000-0000-0000-0000-0000000000a{n}" for n in range(1, 5))


def uuid(number: int) -> str:
    """Return a UUID for a number."""
    return f"00000000-0000-0000-0000-{number:012d}"


def event(
    number: int, name: str, person: str, at: str, /, team: Any = 1, **more: Any
) -> dict[str, Any]:
    """Return a row of `events`; what starts with `_` are columns, the rest are properties."""
    columns = {key[1:]: value for key, value in more.items() if key.startswith("_")}
    properties = {key: value for key, value in more.items() if not key.startswith("_")}
    return {
        "team_id": team, "uuid": uuid(number), "event": name, "timestamp": at, "created_at": at,
        "distinct_id": {ANN: "ann", BOB: "bob", EVE: "eve", GONE: "gone"}[person],
        "person_id": person, "properties": json.dumps(properties), "person_mode": "full",
        **columns,
    }  # fmt: skip


EVENTS = [
    event(1, "$pageview", ANN, "2026-01-01T00:00:00Z", **{
        "_$session_id": SESSION_1, "$browser": "Chrome", "n": 5,
        "nested": {"a": {"b": [1, "x"]}}, "$current_url": "https://a.io/1", "paid": True,
        "utm_source": "google", "utm_medium": "cpc", "_$group_0": "acme",
    }),
    event(2, "$pageview", BOB, "2026-01-01T00:05:00.500Z", **{
        "_$session_id": SESSION_2, "$browser": "Firefox", "empty": "",
        "when": "2026-01-05T10:00:00Z", "$referring_domain": "$direct",
    }),
    event(3, "signup", ANN, "2026-01-02T10:00:00.123456Z", plan="pro", n=7, **{
        "_$session_id": SESSION_1, "$current_url": "https://a.io/2",
        "_elements_chain": 'button.btn.primary:attr_id="go"href="/buy"nth-child="1"text="Buy";'
        'div:nth-child="2"',
    }),
    event(4, "signup", BOB, "2026-01-03T10:00:00Z", plan=None, paid=False),
    event(9, "secret", EVE, "2026-01-01T00:00:00Z", team=2),
]  # fmt: skip
TYPES = {
    ("event", "n"): "Numeric", ("event", "paid"): "Boolean", ("event", "when"): "DateTime",
    ("event", "flag"): "Boolean", ("event", "num"): "Numeric", ("event", "at"): "DateTime",
    ("group_0", "size"): "Numeric", ("person", "age"): "Numeric",
}  # fmt: skip
CONTEXT = Context(
    team_id=1,
    now=NOW,
    property_types=TYPES,
    cohorts={
        7: Cohort("vip", version=2), 8: Cohort("static", static=True),
        9: Cohort("loose"), 10: Cohort("twin"), 11: Cohort("twin"),
    },
    actions={3: Action("signed up", [{"event": "signup"}])},
    group_types={0: "company"},
    has_person_overrides=False,
)  # fmt: skip


def _person(person: str, **more: Any) -> dict[str, Any]:
    return {
        "team_id": 1, "id": person, "created_at": "2025-12-31T00:00:00Z", "properties": "{}",
        "is_identified": 1, "is_deleted": 0, "version": 1, **more,
    }  # fmt: skip


def _cohort_rows() -> list[dict[str, Any]]:
    return [
        {"team_id": 1, "cohort_id": 7, "person_id": ANN, "sign": 1, "version": 2},
        {"team_id": 1, "cohort_id": 7, "person_id": BOB, "sign": 1, "version": 1},
        {"team_id": 1, "cohort_id": 9, "person_id": BOB, "sign": 1, "version": 1},
        {"team_id": 1, "cohort_id": 9, "person_id": ANN, "sign": 1, "version": 1},
        {"team_id": 1, "cohort_id": 9, "person_id": ANN, "sign": -1, "version": 1},
        {"team_id": 2, "cohort_id": 7, "person_id": BOB, "sign": 1, "version": 2},
    ]


@cache
def database() -> Database:
    """Return the database with its rows."""
    made = Database("hogql")
    made.insert("events", EVENTS)
    made.insert(
        "person",
        [
            _person(ANN, properties='{"email":"ann@old.io"}'),
            _person(ANN, properties='{"email":"ann@a.io","age":30}', version=2),
            _person(BOB, properties='{"email":"bob@b.io","age":"41"}'),
            _person(GONE, is_deleted=1),
            _person(EVE, team_id=2),
        ],
    )
    ids = [("ann", ANN), ("bob", BOB), ("gone", GONE)]
    made.insert(
        "person_distinct_id2",
        [
            {"team_id": 1, "distinct_id": key, "person_id": person, "version": 0,
             "is_deleted": int(person == GONE)}
            for key, person in ids
        ],
    )  # fmt: skip
    made.insert(
        "groups",
        [{"team_id": 1, "group_type_index": 0, "group_key": "acme",
          "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
          "group_properties": '{"size": 12, "name": "Acme"}'}],
    )  # fmt: skip
    made.insert("cohortpeople", _cohort_rows())
    made.insert("person_static_cohort", [{"team_id": 1, "cohort_id": 8, "person_id": BOB}])
    return made


def _shown(value: Any, kind: str) -> Any:
    found = re.match(r"(?:Nullable\()?DateTime(?:64)?(?:\(.*?'(.*?)'\)|\b)", kind)
    if found is None or value is None:
        return value
    zone = found[1] or "UTC"
    at = datetime.fromisoformat(value).replace(tzinfo=UTC if zone == "UTC" else ZoneInfo(zone))
    return at.isoformat().replace("+00:00", "Z")


class Asker:
    """Asks queries of project 1."""

    def __init__(self, made: Database | None = None, **context: Any) -> None:
        self.database = made or database()
        self.context = replace(CONTEXT, **context)

    def translated(self, sql: str, values: Mapping[str, Any] | None = None) -> Translation:
        """Return the translation of a query."""
        return translate(sql, replace(self.context, values=values or {}))

    def whole(self, sql: str, values: Mapping[str, Any] | None = None) -> Any:
        """Return types and rows."""
        made = self.translated(sql, values)
        return self.database.query(made.sql, made.settings)

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[list[Any]]:
        """Return the rows of a query, timestamps as ISO 8601."""
        types, rows = self.whole(sql, values)
        return [
            [_shown(value, kind) for value, kind in zip(row, types, strict=True)] for row in rows
        ]

    def types(self, sql: str) -> list[str]:
        """Return the types of a query's columns."""
        found: list[str] = self.whole(sql)[0]
        return found

    def one(self, expression: str, values: Mapping[str, Any] | None = None) -> Any:
        """Return the value of an expression that speaks of no table."""
        return self.rows(f"SELECT {expression}", values)[0][0]

    def values(self, expressions: Sequence[str], source: str = "") -> list[list[Any]]:
        """Return the values of expressions for each row of a source, asked in one query."""
        tree = parse_select(f"SELECT 1 {source}")
        select = [parse_expression(one) for one in expressions]
        made = translate(Expression({**tree, "select": select}), self.context)
        types, rows = self.database.query(made.sql, made.settings)
        return [[_shown(row[at], types[at]) for row in rows] for at in range(len(expressions))]

    def columns(self, sql: str) -> list[str]:
        """Return the names of a query's columns."""
        return list(self.translated(sql).columns)

    def refusal(self, sql: str, values: Mapping[str, Any] | None = None) -> HogQLError:
        """Return the error of a query."""
        try:
            made = self.translated(sql, values)
        except HogQLError as error:
            return error
        raise AssertionError(f"not refused: {sql}\n{made.sql}")
