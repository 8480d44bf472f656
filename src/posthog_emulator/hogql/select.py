"""Print SELECT and sets of SELECTs as ClickHouse SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from .context import Context, SystemTable
from .errors import HogQLError, unsupported
from .escape import quoted, string
from .expressions import Expressions
from .hogql_text import hogql_text
from .parse import Node, parse_select
from .placeholders import replace_placeholders
from .schema import OWN_OBJECTS, TABLES
from .scope import Names, Query, Scope, Source, SubquerySource, TableSource
from .values import Printed

__all__ = ["Translator"]

_DEPTH: Final = 25
"""Maximum depth of nested queries."""
_LONGEST: Final = 2_000_000
"""Maximum number of characters of a printed query."""
_JOINS: Final = re.compile(
    r"(GLOBAL |)((INNER|LEFT|RIGHT|FULL|CROSS|ALL|ANY|SEMI|ANTI|ASOF|OUTER) )*JOIN\Z"
)
_SETS: Final = frozenset(
    {"UNION ALL", "UNION DISTINCT", "INTERSECT", "INTERSECT DISTINCT", "INTERSECT ALL", "EXCEPT",
     "EXCEPT DISTINCT", "EXCEPT ALL"}
)  # fmt: skip
_RANGES: Final = frozenset({"<", ">", "<=", ">=", "=="})


class Translator:
    """Printer of queries.

    Args:
        context: What their meaning depends on.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.fresh = Names()
        self.scans: list[str] = []
        """Queries that count the events in the time range, one for each use of `events`."""
        self._depth = 0
        self._open: list[str] = []
        """Names of the CTEs and views that are being printed."""

    def query(self, node: Node, ctes: Mapping[str, Node], *, top: bool = False) -> Query:
        """Print a query.

        Args:
            node: A SELECT or a set of them.
            ctes: The common table expressions around it.
            top: Whether the names of columns that need none are left out.

        Raises:
            HogQLError: It is invalid, or the emulator does not support it.
        """
        if self._depth >= _DEPTH:
            raise HogQLError("The query is nested too deeply.")
        self._depth += 1
        try:
            if node["node"] == "SelectSetQuery":
                printed = self._set(node, ctes, top)
            elif node["node"] == "SelectQuery":
                printed = _Select(self, node, ctes, top).query()
            else:
                raise unsupported(f"{node['node']} in place of a SELECT")
        finally:
            self._depth -= 1
        if len(printed.sql) > _LONGEST:
            raise HogQLError("Query size exceeded.", "error", 500)
        return printed

    def _set(self, node: Node, ctes: Mapping[str, Node], top: bool) -> Query:
        first = self.query(node["initial_select_query"], ctes, top=top)
        own = node["initial_select_query"].get("ctes")
        ctes = {**ctes, **_ctes(own)}
        parts = [f"({first.sql})"]
        columns = dict(first.columns)
        for item in node["subsequent_select_queries"]:
            operator = item["set_operator"]
            if operator not in _SETS:
                raise HogQLError(f"Expected ALL or DISTINCT after {operator}.")
            other = self.query(item["select_query"], ctes, top=top)
            parts.append(f"{operator} ({other.sql})")
            for name, twin in zip(list(columns), other.columns.values(), strict=False):
                columns[name] = _common(columns[name], twin)
        return Query(" ".join(parts), columns, first.names)

    def named_query(self, name: str, node: Node, ctes: Mapping[str, Node]) -> Query:
        """Print a query that has a name, which it may not use itself.

        Raises:
            HogQLError: It does.
        """
        if name in self._open:
            raise HogQLError(f"The query {name} reads itself.")
        self._open.append(name)
        try:
            return self.query(node, ctes)
        finally:
            self._open.pop()


def _common(left: Printed, right: Printed) -> Printed:
    kind = left.kind if left.kind == right.kind else "unknown"
    if "null" in {left.kind, right.kind}:
        kind = right.kind if left.kind == "null" else left.kind
    return Printed(left.sql, kind, left.nullable or right.nullable, left.scope)


def _ctes(nodes: Any) -> dict[str, Node]:
    return {cte["name"]: cte for cte in nodes or ()}


