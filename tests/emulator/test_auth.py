"""Authentication and authorization, with the error messages of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio
Connect = Callable[..., httpx.AsyncClient]

WIDGETS = "/api/projects/1/widgets/"


def envelope(code: str, detail: str) -> dict[str, Any]:
    return {"type": "authentication_error", "code": code, "detail": detail, "attr": None}


async def test_without_a_key(tiny: Emulator, connect: Connect) -> None:
    async with connect(tiny, None) as http:
        answer = await http.get(WIDGETS)
    assert answer.status_code == 401
    assert answer.json() == envelope(
        "not_authenticated", "Authentication credentials were not provided."
    )
    assert answer.headers["www-authenticate"] == (
        'Bearer resource_metadata="http://emulator/.well-known/oauth-protected-resource"'
    )


@pytest.mark.parametrize("key", ["phx_other", "phc_emulator", "phs_other", "anything"])
async def test_with_an_unknown_key(tiny: Emulator, connect: Connect, key: str) -> None:
    async with connect(tiny, key) as http:
        answer = await http.get(WIDGETS)
    assert answer.status_code == 401
    assert answer.json() == envelope(
        "authentication_failed",
        "Personal API key found in request Authorization header is invalid.",
    )


async def test_only_the_bearer_scheme_is_accepted(tiny: Emulator, connect: Connect) -> None:
    async with connect(tiny, None) as http:
        answer = await http.get(WIDGETS, headers={"Authorization": "Token phx_emulator"})
    assert answer.json()["code"] == "not_authenticated"


async def test_a_key_in_the_query_or_the_body(tiny: Emulator, connect: Connect) -> None:
    async with connect(tiny, None) as http:
        listed = await http.get(WIDGETS, params={"personal_api_key": "phx_emulator"})
        made = await http.post(WIDGETS, json={"name": "a", "personal_api_key": "phx_emulator"})
        wrong = await http.get(WIDGETS, params={"personal_api_key": "phx_other"})
    assert (listed.status_code, made.status_code) == (200, 201)
    assert wrong.json()["detail"] == "Personal API key found in request query string is invalid."


async def test_the_header_wins_over_other_places(tiny: Emulator, connect: Connect) -> None:
    async with connect(tiny, "phx_other") as http:
        answer = await http.get(WIDGETS, params={"personal_api_key": "phx_emulator"})
    assert answer.status_code == 401


async def test_a_missing_scope_is_named(tiny: Emulator, connect: Connect) -> None:
    tiny.add_key("phx_reader", scopes=["widget:read", "part:write"])
    async with connect(tiny, "phx_reader") as http:
        assert (await http.get(WIDGETS)).status_code == 200
        answer = await http.post(WIDGETS, json={"name": "a"})
    assert answer.status_code == 403
    assert answer.json() == envelope(
        "permission_denied", "API key missing required scope 'widget:write'"
    )
    assert tiny.items("widgets") == []


async def test_write_scope_includes_read_scope(tiny: Emulator, connect: Connect) -> None:
    tiny.add_key("phx_writer", scopes=["widget:write"])
    async with connect(tiny, "phx_writer") as http:
        assert (await http.get(WIDGETS)).status_code == 200


async def test_an_operation_closed_to_keys(tiny: Emulator, connect: Connect) -> None:
    async with connect(tiny) as http:
        answer = await http.get("/api/projects/1/secrets/")
    assert answer.status_code == 403
    assert answer.json()["detail"] == "This action does not support personal API key access"


async def test_a_project_secret_key(tiny: Emulator, connect: Connect) -> None:
    tiny.add_key("phs_project", scopes=["*"])
    async with connect(tiny, "phs_project") as http:
        answer = await http.get(WIDGETS)
    assert answer.json()["detail"] == "This action does not support project secret API key access"


async def test_a_key_pinned_to_a_project(emulator: Emulator, connect: Connect) -> None:
    emulator.add_project(2, "Second")
    emulator.add_key("phx_pinned", projects=[2])
    async with connect(emulator, "phx_pinned") as http:
        assert (await http.get("/api/projects/2/cohorts/")).status_code == 200
        other = await http.get("/api/projects/1/cohorts/")
        nowhere = await http.get("/api/organizations/")
        assert (await http.get("/api/users/@me/")).status_code == 200
        about = await http.get("/api/personal_api_keys/@current/")
    assert other.status_code == nowhere.status_code == 403
    assert other.json()["detail"] == (
        "API key does not have access to the requested project: ID 1."
    )
    assert nowhere.json()["detail"] == (
        "API keys with scoped projects are only supported on project-based endpoints."
    )
    assert about.json()["scoped_teams"] == [2]


async def test_a_key_pinned_to_an_organization(emulator: Emulator, connect: Connect) -> None:
    other = "018f0000-0000-7000-8000-0000000000ff"
    emulator.add_key("phx_pinned", organizations=[other])
    async with connect(emulator, "phx_pinned") as http:
        project = await http.get("/api/projects/1/cohorts/")
        organization = await http.get(f"/api/organizations/{emulator.organization_id}/")
    expected = (
        "API key does not have access to the requested organization: "
        f"ID {emulator.organization_id}."
    )
    assert project.json()["detail"] == organization.json()["detail"] == expected


@pytest.mark.parametrize(
    ("project", "detail"), [("99", "Project not found."), ("abc", "Not found.")]
)
async def test_a_project_that_does_not_exist(
    tiny_http: httpx.AsyncClient, project: str, detail: str
) -> None:
    answer = await tiny_http.get(f"/api/projects/{project}/widgets/")
    assert answer.status_code == 404
    assert answer.json()["detail"] == detail


async def test_authorization_precedes_body_parsing(tiny: Emulator, connect: Connect) -> None:
    tiny.add_key("phx_reader", scopes=["widget:read"])
    async with connect(tiny, "phx_reader") as http:
        answer = await http.post(
            WIDGETS, content=b"{", headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 403


async def test_keys_are_not_logged(tiny: Emulator, connect: Connect) -> None:
    async with connect(tiny, "phx_emulator") as http:
        await http.post(
            WIDGETS,
            params={"personal_api_key": "phx_emulator"},
            json={"name": "a", "personal_api_key": "phx_emulator"},
            headers={"Cookie": "session=phx_emulator"},
        )
    assert "phx_emulator" not in repr(tiny.requests)
    assert tiny.requests[-1].body == {"name": "a"}


async def test_repr_hides_the_key(tiny: Emulator) -> None:
    tiny.add_key("phx_hidden")
    assert "phx_hidden" not in repr(tiny.state.accounts)
