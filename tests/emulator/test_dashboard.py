"""The page at `/`: what is in it, and that a real browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from tinyhtml5.parser import HTMLParser as BrowserParser

from posthog_emulator import Emulator, serve_sync
from posthog_emulator.admin.page import relative_time

from . import widget_api
from .conftest import client

START = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


class Page(HTMLParser):
    """The text of each element of interest, and every address the document points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[list[str]] = []
        self.pointers: list[str] = []
        self.bars = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"input", "link", "meta"}:
            self.open.append(tag)
        self.bars += tag == "rect"
        self.pointers += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag == "tr":
            self.cells.append([])
        if tag in {"td", "th"}:
            self.cells[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & {*self.open}:
            self.cells[-1][-1] += data


async def got(emulator: Emulator) -> str:
    async with client(emulator, key=None) as http:
        answer = await http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    return answer.text


@pytest.mark.anyio
async def test_an_empty_one(tiny: Emulator) -> None:
    page = Page(await got(tiny))
    assert page.open == []
    assert page.pointers == ["data:,"]
    assert page.bars == 0


@pytest.mark.anyio
async def test_resources_requests_events_and_limits(tiny: Emulator) -> None:
    emulator = Emulator(rate_limits=True)
    emulator.freeze(START)
    emulator.seed("cohorts", 1234)
    async with client(emulator) as http:
        flag = (await http.post("/api/projects/1/feature_flags/", json={"key": "a"})).json()
        await http.patch(f"/api/projects/1/feature_flags/{flag['id']}/", json={"deleted": True})
        emulator.faults.fail(503)
        await http.get("/api/projects/1/cohorts/")
        emulator.faults.drop()
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/api/projects/1/cohorts/")
    for minutes, count in ((0, 3), (1, 5), (7, 1)):
        emulator.advance(timedelta(minutes=minutes))
        happened = [{"event": "e", "distinct_id": f"p{n}"} for n in range(count)]
        emulator.state.events.append(1, happened)
    text = await got(emulator)
    page = Page(text)
    assert page.open == []
    assert ["cohorts", "1,234", ""] in page.cells
    assert ["feature_flags", "0", "1"] in page.cells
    requests = [row[:4] for row in page.cells if row[1] in {"GET", "PATCH", "POST"}]
    assert requests == [
        ["8 min ago", "GET", "dropped", "/api/projects/1/cohorts/"],
        ["8 min ago", "GET", "503", "/api/projects/1/cohorts/"],
        [
            "8 min ago", "PATCH", "200",
            f"/api/projects/1/feature_flags/{flag['id']}/feature_flags.delete",
        ],
        ["8 min ago", "POST", "201", "/api/projects/1/feature_flags/feature_flags.create"],
    ]  # fmt: skip
    assert page.bars == 3
    for name, value in (("Events", "9"), ("Persons", "5"), ("Requests", "4")):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in text
    assert "<title>3 events at 12:00, 8 min ago</title>" in text
    assert "<title>1 event at 12:08, this minute</title>" in text
    assert "60 min ago</text>" in text
    assert "now</text>" in text
    assert "now 2026-03-01 12:08:30 UTC, frozen" in text
    (sustained,) = [row for row in page.cells if row[0].startswith("sustained")]
    assert sustained[1].strip() == "2 / 4,800"
    assert "phx_emulator" not in text
    assert Page(await got(tiny)).cells != page.cells


@pytest.mark.anyio
async def test_what_happened_long_ago_is_shown_as_the_last_hour(tiny: Emulator) -> None:
    tiny.freeze(START)
    tiny.state.events.append(1, [{"event": "e", "distinct_id": "a"}])
    tiny.advance(timedelta(days=30))
    text = await got(tiny)
    assert "<title>1 event at 12:00, 30 d ago</title>" in text
    assert "the last hour with events, 30 d ago" in text
    assert "2026-03-01 12:01</text>" in text
    assert "now</text>" not in text


@pytest.mark.anyio
async def test_everything_is_escaped(tiny: Emulator) -> None:
    evil = "<script>alert(1)</script>"
    tiny.state.accounts.account = type(tiny.state.accounts.account)(project_name=evil)
    async with client(tiny) as http:
        await http.get(f"/api/{evil}/&quot;/", headers={"x": evil})
        await http.request("<B>", "/api/projects/1/widgets/")
        event = {"event": evil, "distinct_id": evil, "properties": {evil: evil}}
        await http.post("/e/", json={"api_key": "phc_emulator", **event})
    text = await got(tiny)
    assert text.count("<script") == 1
    assert text.count("&lt;script&gt;alert(1)") >= 6
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;B&gt;" in text
    assert Page(text).open == []


@pytest.fixture
def seeded() -> Emulator:
    """An emulator with seven widgets and an event."""
    emulator = Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS)
    emulator.seed("widgets", 7)
    emulator.state.events.append(1, [{"event": "e", "distinct_id": "a"}])
    return emulator


