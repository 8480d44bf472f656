"""WebStatsTableQuery: visitors and views by page, source, device, place and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from posthog_emulator.hogql.parse import call, constant, field
from posthog_emulator.hogql.property_filters import any_of
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object

from .dates import resolved
from .result import Result, encode_json
from .runner import QuerySession
from .web_query import SAMPLING, SEEN, WebQuery, run_page

__all__ = ["run_web_stats"]

_FIELDS: Final = (
    "breakdownBy", "doPathCleaning", "includeAvgTimeOnPage", "includeBounceRate", "includeHost",
    "includeScrollDepth", "limit", "offset", "orderBy",
)  # fmt: skip
_ENTRY: Final = "session.$entry_"
_NONE: Final = "'(none)'"
_VALUES: Final[Mapping[str, str]] = {
    "ExitClick": "session.$last_external_click_url",
    "ScreenName": "properties.$screen_name",
    "InitialChannelType": "session.$channel_type",
    "InitialReferringDomain": f"{_ENTRY}referring_domain",
    "InitialReferringURL": f"cutQueryStringAndFragment({_ENTRY}referrer)",
    "InitialUTMSource": f"{_ENTRY}utm_source",
    "InitialUTMCampaign": f"{_ENTRY}utm_campaign",
    "InitialUTMMedium": f"{_ENTRY}utm_medium",
    "InitialUTMTerm": f"{_ENTRY}utm_term",
    "InitialUTMContent": f"{_ENTRY}utm_content",
    "InitialUTMSourceMediumCampaign": (
        f"concatWithSeparator(' / ', multiIf(isNotNull({_ENTRY}utm_source), {_ENTRY}utm_source, "
        f"isNotNull({_ENTRY}referring_domain), concat('referrer:', {_ENTRY}referring_domain), "
        f"{_NONE}), coalesce({_ENTRY}utm_medium, {_NONE}), coalesce({_ENTRY}utm_campaign, {_NONE}))"
    ),
    "Browser": "properties.$browser",
    "OS": "properties.$os",
    "Viewport": "tuple(properties.$viewport_width, properties.$viewport_height)",
    "DeviceType": "properties.$device_type",
    "Country": "properties.$geoip_country_code",
    "Region": (
        "tuple(properties.$geoip_country_code, properties.$geoip_subdivision_1_code, "
        "properties.$geoip_subdivision_1_name)"
    ),
    "City": "tuple(properties.$geoip_country_code, properties.$geoip_city_name)",
    "Timezone": "-toFloat(properties.$timezone_offset) / 60",
    "Language": "properties.$browser_language",
}
"""What the events of a session are told apart by, by the name of the breakdown."""
_PATHS: Final[Mapping[str, tuple[str, str]]] = {
    "Page": ("properties.$pathname", "properties.$host"),
    "InitialPage": (f"{_ENTRY}pathname", f"{_ENTRY}hostname"),
    "ExitPage": ("session.$end_pathname", "session.$end_hostname"),
    "FrustrationMetrics": ("properties.$pathname", ""),
}
"""Paths, with the hosts that may come before them."""
_WITH_NULL: Final = frozenset(
    {"Country", "Browser", "OS", "DeviceType", "Language", "Timezone", "InitialReferringDomain",
     "InitialUTMSource", "InitialUTMCampaign", "InitialUTMMedium", "InitialUTMTerm",
     "InitialUTMContent"}
)  # fmt: skip
"""Breakdowns that have a row for events without a value."""
_SIZE: Final = "ifNull(toFloat(tupleElement(value, {n})), 0) != 0"
_HAVING: Final[Mapping[str, str]] = {
    "Region": "isNotNull(tupleElement(value, 1))",
    "City": "isNotNull(tupleElement(value, 1))",
    "Viewport": f"{_SIZE.replace('{n}', '1')} AND {_SIZE.replace('{n}', '2')}",
    "InitialChannelType": "value != ''",
    **dict.fromkeys(_WITH_NULL, ""),
}
"""Which rows are shown; by default those with a value."""
_COLUMNS: Final[Mapping[str, str]] = {
    "Visitors": "visitors", "Views": "views", "BounceRate": "bounce_rate",
    "AverageScrollPercentage": "average_scroll_percentage",
    "ScrollGt80Percentage": "scroll_gt80_percentage", "TotalConversions": "total_conversions",
    "UniqueConversions": "unique_conversions", "ConversionRate": "conversion_rate",
}  # fmt: skip
"""The columns that rows may be sorted by."""
_THEN: Final = ("unique_conversions", "total_conversions", "visitors", "views")
"""The columns that rows are sorted by next."""
_SHARES: Final = frozenset(
    {"bounce_rate", "average_scroll_percentage", "scroll_gt80_percentage", "conversion_rate"}
)
_FRUSTRATIONS: Final = {"rage_clicks": "$rageclick", "dead_clicks": "$dead_click",
                        "errors": "$exception"}  # fmt: skip
_LONGEST: Final = 86_400
"""Most seconds that a view counts with."""
_LEFT: Final = call("in", field("event"), constant(["$pageview", "$pageleave", "$screen"]))


def run_web_stats(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute a WebStatsTableQuery.

    Raises:
        ApiError: 400, the query uses something that the emulator does not support.
    """
    return _Table(WebQuery(session, query, _FIELDS)).result()


