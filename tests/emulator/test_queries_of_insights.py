"""Insights: what is computed, and that whatever is not understood is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

from .virtual_time import VirtualTime

pytestmark = pytest.mark.anyio

PATH = "/api/projects/1/query/"
SCHEMA = Path(__file__).parents[2] / "openapi" / "posthog.json"
GOAL = {"customEventName": "a"}
NODE = {"kind": "EventsNode", "event": "a"}
REFUSED: dict[str, dict[str, Any]] = {
    "TrendsQuery": {
        "aggregation_group_type_index": 1, "conversionGoal": GOAL, "samplingFactor": 0.5,
        "calendarHeatmapFilter": {"bucketBySessionStart": True},
    },
    "TrendsFilter": {
        "breakdown_histogram_bin_count": 5, "display": "BoldNumber",
        "excludeBoxPlotOutliers": True, "formula": "A * 2", "formulaNodes": [{"formula": "A"}],
        "formulas": ["A"], "hideWeekends": True, "smoothingIntervals": 7,
    },
    "BreakdownFilter": {
        "breakdown_group_type_index": 1, "breakdown_histogram_bin_count": 5,
        "breakdown_normalize_url": True, "breakdown_path_cleaning": True,
    },
    "Breakdown": {"group_type_index": 1, "histogram_bin_count": 5, "normalize_url": True},
    "EventsNode": {
        "limit": 5, "math": "weekly_active", "math_group_type_index": 1, "math_hogql": "count()",
        "math_multiplier": 2.0, "math_property_revenue_currency": {"property": "p"},
        "math_property_type": "data_warehouse_properties", "optionalInFunnel": True,
        "orderBy": ["timestamp"], "response": {"a": 1},
    },
    "DateRange": {"explicitDate": True, "daysOfWeek": [1], "excludeIncompletePeriods": True},
    "CompareFilter": {"compare": True},
    "FunnelsQuery": {"aggregation_group_type_index": 1, "samplingFactor": 0.5,
                     "compareFilter": {"compare": True},
                     "breakdownFilter": {"breakdown": "plan"}},
    "FunnelsFilter": {
        "binCount": 5, "customAggregationTarget": True, "funnelAggregateByHogQL": "properties.x",
        "exclusions": [{"kind": "EventsNode", "event": "x", "funnelFromStep": 0,
                        "funnelToStep": 1}],
        "funnelFromStep": 1, "funnelToStep": 1, "funnelOrderType": "strict",
        "funnelVizType": "trends", "hideIncompleteConversionWindowPeriods": True,
    },
}  # fmt: skip
"""By model: fields that are not computed, with a value that asks for them."""
HEEDED: dict[str, set[str]] = {
    "TrendsQuery": {"breakdownFilter", "compareFilter", "dateRange", "filterTestAccounts",
                    "interval", "kind", "properties", "series", "trendsFilter"},
    "BreakdownFilter": {"breakdown", "breakdown_limit", "breakdown_type", "breakdowns",
                        "breakdown_hide_other_aggregation"},
    "Breakdown": {"property", "type"},
    "EventsNode": {"custom_name", "event", "fixedProperties", "kind", "math_property", "name",
                   "properties"},
    "DateRange": {"date_from", "date_to"},
    "CompareFilter": {"compare_to"},
    "FunnelsQuery": {"dateRange", "filterTestAccounts", "funnelsFilter", "interval", "kind",
                     "properties", "series"},
    "FunnelsFilter": {"funnelWindowInterval", "funnelWindowIntervalUnit"},
}  # fmt: skip
DRAWN = {
    "TrendsFilter": {
        "aggregationAxisFormat", "aggregationAxisPostfix", "aggregationAxisPrefix",
        "confidenceLevel", "decimalPlaces", "detailedResultsAggregationType", "goalLines",
        "hiddenLegendIndexes", "minDecimalPlaces", "movingAverageIntervals",
        "resultCustomizationBy", "resultCustomizations", "showAlertThresholdLines",
        "showConfidenceIntervals", "showLabelsOnSeries", "showLegend", "showMovingAverage",
        "showMultipleYAxes", "showPercentStackView", "showTrendLines", "showValuesOnSeries",
        "yAxisScaleType", "chartStyle", "legendPosition", "metricChangeDecreaseColor",
        "metricChangeIncreaseColor",
        "metricColorByDirection", "metricLineDecreaseColor", "metricLineIncreaseColor",
        "metricShowChange", "metricSummary", "showAnnotations", "stackBreakdownValues",
        "xAxisLabel", "yAxisLabel", "yAxisMax", "yAxisMin", "yAxisStartAtZero",
    },
    "FunnelsFilter": {
        "breakdownAttributionType", "breakdownAttributionValue", "breakdownSorting",
        "funnelStepReference", "goalLines", "hiddenLegendBreakdowns", "layout",
        "resultCustomizations", "showTrendLines", "showValuesOnSeries", "useUdf",
        "chartStyle", "legendPosition", "showAnnotations", "showLegend",
    },
}  # fmt: skip
"""Fields of how a result is drawn, or of the breakdown a funnel is refused with."""
COMMON = {"dataColorTheme", "modifiers", "response", "tags", "version"}


@cache
def schemas() -> dict[str, Any]:
    return json.loads(SCHEMA.read_text())["components"]["schemas"]


def trends(**more: Any) -> dict[str, Any]:
    span = {"date_from": "2026-01-01", "date_to": "2026-01-05"}
    return {"kind": "TrendsQuery", "series": [NODE], "dateRange": span, **more}


def asking(model: str, field: str, value: Any) -> dict[str, Any]:
    """A query that has a field of a model."""
    one = {field: value}
    match model:
        case "TrendsQuery":
            return trends(**one)
        case "TrendsFilter":
            return trends(trendsFilter=one)
        case "BreakdownFilter":
            return trends(breakdownFilter={"breakdown": "plan", **one})
        case "Breakdown":
            return trends(breakdownFilter={"breakdowns": [{"property": "plan", **one}]})
        case "EventsNode":
            return trends(series=[{**NODE, **one}])
        case "DateRange":
            return trends(dateRange={"date_from": "2026-01-01", **one})
        case "CompareFilter":
            return trends(compareFilter=one)
        case _:
            query: dict[str, Any] = {"kind": "FunnelsQuery", "series": [NODE, NODE]}
            return {**query, **(one if model == "FunnelsQuery" else {"funnelsFilter": one})}


@pytest.fixture
def emulator() -> Emulator:
    time = VirtualTime()
    made = Emulator(clock=time.clock, sleep=time.sleep)
    made.state.events.append(
        1,
        [
            {"event": "a", "distinct_id": f"p{n % 4}", "timestamp": f"2026-01-0{1 + n % 5}",
             "properties": {"n": n, "plan": ["pro", "", "free"][n % 3]}}
            for n in range(12)
        ],
    )  # fmt: skip
    return made


@pytest.mark.parametrize("model", sorted(REFUSED))
def test_every_field_of_a_model_is_accounted_for(model: str) -> None:
    known = {*REFUSED[model], *HEEDED.get(model, ()), *DRAWN.get(model, ())}
    assert schemas()[model]["properties"].keys() - COMMON == known - COMMON


async def test_what_is_not_understood_is_refused(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    async with connect(emulator) as http:
        assert (await http.post(PATH, json={"query": trends()})).status_code == 200
        for model, fields in REFUSED.items():
            for field, value in fields.items():
                query = asking(model, field, value)
                answer = await http.post(PATH, json={"query": query})
                assert answer.status_code == 400, (model, field)
                detail = answer.json()["detail"]
                assert "The emulator" in detail, (model, field, detail)


async def test_what_is_only_drawn_is_overlooked(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    async with connect(emulator) as http:
        shown = {"showLegend": True, "display": "ActionsBar", "smoothingIntervals": 1}
        query = trends(trendsFilter=shown, samplingFactor=1, compareFilter={"compare": False})
        assert (await http.post(PATH, json={"query": query})).status_code == 200


async def computed(http: httpx.AsyncClient, query: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await http.post(PATH, json={"query": query})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


async def test_maths_and_intervals(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    async with connect(emulator) as http:

        async def data(**node: Any) -> list[float]:
            return (await computed(http, trends(series=[{**NODE, **node}])))[0]["data"]

        assert await data() == [3, 3, 2, 2, 2]
        assert await data(math="dau") == [3, 3, 2, 2, 2]
        # 0, 5 and 10 on the first day
        assert (await data(math="p90", math_property="n"))[0] == 9.0
        assert (await data(math="median", math_property="n"))[0] == 5.0
        assert (await data(math="sum", math_property="nothing"))[0] == 0
        weeks = await computed(http, trends(interval="week"))
        assert (weeks[0]["days"], weeks[0]["data"]) == (["2025-12-28", "2026-01-04"], [8, 4])
        whole = await computed(http, trends(interval="month"))
        assert whole[0]["data"] == [12]


async def test_a_breakdown(emulator: Emulator, connect: Callable[..., httpx.AsyncClient]) -> None:
    nothing = "$$_posthog_breakdown_null_$$"
    async with connect(emulator) as http:
        for given in (
            {"breakdown": "plan", "breakdown_type": "event", "breakdown_limit": 3},
            {"breakdowns": [{"property": "plan", "type": "event"}]},
        ):
            found = await computed(http, trends(breakdownFilter=given))
            shown = {one["breakdown_value"]: one["count"] for one in found}
            assert shown == {"pro": 4, "free": 4, nothing: 4}
        few = trends(breakdownFilter={"breakdown": "plan", "breakdown_limit": 2})
        answer = await http.post(PATH, json={"query": few})
        assert (answer.status_code, "at most 2" in answer.text) == (400, True)


async def test_internal_users_are_left_out(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    row = emulator.state.store.collection("/api/projects/").find("1")
    assert row is not None
    row.data["test_account_filters"] = [
        {"key": "plan", "type": "event", "value": ["pro"], "operator": "is_not"}
    ]
    async with connect(emulator) as http:
        (found,) = await computed(http, trends(filterTestAccounts=True))
        assert found["count"] == 8


async def test_a_funnel_of_more_events_than_a_query_has_rows(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    emulator.state.events.write(
        "INSERT INTO events (team_id, uuid, event, person_id, properties, timestamp) "
        "SELECT 1, generateUUIDv4(), ['view', 'buy'][1 + number % 2], "
        "toUUID('00000000-0000-0000-0000-000000000001'), '{}', "
        "toDateTime64('2026-01-01', 6, 'UTC') + toIntervalSecond(number) FROM numbers(60000)"
    )
    steps = [{"kind": "EventsNode", "event": name} for name in ("view", "buy")]
    query = {"kind": "FunnelsQuery", "series": steps, "dateRange": {"date_from": "2026-01-01"}}
    async with connect(emulator) as http:
        assert [step["count"] for step in await computed(http, query)] == [1, 1]
