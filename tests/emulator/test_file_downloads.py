"""Files of events, asked for, made, and fetched from an object store of another origin."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyarrow.parquet as parquet
import pytest

from posthog_emulator import Emulator, serve

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: the emulator responds without any wait."""
    return "asyncio"


PATH = "/api/projects/1/file_download_batch_exports/"
DAY = datetime(2026, 3, 1, tzinfo=UTC)
RANGE = {
    "data_interval_start": "2026-03-01T00:00:00Z",
    "data_interval_end": "2026-03-02T00:00:00Z",
}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator at noon of a day, at which some things happened."""
    emulator = Emulator(clock=lambda: DAY + timedelta(hours=12))
    emulator.state.events.append(
        1,
        [
            {
                "event": "$pageview" if number % 2 else "signup",
                "distinct_id": f"person-{number % 3}",
                "timestamp": DAY + timedelta(hours=11, microseconds=number),
                "properties": {
                    "n": number,
                    "$set": {"plan": "paid"},
                    "$session_id": f"session-{number % 2}",
                    "$current_url": f"https://example.com/{number}",
                },
            }
            for number in range(10)
        ],
    )
    emulator.advance(timedelta(days=1))
    yield emulator
    emulator.close()


async def start(http: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    body: dict[str, Any] = {"model": "events", "file": {"format": "Parquet"}, **RANGE, **changes}
    return await http.post(PATH, json=body)


async def finished(emulator: Emulator, http: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await start(http, **changes)
    assert answer.status_code == 202, answer.text
    emulator.advance(2)
    state = (await http.get(f"{PATH}{answer.json()['id']}/")).json()
    assert state["status"] == "Completed", state
    return {**state, "id": answer.json()["id"]}


async def located(http: httpx.AsyncClient, run: str, part: str = "") -> str:
    answer = await http.get(f"{PATH}{run}/download/{part}")
    assert (answer.status_code, answer.headers["cache-control"]) == (302, "no-store")
    return answer.headers["location"]


@pytest.fixture
def anonymous(emulator: Emulator, connect: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    return connect(emulator, None)


async def content(
    http: httpx.AsyncClient, anonymous: httpx.AsyncClient, run: str, part: str = ""
) -> bytes:
    answer = await anonymous.get(await located(http, run, part))
    assert answer.status_code == 200, answer.text
    return answer.content


async def test_it_takes_its_time(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.settings.export_seconds = 100
    started = await start(http)
    assert (started.status_code, set(started.json())) == (202, {"id"})
    run = started.json()["id"]
    seen: list[str] = []
    listed: list[str] = []
    for _ in range(14):
        state = (await http.get(f"{PATH}{run}/")).json()
        if state["status"] not in seen:
            seen.append(state["status"])
        listed.append((await http.get(PATH)).json()["results"][0]["status"])
        if state["status"] != "Completed":
            assert set(state) == {"status"}
        emulator.advance(10)
    assert seen == ["Starting", "Running", "Completed"]
    assert listed.index("Completed") == 10, "what is complete may not list its files yet"
    state = (await http.get(f"{PATH}{run}/")).json()
    assert (len(state["files"]), state["records_completed"]) == (1, 10)


@pytest.mark.parametrize("compression", [None, "zstd", "gzip", "brotli", "lz4", "snappy"])
async def test_parquet(
    emulator: Emulator,
    http: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    compression: str | None,
) -> None:
    file = {"format": "Parquet", "compression": compression}
    run = await finished(emulator, http, file=file)
    read = parquet.ParquetFile(io.BytesIO(await content(http, anonymous, run["id"])))
    expected = {"lz4": "LZ4", None: "UNCOMPRESSED"}.get(compression, str(compression).upper())
    assert read.metadata.row_group(0).column(0).compression == expected
    rows = read.read().to_pylist()
    assert len(rows) == run["records_completed"] == 10
    assert rows[0] == {
        "uuid": rows[0]["uuid"],
        "timestamp": DAY + timedelta(hours=11),
        "created_at": DAY + timedelta(hours=12),
        "event": "signup",
        "properties": rows[0]["properties"],
        "distinct_id": "person-0",
        "elements_chain": "",
        "person_properties": '{"plan":"paid"}',
        "person_id": rows[0]["person_id"],
    }
    assert json.loads(rows[0]["properties"])["n"] == 0
    assert len({row["uuid"] for row in rows}) == 10


@pytest.mark.parametrize("compression", [None, "gzip"])
async def test_jsonlines(
    emulator: Emulator,
    http: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    compression: str | None,
) -> None:
    file = {"format": "JSONLines", "compression": compression}
    run = await finished(emulator, http, file=file)
    body = await content(http, anonymous, run["id"])
    text = gzip.decompress(body) if compression else body
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["properties"]["n"] for row in rows] == list(range(10))
    assert rows[1]["timestamp"] == "2026-03-01T11:00:00.000001+00:00"
    assert rows[1]["person_properties"] == {"plan": "paid"}


async def test_only_some_events(
    emulator: Emulator, http: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    for chosen in ({"include": ["signup"]}, {"exclude": ["$pageview"]}):
        run = await finished(emulator, http, file={"format": "JSONLines"}, **chosen)
        body = await content(http, anonymous, run["id"])
        assert {json.loads(line)["event"] for line in body.splitlines()} == {"signup"}


async def test_events_go_by_when_they_arrived(
    emulator: Emulator, http: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    now = emulator.settings.clock()
    emulator.state.events.append(
        1,
        [
            {"event": "late", "distinct_id": "x", "timestamp": now - timedelta(days=2)},
            {"event": "imported", "distinct_id": "x", "timestamp": now - timedelta(days=30)},
        ],
    )
    emulator.advance(timedelta(days=1))
    today = {
        "data_interval_start": now.isoformat(),
        "data_interval_end": (now + timedelta(hours=1)).isoformat(),
    }
    run = await finished(emulator, http, file={"format": "JSONLines"}, **today)
    body = await content(http, anonymous, run["id"])
    assert [json.loads(line)["event"] for line in body.splitlines()] == ["late"]
    assert (await finished(emulator, http))["records_completed"] == 10, "not with those of the day"


async def test_persons(
    emulator: Emulator, http: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    run = await finished(emulator, http, model="persons")
    rows = parquet.read_table(io.BytesIO(await content(http, anonymous, run["id"]))).to_pylist()
    assert sorted(row["distinct_id"] for row in rows) == ["person-0", "person-1", "person-2"]
    assert {row["properties"] for row in rows} == {'{"plan":"paid"}'}


async def test_sessions(
    emulator: Emulator, http: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    run = await finished(emulator, http, model="sessions")
    rows = parquet.read_table(io.BytesIO(await content(http, anonymous, run["id"]))).to_pylist()
    counted = {row["session_id"]: row["pageview_count"] for row in rows}
    assert counted == {"session-0": 0, "session-1": 5}
    assert rows[0]["entry_current_url"] == "https://example.com/0"
    assert rows[0]["end_current_url"] == "https://example.com/8"


async def test_nothing_is_no_file(emulator: Emulator, http: httpx.AsyncClient) -> None:
    run = await finished(emulator, http, include=["never"])
    assert (run["files"], run["records_completed"]) == ([], 0)
    missing = await http.get(f"{PATH}{run['id']}/download/")
    assert (missing.status_code, missing.json()["detail"]) == (404, "No files with index 0")


async def test_parts(
    emulator: Emulator, anonymous: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    emulator.state.events.append(
        1,
        [
            {"event": "big", "distinct_id": "x", "properties": {"n": n, "text": "x" * 1000}}
            for n in range(3000)
        ],
    )
    emulator.advance(timedelta(days=1))
    now = emulator.settings.clock()
    wide = {
        "data_interval_start": (now - timedelta(days=6)).isoformat(),
        "data_interval_end": now.isoformat(),
    }
    file = {"format": "JSONLines", "max_size_mb": 1}
    run = await finished(emulator, http, file=file, include=["big"], **wide)
    assert len(run["files"]) == 4
    numbers: list[int] = []
    for part in run["files"]:
        body = await content(http, anonymous, run["id"], f"{part}/")
        assert len(body) < 1.1 * 1024 * 1024
        numbers += [json.loads(line)["properties"]["n"] for line in body.splitlines()]
    assert sorted(numbers) == list(range(3000))
    by_number = await content(http, anonymous, run["id"], "3/")
    assert by_number == await content(http, anonymous, run["id"], f"{run['files'][3]}/")
    for part, status in (("4/", 404), ("x/", 400), ("018f0000-0000-7000-8000-0000000000ff/", 404)):
        assert (await http.get(f"{PATH}{run['id']}/download/{part}")).status_code == status
    whole = {**file, "max_size_mb": 0}
    assert len((await finished(emulator, http, file=whole, include=["big"], **wide))["files"]) == 1


async def test_ranges(
    emulator: Emulator, http: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    run = await finished(emulator, http)
    url = await located(http, run["id"])
    whole = await anonymous.get(url)
    size, tag = len(whole.content), whole.headers["etag"]
    assert whole.headers["accept-ranges"] == "bytes"

    async def piece(text: str, **headers: str) -> httpx.Response:
        return await anonymous.get(url, headers={"Range": text, **headers})

    middle = await piece("bytes=10-19")
    assert (middle.status_code, middle.content) == (206, whole.content[10:20])
    assert middle.headers["content-range"] == f"bytes 10-19/{size}"
    assert (await piece("bytes=10-")).content == whole.content[10:]
    assert (await piece("bytes=-5")).content == whole.content[-5:]
    assert (await piece(f"bytes={size}-")).status_code == 416
    assert (await piece("lines=1-2")).status_code == 200
    assert (await piece("bytes=0-", **{"If-Match": tag})).status_code == 206
    assert (await piece("bytes=0-", **{"If-Match": '"other"'})).status_code == 412
    head = await anonymous.head(url)
    assert (head.content, head.headers["content-length"]) == (b"", str(size))


async def test_the_store_takes_no_credentials(
    emulator: Emulator, http: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    run = await finished(emulator, http)
    url = await located(http, run["id"])
    assert urlsplit(url).hostname == "object-store.localhost"
    refused = await http.get(url)
    assert (refused.status_code, "Only one auth mechanism" in refused.text) == (400, True)
    followed = await http.get(f"{PATH}{run['id']}/download/", follow_redirects=True)
    assert followed.status_code == 200, "a client that strips the key does well"
    assert (await anonymous.post(url)).status_code == 405


async def test_addresses_expire_and_cannot_be_made_up(
    emulator: Emulator, http: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    run = await finished(emulator, http)
    url = await located(http, run["id"])
    for other in (
        url.replace("X-Amz-Expires=3600", "X-Amz-Expires=9999"),
        url.replace("object-store.localhost", "elsewhere.localhost"),
        url.partition("?")[0],
    ):
        assert (await anonymous.get(other)).status_code == 403
    emulator.advance(3601)
    expired = await anonymous.get(url)
    assert (expired.status_code, "Request has expired" in expired.text) == (403, True)
    assert (await anonymous.get(await located(http, run["id"]))).status_code == 200


async def test_over_a_socket_the_store_is_another_origin(emulator: Emulator) -> None:
    async with serve(emulator) as url, httpx.AsyncClient(timeout=60) as http:
        headers = {"Authorization": f"Bearer {emulator.key}"}
        body = {"model": "events", "file": {}, **RANGE}
        started = await http.post(f"{url}{PATH}", json=body, headers=headers)
        emulator.advance(2)
        path = f"{url}{PATH}{started.json()['id']}/download/"
        answer = await http.get(path, headers=headers)
        location = answer.headers["location"]
        assert urlsplit(location).netloc == urlsplit(url).netloc.replace("127.0.0.1", "localhost")
        assert (await http.get(location)).status_code == 200
        followed = await http.get(path, headers=headers, follow_redirects=True)
        assert (followed.status_code, followed.content[:4]) == (200, b"PAR1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_interval_end": "2026-03-09T00:00:01Z"}, "at most seven days"),
        ({"data_interval_end": "2026-02-28T00:00:00Z"}, "must occur after"),
        ({"data_interval_end": "2026-03-03T00:00:00Z"}, "'data_interval_end' (2026-03-03"),
        ({"hogql_query": "select 1"}, "only supported when 'model' is 'hogql'"),
        ({"file": {"format": "CSV"}}, '"CSV" is not a valid choice.'),
        ({"file": {"format": "JSONLines", "compression": "zstd"}}, "use one of: gzip, brotli"),
        ({"file": {"format": "JSONLines", "compression": "brotli"}}, "does not support JSONLines"),
        ({"file": {"max_size_mb": -1}}, "greater than or equal to 0"),
        ({"model": "actions"}, '"actions" is not a valid choice.'),
    ],
)
async def test_what_is_refused(http: httpx.AsyncClient, changes: Any, words: str) -> None:
    answer = await start(http, **changes)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


async def test_a_range_is_needed(http: httpx.AsyncClient) -> None:
    answer = await http.post(PATH, json={"model": "events", "file": {}})
    assert (answer.status_code, "Provide both bounds" in answer.json()["detail"]) == (400, True)


async def test_hogql_is_not_for_everybody(http: httpx.AsyncClient) -> None:
    query = {"model": "hogql", "hogql_query": "select 1 as one"}
    for path, body in ((PATH, {**query, "file": {}, **RANGE}), (f"{PATH}count_rows/", query)):
        answer = await http.post(path, json=body)
        assert (answer.status_code, "not enabled" in answer.json()["detail"]) == (403, True)


@pytest.mark.parametrize("format", ["Parquet", "JSONLines"])
async def test_hogql_where_it_is_open(
    emulator: Emulator, http: httpx.AsyncClient, anonymous: httpx.AsyncClient, format: str
) -> None:
    emulator.settings.allow_hogql_exports = True
    sql = (
        'SELECT properties.n AS number, event AS "the event" FROM events '
        "WHERE timestamp >= {data_interval_start} AND timestamp < {data_interval_end} "
        "ORDER BY number DESC"
    )
    state = await finished(emulator, http, model="hogql", hogql_query=sql, file={"format": format})
    body = await content(http, anonymous, state["id"])
    if format == "Parquet":
        rows = parquet.read_table(io.BytesIO(body)).to_pylist()
    else:
        rows = [json.loads(line) for line in body.splitlines()]
    listed = (await http.get("/api/projects/1/events/", params={"limit": 100})).json()["results"]
    assert state["records_completed"] == len(rows) == len(listed) == 10
    assert [int(float(row["number"])) for row in rows] == list(range(9, -1, -1))
    assert {row["the event"] for row in rows} == {event["event"] for event in listed}


async def test_rows_of_hogql_are_counted(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.settings.allow_hogql_exports = True

    async def counted(sql: str) -> httpx.Response:
        body = {"model": "hogql", "hogql_query": sql}
        return await http.post(f"{PATH}count_rows/", json=body)

    # As many as there are, not as many as a query is answered with.
    assert (await counted("SELECT number AS n FROM numbers(70000)")).json() == {"count": 70_000}
    for sql, words in (
        ("SELECT event FROM events", "needs an alias"),
        ("SELECT * FROM events", "needs an alias"),
        ("SELECT nothing AS n FROM events", "nothing"),
        ("SELECT toInt(", ""),
        ("SELECT event AS e FROM events WHERE timestamp > {data_interval_start}", "data_interval"),
    ):
        answer = await counted(sql)
        assert (answer.status_code, words in answer.json()["detail"]) == (400, True), sql
    missing = await start(http, model="hogql")
    assert (missing.status_code, missing.json()["attr"]) == (400, "hogql_query")


async def test_too_many_at_once(emulator: Emulator, http: httpx.AsyncClient) -> None:
    for _ in range(3):
        assert (await start(http)).status_code == 202
    refused = await start(http)
    assert refused.json() == {
        "type": "server_error",
        "code": "too_many_concurrent_file_downloads",
        "detail": "Too many concurrent file download batch exports for this team.",
        "attr": None,
    }
    assert (refused.status_code, "retry-after" in refused.headers) == (429, False)
    emulator.advance(2)
    assert (await start(http)).status_code == 202


async def test_cancelling(emulator: Emulator, http: httpx.AsyncClient) -> None:
    run = (await start(http)).json()["id"]
    early = await http.get(f"{PATH}{run}/download/")
    assert early.json()["detail"] == "Batch export run is still in progress"
    answer = await http.post(f"{PATH}{run}/cancel/")
    assert (answer.status_code, answer.json()) == (200, {"status": "Cancelled"})
    emulator.advance(10)
    assert (await http.get(f"{PATH}{run}/")).json() == {"status": "Cancelled"}
    again = await http.post(f"{PATH}{run}/cancel/")
    detail = "Cannot cancel a run that is in 'Cancelled' status"
    assert (again.status_code, again.json()["detail"]) == (400, detail)
    late = await http.get(f"{PATH}{run}/download/")
    assert late.json()["detail"] == "Batch export run was cancelled"


async def test_a_run_may_fail(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.settings.export_error = "The cluster is on fire"
    run = (await start(http)).json()["id"]
    emulator.advance(2)
    state = (await http.get(f"{PATH}{run}/")).json()
    assert state == {"status": "Failed", "error": "The cluster is on fire"}
    refused = await http.get(f"{PATH}{run}/download/")
    assert refused.json()["detail"] == "Batch export run has failed"


async def test_the_list_has_the_latest_first(emulator: Emulator, http: httpx.AsyncClient) -> None:
    ids = [(await start(http)).json()["id"] for _ in range(3)]
    page = (await http.get(PATH)).json()
    assert [one["id"] for one in page["results"]] == ids[::-1]
    for path in (f"{PATH}018f0000-0000-7000-8000-0000000000ff/", f"{PATH}none/download/"):
        assert (await http.get(path)).status_code == 404
