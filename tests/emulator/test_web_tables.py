"""Tables of web analytics, against the same sessions in plain Python."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from math import sqrt
from typing import Any

import pytest

from posthog_emulator.features.query.dispatch import unwrap_query

from .insight_events import ZONE, Event, Project
from .test_web_overview import SPAN, session_id

FIRST = datetime(2026, 3, 1, tzinfo=ZONE)
NOW, BEFORE = (8, 11), (4, 7)
"""The days of March that SPAN has, and those before it."""
COMPARED = {"compareFilter": {"compare": True}}
VIEW = "$pageview"


@cache
def shop() -> Project:
    """Sessions of two weeks: pages one after another, clicks, errors, and purchases."""
    rng, events = random.Random(5), list[Event]()
    for number in range(90):
        at = FIRST + timedelta(minutes=rng.randrange(12 * 1440))
        session = session_id(at.astimezone(UTC), number)
        person = f"p{rng.randrange(12)}"
        always = {
            "$session_id": session, "$host": "shop.com", "$browser": rng.choice(["A", "B", None]),
            "$browser_language": rng.choice(["en-US", "en-US", "en-GB", "de-DE"]),
            "$timezone_offset": rng.choice([-330, 300]),
            "$geoip_country_code": rng.choice(["US", None]), "$geoip_city_name": "Paris",
            "$viewport_width": rng.choice([0, 800]), "$viewport_height": 600,
            "utm_source": rng.choice(["ads", None]), "$referring_domain": "google.com",
        }  # fmt: skip
        page, more = "", dict[str, Any]()
        for _ in range(rng.choice([1, 1, 2, 4])):
            if page:
                seconds = rng.randrange(1, 900)
                at += timedelta(seconds=seconds)
                more = {"$prev_pageview_pathname": page, "$prev_pageview_duration": seconds,
                        "$prev_pageview_max_scroll_percentage": rng.random(),
                        "$prev_pageview_max_content_percentage": rng.random()}  # fmt: skip
            page = rng.choice(["/", "/a/1", "/a/2", "/b"])
            here = {**always, "$pathname": page, "$current_url": f"https://shop.com{page}?q=1"}
            events.append(Event(VIEW, person, at, {**here, **more}))
            if rng.random() < 0.3:
                target = rng.choice(["https://other.com/x?y=1", "https://www.shop.com/in"])
                click = {"$event_type": "click", "$external_click_url": target}
                events.append(Event("$autocapture", person, at, {**here, **click}))
            if rng.random() < 0.4:
                name = rng.choice(["$rageclick", "$dead_click", "$exception"])
                events.append(Event(name, person, at, here))
            vital = {"$web_vitals_LCP_value": rng.randrange(1000, 6000)}
            events.append(Event("$web_vitals", person, at, {**here, **vital}))
        if rng.random() < 0.4:
            events.append(Event(rng.choice("ab"), person, at, always))
    return Project(events)


Visit = list[Event]


def visits(days: tuple[int, int], reach: Iterable[tuple[int, int]] = (NOW, BEFORE)) -> list[Visit]:
    """The sessions that start on the days, without the events outside of what is looked at."""
    found: dict[str, Visit] = {}
    for one in shop().events:
        found.setdefault(one.properties["$session_id"], []).append(one)
    started = [visit for visit in found.values() if days[0] <= visit[0].at.day <= days[1]]
    return [
        [one for one in visit if any(low <= one.at.day <= high for low, high in reach)]
        for visit in started
    ]


def prop(name: str) -> Callable[[Event, Visit], Any]:
    return lambda one, _: one.properties.get(name)


def counted(
    value: Callable[[Event, Visit], Any], days: tuple[int, int], names: Iterable[str] = (VIEW,)
) -> dict[Any, tuple[set[str], int]]:
    """Visitors and events by a value, of the sessions that start on the days."""
    found: dict[Any, tuple[set[str], int]] = {}
    for visit in visits(days):
        for one in visit:
            if one.name in names:
                people, count = found.get(value(one, visit), (set[str](), 0))
                found[value(one, visit)] = (people | {one.person}, count + 1)
    return found


def table(by: str, **query: Any) -> dict[str, Any]:
    body = shop().body({"kind": "WebStatsTableQuery", "breakdownBy": by, "properties": [],
                        "dateRange": SPAN, **query})  # fmt: skip
    body["columns"] = [name.removeprefix("context.columns.") for name in body["columns"]]
    return body


def columns(by: str, *names: str, **query: Any) -> dict[Any, list[Any]]:
    """Columns of the rows by their value."""
    body = table(by, **query)
    places = [body["columns"].index(name) for name in names]
    return {
        tuple(row[0]) if isinstance(row[0], list) else row[0]: [row[place] for place in places]
        for row in body["results"]
    }


VALUES: dict[str, Callable[[Event, Visit], Any]] = {
    "Browser": prop("$browser"),
    "Page": prop("$pathname"),
    "Timezone": lambda one, _: -one.properties["$timezone_offset"] / 60,
    "InitialUTMSource": prop("utm_source"),
    "InitialUTMSourceMediumCampaign": lambda one, _: (
        f"{one.properties['utm_source'] or 'referrer:google.com'} / (none) / (none)"
    ),
    "InitialPage": lambda _, visit: visit[0].properties["$pathname"],
    "ExitPage": lambda _, visit: [
        one.properties["$pathname"] for one in visit if "$pathname" in one.properties
    ][-1],
    "City": lambda one, _: (one.properties["$geoip_country_code"], "Paris"),
    "Viewport": lambda one, _: (one.properties["$viewport_width"], 600),
    "PreviousPage": prop("$prev_pageview_pathname"),
}
HIDDEN = {"City": (None, "Paris"), "Viewport": (0, 600), "PreviousPage": None}
"""Values that have no row."""


def test_visitors_and_views_by_what_sessions_have() -> None:
    # Events of sessions that started before the range have their pages, but not their entries.
    for by, value in VALUES.items():
        now, before = counted(value, NOW), counted(value, BEFORE)
        both = now.keys() | before.keys()
        expected = {
            key: [[len(now.get(key, "  ")[0]) if key in now else 0,
                   len(before[key][0]) if key in before else 0],
                  [now[key][1] if key in now else 0, before[key][1] if key in before else 0]]
            for key in both
            if by not in HIDDEN or key != HIDDEN[by]
        }  # fmt: skip
        found = columns(by, "visitors", "views", **COMPARED)
        assert found == expected, by
        assert expected, by


def test_the_most_frequent_region_of_a_language() -> None:
    rows = table("Language", **COMPARED)["results"]
    assert sorted(row[0] for row in rows) == ["de-DE", "en-US"]
    views = counted(lambda one, _: one.properties["$browser_language"][:2], NOW)
    assert {row[0][:2]: row[2][0] for row in rows} == {key: n for key, (_, n) in views.items()}


def bounces(days: tuple[int, int]) -> dict[str, list[bool]]:
    """Whether sessions bounced, by their first page."""
    found: dict[str, list[bool]] = {}
    whole = {visit[0].properties["$session_id"]: visit for visit in visits(days, [(1, 31)])}
    for visit in visits(days):
        if any(one.name == VIEW for one in visit):
            every = whole[visit[0].properties["$session_id"]]
            names = [one.name for one in every]
            seconds = (every[-1].at - every[0].at).total_seconds()
            bounced = names.count(VIEW) <= 1 and "$autocapture" not in names and seconds < 10
            found.setdefault(every[0].properties["$pathname"], []).append(bounced)
    return found


def test_bounce_rates_are_those_of_the_first_page() -> None:
    rates = {page: sum(found) / len(found) for page, found in bounces(NOW).items()}
    found = columns("Page", "bounce_rate", includeBounceRate=True, **COMPARED)
    assert {page: row[0][0] for page, row in found.items()} == pytest.approx(rates)
    of_entries = columns("InitialPage", "bounce_rate", includeBounceRate=True, **COMPARED)
    assert {page: row[0][0] for page, row in of_entries.items()} == pytest.approx(rates)
    # A filter by the page does not affect which sessions count.
    only = [{"key": "$pathname", "type": "event", "operator": "exact", "value": ["/b"]}]
    one = columns("Page", "bounce_rate", includeBounceRate=True, properties=only, **COMPARED)
    assert {page: row[0][0] for page, row in one.items()} == pytest.approx({"/b": rates["/b"]})


def left(name: str, days: tuple[int, int]) -> dict[str, list[float]]:
    """A property of the views after a page, by that page."""
    found: dict[str, list[float]] = {}
    for visit in visits(days):
        for one in visit:
            page = one.properties.get("$prev_pageview_pathname")
            if page and one.name == VIEW:
                found.setdefault(page, []).append(one.properties[name])
    return found


def test_how_far_pages_are_scrolled() -> None:
    query = {"includeBounceRate": True, "includeScrollDepth": True}
    found = columns("Page", "average_scroll_percentage", "scroll_gt80_percentage",
                    **query, **COMPARED)  # fmt: skip
    shares = left("$prev_pageview_max_scroll_percentage", NOW)
    far = left("$prev_pageview_max_content_percentage", NOW)
    for page, row in found.items():
        assert row[0][0] == pytest.approx(sum(shares[page]) / len(shares[page]))
        assert row[1][0] == pytest.approx(sum(one > 0.8 for one in far[page]) / len(far[page]))


def test_how_long_pages_are_looked_at() -> None:
    found = columns("Page", "avg_time_on_page", includeAvgTimeOnPage=True)
    seconds: dict[str, list[float]] = {}
    for one in shop().events:
        page = one.properties.get("$prev_pageview_pathname")
        if page and one.name == VIEW and NOW[0] <= one.at.day <= NOW[1]:
            seconds.setdefault(page, []).append(one.properties["$prev_pageview_duration"])
    for page, row in found.items():
        ordered = sorted(seconds[page])
        place = 0.9 * (len(ordered) - 1)
        low, high = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
        assert row[0] == [pytest.approx(low + (high - low) * (place % 1)), 0]


def test_conversions_and_paths_with_rules() -> None:
    found = columns("Browser", "total_conversions", "unique_conversions", "conversion_rate",
                    conversionGoal={"actionId": 5}, **COMPARED)  # fmt: skip
    people = counted(prop("$browser"), NOW, (VIEW, "a", "b"))
    bought = counted(prop("$browser"), NOW, "ab")
    for key, (total, unique, rate) in found.items():
        buyers, count = bought[key]
        assert (total[0], unique[0]) == (count, len(buyers))
        assert rate[0] == pytest.approx(len(buyers) / len(people[key][0]))
    session = shop().session
    session.path_cleaning = [{"regex": "\\d+", "alias": "<id>"}]
    try:
        shown = columns("Page", "views", doPathCleaning=True, includeHost=True, **COMPARED)
    finally:
        session.path_cleaning = None
    assert set(shown) == {"shop.com/", "shop.com/a/<id>", "shop.com/b"}


def test_rows_are_sorted_and_paged_and_drawn() -> None:
    query = {**COMPARED, "orderBy": ["Views", "ASC"]}
    views = [row[2] for row in table("Page", **query)["results"]]
    assert views == sorted(views)
    second = table("Page", limit=1, offset=1, **query)
    assert ([row[2] for row in second["results"]], second["hasMore"]) == ([views[1]], True)
    # The bar is a share of all rows, also of those that are not shown.
    assert second["results"][0][3] == pytest.approx(views[1][0] / sum(one[0] for one in views))


def test_frustration() -> None:
    names = {"rage_clicks": "$rageclick", "dead_clicks": "$dead_click", "errors": "$exception"}
    found = columns("FrustrationMetrics", *names, **COMPARED)
    for place, event in enumerate(names.values()):
        now, before = (counted(prop("$pathname"), days, (event,)) for days in (NOW, BEFORE))
        for page, row in found.items():
            assert row[place] == [now.get(page, ("", 0))[1], before.get(page, ("", 0))[1]]


FILTERS = [
    {"key": "$entry_utm_source", "type": "session", "operator": "exact", "value": ["ads"]},
    {"key": "email", "type": "person", "operator": "is_not_set"},
    {"key": "$browser", "type": "event", "operator": "is_set"},
    {"key": "id", "type": "cohort", "value": 7},
]


def test_filters() -> None:
    found = columns("Browser", "views", properties=FILTERS, **COMPARED)
    expected: dict[str, list[int]] = {}
    for place, days in enumerate((NOW, BEFORE)):
        for visit in visits(days):
            one, views = visit[0], [event for event in visit if event.name == VIEW]
            known = one.properties["utm_source"] and one.properties["$browser"]
            if known and one.person in {"p0", "p1", "p2"} and views:
                expected.setdefault(one.properties["$browser"], [0, 0])[place] += len(views)
    assert {browser: row[0] for browser, row in found.items()} == expected
    query = {"properties": FILTERS, "dateRange": SPAN}
    (_, views, *_) = shop().results("WebOverviewQuery", **COMPARED, **query)
    assert [views["value"], views["previous"]] == [
        sum(one) for one in zip(*expected.values(), strict=True)
    ]
    totals = [
        shop().results("WebGoalsQuery", dateRange=SPAN, properties=given)[0][2][0]
        for given in (FILTERS, [])
    ]
    assert 0 < totals[0] < totals[1]


def test_goals() -> None:
    rows = shop().results("WebGoalsQuery", properties=[], dateRange=SPAN, **COMPARED)
    ((name, converting, total, rate),) = rows
    expected: list[tuple[int, int, float]] = []
    for days in (NOW, BEFORE):
        known = [
            visit for visit in visits(days) if any(one.name in (VIEW, "a", "b") for one in visit)
        ]
        bought = [
            one for visit in visits(NOW) + visits(BEFORE) for one in visit
            if one.name in "ab" and days[0] <= one.at.day <= days[1]
        ]  # fmt: skip
        people = {one.person for one in bought}
        expected.append((
            len(people), len(bought), len(people) / len({visit[0].person for visit in known})
        ))  # fmt: skip
    assert name == "either"
    assert converting == [one[0] for one in expected]
    assert total == [one[1] for one in expected]
    assert rate == pytest.approx([one[2] for one in expected])
    alone = shop().results("WebGoalsQuery", properties=[], dateRange=SPAN)
    assert [pair[1] for pair in alone[0][1:]] == [None] * 3


def test_external_clicks() -> None:
    body = shop().body({"kind": "WebExternalClicksTableQuery", "properties": [], "dateRange": SPAN,
                        "stripQueryParams": True, **COMPARED})  # fmt: skip
    by_url = [counted(prop("$external_click_url"), days, ("$autocapture",))
              for days in (NOW, BEFORE)]  # fmt: skip
    (now, before) = [found["https://other.com/x?y=1"] for found in by_url]
    assert body["results"] == [
        ["https://other.com/x", [len(now[0]), len(before[0])], [now[1], before[1]]]
    ]


def test_urls() -> None:
    found = shop().body({"kind": "WebPageURLSearchQuery", "properties": [], "dateRange": SPAN,
                         "searchTerm": "COM/A", "stripQueryParams": True, "limit": 2})  # fmt: skip
    assert found["results"] == [{"url": f"https://shop.com/a/{n}"} for n in (1, 2)]
    assert found["hasMore"] is True


def test_web_vitals() -> None:
    query = {"kind": "WebVitalsPathBreakdownQuery", "properties": [], "dateRange": SPAN,
             "metric": "LCP", "percentile": "p75", "thresholds": [4200, 4700]}  # fmt: skip
    (bands,) = shop().body(query)["results"]
    values: dict[str, list[float]] = {}
    for one in shop().events:
        if one.name == "$web_vitals" and NOW[0] <= one.at.day <= NOW[1]:
            value = one.properties["$web_vitals_LCP_value"]
            values.setdefault(one.properties["$pathname"], []).append(value)
    shown = {item["path"]: (band, item["value"]) for band, items in bands.items() for item in items}
    assert shown.keys() == values.keys()
    for page, (band, value) in shown.items():
        ordered = sorted(values[page])
        place = 0.75 * (len(ordered) - 1)
        low, high = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
        assert value == pytest.approx(low + (high - low) * (place % 1))
        names = ("good", "needs_improvements", "poor")
        assert band == names[(value > 4200) + (value > 4700)]
    # The chart of web vitals is its source.
    trends = {"kind": "TrendsQuery", "series": []}
    assert unwrap_query({"kind": "WebVitalsQuery", "properties": [], "source": trends}) == trends


def test_notable_changes() -> None:
    found = shop().results("WebNotableChangesQuery", properties=[], dateRange=SPAN, limit=50,
                           **COMPARED)  # fmt: skip
    scores = [one["impact_score"] for one in found]
    assert scores == sorted(scores, reverse=True)
    now, before = counted(prop("$browser"), NOW), counted(prop("$browser"), BEFORE)
    shown = [one for one in found if one["dimension_type"] == "Browser"]
    assert {one["dimension_value"] for one in shown} == {"A", "B"}
    for one in shown:
        many, few = (len(days[one["dimension_value"]][0]) for days in (now, before))
        change = (many - few) / few
        assert (one["current_value"], one["previous_value"]) == (many, few)
        assert one["percent_change"] == pytest.approx(change, abs=1e-4)
        assert one["impact_score"] == pytest.approx(abs(change) * sqrt(max(many, few)), abs=0.01)


def test_where_sessions_come_from() -> None:
    ads = {"key": "$entry_utm_source", "type": "session", "operator": "exact", "value": ["ads"]}
    span = {"date_from": "2026-03-08", "date_to": "2026-03-12"}
    filters = {"dateRange": span, "properties": [ads]}
    query = {"kind": "SessionAttributionExplorerQuery", "groupBy": ["Source", "ReferringDomain"],
             "filters": filters}  # fmt: skip
    body = shop().body(query)
    known = [visit for visit in visits(NOW, [(1, 31)]) if visit[0].properties["utm_source"]]
    ((count, channels, domain, source, *_, urls),) = body["results"]
    assert (count, domain, source) == (len(known), "google.com", "ads")
    assert len(channels) == 1
    assert set(urls) == {visit[0].properties["$current_url"] for visit in known}
    assert body["columns"][0] == "context.columns.count"


def test_what_is_not_computed_is_named() -> None:
    same = {"properties": [], "breakdownBy": "Page"}
    project = shop()
    assert "includeRevenue" in project.refusal("WebStatsTableQuery", includeRevenue=True, **same)
    refused = project.refusal(
        "WebStatsTableQuery", **{**same, "breakdownBy": "FirstPageviewUTMTerm"}
    )
    assert "FirstPageviewUTMTerm" in refused
    assert "sampling" in project.refusal("WebGoalsQuery", properties=[], sampling={"enabled": True})
