"""The corpus of HogQL, and the same in SQL written by hand; both run and compared."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.parse import Expression, Node, parse_expression, parse_select
from posthog_emulator.hogql.translate import SETTINGS, translate
from tests.emulator.hogql.hogql_database import CONTEXT, database
from tests.helpers.clickhouse import ClickHouseError, engine_functions

FOLDER = Path(__file__).resolve().parents[2] / "data" / "hogql"
ROWS = (
    "(SELECT number AS n, number * 1.5 AS f, "
    "arrayElement(['apple', 'Banana', '', 'déjà vu', 'a,b,,c'], number + 1) AS s, "
    "nullif(number, 2) AS m, range(number) AS a, "
    "toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + toIntervalHour(number * 30) AS t "
    "FROM numbers(5)) AS d"
)
"""The rows that expressions of the corpus are about, in HogQL and SQL alike."""
REFUSED = "'refused'"
"""In place of SQL: HogQL refuses what ClickHouse might accept, or the other way round."""
_CHUNK = 32
_LACKS = ("UNKNOWN_FUNCTION", "built without", "when vectorscan is off", "Cannot reinterpret",
          "UNKNOWN_AGGREGATE_FUNCTION")  # fmt: skip
"""What ClickHouse says of functions that the lite build only seems to have."""


@dataclass(frozen=True)
class Entry:
    """HogQL with SQL that means the same."""

    hogql: str
    sql: str


@dataclass
class Outcome:
    """What became of the entries of a corpus."""

    same: int = 0
    lacking: list[str] = field(default_factory=list[str])
    """Refused by name, since the engine lacks the function."""
    refused: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])

    @property
    def total(self) -> int:
        """Return the number of entries."""
        return self.same + len(self.lacking) + len(self.refused) + len(self.wrong)


def entries(name: str) -> list[Entry]:
    """Read a file of the corpus."""
    found: list[Entry] = []
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            hogql, _, sql = text.partition(" ==> ")
            found.append(Entry(hogql, sql or hogql))
    return found


CORPUS_CONTEXT = replace(CONTEXT, engine_functions=engine_functions())


def compare_expressions(given: list[Entry]) -> Outcome:
    """Run expressions over the rows, many in one statement."""
    outcome, ready = Outcome(), list[tuple[Entry, Node]]()
    for entry in given:
        try:
            node = parse_expression(entry.hogql)
            _select([node])
        except HogQLError as error:
            _refused(entry, error, outcome)
        else:
            ready.append((entry, node))
    for start in range(0, len(ready), _CHUNK):
        chunk = ready[start : start + _CHUNK]
        printed = _columns([node for _, node in chunk], _select)
        wanted = _columns([entry.sql for entry, _ in chunk], _written)
        for (entry, _), one, two in zip(chunk, printed, wanted, strict=True):
            judge(entry, one, two, outcome)
    return outcome


def _select(nodes: list[Node]) -> str:
    tree = parse_select(f"SELECT 1 FROM {ROWS}")
    limit = {"node": "Constant", "value": 99}
    return translate(Expression({**tree, "select": nodes, "limit": limit}), CORPUS_CONTEXT).sql


def _written(sqls: list[str]) -> str:
    return f"SELECT {', '.join(sqls)} FROM {ROWS}"


def _columns(items: list[Any], write: Callable[[list[Any]], str]) -> list[Any]:
    """Return the values of each of the expressions, or its error."""
    found = _rows(write(items))
    if not isinstance(found, ClickHouseError) and len(found[0]) == len(items):
        return [[row[at] for row in found[1]] for at in range(len(items))]
    if len(items) == 1:
        return [found if isinstance(found, ClickHouseError) else found[1]]
    half = len(items) // 2
    return _columns(items[:half], write) + _columns(items[half:], write)


def _refused(entry: Entry, error: HogQLError, outcome: Outcome) -> None:
    if entry.sql == REFUSED:
        outcome.same += 1
    elif "ClickHouse has no function" in str(error):
        outcome.lacking.append(f"{entry.hogql}: {error}")
    else:
        outcome.refused.append(f"{entry.hogql}: {error}")


def compare_queries(given: list[Entry]) -> Outcome:
    """Run whole queries."""
    outcome = Outcome()
    for entry in given:
        try:
            made = translate(entry.hogql, CORPUS_CONTEXT)
        except HogQLError as error:
            _refused(entry, error, outcome)
            continue
        judge(entry, _values(made.sql), _values(entry.sql), outcome)
    return outcome


def generated_aggregates() -> list[Entry]:
    """Return entries for the aggregates whose names are made of a base and suffixes."""
    return [
        _generated(base, first, second)
        for base in ("count", "countDistinct", "avg", "sum", "min", "max", "median")
        for first in ("", "Array", "Map", "State", "Merge", "ForEach", "ArgMin", "ArgMax")
        for second in ("", "If", "OrDefault", "OrDefaultIf", "OrNull", "OrNullIf")
    ]


def _generated(base: str, first: str, second: str) -> Entry:
    plain = base == "count" and first in {"", "State", "ArgMin", "ArgMax"}
    values = {"Array": "a", "ForEach": "a", "Map": "map('k', n)", "Merge": "x"}.get(first, "n")
    args = [] if plain else [values]
    if first.startswith("Arg"):
        args.append("f")
    if second.endswith("If"):
        args.append("1" if first == "Merge" else "n > 1")
    name, given = base + first + second, ", ".join(args)
    call = f"{name}({given})"
    call = f"hex({call})" if first == "State" else call
    own = "uniqExact" if base == "countDistinct" else base
    sql = call.replace(base, own, 1)
    if first == "Merge":
        inner = "" if base == "count" else "number"
        state = f"(SELECT {{}}State({inner}) AS x FROM numbers(4))"
        hogql = f"SELECT {call} FROM {state.format(base)}"
        # ClickHouse wants a state of another function there, which HogQL cannot make.
        strange = second == "OrNull" and not base.startswith("count")
        return Entry(hogql, REFUSED if strange else f"SELECT {sql} FROM {state.format(own)}")
    return Entry(call, sql)


def _values(query: str) -> Any:
    found = _rows(query)
    return found if isinstance(found, ClickHouseError) else found[1]


def _rows(query: str) -> Any:
    try:
        return database().query(query, SETTINGS)
    except ClickHouseError as error:
        return error


def judge(entry: Entry, printed: Any, wanted: Any, outcome: Outcome) -> None:
    """Count an entry by its two results."""
    if isinstance(printed, ClickHouseError):
        text = str(printed)
        if entry.sql == REFUSED:
            outcome.same += 1
        elif any(sign in text for sign in _LACKS):
            outcome.lacking.append(f"{entry.hogql}: {text}")
        else:
            outcome.refused.append(f"{entry.hogql}: {text}")
    elif isinstance(wanted, ClickHouseError):
        outcome.wrong.append(f"{entry.hogql}: {printed} but the SQL failed: {wanted}")
    elif alike(printed, wanted):
        outcome.same += 1
    else:
        outcome.wrong.append(f"{entry.hogql}: {printed} in place of {wanted}")


def alike(left: Any, right: Any) -> bool:
    """Return whether two values are the same, numbers to twelve digits."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left == right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-12)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(
            alike(one, two) for one, two in zip(left, right, strict=True)
        )
    if isinstance(left, str) and isinstance(right, str):
        return left == right or _moment(left) == _moment(right)
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def _moment(text: str) -> str:
    return text.rstrip("0").rstrip(".") if text[:4].isdigit() and "." in text else text
