"""What a query's meaning depends on besides its text: zones, joins, views, tables of objects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from posthog_emulator.hogql.context import Action, Context, SystemTable
from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.parse import Expression, parse_expression
from posthog_emulator.hogql.translate import translate, translate_expression
from tests.emulator.hogql.hogql_database import ANN, BOB, EVE, EVENTS, Asker, event
from tests.helpers.clickhouse import Database

BERLIN = Asker(timezone="Europe/Berlin", week_start_day=1)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT timestamp FROM events ORDER BY timestamp LIMIT 1",
         [["2026-01-01T01:00:00+01:00"]]),
        ("SELECT toStartOfDay(timestamp) FROM events ORDER BY timestamp LIMIT 1",
         [["2026-01-01T00:00:00+01:00"]]),
        ("SELECT toHour(timestamp), toDate(timestamp) FROM events ORDER BY timestamp LIMIT 1",
         [[1, "2026-01-01"]]),
        # Text is a moment of the project's time zone.
        ("SELECT count() FROM events WHERE timestamp >= '2026-01-01 01:05:00.5'", [[3]]),
        ("SELECT count() FROM events WHERE timestamp >= '2026-01-01 00:05:00.5Z'", [[3]]),
        ("SELECT count() FROM events WHERE timestamp = '2026-01-01 01:00:00'", [[1]]),
        ("SELECT count() FROM events WHERE timestamp BETWEEN '2026-01-01' AND '2026-01-01 01:01'",
         [[1]]),
        ("SELECT count() FROM events WHERE timestamp < toDate('2026-01-03')", [[3]]),
        ("SELECT count() FROM events WHERE timestamp > now() - interval 6 day", [[1]]),
        ("SELECT toDateTime('2026-01-01 00:00:00')", [["2026-01-01T00:00:00+01:00"]]),
        ("SELECT toDateTime('2026-01-01T00:00:00Z')", [["2026-01-01T01:00:00+01:00"]]),
        ("SELECT now()", [["2026-01-08T13:00:00+01:00"]]),
        ("SELECT toStartOfWeek(toDate('2026-01-08'))", [["2026-01-05"]]),
        ("SELECT properties.when FROM events WHERE properties.when > '2026-01-05 10:59:59'",
         [["2026-01-05T11:00:00+01:00"]]),
        ("SELECT max(t) FROM (SELECT timestamp AS t FROM events)", [["2026-01-03T11:00:00+01:00"]]),
        ("SELECT $start_timestamp FROM sessions ORDER BY 1 LIMIT 1",
         [["2026-01-01T01:00:00+01:00"]]),
    ],
)  # fmt: skip
def test_another_time_zone(sql: str, rows: Any) -> None:
    assert BERLIN.rows(sql) == rows


def test_columns_stand_bare_where_ranges_are_compared() -> None:
    sql = BERLIN.translated("SELECT timestamp FROM events WHERE timestamp > '2026-01-01'").sql
    where = sql.partition(" WHERE ")[2]
    assert "toTimeZone" not in where
    assert "toDateTime64('2026-01-01 00:00:00.000000', 6, 'Europe/Berlin')" in where
    called = BERLIN.translated("SELECT 1 FROM events WHERE toDate(timestamp) > '2026-01-01'").sql
    assert "toDate(toTimeZone(" in called


@pytest.mark.parametrize(
    ("columns", "joins"),
    [
        ("event, distinct_id, person_id, timestamp, properties.x, $session_id, $group_0", 0),
        ("person.properties.a, person.id, person.created_at", 1),
        ("pdi.person_id", 1),
        ("pdi.person.properties.a", 2),
        ("session.$channel_type, session.id, session.duration", 1),
        ("group_0.properties.a, company.key", 1),
        ("person.properties.a, session.id, group_1.key", 3),
    ],
)
def test_only_what_is_asked_for_is_joined(columns: str, joins: int) -> None:
    made = Asker().translated(f"SELECT {columns} FROM events")
    assert made.sql.count(" JOIN ") == joins


def test_persons_that_were_merged() -> None:
    made = Database("merged")
    for table in ("events", "person", "person_distinct_id_overrides"):
        made.run(f"TRUNCATE TABLE {table}")
    made.insert("events", [event(1, "a", EVE, "2026-01-01T00:00:00Z"), *EVENTS[:2]])
    made.insert(
        "person_distinct_id_overrides",
        [{"team_id": 1, "distinct_id": "eve", "person_id": ANN, "is_deleted": 0, "version": 2},
         {"team_id": 1, "distinct_id": "bob", "person_id": EVE, "is_deleted": 1, "version": 2}],
    )  # fmt: skip
    made.insert(
        "person",
        [{"team_id": 1, "id": one, "created_at": "2026-01-01T00:00:00Z", "version": 1,
          "properties": '{"name": "x"}', "is_identified": 1, "is_deleted": 0}
         for one in (ANN, BOB)],
    )  # fmt: skip
    ask = Asker(made, has_person_overrides=True)
    sql = "SELECT distinct_id, person_id, event_person_id FROM events ORDER BY distinct_id"
    assert ask.rows(sql) == [["ann", ANN, ANN], ["bob", BOB, BOB], ["eve", ANN, EVE]]
    assert ask.rows("SELECT count(), count(DISTINCT person.id) FROM events") == [[3, 2]]
    assert ask.rows("SELECT count(DISTINCT person_id) FROM events") == [[2]]
    # Events keep their own person in a project without merged persons, and nothing is joined.
    assert " JOIN " not in Asker().translated(sql).sql


def test_saved_views() -> None:
    ask = Asker(
        views={
            "signups": "SELECT distinct_id AS who, timestamp AS at FROM events "
            "WHERE event = 'signup'",
            "twice": "SELECT a.who AS who FROM signups AS a JOIN signups AS b ON a.who = b.who",
            "loop": "SELECT * FROM loop",
            "events": "SELECT 'mine' AS event",
        }
    )
    # A view wins over a table of its name, in itself as well.
    assert ask.rows("SELECT event FROM events") == [["mine"]]
    assert "reads itself" in ask.refusal("SELECT * FROM loop").detail
    plain = Asker(
        views={
            "signups": "SELECT distinct_id AS who FROM events WHERE event = 'signup'",
            "twice": "SELECT a.who FROM signups AS a JOIN signups AS b ON a.who = b.who",
        }
    )
    assert plain.rows("SELECT who FROM signups ORDER BY who") == [["ann"], ["bob"]]
    assert plain.rows("SELECT count() FROM twice AS t") == [[2]]


def test_objects_of_the_project_as_tables() -> None:
    def system(name: str) -> SystemTable | None:
        if name != "feature_flags":
            return None if name != "surveys" else SystemTable({"id": "String"})
        columns = {"id": "Int64", "key": "String", "deleted": "Int64", "at": "Nullable(String)"}
        return SystemTable(columns, [[1, "it's", False, None], [2, "b\\`'); DROP", True, "x"]])

    ask = Asker(system_table=system)
    assert ask.rows("SELECT id, key, deleted, at FROM system.feature_flags") == [
        [1, "it's", 0, None], [2, "b\\`'); DROP", 1, "x"],
    ]  # fmt: skip
    assert ask.rows("SELECT count() FROM system.surveys") == [[0]]
    deleted = "SELECT f.key FROM system.feature_flags AS f WHERE f.deleted"
    assert ask.rows(deleted) == [["b\\`'); DROP"]]
    joined = "SELECT count() FROM events JOIN system.feature_flags AS f ON events.event = f.key"
    assert ask.rows(joined) == [[0]]
    for name in ("system.tables", "system.functions", "system.settings", "tables"):
        assert ask.refusal(f"SELECT * FROM {name}").detail == f'Unknown table "{name}".'


def test_filters_and_variables() -> None:
    seen: list[str] = []

    def filters(table: str) -> Expression:
        seen.append(table)
        return Expression(parse_expression("event = {wanted}"))

    def variable(name: str) -> Any:
        if name == "plan":
            return "pro"
        raise HogQLError(f"Variable {name} is missing from query. Did you mean: plan?")

    span = (datetime(2026, 1, 2, tzinfo=UTC), None)
    ask = Asker(filters=filters, variable=variable, date_range=span)
    values = {"wanted": "signup"}
    assert ask.rows("SELECT count() FROM events WHERE {filters}", values) == [[2]]
    joined = "SELECT count() FROM groups g JOIN events e ON 1 = 1 WHERE {filters}"
    assert ask.rows(joined, values) == [[2]]
    assert seen == ["events", "events"]
    assert ask.rows("SELECT count() FROM events WHERE properties.plan = {variables.plan}") == [[1]]
    assert "Did you mean: plan?" in ask.refusal("SELECT {variables.x}").detail
    bounds = "timestamp >= {filters.dateRange.from} AND timestamp < {filters.dateRange.to}"
    assert ask.rows(f"SELECT count() FROM events WHERE {bounds}") == [[2]]
    unset = ask.refusal("SELECT toDate({filters.dateRange.to})").detail
    assert "must be used directly in a comparison" in unset
    assert "Unsupported filters placeholder" in ask.refusal("SELECT {filters.x}").detail
    for sql in ("SELECT {filters}", "SELECT 1 FROM persons WHERE {filters}"):
        assert "Cannot use 'filters' placeholder" in ask.refusal(sql).detail
    assert "'{filters}'" in ask.translated("SELECT '{filters}'").sql


def test_expressions_as_values() -> None:
    values = {
        "what": Expression(parse_expression("properties.n + {more}")),
        "more": 1,
        "pairs": [("signup", "ann"), ("x", "y")],
        "at": datetime(2026, 1, 2, 10, tzinfo=UTC),
        "none": None,
    }
    sql = "SELECT {what} FROM events WHERE (event, distinct_id) IN {pairs} AND timestamp > {at}"
    assert Asker().rows(sql, values) == [[8]]
    assert Asker().rows("SELECT {none}, {at}", values) == [[None, "2026-01-02T10:00:00Z"]]
    looped = {"x": Expression(parse_expression("{x} + 1"))}
    assert "nested too deeply" in Asker().refusal("SELECT {x}", looped).detail


@pytest.mark.parametrize(
    ("step", "numbers"),
    [
        ({}, [1, 2, 3, 4]),
        ({"event": "signup"}, [3, 4]),
        ({"event": None, "url": "a.io"}, [1, 3]),
        ({"url": "https://a.io/1", "url_matching": "exact"}, [1]),
        ({"url": "[0-9]$", "url_matching": "regex"}, [1, 3]),
        ({"event": "signup", "properties": [{"key": "plan", "value": "pro"}]}, [3]),
        ({"event": "$autocapture", "tag_name": "button"}, [5]),
        ({"event": "$autocapture", "tag_name": "a"}, []),
        ({"event": "$autocapture", "href": "/buy"}, [5]),
        ({"event": "$autocapture", "text": "BUY", "text_matching": "contains"}, [5]),
        ({"event": "$autocapture", "text": "BUY"}, []),
        ({"event": "$autocapture", "selector": "button"}, [5]),
        ({"event": "$autocapture", "selector": "div > button.btn"}, [5]),
        ({"event": "$autocapture", "selector": ".primary.btn"}, [5]),
        ({"event": "$autocapture", "selector": "#go"}, [5]),
        ({"event": "$autocapture", "selector": "button[href='/buy']"}, [5]),
        ({"event": "$autocapture", "selector": "div button:nth-child(1)"}, [5]),
        ({"event": "$autocapture", "selector": "button div"}, []),
        ({"event": "$autocapture", "selector": ".btn2"}, []),
        ({"event": "$autocapture", "selector": "span"}, []),
    ],
)  # fmt: skip
def test_actions(step: dict[str, Any], numbers: list[int]) -> None:
    made = Database("actions")
    if not made.query("SELECT count() FROM events")[1][0][0]:
        chain = EVENTS[2]["elements_chain"]
        clicked = event(5, "$autocapture", ANN, "2026-01-05T00:00:00Z", _elements_chain=chain)
        made.insert("events", [*EVENTS[:4], clicked])
    ask = Asker(made, actions={1: Action("one", [step]), 2: Action("none")})
    found = ask.rows("SELECT uuid FROM events WHERE matchesAction('one') ORDER BY uuid")
    wanted = [*numbers, 5] if set(numbers) >= {1, 2, 3, 4} else numbers
    assert [int(row[0][-3:]) for row in found] == wanted
    assert ask.rows("SELECT count() FROM events WHERE matchesAction(2)") == [[5]]


def test_a_lone_expression() -> None:
    made = translate_expression("properties.n > 5", Asker().context)
    assert Asker().database.query(f"SELECT sum(value) FROM ({made.sql})")[1] == [[1]]


def test_functions_that_the_engine_lacks() -> None:
    context = Context(1, datetime(2026, 1, 1, tzinfo=UTC), engine_functions=frozenset({"plus"}))
    assert translate("SELECT plus(1, 2)", context).columns == ("plus(1, 2)",)
    with pytest.raises(HogQLError, match="has no function lowerUTF8"):
        translate("SELECT lowerUTF8('x')", context)
    with pytest.raises(HogQLError, match="has no function anyHeavyIf"):
        translate("SELECT anyHeavyIf(1, 1)", context)
