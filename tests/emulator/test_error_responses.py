"""Every error response of the server: caused by a request, and injected."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from posthog_emulator import FIDELITY_HEADER, Emulator

pytestmark = pytest.mark.anyio
Connect = Callable[..., httpx.AsyncClient]

P = "/api/projects/1"
COHORTS = f"{P}/cohorts/"
UNKNOWN = "018f0000-0000-7000-8000-0000000000ff"
Ask = tuple[str, str, dict[str, Any]]


def envelope(type: str, code: str, detail: str, attr: str | None = None) -> dict[str, Any]:
    return {"type": type, "code": code, "detail": detail, "attr": attr}


def sent(media: str, content: bytes | str) -> dict[str, Any]:
    return {"headers": {"Content-Type": media}, "content": content}


NATURAL: list[tuple[Ask, int, Any]] = [
    (
        ("POST", f"{P}/surveys/", {"json": {"type": "popover"}}),
        400,
        envelope("validation_error", "required", "This field is required.", "name"),
    ),
    (
        ("POST", COHORTS, {"json": {"name": 7}}),
        400,
        envelope("validation_error", "invalid_input", "Not a valid string.", "name"),
    ),
    (
        ("POST", COHORTS, {"json": {"filters": {"properties": 7}, "is_static": "perhaps"}}),
        400,
        envelope(
            "validation_error",
            "invalid_input",
            "Invalid data. Expected a dictionary, but got int.",
            "filters__properties",
        ),
    ),
    (
        ("POST", COHORTS, sent("application/json", "{")),
        400,
        envelope(
            "invalid_request",
            "parse_error",
            "JSON parse error - Expecting property name enclosed in double quotes: "
            "line 1 column 2 (char 1)",
        ),
    ),
    (
        ("POST", COHORTS, sent("text/csv", "a,b")),
        415,
        envelope(
            "invalid_request",
            "unsupported_media_type",
            'Unsupported media type "text/csv" in request.',
        ),
    ),
    (
        ("POST", COHORTS, sent("application/json", b" " * (20_971_520 + 1))),
        413,
        envelope("invalid_request", "request_too_large", "The request body is too large."),
    ),
    (
        ("GET", f"{COHORTS}77/", {}),
        404,
        envelope("invalid_request", "not_found", "Not found."),
    ),
    (
        ("GET", "/api/nothing/at/all/", {}),
        404,
        envelope("invalid_request", "not_found", "Endpoint not found."),
    ),
    (
        ("PUT", COHORTS, {}),
        405,
        envelope("invalid_request", "method_not_allowed", 'Method "PUT" not allowed.'),
    ),
    (("DELETE", f"{COHORTS}1/", {}), 405, b""),
    (
        ("GET", f"{P}/events/7/", {}),
        400,
        {"detail": "Invalid UUID", "code": "invalid", "type": "validation_error"},
    ),
    (("POST", f"{P}/logs/query/", {"json": {}}), 400, {"error": "No query provided"}),
    (
        ("GET", f"{P}/query/7/", {}),
        404,
        envelope("invalid_request", "not_found", "Query 7 not found for team 1"),
    ),
    (
        ("GET", f"{P}/batch_exports/{UNKNOWN}/runs/", {"params": {"cursor": "?"}}),
        404,
        envelope("invalid_request", "not_found", "Not found."),
    ),
]


@pytest.mark.parametrize(
    ("ask", "status", "body"), NATURAL, ids=[f"{ask[0]} {ask[1]} {s}" for ask, s, _ in NATURAL]
)
async def test_errors_caused_by_requests(
    emulator: Emulator, http: httpx.AsyncClient, ask: Ask, status: int, body: Any
) -> None:
    emulator.add("cohorts")
    method, path, more = ask
    answer = await http.request(method, path, **more)
    assert answer.status_code == status
    assert (answer.content if isinstance(body, bytes) else answer.json()) == body
    assert answer.headers[FIDELITY_HEADER] == "error"


ON_DEMAND: list[tuple[int, dict[str, Any], dict[str, str], Any]] = [
    (402, {"code": "payment_required"}, {}, "server_error"),
    (402, {"code": "quota_limit_exceeded"}, {}, "server_error"),
    (402, {"code": "api_queries_quota_exceeded"}, {}, "server_error"),
    (409, {"code": "conflict"}, {}, "server_error"),
    (409, {"code": "protected_error"}, {}, "invalid_request"),
    (429, {"code": "too_many_concurrent_backfills"}, {}, "server_error"),
    (429, {"code": "too_many_concurrent_file_downloads"}, {}, "server_error"),
    (429, {"code": "throttled", "retry_after": 1}, {"retry-after": "1"}, "throttled_error"),
    (400, {"code": "illegal_type_of_argument"}, {}, "validation_error"),
    (400, {"code": "parse_error"}, {}, "invalid_request"),
    (400, {"code": "unique", "attr": "key", "detail": "Taken."}, {}, "validation_error"),
    (500, {"code": "error", "detail": "Query size exceeded."}, {}, "server_error"),
    (503, {"code": "database_unavailable"}, {"retry-after": "1"}, "server_error"),
    (503, {"code": "error"}, {}, "server_error"),
    (504, {"code": "error"}, {}, "server_error"),
    (512, {}, {}, "server_error"),
    (513, {}, {}, "server_error"),
]


@pytest.mark.parametrize(("status", "arguments", "headers", "type"), ON_DEMAND, ids=str)
async def test_injected_errors_by_code(
    emulator: Emulator,
    http: httpx.AsyncClient,
    status: int,
    arguments: dict[str, Any],
    headers: dict[str, str],
    type: str,
) -> None:
    emulator.faults.fail(status, **arguments)
    answer = await http.get(COHORTS)
    body = answer.json()
    assert (answer.status_code, body["type"], body["attr"]) == (status, type, arguments.get("attr"))
    assert body["code"] == arguments.get("code", body["code"])
    assert body["detail"] == arguments.get("detail", body["detail"])
    assert body["detail"]
    assert {name: answer.headers[name] for name in headers} == headers
    assert ("retry-after" in answer.headers) is bool(headers)
    assert answer.headers[FIDELITY_HEADER] == "fault"
    code = arguments.get("code")
    if code is not None and arguments.keys() == {"code"}:
        again = await http.get(COHORTS, headers={"X-Emulator-Fail": f"{status}; code={code}"})
        assert (again.status_code, again.json()) == (status, body)
    assert (await http.get(COHORTS)).status_code == 200


def test_a_body_or_parts_of_the_envelope(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="a body replaces the error envelope"):
        emulator.faults.fail(400, code="unique", body="text")


@pytest.mark.parametrize(
    ("body", "media"),
    [
        ({"success": False, "detail": "Unable to delete property"}, "application/json"),
        ({"detail": "Failed to start"}, "application/json"),
        ({"type": "x", "code": "y", "detail": "z", "attr": None, "extra": [1]}, "application/json"),
        ({"type": "server_error", "code": "error", "error_event_id": UNKNOWN}, "application/json"),
        ("Your country is not served.", "text/plain; charset=utf-8"),
        ("", "text/plain; charset=utf-8"),
    ],
    ids=str,
)
async def test_bodies_without_envelope(
    emulator: Emulator, http: httpx.AsyncClient, body: Any, media: str
) -> None:
    emulator.faults.fail(403, body=body)
    answer = await http.get(COHORTS)
    assert answer.status_code == 403
    assert answer.content == (body.encode() if isinstance(body, str) else answer.content)
    if isinstance(body, str):
        assert answer.headers.get("content-type", media) == media
    else:
        assert (answer.json(), answer.headers["content-type"]) == (body, media)


async def test_429_has_retry_after(connect: Connect) -> None:
    emulator = Emulator(rate_limits=True)
    emulator.rate_limits.override("burst", 1, 1, 60)
    async with connect(emulator) as http:
        url = f"{P}/cohorts/"
        answers = [await http.get(url) for _ in range(2)]
    assert [a.headers[FIDELITY_HEADER] for a in answers] == ["stateful", "error"]
    after = answers[1].headers["retry-after"]
    assert answers[1].json() == envelope(
        "throttled_error",
        "throttled",
        f"Request was throttled. Expected available in {after} seconds.",
    )


async def test_fidelity_of_html_errors(connect: Connect) -> None:
    emulator = Emulator(html_errors=True)
    async with connect(emulator, "phx_other") as http:
        answer = await http.get(COHORTS)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html")
    assert answer.headers[FIDELITY_HEADER] == "error"


async def test_a_rejected_query(http: httpx.AsyncClient) -> None:
    wrong = {"kind": "HogQLQuery", "query": "SELECT nothing FROM events"}
    answer = await http.post(f"{P}/query/", json={"query": wrong})
    assert (answer.status_code, answer.headers[FIDELITY_HEADER]) == (400, "error")
    assert answer.json().keys() == {"type", "code", "detail", "attr"}


async def test_an_oauth_token(connect: Connect) -> None:
    emulator = Emulator(rate_limits=True)
    emulator.add_key("pha_bare", scopes=[])
    emulator.add_key("pha_token", scopes=["cohort:read"])
    emulator.rate_limits.override("burst", 1, 1, 60)
    async with connect(emulator, "pha_bare") as http:
        answer = await http.get(COHORTS)
        assert (answer.status_code, answer.json()["detail"]) == (
            403, "OAuth token has no scopes and cannot access this resource",
        )  # fmt: skip
    async with connect(emulator, "pha_token") as http:
        # What counts by personal key does not count these.
        assert [(await http.get(COHORTS)).status_code for _ in range(3)] == [200] * 3
        created = await http.post(COHORTS, json={"name": "a"})
        assert created.json()["detail"] == "API key missing required scope 'cohort:write'"


async def test_a_foreign_project(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.add_project(9, member=False)
    answer = await http.get("/api/projects/9/cohorts/")
    assert answer.status_code == 403
    assert answer.json() == envelope(
        "authentication_error", "permission_denied", "You don't have access to the project."
    )
    listed = (await http.get("/api/projects/")).json()["results"]
    assert [project["id"] for project in listed] == [1]
    emulator.add_project(9)
    assert (await http.get("/api/projects/9/cohorts/")).status_code == 200


async def test_redirect_environments(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.settings.redirect_environments = True
    answer = await http.get("/api/environments/1/cohorts/?limit=2")
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["location"] == "http://emulator/api/projects/1/cohorts/?limit=2"
    http.follow_redirects = True
    made = await http.post("/api/environments/1/cohorts/", json={"name": "moved"})
    assert (made.status_code, made.json()["name"]) == (201, "moved")


async def test_fidelity_header(emulator: Emulator, http: httpx.AsyncClient) -> None:
    async def worth(path: str, **headers: str) -> str:
        return (await http.get(path, headers=headers)).headers[FIDELITY_HEADER]

    cohort, _ = emulator.add("cohorts"), emulator.add("cohorts")
    assert await worth(COHORTS) == "stateful"
    assert await worth(f"{P}/health_issues/summary/") == "schema"
    assert await worth(f"{COHORTS}77/") == "error"
    assert await worth(COHORTS, **{"X-Emulator-Fail": "500"}) == "fault"
    assert await worth(COHORTS, **{"X-Emulator-Fail": "nonsense"}) == "error"
    assert await worth(COHORTS, **{"X-Emulator-Break": "html"}) == "fault"
    for name, kind in (
        ("Break", "truncate"),
        ("Break", "corrupt-json"),
        ("Fields", "extra"),
        ("Links", "foreign"),
        ("Pages", "reorder"),
    ):
        assert await worth(f"{COHORTS}?limit=1", **{f"X-Emulator-{name}": kind}) == "fault"
    assert await worth(f"{COHORTS}{cohort['id']}/", **{"X-Emulator-Pages": "reorder"}) == "stateful"
    assert await worth(COHORTS, **{"X-Emulator-Latency": "0"}) == "stateful"
    assert json.loads((await http.get(COHORTS)).content)["count"] == 2
