"""Tables of web analytics: goals, clicks, URLs, web vitals, changes, origins of sessions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from posthog_emulator.hogql.parse import compare, constant, field
from posthog_emulator.hogql.property_filters import any_of
from posthog_emulator.json_types import as_object, is_array

from .entities import read_entity
from .filters import Filters
from .insight_results import insight_result
from .properties import Values
from .result import Result, encode_json
from .runner import QuerySession, run_rows
from .unknown_fields import IGNORED_MODIFIERS, reject_unknown_fields
from .web_query import SAMPLING, SEEN, WebQuery, run_page

__all__ = ["WEB_TABLES", "run_web_table"]

_GOALS: Final = 5
"""How many actions are goals."""
_URLS: Final = 100
_BAND: Final = 20
"""How many pages are listed in each band of a web vital."""
_PERCENTILES: Final[Mapping[str, float]] = {"p75": 0.75, "p90": 0.9, "p99": 0.99}
_CHANGES: Final = 8
_FEWEST: Final = 10
"""How many visitors, now and before together, make a change notable."""
_MOST_GROWTH: Final = 10.0
"""The change of what had no visitors before, as a factor, is at most this."""
_DIMENSIONS: Final[Mapping[str, str]] = {
    "Page": "properties.$pathname",
    "Entry page": "session.$entry_pathname",
    "Referrer": "session.$entry_referring_domain",
    "Device": "properties.$device_type",
    "Browser": "properties.$browser",
    "Country": "properties.$geoip_country_code",
    "Channel": "session.$channel_type",
    "UTM source": "session.$entry_utm_source",
}
_AD_IDS: Final = (
    "gclid", "gad_source", "gclsrc", "dclid", "gbraid", "wbraid", "fbclid", "msclkid", "twclid",
    "li_fat_id", "mc_cid", "igshid", "ttclid",
)  # fmt: skip
_AD_NAMES: Final = ", ".join(f"if(isNotNull($entry_{name}), '{name}', NULL)" for name in _AD_IDS)
_ORIGINS: Final[Mapping[str, tuple[str, str]]] = {
    "ChannelType": ("channel_type", "$channel_type"),
    "ReferringDomain": ("referring_domain", "$entry_referring_domain"),
    "Source": ("utm_source", "$entry_utm_source"),
    "Medium": ("utm_medium", "$entry_utm_medium"),
    "Campaign": ("utm_campaign", "$entry_utm_campaign"),
    "AdIds": ("ad_ids", f"nullIf(arrayStringConcat([{_AD_NAMES}], ','), '')"),
    "InitialURL": ("example_entry_urls", "$entry_current_url"),
}
"""What sessions may be grouped by: the column and its expression."""


def run_web_table(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a query of one of `WEB_TABLES`.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return WEB_TABLES[str(query["kind"])](session, query)


def _goals(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a WebGoalsQuery: who did the first actions of the project."""
    web = WebQuery(session, query, ("limit", "orderBy"))
    actions = list(session.actions.items())[:_GOALS]
    nodes = [{"kind": "ActionsNode", "id": key} for key, _ in actions]
    conditions = [read_entity(session, node).condition for node in nodes]
    now, before = (web.within("timestamp", period) for period in (web.period, web.previous))
    counted, shown = "", "uniqIf(visitor, {now}), uniqIf(visitor, {before})"
    for place, condition in enumerate(conditions):
        done = web.values.add_node(condition)
        for name, when in (("now", now), ("before", before)):
            count = f"{name}_{place}"
            counted += f", countIf({done} AND {when}) AS {count}"
            shown += f", uniq(if({count} > 0, visitor, NULL)), sum({count})"
    started = [web.within("started", period) for period in (web.period, web.previous)]
    shown = shown.replace("{now}", started[0]).replace("{before}", started[1])
    rows: list[list[Any]] = []
    if actions:
        sql = (
            f"SELECT {shown} FROM (SELECT any(person_id) AS visitor, "  # noqa: S608
            f"min(session.$start_timestamp) AS started{counted} FROM events "
            f"WHERE {web.where(any_of([SEEN, *conditions]))} GROUP BY $session_id) "
            f"WHERE {' OR '.join(started)}"
        )
        ((visitors, visitors_before, *counts),) = run_rows(session, sql, web.values.by_name)
        for place, (_, action) in enumerate(actions):
            unique, total, unique_before, total_before = counts[4 * place : 4 * place + 4]
            if web.previous is None:
                pairs = [(unique, None), (total, None), (_share(unique, visitors), None)]
            else:
                rate = _share(unique, visitors), _share(unique_before, visitors_before)
                pairs = [(unique, unique_before), (total, total_before), rate]
            rows.append([action.name, *pairs])
    field_name, direction = web.order()
    keys = ("ConvertingUsers", "TotalConversions", "ConversionRate")
    if field_name in keys:
        place = keys.index(field_name) + 1
        rows.sort(key=lambda row: row[place][0], reverse=direction == "DESC")
    names = ("action_name", "converting_users", "total_conversions", "conversion_rate")
    columns = [f"context.columns.{name}" for name in names]
    return insight_result(rows, web.period, web.previous, columns=columns, samplingRate=SAMPLING)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0


