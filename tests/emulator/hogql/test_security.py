"""Nothing but the tables and functions of HogQL reaches the engine, whatever is written."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.escape import quoted, string
from posthog_emulator.hogql.functions.tables import aggregate_functions, scalar_functions
from posthog_emulator.hogql.hogql_text import hogql_text
from posthog_emulator.hogql.parse import Expression, parse_expression, parse_select
from posthog_emulator.hogql.translate import translate
from tests.emulator.hogql.hogql_database import CONTEXT, Asker
from tests.helpers.clickhouse import ClickHouseError

TABLE_FUNCTIONS = (  # noqa: SIM905
    "file url remote remoteSecure s3 s3Cluster hdfs mysql postgresql mongodb sqlite odbc jdbc "
    "executable input generateRandom cluster clusterAllReplicas merge dictionary view values "
    "null zeros loop azureBlobStorage gcs iceberg deltaLake hudi redis fileCluster urlCluster "
    "python numbers_mt generate_series format viewIfPermitted mergeTreeIndex fuzzJSON"
).split()
FUNCTIONS = (  # noqa: SIM905
    "file dictGet dictGetOrNull dictHas getenv getSetting hostName FQDN version "
    "currentDatabase currentUser uptime tcpPort serverUUID filesystemAvailable getMacro "
    "catboostEvaluate joinGet joinGetOrNull hasColumnInTable sleep sleepEachRow throwIf "
    "evalMLMethod addressToLine addressToSymbol demangle trap structureToCapnProtoSchema "
    "getServerPort initializeAggregation finalizeAggregation runningAccumulate "
    "defaultValueOfTypeName blockNumber queryID initialQueryID partitionID generateUUIDv4 "
    "readWKT executable arrayReduceInRanges formatRow meiliMatch aiClassify transactionID "
    "showCertificate getClientHTTPHeader lowCardinalityIndices"
).split()
TABLES = (  # noqa: SIM905
    "system.tables system.settings system.functions system.query_log system.one "
    "system.columns information_schema.tables INFORMATION_SCHEMA.TABLES default.events "
    "hogql.events person cohortpeople person_static_cohort person_distinct_id2 _table "
    "system.`tables` `system.tables` `events` .events"
).split()
ALLOWED_TABLES = re.compile(
    r"(?:FROM|JOIN) (?:\(|events\b|person\b|person_distinct_id2\b|person_distinct_id_overrides\b|"
    r"groups\b|cohortpeople\b|person_static_cohort\b|numbers\(\d+(?:, \d+)?\)|null\('|values\(')"
)


@pytest.mark.parametrize("name", TABLE_FUNCTIONS)
def test_no_table_function(name: str) -> None:
    for text in (
        f"SELECT * FROM {name}('x')",
        f"SELECT * FROM {name}('x', 'CSV', 'a String') AS t",
        f"SELECT 1 FROM events JOIN {name}('x') AS t ON 1 = 1",
        f"SELECT 1 WHERE 1 IN (SELECT a FROM {name}('x'))",
        f"WITH t AS (SELECT * FROM {name}('x')) SELECT * FROM t",
        f"INSERT INTO FUNCTION {name}('x') SELECT 1",
    ):
        with pytest.raises(HogQLError):
            translate(text, CONTEXT)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_outside_of_the_list(name: str) -> None:
    for text in (f"{name}('x')", f"{name}()", f"{name}('sum')(1)", f"{name}(1) OVER ()"):
        with pytest.raises(HogQLError):
            translate(f"SELECT {text}", CONTEXT)


@pytest.mark.parametrize("name", TABLES)
def test_no_table_of_the_engine(name: str) -> None:
    text = f"SELECT * FROM {name}"
    if name in {"`events`", ".events"}:
        if name == ".events":
            with pytest.raises(HogQLError):
                translate(text, CONTEXT)
        return
    with pytest.raises(HogQLError):
        translate(text, CONTEXT)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 INTO OUTFILE 'x.txt'",
        "SELECT 1 SETTINGS allow_ddl = 1",
        "SELECT 1 FORMAT Null; DROP TABLE events",
        "SET allow_ddl = 1",
        "SYSTEM RELOAD CONFIG",
        "ATTACH TABLE x",
        "SELECT CAST('x', 'String')('a')",
        "SELECT ''::`String); DROP TABLE events`",
        "SELECT CAST(1 AS Nothing)",
        "SELECT arrayReduce('sum(1); DROP', [1])",
        "SELECT a.b.c.d(1) FROM events",
        "EXPLAIN SELECT 1",
        "SELECT * FROM events AS e FINAL",
        "DESCRIBE TABLE events",
        "SELECT 1 FROM numbers(1 + 1)",
        "SELECT 1 FROM numbers(-1)",
        "SELECT $1",
        "SELECT {x:String}",
    ],
)
def test_no_statement_but_a_query(text: str) -> None:
    with pytest.raises(HogQLError):
        translate(text, CONTEXT)


WORDS = [
    *TABLE_FUNCTIONS[:12], *FUNCTIONS[:12], *TABLES, "SELECT", "FROM", "WHERE", "JOIN", "ON", "AS",
    "UNION ALL", "(", ")", "(", ")", ",", ".", "*", "1", "'x'", "events", "persons", "numbers(3)",
    "IN", "system", "SETTINGS", "INTO OUTFILE", "FORMAT", "=", "person", "properties", "`a`", "--",
    "/*", "*/", ";", "'", "\\'", "\\", "{", "}", "[", "]", "->", "WITH", "LIMIT", "ARRAY JOIN",
    "count()", "e", "GROUP BY", "ORDER BY", "\x00", "``",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_words_in_any_order_read_only_own_tables(words: list[str]) -> None:
    try:
        made = translate("SELECT " + " ".join(words), CONTEXT)
    except HogQLError:
        return
    _check(made.sql)


def _check(sql: str) -> None:
    """Check that a printed query reads nothing but tables of the emulator and calls only known."""
    bare = re.sub(r"'(?:[^'\\]|\\.)*'", "''", re.sub(r"`(?:[^`\\]|\\.)*`", "x", sql))
    for match in re.finditer(r"\b(?:FROM|JOIN) (?!\(?SELECT)", bare):
        assert ALLOWED_TABLES.match(bare[match.start() :]), sql
    assert not re.search(r"\b(INTO|OUTFILE|SETTINGS|FORMAT|INSERT|DROP|system)\b|;", bare), sql
    known = {*scalar_functions(), *aggregate_functions()}
    names = {one.name for one in (*scalar_functions().values(), *aggregate_functions().values())}
    for name in re.findall(r"\b([A-Za-z_]\w*)\(", bare):
        assert name in known or name in names or name in PRINTED, (name, sql)


PRINTED = {
    "IN", "and", "numbers", "null", "values", "isNull", "isNotNull", "ifNull", "nullIf", "if",
    "accurateCastOrNull", "toTimeZone", "match", "not", "or", "arrayElement", "tupleElement",
    "notIn", "in", "CAST", "exists", "WHERE", "USING", "ON", "OVER", "AS", "VALUES", "LIMIT",
}  # fmt: skip

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HOSTILE = st.text(st.sampled_from("'\\\"`{}();-/*\0\n\r\t\b%$ abé"), max_size=12)


@settings(max_examples=35, deadline=None)
@given(st.lists(TEXTS | HOSTILE, min_size=1, max_size=8))
def test_strings_and_names_come_back_as_they_are(texts: list[str]) -> None:
    names = [f"{n}{text}" for n, text in enumerate(texts)]
    columns = ", ".join(
        f"{string(text)} AS {quoted(name)}" for text, name in zip(texts, names, strict=True)
    )
    picked = ", ".join(quoted(name) for name in names)
    assert Asker().database.query(f"SELECT {picked} FROM (SELECT {columns})")[1] == [texts]
    # The same literals are literals of HogQL, whose parser ends a text at a zero byte.
    whole = [text for text in texts if "\0" not in text]
    assert [parse_expression(string(text))["value"] for text in whole] == whole


@settings(max_examples=25, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=4))
def test_names_from_users_stay_names(names: list[str]) -> None:
    unique = [f"{n}{name.replace('%', '')}" for n, name in enumerate(names)]
    ask = Asker(values={})
    chain: list[Any] = [{"node": "Field", "chain": ["properties", name]} for name in unique]
    tree = parse_select("SELECT 1 FROM events")
    found = translate(Expression({**tree, "select": chain}), ask.context)
    assert ask.database.query(found.sql)[1] == [[None] * len(unique)] * 4
    person = [{"node": "Field", "chain": ["person", "properties", name]} for name in unique]
    found = translate(Expression({**tree, "select": person}), ask.context)
    assert ask.database.query(found.sql)[1] == [[None] * len(unique)] * 4
    alias = [
        {"node": "Alias", "alias": name, "expr": {"node": "Constant", "value": n}}
        for n, name in enumerate(unique)
    ]
    inner = {**tree, "select": alias, "select_from": None}
    outer = {
        **tree,
        "select": [{"node": "Field", "chain": ["*"]}],
        "select_from": {"node": "JoinExpr", "table": inner, "alias": unique[0]},
    }
    found = translate(Expression(outer), ask.context)
    assert ask.database.query(found.sql)[1] == [list(range(len(unique)))]


NUMBERS = st.recursive(
    st.sampled_from(["n", "f", "m", "1", "2.5", "NULL", "-3"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({' '.join(t)})"),
        st.tuples(inner, inner).map(lambda t: f"coalesce({t[0]}, {t[1]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"if({t[0]} > 1, {t[1]}, {t[2]})"),
        inner.map(lambda one: f"abs({one})"),
    ),
    max_leaves=6,
)
_SAME = {"=": (0, "isNull({a}) AND isNull({b})"), "!=": (1, "isNotNull({a}) OR isNotNull({b})")}
ROWS = "(SELECT number AS n, number * 1.5 AS f, nullIf(number, 2) AS m FROM numbers(4)) AS d"


def _sql(a: str, op: str, b: str) -> str:
    """Return the comparison as ClickHouse would have it with NULL equal to NULL alone."""
    if op in _SAME:
        return f"ifNull({a} {op} {b}, {_SAME[op][1].format(a=a, b=b)})"
    return f"ifNull({a} {op} {b}, 0)"


@settings(max_examples=35, deadline=None)
@given(st.lists(st.tuples(NUMBERS, st.sampled_from(["=", "!=", "<", ">="]), NUMBERS), min_size=1,
                max_size=6))  # fmt: skip
def test_random_comparisons(parts: list[tuple[str, str, str]]) -> None:
    """Conditions inside of `if` hold no NULL test here: only their being true matters there."""
    ask = Asker()
    tree = parse_select(f"SELECT 1 FROM {ROWS}")
    select = [parse_expression(f"{a} {op} {b}") for a, op, b in parts]
    made = translate(Expression({**tree, "select": select}), ask.context)
    sqls = ", ".join(_sql(a, op, b) for a, op, b in parts)
    wanted = ask.database.query(f"SELECT {sqls} FROM {ROWS}", made.settings)[1]
    assert ask.database.query(made.sql, made.settings)[1] == wanted


@settings(max_examples=25, deadline=None)
@given(NUMBERS)
def test_the_text_of_a_query_means_the_same(expression: str) -> None:
    ask = Asker()
    sql = f"SELECT {expression} FROM {ROWS.replace('nullIf', 'nullif')}"
    again = f"{hogql_text(parse_select(sql))} LIMIT 100"
    assert ask.rows(again) == ask.rows(sql)


def test_an_error_of_the_engine_is_not_hidden() -> None:
    with pytest.raises(ClickHouseError):
        Asker().rows("SELECT event + 1 FROM events")
