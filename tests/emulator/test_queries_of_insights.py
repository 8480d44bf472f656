"""Insights: what is computed, and that whatever is not understood is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator
from posthog_emulator.features.query.dispatch import INSIGHT_KINDS
from posthog_emulator.features.query.insight_results import all_rows
from posthog_emulator.features.query.insights import INSIGHT_ACTORS, INSIGHTS
from posthog_emulator.features.query.properties import Values
from posthog_emulator.features.query.runner import QuerySession
from posthog_emulator.http.errors import ApiError

from .virtual_time import VirtualTime

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


PATH = "/api/projects/1/query/"
SCHEMA = Path(__file__).parents[2] / "openapi" / "posthog.json"
GOAL = {"customEventName": "a"}
NODE = {"kind": "EventsNode", "event": "a"}
REFUSED: dict[str, dict[str, Any]] = {
    "TrendsQuery": {
        "aggregation_group_type_index": 1, "conversionGoal": GOAL, "samplingFactor": 0.5,
        "calendarHeatmapFilter": {"bucketBySessionStart": True},
    },
    "TrendsFilter": {"hideWeekends": True},
    "BreakdownFilter": {},
    "Breakdown": {},
    "EventsNode": {
        "limit": 5, "math_multiplier": 2.0, "math_property_revenue_currency": {"property": "p"},
        "optionalInFunnel": True, "orderBy": ["timestamp"], "response": {"a": 1},
    },
    "DateRange": {"daysOfWeek": [1], "excludeIncompletePeriods": True},
    "CompareFilter": {},
    "FunnelsQuery": {"samplingFactor": 0.5, "compareFilter": {"compare": True}},
    "FunnelsFilter": {"customAggregationTarget": True,
                      "hideIncompleteConversionWindowPeriods": True},
    "RetentionQuery": {"samplingFactor": 0.5},
    "RetentionFilter": {
        "aggregationProperty": "p", "aggregationPropertyType": "person",
        "aggregationType": "sum", "cohortLabelStartIndex": 1, "customAggregationTarget": True,
        "retentionCustomBrackets": [1, 2], "timeWindowMode": "24_hour_windows",
    },
    "PathsQuery": {"samplingFactor": 0.5, "funnelPathsFilter": {
        "funnelSource": {"kind": "FunnelsQuery", "series": [NODE, NODE]}}},
    "PathsFilter": {"showFullUrls": True},
    "StickinessQuery": {"samplingFactor": 0.5},
    "StickinessFilter": {},
    "LifecycleQuery": {"samplingFactor": 0.5, "customAggregationTarget": True},
    "LifecycleFilter": {},
}  # fmt: skip
"""By model: fields that are not computed, with a value that asks for them."""
_ALL = {"dateRange", "filterTestAccounts", "kind", "properties"}
_ITEMS = {"breakdown", "breakdown_limit", "breakdown_type", "breakdowns",
          "breakdown_hide_other_aggregation", "breakdown_group_type_index",
          "breakdown_histogram_bin_count", "breakdown_normalize_url",
          "breakdown_path_cleaning"}  # fmt: skip
HEEDED: dict[str, set[str]] = {
    "TrendsQuery": {*_ALL, "breakdownFilter", "compareFilter", "interval", "series",
                    "trendsFilter"},
    "TrendsFilter": {"breakdown_histogram_bin_count", "display", "formula", "formulaNodes",
                     "formulas", "smoothingIntervals"},
    "BreakdownFilter": _ITEMS,
    "Breakdown": {"group_type_index", "histogram_bin_count", "normalize_url", "property", "type"},
    "EventsNode": {"custom_name", "event", "fixedProperties", "kind", "math",
                   "math_group_type_index", "math_hogql", "math_property", "math_property_type",
                   "name", "properties"},
    "DateRange": {"date_from", "date_to", "explicitDate"},
    "CompareFilter": {"compare", "compare_to"},
    "FunnelsQuery": {*_ALL, "aggregation_group_type_index", "breakdownFilter", "funnelsFilter",
                     "interval", "series"},
    "FunnelsFilter": {
        "binCount", "breakdownAttributionType", "breakdownAttributionValue", "exclusions",
        "funnelAggregateByHogQL", "funnelFromStep", "funnelOrderType", "funnelToStep",
        "funnelVizType", "funnelWindowInterval", "funnelWindowIntervalUnit",
    },
    "RetentionQuery": {*_ALL, "aggregation_group_type_index", "breakdownFilter",
                       "retentionFilter"},
    "RetentionFilter": {"cumulative", "minimumOccurrences", "period", "retentionType",
                        "returningEntity", "targetEntity", "totalIntervals"},
    "PathsQuery": {*_ALL, "aggregation_group_type_index", "pathsFilter"},
    "PathsFilter": {
        "edgeLimit", "endPoint", "excludeEvents", "includeEventTypes", "localPathCleaningFilters",
        "maxEdgeWeight", "minEdgeWeight", "pathDropoffKey", "pathEndKey", "pathGroupings",
        "pathReplacements", "pathStartKey", "pathsHogQLExpression", "startPoint", "stepLimit",
    },
    "StickinessQuery": {*_ALL, "compareFilter", "interval", "intervalCount", "series",
                        "stickinessFilter"},
    "StickinessFilter": {"computedAs", "stickinessCriteria"},
    "LifecycleQuery": {*_ALL, "aggregation_group_type_index", "interval", "lifecycleFilter",
                       "series"},
}  # fmt: skip
DRAWN = {
    "TrendsFilter": {
        "aggregationAxisFormat", "aggregationAxisPostfix", "aggregationAxisPrefix",
        "confidenceLevel", "decimalPlaces", "detailedResultsAggregationType",
        "excludeBoxPlotOutliers", "goalLines",
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
        "breakdownSorting", "funnelStepReference", "goalLines", "hiddenLegendBreakdowns", "layout",
        "resultCustomizations", "showTrendLines", "showValuesOnSeries", "useUdf",
        "chartStyle", "legendPosition", "showAnnotations", "showLegend",
    },
    "RetentionFilter": {"chartStyle", "dashboardDisplay", "display", "goalLines",
                        "meanRetentionCalculation", "retentionReference", "selectedInterval",
                        "showTrendLines"},
    "StickinessFilter": {"chartStyle", "display", "hiddenLegendIndexes", "legendPosition",
                         "resultCustomizationBy", "resultCustomizations", "showLegend",
                         "showMultipleYAxes", "showValuesOnSeries"},
    "LifecycleFilter": {"legendPosition", "showLegend", "showPercentagesOnSeries",
                        "showValuesOnSeries", "stacked", "toggledLifecycles"},
}  # fmt: skip
"""Fields of how a result is drawn."""
FILTERS = {
    "Funnels": "funnelsFilter", "Retention": "retentionFilter", "Paths": "pathsFilter",
    "Stickiness": "stickinessFilter", "Lifecycle": "lifecycleFilter",
}  # fmt: skip
"""The field of a kind of query that holds its filter."""
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
            kind = model.removesuffix("Filter").removesuffix("Query")
            name = FILTERS[kind]
            query: dict[str, Any] = {"kind": f"{kind}Query"}
            if kind in {"Funnels", "Stickiness", "Lifecycle"}:
                query["series"] = [NODE] * (2 if kind == "Funnels" else 1)
            else:
                query[name] = {}
            return {**query, **(one if model.endswith("Query") else {name: one})}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
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
    yield made
    made.close()


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
        found = await computed(http, few)
        # The events without a value are the first to be counted as others.
        assert [one["breakdown_value"] for one in found] == [
            "free", "pro", "$$_posthog_breakdown_other_$$"
        ]  # fmt: skip


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
        "INSERT INTO events (team_id, uuid, event, distinct_id, person_id, properties, timestamp) "
        "SELECT 1, generateUUIDv4(), if(number % 2, 'buy', 'view'), '', "
        "toUUID('00000000-0000-0000-0000-000000000001'), '{}', "
        "toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + toIntervalSecond(number) "
        "FROM numbers(60000)"
    )
    steps = [{"kind": "EventsNode", "event": name} for name in ("view", "buy")]
    query = {"kind": "FunnelsQuery", "series": steps, "dateRange": {"date_from": "2026-01-01"}}
    async with connect(emulator) as http:
        assert [step["count"] for step in await computed(http, query)] == [1, 1]


CACHED = {"cache_key", "cache_target_age", "calculation_trigger", "is_cached", "last_refresh",
          "next_allowed_client_refresh", "timezone"}  # fmt: skip
"""Fields that caching adds to a response."""


ISSUE = "0195a000-0000-7000-8000-000000000001"
TRACE: dict[str, dict[str, Any]] = {
    "TraceQuery": {"traceId": "t1"},
    "SessionQuery": {"sessionId": "s1"},
    "TraceNeighborsQuery": {"traceId": "t0", "timestamp": "2026-01-01T00:00:00Z"},
}
LOGS = {"dateRange": {"date_from": "2026-01-01"}, "filterGroup": {"type": "AND", "values": []}}


async def prepare(emulator: Emulator, connect: Callable[..., httpx.AsyncClient]) -> None:
    """Store an experiment, a trace and a log record."""
    generation = {"$ai_trace_id": "t1", "$ai_session_id": "s1", "$ai_latency": 2,
                  "$ai_parent_id": "t1", "$ai_tools_called": "read",
                  "$ai_input_tokens": 3}  # fmt: skip
    called = {"$feature_flag": "x", "$feature_flag_response": "test"}
    named = [("$ai_generation", generation), ("$feature_flag_called", called),
             ("a", {"$feature/x": "test"}), ("a", {"$feature/x": "control"})]  # fmt: skip
    emulator.state.events.append(1, [
        {"event": name, "distinct_id": f"p{number}", "timestamp": "2026-01-02", "properties": given}
        for number, (name, given) in enumerate(named)
    ])  # fmt: skip
    record = {"timeUnixNano": str(1_767_312_000 * 10**9), "body": {"stringValue": "lost"},
              "attributes": [{"key": "k", "value": {"stringValue": "v"}}]}  # fmt: skip
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    async with connect(emulator) as http:
        await http.post("/i/v1/logs", json=logs, headers={"Authorization": "Bearer phc_emulator"})
        made = await http.post("/api/projects/1/experiments/", json={
            "name": "x", "feature_flag_key": "x", "start_date": "2026-01-01T00:00:00Z",
            "end_date": "2026-01-05T00:00:00Z",
        })  # fmt: skip
        assert made.json()["id"] == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_responses_are_as_the_schema_says(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    steps = {"series": [NODE, {**NODE, "event": "b"}]}
    funnel = {"kind": "FunnelsQuery", **steps}
    queries: list[dict[str, Any]] = [
        trends(compareFilter={"compare": True}, breakdownFilter={"breakdown": "plan"}),
        trends(trendsFilter={"display": "BoldNumber"}),
        *({**funnel, "funnelsFilter": {"funnelVizType": kind}}
          for kind in ("steps", "trends", "time_to_convert")),
        {"kind": "RetentionQuery", "retentionFilter": {}},
        {"kind": "PathsQuery", "pathsFilter": {}},
        {"kind": "StickinessQuery", "series": [NODE]},
        {"kind": "LifecycleQuery", "series": [NODE]},
        {"kind": "FunnelCorrelationQuery", "funnelCorrelationType": "events",
         "source": {"kind": "FunnelsActorsQuery", "source": funnel}},
        {"kind": "ActorsQuery"},
        {"kind": "WebOverviewQuery", "properties": []},
        *({"kind": kind, "properties": [], "compareFilter": {"compare": True}} for kind in
          ("WebGoalsQuery", "WebExternalClicksTableQuery", "WebPageURLSearchQuery",
           "WebNotableChangesQuery")),
        {"kind": "WebStatsTableQuery", "properties": [], "breakdownBy": "Page"},
        {"kind": "WebVitalsPathBreakdownQuery", "properties": [], "metric": "LCP",
         "percentile": "p90", "thresholds": [1, 2]},
        {"kind": "SessionAttributionExplorerQuery", "groupBy": ["Source"]},
        {"kind": "CalendarHeatmapQuery", "series": [NODE]},
        {"kind": "SessionsTimelineQuery", "after": "2026-01-01"},
        {"kind": "SessionsQuery", "select": ["*", "$session_duration"], "after": "all"},
        {"kind": "RecordingsQuery"},
        {"kind": "InsightActorsQueryOptions", "source": {
            "kind": "InsightActorsQuery", "source": trends(breakdownFilter={"breakdown": "plan"})}},
        {"kind": "PropertyValuesQuery", "property_type": "event", "property_key": "plan"},
        {"kind": "ErrorTrackingQuery", "orderBy": "users", "volumeResolution": 2,
         "dateRange": {"date_from": "all"}, "withFirstEvent": True},
        {"kind": "ActorsQuery", "source": {"kind": "InsightActorsQuery", "day": "2024-01-01",
                                           "source": trends()}},
        {"kind": "GroupsQuery", "group_type_index": 0},
        {"kind": "TeamTaxonomyQuery"},
        {"kind": "EventTaxonomyQuery", "event": "a"},
        {"kind": "ActorsPropertyTaxonomyQuery", "properties": ["plan"]},
        {"kind": "PropertyValuesQuery", "property_key": "plan", "property_type": "person"},
        {"kind": "ExperimentExposureQuery", "experiment_name": "x", "feature_flag": {
            "key": "x", "filters": {"multivariate": {"variants": [{"key": "control"}]}}}},
        *(
            {"kind": "ExperimentQuery", "experiment_id": 1, "metric": {
                "kind": "ExperimentMetric", **metric}}
            for metric in (
                {"metric_type": "mean", "source": NODE},
                {"metric_type": "funnel", "series": [NODE]},
                {"metric_type": "ratio", "numerator": NODE, "denominator": NODE},
            )
        ),
        {"kind": "ExperimentFunnelsQuery", "experiment_id": 1, "funnels_query": {
            "kind": "FunnelsQuery", "series": [NODE, {**NODE, "event": "b"}]}},
        {"kind": "ExperimentTrendsQuery", "experiment_id": 1, "count_query": {
            "kind": "TrendsQuery", "series": [NODE]}},
        *({"kind": kind, **traced} for kind in ("TracesQuery", "TraceQuery", "SessionQuery",
                                                "TraceNeighborsQuery")
          for traced in [{"dateRange": {"date_from": "2026-01-01"}, **TRACE.get(kind, {})}]),
        {"kind": "LogsQuery", **LOGS, "severityLevels": [], "serviceNames": []},
        {"kind": "LogAttributesQuery", **LOGS, "attributeType": "log"},
        {"kind": "LogValuesQuery", **LOGS, "attributeType": "log", "attributeKey": "k"},
        {"kind": "DatabaseSchemaQuery"},
        {"kind": "HogQLAutocomplete", "language": "hogQL", "query": "SELECT ", "endPosition": 7,
         "startPosition": 7},
        {"kind": "ErrorTrackingBreakdownsQuery", "dateRange": {"date_from": "2026-01-01"},
         "issueId": ISSUE, "breakdownProperties": ["plan"]},
        {"kind": "ErrorTrackingIssueCorrelationQuery", "events": ["a"]},
    ]  # fmt: skip
    await prepare(emulator, connect)
    issue = {"$exception_issue_id": ISSUE}
    emulator.state.events.append(1, [{"event": "$exception", "distinct_id": "p1",
                                      "timestamp": "2026-01-02", "properties": issue}])  # fmt: skip
    async with connect(emulator) as http:
        for query in queries:
            answer = await http.post(PATH, json={"query": query})
            assert answer.status_code == 200, answer.text
            body = {name: value for name, value in answer.json().items() if name not in CACHED}
            model = query["kind"].replace("CorrelationQuery", "Correlation") + "Response"
            model = model.replace("HeatmapQuery", "Heatmap")
            model = model.replace("IssueCorrelation", "IssueCorrelationQuery")
            if "query_status" not in schemas()[model]["properties"]:
                # The endpoint adds it to every response; some schemas do not have it.
                assert body.pop("query_status", None) is None
            error = emulator.state.validators.first_error(model, body, "response")
            assert error is None, (query, error)


async def test_stubs_answer_queries_of_users_only(
    emulator: Emulator, connect: Callable[..., httpx.AsyncClient]
) -> None:
    emulator.stub_query("FROM events", [[0, "", 99]])
    async with connect(emulator) as http:
        (found,) = await computed(http, trends())
        assert found["count"] == 12


def test_the_kinds_of_insights_are_those_that_are_dispatched() -> None:
    assert set(INSIGHT_KINDS) == set(INSIGHTS)
    assert set(INSIGHT_ACTORS) == set(INSIGHTS)


def test_an_insight_stops_when_it_is_cancelled(emulator: Emulator) -> None:
    session = QuerySession(1, emulator.settings.clock(), lambda: emulator.state.events)
    rows = all_rows(session, "SELECT event FROM events", Values(session))
    assert next(rows) == ["a"]
    session.interrupt()
    with pytest.raises(ApiError) as caught:
        next(rows)
    assert caught.value.status == 500