class _Select:
    def __init__(
        self, translator: Translator, node: Node, ctes: Mapping[str, Node], top: bool
    ) -> None:
        self._translator = translator
        self._node = node
        self._top = top
        self._context = translator.context
        self._scope = Scope(ctes={**ctes, **_ctes(node.get("ctes"))})
        self._expressions = Expressions(translator, self._scope, self._context)
        self._joins: list[tuple[SubquerySource | TableSource, str, str]] = []
        """Sources with their kinds of join and conditions."""

    def query(self) -> Query:
        node, expressions = self._node, self._expressions
        if node.get("select_from"):
            self._from(node["select_from"])
        arrays = self._array_join()
        columns = self._columns()
        parts: list[str] = []
        sample_tests = list(self._scope.wheres)
        for key in ("prewhere", "where"):
            tests = [] if key == "prewhere" else sample_tests
            if node.get(key):
                expressions.turn = True
                tests = [*tests, expressions.of(node[key]).sql]
                expressions.turn = False
            if tests:
                parts.append(f"{key.upper()} {_and(tests)}")
        parts += self._grouping()
        for key in ("having", "qualify"):
            if node.get(key):
                parts.append(f"{key.upper()} {expressions.of(node[key]).sql}")
        named_windows: Mapping[str, Node] = node.get("window_exprs") or {}
        windows = [
            f"{quoted(name)} AS ({expressions.window(w)})" for name, w in named_windows.items()
        ]
        if windows:
            parts.insert(_before_qualify(parts), f"WINDOW {', '.join(windows)}")
        if node.get("order_by"):
            parts.append(f"ORDER BY {', '.join(map(expressions.order, node['order_by']))}")
            if node.get("interpolate"):
                raise unsupported("INTERPOLATE")
        parts += self._limits()
        # The tables come last: by now it is known which of them are joined.
        tables = self._tables()
        word = "SELECT DISTINCT" if node.get("distinct") else "SELECT"
        written = self._written(columns)
        sql = " ".join([f"{word} {', '.join(written)}", *tables, *arrays, *self._guarded(parts)])
        return Query(sql, dict(columns), tuple(name for name, _ in columns))

    # FROM

    def _from(self, node: Node | None) -> None:
        outer = any("RIGHT" in kind or "FULL" in kind for kind in _kinds(node))
        first = True
        while node is not None:
            if node.get("table_final"):
                raise HogQLError(
                    "The FINAL keyword is not supported in HogQL as it causes slow queries"
                )
            kind = str(node.get("join_type") or "")
            if not first and not _JOINS.match(kind):
                raise HogQLError(f"{kind} is not supported.")
            kind = kind.removeprefix("GLOBAL ")
            name, source = self._source(node, direct=first and not outer)
            if name in self._scope.sources:
                raise HogQLError(f'Already have joined a table called "{name}". Can\'t redefine.')
            self._scope.sources[name] = source
            if node.get("sample"):
                self._sample(node["sample"], source)
            self._joins.append((source, "" if first else kind, self._constraint(node, source)))
            first, node = False, node.get("next_join")

    def _source(self, node: Node, *, direct: bool) -> tuple[str, SubquerySource | TableSource]:
        table, alias = node["table"], node.get("alias")
        fresh = self._translator.fresh.next()
        if table["node"] == "ValuesQuery":
            raise HogQLError("VALUES is not supported in HogQL.")
        if table["node"] != "Field":
            subquery = self._translator.query(table, self._scope.ctes)
            return alias or fresh, self._subquery(fresh, subquery, node)
        chain = [str(part) for part in table["chain"]]
        name = ".".join(chain)
        own = alias or (name if chain[0] == "system" else chain[-1])
        if node.get("table_args") is not None:
            return own, self._table_function(fresh, name, node["table_args"], node)
        cte = self._scope.ctes.get(name)
        if cte is not None and cte.get("cte_type") != "column":
            inner = {k: v for k, v in self._scope.ctes.items() if k != name}
            subquery = self._translator.named_query(name, cte["expr"], inner)
            return own, self._subquery(
                fresh,
                subquery,
                {**node, "column_aliases": (node.get("column_aliases") or cte.get("columns"))},
            )
        view = self._context.views.get(name)
        if view is not None:
            tree = replace_placeholders(parse_select(view), self._context)
            return own, self._subquery(fresh, self._translator.named_query(name, tree, {}), node)
        table_schema = TABLES.get(name)
        if table_schema is not None:
            return own, TableSource(name, self._context, self._translator.fresh, direct=direct)
        if chain[0] == "system" or name in OWN_OBJECTS:
            rows = self._context.system_table(name.removeprefix("system."))
            if rows is not None:
                return own, _values(fresh, rows)
        raise HogQLError(f'Unknown table "{name}".')

    def _subquery(self, alias: str, query: Query, node: Node) -> SubquerySource:
        names = node.get("column_aliases")
        if not names:
            return SubquerySource(alias, query.columns, f"({query.sql})")
        if len(names) != len(query.names):
            raise HogQLError(
                f"The query has {len(query.names)} columns, but {len(names)} names are given."
            )
        columns = dict(zip(names, query.columns.values(), strict=False))
        shown = ", ".join(
            f"{quoted(old)} AS {quoted(new)}" for old, new in zip(query.names, names, strict=True)
        )
        return SubquerySource(alias, columns, f"(SELECT {shown} FROM ({query.sql}))")  # noqa: S608

    def _table_function(
        self, alias: str, name: str, args: Sequence[Node], node: Node
    ) -> SubquerySource:
        if name != "numbers":
            raise HogQLError(f'Unknown table function "{name}".')
        numbers = [arg.get("value") for arg in args]
        if not 1 <= len(numbers) <= 2 or not all(
            isinstance(number, int) and not isinstance(number, bool) and number >= 0
            for number in numbers
        ):
            raise HogQLError("numbers() takes one or two whole numbers.")
        column = (node.get("column_aliases") or ["number"])[0]
        sql = f"numbers({', '.join(map(str, numbers))})"
        if column != "number":
            sql = f"(SELECT number AS {quoted(column)} FROM {sql})"  # noqa: S608
        return SubquerySource(alias, {column: Printed("", "int", False)}, sql)

    def _sample(self, node: Node, source: Source) -> None:
        share, offset = _ratio(node["sample_value"]), _ratio(node.get("offset_value"))
        if share == 1 or share is None:
            return
        if not isinstance(source, TableSource) or source.name != "events":
            raise HogQLError("SAMPLE is only supported for the table events.")
        # Events are sampled by the hash of the distinct id, as they are at PostHog.
        hashed = f"cityHash64({source.alias}.distinct_id)"
        low = int((offset or 0) * 2**64)
        high = min(low + int(share * 2**64), 2**64 - 1)
        self._scope.wheres.append(f"{hashed} >= {low} AND {hashed} < {high}")

    def _constraint(self, node: Node, source: Source) -> str:
        constraint = node.get("constraint")
        if constraint is None:
            return ""
        expressions = self._expressions
        if constraint["constraint_type"] == "USING":
            return f"USING {self._using(constraint['expr'], source)}"
        expressions.bare = True
        try:
            return f"ON {expressions.of(constraint['expr']).sql}"
        finally:
            expressions.bare = False

    def _using(self, node: Node, source: Source) -> str:
        nodes = node["exprs"] if node["node"] == "Tuple" else [node]
        names: list[str] = []
        for field in nodes:
            chain = field.get("chain")
            if not chain or len(chain) != 1:
                raise HogQLError("USING takes names of columns.")
            if any(each.column(chain[0]) is None for each in self._scope.sources.values()):
                raise HogQLError(f"Unable to resolve field: {chain[0]}")
            names.append(quoted(str(chain[0])))
        return f"({', '.join(names)})"

    def _tables(self) -> list[str]:
        parts: list[str] = []
        for source, kind, constraint in self._joins:
            sql = source.sql if isinstance(source, SubquerySource) else source.read()
            parts.append(f"{kind if parts else 'FROM'} {sql} AS {source.alias}")
            if constraint:
                parts.append(constraint)
            if isinstance(source, TableSource):
                parts += source.joins()
        return parts

    def _guarded(self, parts: list[str]) -> list[str]:
        """Return the clauses with the condition on the project first in WHERE."""
        guards: list[str] = []
        for source, _, _ in self._joins:
            if isinstance(source, TableSource) and source.direct:
                guards.append(f"equals({source.alias}.team_id, {self._context.team_id})")
                if source.name == "events":
                    self._scan(source)
        if not guards:
            return parts
        at = next((n for n, part in enumerate(parts) if part.startswith("WHERE ")), None)
        if at is None:
            first = 1 if parts and parts[0].startswith("PREWHERE ") else 0
            return [*parts[:first], f"WHERE {_and(guards)}", *parts[first:]]
        test = parts[at].removeprefix("WHERE ")
        return [*parts[:at], f"WHERE {_and([*guards, test])}", *parts[at + 1 :]]

    def _scan(self, source: TableSource) -> None:
        """Note the query that counts the events of the time range of WHERE."""
        tests = [f"{source.alias}.team_id = {self._context.team_id}"]
        column = f"{source.alias}.`timestamp`"
        where = self._node.get("where")
        arms = () if where is None else where["exprs"] if where["node"] == "And" else (where,)
        for arm in arms:
            if arm["node"] == "CompareOperation" and arm["op"] in _RANGES:
                printed = self._expressions.of(arm).sql
                rest = printed.replace(column, "")
                # Only conditions that name no other column.
                if rest != printed and "__t" not in rest and "`" not in rest:
                    tests.append(printed)
        self._translator.scans.append(
            f"SELECT count() FROM events AS {source.alias} WHERE {' AND '.join(tests)}"  # noqa: S608
        )

    # Columns

    def _array_join(self) -> list[str]:
        operator = self._node.get("array_join_op")
        if not operator:
            return []
        if operator not in {"ARRAY JOIN", "LEFT ARRAY JOIN", "INNER ARRAY JOIN"}:
            raise HogQLError(f"{operator} is not supported.")
        parts: list[str] = []
        aliases: list[tuple[str, Printed]] = []
        for node in self._node["array_join_list"]:
            if node["node"] != "Alias":
                raise HogQLError("ARRAY JOIN arrays must have an alias")
            value = self._expressions.of(node["expr"])
            parts.append(f"{value.sql} AS {quoted(node['alias'])}")
            aliases.append((node["alias"], value))
        for name, _ in aliases:
            self._expressions.register(name, Printed("", "unknown"))
        return [f"{operator.removeprefix('INNER ')} {', '.join(parts)}"]

    def _columns(self) -> list[tuple[str, Printed]]:
        columns: list[tuple[str, Printed]] = []
        self._explicit: set[int] = set()
        for node in self._node["select"]:
            star = _star(node)
            if star is not None:
                columns += self._all_columns(*star)
            elif node["node"] == "Alias":
                value = self._expressions.of(node["expr"])
                self._expressions.register(node["alias"], value)
                self._explicit.add(len(columns))
                columns.append((node["alias"], value))
            else:
                value = self._expressions.of(node)
                name = value.name if node["node"] in {"Field", "TupleAccess", "ArrayAccess"} else ""
                columns.append((name or hogql_text(node).replace("%", ""), value))
        return columns

    def _all_columns(self, table: str | None, pattern: str | None) -> list[tuple[str, Printed]]:
        sources = self._scope.sources
        if table is not None:
            if table not in sources:
                raise HogQLError(f"Unable to resolve field: {table}")
            chosen = [sources[table]]
        else:
            chosen = list(sources.values())
            if not chosen:
                raise HogQLError("Cannot use '*' when there are no tables in the query")
        columns: list[tuple[str, Printed]] = []
        for source in chosen:
            for name in source.names():
                if pattern is None or re.search(pattern, name):
                    column = source.column(name)
                    assert column is not None
                    columns.append((name, column))
        if not columns:
            raise HogQLError("No columns match the pattern.")
        return columns

    def _written(self, columns: Sequence[tuple[str, Printed]]) -> list[str]:
        """Return the columns as SQL, with the names that they need."""
        taken = {columns[at][0] for at in self._explicit}
        last = {name: at for at, (name, _) in enumerate(columns)}
        written: list[str] = []
        for at, (name, value) in enumerate(columns):
            is_named = at in self._explicit or (
                not self._top and name not in taken and last[name] == at
            )
            written.append(f"{value.sql} AS {quoted(name)}" if is_named else value.sql)
        return written

    # The other clauses

    def _grouping(self) -> list[str]:
        node, mode = self._node, self._node.get("group_by_mode")
        if mode == "all":
            return ["GROUP BY ALL"]
        parts: list[str] = []
        if node.get("group_by"):
            if mode == "grouping_sets":
                sets = ", ".join(
                    f"({self._expressions.joined(grouping_set['exprs'])})"
                    for grouping_set in node["group_by"]
                )
                parts.append(f"GROUP BY GROUPING SETS ({sets})")
            else:
                keys = self._expressions.joined(node["group_by"])
                if mode in {"rollup", "cube"}:
                    keys = f"{mode.upper()}({keys})"
                parts.append(f"GROUP BY {keys}")
        if node.get("group_by_with_totals") or mode == "totals" or node.get("with_totals"):
            raise unsupported("WITH TOTALS")
        return parts

    def _limits(self) -> list[str]:
        node, parts = self._node, list[str]()
        by = node.get("limit_by")
        if by:
            text = f"LIMIT {self._count(by['n'])}"
            if by.get("offset_value"):
                text += f" OFFSET {self._count(by['offset_value'])}"
            parts.append(f"{text} BY {self._expressions.joined(by['exprs'])}")
        if node.get("limit") is not None:
            parts.append(f"LIMIT {self._count(node['limit'])}")
        if node.get("offset") is not None:
            parts.append(f"OFFSET {self._count(node['offset'])}")
        if node.get("limit_with_ties") and node.get("limit") is not None:
            # ClickHouse writes OFFSET before the words.
            if node.get("offset") is not None:
                limit = parts.pop(-2)
                parts[-1] = f"LIMIT {self._count(node['offset'])}, {limit.removeprefix('LIMIT ')}"
            parts.append("WITH TIES")
        return parts

    def _count(self, node: Node) -> str:
        return self._expressions.of(node).sql


