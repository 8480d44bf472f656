"""Prepare the statements of a DB-API cursor. Pure.

Parameters become placeholders of HogQL, whose values are sent beside the query. None is written
into its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from asyncposthog.query.sql_scan import MAX_LIMIT, Token, scan_sql, sql_tokens

from .errors import NotSupportedError, ProgrammingError

__all__ = ["Statement", "prepare_statement"]

_READS: Final = frozenset({"SELECT", "WITH", "("})
_WRITES: Final = frozenset({
    "ALTER", "ATTACH", "CREATE", "DELETE", "DROP", "GRANT", "INSERT", "KILL", "MERGE", "OPTIMIZE",
    "RENAME", "REPLACE", "REVOKE", "SET", "TRUNCATE", "UPDATE",
})  # fmt: skip
_FORMAT_PARAMETER: Final = re.compile(r"%(?:\([A-Za-z_]\w*\))?s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A SELECT with the values of its placeholders."""

    sql: str
    """HogQL, without a trailing semicolon."""
    values: Mapping[str, Any]
    is_limited: bool
    """Whether it has a LIMIT, so that it has at most 50,000 rows."""
    is_ordered: bool
    """Whether it has an ORDER BY."""
    is_union: bool

    @property
    def first_page(self) -> str:
        """The statement with the highest LIMIT that the server accepts, unless it has one."""
        # On lines of their own: the statement may end in a comment.
        if self.is_limited:
            return self.sql
        if self.is_union:
            return f"SELECT * FROM (\n{self.sql}\n) LIMIT {MAX_LIMIT}"  # noqa: S608
        return f"{self.sql}\nLIMIT {MAX_LIMIT}"


def prepare_statement(
    sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
) -> Statement:
    """Return a statement that can be sent.

    Args:
        sql: A SELECT with `?` for each parameter of a sequence, or `:name` for those of a mapping.
        parameters: The parameters; empty or None: there are none.

    Raises:
        NotSupportedError: The statement is not a SELECT, or its LIMIT is above 50,000.
        ProgrammingError: Parameters and statement do not match.
    """
    if not isinstance(cast("object", sql), str):
        raise ProgrammingError(f"a statement is a str, not {type(sql).__name__}")
    found = [t for t in sql_tokens(sql) if t.kind not in {"space", "comment"}]
    while found and found[-1].text == ";":
        found.pop()
    if not found:
        raise ProgrammingError("the statement is empty")
    _check_reads(found)
    sql = sql[: found[-1].end]
    values: dict[str, Any] = {}
    if parameters:
        if isinstance(parameters, Mapping):
            sql, values = _bind_names(sql, found, parameters)
        elif isinstance(parameters, str | bytes):
            raise ProgrammingError("parameters are a sequence or a mapping, not a text")
        else:
            sql, values = _bind_marks(sql, found, tuple(parameters))
    scan = scan_sql(sql)
    limit = scan.limits[-1] if len(scan.limits) == 1 else None
    if isinstance(limit, str):
        limit = values.get(limit)
    if isinstance(limit, int) and limit > MAX_LIMIT:
        raise NotSupportedError(
            f"PostHog returns at most {MAX_LIMIT:,} rows for LIMIT {limit}: leave the LIMIT out, "
            "and fetch as many rows as needed"
        )
    return Statement(
        sql=sql,
        values=values,
        is_limited=None not in scan.limits,
        is_ordered="ORDER BY" in scan.clauses,
        is_union=len(scan.limits) > 1,
    )


def _check_reads(found: Sequence[Token]) -> None:
    """Raise an error unless a statement reads.

    Raises:
        NotSupportedError: It writes.
        ProgrammingError: It is something else.
    """
    word = found[0].text.upper()
    if word in _READS:
        return
    if word in _WRITES:
        raise NotSupportedError(
            f"{word} would write, and this connection only reads: use a SELECT, or the methods of "
            "AsyncPostHog to change objects"
        )
    raise ProgrammingError(f"a statement begins with SELECT or WITH, not {found[0].text[:40]!r}")


def _bind_marks(
    sql: str, found: Sequence[Token], parameters: tuple[Any, ...]
) -> tuple[str, dict[str, Any]]:
    marks = [token for token in found if token.text == "?" and token.kind == "mark"]
    if len(marks) != len(parameters):
        raise ProgrammingError(
            f"the statement has {len(marks)} ? and there are {len(parameters)} parameters"
            f"{_style_hint(sql)}; in a statement with parameters, write if(a, b, c) for a ? b : c"
        )
    prefix = _unused_prefix(sql)
    names = [f"{prefix}{number}" for number in range(1, len(marks) + 1)]
    pieces = [(mark.start, mark.end, name) for mark, name in zip(marks, names, strict=True)]
    return _replaced(sql, pieces), dict(zip(names, parameters, strict=True))


def _bind_names(
    sql: str, found: Sequence[Token], parameters: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    pieces: list[tuple[int, int, str]] = []
    for index, token in enumerate(found[:-1]):
        name = found[index + 1]
        if token.text != ":" or name.kind != "word" or name.start != token.end:
            continue
        if index and found[index - 1].text == ":" and found[index - 1].end == token.start:
            continue  # a cast: `timestamp::Date`
        if name.text not in parameters:
            raise ProgrammingError(
                f"the statement has :{name.text}, and the parameters have no {name.text!r}"
            )
        pieces.append((token.start, name.end, name.text))
    text = _replaced(sql, pieces)
    used = {name for _, _, name in pieces} | {p.name for p in scan_sql(text).placeholders}
    unused = sorted(set(parameters) - used)
    if unused:
        raise ProgrammingError(
            f"the statement has no :{unused[0]}, which is one of the parameters{_style_hint(sql)}"
        )
    return text, dict(parameters)


def _style_hint(sql: str) -> str:
    if _FORMAT_PARAMETER.search(sql):
        return "; parameters are written ? or :name, not %s"
    return ""


def _replaced(sql: str, pieces: Sequence[tuple[int, int, str]]) -> str:
    """Return the statement with placeholders in place of its parameters."""
    parts: list[str] = []
    position = 0
    for start, end, name in pieces:
        parts += [sql[position:start], f"{{{name}}}"]
        position = end
    return "".join([*parts, sql[position:]])


def _unused_prefix(sql: str) -> str:
    prefix = "p"
    while f"{{{prefix}" in sql:
        prefix += "_"
    return prefix
