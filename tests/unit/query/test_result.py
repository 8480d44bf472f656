"""`QueryResult`: rows, columns and conversions."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pydantic
import pytest

from asyncposthog import DecodeError, QueryResult, SchemaDrift

from .helpers import ROWS, table

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)


def result(**changes: Any) -> QueryResult:
    return QueryResult(table(**changes), query_id="q1")


def test_rows() -> None:
    found = result()
    assert found.columns == ("event", "n", "at")
    assert found.types == ("String", "UInt64", "DateTime64(6, 'UTC')")
    assert found.rows[0] == ("$pageview", 3, MOMENT)
    assert list(found) == found.rows
    assert (len(found), found[0], found[-1:]) == (2, found.rows[0], found.rows[1:])
    assert found.dicts()[0] == {"event": "$pageview", "n": 3, "at": MOMENT}
    assert found.column("n") == [3, 1]
    assert found.results == ROWS
    assert found.raw["results"] is found.results
    assert repr(found) == "<QueryResult 2 rows: event String, n UInt64, at DateTime64(6, 'UTC')>"


def test_facts() -> None:
    found = result(
        is_cached=True, hogql="SELECT 1", next_allowed_client_refresh="2026-01-02T03:06Z"
    )
    assert (found.query_id, found.has_more, found.limit, found.is_cached) == (
        "q1",
        False,
        100,
        True,
    )
    assert found.last_refresh == datetime(2026, 1, 2, 3, 5, tzinfo=UTC)
    assert found.next_refresh == datetime(2026, 1, 2, 3, 6, tzinfo=UTC)
    assert found.timings == {"./parse": 0.25}
    assert found.hogql == "SELECT 1"
    bare = QueryResult({"results": []})
    assert (bare.query_id, bare.has_more, bare.limit, bare.is_cached) == (None, None, None, False)
    assert (bare.last_refresh, bare.next_refresh, bare.timings, bare.hogql) == (
        None,
        None,
        {},
        None,
    )
    assert QueryResult({"results": [], "last_refresh": "soon", "timings": [1]}).last_refresh is None


class Count(pydantic.BaseModel):
    event: str
    n: int
    at: datetime


@dataclasses.dataclass
class Plain:
    event: str
    n: int
    at: datetime


def test_models() -> None:
    assert result().models(Count)[0] == Count(event="$pageview", n=3, at=MOMENT)
    assert result().models(Plain)[1].event == "signup"
    with pytest.raises(pydantic.ValidationError, match="event"):
        result(columns=["x", "n", "at"]).models(Count)
    trends = QueryResult({"results": [{"event": "a", "n": 1, "at": "2026-01-01T00:00:00Z"}]})
    assert trends.models(Count)[0].n == 1


def test_scalar() -> None:
    assert QueryResult(table([[7]], ["n"], [["n", "UInt64"]])).scalar() == 7
    for rows, columns in [([], ["n"]), ([[1], [2]], ["n"]), ([[1, 2]], ["n", "m"])]:
        with pytest.raises(ValueError, match="one row and one column"):
            QueryResult(table(rows, columns, None)).scalar()


def test_repeated_column_names() -> None:
    twice = result(columns=["a", "a", "b"])
    assert len(twice.rows) == 2
    for method in (twice.dicts, twice.to_polars, twice.to_pandas):
        with pytest.raises(ValueError, match="'a'"):
            method()
    with pytest.raises(KeyError, match="names 2"):
        twice.column("a")
    with pytest.raises(KeyError, match="names 0"):
        twice.column("x")
    assert twice.to_arrow().num_columns == 3


def test_odd_tables() -> None:
    empty = QueryResult(table([]))
    assert (empty.rows, empty.dicts(), len(empty), bool(empty)) == ([], [], 0, False)
    assert empty.to_arrow().schema.field("n").type == pa.uint64()
    nameless = QueryResult({"results": [[1, "a"]]})
    assert (nameless.columns, nameless.rows) == (("1", "2"), [(1, "a")])
    assert nameless.types == ("Unknown", "Unknown")
    paired = QueryResult({"results": [[1]], "columns": [["n", "UInt8"]], "types": ["UInt8"]})
    assert (paired.columns, paired.types) == (("n",), ("UInt8",))
    with pytest.raises(TypeError, match="do not match"):
        _ = QueryResult(table([[1], [1, 2]])).rows
    assert QueryResult(table([[], []], [], [])).rows == [(), ()]


@pytest.mark.parametrize("results", [[{"count": 1}], {"a": 1}, None, "x"])
def test_a_result_that_is_not_a_table(results: Any) -> None:
    found = QueryResult({"results": results})
    for use in (len, list, QueryResult.dicts, QueryResult.scalar, QueryResult.to_arrow):
        with pytest.raises(TypeError, match="not a table"):
            use(found)
    assert found.results == results
    assert "QueryResult of" in repr(found)


def test_values_that_are_not_of_their_type() -> None:
    found = QueryResult(table([["x"], ["2026-01-02"], ["y"]], ["day"], [["day", "Date"]]))
    with pytest.warns(SchemaDrift, match="column day: 2 values are not of type Date, such as 'x'"):
        assert [row[0] for row in found.rows][::2] == ["x", "y"]
    with pytest.raises(DecodeError, match="Column day: 'x' is not of type Date") as caught:
        found.to_arrow()
    assert "toString" in (caught.value.suggestion or "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(found.rows) == 3  # once is enough


WIDE = QueryResult(
    table(
        [
            [2**63, None, True, "1.50", "01902f5c-0000-7000-8000-00000000abcd", ["a"], [1, "b"],
             {"k": 1}, "2026-01-02", "2026-01-02T03:04:05.123456Z"],
            [1, 2**53 + 1, None, None, None, [], [2, "c"], {}, None, None],
        ],
        ["big", "maybe", "yes", "price", "id", "names", "pair", "counts", "day", "at"],
        [["big", "UInt64"], ["maybe", "Nullable(Int64)"], ["yes", "Nullable(Bool)"],
         ["price", "Nullable(Decimal(18, 4))"], ["id", "Nullable(UUID)"],
         ["names", "Array(String)"], ["pair", "Tuple(UInt8, String)"],
         ["counts", "Map(String, UInt8)"], ["day", "Nullable(Date)"],
         ["at", "Nullable(DateTime64(6, 'UTC'))"]],
    )
)  # fmt: skip


def test_python() -> None:
    assert WIDE.rows[0][3:8] == (
        Decimal("1.50"), UUID("01902f5c-0000-7000-8000-00000000abcd"), ["a"], (1, "b"), {"k": 1},
    )  # fmt: skip


def test_arrow() -> None:
    found = WIDE.to_arrow()
    assert found.schema.field("price").type == pa.decimal128(18, 4)
    assert found.column("maybe").to_pylist() == [None, 2**53 + 1]
    assert found.column("at").to_pylist()[0] == MOMENT


def test_polars() -> None:
    import polars

    found = WIDE.to_polars()
    assert found.schema["maybe"] == polars.Int64
    assert found["maybe"].to_list() == [None, 2**53 + 1]
    assert found["at"].to_list()[0] == MOMENT
    assert found["names"].to_list() == [["a"], []]


def test_pandas() -> None:
    found: Any = WIDE.to_pandas()
    dtypes = {str(name): str(kind) for name, kind in found.dtypes.items()}
    assert (dtypes["big"], dtypes["maybe"], dtypes["yes"]) == ("uint64", "Int64", "boolean")
    assert int(found["maybe"][1]) == 2**53 + 1
    assert found["at"][0].to_pydatetime() == MOMENT
    assert list(found.columns) == list(WIDE.columns)


@pytest.mark.parametrize(
    ("method", "module"),
    [("to_arrow", "pyarrow"), ("to_polars", "polars"), ("to_pandas", "pandas")],
)
def test_a_missing_extra(method: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    extra = "arrow" if module == "pyarrow" else module
    with pytest.raises(ImportError, match=rf"asyncposthog\[{extra}\]"):
        getattr(result(), method)()
