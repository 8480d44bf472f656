"""The scan of SQL, and values bound to placeholders."""

from __future__ import annotations

import re
import string
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.query.sql_scan import scan_sql
from asyncposthog.query.values import bind


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT {a}, { b }, {c.d}", ["a", "b", "c"]),
        ("SELECT '{a}', `{b}`, \"{c}\" -- {d}\n, {e} /* {f} */ // {g}", ["e"]),
        ("SELECT 'it''s {a}', 'it\\'s {b}', {c}", ["c"]),
        ("SELECT {'k': 1}, {}, {a}", ["a"]),
        ("SELECT {toDate({a})}, {b + 1}", ["", ""]),
        ("SELECT a / b, {c}", ["c"]),
        ("SELECT 'open, {a}", ["a"]),
        ("SELECT {a", []),
        ("SELECT a}, {b}", ["b"]),
    ],
)
def test_placeholders(sql: str, names: list[str]) -> None:
    assert [p.name for p in scan_sql(sql).placeholders] == names


@pytest.mark.parametrize(
    ("sql", "complete"),
    [
        ("SELECT {a}", True),
        ("SELECT f'{a}'", False),
        ("SELECT {a + 1}", False),
        ("SELECT <Sparkline data={x} />", False),
        ("SELECT a < b, c > d", True),
    ],
)
def test_completeness(sql: str, complete: bool) -> None:
    assert scan_sql(sql).complete is complete


@pytest.mark.parametrize(
    ("sql", "limits", "clauses"),
    [
        ("SELECT 1", (None,), set()),
        ("select 1 limit 5", (5,), {"LIMIT"}),
        ("SELECT 1 LIMIT 10000;", (10_000,), {"LIMIT"}),
        ("SELECT 1 LIMIT {n}", ("n",), {"LIMIT"}),
        ("SELECT 1 LIMIT {n + 1}", ("?",), {"LIMIT"}),
        ("SELECT 1 LIMIT 5 + 5", ("?",), {"LIMIT"}),
        ("SELECT 1 LIMIT 5, 10", ("?",), {"LIMIT"}),
        ("SELECT 1 LIMIT 5 WITH TIES", ("?",), {"LIMIT"}),
        ("SELECT 1 LIMIT 5 OFFSET 3", (5,), {"LIMIT", "OFFSET"}),
        ("SELECT 1 LIMIT 3 BY a", (None,), set()),
        ("SELECT 1 LIMIT 3 BY a LIMIT 7", (7,), {"LIMIT"}),
        ("SELECT 1 ORDER BY a LIMIT 7", (7,), {"ORDER BY", "LIMIT"}),
        ("SELECT (SELECT 1 ORDER BY a LIMIT 7)", (None,), set()),
        ("WITH x AS (SELECT 1 LIMIT 2) SELECT * FROM x", (None,), set()),
        ("SELECT sum(a) OVER (ORDER BY b) FROM t", (None,), set()),
        ("SELECT properties.limit, t.`limit` FROM t", (None,), set()),
        ("SELECT 1 AS limit, 2 AS order", (None,), set()),
        ("SELECT 1 LIMIT 1 UNION ALL SELECT 2", (1, None), {"LIMIT"}),
        ("SELECT 1 UNION DISTINCT SELECT 2 LIMIT 3", (None, 3), {"LIMIT"}),
        ("SELECT * EXCEPT (a) FROM t LIMIT 3", (3,), {"LIMIT"}),
        ("(SELECT 1) EXCEPT (SELECT 2)", (None, None), set()),
    ],
)
def test_outermost_clauses(sql: str, limits: Any, clauses: set[str]) -> None:
    seen = scan_sql(sql)
    assert (seen.limits, seen.clauses) == (limits, clauses)


@pytest.mark.parametrize(
    "tail", ["", ";", " ; ", "\n-- done", " /* ; */ ;", "; // x ; y", ";;"]
)  # fmt: skip
def test_end_of_the_query(tail: str) -> None:
    assert bind(f"SELECT 1{tail}", None) == ("SELECT 1", {})


def test_datetime_arguments_are_not_wrapped() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    for sql in (
        "SELECT toDateTime({at})",
        "SELECT toDateTime64( {at} , 6, 'UTC')",
        "SELECT parseDateTimeBestEffort({at})",
        "SELECT toDate({at})",
    ):
        assert bind(sql, {"at": at})[0] == sql
    bound, values = bind("SELECT {at}, toYear({at}), '{at}'", {"at": at})
    assert bound == "SELECT toDateTime({at}), toYear(toDateTime({at})), '{at}'"
    assert values == {"at": "2026-01-02T00:00:00Z"}


def test_placeholders_of_the_server() -> None:
    sql = "SELECT {variables.x} FROM t WHERE {filters} AND {a}"
    assert bind(sql, {"a": 1}) == (sql, {"a": 1})
    assert bind("SELECT {filters}", {"filters": 1})[1] == {"filters": 1}


def test_numpy_scalars() -> None:
    import numpy

    values: dict[str, object] = {
        "a": numpy.int64(7),
        "b": [numpy.float32(0.5)],
        "c": numpy.bool_(True),
    }
    assert bind("SELECT {a}, {b}, {c}", values)[1] == {"a": 7, "b": [0.5], "c": True}


_NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=5)
_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    _TEXT, st.uuids(), st.dates(), st.datetimes(timezones=st.just(UTC)),
    st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=8),
)  # fmt: skip


@given(st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=4))
def test_no_value_is_in_the_sql(values: dict[str, Any]) -> None:
    sql = "SELECT " + ", ".join(f"{{{name}}}" for name in values)
    bound, sent = bind(sql, values)
    assert sent.keys() == values.keys()
    assert set(re.findall(r"[^(){}, ]+", bound)) <= {
        "SELECT", "toDateTime", "toDecimal", *values, *map(str, range(40)),
    }  # fmt: skip
    again = [p.name for p in scan_sql(bound).placeholders]
    assert again == list(values)


@given(st.text(max_size=60))
def test_any_text_is_scanned(sql: str) -> None:
    seen = scan_sql(sql)
    assert 0 <= seen.end <= len(sql)
    assert all(sql[p.start] == "{" and sql[p.end - 1] == "}" for p in seen.placeholders)


@given(_TEXT)
def test_placeholders_in_literals_are_ignored(text: str) -> None:
    literal = text.replace("\\", "\\\\").replace("'", "\\'")
    seen = scan_sql(f"SELECT '{literal}', {{a}} LIMIT 3")
    assert ([p.name for p in seen.placeholders], seen.limits) == (["a"], (3,))


@given(st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=9))
def test_decimals_keep_their_digits(value: Decimal) -> None:
    bound, sent = bind("SELECT {d}", {"d": value})
    found = sent["d"]
    assert Decimal(repr(found) if isinstance(found, float) else str(found)) == value
    assert isinstance(found, str) == ("toDecimal" in bound)
