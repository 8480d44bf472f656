"""TrendsQuery: series of counts by interval, broken down, compared, and combined by formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final, cast

from posthog_emulator.hogql.parse import Node, compare, constant
from posthog_emulator.hogql.property_filters import all_of
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .breakdowns import (
    NULL_VALUE,
    OTHER_VALUE,
    Breakdown,
    cohort_name,
    cohort_node,
    read_breakdown,
)
from .dates import Period, compared_period, parse_date, query_period, start_of
from .entities import Entity, check_insight, common_node, read_entities
from .formulas import Formula
from .insight_results import Actors, all_rows, insight_result
from .properties import Values
from .result import Result
from .runner import QuerySession
from .trends_sql import SeriesQuery
from .unknown_fields import reject_unknown_fields

__all__ = ["DISPLAY_FIELDS", "TOTALS", "run_trends", "trends_actors"]

DISPLAY_FIELDS: Final = frozenset(
    {
        "aggregationAxisFormat", "aggregationAxisPostfix", "aggregationAxisPrefix", "chartStyle",
        "confidenceLevel", "decimalPlaces", "detailedResultsAggregationType",
        "excludeBoxPlotOutliers", "goalLines",
        "hiddenLegendIndexes", "legendPosition", "metricChangeDecreaseColor",
        "metricChangeIncreaseColor", "metricColorByDirection", "metricLineDecreaseColor",
        "metricLineIncreaseColor", "metricShowChange", "metricSummary", "minDecimalPlaces",
        "movingAverageIntervals", "resultCustomizationBy", "resultCustomizations",
        "showAlertThresholdLines", "showAnnotations", "showConfidenceIntervals",
        "showLabelsOnSeries", "showLegend", "showMovingAverage", "showMultipleYAxes",
        "showPercentStackView", "showTrendLines", "showValuesOnSeries", "stackBreakdownValues",
        "xAxisLabel", "yAxisLabel", "yAxisMax", "yAxisMin", "yAxisScaleType", "yAxisStartAtZero",
    }
)  # fmt: skip
"""Fields of a TrendsFilter that affect only how the result is displayed."""
_FILTER: Final = frozenset(
    {"display", "formula", "formulas", "formulaNodes", "smoothingIntervals",
     "breakdown_histogram_bin_count", *DISPLAY_FIELDS}
)  # fmt: skip
_FIELDS: Final = ("series", "interval", "breakdownFilter", "compareFilter", "trendsFilter")
_LINES: Final = frozenset(
    {None, "Auto", "ActionsLineGraph", "ActionsBar", "ActionsUnstackedBar", "ActionsStackedBar",
     "ActionsAreaGraph", "ActionsLineGraphCumulative"}
)  # fmt: skip
TOTALS: Final = frozenset(
    {"BoldNumber", "ActionsPie", "ActionsDonut", "ActionsBarValue", "ActionsTable", "WorldMap"}
)
"""Displays of one number for each series."""
_WORLD_MAP_LIMIT: Final = 250


@dataclass(slots=True)
class _Line:
    """A series, or a value of its breakdown, in one time range."""

    series: int
    part: Any
    """The value of the breakdown; None without one."""
    data: list[float]
    """One number for a total."""
    item: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def rank(self) -> int:
        """Return 1 for the line of no value and 2 for that of other values, else 0."""
        only = self.part[0] if is_array(self.part) else self.part
        return {NULL_VALUE: 1, OTHER_VALUE: 2}.get(only, 0) if isinstance(only, str) else 0

    def key(self) -> tuple[int, float, str]:
        """Return what values of a breakdown are sorted by."""
        return self.rank, -sum(self.data), str(self.part)


def run_trends(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a TrendsQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return _Trends(session, query).result()


def trends_actors(
    session: QuerySession, query: Mapping[str, Any], point: Mapping[str, Any]
) -> Actors:
    """Return the actors behind a data point of trends.

    Args:
        session: The session of the query.
        query: The TrendsQuery.
        point: The `series`, `day`, `breakdown` and `compare` of an InsightActorsQuery.

    Raises:
        ApiError: 400, there is no such data point.
    """
    return _Trends(session, query).actors(point)


class _Trends:
    def __init__(self, session: QuerySession, query: Mapping[str, Any]) -> None:
        check_insight(query, _FIELDS)
        shown = as_object(query.get("trendsFilter"))
        reject_unknown_fields(shown, _FILTER, "TrendsQuery.trendsFilter")
        self.display = shown.get("display")
        if self.display not in _LINES | TOTALS:
            raise invalid(f"The emulator does not compute the display {self.display!r} of trends.")
        self.session = session
        self.total = self.display in TOTALS
        self.cumulative = self.display == "ActionsLineGraphCumulative"
        self.smoothing = int(shown.get("smoothingIntervals") or 1)
        self.entities = [
            entity for entity in read_entities(session, query) if not entity.is_deleted
        ]
        self.common = common_node(session, query)
        self.period = query_period(session, query)
        self.previous = compared_period(session, query, self.period)
        breakdown_filter = dict(as_object(query.get("breakdownFilter")))
        if (
            shown.get("breakdown_histogram_bin_count")
            and breakdown_filter.get("breakdown") is not None
        ):
            breakdown_filter.setdefault(
                "breakdown_histogram_bin_count", shown["breakdown_histogram_bin_count"]
            )
        limit = _WORLD_MAP_LIMIT if self.display == "WorldMap" else 25
        self.breakdown = read_breakdown(session, {"breakdownFilter": breakdown_filter}, limit)
        self.formulas = _formulas(shown, len(self.entities))
        self.has_more = False

    def result(self) -> Result:
        """Return the response."""
        items: list[dict[str, Any]] = []
        for period in (self.period, self.previous):
            if period is None:
                continue
            lines = [line for entity in self.entities for line in self._lines(entity, period)]
            if self.formulas:
                lines = self._combined(lines, period)
            for line in lines:
                if self.previous is not None:
                    line.item["compare"] = True
                    label = "current" if period is self.period else "previous"
                    line.item["compare_label"] = label
                items.append(line.item)
        return insight_result(items, self.period, self.previous, hasMore=self.has_more)

    def _query(self, entity: Entity, period: Period) -> SeriesQuery:
        return SeriesQuery(self.session, entity, period, self.common, self.total, self.cumulative)

    def _lines(self, entity: Entity, period: Period) -> list[_Line]:
        series = self._query(entity, period)
        if self.breakdown is None:
            (data,) = self._counts(series, constant(""), period).values() or [self._zero(period)]
            lines = [_Line(entity.order, None, self._smooth(data))]
        elif self.breakdown.cohorts:
            lines = [self._cohort_line(series, cohort, period) for cohort in self.breakdown.cohorts]
        else:
            lines = self._broken_down(series, self.breakdown, period)
        for line in lines:
            if self.cumulative:
                line.data = list(accumulate(line.data))
            line.item = self._item(line, entity, period)
        return lines

    def _zero(self, period: Period) -> list[float]:
        return [0] if self.total else [0] * len(period.buckets())

    def _counts(self, series: SeriesQuery, part: Node, period: Period) -> dict[Any, list[float]]:
        """Return the counts of each interval by value of the breakdown."""
        values = Values(self.session)
        rows = all_rows(self.session, series.sql(values, part), values)
        keys = [0] if self.total else period.bucket_keys()
        places = {key: place for place, key in enumerate(keys)}
        data_by_part: dict[Any, list[float]] = {}
        for bucket, value, count in rows:
            data = data_by_part.setdefault(
                tuple(cast("list[str]", value)) if is_array(value) else value, [0] * len(keys)
            )
            if bucket in places:
                data[places[bucket]] = count or 0
        return data_by_part

    def _smooth(self, data: list[float]) -> list[float]:
        if self.smoothing <= 1 or self.total:
            return data
        windows = [data[max(0, n + 1 - self.smoothing) : n + 1] for n in range(len(data))]
        return [math.floor(sum(window) / len(window)) for window in windows]

    def _cohort_line(self, series: SeriesQuery, cohort: int | str, period: Period) -> _Line:
        within = SeriesQuery(
            self.session, series.entity, period, all_of([self.common, cohort_node(cohort)]),
            self.total, self.cumulative,
        )  # fmt: skip
        counts = self._counts(within, constant(""), period)
        return _Line(series.entity.order, cohort, counts.get("") or self._zero(period))

    def _broken_down(
        self, series: SeriesQuery, breakdown: Breakdown, period: Period
    ) -> list[_Line]:
        part = breakdown.value(self.session, series.tests())
        lines = [
            _Line(series.entity.order, list(value) if breakdown.is_multiple else value, data)
            for value, data in self._counts(series, part, period).items()
        ]
        # A total ranks by its number alone, so that the line of no value may be the first.
        lines.sort(key=lambda line: line.key()[self.total :])
        lines, rest = lines[: breakdown.limit], lines[breakdown.limit :]
        if rest:
            self.has_more = True
            if not breakdown.hide_other:
                other = [OTHER_VALUE] * len(breakdown.properties)
                sums: list[float] = [
                    sum(column) for column in zip(*(line.data for line in rest), strict=True)
                ]
                lines.append(
                    _Line(series.entity.order, other if breakdown.is_multiple else other[0], sums)
                )
        return lines

    def _item(self, line: _Line, entity: Entity | None, period: Period) -> dict[str, Any]:
        name = "" if entity is None else entity.name
        item: dict[str, Any] = {"action": None, "label": name, "order": line.series}
        if entity is not None:
            days = [] if self.total else [at.isoformat() for at in period.buckets()]
            item["action"] = {"days": days, **entity.action()}
        if line.part is not None:
            item["label"] = self._part_label(line.part)
            if len(self.entities) > 1 and entity is not None and not self.formulas:
                item["label"] = f"{name} - {item['label']}"
            item["breakdown_value"] = line.part
        if self.total:
            return {**item, "data": [], "days": [], "labels": [], "count": 0,
                    "aggregated_value": line.data[0]}  # fmt: skip
        count = line.data[-1] if self.cumulative else sum(line.data)
        return {**item, "data": line.data, "count": float(count), "labels": period.labels(),
                "days": period.days()}  # fmt: skip

    def _part_label(self, part: Any) -> str:
        if self.breakdown is not None and self.breakdown.cohorts:
            return cohort_name(self.session, part)
        return "::".join(map(str, part)) if is_array(part) else str(part)

    def _combined(self, lines: Sequence[_Line], period: Period) -> list[_Line]:
        """Return the lines of the formulas, in place of those of the series."""
        parts: dict[str, Any] = {str(line.part): line.part for line in lines}
        by_series = {(line.series, str(line.part)): line.data for line in lines}
        results: list[_Line] = []
        for order, (formula, label) in enumerate(self.formulas):
            one_formula: list[_Line] = []
            for text, part in parts.items():
                columns = [
                    by_series.get((entity.order, text), self._zero(period))
                    for entity in self.entities
                ]
                data = [formula.value(point) for point in zip(*columns, strict=True)]
                line = _Line(order, part, data)
                line.item = self._item(line, None, period)
                if part is None:
                    line.item["label"] = label
                elif len(self.formulas) > 1:
                    line.item["label"] = f"{label} - {line.item['label']}"
                one_formula.append(line)
            if self.breakdown is not None and not self.breakdown.cohorts:
                one_formula.sort(key=_Line.key)
            results += one_formula
        return results

    def actors(self, point: Mapping[str, Any]) -> Actors:
        """Return the actors of a data point."""
        order = int(point.get("series") or 0)
        entity = next((entity for entity in self.entities if entity.order == order), None)
        period = self.previous if point.get("compare") == "previous" else self.period
        if entity is None or period is None:
            raise invalid(f"The query has no data point {dict(point)}.")
        bucket = None
        if point.get("day") is not None and not self.total:
            at = parse_date(str(point["day"]), period.start)[0]
            bucket = int(start_of(at, period.unit, period.week_start_day).timestamp())
        series = self._query(entity, period)
        extra = self._part_node(point.get("breakdown"), series)
        values = Values(self.session)
        return Actors(
            series.actors(values, extra, bucket),
            values.by_name,
            series.actor().group_type_index,
        )

    def _part_node(self, part: Any, series: SeriesQuery) -> Node:
        """Return the condition that an event has a value of the breakdown."""
        if self.breakdown is None or part is None:
            return constant(True)
        if self.breakdown.cohorts:
            return cohort_node(part if part == "all" else int(part))
        value = self.breakdown.value(self.session, series.tests())
        lines = self._broken_down(series, self.breakdown, series.period)
        breakdown_value = [str(item) for item in part] if is_array(part) else str(part)
        if self.breakdown.is_multiple is False and isinstance(breakdown_value, list):
            breakdown_value = breakdown_value[0]
        if breakdown_value not in (OTHER_VALUE, [OTHER_VALUE] * len(self.breakdown.properties)):
            return compare("==", value, constant(breakdown_value))
        shown = [line.part for line in lines if line.rank != 2]
        return compare("not in", value, constant(tuple(shown)))


def _formulas(shown: Mapping[str, Any], count: int) -> list[tuple[Formula, str]]:
    """Return the formulas with their labels."""
    nodes: Any = shown.get("formulaNodes") or []
    texts: Any = shown.get("formulas") or []
    formulas = [(str(node["formula"]), node.get("custom_name")) for node in nodes]
    formulas = formulas or [(str(text), None) for text in texts]
    if not formulas and shown.get("formula"):
        formulas = [(str(shown["formula"]), None)]
    return [(Formula(text, count), name or f"Formula ({text})") for text, name in formulas]
