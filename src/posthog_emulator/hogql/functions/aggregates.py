"""Functions of many rows: their arguments, and the kinds of their results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from .names import Function, expand, sections

__all__ = ["aggregate_functions"]

_BASES: Final[Mapping[str, tuple[int, int | None, str]]] = {
    "count": (0, 1, "int"), "countDistinct": (1, None, "int"), "avg": (1, 1, "number"),
    "sum": (1, 1, "number"), "min": (1, 1, "0"), "max": (1, 1, "0"), "median": (1, 1, "number"),
}  # fmt: skip
_NAMES: Final = {
    "avgArray": "avgArrayOrNull", "medianArray": "medianArrayOrNull", "array_agg": "groupArray",
    "countDistinct": "uniqExact",
}  # fmt: skip
_SAME: Final = ("any", "anyIf", "anyLast", "anyLastIf", "anyHeavy", "min", "max", "minIf", "maxIf",
                "argMin", "argMax", "argMinIf", "argMaxIf", "anyHeavyIf")  # fmt: skip
_ARRAYS: Final = ("groupArray", "groupUniqArray", "quantiles", "array_agg", "topK")

_PARAMETRIC: Final[Mapping[str, tuple[int, int | None]]] = {
    "quantile": (1, 1), "quantileIf": (1, 1), "quantilesIf": (1, None), "quantileExact": (1, 1),
    "topK": (1, 3), "groupArraySample": (1, 2), "groupArraySampleIf": (1, 2),
    "uniqUpToMerge": (1, 1), "quantiles": (1, None), "quantilesState": (1, None),
    "windowFunnel": (1, None), "percentile_cont": (1, 1), "percentile_disc": (1, 1),
}  # fmt: skip
"""Number of parameters of functions that must have some."""


def _generated() -> dict[str, Function]:
    """Return the functions whose names are made of a base and suffixes."""
    found: dict[str, Function] = {}
    for base, (least, most, kind) in _BASES.items():

        def add(
            suffixes: str,
            base: str = base,
            kind: str = kind,
            least: int = least,
            most: int | None = most,
        ) -> None:
            extra = sum(suffixes.count(one) for one in ("If", "ArgMin", "ArgMax"))
            name = "uniqExact" if base == "countDistinct" else base
            plain = kind if suffixes in {"", "If"} else "unknown"
            found[base + suffixes] = Function(
                name + suffixes, least + extra, None if most is None else most + extra, plain
            )  # fmt: skip

        for first in ("", "If", "OrDefault", "OrDefaultIf", "OrNull", "OrNullIf"):
            add(first)
        for first in ("Array", "Map", "State", "Merge", "ForEach", "ArgMin", "ArgMax"):
            for second in ("", "If", "OrDefault", "OrDefaultIf", "OrNull", "OrNullIf"):
                add(first + second)
    return found


@cache
def aggregate_functions() -> Mapping[str, Function]:
    """Return the functions by name."""
    found = _generated()
    for numbers, text in sections("aggregates.txt").items():
        least, _, most = numbers.partition("-")
        for word in expand(text):
            given, _, clickhouse = word.partition(">")
            name = given.rstrip("°")
            kind = found[name].kind if name in found else "unknown"
            if name in _SAME:
                kind = "0"
            elif name.startswith(("count", "uniq")) and "State" not in name and "Map" not in name:
                kind = "int"
            elif name.startswith(_ARRAYS):
                kind = "array"
            found[name] = Function(
                clickhouse or _NAMES.get(name, found[name].name if name in found else name),
                int(least), int(most) if most else None, kind, given.endswith("°"), False, _PARAMETRIC.get(name),
            )  # fmt: skip
    return found
