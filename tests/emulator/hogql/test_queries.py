"""Queries over events, persons, sessions, groups and cohorts."""

from __future__ import annotations

from typing import Any

import pytest

from .hogql_client import EVENTS, HogQLTester


@pytest.fixture(scope="module")
def ask() -> HogQLTester:
    return HogQLTester()


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
        ("SELECT count(DISTINCT person_id) FROM cohort_people", [[1]]),
        ("SELECT distinct_id FROM raw_person_distinct_ids ORDER BY 1", [["ann"], ["bob"]]),
        ("SELECT session_id, $pageview_count, duration, $entry_current_url, $end_current_url "
         "FROM sessions ORDER BY session_id",
         [["s1", 1, 122400, "https://a.io/1", "https://a.io/2"], ["s2", 1, 0, None, None]]),
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
        ("SELECT number FROM numbers(2) LEFT ARRAY JOIN emptyArrayString() AS x", [[0], [1]]),
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
def test_rows(ask: HogQLTester, sql: str, rows: Any) -> None:
    assert ask.rows(sql) == rows


def test_placeholders(ask: HogQLTester) -> None:
    values = {"since": "2026-01-02T00:00:00Z", "names": ["signup", "x"], "deep": {"n": 7}}
    sql = "SELECT event FROM events WHERE timestamp > {since} AND event IN {names}"
    assert ask.rows(sql, values) == [["signup"], ["signup"]]
    assert ask.rows("SELECT count() FROM events WHERE properties.n = {deep.n}", values) == [[1]]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_keyset_walk_sees_every_event_once(size: int) -> None:
    ask = HogQLTester()
    tied = [
        {
            "uuid": f"{n:08d}-0000-0000-{9 - n:04d}-000000000000",
            "event": "t",
            "distinct_id": "a",
            "timestamp": "2026-01-03T10:00:00Z",
        }
        for n in range(5)
    ]
    ask.store.append(1, tied)
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
    assert sorted(seen) == sorted([one["uuid"] for one in [*EVENTS, *tied]])
    # The second half of a UUID counts first in ClickHouse.
    tail = [one for one in seen if one.endswith("-000000000000")]
    assert tail == sorted((one["uuid"] for one in tied), key=lambda u: (u[19:], u[:18]))


def test_names_of_columns(ask: HogQLTester) -> None:
    sql = (
        "SELECT event, properties.$browser, properties.nested.a, count(), "
        "now() - interval 1 day, lower(event) AS low, a.uuid FROM events a GROUP BY ALL_OF"
    )
    assert ask.columns(sql.partition(" GROUP BY")[0].replace("count(), ", "")) == [
        "event", "$browser", "nested__a", "minus(now(), toIntervalDay(1))", "low", "uuid",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "code", "told"),
    [
        ("SELECT", "invalid_input", "Syntax error"),
        ("SELECT 1; SELECT 2", "invalid_input", "exactly one"),
        ("DROP TABLE events", "invalid_input", "SELECT"),
        ("INSERT INTO events VALUES (1)", "invalid_input", "SELECT"),
        ("SELECT nope FROM events", "invalid_input", "Unable to resolve field: nope"),
        ("SELECT * FROM nope", "invalid_input", "Unknown table `nope`"),
        ("SELECT * FROM property_types", "invalid_input", "Unknown table"),
        ("SELECT * FROM information_schema.tables", "invalid_input", "Unknown table"),
        ("SELECT * FROM read_csv('/etc/passwd')", "invalid_input", "read_csv"),
        ("SELECT getenv('HOME')", "invalid_input", "Unsupported function call 'getenv(...)'"),
        ("SELECT cityHash64('x')", "invalid_input", "stub_query"),
        ("SELECT countt()", "invalid_input", "'count(...)'"),
        ("SELECT event FROM events SAMPLE 0.1", "invalid_input", "SAMPLE"),
        ("SELECT sum(event) FROM events", "illegal_type_of_argument", "String"),
        ("SELECT 1 FROM events WHERE event", "illegal_type_of_column_for_filter", "String"),
        ("SELECT event, count() FROM events", "not_an_aggregate", "GROUP BY"),
        ("SELECT 1 FROM events WHERE count() > 1", "illegal_aggregation", "count()"),
        ("SELECT sum(count()) FROM events", "illegal_aggregation", "count()"),
        ("SELECT event = distinct_id, event = toFloat('1') FROM events", "no_common_type",
         "Nullable(Float64)"),
        ("SELECT timestamp > 'yesterday' FROM events", "type_mismatch", "yesterday"),
        ("SELECT 1 FROM events WHERE uuid = 'x'", "cannot_parse_uuid", "x"),
        ("SELECT intDiv(1, 0)", "illegal_division", "zero"),
        ("SELECT lower()", "invalid_input", "exactly 1 argument, found 0"),
        ("SELECT multiIf(1, 2)", "invalid_input", "at least 3"),
        ("SELECT {x}", "invalid_input", "Placeholder {x}"),
        ("SELECT 1 WHERE 1 IN COHORT 9", "invalid_input", "cohort"),
        ("SELECT 1 UNION SELECT 2", "invalid_input", "DISTINCT or ALL"),
        ("SELECT 1 UNION ALL SELECT 'a'", "no_common_type", "String"),
        ("SELECT 1 UNION ALL SELECT 1, 2", "union_all_result_structures_mismatch", "1 and 2"),
        ("SELECT [1][0]", "invalid_input", "start from one"),
        ("SELECT event FROM events GROUP BY event WITH ROLLUP", "invalid_input", "ROLLUP"),
        ("SELECT " + "(" * 500 + "1" + ")" * 500, "invalid_input", "too deeply"),
    ],
)  # fmt: skip
def test_refusals(ask: HogQLTester, sql: str, code: str, told: str) -> None:
    problem = ask.refusal(sql)
    assert (problem.status, problem.code, problem.attr) == (400, code, None)
    assert told in problem.detail


