"""String functions. Those without UTF8 in the name count bytes and change ASCII letters only."""

from __future__ import annotations

import re
from string import ascii_lowercase, ascii_uppercase

from posthog_emulator.hogql.problems import HogQLError, illegal_type, untranslated
from posthog_emulator.hogql.types import STRING, UINT8, UINT64, array
from posthog_emulator.hogql.values import Value, quoted, truth

from .conversions import text_sql
from .table import Call, checked, function, simple

__all__: list[str] = []

_UPPER, _LOWER = f"'{ascii_uppercase}'", f"'{ascii_lowercase}'"

simple("lower", "s", f"translate({{0}}, {_UPPER}, {_LOWER})", STRING)
simple("upper", "s", f"translate({{0}}, {_LOWER}, {_UPPER})", STRING)
simple("lowerUTF8", "s", "lower({0})", STRING)
simple("upperUTF8", "s", "upper({0})", STRING)
simple("lengthUTF8", "s", "CAST(length({0}) AS BIGINT)", UINT64)
simple("reverseUTF8", "s", "reverse({0})", STRING)
simple("replaceAll replace", "sss", "replace({0}, {1}, {2})", STRING)
simple(
    "replaceOne",
    "sss",
    "(CASE WHEN {1} = '' OR strpos({0}, {1}) = 0 THEN {0} ELSE "
    "left({0}, strpos({0}, {1}) - 1) || {2} || substring({0}, strpos({0}, {1}) + length({1})) END)",
    STRING,
)
simple("trim trimBoth", "s", "trim({0}, ' ')", STRING)
simple("trimLeft", "s", "ltrim({0}, ' ')", STRING)
simple("trimRight", "s", "rtrim({0}, ' ')", STRING)
simple("repeat", "si", "repeat({0}, greatest({1}, 0))", STRING)
simple("positionUTF8", "ss", "CAST(strpos({0}, {1}) AS BIGINT)", UINT64)
simple("splitByString", "ss", "string_split({1}, {0})", array(STRING))
simple("base64Encode", "s", "to_base64(encode({0}))", STRING)
simple("levenshteinDistance editDistance", "ss", "CAST(levenshtein({0}, {1}) AS BIGINT)", UINT64)


@function("length", least=1)
def _length(call: Call) -> Value:
    value = call.arguments[0]
    if value.type.name == "Array":
        return call.make(f"CAST(len({value.sql}) AS BIGINT)", UINT64)
    if value.type.name not in {"String", "Nothing"}:
        raise illegal_type(call.name, value.type, "a String or Array")
    return call.make(f"CAST(strlen({value.sql}) AS BIGINT)", UINT64)


@function("position", "positionCaseInsensitive", "locate", least=2)
def _position(call: Call) -> Value:
    checked(call, "ss")
    text, part = (value.sql for value in call.arguments)
    if call.name == "locate":
        text, part = part, text
    if call.name == "positionCaseInsensitive":
        text, part = (f"translate({sql}, {_UPPER}, {_LOWER})" for sql in (text, part))
    # strpos counts characters, ClickHouse bytes: the bytes before the match are measured.
    at = f"strpos({text}, {part})"
    sql = f"CAST(CASE WHEN {at} = 0 THEN 0 ELSE strlen(left({text}, {at} - 1)) + 1 END AS BIGINT)"
    return call.make(sql, UINT64)


@function("substring", "substr", "mid", "substringUTF8", least=2, most=3)
def _substring(call: Call) -> Value:
    checked(call, "sii")
    text, start = call.arguments[0], call.arguments[1]
    if start.literal == 0:
        return call.make("''", STRING)
    # ClickHouse returns the empty text for a start of 0; a start beyond any end does the same.
    if not isinstance(start.literal, int):
        begin = f"(CASE WHEN {start.number} = 0 THEN {2**31} ELSE {start.number} END)"
    else:
        begin = start.number
    more = ""
    if len(call.arguments) == 3:
        count = call.arguments[2]
        if isinstance(count.literal, int) and count.literal < 0:
            raise untranslated(f"{call.name} of a negative length")
        more = f", {count.number}"
    sql = f"substring({text.sql}, {begin}{more})"
    return call.make(_bytes(call, text.sql, sql), STRING)


def _bytes(call: Call, text: str, sql: str) -> str:
    """Return SQL that fails on text beyond ASCII, where ClickHouse would count bytes."""
    if call.name.endswith("UTF8"):
        return sql
    told = quoted(f"{call.name} counts bytes; on text beyond ASCII use {call.name}UTF8")
    return f"(CASE WHEN strlen({text}) > length({text}) THEN error({told}) ELSE {sql} END)"


@function("left", "right", "leftUTF8", "rightUTF8", least=2)
def _side(call: Call) -> Value:
    checked(call, "si")
    text, count = call.arguments[0].sql, call.arguments[1].number
    name = call.name.removesuffix("UTF8")
    return call.make(_bytes(call, text, f"{name}({text}, {count})"), STRING)