def _and(tests: Sequence[str]) -> str:
    return tests[0] if len(tests) == 1 else f"and({', '.join(tests)})"


def _before_qualify(parts: Sequence[str]) -> int:
    return next((n for n, part in enumerate(parts) if part.startswith("QUALIFY ")), len(parts))


def _kinds(node: Node | None) -> list[str]:
    kinds: list[str] = []
    while node is not None:
        kinds.append(str(node.get("join_type") or ""))
        node = node.get("next_join")
    return kinds


def _ratio(node: Node | None) -> float | None:
    if node is None:
        return None
    left: Any = node["left"].get("value")
    right: Any = (node.get("right") or {"value": 1}).get("value")
    if not isinstance(left, int | float) or not isinstance(right, int | float) or not right:
        raise HogQLError("SAMPLE takes a number.")
    return left / right


def _star(node: Node) -> tuple[str | None, str | None] | None:
    """Return the table and the pattern of `*`, `t.*` or COLUMNS('…'), or None."""
    if node["node"] == "ColumnsExpr":
        pattern = node.get("regex")
        if not isinstance(pattern, str):
            raise unsupported("COLUMNS with a list of columns")
        try:
            re.compile(pattern)
        except re.error:
            raise HogQLError(f"{pattern!r} is no regular expression.") from None
        return None, pattern
    if node["node"] != "Field" or node["chain"][-1] != "*":
        return None
    chain = node["chain"]
    return (".".join(map(str, chain[:-1])) if len(chain) > 1 else None), None


