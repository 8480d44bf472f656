"""Functions of the demo's SQL, which are replaced by their definitions before it is run.

ClickHouse has functions in a query (`WITH x -> … AS name`), but takes half a second to analyse the
demo's queries with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["expand_macros"]

_MACROS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    # A hash of the values and the seed. It does not depend on the order in which threads compute.
    "draw": (("a", "b"), "sipHash64(<a>, <b>, toInt64(@seed@))"),
    # A random number from 0 to 1.
    "chance": (("a", "b"), "(intDiv(draw(<a>, <b>), 2048) / 9007199254740992.0)"),
    "pick": (
        ("list", "a", "b"),
        "<list>[1 + toInt64(floor(chance(<a>, <b>) * length(<list>)))]",
    ),
    # A UUID of version 7: its time, and bits that are derived from the arguments.
    "moment_uuid": (
        ("micros", "a", "b"),
        "reinterpretAsUUID(concat(reinterpretAsFixedString("
        "toUInt64(intDiv(<micros>, 1000)) * 65536 + 28672 + draw(<a>, <b>) % 4096), "
        "reinterpretAsFixedString(9223372036854775808 + "
        "sipHash64(<a>, <b>, 'u', toInt64(@seed@)) % 4611686018427387904)))",
    ),
    # The part of a demo's day that has passed, mostly around two in the afternoon of the visitor's
    # time zone. A demo's day begins at any time: @dawn@ is the time of day at which it does.
    "time_of_day": (
        ("a", "b", "hours"),
        "if(chance(<a>, concat(<b>, ' odd')) < 0.15, chance(<a>, concat(<b>, ' any')), "
        "(2.58 - @dawn@ - <hours> / 24.0 + (chance(<a>, concat(<b>, ' 1')) "
        "+ chance(<a>, concat(<b>, ' 2')) + chance(<a>, concat(<b>, ' 3')) - 1.5) * 0.28) % 1.0)",
    ),
}
_CALL: Final = re.compile(rf"\b({'|'.join(_MACROS)})\(")


def expand_macros(sql: str) -> str:
    """Return SQL with the calls of macros replaced by their definitions."""
    match = _CALL.search(sql)
    while match is not None:
        arguments, end = _arguments(sql, match.end())
        names, body = _MACROS[match[1]]
        for name, argument in zip(names, arguments, strict=True):
            body = body.replace(f"<{name}>", argument)
        # The definition, and the arguments in it, may have calls as well.
        sql = sql[: match.start()] + body + sql[end:]
        match = _CALL.search(sql, match.start())
    return sql


def _arguments(sql: str, start: int) -> tuple[list[str], int]:
    """Return the arguments of a call, and the position after its closing bracket."""
    arguments, depth, begin = list[str](), 0, start
    for position in range(start, len(sql)):
        character = sql[position]
        if character in "([":
            depth += 1
        elif character in ")]" and depth:
            depth -= 1
        elif character == ")" or (character == "," and not depth):
            arguments.append(sql[begin:position].strip())
            begin = position + 1
            if character == ")":
                return arguments, begin
    raise ValueError(f"a call in the SQL of the demo is not closed: {sql[start:][:80]}")
