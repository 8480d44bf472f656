"""HTML tables of results and pages in notebooks: small, escaped, without API keys."""

from __future__ import annotations

import html.parser
from typing import Any

import pytest

from asyncposthog import QueryResult
from asyncposthog.models import Cohort
from tests.helpers.paged_servers import Fixed, OffsetServer, listing, operation, things


class Outline(html.parser.HTMLParser):
    """Parses a table: its cells, row by row, and the text around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text: list[str] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert attrs == []
        self.tags.add(tag)
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data
        else:
            self.text.append(data)


def shown(value: Any) -> Outline:
    text = value._repr_html_()
    assert len(text) < 50_000
    outline = Outline(text)
    assert outline.tags <= {"div", "p", "table", "thead", "tbody", "tr", "td", "th"}
    return outline


def result(columns: list[str], rows: list[list[Any]]) -> QueryResult:
    types = [[name, "String"] for name in columns]
    return QueryResult({"results": rows, "columns": columns, "types": types})


def test_a_result_is_a_table_of_its_first_rows() -> None:
    found = shown(result(["event", "n"], [[f"e{n}", n] for n in range(50_000)]))
    assert found.rows[:2] == [["event", "n"], ["e0", "0"]]
    assert len(found.rows) == 21
    assert found.text == ["QueryResult: 50,000 rows", "… 49,980 more rows"]


def test_values_are_escaped_shortened_and_masked() -> None:
    nasty = "<script>alert(1)</script>"
    found = shown(result([nasty], [[nasty], ["x" * 10_000], ["phx_" + "a" * 40], [None]]))
    assert [row[0] for row in found.rows[:2]] == [nasty, nasty]
    assert len(found.rows[2][0]) == 100
    assert found.rows[3] == ["phx_***"]
    assert len(found.text) == 1


def test_many_columns_are_cut_too() -> None:
    wide = result([f"c{n}" for n in range(3000)], [[0] * 3000] * 3)
    found = shown(wide)
    assert {len(row) for row in found.rows} == {21}
    assert found.text[-1] == "… 2,980 more columns"
    assert repr(wide).endswith("c19 String, … 2980 more>")
    assert len(repr(result(["c" * 10_000], []))) < 200


def test_a_result_that_is_no_table_and_an_empty_one() -> None:
    assert shown(QueryResult({"results": {"a": 1}})).text == ["QueryResult of dict"]
    empty = shown(result(["a"], []))
    assert (empty.rows, empty.text) == ([["a"]], ["QueryResult: 0 rows"])


@pytest.mark.anyio
async def test_a_page_is_a_table_of_its_first_items() -> None:
    items = [{"id": n, "<b>": "<i>"} if n else {"id": 0} for n in range(45)]
    page = await listing(OffsetServer(items), operation("offset"), {"limit": 30})
    found = shown(page)
    assert found.rows[:3] == [["id", "<b>"], ["0", ""], ["1", "<i>"]]
    assert found.text == ["Page: 30 of 45 items", "… 10 more rows"]
    assert repr(page) == "<Page: 30 of 45 items>"


@pytest.mark.anyio
async def test_pages_of_models_of_plain_values_and_of_nothing() -> None:
    page = await listing(Fixed(things(2)), operation("single", items=None))
    page.items[:] = [Cohort.model_construct(id=1, name="Buyers"), Cohort.model_construct(id=2)]
    assert shown(page).rows == [["id", "name"], ["1", "Buyers"], ["2", ""]]
    plain = await listing(Fixed(["a", "b"]), operation("single", items=None))
    assert shown(plain).rows == [["value"], ["a"], ["b"]]
    assert shown(await listing(Fixed([]), operation("single", items=None))).rows == [[]]
