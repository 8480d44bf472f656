"""Queries over events, persons, sessions, groups and cohorts."""

from __future__ import annotations

from typing import Any

import pytest

from posthog_emulator.hogql.context import Cohort
from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.translate import translate, whole
from tests.emulator.hogql.hogql_database import ANN, EVENTS, SESSION_1, SESSION_2, Asker, event
from tests.helpers.clickhouse import Database


@pytest.fixture(scope="module")
def ask() -> Asker:
    return Asker()


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT event, count() AS n FROM events GROUP BY event ORDER BY n DESC, event",
         [["$pageview", 2], ["signup", 2]]),
        ("SELECT properties.$browser FROM events ORDER BY timestamp LIMIT 3",
         [["Chrome"], ["Firefox"], [None]]),
        ("SELECT properties['$browser'], properties.nested.a.b, properties.nested.a.b[2], "
         "properties.n, properties.n + 1, properties.paid FROM events ORDER BY timestamp LIMIT 1",
         [["Chrome", '[1,"x"]', "x", 5.0, 6.0, True]]),
        ("SELECT properties.when FROM events WHERE properties.when > toDateTime('2026-01-04')",
         [["2026-01-05T10:00:00Z"]]),
        ("SELECT properties.empty = '', properties.empty IS NULL FROM events ORDER BY timestamp "
         "LIMIT 2", [[0, 1], [1, 0]]),
        # What is missing equals nothing, is unlike everything, and differs from everything.
        ("SELECT properties.plan = 'pro', properties.plan != 'pro', properties.plan NOT LIKE 'p%', "
         "properties.plan NOT IN ('pro') FROM events ORDER BY timestamp LIMIT 2 BY event",
         [[0, 1, 1, 1], [0, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1, 1]]),
        ("SELECT person.properties.email, count() FROM events GROUP BY 1 ORDER BY 1",
         [["ann@a.io", 2], ["bob@b.io", 2]]),
        ("SELECT properties.email FROM persons WHERE properties.email ILIKE 'ANN%'",
         [["ann@a.io"]]),
        ("SELECT e.event, p.properties.email FROM events e JOIN persons p ON e.person_id = p.id "
         "WHERE e.event = 'signup' ORDER BY 2", [["signup", "ann@a.io"], ["signup", "bob@b.io"]]),
        ("SELECT count() FROM events WHERE person_id IN COHORT 7", [[2]]),
        ("SELECT count() FROM events WHERE person_id NOT IN COHORT 'vip'", [[2]]),
        ("SELECT session_id, $pageview_count, duration, $entry_current_url, $end_current_url "
         "FROM sessions ORDER BY session_id",
         [[SESSION_1, 1, 122400, "https://a.io/1", "https://a.io/2"],
          [SESSION_2, 1, 0, None, None]]),
        ("SELECT session.$session_duration FROM events ORDER BY timestamp LIMIT 1", [[122400]]),
        ("SELECT toStartOfDay(timestamp) AS day, uniq(person_id), countIf(event = 'signup'), "
         "sum(properties.n), argMax(event, timestamp), groupArray(event) FROM events GROUP BY day "
         "ORDER BY day LIMIT 2",
         [["2026-01-01T00:00:00Z", 2, 0, 5.0, "$pageview", ["$pageview", "$pageview"]],
          ["2026-01-02T00:00:00Z", 1, 1, 7.0, "signup", ["signup"]]]),
        ("SELECT sumIf(1, event = 'x'), avgIf(1, event = 'x'), maxIf(1, event = 'x'), "
         "quantile(0.5)(number), quantiles(0.25, 0.75)(number), median(number), topK(1)(number % 2)"
         " FROM (SELECT number, 'a' AS event FROM numbers(5))",
         [[0, None, 0, 2.0, [1.0, 3.0], 2.0, [0]]]),
        ("SELECT uniqExact(number % 3), any(number), anyLast(number), min(number), max(number), "
         "groupUniqArray(1) FROM numbers(4)", [[3, 0, 3, 0, 3, [1]]]),
        ("SELECT max(timestamp), min(event), count() FROM events WHERE 0",
         [["1970-01-01T00:00:00Z", "", 0]]),
        ("SELECT lower(event) AS event FROM events WHERE event = 'signup' LIMIT 1", [["signup"]]),
        ("SELECT number * 2 AS twice FROM numbers(5) WHERE twice > 5 ORDER BY twice DESC",
         [[8], [6]]),
        ("WITH a AS (SELECT event FROM events), 5 AS five SELECT event, five FROM a "
         "WHERE event = 'signup' LIMIT 1", [["signup", 5]]),
        ("SELECT 1 AS x UNION ALL SELECT 2 UNION ALL SELECT 3", [[1], [2], [3]]),
        ("SELECT arrayJoin([1, 2, 3]) AS x, x * 2 WHERE x > 1", [[2, 4], [3, 6]]),
        ("SELECT x, y FROM numbers(1) ARRAY JOIN [1, 2] AS x, ['a', 'b'] AS y",
         [[1, "a"], [2, "b"]]),
        ("SELECT n.number, y.v FROM numbers(2) n LEFT JOIN (SELECT 1 AS k, 'a' AS v) y "
         "ON n.number = y.k ORDER BY 1", [[0, ""], [1, "a"]]),
        ("SELECT row_number() OVER (PARTITION BY person_id ORDER BY timestamp) AS r, "
         "lagInFrame(event) OVER (PARTITION BY person_id ORDER BY timestamp) FROM events "
         "ORDER BY r, timestamp",
         [[1, ""], [1, ""], [2, "$pageview"], [2, "$pageview"]]),
        ("SELECT sum(count()) OVER () FROM events GROUP BY event", [[4], [4]]),
        ("SELECT count() FROM events WHERE event IN "
         "(SELECT event FROM events WHERE properties.n = 7)",
         [[2]]),
        ("SELECT count() FROM events WHERE (event, distinct_id) IN (SELECT event, distinct_id FROM "
         "events WHERE properties.n = 7)", [[1]]),
        ("SELECT (SELECT count() FROM events) AS c", [[4]]),
        ("SELECT event FROM events GROUP BY event HAVING max(timestamp) > '2026-01-02'",
         [["signup"]]),
        ("SELECT DISTINCT event FROM events ORDER BY event", [["$pageview"], ["signup"]]),
        ("SELECT number FROM numbers(5) ORDER BY number LIMIT 2 OFFSET 1", [[1], [2]]),
        ("SELECT count() FROM events WHERE team_id = 2", [[0]]),
    ],
)  # fmt: skip
def test_rows(ask: Asker, sql: str, rows: Any) -> None:
    found = ask.rows(sql)
    if " UNION ALL " in sql and "ORDER BY" not in sql:
        # Parts of a UNION come in any order.
        found, rows = sorted(found, key=repr), sorted(rows, key=repr)
    assert found == rows


