"""Whole queries where databases differ: aggregates of nothing, orders, names, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.hogql.hogql_database import ANN, Asker, event
from tests.helpers.clickhouse import Database

ROWS = (
    "(SELECT 1 AS g, 10 AS v, 'a' AS t, toInt('5') AS n UNION ALL SELECT 1, 20, 'b', NULL "
    "UNION ALL SELECT 2, 5, 'c', toInt('7') UNION ALL SELECT 2, 40, 'd', toInt('1')) AS r"
)
NONE = "(SELECT number AS v, toFloat('1') AS f, 'x' AS t FROM numbers(0))"

AGGREGATES = [
    # Of nothing: the empty value, unless there may be NULL.
    (f"SELECT count(), count(f), uniq(t), sum(v), sum(f) FROM {NONE}", [[0, 0, 0, 0, None]]),
    (f"SELECT avg(v), avg(f), min(v), max(t), min(f) FROM {NONE}", [[None, None, 0, "", None]]),
    (f"SELECT any(t), argMax(t, v), groupArray(v), groupUniqArray(t) FROM {NONE}",
     [["", "", [], []]]),
    (f"SELECT quantile(0.9)(v), median(f), quantiles(0.1, 0.9)(v) FROM {NONE}",
     [[None, None, [None, None]]]),
    (f"SELECT stddevPop(v), varSamp(f), topK(3)(t) FROM {NONE}", [[None, None, []]]),
    (f"SELECT countIf(v > 0), sumIf(v, 1), uniqIf(t, 1), avgIf(v, 1) FROM {NONE}",
     [[0, 0, 0, None]]),
    # NULL is passed over.
    (f"SELECT count(n), sum(n), avg(n), min(n), max(n), uniq(n) FROM {ROWS}",
     [[3, 13, 13 / 3, 1, 7, 3]]),
    (f"SELECT count(DISTINCT n), count(*), countDistinct(n), uniqExact(n, v) FROM {ROWS}",
     [[3, 4, 3, 3]]),
    (f"SELECT groupArray(n), any(n), anyLast(n) FROM {ROWS} WHERE g = 1", [[[5], 5, 5]]),
    (f"SELECT sum(n), avg(n), max(n), median(n) FROM {ROWS} WHERE v = 20",
     [[None, None, None, None]]),
    # The largest where there is something to be had, and something to compare.
    (f"SELECT argMax(t, v), argMin(t, v), argMax(n, v), argMax(t, n) FROM {ROWS} WHERE g = 1",
     [["b", "a", 5, "a"]]),
    (f"SELECT argMaxIf(t, v, v < 40), argMax(v, (g, -v)) FROM {ROWS}", [["b", 5]]),
    (f"SELECT countIf(n > 3), countIf(n != 5), countIf(NULL), sumIf(v, n = 7), sumIf(n, v < 50) "
     f"FROM {ROWS}", [[2, 3, 0, 5, 13]]),
    (f"SELECT uniqIf(t, v > 5), minIf(v, g = 2), maxIf(t, g = 9), avgIf(v, g = 1) FROM {ROWS}",
     [[3, 5, "", 15.0]]),
    # Between two values a quantile lies; the exact one is a value.
    (f"SELECT quantile(0.5)(v), quantile(0.9)(v), quantileExact(0.5)(v), medianIf(v, g = 2) "
     f"FROM {ROWS}", [[15.0, 34.0, 20, 22.5]]),
    (f"SELECT quantiles(0, 0.5, 1)(v), quantileIf(0.5)(v, g = 1), medianExact(v) FROM {ROWS}",
     [[[5.0, 15.0, 40.0], 15.0, 20]]),
    (f"SELECT stddevPop(v), varSamp(v), stddevSamp(v), varPop(g) FROM {ROWS} WHERE g = 1",
     [[5.0, 50.0, 50**0.5, 0.0]]),
    (f"SELECT varSamp(v), stddevPop(v) FROM {ROWS} WHERE v = 5", [[None, 0.0]]),
    (f"SELECT groupArray(v), groupArray(2)(v), arraySort(groupUniqArray(g)) FROM "
     f"(SELECT * FROM {ROWS} ORDER BY v DESC)", [[[40, 20, 10, 5], [40, 20], [1, 2]]]),
    (f"SELECT groupArrayIf(t, v > 5), arraySort(groupUniqArrayIf(g, v > 5)) FROM {ROWS} "
     "WHERE g = 2", [[["d"], [2]]]),
    (f"SELECT any(v), anyLast(v), first_value(v) FROM (SELECT * FROM {ROWS} ORDER BY v)",
     [[5, 40, 5]]),
    ("SELECT sum(x), avg(x), max(x) FROM (SELECT true AS x UNION ALL SELECT false)",
     [[1, 0.5, True]]),
    ("SELECT sum(0.5), sum(-1), sum(1) FROM numbers(3)", [[1.5, -3, 3]]),
]  # fmt: skip

SHAPES = [
    # NULL and what is no number come last whichever way.
    (f"SELECT n FROM {ROWS} ORDER BY n", [[1], [5], [7], [None]]),
    (f"SELECT n FROM {ROWS} ORDER BY n DESC", [[7], [5], [1], [None]]),
    ("SELECT number, 1 / (number - 1) - 1 / (number - 1) AS x FROM numbers(3) ORDER BY x DESC, 1",
     [[0, 0.0], [2, 0.0], [1, None]]),
    ("SELECT x FROM (SELECT arrayJoin(['b', 'B', 'a', 'ä', '']) AS x) ORDER BY x",
     [[""], ["B"], ["a"], ["b"], ["ä"]]),
    (f"SELECT g, t FROM {ROWS} ORDER BY g DESC, t LIMIT 1 BY g", [[2, "c"], [1, "a"]]),
    (f"SELECT g, max(v) FROM {ROWS} GROUP BY g ORDER BY 2 DESC LIMIT 1", [[2, 40]]),
    (f"SELECT g FROM {ROWS} GROUP BY g HAVING sum(v) > 40 AND count() = 2", [[2]]),
    ("SELECT count() FROM events HAVING count() > 100", []),
    # A name of an expression hides a column, in WHERE as well.
    (f"SELECT v * 2 AS v FROM {ROWS} WHERE v > 40", [[80]]),
    (f"SELECT g AS k, k + 1 AS next FROM {ROWS} GROUP BY k ORDER BY next DESC", [[2, 3], [1, 2]]),
    (f"SELECT sum(v) AS total, total * 2 FROM {ROWS}", [[75, 150]]),
    (f"SELECT (v AS w) + w FROM {ROWS} WHERE w = 5", [[10]]),
    (f"SELECT DISTINCT g FROM {ROWS} ORDER BY g", [[1], [2]]),
    (f"SELECT DISTINCT n IS NULL AS x FROM {ROWS} ORDER BY x", [[0], [1]]),
    (f"SELECT n, count() FROM {ROWS} GROUP BY n ORDER BY n", [[1, 1], [5, 1], [7, 1], [None, 1]]),
    (f"SELECT g, t FROM {ROWS} WHERE (g, v) IN ((1, 20), (2, 5)) ORDER BY t", [[1, "b"], [2, "c"]]),
    (f"SELECT t FROM {ROWS} WHERE n NOT IN (5, 7) ORDER BY t", [["b"], ["d"]]),
    (f"SELECT t FROM {ROWS} WHERE n IN (SELECT n FROM {ROWS} WHERE g = 1) ORDER BY t",
     [["a"], ["b"]]),
    (f"SELECT t FROM {ROWS} WHERE n NOT IN (SELECT n FROM {ROWS} WHERE g = 1) ORDER BY t",
     [["c"], ["d"]]),
    (f"SELECT t FROM {ROWS} WHERE NOT n > 3 ORDER BY t", [["b"], ["d"]]),
    # Arrays taken apart: each by each when they differ, in step in ARRAY JOIN.
    ("SELECT arrayJoin([1, 2]) AS a, arrayJoin(['x', 'y']) AS b ORDER BY a, b",
     [[1, "x"], [1, "y"], [2, "x"], [2, "y"]]),
    ("SELECT arrayJoin([1, 2]), arrayJoin([1, 2]) + 1", [[1, 2], [2, 3]]),
    ("SELECT number, arrayJoin(range(number)) AS x FROM numbers(4) WHERE x > 0 ORDER BY 1, 2",
     [[2, 1], [3, 1], [3, 2]]),
    ("SELECT x, count() FROM (SELECT arrayJoin([1, 2, 1]) AS x) GROUP BY x ORDER BY x",
     [[1, 2], [2, 1]]),
    ("SELECT number, x FROM numbers(2) LEFT ARRAY JOIN range(number) AS x ORDER BY number",
     [[0, 0], [1, 0]]),
    # Names before names, queries in queries.
    ("WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS y FROM a) SELECT y FROM b", [[2]]),
    ("WITH 3 AS three, three * 2 AS six SELECT six", [[6]]),
    ("SELECT x FROM (SELECT x FROM (SELECT 7 AS x))", [[7]]),
    ("WITH a AS (SELECT 1 AS x) SELECT * FROM a UNION ALL SELECT * FROM a", [[1], [1]]),
    ("SELECT 1 AS x UNION ALL SELECT 300 UNION ALL SELECT -1", [[1], [300], [-1]]),
    ("SELECT NULL AS x UNION ALL SELECT 'a'", [[None], ["a"]]),
    ("SELECT 1 UNION DISTINCT SELECT 1", [[1]]),
    ("SELECT count() FROM (SELECT 1 UNION ALL SELECT 1)", [[2]]),
    ("SELECT JSONExtractString(x, 'a'), x.a FROM (SELECT arrayJoin(['', 'x', '{\"a\": 1}']) AS x) "
     "ORDER BY 1", [["", None], ["", None], ["1", "1"]]),
    # No partner: the empty value, not NULL.
    ("SELECT a.number, b.x, b.y FROM numbers(2) a LEFT JOIN (SELECT 0 AS k, 'p' AS x, "
     "toInt('3') AS y) b ON a.number = b.k ORDER BY 1", [[0, "p", 3], [1, "", None]]),
    (f"SELECT count() FROM {ROWS} JOIN (SELECT toInt('x') AS m) AS o ON r.n = o.m", [[0]]),
    (f"SELECT r.t, o.k FROM {ROWS} RIGHT JOIN (SELECT 99 AS k) AS o ON r.v = o.k", [["", 99]]),
    # Windows.
    ("SELECT number, sum(number) OVER (ORDER BY number), rank() OVER (ORDER BY number % 2), "
     "dense_rank() OVER (ORDER BY number % 2 DESC) FROM numbers(3) ORDER BY number",
     [[0, 0, 1, 2], [1, 1, 3, 1], [2, 3, 1, 2]]),
    ("SELECT number, lagInFrame(number, 1, 99) OVER (ORDER BY number), leadInFrame(number) OVER "
     "(ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM numbers(3) "
     "ORDER BY number", [[0, 99, 1], [1, 0, 2], [2, 1, 0]]),
    ("SELECT number, avg(number) OVER (ORDER BY number ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) "
     "FROM numbers(3) ORDER BY 1", [[0, 0.0], [1, 0.5], [2, 1.5]]),
    ("SELECT number, first_value(number) OVER w, last_value(number) OVER w FROM numbers(3) "
     "WINDOW w AS (PARTITION BY number % 2 ORDER BY number) ORDER BY number",
     [[0, 0, 0], [1, 1, 1], [2, 0, 2]]),
    (f"SELECT g, sum(v) / sum(sum(v)) OVER () FROM {ROWS} GROUP BY g ORDER BY g",
     [[1, 0.4], [2, 0.6]]),
]  # fmt: skip

PROPERTIES = [
    # Missing, null, empty: the first two are NULL.
    ("properties.s", [None, None, "", "x"]),
    ("properties.s = ''", [0, 0, 1, 0]),
    ("properties.s != ''", [1, 1, 0, 1]),
    ("properties.s IS NULL", [1, 1, 0, 0]),
    ("properties.s = NULL", [1, 1, 0, 0]),
    ("properties.s LIKE '%'", [0, 0, 1, 1]),
    ("properties.s IN ('', 'x')", [0, 0, 1, 1]),
    ("properties.s NOT ILIKE '%x%'", [1, 1, 1, 0]),
    ("length(properties.s)", [None, None, 0, 1]),
    ("concat('<', properties.s, '>')", ["<>", "<>", "<>", "<x>"]),
    ("coalesce(properties.s, 'none')", ["none", "none", "", "x"]),
    ("empty(properties.s)", [None, None, 1, 0]),
    ("JSONHas(properties, 's')", [0, 1, 1, 1]),
    # A truth value is one in the column of a Boolean, a text elsewhere.
    ("properties.flag", [True, None, False, None]),
    ("toString(properties.flag)", ["true", None, "false", None]),
    ("properties.flag = true", [1, 0, 0, 0]),
    ("properties.flag = 'true'", [1, 0, 0, 0]),
    ("properties.flag != true", [0, 1, 1, 1]),
    ("if(properties.flag, 'y', 'n')", ["y", "n", "n", "n"]),
    ("JSONExtractString(properties, 'flag')", ["true", "", "false", "yes"]),
    # Numbers, some of them in text.
    ("properties.num", [1.5, 10.0, None, None]),
    ("properties.num > 2", [0, 1, 0, 0]),
    ("properties.num = '10'", [0, 1, 0, 0]),
    ("toInt(properties.num)", [None, 10, None, None]),
    ("toString(properties.num)", ["1.5", "10", None, None]),
    ("properties.num + 1", [2.5, 11.0, None, None]),
    ("JSONExtractInt(properties, 'num')", [1, 10, 0, 0]),
    # Moments.
    ("properties.at", ["2026-01-01T10:00:00Z", "2023-11-14T22:13:20Z", None, None]),
    ("properties.at > '2026-01-01'", [1, 0, 0, 0]),
    ("toHour(properties.at)", [10, 22, None, None]),
    ("dateDiff('day', properties.at, timestamp)", [0, 779, None, None]),
    # Lists and objects are their JSON.
    ("properties.list", ['["a","b"]', None, None, None]),
    ("properties.list[1]", ["a", None, None, None]),
    ("properties.array[1]", [None, None, None, None]),
    ("properties.map.date", [None, None, None, None]),
    ("properties.list.2", ["b", None, None, None]),
    ("properties.o.p", ["1", None, None, None]),
    ("properties['o']['p']", ["1", None, None, None]),
    ("JSONExtractArrayRaw(properties, 'list')", [['"a"', '"b"'], [], [], []]),
    ("JSONExtract(properties, 'list', 'Array(String)')", [["a", "b"], [], [], []]),
    ("properties['with space']", [None, None, None, "w"]),
    ("properties['quo\"te']", [None, None, None, "q"]),
    ("properties.nope", [None, None, None, None]),
    ("person.properties.email", ["a@a", "a@a", "a@a", "a@a"]),
    ("JSONExtractString(person.properties, 'email')", ["a@a", "a@a", "a@a", "a@a"]),
    ("JSONExtractInt(group_0.properties, 'size')", [0, 0, 0, 0]),
    ("group_0.properties.size", [None, None, None, None]),
    ("$session_id", ["", "", "", ""]),
    ("properties.`f/g`", [None, None, None, "h"]),
    ("properties.w", [None, None, None, 'a\\"b']),
]  # fmt: skip

REFUSED = [
    ("SELECT number FROM numbers(3) FINAL", "The FINAL keyword is not supported"),
    ("SELECT groupArray(number ORDER BY number) FROM numbers(3)", "ORDER BY inside"),
    ("SELECT countif(1)", "Unsupported function call 'countif(...)'"),
    ("SELECT TOSTRING(1)", "Unsupported function call 'TOSTRING(...)'."),
    ("SELECT countt()", "Perhaps you meant 'count(...)'?"),
    ("SELECT * FROM events SETTINGS max_threads = 1", "settingsClause"),
    ("SELECT extract(year FROM timestamp) FROM events", "no viable alternative"),
    ("SELECT date '2026-01-01'", "ColumnExprDate"),
    ("SELECT 1 FROM events WHERE event GLOBAL IN ('a')", "input"),
    ("SELECT sum(count()) FROM events", "Aggregation 'count' cannot be nested inside another"),
    ("SELECT uniq() FROM events", "Aggregation 'uniq' expects at least 1 argument, found 0"),
    ("SELECT quantile(number) FROM numbers(3)", "'quantile' requires parameters in addition"),
    ("SELECT equals(1)", "Comparison 'equals' requires exactly two arguments"),
    ("SELECT arrayReduce('now', [1])", "Invalid parametric function in 'arrayReduce', 'now'"),
    ("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY number) FROM numbers(3)", "WITHIN GROUP"),
    ("SELECT lower('a', 'b')", "Function 'lower' expects 1 argument, found 2"),
    ("SELECT round(1, 2, 3)", "Function 'round' expects at most 2 arguments, found 3"),
    ("SELECT concat('a')", "Function 'concat' expects at least 2 arguments, found 1"),
    ("SELECT 1 AS x, 2 AS x", "Cannot redefine an alias with the name: x"),
    ("SELECT event FROM events a JOIN events b ON a.uuid = b.uuid",
     "Ambiguous query. Found multiple sources for field: event"),
    ("SELECT events.person FROM events", "Can't select a table when a column is expected"),
    ("SELECT 1 FROM events AS a JOIN events AS a ON 1 = 1", 'Already have joined a table'),
    ("SELECT x FROM numbers(2) ARRAY JOIN [1]", "ARRAY JOIN arrays must have an alias"),
    ("SELECT `a%b` FROM events", 'Unable to resolve field'),
    ("SELECT * FROM (VALUES (1, 2)) AS x", "VALUES"),
    ("SELECT tuple(1).0", "SQL indexes start from one"),
    ("SELECT getBotName('x')", "stub_query"),
]  # fmt: skip


@pytest.fixture(scope="module")
def ask() -> Asker:
    return Asker()


@pytest.fixture(scope="module")
def odd() -> Asker:
    """Four events whose properties are missing, null, empty, or of another kind."""
    made = Database("odd")
    given: list[dict[str, Any]] = [
        {"flag": True, "num": 1.5, "at": "2026-01-01T10:00:00Z", "list": ["a", "b"],
         "o": {"p": 1}},
        {"s": None, "num": "10", "at": "1700000000"},
        {"s": "", "flag": False, "num": " 7"},
        {"s": "x", "flag": "yes", "num": "many", "at": "never", "with space": "w",
         'quo"te': "q", "f/g": "h", "w": "a\"b"},
    ]  # fmt: skip
    made.insert(
        "events",
        [event(n, "e", ANN, f"2026-01-01T2{n}:00:00Z", **one) for n, one in enumerate(given)],
    )
    made.insert(
        "person",
        [{"team_id": 1, "id": ANN, "created_at": "2026-01-01T00:00:00Z", "version": 1,
          "properties": '{"email": "a@a"}', "is_identified": 1, "is_deleted": 0}],
    )  # fmt: skip
    return Asker(made)


@pytest.mark.parametrize(("sql", "rows"), [*AGGREGATES, *SHAPES])
def test_a_query(ask: Asker, sql: str, rows: Any) -> None:
    found = ask.rows(sql)
    if " UNION ALL " in sql and "ORDER BY" not in sql:
        # Parts of a UNION come in any order.
        found, rows = sorted(found, key=repr), sorted(rows, key=repr)
    assert found == rows


def test_properties(odd: Asker) -> None:
    found = odd.values([one for one, _ in PROPERTIES], "FROM events ORDER BY timestamp")
    wrong = {
        expression: (values, wanted)
        for (expression, wanted), values in zip(PROPERTIES, found, strict=True)
        if values != wanted
    }
    assert wrong == {}


@pytest.mark.parametrize(("sql", "told"), REFUSED)
def test_refused(ask: Asker, sql: str, told: str) -> None:
    assert told in ask.refusal(sql).detail


def test_all_columns_of_a_table(ask: Asker) -> None:
    assert ask.columns("SELECT * FROM persons") == [
        "id", "created_at", "properties", "is_identified",
    ]  # fmt: skip
    assert ask.columns("SELECT p.*, 1 AS x FROM persons p")[-1] == "x"
    twice = "SELECT * FROM numbers(1) a JOIN (SELECT 0 AS number) b ON a.number = b.number"
    assert ask.columns(twice) == ["number", "number"]