class _Table:
    def __init__(self, web: WebQuery) -> None:
        self.web, self.query = web, web.query
        self.by = str(web.query["breakdownBy"])
        if self.by not in (*_VALUES, *_PATHS, "PreviousPage"):
            raise invalid(f"The emulator does not compute the breakdown {self.by} of web stats.")
        self.bounces = bool(web.query.get("includeBounceRate"))
        self.times = bool(web.query.get("includeAvgTimeOnPage"))
        self.scrolls = bool(web.query.get("includeScrollDepth")) and self.bounces
        self.having = _HAVING.get(self.by, "isNotNull(value)")

    def result(self) -> Result:
        """Return the response."""
        if self.by == "FrustrationMetrics":
            sql, names = self._frustrations(), ["breakdown_value", *_FRUSTRATIONS]
        else:
            joined = self.by == "Page" and self.web.goal is None and (self.bounces or self.times)
            columns, source = self._joined() if joined else self._simple()
            # A joined table is grouped already, and the conditions are on its rows.
            group = "breakdown_value" if self.by == "Language" else "value"
            tail = f"WHERE {self.having}" if joined else f"GROUP BY {group}"
            tail += f" HAVING {self.having}" if self.having and not joined else ""
            names = [*columns, "ui_fill_fraction"]
            sql = self._sorted(columns, f"{source} {tail}")
        rows, head = run_page(self.web.session, sql, self.web.values.by_name, self.query)
        if self.by == "Language" and self.web.goal is None:
            # The value is `en` and the most frequent region of it; the region is no column.
            rows = [[f"{row[0]}-{row[3]}", *row[1:3]] for row in rows]
            names = names[:3]
        head["types"] = [
            [f"context.columns.{name}", kind]
            for name, (_, kind) in zip(names, head["types"], strict=False)
        ]
        head["columns"] = [f"context.columns.{name}" for name in (*names, "cross_sell")]
        head |= {"samplingRate": SAMPLING, "resolved_date_range": resolved(self.web.period)}
        if self.web.previous is not None:
            head["resolved_compare_date_range"] = resolved(self.web.previous)
        return Result(encode_json([[*row, ""] for row in rows]), head, len(rows))

    def _value(self, path: tuple[str, str] | None = None) -> str:
        """Return what events are told apart by."""
        web, path = self.web, path or _PATHS.get(self.by)
        if self.by == "PreviousPage":
            before, referrer = "properties.$prev_pageview_pathname", "properties.$referrer"
            return (
                f"multiIf(isNotNull({before}), {web.path(before)}, "
                f"domain(properties.$current_url) = domain({referrer}), "
                f"{web.path(f'path({referrer})')}, {referrer})"
            )
        if path is None:
            return _VALUES[self.by]
        text, host = web.path(path[0]), path[1]
        return f"nullIf(concat({host}, {text}), '')" if self._hosts(host) else text

    def _hosts(self, host: str) -> bool:
        return bool(host and self.query.get("includeHost"))

    def _sessions(self, more: str = "", **options: Any) -> str:
        """Return the query of the parts of sessions that have one value."""
        value = options.pop("value", None) or self._value()
        test = options.pop("test", SEEN)
        return (
            f"(SELECT any(person_id) AS visitor, count() AS seen, {value} AS value, "  # noqa: S608
            "session.session_id AS visit, any(session.$is_bounce) AS bounce, "
            f"min(session.$start_timestamp) AS started{more} FROM events "
            f"WHERE {self.web.where(test, **options)} GROUP BY visit, value)"
        )

    def _simple(self) -> tuple[dict[str, str], str]:
        """Return the columns and the source of a table with one row for each value."""
        web = self.web
        value = "value"
        if self.by == "Language":
            value = "arrayElement(splitByChar('-', assumeNotNull(value), 2), 1)"
        columns = {"breakdown_value": value, "visitors": web.pair("uniq", "visitor")}
        if web.goal is not None:
            goal = web.values.add_node(web.goal)
            more = (
                f", countIf({goal}) AS conversions, "
                f"any(if({goal}, events.person_id, NULL)) AS converted"
            )
            columns["total_conversions"] = web.pair("sum", "conversions")
            unique = columns["unique_conversions"] = web.pair("uniq", "converted")
            rates = [
                f"tupleElement({unique}, {n}) / nullIf(tupleElement({columns['visitors']}, {n}), 0)"
                if n == 1 or web.previous
                else "NULL"
                for n in (1, 2)
            ]
            columns["conversion_rate"] = f"tuple({', '.join(rates)})"
            return columns, f"FROM {self._sessions(more, test=any_of([SEEN, web.goal]))}"
        columns["views"] = web.pair("sum", "seen")
        if self.by == "Language":
            region = "arrayElement(splitByChar('-', assumeNotNull(value), 2), 2)"
            columns["aggregation_value"] = f"arrayElement(topK(1)({region}), 1)"
        if self.bounces:
            columns["bounce_rate"] = web.pair("avg", "bounce")
        return columns, f"FROM {self._sessions()}"

    def _joined(self) -> tuple[dict[str, str], str]:
        """Return the columns and the source of a table of pages.

        The bounce rate of a page is that of the sessions that begin with it; how far and how long
        it was looked at is known from the event after it.
        """
        web = self.web
        now, before = (web.within("started", period) for period in (web.period, web.previous))

        def halves(sql: str, name: str) -> str:
            pairs = ((name, now), (f"previous_{name}", before))
            return ", ".join(f"{sql.replace('{when}', when)} AS {alias}" for alias, when in pairs)

        counted = f"{halves('uniqIf(visitor, {when})', 'visitors')}, " + halves(
            "sumIf(seen, {when})", "views"
        )
        others = [entry for entry in web.properties if not _is_path(entry)]
        entry = self._sessions(value=self._value(_PATHS["InitialPage"]), properties=others)
        parts = [
            ("counts", f"SELECT value, {counted} FROM {self._sessions()} GROUP BY value"),  # noqa: S608
            (
                "bounces",
                f"SELECT value, {halves('avgIf(bounce, {when})', 'bounce_rate')} "  # noqa: S608
                f"FROM {entry} GROUP BY value",
            ),
        ]
        names, (page, following) = ["visitors", "views", "bounce_rate"], self._left()
        if self.scrolls:
            scrolled = "toFloat(properties.$prev_pageview_max_{what}_percentage)"
            share, content = (
                scrolled.replace("{what}", measure) for measure in ("scroll", "content")
            )
            halved = (
                f"{halves('avgIf(share, {when})', 'average_scroll_percentage')}, "
                f"{halves('avgIf(far, {when})', 'scroll_gt80_percentage')}"
            )
            parts.append((
                "scrolls",
                f"SELECT value, {halved} FROM (SELECT {page} AS value, {share} AS share, "  # noqa: S608
                f"if(isNull({content}), NULL, if({content} > 0.8, 1, 0)) AS far, "
                f"session.$start_timestamp AS started FROM events WHERE {following}) "
                "GROUP BY value",
            ))  # fmt: skip
            names += ["average_scroll_percentage", "scroll_gt80_percentage"]
        elif self.times:
            seconds = f"least(toFloat(properties.$prev_pageview_duration), {_LONGEST})"
            now, before = (web.within("at", period) for period in (web.period, web.previous))
            halved = halves("quantileIf(0.9)(seconds, {when})", "avg_time_on_page")
            parts.append((
                "times",
                f"SELECT value, {halved} FROM (SELECT {page} AS value, timestamp AS at, "  # noqa: S608
                f"{seconds} AS seconds FROM events WHERE {following} AND isNotNull(value) "
                "AND isNotNull(properties.$prev_pageview_duration)) GROUP BY value",
            ))  # fmt: skip
            names = ["visitors", "views", "avg_time_on_page", "bounce_rate"]
        columns = {"breakdown_value": "counts.value"}
        # With the time on a page, no value is 0.
        shown = "tuple(ifNull({0}, 0), ifNull(previous_{0}, 0))"
        if "avg_time_on_page" not in names:
            shown = "tuple({0}, previous_{0})"
        columns |= {name: shown.format(name) for name in names}
        self.having = "isNotNull(counts.value)"
        joins = " ".join(
            f"{'FROM' if name == 'counts' else 'LEFT JOIN'} ({sql}) AS {name}"
            + ("" if name == "counts" else f" ON counts.value = {name}.value")
            for name, sql in parts
        )
        return columns, joins

    def _left(self) -> tuple[str, str]:
        """Return the page before an event, and the conditions on events that follow pages."""
        properties = [
            {**as_object(entry), "key": "$prev_pageview_pathname"} if _is_path(entry) else entry
            for entry in self.web.properties
        ]
        page = self._value(("properties.$prev_pageview_pathname", _PATHS["Page"][1]))
        return page, self.web.where(_LEFT, properties=properties)

    def _sorted(self, columns: Mapping[str, str], rest: str) -> str:
        """Return the query of a table, with the bar that each row is drawn with."""
        field_name, direction = self.web.order()
        chosen = _COLUMNS.get(field_name, "")
        order = [name for name in dict.fromkeys((chosen, *_THEN)) if name in columns]
        keys = [f"{name} {direction}" for name in order]
        first = order[0]
        bar = f"{first}.1" if first in _SHARES else f"{first}.1 / sum({first}.1) OVER ()"
        shown = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
        inner = f"SELECT {shown} {rest}"
        names = ", ".join(columns)
        return (
            f"SELECT {names}, {bar} AS ui_fill_fraction FROM ({inner}) "  # noqa: S608
            f"ORDER BY {', '.join(keys)}, breakdown_value"
        )

    def _frustrations(self) -> str:
        """Return the query of pages with clicks of rage, clicks without effect, and errors."""
        counts = "".join(
            f", countIf(event = '{event}') AS n_{name}" for name, event in _FRUSTRATIONS.items()
        )
        test = call("in", field("event"),
                    constant(["$pageview", "$screen", *_FRUSTRATIONS.values()]))  # fmt: skip
        columns = ", ".join(
            f"{self.web.pair('sum', f'n_{name}')} AS {name}" for name in _FRUSTRATIONS
        )
        some = " OR ".join(f"{name}.1 + ifNull({name}.2, 0) > 0" for name in _FRUSTRATIONS)
        return (
            f"SELECT * FROM (SELECT value AS breakdown_value, {columns} "  # noqa: S608
            f"FROM {self._sessions(counts, test=test)} GROUP BY value HAVING isNotNull(value)) "
            f"WHERE {some} ORDER BY errors DESC, rage_clicks DESC, dead_clicks DESC, "
            "breakdown_value"
        )


def _is_path(item: Any) -> bool:
    entry = as_object(item)
    return entry.get("key") == "$pathname" and entry.get("type") in (None, "event")