def test_placeholders(ask: Asker) -> None:
    values = {"since": "2026-01-02T00:00:00Z", "names": ["signup", "x"], "deep": {"n": 7}}
    sql = "SELECT event FROM events WHERE timestamp > {since} AND event IN {names}"
    assert ask.rows(sql, values) == [["signup"], ["signup"]]
    assert ask.rows("SELECT count() FROM events WHERE properties.n = {deep.n}", values) == [[1]]


@pytest.mark.parametrize("size", [1, 3])
def test_a_keyset_walk_sees_every_event_once(size: int) -> None:
    made = Database("walk")
    made.run("TRUNCATE TABLE events")
    tied = [
        event(n, "t", ANN, "2026-01-03T10:00:00Z", _uuid=f"{n:08d}-0000-0000-{9 - n:04d}-{0:012d}")
        for n in range(5)
    ]
    made.insert("events", [*(one for one in EVENTS if one["team_id"] == 1), *tied])
    ask = Asker(made)
    seen: list[str] = []
    where, values = "1 = 1", dict[str, Any]()
    while True:
        rows = ask.rows(
            f"SELECT uuid, timestamp FROM events WHERE {where} "
            f"ORDER BY timestamp, uuid LIMIT {size}",
            values,
        )
        seen += [row[0] for row in rows]
        if len(rows) < size:
            break
        where = (
            "(timestamp > toDateTime64({at}, 6, 'UTC') OR "
            "(timestamp = toDateTime64({at}, 6, 'UTC') AND uuid > toUUID({id})))"
        )
        values = {"id": rows[-1][0], "at": rows[-1][1]}
    assert len(seen) == len(set(seen)) == 9
    # The second half of a UUID counts first in ClickHouse.
    tail = [one for one in seen if one.endswith("-000000000000")]
    assert tail == sorted((one["uuid"] for one in tied), key=lambda u: (u[19:], u[:18]))