@function("reverse", least=1)
def _reverse(call: Call) -> Value:
    value = call.arguments[0]
    if value.type.name == "Array":
        return call.make(f"list_reverse({value.sql})", value.type)
    checked(call, "s")
    return call.make(_bytes(call, value.sql, f"reverse({value.sql})"), STRING)


@function("concat", least=1, most=None)
def _concat(call: Call) -> Value:
    # In HogQL, NULL is the empty text in a concatenation; in ClickHouse the result is NULL.
    parts = [f"coalesce({text_sql(value)}, '')" for value in call.arguments]
    return call.make(f"({' || '.join(parts)})", STRING, nullable=False)


@function("concatWithSeparator", "concat_ws", least=2, most=None)
def _concat_with(call: Call) -> Value:
    parts = [text_sql(value) for value in call.arguments]
    if any(value.type.nullable for value in call.arguments):
        raise untranslated(f"{call.name} of what may be NULL")
    return call.make(f"concat_ws({', '.join(parts)})", STRING)


@function("startsWith", "endsWith", least=2)
def _starts(call: Call) -> Value:
    checked(call, "ss")
    text, part = (value.sql for value in call.arguments)
    name = "starts_with" if call.name == "startsWith" else "ends_with"
    nullable = any(value.type.nullable for value in call.arguments)
    return truth(f"{name}({text}, {part})", call.text, *call.arguments, nullable=nullable)


@function("splitByChar", least=2)
def _split(call: Call) -> Value:
    checked(call, "ss")
    mark = call.constant(0, str)
    if len(mark.encode()) != 1:
        raise HogQLError("The separator of splitByChar must be one byte.", "bad_arguments")
    return call.make(f"string_split({call.arguments[1].sql}, {quoted(mark)})", array(STRING))


@function("splitByRegexp", least=2)
def _split_regexp(call: Call) -> Value:
    checked(call, "ss")
    pattern = quoted(_pattern(call, 0))
    return call.make(f"string_split_regex({call.arguments[1].sql}, {pattern}, 's')", array(STRING))


def _pattern(call: Call, index: int) -> str:
    return str(call.constant(index, str))


def _groups(pattern: str) -> int:
    """Return the number of capturing groups of a pattern."""
    outside = re.sub(r"\\.|\[(?:\\.|[^\]\\])+\]", "", pattern)
    return len(re.findall(r"\((?!\?)|\(\?P?<(?![=!])", outside))


def _may_be_empty(pattern: str) -> bool:
    """Return whether a pattern matches the empty text, other than at the start or end."""
    try:
        return pattern[:1] != "^" and pattern[-1:] != "$" and bool(re.match(pattern, ""))
    except re.error:
        return False


@function("match", least=2)
def _match(call: Call) -> Value:
    checked(call, "ss")
    # Option `s`: in ClickHouse a dot matches line breaks as well.
    sql = f"regexp_matches({call.arguments[0].sql}, {quoted(_pattern(call, 1))}, 's')"
    nullable = call.arguments[0].type.nullable
    return truth(sql, call.text, *call.arguments, nullable=nullable)


@function("extract", least=2)
def _extract(call: Call) -> Value:
    checked(call, "ss")
    pattern = _pattern(call, 1)
    group = min(_groups(pattern), 1)
    sql = f"regexp_extract({call.arguments[0].sql}, {quoted(pattern)}, {group}, 's')"
    return call.make(sql, STRING)


@function("extractAll", least=2)
def _extract_all(call: Call) -> Value:
    checked(call, "ss")
    pattern = _pattern(call, 1)
    group = min(_groups(pattern), 1)
    sql = f"regexp_extract_all({call.arguments[0].sql}, {quoted(pattern)}, {group}, 's')"
    return call.make(sql, array(STRING))


@function("replaceRegexpAll", "replaceRegexpOne", least=3)
def _replace_regexp(call: Call) -> Value:
    checked(call, "sss")
    # ClickHouse and DuckDB differ in how often they replace empty matches.
    if call.name.endswith("All") and _may_be_empty(_pattern(call, 1)):
        raise untranslated(f"{call.name} of a pattern that matches the empty text")
    options = "gs" if call.name.endswith("All") else "s"
    text, put = call.arguments[0].sql, call.arguments[2].sql
    return call.make(
        f"regexp_replace({text}, {quoted(_pattern(call, 1))}, {put}, '{options}')", STRING
    )


@function("multiSearchAny", "multiSearchAnyCaseInsensitive", least=2)
def _search(call: Call) -> Value:
    text, needles = call.arguments
    if text.type.name != "String" or not needles.elements:
        raise illegal_type(call.name, needles.type, "a String and an Array of constants")
    tests: list[str] = []
    for needle in needles.elements:
        sides = (text.sql, needle.sql)
        if call.name.endswith("Insensitive"):
            sides = tuple(f"translate({sql}, {_UPPER}, {_LOWER})" for sql in sides)
        tests.append(f"contains({sides[0]}, {sides[1]})")
    return truth(f"({' OR '.join(tests)})", call.text, text, nullable=text.type.nullable)


@function("isValidUTF8", least=1)
def _valid(call: Call) -> Value:
    checked(call, "s")
    return call.make("1::BIGINT", UINT8)
