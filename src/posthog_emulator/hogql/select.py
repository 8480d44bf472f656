"""Translate SELECT and UNION from sqlglot's nodes to one DuckDB query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from .calls import ordered
from .context import Context, Query
from .dialect import PLACEHOLDER
from .expressions import Expressions
from .problems import HogQLError, untranslated
from .schema import TABLES
from .scope import Scope, Source, TableSource
from .tables import Tables
from .tree import exp
from .types import common
from .values import Value, identifier

__all__ = ["Translator"]

_DEPTH: Final = 25
"""Maximum depth of nested queries."""
_TOP: Final = 5_000
"""Number of rows up to which DuckDB evaluates ORDER BY with LIMIT without a full sort."""
_CHEAP: Final = frozenset({"timestamp", "uuid", "event", "distinct_id"})
"""Small columns of `events`, which are cheap to read twice."""
_SET: Final[Mapping[type[Any], str]] = {
    exp.Union: "UNION",
    exp.Except: "EXCEPT",
    exp.Intersect: "INTERSECT",
}


class Translator:
    """Translator of queries.

    Args:
        context: What their meaning depends on.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._aliases = 0
        self._depth = 0
        self.scans: list[str] = []
        """Queries that count the events in the time range, one for each use of `events`."""

    def alias(self) -> str:
        """Return a new alias."""
        self._aliases += 1
        return f"t{self._aliases}"

    def query(self, node: Any, ctes: Mapping[str, Any]) -> Query:
        """Translate a query.

        Args:
            node: The query.
            ctes: The queries that WITH gave names to, outside of it.

        Raises:
            HogQLError: The query is invalid or not supported.
        """
        self._depth += 1
        if self._depth > _DEPTH:
            raise HogQLError("The query is nested too deeply.")
        try:
            if isinstance(node, exp.Subquery):
                return self.query(node.this, ctes)
            if isinstance(node, exp.SetOperation):
                return self._set(node, ctes)
            if isinstance(node, exp.Select):
                return self._select(node, ctes)
        finally:
            self._depth -= 1
        raise untranslated(f"`{node.sql('clickhouse')}` as a query")

    def _set(self, node: Any, ctes: Mapping[str, Any]) -> Query:
        known = {**ctes, **dict(_ctes(node))}
        left, right = self.query(node.this, known), self.query(node.expression, known)
        if len(left.columns) != len(right.columns):
            raise HogQLError(
                "Different number of columns in UNION ALL elements: "
                f"{len(left.columns)} and {len(right.columns)}",
                "union_all_result_structures_mismatch",
            )
        word = next(text for kind, text in _SET.items() if isinstance(node, kind))
        # ClickHouse rejects UNION without ALL or DISTINCT, too, by default.
        distinct = node.args.get("distinct")
        if distinct is None and word == "UNION":
            raise HogQLError("Expected UNION ALL or UNION DISTINCT, not UNION alone.")
        types = [common(a, b) for (_, a), (_, b) in zip(left.columns, right.columns, strict=True)]
        # As in ClickHouse, the names come from the first query.
        columns = tuple(
            (name, wanted_type) for (name, _), wanted_type in zip(left.columns, types, strict=True)
        )
        sides: list[str] = []
        for side in (left, right):
            parts = [
                f"{Value(f'q.c{n}', own, '').cast(wanted_type)} AS c{n}"
                for n, ((_, own), wanted_type) in enumerate(zip(side.columns, types, strict=True))
            ]
            sides.append(f"SELECT {', '.join(parts)} FROM ({side.sql}) AS q")  # noqa: S608
        joined = f"{word} {'DISTINCT' if distinct else 'ALL'}"
        sql = f"({sides[0]}) {joined} ({sides[1]})"
        text = f"{left.text} {joined} {right.text}"
        if node.args.get("order") is not None:
            raise untranslated("ORDER BY of a UNION in parentheses")
        limit = node.args.get("limit")
        if limit is not None:
            sql = f"SELECT * FROM ({sql}) AS q LIMIT {self._count(limit)}"  # noqa: S608
        return Query(sql, columns, text)

    def _select(self, node: Any, ctes: Mapping[str, Any]) -> Query:
        return _Select(self, node, ctes).query()

    def _count(self, limit: Any) -> int:
        expressions = Expressions(self, Scope(), {}, {})
        value = expressions.of(limit.expression)
        if not isinstance(value.literal, int) or value.literal < 0:
            raise HogQLError(f"LIMIT must be a whole number, not {value.text}.")
        return value.literal

    def count(self, limit: Any) -> int:
        """Return the number of a LIMIT or OFFSET.

        Raises:
            HogQLError: It is not a non-negative integer constant.
        """
        return self._count(limit)