def _values(alias: str, table: SystemTable) -> SubquerySource:
    structure = ", ".join(f"{quoted(name)} {kind}" for name, kind in table.columns.items())
    columns = {
        name: Printed("", _kind(kind), kind.startswith("Nullable"))
        for name, kind in table.columns.items()
    }
    if not table.rows:
        return SubquerySource(alias, columns, f"null({string(structure)})")
    rows = ", ".join(f"({', '.join(map(_literal, row))})" for row in table.rows)
    return SubquerySource(alias, columns, f"values({string(structure)}, {rows})")


def _kind(clickhouse: str) -> str:
    plain = clickhouse.removeprefix("Nullable(").lower()
    for start, kind in (
        ("string", "string"), ("datetime", "datetime"), ("date", "date"), ("uuid", "uuid"),
        ("float", "float"), ("int", "int"), ("uint", "int"), ("bool", "bool"), ("array", "array"),
    ):  # fmt: skip
        if plain.startswith(start):
            return kind
    return "unknown"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        return str(int(value)) if isinstance(value, bool) else repr(value)
    if isinstance(value, datetime):
        # The columns are in UTC, and text with an offset is no value of them.
        value = value.astimezone(UTC) if value.tzinfo else value
        return string(value.strftime("%Y-%m-%d %H:%M:%S.%f"))
    return string(str(value))
