"""Array functions, whose indices start at 1, and functions with lambda arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from posthog_emulator.hogql import operators
from posthog_emulator.hogql.fields import element
from posthog_emulator.hogql.problems import HogQLError, illegal_type, untranslated
from posthog_emulator.hogql.tree import exp
from posthog_emulator.hogql.types import (
    FLOAT,
    INT64,
    NOTHING,
    STRING,
    UINT8,
    UINT32,
    UINT64,
    Type,
    array,
    bits_of,
    common,
    tuple_,
)
from posthog_emulator.hogql.values import Value, identifier, truth

from .conversions import text_sql
from .table import Call, checked, function, simple, special

if TYPE_CHECKING:
    from posthog_emulator.hogql.expressions import Expressions

__all__: list[str] = []


@function("array", least=0, most=None)
def _array(call: Call) -> Value:
    if not call.arguments:
        return call.make("CAST([] AS VARCHAR[])", array(NOTHING.plain), nullable=False)
    item = call.arguments[0].type
    for value in call.arguments[1:]:
        item = common(item, value.type)
    made = call.make(
        f"[{', '.join(value.cast(item) for value in call.arguments)}]", array(item), nullable=False
    )
    constant = all(value.is_constant for value in call.arguments)
    literal: dict[str, Any] = {}
    if constant:
        literal["literal"] = [value.literal for value in call.arguments]
    return Value(made.sql, made.type, made.text, aggregate=made.aggregate, window=made.window,
                 elements=tuple(call.arguments), **literal)  # fmt: skip


@function("arrayElement", least=2)
def _element(call: Call) -> Value:
    return element(call.arguments[0], call.arguments[1], call.text)


def _item(call: Call, index: int = 0) -> Type:
    value = call.arguments[index]
    if value.type.name != "Array":
        raise illegal_type(call.name, value.type, "an Array")
    return value.type.items[0]


@function("has", "indexOf", "countEqual", least=2)
def _has(call: Call) -> Value:
    item = _item(call)
    items, wanted = call.arguments
    left, right, _ = operators.unified(Value("e", item, "e"), wanted)
    test = operators.compare("equals", Value("e", item, "e"), wanted).sql
    if wanted.type.nullable or item.nullable:
        test = f"{left} IS NOT DISTINCT FROM {right}"
    tests = f"list_transform({items.sql}, lambda e: coalesce({test}, false))"
    if call.name == "has":
        return truth(f"list_contains({tests}, true)", call.text, *call.arguments)
    if call.name == "indexOf":
        sql = f"CAST(coalesce(list_position({tests}, true), 0) AS BIGINT)"
        return call.make(sql, UINT64, nullable=False)
    return call.make(
        f"CAST(len(list_filter({tests}, lambda e: e)) AS BIGINT)", UINT64, nullable=False
    )


@function("hasAny", "hasAll", least=2)
def _has_any(call: Call) -> Value:
    one, other = call.arguments
    kind = array(common(_item(call), _item(call, 1)))
    name = "list_has_any" if call.name == "hasAny" else "list_has_all"
    return truth(f"{name}({one.cast(kind)}, {other.cast(kind)})", call.text, one, other)


@function("arraySort", "arrayReverseSort", "arrayDistinct", "arrayReverse", "arrayCompact",
          "arrayEnumerate", "arrayPopBack", "arrayPopFront", least=1)  # fmt: skip
def _whole(call: Call) -> Value:
    item, sql = _item(call), call.arguments[0].sql
    if item.name == "UUID" and "Sort" in call.name:
        raise untranslated(f"{call.name} of UUIDs")
    if call.name == "arrayEnumerate":
        return call.make(f"range(1, len({sql}) + 1)", array(UINT32), nullable=False)
    if call.name == "arrayCompact":
        raise untranslated("arrayCompact")
    sql = {
        "arraySort": f"list_sort({sql}, 'ASC', 'NULLS LAST')",
        "arrayReverseSort": _descending(sql, item),
        # DuckDB's list_distinct does not keep the order of the elements.
        "arrayDistinct": f"list_filter({sql}, lambda e, i: e IS NOT NULL AND "
        f"list_position({sql}, e) = i)",
        "arrayReverse": f"list_reverse({sql})",
        "arrayPopBack": f"({sql})[:greatest(len({sql}) - 1, 0)]",
        "arrayPopFront": f"({sql})[2:]",
    }[call.name]
    kind = call.arguments[0].type
    if call.name == "arrayDistinct":
        kind = array(item.plain)
    return call.make(sql, kind, nullable=False)


def _descending(sql: str, item: Type) -> str:
    """Return the SQL of an array in descending order."""
    # ClickHouse puts NaN after all numbers and before NULL in both directions; in DuckDB it is
    # the greatest number.
    if not item.is_float:
        return f"list_sort({sql}, 'DESC', 'NULLS LAST')"
    kept, rest = (f"list_filter({sql}, lambda e: {test})" for test in
                  ("NOT isnan(e)", "coalesce(isnan(e), true)"))  # fmt: skip
    return f"list_concat(list_sort({kept}, 'DESC'), list_sort({rest}, 'ASC', 'NULLS LAST'))"


@function("arrayConcat", "arrayIntersect", least=1, most=None)
def _concat(call: Call) -> Value:
    kind = call.arguments[0].type
    for index, value in enumerate(call.arguments):
        _item(call, index)
        kind = common(kind, value.type)
    sql = call.arguments[0].cast(kind)
    name = "list_concat" if call.name == "arrayConcat" else "list_intersect"
    for value in call.arguments[1:]:
        sql = f"{name}({sql}, {value.cast(kind)})"
    if call.name == "arrayIntersect":
        sql = f"list_distinct({sql})"
    return call.make(sql, kind, nullable=False)


@function("arrayPushBack", "arrayPushFront", least=2)
def _push(call: Call) -> Value:
    item = common(_item(call), call.arguments[1].type)
    items, value = call.arguments[0].cast(array(item)), call.arguments[1].cast(item)
    parts = (items, f"[{value}]") if call.name == "arrayPushBack" else (f"[{value}]", items)
    return call.make(f"list_concat({', '.join(parts)})", array(item), nullable=False)


@function("arraySlice", least=2, most=3)
def _slice(call: Call) -> Value:
    _item(call)
    start = call.constant(1, int)
    count = call.constant(2, int)
    if start < 1 or (count is not None and count < 0):
        raise untranslated("arraySlice counting from the end")
    end = "" if count is None else str(start + count - 1)
    sql = f"({call.arguments[0].sql})[{start}:{end}]"
    return call.make(sql, call.arguments[0].type, nullable=False)


@function("range", least=1, most=3)
def _range(call: Call) -> Value:
    checked(call, "iii")
    parts = ", ".join(value.number for value in call.arguments)
    kind = call.arguments[0].type
    for value in call.arguments[1:]:
        kind = common(kind, value.type)
    return call.make(f"range({parts})", array(kind.plain), nullable=False)


@function("arrayStringConcat", least=1, most=2)
def _join(call: Call) -> Value:
    item = _item(call)
    mark = call.arguments[1].sql if len(call.arguments) == 2 else "''"
    written = text_sql(Value("e", item, "e"))
    sql = f"array_to_string(list_transform({call.arguments[0].sql}, lambda e: {written}), {mark})"
    return call.make(sql, STRING, nullable=False)


@function("arrayZip", least=2, most=None)
def _zip(call: Call) -> Value:
    types = [_item(call, index) for index in range(len(call.arguments))]
    first = call.arguments[0].sql
    fields = ", ".join(f"e{n} := ({v.sql})[i]" for n, v in enumerate(call.arguments, 1))
    same = " AND ".join(f"len({value.sql}) = len({first})" for value in call.arguments[1:])
    sql = (
        f"(CASE WHEN {same} THEN list_transform(range(1, len({first}) + 1), "
        f"lambda i: struct_pack({fields})) ELSE error('Sizes of arrays differ') END)"
    )
    return call.make(sql, array(tuple_(*types)), nullable=False)


simple("emptyArrayString", "", "CAST([] AS VARCHAR[])", array(STRING))
simple("emptyArrayInt64", "", "CAST([] AS BIGINT[])", array(INT64))


@special("arrayJoin")
def _array_join(expressions: Expressions, name: str, nodes: Sequence[Any]) -> Value:
    if len(nodes) != 1:
        raise HogQLError(f"Function 'arrayJoin' expects exactly 1 argument, found {len(nodes)}")
    value = expressions.of(nodes[0])
    if value.type.name != "Array":
        raise illegal_type(name, value.type, "an Array")
    if value.aggregate or value.window or expressions.scope.locals:
        raise untranslated("arrayJoin of aggregates, or in a lambda; do it around a subquery,")
    # As in ClickHouse, arrayJoin of the same array twice in one SELECT unnests it once.
    arrays = expressions.scope.unnested
    alias = arrays.setdefault(value.sql, expressions.translator.alias())
    return Value(f"{alias}.v", value.type.items[0], f"arrayJoin({value.text})")


@special(
    "arrayMap", "arrayFilter", "arrayExists", "arrayAll", "arrayCount", "arraySum", "arrayAvg",
    "arrayMin", "arrayMax", "arrayFirst", "arrayLast", "arrayFirstIndex",
)  # fmt: skip
def _higher(expressions: Expressions, name: str, nodes: Sequence[Any]) -> Value:
    takes_function = bool(nodes) and isinstance(nodes[0], exp.Lambda)
    if takes_function:
        arrays, made, written = _mapped(expressions, name, nodes)
        text = f"{name}({written}, {', '.join(value.text for value in arrays)})"
    else:
        if len(nodes) != 1 or name in {"arrayMap", "arrayFilter", "arrayFirst", "arrayLast"}:
            raise HogQLError(f"Function '{name}' expects a lambda and an array.")
        arrays, made = [expressions.of(nodes[0])], None
        text = f"{name}({arrays[0].text})"
    items = arrays[0]
    if items.type.name != "Array":
        raise illegal_type(name, items.type, "an Array")
    sql, kind = _reduced(name, items, made)
    parts = [*arrays, *([made] if made is not None else [])]
    return operators.combined(sql, kind, text, *parts, nullable=kind.nullable)


def _mapped(
    expressions: Expressions, name: str, nodes: Sequence[Any]
) -> tuple[list[Value], Value, str]:
    """Return the arrays, and the list of the lambda's results for their elements."""
    arrays = expressions.all(nodes[1:])
    names = [str(argument.this) for argument in nodes[0].expressions]
    if not arrays or len(names) != len(arrays):
        raise HogQLError(f"The lambda of {name} must take as many arguments as there are arrays.")
    for value in arrays:
        if value.type.name != "Array":
            raise illegal_type(name, value.type, "an Array")
    outer = dict(expressions.scope.locals)
    alias = expressions.translator.alias()
    # DuckDB's lambdas take one list: several arrays are traversed by a common index.
    if len(arrays) == 1:
        over, elements = arrays[0].sql, [alias]
    else:
        first = arrays[0].sql
        same = " AND ".join(f"len({value.sql}) = len({first})" for value in arrays[1:])
        over = (
            f"(CASE WHEN {same} THEN range(1, len({first}) + 1) "
            "ELSE error('Sizes of arrays differ') END)"
        )
        elements = [f"({value.sql})[{alias}]" for value in arrays]
    for argument, sql, value in zip(names, elements, arrays, strict=True):
        item = value.type.items[0]
        expressions.scope.locals[argument] = Value(
            sql, item, identifier(argument), aggregate=value.aggregate
        )
    try:
        body = expressions.of(nodes[0].this)
    finally:
        expressions.scope.locals.clear()
        expressions.scope.locals.update(outer)
    made = body.plain
    if name in {"arrayFilter", "arrayExists", "arrayAll", "arrayCount", "arrayFirst", "arrayLast",
                "arrayFirstIndex"}:  # fmt: skip
        made = f"coalesce({body.condition}, false)"
        body = Value(body.sql, Type("Bool"), body.text, aggregate=body.aggregate)
    sql = f"list_transform({over}, lambda {alias}: {made})"
    written = f"{names[0] if len(names) == 1 else '(' + ', '.join(names) + ')'} -> {body.text}"
    return arrays, Value(sql, array(body.type), "", aggregate=body.aggregate), written