def test_offset_is_refused_wherever_it_stands() -> None:
    ask = HogQLTester()
    ask.allow_offset = False
    for sql in (
        "SELECT 1 LIMIT 1 OFFSET 1",
        "SELECT 1 LIMIT 1, 2",
        "SELECT * FROM (SELECT 1 OFFSET 1)",
        "SELECT 1 UNION ALL SELECT 2 OFFSET 1",
    ):
        assert "OFFSET" in ask.refusal(sql).detail


def test_rows_by_default_and_at_most(ask: HogQLTester) -> None:
    whole = ask.whole("SELECT number FROM numbers(200)")
    assert (whole.count, whole.head["hasMore"], whole.head["limit"]) == (100, True, 100)
    whole = ask.whole("SELECT number FROM numbers(100)")
    assert (whole.count, whole.head["hasMore"]) == (100, False)
    whole = ask.whole("SELECT number FROM numbers(60000) LIMIT 60000")
    assert (whole.count, whole.head["hasMore"], whole.head["limit"]) == (50_000, None, None)


@pytest.fixture(scope="module")
def crowd() -> HogQLTester:
    """12,000 events more, seven to a moment."""
    asker = HogQLTester()
    asker.store.write(
        "INSERT INTO events BY NAME SELECT 1 AS team_id, uuid() AS uuid, "
        "'e' || i % 3 AS event, TIMESTAMP '2026-01-01' + to_seconds(i // 7) AS timestamp, "
        "'{}' AS properties FROM range(12000) AS t(i)"
    )
    return asker


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("SELECT uuid FROM events WHERE {} ORDER BY timestamp, toString(uuid) LIMIT 6001", 6_001),
        ("SELECT uuid FROM events WHERE {} ORDER BY timestamp DESC, uuid DESC LIMIT 6001", 6_001),
        ("SELECT uuid FROM events WHERE event != 'e1' AND {} ORDER BY timestamp, uuid LIMIT 5500",
         5_500),
        ("SELECT uuid FROM events WHERE timestamp >= '2026-01-01 00:10:00' AND {} "
         "ORDER BY timestamp, uuid LIMIT 20000", 7_802),
        ("SELECT uuid, count() OVER () FROM events WHERE {} ORDER BY timestamp, uuid LIMIT 6001",
         6_001),
        ("SELECT uuid, arrayJoin(if(event = 'e1', [1], [])) FROM events WHERE {} "
         "ORDER BY timestamp, uuid LIMIT 5001", 4_000),
        ("SELECT DISTINCT timestamp, event FROM events WHERE {} ORDER BY timestamp, event "
         "LIMIT 5001", 5_001),
        ("SELECT min(timestamp), uuid FROM events WHERE {} GROUP BY uuid ORDER BY 1, 2 LIMIT 6001",
         6_001),
        ("SELECT uuid FROM events WHERE {} ORDER BY timestamp, uuid LIMIT 6001 OFFSET 500", 6_001),
        ("SELECT a.uuid FROM events a JOIN (SELECT 'e1' AS name) b ON a.event = b.name WHERE {} "
         "ORDER BY a.timestamp, a.uuid LIMIT 5001", 4_000),
    ],
)  # fmt: skip
def test_how_a_large_page_is_found_does_not_show(crowd: HogQLTester, sql: str, count: int) -> None:
    rows = crowd.rows(sql.format("1"))
    assert len(rows) == count
    # With a condition on properties, which all of them meet, everything is sorted.
    assert rows == crowd.rows(sql.format("properties.nothing IS NULL"))