def test_names_of_columns(ask: Asker) -> None:
    sql = (
        "SELECT event, properties.$browser, properties.nested.a, count(), "
        "now() - interval 1 day, lower(event) AS low, a.uuid FROM events a GROUP BY ALL_OF"
    )
    assert ask.columns(sql.partition(" GROUP BY")[0].replace("count(), ", "")) == [
        "event", "$browser", "nested__a", "minus(now(), toIntervalDay(1))", "low", "uuid",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT", "no viable alternative"),
        ("DROP TABLE events", "mismatched input"),
        ("INSERT INTO events VALUES (1)", "mismatched input"),
        ("SELECT nope FROM events", "Unable to resolve field: nope"),
        ("SELECT person.nope FROM events", "Unable to resolve field: nope"),
        ("SELECT * FROM nope", 'Unknown table "nope".'),
        ("SELECT * FROM person", 'Unknown table "person".'),
        ("SELECT * FROM information_schema.tables", 'Unknown table "information_schema.tables".'),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
        ("SELECT getenv('HOME')", "Unsupported function call 'getenv(...)'"),
        ("SELECT lower()", "expects 1 argument, found 0"),
        ("SELECT multiIf(1, 2)", "expects at least 3 arguments, found 2"),
        ("SELECT {x}", "Unresolved placeholder: {x}"),
        ("SELECT 1 WHERE 1 IN COHORT 99", "Could not find cohort with ID 99"),
        ("SELECT 1 WHERE 1 IN COHORT 'none'", "Could not find a cohort with the name 'none'"),
        ("SELECT 1 WHERE 1 IN COHORT 'twin'", "Found multiple cohorts with name 'twin'"),
        ("SELECT 1 WHERE 1 IN COHORT 12", "The cohort cannot be calculated."),
        ("SELECT count() FROM cohort_people", "The cohort cannot be calculated."),
        ("SELECT 1 WHERE 1 IN COHORT number", "only works with constant arguments"),
        ("SELECT matchesAction(5) FROM events", "Could not find action with ID 5"),
        ("SELECT [1][0]", "start from one"),
        ("SELECT " + "(" * 500 + "1" + ")" * 500, "too deeply"),
        ("SELECT " + "+".join(["1"] * 1500), "too deeply"),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", "Unknown table"),
    ],
)  # fmt: skip
def test_refusals(ask: Asker, sql: str, told: str) -> None:
    broken = Cohort("broken", error="The cohort cannot be calculated.")
    problem = Asker(cohorts={**ask.context.cohorts, 12: broken}).refusal(sql)
    assert (problem.status, problem.code) == (400, "invalid_input")
    assert told in problem.detail


def test_where_a_syntax_error_is(ask: Asker) -> None:
    problem = ask.refusal("SELECT event FROM events WHERE )")
    assert (problem.start, problem.end) == (31, 32)


def test_offset_is_refused_wherever_it_stands(ask: Asker) -> None:
    for sql in (
        "SELECT 1 LIMIT 1 OFFSET 1",
        "SELECT 1 LIMIT 1, 2",
        "SELECT * FROM (SELECT 1 OFFSET 1)",
        "SELECT 1 UNION ALL SELECT 2 OFFSET 1",
        "SELECT number FROM numbers(3) LIMIT 1 OFFSET 1 BY number",
    ):
        with pytest.raises(HogQLError, match="OFFSET is not allowed"):
            translate(sql, ask.context, allow_offset=False)
        translate(sql, ask.context)
    translate("SELECT 1 FROM events SAMPLE 1 OFFSET 1", ask.context, allow_offset=False)


def test_rows_by_default_and_at_most(ask: Asker) -> None:
    paged = ask.translated("SELECT number FROM numbers(200)")
    # One row more than is returned tells whether there are more.
    assert (paged.paged, len(ask.rows("SELECT number FROM numbers(200)"))) == (True, 101)
    assert paged.hogql == "SELECT number FROM numbers(200) LIMIT 101"
    large = ask.translated("SELECT number FROM numbers(60000) LIMIT 60000")
    assert not large.paged
    assert large.sql.endswith("LIMIT 50000")
    export = translate("SELECT 1 LIMIT 60000", ask.context, max_rows=300_000)
    assert export.sql.endswith("LIMIT 60000")
    computed = translate("SELECT 1 LIMIT 2 + 3", ask.context)
    assert computed.sql.endswith("LIMIT min2(50000, plus(2, 3))")
    both = ask.translated("SELECT 1 UNION ALL SELECT number FROM numbers(500)")
    assert (both.paged, both.sql.count("LIMIT 100")) == (False, 2)


def test_exports_have_no_limit(ask: Asker) -> None:
    made = whole("SELECT number AS n FROM numbers(60000)", ask.context)
    assert len(ask.database.query(made.sql, made.settings)[1]) == 60_000
    with pytest.raises(HogQLError, match="needs an alias"):
        whole("SELECT number FROM numbers(3)", ask.context)


def test_the_events_that_a_query_reads(ask: Asker) -> None:
    def counted(sql: str) -> list[int]:
        return [ask.database.query(scan)[1][0][0] for scan in ask.translated(sql).scans]

    assert counted("SELECT count() FROM events") == [4]
    assert counted("SELECT count() FROM events WHERE timestamp > '2026-01-02' AND event = 'x'") == [
        2
    ]
    twice = "SELECT 1 FROM events WHERE uuid IN (SELECT uuid FROM events WHERE timestamp < now())"
    assert sorted(counted(twice)) == [4, 4]
    assert counted("SELECT 1 FROM persons") == []
