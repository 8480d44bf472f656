"""Batch exports on a schedule: what may be created, and what runs as time passes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator
from posthog_emulator.features.batch_exports.schedule import ExportInterval

pytestmark = pytest.mark.anyio

PATH = "/api/projects/1/batch_exports/"
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
BUCKET: dict[str, Any] = {
    "type": "AwsS3",
    "config": {
        "bucket_name": "b",
        "region": "eu-central-1",
        "prefix": "p",
        "aws_secret_access_key": "hush",
    },
    "integration_id": 3,
}

ELSEWHERE = {"type": "HTTP", "config": {"url": "https://example.com"}}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    emulator = Emulator()
    emulator.freeze(NOON)
    yield emulator
    emulator.close()


async def create(http: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    return await http.post(
        PATH, json={"name": "to the lake", "interval": "hour", "destination": BUCKET, **changes}
    )


async def created(http: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await create(http, **changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def items(http: httpx.AsyncClient, path: str, **params: Any) -> list[dict[str, Any]]:
    answer = await http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


async def test_what_is_created(http: httpx.AsyncClient) -> None:
    export = await created(http)
    assert export["model"] == "events"
    assert (export["paused"], export["team_id"], export["latest_runs"]) == (False, 1, [])
    destination = export["destination"]
    assert (destination["type"], destination["integration"]) == ("AwsS3", 3)
    assert "aws_secret_access_key" not in destination["config"], "secrets are written, not read"
    assert (await http.get(f"{PATH}{export['id']}/")).json() == export
    assert await items(http, PATH) == [export]


@pytest.mark.parametrize(
    ("changes", "words", "attr"),
    [
        ({"name": None}, "This field is required.", "name"),
        ({"destination": {"type": "S3", "config": {}}}, "can no longer", "destination__type"),
        ({"destination": {"type": "FTP"}}, "not a valid choice", "destination__type"),
        ({"destination": {**BUCKET, "integration_id": None}}, "is required for", "destination"),
        ({"destination": {**BUCKET, "config": {}}}, "'bucket_name'", "destination__config"),
        (
            {"destination": {**BUCKET, "config": {**BUCKET["config"], "prefix": " "}}},
            "are empty: ['prefix']",
            "destination",
        ),
        ({"destination": ELSEWHERE}, "Invalid destination URL", "destination"),
        ({"interval": "month"}, "not a valid choice", "interval"),
        ({"offset_hour": 3}, "not applicable for non-daily/weekly", "offset_hour"),
        ({"interval": "day", "offset_day": 3}, "non-weekly", "offset_day"),
        ({"interval": "week", "offset_day": 7}, "less than or equal to 6", "offset_day"),
        ({"model": "persons", "filters": []}, "only supported for 'events'", "filters"),
        ({"model": "actions"}, "not a valid choice", "model"),
    ],
)  # fmt: skip
async def test_what_is_refused(
    http: httpx.AsyncClient, changes: Any, words: str, attr: str
) -> None:
    answer = await create(http, **changes)
    assert (answer.status_code, answer.json()["attr"]) == (400, attr), answer.text
    assert words in answer.json()["detail"]


async def test_hogql_is_not_for_everybody(http: httpx.AsyncClient) -> None:
    answer = await create(http, model="hogql", hogql_query="select 1 as one")
    assert (answer.status_code, "not enabled" in answer.json()["detail"]) == (403, True)


async def test_http_takes_events_alone(http: httpx.AsyncClient) -> None:
    http_export = {"type": "HTTP", "config": {"url": "https://eu.i.posthog.com/batch/"}}
    await created(http, destination=http_export)
    answer = await create(http, destination=http_export, model="persons")
    assert answer.json()["detail"] == "HTTP batch exports only support the events model"


async def test_changes(emulator: Emulator, http: httpx.AsyncClient) -> None:
    path = f"{PATH}{(await created(http))['id']}/"
    emulator.advance(60)
    deep = {"destination": {"type": "AwsS3", "config": {"prefix": "other"}}, "name": "renamed"}
    changed = (await http.patch(path, json=deep)).json()
    assert changed["destination"]["config"]["prefix"] == "other"
    assert changed["destination"]["config"]["bucket_name"] == "b"
    assert changed["destination"]["integration"] == 3
    assert (changed["name"], changed["last_updated_at"] > changed["created_at"]) == (
        "renamed",
        True,
    )
    for body, words in (
        ({"destination": {"type": "BigQuery"}}, "Cannot change destination type from 'AwsS3'"),
        ({"model": "persons"}, "Changing models is not supported"),
        ({"offset_hour": 1}, "not applicable"),
    ):
        answer = await http.patch(path, json=body)
        assert (answer.status_code, words in answer.json()["detail"]) == (400, True), answer.text
    assert (await http.delete(path)).status_code == 204
    assert (await http.get(path)).status_code == 404


async def test_runs_come_as_time_passes(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.settings.export_seconds = 600
    export = await created(http)
    path = f"{PATH}{export['id']}/"
    assert await items(http, f"{path}runs/") == []
    emulator.state.events.append(1, [{"event": "a", "distinct_id": "x"} for _ in range(3)])
    emulator.advance(timedelta(hours=1))
    (run,) = await items(http, f"{path}runs/")
    assert (run["status"], run["records_completed"]) == ("Starting", None)
    assert run["data_interval_start"] == "2026-03-04T12:00:00Z"
    emulator.advance(60)
    assert (await items(http, f"{path}runs/"))[0]["status"] == "Running"
    emulator.advance(600)
    run = (await http.get(f"{path}runs/{run['id']}/")).json()
    assert (run["status"], run["records_completed"]) == ("Completed", 3)
    assert run["finished_at"] == "2026-03-04T13:10:00Z"
    emulator.advance(timedelta(hours=2))
    runs = await items(http, f"{path}runs/")
    starts = [one["data_interval_start"][11:13] for one in runs]
    assert starts == ["14", "13", "12"]
    assert (await http.get(path)).json()["latest_runs"] == runs


async def test_runs_are_paged_and_of_the_last_week(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    path = f"{PATH}{(await created(http))['id']}/runs/"
    emulator.advance(timedelta(days=9))
    first = (await http.get(path)).json()
    assert (len(first["results"]), first["previous"]) == (100, None)
    seen, page = first["results"], first
    while page["next"]:
        page = (await http.get(page["next"])).json()
        seen = seen + page["results"]
    assert len({run["id"] for run in seen}) == len(seen) == 169
    count = 0
    page = (await http.get(path, params={"after": "-30d"})).json()
    while True:
        count += len(page["results"])
        if not page["next"]:
            break
        page = (await http.get(page["next"])).json()
    assert count == 9 * 24
    since = {"after": "2026-03-13T06:00:00Z"}
    assert len(await items(http, path, **since)) == 7
    assert await items(http, path, status=["Failed"]) == []
    ordered = await items(http, path, ordering="data_interval_start", start="-2h")
    assert [run["data_interval_start"][11:13] for run in ordered] == ["10", "11"]
    assert (await http.get(path, params={"after": "yesterday"})).status_code == 400


async def test_pausing(emulator: Emulator, http: httpx.AsyncClient) -> None:
    path = f"{PATH}{(await created(http))['id']}/"
    answer = await http.post(f"{path}pause/")
    assert (answer.status_code, answer.json()) == (200, {"paused": True})
    emulator.advance(timedelta(hours=3))
    assert await items(http, f"{path}runs/") == []
    assert (await http.get(path)).json()["last_paused_at"] == "2026-03-04T12:00:00Z"
    answer = await http.post(f"{path}unpause/", json={"backfill": True})
    assert answer.json() == {"paused": False}
    emulator.advance(timedelta(hours=1))
    runs = await items(http, f"{path}runs/")
    assert len(runs) == 4
    assert sum(run["backfill"] is not None for run in runs) == 3, "what was missed"


async def test_a_failed_run_is_run_again(emulator: Emulator, http: httpx.AsyncClient) -> None:
    path = f"{PATH}{(await created(http))['id']}/runs/"
    emulator.settings.export_error = "Access denied"
    emulator.advance(timedelta(hours=1, minutes=1))
    (run,) = await items(http, path)
    assert (run["status"], run["latest_error"]) == ("Failed", "Access denied")
    emulator.settings.export_error = None
    answer = await http.post(f"{path}{run['id']}/retry/")
    assert (answer.status_code, set(answer.json())) == (201, {"backfill_id"})
    emulator.advance(60)
    again = (await items(http, path))[0]
    assert (again["status"], again["backfill"]) == ("Completed", answer.json()["backfill_id"])
    assert again["data_interval_start"] == run["data_interval_start"]
    refused = await http.post(f"{path}{again['id']}/cancel/")
    assert refused.json()["detail"] == "Cannot cancel a run that is in 'Completed' status"


async def test_a_run_is_cancelled(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.settings.export_seconds = 600
    path = f"{PATH}{(await created(http))['id']}/runs/"
    emulator.advance(timedelta(hours=1, minutes=1))
    (run,) = await items(http, path)
    answer = await http.post(f"{path}{run['id']}/cancel/")
    assert (answer.status_code, answer.json()) == (200, {"cancelled": True})
    emulator.advance(3000)
    assert (await items(http, path))[0]["status"] == "Cancelled"


async def test_a_backfill(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.settings.export_seconds = 10
    old = [
        {"event": "a", "distinct_id": "x", "timestamp": NOON - timedelta(days=20, minutes=5 * n)}
        for n in range(24)
    ]
    emulator.state.events.append(1, old)
    path = f"{PATH}{(await created(http))['id']}/"
    span = {"start_at": "2026-02-12T10:00:00Z", "end_at": "2026-02-12T12:00:00+00:00"}
    answer = await http.post(f"{path}backfills/", json=span)
    assert (answer.status_code, set(answer.json())) == (201, {"backfill_id"})
    one = f"{path}backfills/{answer.json()['backfill_id']}/"
    assert (await http.get(one)).json()["status"] == "Starting"
    emulator.advance(10)
    state = (await http.get(one)).json()
    assert state["status"] == "Running"
    assert state["progress"] == {"total_runs": 2, "finished_runs": 1, "progress": 0.5}
    emulator.advance(10)
    state = (await http.get(one)).json()
    assert (state["status"], state["progress"]["progress"]) == ("Completed", 1.0)
    assert state["finished_at"] == "2026-03-04T12:00:20Z"
    runs = await items(http, f"{path}runs/")
    assert sum(run["records_completed"] for run in runs) == 23, "one is of noon itself"
    assert [item["id"] for item in await items(http, f"{path}backfills/")] == [state["id"]]
    late = await http.post(f"{one}cancel/")
    assert late.json()["detail"] == "Cannot cancel a backfill that is in 'Completed' status"


@pytest.mark.parametrize(
    ("interval", "span", "words"),
    [
        ("hour", {"end_at": "2026-03-01T00:00:00Z"}, "from the beginning of time"),
        ("hour", {"start_at": "2026-03-01T00:00:00"}, "is naive."),
        ("hour", {"start_at": "then"}, "not a valid ISO formatted datetime."),
        ("hour", {"start_at": "2026-03-01T00:00:00Z", "end_at": "2026-03-01T00:00:00Z"}, "before"),
        ("hour", {"start_at": "2026-03-01T00:00:00Z", "end_at": "2026-03-09T00:00:00Z"}, "future"),
        ("day", {"start_at": "2026-03-01T00:00:00Z"}, "but a time was included"),
        ("day", {"start_at": "then"}, "Input 'then' is not a valid ISO formatted date."),
        ("week", {"start_at": "2026-03-02"}, "is a Monday but this batch export is configured"),
    ],
)
async def test_backfills_that_are_refused(
    http: httpx.AsyncClient, interval: str, span: Any, words: str
) -> None:
    path = f"{PATH}{(await created(http, interval=interval))['id']}/backfills/"
    answer = await http.post(path, json=span)
    assert (answer.status_code, words in answer.json()["detail"]) == (400, True), answer.text


async def test_too_many_backfills(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.settings.export_seconds = 60
    path = f"{PATH}{(await created(http))['id']}/backfills/"
    span = {"start_at": "2026-03-01T00:00:00Z", "end_at": "2026-03-02T00:00:00Z"}
    ids = [(await http.post(path, json=span)).json()["backfill_id"] for _ in range(3)]
    refused = await http.post(path, json=span)
    assert (refused.status_code, "retry-after" in refused.headers) == (429, False)
    assert refused.json()["type"] == "server_error"
    assert refused.json()["code"] == "too_many_concurrent_backfills"
    answer = await http.post(f"{path}{ids[0]}/cancel/")
    assert answer.json() == {"cancelled": True}
    assert (await http.get(f"{path}{ids[0]}/")).json()["status"] == "Cancelled"
    assert (await http.post(path, json=span)).status_code == 201


def test_where_days_and_weeks_begin() -> None:
    berlin = ExportInterval("day", "Europe/Berlin", offset_hour=3)
    assert berlin.boundary_at_or_before(NOON) == datetime(2026, 3, 4, 2, tzinfo=UTC)
    dark = datetime(2026, 3, 28, 2, tzinfo=UTC)
    assert berlin.next_boundary(dark) - dark == timedelta(hours=23), "the clocks go forward"
    week = ExportInterval("week", offset_day=3)
    assert week.boundary_at_or_before(NOON) == datetime(2026, 3, 4, tzinfo=UTC)
    assert week.boundary_at_or_before(NOON - timedelta(days=1)) == datetime(2026, 2, 25, tzinfo=UTC)
    short = ExportInterval("every 15 minutes")
    assert short.boundary_at_or_before(NOON + timedelta(minutes=29)) == NOON + timedelta(minutes=15)
    assert len(list(short.periods(NOON + timedelta(minutes=1), NOON + timedelta(hours=1)))) == 3