def _listed(node: Any, name: str) -> list[Any]:
    """Return the nodes in an argument of a node."""
    return node.args.get(name) or []


def _ctes(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the queries and scalars of WITH, by name."""
    clause = node.args.get("with_") or node.args.get("with")
    if clause is None:
        return
    if clause.args.get("recursive"):
        raise untranslated("WITH RECURSIVE")
    for cte in clause.expressions:
        if cte.args.get("alias") is not None and cte.args["alias"].args.get("columns"):
            raise untranslated("names of columns in WITH")
        yield cte.alias, cte.this


def _conjuncts(node: Any) -> list[Any]:
    """Return the conditions joined by AND."""
    if isinstance(node, exp.Paren):
        return _conjuncts(node.this)
    if isinstance(node, exp.And):
        return [*_conjuncts(node.this), *_conjuncts(node.expression)]
    return [node]


def _is_range(node: Any) -> bool:
    """Return whether a condition uses only columns by which ClickHouse orders events."""
    names = _names(node)
    return bool(names) and names <= {"timestamp", "uuid"}


def _names(node: Any) -> set[str]:
    """Return the columns of a condition; `?` for those of a subquery."""
    if node.find(exp.Query) is not None:
        return {"?"}
    names = (column.name for column in node.find_all(exp.Column))
    return {name for name in names if not name.startswith(PLACEHOLDER)}


class _Select:
    """Translator of one SELECT."""

    def __init__(self, translator: Translator, node: Any, ctes: Mapping[str, Any]) -> None:
        self._translator = translator
        self._node = node
        self._scope = Scope()
        known = {**ctes, **dict(_ctes(node))}
        queries = {name: cte for name, cte in known.items() if isinstance(cte, exp.Query)}
        windows: dict[str, Any] = {str(one.this.this): one for one in _listed(node, "windows")}
        self._expressions = Expressions(translator, self._scope, queries, windows)
        self._tables = Tables(translator, self._scope, self._expressions)
        self._scalars = {name: cte for name, cte in known.items() if name not in queries}
        self._own = {name for name, _ in _ctes(node)}
        self._columns: list[tuple[str, Value]] = []
        self._texts: list[str] = []

    def query(self) -> Query:
        if not self._node.expressions:
            raise HogQLError("Syntax error: SELECT needs an expression.")
        self._tables.read(self._node)
        self._name_scalars()
        for item in self._node.expressions:
            self._item(item)
        clauses, written = self._clauses()
        made = ", ".join(f"{value.plain} AS c{n}" for n, (_, value) in enumerate(self._columns))
        distinct = ""
        if self._node.args.get("distinct") is not None:
            distinct = "DISTINCT "
            if self._node.args["distinct"].args.get("on"):
                raise untranslated("DISTINCT ON")
        sql = f"SELECT {distinct}{made}{self._tables.sql()}{clauses}"
        text = f"SELECT {distinct}{', '.join(self._texts)}{self._tables.text}{written}"
        return Query(sql, tuple((name, value.type) for name, value in self._columns), text)

    def _name_scalars(self) -> None:
        for name, node in self._scalars.items():
            try:
                value = self._expressions.of(node)
            except HogQLError:
                if name in self._own:
                    raise
                continue  # it refers to columns of the outer query
            self._scope.aliases[name] = replace(value, text=identifier(name), name=name)

    def _item(self, item: Any) -> None:
        if isinstance(item, exp.Star):
            if item.args.get("replace") or item.args.get("rename"):
                raise untranslated("`* REPLACE`")
            without = {str(column.name) for column in _listed(item, "except_")}
            for source in self._scope.sources.values():
                self._all(source, without)
        elif isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
            source = self._scope.source(item.table)
            if source is None:
                raise HogQLError(f"Unknown table `{item.table}`.")
            self._all(source, set())
        elif isinstance(item, exp.Alias):
            value = self._expressions.of(item.this)
            name = item.alias
            self._scope.aliases[name] = replace(value, text=identifier(name), name=name)
            self._add(name, value, f"{value.text} AS {identifier(name)}")
        else:
            value = self._expressions.of(item)
            self._add(value.name or value.text, value, value.text)

    def _all(self, source: Source, without: set[str]) -> None:
        for name in source.names():
            value = source.field(name)
            if name not in without and value is not None:
                self._add(name, value, value.text)

    def _add(self, name: str, value: Value, text: str) -> None:
        self._columns.append((name, value))
        self._texts.append(text)

    def _clauses(self) -> tuple[str, str]:
        args = self._node.args
        sql, text = list[str](), list[str]()
        tests = [args[part].this for part in ("prewhere", "where") if args.get(part) is not None]
        if tests:
            values = self._expressions.all(tests)
            for value in values:
                if value.aggregate or value.window:
                    raise HogQLError(
                        f"Aggregate function {value.text} is found in WHERE.", "illegal_aggregation"
                    )
            sql.append(f" WHERE {' AND '.join(value.condition for value in values)}")
            text.append(f" WHERE {' AND '.join(value.text for value in values)}")
        self._count_scans(tests)
        self._grouping(sql, text)
        if args.get("having") is not None:
            value = self._expressions.of(args["having"].this)
            sql.append(f" HAVING {value.condition}")
            text.append(f" HAVING {value.text}")
        keys = self._ordering()
        self._qualifying(keys, sql, text)
        if keys:
            if (bound := self._bound(tests, sql[0] if tests else "")) is not None:
                sql.insert(bool(tests), f" {'AND' if tests else 'WHERE'} {bound}")
            sql.append(f" ORDER BY {', '.join(key for key, _ in keys)}")
            text.append(f" ORDER BY {', '.join(shown for _, shown in keys)}")
        for word in ("limit", "offset"):
            if args.get(word) is not None:
                options = args[word].args.get("limit_options")
                if options is not None and options.args.get("with_ties"):
                    raise untranslated("WITH TIES")
                count = self._translator.count(args[word])
                sql.append(f" {word.upper()} {count}")
                text.append(f" {word.upper()} {count}")
        return "".join(sql), "".join(text)

    def _bound(self, tests: list[Any], where: str) -> str | None:
        """Return a redundant condition that makes large pages of events faster.

        DuckDB sorts rows with all their columns, and few are left to be sorted once the moment of
        the page's last row is known, which is found by sorting moments alone.
        """
        args = self._node.args
        others = ("distinct", "group", "having", "limit_by", "offset", "qualify")
        simple = len(self._scope.sources) == 1 and not any(args.get(other) for other in others)
        values = [value for _, value in self._columns]
        if not simple or any(value.window or value.aggregate for value in values):
            return None
        if args.get("limit") is None or (count := self._translator.count(args["limit"])) <= _TOP:
            return None
        if not set[str]().union(*map(_names, tests)) <= _CHEAP:
            return None
        source, first = next(iter(self._scope.sources.values())), args["order"].expressions[0]
        if not isinstance(source, TableSource) or source.table is not TABLES["events"]:
            return None
        moment, read = f"{source.alias}.timestamp", self._tables.sql()
        joined = read != f" FROM {source.sql} AS {source.alias}"
        if joined or self._positional(first.this).sql != moment:
            return None
        last, sign, way = ("min", ">=", "DESC") if first.args.get("desc") else ("max", "<=", "ASC")
        page = f"SELECT {moment} AS k{read}{where} ORDER BY k {way} LIMIT {count}"
        return f"{moment} {sign} (SELECT {last}(k) FROM ({page}))"  # noqa: S608

    def _count_scans(self, tests: list[Any]) -> None:
        """Record the queries that count the events which ClickHouse would read."""
        parts = [part for test in tests for part in _conjuncts(test)]
        # The server estimates the time of a query by the rows that remain after the primary key.
        near = [part for part in parts if _is_range(part)]
        conditions = [self._expressions.of(part).condition for part in near]
        for source in self._scope.sources.values():
            if isinstance(source, TableSource) and source.table is TABLES["events"]:
                own = [c for c in conditions if f"{source.alias}." in c]
                where = f" WHERE {' AND '.join(own)}" if own else ""
                self._translator.scans.append(
                    f"SELECT count(*) FROM {source.sql} AS {source.alias}{where}"  # noqa: S608
                )

    def _grouping(self, sql: list[str], text: list[str]) -> None:
        group = self._node.args.get("group")
        if group is None:
            return
        for extra in ("grouping_sets", "cube", "rollup", "totals", "all"):
            if group.args.get(extra):
                raise untranslated(f"GROUP BY with {extra.upper()}")
        values = [self._positional(node) for node in group.expressions]
        for value in values:
            if value.aggregate:
                raise HogQLError(
                    f"Aggregate function {value.text} is found in GROUP BY.", "illegal_aggregation"
                )
        sql.append(f" GROUP BY {', '.join(value.plain for value in values)}")
        text.append(f" GROUP BY {', '.join(value.text for value in values)}")

    def _ordering(self) -> list[tuple[str, str]]:
        order = self._node.args.get("order")
        if order is None:
            return []
        if order.args.get("siblings"):
            raise untranslated("ORDER SIBLINGS BY")
        return [ordered(self._positional(one.this), one) for one in order.expressions]

    def _qualifying(self, keys: list[tuple[str, str]], sql: list[str], text: list[str]) -> None:
        tests: list[str] = []
        if self._node.args.get("qualify") is not None:
            value = self._expressions.of(self._node.args["qualify"].this)
            tests.append(value.condition)
            text.append(f" QUALIFY {value.text}")
        limit_by = self._node.args.get("limit_by")
        if limit_by is not None:
            if self._node.args.get("distinct") is not None:
                raise untranslated("LIMIT BY together with DISTINCT")
            values = self._expressions.all(limit_by.expressions)
            first = self._translator.count(limit_by)
            skipped = limit_by.args.get("offset")
            start = 0 if skipped is None else self._skip(skipped)
            order = f" ORDER BY {', '.join(key for key, _ in keys)}" if keys else ""
            parts = ", ".join(value.plain for value in values)
            # DuckDB has no LIMIT BY: the rows of each group are numbered and filtered.
            row = f"row_number() OVER (PARTITION BY {parts}{order})"
            tests.append(f"{row} BETWEEN {start + 1} AND {start + first}")
            text.append(f" LIMIT {first} BY {', '.join(value.text for value in values)}")
        if tests:
            sql.append(f" QUALIFY {' AND '.join(tests)}")

    def _skip(self, node: Any) -> int:
        value = self._expressions.of(node)
        if not isinstance(value.literal, int) or value.literal < 0:
            raise HogQLError(f"OFFSET must be a whole number, not {value.text}.")
        return value.literal

    def _positional(self, node: Any) -> Value:
        """Translate a GROUP BY or ORDER BY item; a number is the position of a column."""
        if isinstance(node, exp.Literal) and not node.is_string and str(node.this).isdigit():
            place = int(str(node.this))
            if not 1 <= place <= len(self._columns):
                raise HogQLError(f"There is no column {place} to group or sort by.")
            return self._columns[place - 1][1]
        return self._expressions.of(node)
