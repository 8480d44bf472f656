"""Which operation a path is routed to."""

from __future__ import annotations

import httpx
import pytest

from posthog_emulator import Emulator
from posthog_emulator.api_schema import ApiSchema, load_registry_schema

from . import widget_api

NOT_FOUND = {
    "type": "invalid_request",
    "code": "not_found",
    "detail": "Endpoint not found.",
    "attr": None,
}

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api/nothing/",
        "/api/projects/1/widgets//",
        "/api/projects/1/nothing",
        "/api/projects//widgets/",
        "/api/projects/1/widgets/1/polish/more/",
        "/api/environments/1/nothing/",
    ],
)
async def test_an_unknown_path_is_a_404_envelope(tiny_http: httpx.AsyncClient, path: str) -> None:
    answer = await tiny_http.get(path)
    assert answer.status_code == 404
    assert answer.json() == NOT_FOUND


async def test_the_trailing_slash_is_optional(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    assert (await tiny_http.post("/api/projects/1/widgets", json={"name": "a"})).status_code == 201
    await tiny_http.post("/api/projects/1/widgets/", json={"name": "b"})
    page = await tiny_http.get("/api/projects/1/widgets", params={"limit": 1})
    assert (page.status_code, page.json()["count"]) == (200, 2)
    assert page.json()["next"] == "http://emulator/api/projects/1/widgets?limit=1&offset=1"
    for path in ("/api/projects/1/widgets/1", "/api/projects/1/files/a/b"):
        assert (await tiny_http.get(path)).status_code == 200
    assert tiny.warnings[0] == "POST /api/projects/1/widgets: no trailing slash"


async def test_a_wrong_method_is_a_405_envelope(tiny_http: httpx.AsyncClient) -> None:
    answer = await tiny_http.put("/api/projects/1/widgets/")
    assert answer.status_code == 405
    assert answer.json() == {
        "type": "invalid_request",
        "code": "method_not_allowed",
        "detail": 'Method "PUT" not allowed.',
        "attr": None,
    }
    assert answer.headers["allow"] == "GET, POST"


async def test_head_is_get_without_the_body(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.seed("widgets", 2)
    whole = await tiny_http.get("/api/projects/1/widgets/")
    head = await tiny_http.head("/api/projects/1/widgets/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert tiny.requests[-1].operation == "widgets.list"
    assert (await tiny_http.head("/api/projects/1/widgets/99/")).status_code == 404


async def test_a_static_segment_wins_over_a_placeholder(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    await tiny_http.get("/api/projects/1/widgets/stats/")
    assert tiny.requests[-1].operation == "widgets.stats"


async def test_an_encoded_slash_is_a_slash_to_the_server(tiny_http: httpx.AsyncClient) -> None:
    assert (await tiny_http.get("/api/projects/1/widgets/1%2F2/")).status_code == 404


async def test_a_multi_segment_placeholder_matches_slashes(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    for path, operation in [
        ("/api/projects/1/files/a/b/c.txt/", "files.get"),
        ("/api/projects/1/files/a/b/c.txt/history/", "files.history"),
    ]:
        assert (await tiny_http.get(path)).status_code == 200
        assert tiny.requests[-1].operation == operation


def test_a_multi_segment_placeholder_leaves_static_segments() -> None:
    router = ApiSchema(widget_api.OPERATIONS, widget_api.SCHEMAS).router
    match = router.find("/api/projects/1/files/a/b/history/")
    assert match is not None
    assert match.values == ("1", "a/b")


async def test_environments_are_deprecated_aliases_of_projects(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    tiny.seed("widgets", 2)
    answer = await tiny_http.get("/api/environments/1/widgets/?limit=1")
    assert answer.status_code == 200
    assert answer.json()["count"] == 2
    assert answer.headers["deprecation"] == "true"
    assert "sunset" in answer.headers
    assert answer.headers["link"] == (
        '<http://emulator/api/projects/1/widgets/?limit=1>; rel="successor-version"'
    )
    assert "deprecation" not in (await tiny_http.get("/api/projects/1/widgets/")).headers


async def test_current_and_me(http: httpx.AsyncClient) -> None:
    await http.post("/api/projects/1/cohorts/", json={"name": "mine"})
    named = await http.get("/api/projects/@current/cohorts/")
    assert [cohort["name"] for cohort in named.json()["results"]] == ["mine"]
    own = await http.get("/api/organizations/@current/projects/")
    assert [project["id"] for project in own.json()["results"]] == [1]
    me = await http.get("/api/users/@me/")
    assert (await http.get(f"/api/users/{me.json()['uuid']}/")).json() == me.json()


async def test_every_operation_is_found_by_its_path(emulator: Emulator) -> None:
    from asyncposthog import registry

    router = load_registry_schema().router
    for operation in registry.operations():
        path = operation.path
        for parameter in operation.path_parameters:
            path = path.replace(f"{{{parameter.name}}}", "7")
        path = path.replace("{project_id}", "7").replace("{organization_id}", "7")
        match = router.find(path)
        assert match is not None, operation.id
        # Aliases such as projects.create share the plan of the operation they stand for.
        plans = [plan.operation for plan in match.methods[operation.method]]
        found = [(plan.path, plan.fixed_body) for plan in plans]
        assert (operation.path, operation.fixed_body) in found, operation.id