def _reduced(name: str, items: Value, made: Value | None) -> tuple[str, Type]:
    """Return SQL and type of a function, given the array and the lambda's results."""
    of = items if made is None else made
    item = of.type.items[0]
    tests = of.sql if made is not None else f"list_transform({of.sql}, lambda e: e <> 0)"
    pairs = f"list_filter(list_zip({items.sql}, {tests}), lambda e: e[2])"
    kept = f"list_transform({pairs}, lambda e: e[1])"
    match name:
        case "arrayMap":
            return of.sql, array(item)
        case "arrayFilter":
            return kept, items.type
        case "arrayFirst" | "arrayLast":
            own = items.type.items[0]
            place = "1" if name == "arrayFirst" else "-1"
            return f"coalesce(({kept})[{place}], {own.empty})", own
        case "arrayFirstIndex":
            return f"CAST(coalesce(list_position({tests}, true), 0) AS BIGINT)", UINT32
        case "arrayExists":
            return f"CAST(list_contains({tests}, true) AS BIGINT)", UINT8
        case "arrayAll":
            return f"CAST(NOT list_contains({tests}, false) AS BIGINT)", UINT8
        case "arrayCount":
            return f"CAST(len(list_filter({tests}, lambda e: e)) AS BIGINT)", UINT32
        case _:
            return _sum(name, of, item)


def _sum(name: str, of: Value, item: Type) -> tuple[str, Type]:
    if name in {"arrayMin", "arrayMax"}:
        function = "list_min" if name == "arrayMin" else "list_max"
        return f"coalesce({function}({of.sql}), {item.plain.empty})", item.plain
    if not item.is_number:
        raise illegal_type(name, item, "an Array of numbers")
    if name == "arrayAvg":
        return f"coalesce(list_avg({of.sql}), 'nan'::DOUBLE)", FLOAT
    if item.is_float:
        return f"coalesce(list_sum({of.sql}), 0)", FLOAT
    kind = INT64 if bits_of(item)[0] else UINT64
    numbers = of.sql
    if item.name == "Bool":
        numbers = f"list_transform({of.sql}, lambda e: CAST(e AS BIGINT))"
    return f"CAST(coalesce(list_sum({numbers}), 0) AS BIGINT)", kind
