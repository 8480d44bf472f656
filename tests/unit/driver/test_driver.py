"""The driver on both event loops: batches, conversions, and what it refuses."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest
import respx

from asyncposthog import AsyncPostHog, ReadOnlyError
from asyncposthog.driver import Driver, PostHogError, ValidationError
from asyncposthog.driver.batches import Batches
from asyncposthog.driver.values import cohort_filters, insight_query, parse_time
from asyncposthog.errors import MethodNotAllowedError
from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.seed("cohorts", 25)
    emulator.add_demo_events(events=200, seed=1)
    return emulator


@pytest.fixture
def driver(emulator: Emulator) -> Driver:
    return Driver(AsyncPostHog.emulated(emulator))


async def test_batches_can_be_left_early(driver: Driver, emulator: Emulator) -> None:
    emulator.requests.clear()
    async for batch in driver.read_batched("cohorts", batch_size=10):
        assert len(batch) == 10
        break
    assert len(emulator.requests) == 1


@pytest.mark.parametrize(("size", "sizes"), [(1, [1] * 25), (10, [10, 10, 5]), (25, [25])])
async def test_batches_have_the_size(driver: Driver, size: int, sizes: list[int]) -> None:
    assert [len(batch) async for batch in driver.read_batched("/cohorts", size)] == sizes


async def test_a_single_record_is_a_batch(driver: Driver) -> None:
    batches = [batch async for batch in driver.read_batched("/cohorts/1", 10)]
    assert [[record["id"] for record in batch] for batch in batches] == [[1]]


@pytest.mark.parametrize("size", [0, -1, 50_001, True])
def test_batch_sizes_out_of_range_are_refused(driver: Driver, size: Any) -> None:
    with pytest.raises(ValidationError):
        driver.read_batched("/cohorts", size)


async def test_a_failing_page_ends_the_batches() -> None:
    class Failing:
        def __aiter__(self) -> Failing:
            return self

        async def __anext__(self) -> dict[str, Any]:
            raise PostHogError("no")

    with pytest.raises(PostHogError):
        async for _ in Batches(Failing(), 3, None):
            pass


async def test_events_are_json_data(driver: Driver) -> None:
    (event,) = await driver.read("/events", limit=1, offset=3)
    assert isinstance(event["id"], str)
    assert datetime.fromisoformat(event["timestamp"]).tzinfo is not None
    assert isinstance(event["properties"], dict)
    assert event == (await driver.read("/events", limit=4))[3]


async def test_a_read_only_client_does_not_write(emulator: Emulator) -> None:
    driver = Driver(AsyncPostHog.emulated(emulator, read_only=True))
    emulator.requests.clear()
    with pytest.raises(ReadOnlyError):
        await driver.create("cohorts", {"name": "x"})
    assert emulator.requests == []


async def test_what_has_no_such_method_says_what_it_has(driver: Driver) -> None:
    with pytest.raises(MethodNotAllowedError) as raised:
        await driver.create("persons", {})
    assert "list" in raised.value.details["available"]


async def test_a_client_that_was_given_is_not_closed(emulator: Emulator) -> None:
    ph = AsyncPostHog.emulated(emulator)
    async with Driver(ph) as driver:
        assert await driver.health_check()
    assert await Driver(ph).health_check()


async def test_fields_that_the_schema_lacks_are_sent() -> None:
    with respx.mock(base_url="https://us.posthog.com") as server:
        route = server.post("/api/projects/1/dashboards/").mock(httpx.Response(201, json={"id": 1}))
        async with Driver(api_key="phx_k", project_id=1) as driver:
            await driver.create("dashboards", {"name": "x", "brand_new": True})
        assert route.calls[0].request.content == b'{"name":"x","brand_new":true}'


@pytest.mark.parametrize(
    ("value", "end", "expected"),
    [
        ("2026-01-31", False, datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31", True, datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-01-31T10:00:00Z", True, datetime(2026, 1, 31, 10, tzinfo=UTC)),
        (date(2026, 1, 31), True, datetime(2026, 2, 1, tzinfo=UTC)),
        (datetime(2026, 1, 31, 1), False, datetime(2026, 1, 31, 1, tzinfo=UTC)),
    ],
)
def test_times_are_in_utc(value: Any, end: bool, expected: datetime) -> None:
    assert parse_time(value, end=end) == expected


def test_older_filters_become_a_query() -> None:
    filters = {
        "events": [{"id": "b", "order": 1}, {"id": "a", "order": 0, "math": "dau"}],
        "actions": [{"id": 7}],
        "date_from": "-7d",
        "interval": "day",
    }
    assert insight_query("TrendsQuery", filters) == {
        "kind": "InsightVizNode",
        "source": {
            "kind": "TrendsQuery",
            "interval": "day",
            "series": [
                {"kind": "EventsNode", "event": "a", "name": "a", "math": "dau"},
                {"kind": "EventsNode", "event": "b", "name": "b"},
                {"kind": "ActionsNode", "id": 7},
            ],
            "dateRange": {"date_from": "-7d"},
        },
    }
    query = {"kind": "DataTableNode"}
    assert insight_query("TrendsQuery", query) == query


def test_conditions_of_a_cohort_are_grouped() -> None:
    condition = {"key": "plan", "type": "person", "value": ["pro"]}
    grouped = {"properties": {"type": "OR", "values": [{"type": "AND", "values": [condition]}]}}
    assert cohort_filters({"properties": condition}) == grouped
    assert cohort_filters({"properties": [condition]}) == grouped
    assert cohort_filters(condition) == grouped
    assert cohort_filters(grouped) == grouped