def _clicks(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a WebExternalClicksTableQuery: clicks on links to other sites."""
    web = WebQuery(session, query, ("doPathCleaning", "limit", "orderBy", "stripQueryParams"))
    target = "properties.$external_click_url"
    strips = bool(query.get("stripQueryParams"))
    url = web.path(f"cutQueryStringAndFragment({target})" if strips else target)
    now, before = (web.within("started", period) for period in (web.period, web.previous))
    field_name, direction = web.order()
    first = "visitors" if field_name == "Visitors" else "clicks"
    tests = [
        compare("==", field("event"), constant("$autocapture")),
        compare("==", field("properties", "$event_type"), constant("click")),
    ]
    shown = ", ".join(
        f"tuple({aggregate}({argument}, {now}), {aggregate}({argument}, {before})) "
        f"AS `context.columns.{name}`"
        for name, aggregate, argument in (
            ("visitors", "uniqIf", "visitor"), ("clicks", "sumIf", "n"),
        )
    )  # fmt: skip
    sql = (
        f"SELECT url AS `context.columns.url`, {shown} FROM (SELECT any(person_id) AS visitor, "  # noqa: S608
        f"count() AS n, {url} AS url, min(session.$start_timestamp) AS started FROM events "
        f"WHERE {web.where(*tests)} AND notEmpty(ifNull(url, '')) AND "
        f"cutToFirstSignificantSubdomain({target}) != "
        "cutToFirstSignificantSubdomain(properties.$host) GROUP BY $session_id, url) "
        f"GROUP BY url ORDER BY `context.columns.{first}` {direction}, url"
    )
    rows, head = run_page(session, sql, web.values.by_name, query)
    return Result(encode_json(rows), {**head, "samplingRate": SAMPLING}, len(rows))


def _urls(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a WebPageURLSearchQuery: the URLs that were viewed."""
    web = WebQuery(session, query, ("limit", "searchTerm", "stripQueryParams"))
    url = "toString(properties.$current_url)"
    tests = ["event = '$pageview'", web.within("timestamp", web.period)]
    term = str(query.get("searchTerm") or "")
    if term:
        tests.append(f"{url} ILIKE {web.values.add(f'%{term}%')}")
    shown = f"cutQueryStringAndFragment({url})" if query.get("stripQueryParams") else url
    limit = int(query.get("limit") or _URLS)
    rows = run_rows(
        session,
        f"SELECT DISTINCT {shown} AS url FROM events WHERE {' AND '.join(tests)} "  # noqa: S608
        f"ORDER BY url LIMIT {limit}",
        web.values.by_name,
    )
    urls = [{"url": row[0] or ""} for row in rows]
    return insight_result(urls, web.period, hasMore=len(rows) >= limit, limit=limit)


def _vitals(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a WebVitalsPathBreakdownQuery: pages with a good, a fair and a poor web vital."""
    allowed = ("doPathCleaning", "metric", "percentile", "thresholds")
    web = WebQuery(session, query, allowed)
    value = f"toFloat(properties.$web_vitals_{query['metric']}_value)"
    test = compare("==", field("event"), constant("$web_vitals"))
    rows = run_rows(
        session,
        f"SELECT {web.path('properties.$pathname')} AS path, "  # noqa: S608
        f"quantile({_PERCENTILES[str(query['percentile'])]})({value}) AS value FROM events "
        f"WHERE {web.where(test)} AND isNotNull(path) GROUP BY path HAVING value >= 0 "
        "ORDER BY value, path LIMIT 50000",
        web.values.by_name,
    )
    good, fair = query["thresholds"][:2]
    bands: dict[str, list[dict[str, Any]]] = {"good": [], "needs_improvements": [], "poor": []}
    for path, number in rows:
        band = "good" if number <= good else "needs_improvements" if number <= fair else "poor"
        if len(bands[band]) < _BAND:
            bands[band].append({"path": path, "value": number})
    return insight_result([bands], web.period, web.previous)


def _changes(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a WebNotableChangesQuery: what gained or lost the most visitors."""
    web = WebQuery(session, query, ("doPathCleaning", "limit"))
    now, before = (web.within("started", period) for period in (web.period, web.previous))
    items: list[dict[str, Any]] = []
    for name, text in _DIMENSIONS.items():
        value = web.path(text) if text.endswith("pathname") else text
        sql = (
            f"SELECT value, uniqIf(visitor, {now}) AS visitors, uniqIf(visitor, {before}) AS past "  # noqa: S608
            f"FROM (SELECT any(person_id) AS visitor, nullIf({value}, '') AS value, "
            "min(session.$start_timestamp) AS started FROM events "
            f"WHERE {web.where(SEEN)} GROUP BY session.session_id, value) GROUP BY value "
            f"HAVING isNotNull(value) AND visitors + past >= {_FEWEST} ORDER BY value"
        )
        items += [
            _change(name, *row)
            for row in run_rows(session, f"{sql} LIMIT 50000", web.values.by_name)
        ]
    items.sort(key=lambda item: item["impact_score"], reverse=True)
    changes = items[: int(query.get("limit") or _CHANGES)]
    return insight_result(changes, web.period, web.previous, samplingRate=SAMPLING)


def _change(dimension: str, value: str, visitors: int, earlier: int) -> dict[str, Any]:
    grown = (visitors - earlier) / earlier if earlier else min(_MOST_GROWTH, float(visitors))
    return {
        "dimension_type": dimension,
        "dimension_value": value,
        "metric": "visitors",
        "current_value": visitors,
        "previous_value": earlier,
        "percent_change": round(grown, 4),
        "impact_score": round(abs(grown) * math.sqrt(max(visitors, earlier)), 2),
    }


def _origins(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a SessionAttributionExplorerQuery: where sessions come from."""
    allowed = ("kind", "tags", "version", "modifiers", "response", "filters", "groupBy", "limit",
             "offset")  # fmt: skip
    kind = str(query["kind"])
    reject_unknown_fields(query, allowed, kind)
    modifiers = as_object(query.get("modifiers"))
    reject_unknown_fields(modifiers, IGNORED_MODIFIERS, f"{kind}.modifiers")
    by: Any = query["groupBy"]
    grouped = {str(name) for name in by} if is_array(by) else set[str]()
    values = Values(session)
    values.by_name["filtered"] = Filters(session, as_object(query.get("filters"))).condition(
        "sessions"
    )
    shown = "".join(
        f", {sql if name in grouped else f'topK(10)({sql})'} AS `context.columns.{column}`"
        for name, (column, sql) in _ORIGINS.items()
    )
    keys = [f"`context.columns.{_ORIGINS[name][0]}`" for name in _ORIGINS if name in grouped]
    groups = f"GROUP BY {', '.join(keys)}" if keys else ""
    sql = (
        f"SELECT count() AS `context.columns.count`{shown} FROM sessions "  # noqa: S608
        f"WHERE {{filtered}} {groups} ORDER BY {', '.join(['`context.columns.count` DESC', *keys])}"
    )
    rows, head = run_page(session, sql, values.by_name, query)
    return Result(encode_json(rows), head, len(rows))


Run: TypeAlias = "Callable[[QuerySession, Mapping[str, Any]], Result]"
WEB_TABLES: Final[Mapping[str, Run]] = MappingProxyType({
    "WebGoalsQuery": _goals,
    "WebExternalClicksTableQuery": _clicks,
    "WebPageURLSearchQuery": _urls,
    "WebVitalsPathBreakdownQuery": _vitals,
    "WebNotableChangesQuery": _changes,
    "SessionAttributionExplorerQuery": _origins,
})  # fmt: skip
"""The function of each kind."""
