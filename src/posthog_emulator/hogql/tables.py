"""Translate FROM: tables, subqueries, joins and ARRAY JOIN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from . import operators
from .expressions import Expressions
from .problems import HogQLError, illegal_type, untranslated
from .scope import QuerySource, Scope, Source, TableSource, table_named
from .tree import exp
from .types import Type
from .values import Value, identifier

if TYPE_CHECKING:
    from .select import Translator

__all__ = ["Tables"]

_SIDES: Final[Mapping[str, str]] = {
    "": "JOIN", "LEFT": "LEFT JOIN", "RIGHT": "RIGHT JOIN", "FULL": "FULL JOIN",
}  # fmt: skip


class Tables:
    """Translator of the FROM clause of one SELECT, which adds its tables to the scope."""

    def __init__(self, translator: Translator, scope: Scope, expressions: Expressions) -> None:
        self._translator = translator
        self._scope = scope
        self._expressions = expressions
        self._pieces: list[tuple[str, Source | None]] = []
        self._texts: list[str] = []

    def read(self, node: Any) -> None:
        """Translate FROM and JOINs of a SELECT.

        Raises:
            HogQLError: A table does not exist, or a kind of join is not supported.
        """
        start = node.args.get("from_") or node.args.get("from")
        if start is not None:
            sql, source, text = self._table(start.this)
            self._pieces.append((f" FROM {sql}", source))
            self._texts.append(f" FROM {text}")
        joins: list[Any] = node.args.get("joins") or []
        for join in joins:
            self._join(join)
        if node.args.get("laterals"):
            raise untranslated("LATERAL")

    def sql(self) -> str:
        """Return the FROM clause with the lazily joined tables that are used."""
        told = "".join(
            piece + ("" if source is None else source.joins()) for piece, source in self._pieces
        )
        arrays = [
            f" CROSS JOIN LATERAL (SELECT unnest({array}) AS v) AS {alias}"
            for array, alias in self._scope.unnested.items()
        ]
        if arrays and not told:
            told = " FROM (SELECT 1) AS one"
        return told + "".join(arrays)

    @property
    def text(self) -> str:
        """The FROM clause as HogQL writes it."""
        return "".join(self._texts)

    def _table(self, node: Any) -> tuple[str, Source, str]:
        if isinstance(node, exp.Final):
            node = node.this
        alias = self._translator.alias()
        given: str = node.alias
        if isinstance(node, exp.Subquery):
            query = self._translator.query(node.this, self._expressions.ctes)
            return self._query(query.sql, query.columns, given, alias, f"({query.text})")
        if not isinstance(node, exp.Table):
            raise untranslated(f"`{node.sql('clickhouse')}` as a table")
        sample = node.args.get("sample")
        if sample is not None and sample.args.get("size") != exp.Literal.number(1):
            raise untranslated("SAMPLE")
        if node.args.get("db") is not None:
            raise HogQLError(f"Unknown table `{node.args['db'].name}.{node.name}`.")
        if isinstance(node.this, exp.Anonymous):
            return self._function(node.this, given, alias)
        if not isinstance(node.this, exp.Identifier):
            raise untranslated(f"`{node.sql('clickhouse')}` as a table")
        name = str(node.this.this)
        if name in self._expressions.ctes:
            # Without itself: inside its own query, the name means the table.
            before = dict(self._expressions.ctes)
            inner = before.pop(name)
            query = self._translator.query(inner, before)
            return self._query(query.sql, query.columns, given or name, alias, identifier(name))
        unknown = self._translator.context.cohort_problems
        if name == "cohort_people" and unknown:
            told = next(iter(unknown.values()))
            raise HogQLError(f"The members of a cohort could not be calculated. {told}")
        source = TableSource(table_named(name), alias, self._translator.context.team_id)
        if not source.sql:
            raise HogQLError(f"`{name}` needs an argument, as `{name}(10)`.")
        self._scope.add(given or name, source)
        return f"{source.sql} AS {alias}", source, _named(identifier(name), given)

    def _query(
        self, sql: str, columns: tuple[tuple[str, Type], ...], given: str, alias: str, text: str
    ) -> tuple[str, Source, str]:
        known: dict[str, tuple[str, Type]] = {}
        for number, (name, kind) in enumerate(columns):
            known.setdefault(name, (f"c{number}", kind))
        source = QuerySource(alias, known)
        # A subquery without an alias is entered under a name that no query can contain, so that
        # its columns are found.
        self._scope.add(given or f"\0{alias}", source)
        return f"({sql}) AS {alias}", source, _named(text, given)

    def _function(self, call: Any, given: str, alias: str) -> tuple[str, Source, str]:
        name = str(call.this)
        if name != "numbers":
            raise untranslated(f"the table function {name}(...)")
        values = self._expressions.all(call.expressions)
        bounds = [value.literal for value in values]
        if not 1 <= len(bounds) <= 2 or not all(isinstance(bound, int) for bound in bounds):
            raise HogQLError("numbers(...) takes one or two whole numbers.")
        start, count = bounds if len(bounds) == 2 else (0, bounds[0])
        # A bound on memory: the rows are generated, not read.
        if not 0 <= count <= 10_000_000:
            raise untranslated("numbers(...) of more than 10,000,000")
        source = TableSource(table_named(name), alias, self._translator.context.team_id)
        self._scope.add(given or name, source)
        sql = f"(SELECT range AS number FROM range({start}, {start + count})) AS {alias}"  # noqa: S608
        text = f"{name}({', '.join(value.text for value in values)})"
        return sql, source, _named(text, given)

    def _join(self, join: Any) -> None:
        kind = str(join.args.get("kind") or "").upper()
        side = str(join.args.get("side") or "").upper()
        if kind == "ARRAY":
            self._array_join(join, left=side == "LEFT")
            return
        if kind not in {"", "INNER", "CROSS", "OUTER"} or side not in _SIDES:
            raise untranslated(f"{side} {kind} JOIN".strip())
        if join.args.get("method"):
            raise untranslated(f"{join.args['method']} JOIN")
        before = list(self._scope.sources.values())
        sql, source, text = self._table(join.this)
        on, using = join.args.get("on"), join.args.get("using")
        if on is None and not using:
            if side:
                raise HogQLError(f"{side} JOIN needs ON or USING.", "invalid_join_on_expression")
            self._pieces.append((f" CROSS JOIN {sql}", source))
            self._texts.append(f" CROSS JOIN {text}")
            return
        test = self._condition(on, using, before, source)
        if test.aggregate:
            raise HogQLError("ON cannot contain aggregates.", "illegal_aggregation")
        self._pieces.append((f" {_SIDES[side]} {sql} ON {test.condition}", source))
        self._texts.append(f" {_SIDES[side]} {text} ON {test.text}")
        # Tables that the condition joins lazily have to come before the join that uses them.
        self._hoist(before)
        if side in {"LEFT", "FULL"}:
            source.outer = True
        if side in {"RIGHT", "FULL"}:
            for earlier in before:
                earlier.outer = True

    def _hoist(self, before: list[Source]) -> None:
        last = self._pieces[-1][1]
        if last is not None and last.joins():
            raise untranslated("a lazily joined table of the joined table inside ON")

    def _condition(self, on: Any, using: Any, before: list[Source], source: Source) -> Value:
        if on is not None:
            self._expressions.joining = True
            try:
                return self._expressions.of(on)
            finally:
                self._expressions.joining = False
        tests: list[Value] = []
        for column in using:
            name = column.name
            left = [value for known in before if (value := known.field(name)) is not None]
            right = source.field(name)
            if len(left) != 1 or right is None:
                raise HogQLError(f"USING: both sides must have a column {name}.")
            tests.append(operators.compare("equals", left[0], right, joining=True))
            self._scope.aliases[name] = left[0]
        return tests[0] if len(tests) == 1 else operators.both("and", tests)

    def _array_join(self, join: Any, *, left: bool) -> None:
        alias = self._translator.alias()
        columns: dict[str, tuple[str, Type]] = {}
        arrays: list[Value] = []
        for number, node in enumerate([join.this, *join.expressions]):
            value = self._expressions.of(node.this if isinstance(node, exp.Alias) else node)
            if value.type.name != "Array":
                raise illegal_type("ARRAY JOIN", value.type, "an Array")
            name = node.alias if isinstance(node, exp.Alias) else value.name or value.text
            columns[name] = (f"c{number}", value.type.items[0])
            arrays.append(value)
        parts: list[str] = []
        for number, value in enumerate(arrays):
            sql = value.sql
            if number:
                same = f"len({value.sql}) = len({arrays[0].sql})"
                sql = f"(CASE WHEN {same} THEN {sql} ELSE error('Sizes of arrays differ') END)"
            if left:
                empty = f"[{value.type.items[0].empty}]"
                sql = f"(CASE WHEN len({value.sql}) = 0 THEN {empty} ELSE {sql} END)"
            parts.append(f"unnest({sql}) AS c{number}")
        source = QuerySource(alias, columns)
        self._pieces.append((f" CROSS JOIN LATERAL (SELECT {', '.join(parts)}) AS {alias}", source))
        for name in columns:
            found = source.field(name)
            if found is not None:
                # It hides a column of that name.
                self._scope.aliases[name] = found
        self._texts.append(f" ARRAY JOIN {', '.join(value.text for value in arrays)}")


def _named(text: str, alias: str) -> str:
    return f"{text} AS {identifier(alias)}" if alias else text
