"""Functions that require a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from posthog_emulator.hogql.operators import combined
from posthog_emulator.hogql.problems import untranslated
from posthog_emulator.hogql.types import UINT64, common
from posthog_emulator.hogql.values import Value

from .table import Call, check_count

__all__ = ["WINDOWS"]


def _number(call: Call, over: str, frame: Any) -> Value:
    check_count(call.name, len(call.arguments), 0, 0)
    return combined(f"{call.name}(){over}", UINT64, call.text)


def _ntile(call: Call, over: str, frame: Any) -> Value:
    check_count(call.name, len(call.arguments), 1, 1)
    return combined(f"ntile({call.constant(0, int)}){over}", UINT64, call.text)


def _neighbour(call: Call, over: str, frame: Any) -> Value:
    check_count(call.name, len(call.arguments), 1, 3)
    behind = call.name.startswith("lag")
    if call.name == "leadInFrame" and (
        frame is None or str(frame.args.get("end_side")).upper() != "FOLLOWING"
    ):
        raise untranslated("leadInFrame over a frame that ends at the current row")
    if frame is not None and str(frame.args["start"]).upper() != "UNBOUNDED" and behind:
        raise untranslated(f"{call.name} over a frame that does not begin at the first row")
    value = call.arguments[0]
    steps = call.constant(1, int, 1)
    default = call.arguments[2] if len(call.arguments) == 3 else None
    kind = value.type if default is None else common(value.type, default.type)
    outside = kind.empty if default is None else default.cast(kind)
    word = "lag" if behind else "lead"
    sql = f"{word}({value.cast(kind)}, {steps}, {outside}){over}"
    return combined(sql, kind, call.text, value)


def _edge(call: Call, over: str, frame: Any) -> Value:
    check_count(call.name, len(call.arguments), 1, 1)
    value = call.arguments[0]
    name = {"firstValue": "first_value", "lastValue": "last_value"}.get(call.name, call.name)
    return combined(f"{name}({value.plain}){over}", value.type, call.text, value)


def _nth(call: Call, over: str, frame: Any) -> Value:
    check_count(call.name, len(call.arguments), 2, 2)
    value, place = call.arguments[0], call.constant(1, int)
    sql = f"nth_value({value.plain}, {place}){over}"
    if not value.type.nullable:
        sql = f"coalesce({sql}, {value.type.empty})"
    return combined(sql, value.type, call.text, value)


WINDOWS: Mapping[str, Callable[[Call, str, Any], Value]] = {
    "row_number": _number,
    "rank": _number,
    "dense_rank": _number,
    "ntile": _ntile,
    "lag": _neighbour,
    "lead": _neighbour,
    "lagInFrame": _neighbour,
    "leadInFrame": _neighbour,
    "first_value": _edge,
    "last_value": _edge,
    "firstValue": _edge,
    "lastValue": _edge,
    "nth_value": _nth,
}
"""By name; each gets the call, the OVER clause, and the frame's node."""
