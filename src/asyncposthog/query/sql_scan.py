"""Scan a HogQL query for placeholders and clauses, without parsing it. Pure.

Strings, quoted names and comments are skipped; the remaining tokens are enough to find placeholders
and the clauses of the outermost SELECT. What the scan cannot decide is reported as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

__all__ = [
    "DEFAULT_LIMIT", "MAX_LIMIT", "Placeholder", "SqlScan", "Token", "scan_sql", "sql_tokens",
]  # fmt: skip

DEFAULT_LIMIT: Final = 100
"""Rows that the server returns for a query without a LIMIT."""
MAX_LIMIT: Final = 50_000
"""Maximum LIMIT of the server; larger values are silently capped."""

_TOKEN: Final = re.compile(
    r"""
      (?P<comment>(?:--|//)[^\r\n]*|/\*.*?\*/)
    | (?P<template>[fF]'(?:[^'\\]|\\.|'')*')
    | (?P<string>'(?:[^'\\]|\\.|'')*')
    | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
    | (?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?(?![A-Za-z_$]))
    | (?P<word>[A-Za-z_$][A-Za-z0-9_$]*)
    | (?P<tag></|/>)
    | (?P<space>\s+)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME: Final = re.compile(r"\s*([A-Za-z_$][A-Za-z0-9_$]*)(?:\s*\.\s*[A-Za-z_$][A-Za-z0-9_$]*)*\s*")
_SETS: Final = frozenset({"UNION", "INTERSECT", "EXCEPT"})
_DEPTH_CHANGE: Final = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}

Clause: TypeAlias = Literal["ORDER BY", "LIMIT", "OFFSET"]


class Token(NamedTuple):
    """A token of SQL, and the number of brackets around it."""

    kind: str
    text: str
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A placeholder `{name}` in a query."""

    name: str
    """The first name in the braces; empty if they contain an expression."""
    start: int
    end: int
    is_datetime_argument: bool
    """Whether it is the argument of a function that parses a date or time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlScan:
    """The result of scanning a query."""

    placeholders: tuple[Placeholder, ...] = ()
    complete: bool = True
    """Whether `placeholders` is complete: no template, expression or tag can contain others."""
    limits: tuple[int | str | None, ...] = (None,)
    """The LIMIT of each SELECT of a UNION: a number, the name of a placeholder, `?`, or None."""
    clauses: frozenset[Clause] = frozenset()
    """Clauses of the outermost SELECT."""
    end: int = 0
    """The end of the query, without a trailing semicolon and comments."""


@lru_cache(maxsize=256)
def scan_sql(sql: str) -> SqlScan:
    """Return the placeholders and clauses of a query."""
    tokens = [t for t in sql_tokens(sql) if t.kind not in {"space", "comment"}]
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    placeholders = tuple(_placeholders(sql, tokens))
    opaque = any(t.kind in {"template", "tag"} for t in tokens)
    limits, clauses = _outer_clauses([t for t in tokens if t.depth == 0], placeholders)
    return SqlScan(
        placeholders=placeholders,
        complete=not opaque and all(p.name for p in placeholders),
        limits=limits,
        clauses=clauses,
        end=tokens[-1].end if tokens else 0,
    )


def sql_tokens(sql: str) -> Iterator[Token]:
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind, text = match.lastgroup or "mark", match[0]
        change = _DEPTH_CHANGE.get(text, 0) if kind == "mark" else 0
        depth += min(change, 0)
        # A bracket has the depth of its surroundings.
        yield Token(kind, text, match.start(), match.end(), depth)
        depth += max(change, 0)


def _placeholders(sql: str, tokens: list[Token]) -> Iterator[Placeholder]:
    opening_index = None
    for index, token in enumerate(tokens):
        if token.kind != "mark" or token.text not in "{}":
            continue
        if opening_index is None and token.text == "{":
            opening_index = index
        elif (
            opening_index is not None
            and token.text == "}"
            and token.depth == tokens[opening_index].depth
        ):
            opening, start = tokens[opening_index], opening_index
            opening_index = None
            inside = sql[opening.end : token.start]
            if not inside.strip() or tokens[start + 1].kind == "string":
                continue  # A dict literal.
            match = _NAME.fullmatch(inside)
            name = match[1] if match else ""
            yield Placeholder(
                name, opening.start, token.end, _is_datetime_placeholder(tokens, start)
            )


_TIME_READERS: Final = re.compile(r"toDateTime(64|US)?|to_?Date|parseDateTime.*", re.IGNORECASE)


def _is_datetime_placeholder(tokens: list[Token], index: int) -> bool:
    return (
        index >= 2
        and tokens[index - 1].text == "("
        and tokens[index - 2].kind == "word"
        and _TIME_READERS.fullmatch(tokens[index - 2].text) is not None
    )


def _outer_clauses(
    tokens: list[Token], placeholders: tuple[Placeholder, ...]
) -> tuple[tuple[int | str | None, ...], frozenset[Clause]]:
    """Return the LIMITs and the clauses of the outermost SELECTs."""
    limits: list[int | str | None] = [None]
    clauses: set[Clause] = set()
    names = {p.start: p.name for p in placeholders}
    words = [t.text.upper() if t.kind == "word" else t.text for t in tokens]
    for index, (token, word) in enumerate(zip(tokens, words, strict=True)):
        if token.kind != "word" or (index and words[index - 1] in {".", "AS"}):
            continue  # A column with that name.
        following = words[index + 1] if index + 1 < len(words) else ""
        if word in _SETS and following in {"ALL", "DISTINCT", "SELECT", "("}:
            if words[index - 1] != "*":  # SELECT * EXCEPT (…)
                limits.append(None)
        elif word == "ORDER" and following == "BY":
            clauses.add("ORDER BY")
        elif word == "OFFSET" and index:
            clauses.add("OFFSET")
        elif word == "LIMIT" and index and following:
            limit = _parse_limit(tokens[index + 1 :], words[index + 1 :], names)
            if limit is not None:
                limits[-1] = limit
                clauses.add("LIMIT")
    return tuple(limits), frozenset(clauses)


def _parse_limit(tokens: list[Token], words: list[str], names: dict[int, str]) -> int | str | None:
    """Return the value of a LIMIT; None for LIMIT … BY, which limits rows per group."""
    stop = next((i for i, w in enumerate(words) if w in _SETS or w == "LIMIT"), len(words))
    if "BY" in words[:stop]:
        return None
    first, rest = tokens[0], words[1:stop]
    if first.text == "{":
        value: int | str = names.get(first.start) or "?"
        rest = rest[1:]  # The closing brace.
    elif first.kind == "number" and first.text.isdigit():
        value = int(first.text)
    else:
        return "?"
    return value if not rest or rest[0] in {"OFFSET", ")"} else "?"
