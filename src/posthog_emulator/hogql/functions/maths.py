"""Numeric functions."""

from __future__ import annotations

from posthog_emulator.hogql.operators import divisor
from posthog_emulator.hogql.problems import untranslated
from posthog_emulator.hogql.types import FLOAT, Type, bits_of, common, integer
from posthog_emulator.hogql.values import Value, truth

from .table import Call, checked, function, simple

__all__: list[str] = []

for _name in ("exp", "sin", "cos", "tan", "atan"):
    simple(_name, "n", f"{_name}(CAST({{0}} AS DOUBLE))", FLOAT)
for _name, _outside in (("sqrt", "{0} < 0"), ("asin", "abs({0}) > 1"), ("acos", "abs({0}) > 1")):
    # Outside of what they are made for they are no number, which not every DuckDB says.
    simple(
        _name,
        "n",
        f"(CASE WHEN {_outside} THEN 'nan'::DOUBLE ELSE {_name}(CAST({{0}} AS DOUBLE)) END)",
        FLOAT,
    )
_CBRT = "cbrt(CAST({0} AS DOUBLE))"
# DuckDB's is off by a bit, even for 27; one step of Newton's puts it right.
simple(
    "cbrt",
    "n",
    f"coalesce({_CBRT} - ({_CBRT} ** 3 - {{0}}) / nullif(3 * {_CBRT} ** 2, 0), {_CBRT})",
    FLOAT,
)
for _name, _sql in (("log ln", "ln"), ("log2", "log2"), ("log10", "log10")):
    # Of 0 it is minus infinity, of less no number; DuckDB refuses both.
    simple(
        _name,
        "n",
        f"(CASE WHEN {{0}} > 0 THEN {_sql}(CAST({{0}} AS DOUBLE)) "
        "WHEN {0} = 0 THEN '-inf'::DOUBLE WHEN {0} < 0 THEN 'nan'::DOUBLE END)",
        FLOAT,
    )
simple("pow power", "nn", "pow(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE))", FLOAT)
simple("pi", "", "pi()", FLOAT)


@function("bitAnd", "bitOr", "bitXor", least=2)
def _bits(call: Call) -> Value:
    checked(call, "ii")
    left, right = call.arguments
    operator = {"bitAnd": "({} & {})", "bitOr": "({} | {})", "bitXor": "xor({}, {})"}[call.name]
    (signed_a, bits_a), (signed_b, bits_b) = bits_of(left.type), bits_of(right.type)
    kind = integer(max(bits_a, bits_b), signed=signed_a or signed_b)
    return call.make(operator.format(left.number, right.number), kind)


@function("abs", "negate", least=1)
def _abs(call: Call) -> Value:
    checked(call, "n")
    value = call.arguments[0]
    kind = value.type
    if kind.is_integer or kind.name == "Bool":
        signed, bits = bits_of(kind)
        if call.name == "abs":
            return call.make(f"abs({value.number})", integer(bits, signed=False))
        return call.make(f"(-{value.number})", integer(bits if signed else bits * 2, signed=True))
    return call.make(f"abs({value.sql})" if call.name == "abs" else f"(-{value.sql})", kind)


@function("floor", "ceil", "ceiling", "trunc", "truncate", least=1)
def _floor(call: Call) -> Value:
    checked(call, "n")
    value = call.arguments[0]
    if not value.type.is_float:
        if value.type.name == "Decimal":
            raise untranslated(f"{call.name} of a Decimal")
        return call.make(value.number, value.type)
    name = {"ceiling": "ceil", "truncate": "trunc"}.get(call.name, call.name)
    return call.make(f"{name}({value.sql})", FLOAT)


@function("round", least=1, most=2)
def _round(call: Call) -> Value:
    checked(call, "ni")
    value, digits = call.arguments[0], call.constant(1, int, 0)
    if not value.type.is_float:
        if value.type.name == "Decimal":
            return call.make(
                f"CAST(round({value.sql}, {digits}) AS {value.type.duckdb})", value.type
            )
        if digits < 0:
            raise untranslated("round of whole numbers to tens")
        return call.make(value.number, value.type)
    # Halves go to the even number, as in ClickHouse.
    if digits == 0:
        return call.make(f"round_even({value.sql}, 0)", FLOAT)
    scale = f"{10.0 ** abs(digits)!r}::DOUBLE"
    up, down = ("*", "/") if digits > 0 else ("/", "*")
    return call.make(f"(round_even({value.sql} {up} {scale}, 0) {down} {scale})", FLOAT)


@function("intDiv", "intDivOrZero", least=2)
def _int_div(call: Call) -> Value:
    checked(call, "nn")
    left, right = call.arguments
    if common(left.type, right.type).is_float:
        raise untranslated("intDiv of numbers with a point")
    if call.name == "intDivOrZero":
        sql = f"coalesce({left.number} // nullif({right.number}, 0), 0)"
    else:
        sql = f"({left.number} // {divisor(right)})"
    signed = bits_of(left.type)[0] or bits_of(right.type)[0]
    return call.make(sql, integer(bits_of(left.type)[1], signed=signed))


@function("mod", "positiveModulo", least=2)
def _mod(call: Call) -> Value:
    from posthog_emulator.hogql.operators import arithmetic

    if call.name == "positiveModulo":
        raise untranslated("positiveModulo")
    return arithmetic("modulo", *call.arguments)


@function("isNaN", "isFinite", "isInfinite", least=1)
def _finite(call: Call) -> Value:
    checked(call, "n")
    value = call.arguments[0]
    name = {"isNaN": "isnan", "isFinite": "isfinite", "isInfinite": "isinf"}[call.name]
    return truth(f"{name}({value.cast(FLOAT)})", call.text, value, nullable=value.type.nullable)


@function("sign", least=1)
def _sign(call: Call) -> Value:
    checked(call, "n")
    return call.make(f"CAST(sign({call.arguments[0].number}) AS BIGINT)", Type("Int8"))