@pytest.mark.anyio
async def test_a_browser_reads_the_page_as_it_is_written(seeded: Emulator) -> None:
    """Build the page's tree by the algorithm that browsers follow, which repairs what is wrong."""
    parser = BrowserParser(namespace_html_elements=False)
    tree = parser.parse(await got(seeded))
    assert parser.errors == []
    assert tree is not None
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    assert ["widgets", "7", ""] in rows
    assert len(list(tree.iter("{http://www.w3.org/2000/svg}rect"))) == 1


@pytest.mark.anyio
async def test_live_events(tiny: Emulator) -> None:
    tiny.freeze(START)
    async with client(tiny) as http:
        for name in ("first", "second"):
            event = {"event": name, "distinct_id": "ada", "properties": {"plan": name}}
            await http.post("/e/", json={"api_key": "phc_emulator", **event})
            tiny.advance(12)
    page = Page(await got(tiny))
    events = [row for row in page.cells if "ada" in row]
    assert [(row[0], row[1]) for row in events] == [("12 s ago", "second"), ("24 s ago", "first")]
    assert '"plan": "second"' in events[0][3]


@pytest.mark.anyio
async def test_hints(tiny: Emulator) -> None:
    text = await got(tiny)
    assert "curl http://emulator/i/v0/e/ --json" in text
    assert "--rate-limits" in text
    assert "phx_" not in text


@pytest.mark.anyio
async def test_only_its_own_script_runs(tiny: Emulator) -> None:
    async with client(tiny, key=None) as http:
        first, second = await http.get("/"), await http.get("/")
    nonces = [re.findall(r'<script nonce="([^"]+)">', answer.text) for answer in (first, second)]
    assert nonces[0] != nonces[1]
    for answer, (nonce,) in zip((first, second), nonces, strict=True):
        policy = answer.headers["content-security-policy"]
        assert f"script-src 'nonce-{nonce}'" in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"), (0.9, "now"), (1, "1 s ago"), (59, "59 s ago"), (60, "1 min ago"),
        (3_599, "59 min ago"), (7_200, "2 h ago"), (172_800, "2 d ago"), (-90, "in 1 min"),
    ],
)  # fmt: skip
def test_relative_times(seconds: float, text: str) -> None:
    assert relative_time(START - timedelta(seconds=seconds), START) == text


QUERY = "/_emulator/query"


@pytest.mark.anyio
async def test_queries_of_the_page(emulator: Emulator) -> None:
    emulator.state.events.append(1, [{"event": "paid", "distinct_id": "ada"}] * 3)
    async with client(emulator, key=None) as http:
        sent = {"query": "SELECT event, count() AS n FROM events GROUP BY event"}
        answer = await http.post(QUERY, json=sent)
        assert answer.status_code == 200
        assert (answer.json()["columns"], answer.json()["results"]) == (
            ["event", "n"], [["paid", 3]],
        )  # fmt: skip
        emulator.state.events.append(1, [{"event": "paid", "distinct_id": "ada"}])
        again = await http.post(QUERY, json=sent)
        assert again.json()["results"] == [["paid", 4]]
        wrong = await http.post(QUERY, json={"query": "SELECT nothing FROM nowhere"})
        assert (wrong.status_code, wrong.json()["type"]) == (400, "validation_error")
        for content in (b"{}", b"{", b"[]", b'{"query": 3}'):
            missing = await http.post(QUERY, content=content)
            assert (missing.status_code, missing.json()["attr"]) == (400, "query")
        assert (await http.get(QUERY)).status_code == 405
        site = {"Origin": "https://shop.example"}
        assert (await http.post(QUERY, json=sent, headers=site)).status_code == 403
    assert emulator.requests == []


@pytest.mark.browser
def test_a_real_browser_shows_it(seeded: Emulator, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium is not None, "install Chromium for the tests that are marked `browser`"
    picture = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    with serve_sync(seeded) as url:
        shown = subprocess.run(
            [chromium, *options, "--virtual-time-budget=3000", "--dump-dom", f"{url}/"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        subprocess.run(
            [chromium, *options, "--window-size=900,900", f"--screenshot={picture}", url],
            capture_output=True, timeout=120,
        )  # fmt: skip
    page = Page(shown.stdout.removeprefix("<!DOCTYPE html>"))
    assert ["widgets", "7", ""] in page.cells
    assert page.bars == 1
    # The script has run: it shows what needs it.
    assert '<form id="console">' in shown.stdout
    assert picture.stat().st_size > 10_000
