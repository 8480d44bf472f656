"""Demo data: exact in number, reproducible from its seed, and plausible."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from posthog_emulator import Emulator
from posthog_emulator.demo import generate
from posthog_emulator.timestamps import from_micros

UNTIL = datetime(2026, 6, 1, 12, tzinfo=UTC)
EVENTS = 30_000


@pytest.fixture(scope="module")
def product() -> Emulator:
    emulator = Emulator(clock=lambda: UNTIL)
    emulator.add_demo_events(EVENTS, duplicate_timestamps=0.3)
    return emulator


def read(emulator: Emulator, sql: str) -> list[tuple[Any, ...]]:
    return emulator.state.events.read(sql)


def digest(emulator: Emulator) -> str:
    tables = {
        "events": "_number", "person": "id", "person_record": "id",
        "person_distinct_id2": "distinct_id", "groups": "group_key", "project_types": "name, scope",
    }  # fmt: skip
    whole = "SELECT hex(MD5(toString(groupArray(tuple(*))))) FROM (SELECT * FROM {} ORDER BY {})"
    return "".join(read(emulator, whole.format(*item))[0][0] for item in tables.items())


def test_the_same_seed_generates_the_same_bytes(product: Emulator) -> None:
    again = Emulator(clock=lambda: UNTIL)
    made = again.add_demo_events(EVENTS, duplicate_timestamps=0.3)
    assert digest(again) == digest(product)
    assert (made.events, made.end) == (EVENTS, UNTIL)


def test_nothing_is_left_of_a_demo_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no definitions")

    emulator = Emulator(clock=lambda: UNTIL)
    with monkeypatch.context() as patch:
        patch.setattr(generate, "_record_event_definitions", fail)
        with pytest.raises(RuntimeError, match="no definitions"):
            emulator.add_demo_events(100)
    for table in ("events", "person"):
        assert read(emulator, f"SELECT count() FROM {table}") == [(0,)]
    assert emulator.add_demo_events(100).events == 100


@pytest.mark.parametrize(
    ("events", "days"), [(1, 1), (1, 400), (2, 30), (99, 1), (2500, 30), (2500, 400)]
)
def test_number_of_events_is_exact(events: int, days: int) -> None:
    emulator = Emulator()
    made = emulator.add_demo_events(events, days=days, until=UNTIL)
    count = (
        "SELECT count(), uniqExact(uuid), uniqExact(_number), max(_number), "
        "toUnixTimestamp64Micro(min(timestamp)), toUnixTimestamp64Micro(max(timestamp)) FROM events"
    )
    ((counted, uuids, numbers, highest, first, last),) = read(emulator, count)
    assert (counted, uuids, numbers, highest) == (events,) * 4
    assert made.start <= from_micros(first) <= from_micros(last) < UNTIL
    assert made.end - made.start == timedelta(days=days, hours=3)


def test_data_is_consistent(product: Emulator) -> None:
    assert read(product, "SELECT count() FROM events WHERE NOT isValidJSON(properties)") == [(0,)]
    lost = (
        "SELECT count() FROM events WHERE (distinct_id, person_id) NOT IN "
        "(SELECT distinct_id, person_id FROM person_distinct_id2)"
    )
    assert read(product, lost) == [(0,)]
    assert read(product, "SELECT count() - uniqExact(id) FROM person") == [(0,)]
    assert read(product, "SELECT uniqExact(team_id), min(team_id) FROM events") == [(1, 1)]
    strangers = (
        "SELECT count() FROM events WHERE `$group_0` != '' AND `$group_0` NOT IN "
        "(SELECT group_key FROM groups)"
    )
    assert read(product, strangers) == [(0,)]
    unordered = (
        "SELECT countIf(timestamp < before) FROM (SELECT timestamp, lagInFrame(timestamp) OVER "
        "(ORDER BY _number ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before FROM events)"
    )
    assert read(product, unordered)[0][0] < 200, "in time but at the seams of days"


def test_visitors_become_customers(product: Emulator) -> None:
    steps = ("$pageview", "signup started", "signed up", "project created", "purchase completed")
    people = dict(read(product, "SELECT event, uniqExact(person_id) FROM events GROUP BY 1"))
    reached = [people[step] for step in steps]
    assert reached[2] == reached[1], "who starts signs up"
    assert reached == sorted(reached, reverse=True)
    assert 0.2 < people["signed up"] / people["$pageview"] < 0.6
    assert people["purchase completed"] > 5
    early = (
        "SELECT count() FROM (SELECT person_id, minIf(timestamp, event = 'signed up') AS up, "
        "minIf(timestamp, event = 'purchase completed') AS paid FROM events GROUP BY 1 "
        "HAVING countIf(event = 'purchase completed') > 0) WHERE paid < up"
    )
    assert read(product, early) == [(0,)]


def test_traffic_varies_by_day(product: Emulator) -> None:
    days = dict(read(product, "SELECT toDayOfWeek(timestamp), count() FROM events GROUP BY 1"))
    assert max(days[6], days[7]) < 0.85 * min(days[n] for n in range(1, 6))
    halves = "SELECT count() FROM events WHERE timestamp {} toDateTime64('2026-04-17', 6, 'UTC')"
    assert read(product, halves.format(">=")) > read(product, halves.format("<"))
    adoption = (
        "SELECT countIf(event = 'assistant used') / count() FROM events "
        "WHERE timestamp {} toDateTime64('2026-04-17', 6, 'UTC')"
    )
    assert (
        read(product, adoption.format(">="))[0][0] > 2 * read(product, adoption.format("<"))[0][0]
    )


def test_all_kinds_of_events_occur(product: Emulator) -> None:
    for condition in (
        "event = '$exception' AND properties LIKE '%\"$exception_types\":[\"%'",
        "event = '$feature_flag_called'",
        "JSONExtractString(properties, 'utm_source') = 'google'",
        "`$session_id` != '' AND `$window_id` != ''",
        "toUnixTimestamp64Micro(timestamp) % 1000 != 0",
    ):
        found = f"SELECT count() FROM events WHERE {condition}"
        assert read(product, found)[0][0] > 10, condition
    emails = "SELECT count() FROM person WHERE is_identified AND properties LIKE '{\"email\"%'"
    assert read(product, emails)[0][0] > 100
    tied = (
        "SELECT sumIf(n, n > 1) / sum(n) FROM (SELECT count() AS n FROM events GROUP BY timestamp)"
    )
    assert read(product, tied)[0][0] == pytest.approx(0.3, abs=0.03)


def test_definitions_are_recorded(product: Emulator) -> None:
    events = {one["name"] for one in product.items("event_definitions")}
    assert {"$pageview", "signed up", "assistant used", "$exception"} <= events
    kinds = {one["name"]: one["property_type"] for one in product.items("property_definitions")}
    assert (kinds["amount"], kinds["plan"], kinds["accepted"]) == ("Numeric", "String", "Boolean")
    assert [one["group_type"] for one in product.items("group_types")] == ["company"]


def test_timestamps_differ_and_further_events_can_be_captured() -> None:
    emulator = Emulator(clock=lambda: UNTIL)
    made = emulator.add_demo_events(2000)
    # No timestamp is there twice by default.
    assert read(emulator, "SELECT uniqExact(timestamp) FROM events") == [(2000,)]
    store = emulator.state.events
    who = "SELECT distinct_id, person_id FROM person_distinct_id2 WHERE distinct_id LIKE 'user-%'"
    distinct_id, person_id = read(emulator, who + " LIMIT 1")[0]
    store.append(1, [{"event": "x", "distinct_id": distinct_id, "properties": {"$set": {"a": 1}}}])
    store.append(1, [{"event": "x", "distinct_id": "newcomer"}])
    assert read(emulator, "SELECT person_id FROM events WHERE event = 'x' ORDER BY _number")[0] == (
        person_id,
    )
    held = read(emulator, f"SELECT properties FROM person FINAL WHERE id = '{person_id}'")
    assert json.loads(held[0][0])["a"] == 1
    numbers = "SELECT count(), max(number) FROM person_record FINAL"
    assert read(emulator, numbers) == [(made.persons + 1, made.persons + 1)]


def test_once_per_project_and_another_seed() -> None:
    emulator = Emulator(clock=lambda: UNTIL)
    emulator.add_project(2)
    emulator.add_demo_events(500)
    with pytest.raises(ValueError, match="has this demo already"):
        emulator.add_demo_events(500)
    emulator.add_demo_events(500, project_id=2, seed=3)
    assert read(emulator, "SELECT team_id, count() FROM events GROUP BY 1 ORDER BY 1") == [
        (1, 500),
        (2, 500),
    ]
    # Another seed generates other events.
    assert read(emulator, "SELECT uniqExact(uuid), uniqExact(timestamp) > 900 FROM events") == [
        (1000, 1)
    ]
    emulator.reset()
    assert emulator.add_demo_events(500).events == 500


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"events": 0}, "events must be at least 1"),
        ({"days": 0}, "days must be from 1 to 3650"),
        ({"duplicate_timestamps": 1.0}, "from 0 to 0.9"),
    ],
)
def test_invalid_arguments(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Emulator().add_demo_events(**arguments)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_demo_project(connect: Any) -> None:
    emulator = Emulator(clock=lambda: UNTIL)
    emulator.add_demo_data(5000)
    assert len(emulator.items("feature_flags")) == 3
    (dashboard,) = emulator.items("dashboards")
    async with connect(emulator) as http:
        flags = await http.post("/flags/?v=2", json={"api_key": "phc_emulator", "distinct_id": "a"})
        assert flags.json()["flags"]["new-onboarding"]["variant"] in {"control", "test"}
        for insight in emulator.items("insights"):
            path = f"/api/projects/1/insights/{insight['id']}/?refresh=force_blocking"
            answer = await http.get(path)
            assert answer.status_code == 200, answer.text
            assert answer.json()["result"], insight["name"]
            assert answer.json()["dashboards"] == [dashboard["id"]]
