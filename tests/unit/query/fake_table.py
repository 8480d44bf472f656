"""A server of keyset pages of one table, for the queries of a stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

import anyio.lowlevel
import httpx

from .helpers import answer, sent, table

_PAGE = re.compile(
    r"SELECT \* FROM \(\n(.*)\n\) (?:WHERE (.*) )?ORDER BY (.*) LIMIT (\d+)", re.DOTALL
)
_READ: dict[str, Callable[[Any], Any]] = {
    "toUUID": UUID,
    "toDateTime": datetime.fromisoformat,
    "toDate": str,
}


@cache
def _typed_value(kind: str, value: str) -> Any:
    """Return what a text stands for in a column of a type; pages read the same ones again."""
    if "UUID" in kind:
        return UUID(value)
    if "DateTime" in kind:
        return datetime.fromisoformat(value)
    return Decimal(value) if "Decimal" in kind else value


class Table:
    """A table of JSON rows with column types; `most` is the maximum number of rows per response."""

    def __init__(
        self,
        columns: dict[str, str],
        rows: Sequence[Sequence[Any]],
        *,
        most: int = 50_000,
        before: Callable[[Table, int], httpx.Response | None] | None = None,
    ) -> None:
        self.columns = columns
        self.rows = [list(row) for row in rows]
        self.most = most
        self.before = before
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await anyio.lowlevel.checkpoint()
        if request.method == "DELETE":
            return answer({"message": "Query already complete"})
        node = sent(request)["query"]
        self.asked.append(node)
        if self.before is not None and (early := self.before(self, len(self.asked))):
            return early
        found = _PAGE.fullmatch(node["query"])
        assert found is not None, node["query"]
        names = [name.strip("`") for name in found[3].split(", ")]
        passes = self._condition(found[2], node.get("values", {}))
        rows = [row for row in self.rows if passes(row)]
        rows.sort(key=lambda row: [self.order(row, name) for name in names])
        cut = rows[: min(int(found[4]), self.most)]
        types = [[name, kind] for name, kind in self.columns.items()]
        return answer(table(cut, list(self.columns), types, hasMore=None, limit=None))

    def _condition(self, where: str | None, values: dict[str, Any]) -> Callable[[list[Any]], bool]:
        """Convert a condition to Python, once for all rows."""
        if where is None:
            return lambda row: True
        text = re.sub(r"(to\w+)\(\{(\w+)\}(?:, \d+)?\)", r"_typed('\1', '\2')", where)
        text = re.sub(r"\{(\w+)\}", r"_typed('', '\1')", text)
        text = re.sub(r"isNull\(`?([\w$ ]+?)`?\)", r"_null(row, '\1')", text)
        text = re.sub(r"`?([\w$ ]*\w)`? (>=|>|=) ", r"_is(row, '\1', '\2', ", text)
        text = re.sub(r"(_typed\('\w*', '\w+'\))", r"\1)", text)
        text = text.replace(" AND ", " and ").replace(" OR ", " or ")

        @cache
        def typed(function: str, name: str) -> Any:
            if function == "toDecimal":
                return Decimal(values[name])
            return _READ.get(function, lambda v: v)(values[name])

        def compare(row: list[Any], name: str, operator: str, value: Any) -> bool:
            own = self._value(row, name)
            if own is None:
                return False
            if operator == "=":
                return bool(own == value)
            return bool(own > value or (operator == ">=" and own == value))

        def null(row: list[Any], name: str) -> bool:
            return self._value(row, name) is None

        scope = {"_typed": typed, "_is": compare, "_null": null}
        code = compile(text, "condition", "eval")
        return lambda row: bool(eval(code, {**scope, "row": row}))

    def _value(self, row: list[Any], name: str) -> Any:
        value = row[list(self.columns).index(name)]
        return _typed_value(self.columns[name], value) if isinstance(value, str) else value

    def order(self, row: list[Any], name: str) -> tuple[bool, Any]:
        """Return the sort key of a row, NULL last."""
        value = self._value(row, name)
        return (value is None, 0 if value is None else value)
