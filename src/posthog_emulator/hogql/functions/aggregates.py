"""Functions of many rows: their arguments, and the kinds of their results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from .names import Function, expand

__all__ = ["PARAMETRIC", "REDUCERS", "aggregate_functions"]

_BASES: Final[Mapping[str, tuple[int, int | None, str]]] = {
    "count": (0, 1, "int"), "countDistinct": (1, None, "int"), "avg": (1, 1, "number"),
    "sum": (1, 1, "number"), "min": (1, 1, "0"), "max": (1, 1, "0"), "median": (1, 1, "number"),
}  # fmt: skip
# The names of each number of arguments; kinds of results below.
_TABLE: Final[Mapping[tuple[int, int | None], str]] = {
    (0, 1): "count° countState",
    (1, 2): "countIf countStateIf",
    (1, 1): """
        {sum,avg,uniq,uniqExact}State {count,uniq,quantiles}Merge min° max° sum° avg°
        {sum,min}ForEach sumForEach{State,Merge} {sum,avg,uniq}Merge avgArray any anyHeavy anyLast
        {stddev,var}{Pop,Samp} array_agg>groupArray json_agg every groupArray
        groupUniqArray groupUniqArrayArray groupBit{And,Or,Xor} groupBitmap groupBitmap{And,Or,Xor}
        groupBitmap{,And,Or}State sumWithOverflow deltaSum groupArray{MovingAvg,MovingSum,Sample}
        {skew,kurt}{Samp,Pop} uniqExact{State,Merge} uniqUpToMerge
        median{,Exact,ExactLow,ExactHigh,Timing,TDigest,BFloat16} medianArray quantile
        quantileExact quantiles quantilesState md5 arg{Min,Max}Merge {sum,uniq}MapMerge uniqMap
        topK percentile_{cont,disc} avgMapMerge
    """,
    (2, 2): """
        sumIf minIf maxIf avgIf {sum,avg,uniq}StateIf countDistinctIf countMapIf
        {sum,avg,uniq}{State,Merge}If avgMap{If,MergeIf} avgWeighted any{If,HeavyIf,LastIf}
        {stddev,var}{Pop,Samp}If covar{Pop,Samp} corr string_agg arg{Min,Max} argMinState
        argMaxState groupArrayIf groupUniqArray{If,ArrayIf}
        groupArray{MovingAvg,MovingSum,Sample}If groupBit{And,Or,Xor}If groupBitmap{If,AndIf,OrIf}
        groupBitmapXorIf sumWithOverflowIf deltaSumIf deltaSumTimestamp {sum,uniq}MapMergeIf
        {skew,kurt}{Samp,Pop}If median{,Exact,ExactLow,ExactHigh,Timing,TDigest,BFloat16}If
        medianExactWeighted medianTimingWeighted medianDeterministic medianTDigestWeighted
        quantileIf quantilesIf quantilesStateIf quantilesMergeIf groupArrayInsertAt
        simpleLinearRegression contingency cramersV cramersVBiasCorrected theilsU
        maxIntersections maxIntersectionsPosition
    """,
    (1, 3): "{sum,min,max}Map avgMap avgMapState",
    (2, 4): "{sum,min,max}MapIf",
    (3, 3): """
        avgWeightedIf covar{Pop,Samp}If arg{Min,Max}If groupArrayInsertAtIf deltaSumTimestampIf
        median{ExactWeighted,TimingWeighted,Deterministic,TDigestWeighted}If
        simpleLinearRegressionIf contingencyIf cramersV{,BiasCorrected}If theilsUIf
        maxIntersections{,Position}If
    """,
    (1, None): "uniq uniqExact uniqHLL12 uniqTheta countDistinct",
    (2, None): "uniqIf uniqExactIf uniqHLL12If uniqThetaIf windowFunnel",
}
_NAMES: Final = {
    "avgArray": "avgArrayOrNull", "medianArray": "medianArrayOrNull", "array_agg": "groupArray",
    "countDistinct": "uniqExact",
}  # fmt: skip
_SAME: Final = ("any", "anyIf", "anyLast", "anyLastIf", "anyHeavy", "min", "max", "minIf", "maxIf",
                "argMin", "argMax", "argMinIf", "argMaxIf", "anyHeavyIf")  # fmt: skip
_ARRAYS: Final = ("groupArray", "groupUniqArray", "quantiles", "array_agg", "topK")

PARAMETRIC: Final[Mapping[str, tuple[int, int | None]]] = {
    "quantile": (1, 1), "quantileIf": (1, 1), "quantilesIf": (1, None), "quantileExact": (1, 1),
    "topK": (1, 3), "groupArraySample": (1, 2), "groupArraySampleIf": (1, 2),
    "uniqUpToMerge": (1, 1), "quantiles": (1, None), "quantilesState": (1, None),
    "windowFunnel": (1, None), "percentile_cont": (1, 1), "percentile_disc": (1, 1),
}  # fmt: skip
"""Number of parameters of functions that must have some."""

REDUCERS: Final = frozenset(
    expand(
        "sum avg min max count uniq uniqExact any anyLast median groupArray groupUniqArray "
        "groupBit{And,Or,Xor} stddev{Pop,Samp} var{Pop,Samp} sumIf avgIf minIf maxIf countIf "
        "uniqIf anyIf argMin argMax quantile quantiles"
    )
)
"""Names that `arrayReduce` takes."""


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
    for (least, most), text in _TABLE.items():
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
                least, most, kind, given.endswith("°"), False, PARAMETRIC.get(name),
            )  # fmt: skip
    return found
