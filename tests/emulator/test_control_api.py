"""The control API below `/_emulator/`."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator, serve

from .conftest import client

pytestmark = pytest.mark.anyio

WIDGETS = "/api/projects/1/widgets/"


class Controls:
    """A client without an API key."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(self, name: str, **fields: Any) -> Any:
        answer = await self.http.post(f"/_emulator/{name}", json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def get(self, name: str, **query: Any) -> Any:
        answer = await self.http.get(f"/_emulator/{name}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def controls(tiny: Emulator) -> Controls:
    return Controls(client(tiny, key=None))


async def test_overview(controls: Controls) -> None:
    overview = await controls.get("")
    assert overview["project_id"] == 1
    assert overview["personal_api_key"] == "phx_emulator"
    assert overview["post"]["/_emulator/faults/fail"]["status"] == "integer!"
    assert "/_emulator/requests" in overview["get"]


async def test_errors(controls: Controls, tiny_http: httpx.AsyncClient) -> None:
    assert await controls.post(
        "faults/fail", status=429, retry_after=2, times=2, path="*/widgets/"
    ) == {"ok": True}
    answers = [await tiny_http.get(WIDGETS) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "2"
    await controls.post("faults/fail", status=503, times=None)
    assert [(await tiny_http.get(WIDGETS)).status_code for _ in range(2)] == [503, 503]
    await controls.post("faults/clear")
    await controls.post("faults/error_bursts", size=1, every=2)
    assert [(await tiny_http.get(WIDGETS)).status_code for _ in range(2)] == [200, 429]
    await controls.post("reset")
    await controls.post("faults/error_rates", rates={"500": 1.0})
    assert (await tiny_http.get(WIDGETS)).status_code == 500


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("faults/mutate_fields", {"kinds": ["extra"], "rate": 1}),
        ("faults/mutate_fields", {}),
        ("faults/mutate_links", {"kinds": ["http"]}),
        ("faults/mutate_pages", {"kinds": ["shuffle"], "seed": 3}),
        ("faults/corrupt_json", {"times": 2}),
        ("faults/html_error", {"status": 200}),
        ("faults/drop", {"reset": True}),
        ("faults/truncate", {"cut": True}),
        ("faults/latency", {"seconds": "uniform 0 0.001"}),
        ("faults/latency", {"seconds": 0, "path": None}),
        ("faults/randomize", {"rate": 0.5, "kinds": ["500"]}),
        ("faults/randomize", {}),
        ("apply_pending_changes", {}),
        ("save", {}),
        ("unfreeze", {}),
        ("add_project", {"project_id": 2}),
        ("add_key", {"value": "phx_more", "scopes": ["widget:read"], "projects": [1]}),
    ],
    ids=str,
)
async def test_other_commands(controls: Controls, name: str, fields: dict[str, Any]) -> None:
    assert await controls.post(name, **fields)


async def test_objects(controls: Controls, tiny: Emulator) -> None:
    assert (await controls.post("add", resource="widgets", fields={"name": "a"}))["name"] == "a"
    assert await controls.post("seed", resource="widgets", count=3) == {"added": 3}
    found = await controls.get("items", resource="widgets")
    assert found["count"] == 4 == len(tiny.items("widgets"))
    await controls.post("add", resource="widgets.parts", parents=[1], fields={"name": "p"})
    assert (await controls.get("items", resource="widgets.parts", parent=1))["count"] == 1
    await controls.post("reset")
    assert (await controls.get("items", resource="widgets"))["count"] == 0


async def test_requests(controls: Controls, tiny_http: httpx.AsyncClient) -> None:
    await tiny_http.post(WIDGETS, json={"name": "a"})
    await tiny_http.get(WIDGETS, params={"limit": 1, "colour": "red"})
    found = (await controls.get("requests", method="POST"))["results"]
    assert [(r["path"], r["body"], r["status"], r["operation"]) for r in found] == [
        (WIDGETS, {"name": "a"}, 201, "widgets.create")
    ]
    assert "authorization" not in found[0]["headers"]
    assert found[0]["seconds"] > 0
    assert (await controls.get("requests", status="400"))["count"] == 1
    assert (await controls.get("requests", operation="widgets.*", path="*/widgets/"))["count"] == 2
    assert (await controls.get("warnings"))["count"] == 1
    assert (await controls.http.delete("/_emulator/requests")).json() == {"ok": True}
    assert (await controls.http.delete("/_emulator/warnings")).json() == {"ok": True}
    assert (await controls.get("requests"))["count"] == (await controls.get("warnings"))["count"]


async def test_time(controls: Controls, tiny: Emulator) -> None:
    frozen = await controls.post("freeze", at="2026-03-01T12:00:00Z")
    assert frozen == {"now": "2026-03-01T12:00:00+00:00"}
    assert await controls.post("advance", seconds=60) == {"now": "2026-03-01T12:01:00+00:00"}
    assert tiny.now.minute == 1


async def test_settings(controls: Controls, tiny: Emulator) -> None:
    response = await controls.post(
        "settings", rate_limits=True, next_host="http://a", stale_person_reads=3
    )
    assert (response["rate_limits"], response["strict"], tiny.settings.stale_person_reads) == (
        True,
        None,
        3,
    )
    assert (await controls.post("settings", next_host=None))["next_host"] is None
    assert (await controls.post("settings", strict=True))["strict"] is True
    assert (await controls.post("settings", strict=None))["strict"] is None


async def test_captured_events(controls: Controls) -> None:
    event = {"event": "signed up", "distinct_id": "ada", "properties": {"plan": "pro"}}
    sent = await controls.http.post("/i/v0/e/", json={"api_key": "phc_emulator", **event})
    assert sent.status_code == 200
    (found,) = (await controls.get("captured_events", event="signed up"))["results"]
    assert found["properties"]["plan"] == "pro"
    assert (await controls.get("captured_events", event="other"))["count"] == 0


async def test_flags(emulator: Emulator) -> None:
    controls = Controls(client(emulator, key=None))
    flag = await controls.post("set_flag", key="nav", variant="b", payload={"x": 1})
    assert flag["key"] == "nav"
    asked = {"api_key": "phc_emulator", "distinct_id": "ada"}
    flags = (await controls.http.post("/flags/?v=2", json=asked)).json()["flags"]
    assert flags["nav"]["variant"] == "b"


@pytest.mark.parametrize(
    ("name", "fields", "attr", "said"),
    [
        ("faults/fail", {}, "status", "required"),
        ("faults/fail", {"status": "503"}, "status", "must be: integer"),
        ("faults/fail", {"status": True}, "status", "must be: integer"),
        ("faults/fail", {"status": 500, "often": 1}, "often", "no such field"),
        ("faults/fail", {"status": 500, "times": 0}, None, "times must be at least 1"),
        ("faults/mutate_fields", {"kinds": ["extinct"]}, None, "kinds are some of"),
        ("faults/mutate_fields", {"kinds": "extra"}, "kinds", "must be: strings"),
        ("faults/error_rates", {"rates": {"often": 1}}, None, "invalid literal"),
        ("faults/error_rates", {"rates": {"500": "x"}}, "rates", "must be: object of numbers"),
        ("faults/latency", {"seconds": "long"}, None, "a latency is"),
        ("freeze", {"at": "noon"}, None, "noon"),
        ("add", {"resource": "gadgets"}, None, "no collection 'gadgets'"),
        ("seed", {"resource": "widgets", "count": -1}, None, "must not be negative"),
        ("settings", {"query_plan": "golden"}, None, "query_plan must be"),
        ("advance", {"seconds": "1"}, "seconds", "must be: number"),
    ],
    ids=str,
)
async def test_invalid_fields(
    controls: Controls, name: str, fields: dict[str, Any], attr: str | None, said: str
) -> None:
    answer = await controls.http.post(f"/_emulator/{name}", json=fields)
    assert answer.status_code == 400
    assert answer.json()["attr"] == attr
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/_emulator/explode", "{}", 404),
        ("GET", "/_emulator/faults/fail", "", 405),
        ("POST", "/_emulator/requests", "{}", 405),
        ("DELETE", "/_emulator/items", "", 405),
        ("POST", "/_emulator/faults/fail", "{", 400),
        ("POST", "/_emulator/faults/fail", "[]", 400),
        ("GET", "/_emulator/items", "", 400),
        ("GET", "/_emulator/items?resource=gadgets", "", 400),
        ("GET", "/_emulator/requests?status=bad", "", 400),
        ("POST", "/", "", 405),
    ],
)
async def test_invalid_requests(
    controls: Controls, method: str, path: str, content: str, status: int
) -> None:
    answer = await controls.http.request(method, path, content=content)
    assert answer.status_code == status
    assert answer.json().keys() == {"type", "code", "detail", "attr"}


async def test_control_requests_are_not_logged_and_have_no_faults(
    controls: Controls, tiny: Emulator
) -> None:
    tiny.faults.fail(500, times=None)
    tiny.faults.randomize(1)
    tiny.settings.html_errors = True
    assert (await controls.get("requests"))["count"] == 0
    assert (await controls.http.get("/")).status_code == 200
    assert tiny.requests == []


@pytest.mark.parametrize("path", ["/", "/_emulator/", "/_emulator/requests"])
@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("127.0.0.1", {"origin": "http://localhost:3000"}, 200),
        ("10.0.0.7", {}, 403),
        ("203.0.113.5", {}, 403),
        ("127.0.0.1", {"origin": "https://evil.example"}, 403),
        ("127.0.0.1", {"origin": "null"}, 403),
    ],
)
async def test_only_this_machine_has_access(
    tiny: Emulator, path: str, address: str, headers: dict[str, str], status: int
) -> None:
    transport = httpx.ASGITransport(tiny.app, client=(address, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://emulator") as http:
        assert (await http.get(path, headers=headers)).status_code == status


async def test_on_a_socket(tiny: Emulator) -> None:
    async with serve(tiny) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
        assert (await http.post("/_emulator/seed", json={"resource": "widgets", "count": 2})).json()
        assert (await http.get(f"{url}/_emulator")).json()["project_id"] == 1
        assert (await http.get("/")).headers["content-type"] == "text/html; charset=utf-8"
