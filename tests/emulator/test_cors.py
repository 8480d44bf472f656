"""Pages of other sites: preflights, and the headers that let them read a response."""

from __future__ import annotations

import httpx
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio

SITE = "https://shop.example"
PUBLIC = ["/e/", "/batch/", "/flags/", "/decide/", "/i/v1/logs", "/array/phc_emulator/config",
          "/api/surveys/"]  # fmt: skip
PRIVATE = ["/api/projects/1/cohorts/", "/api/users/@me/"]


async def preflight(http: httpx.AsyncClient, path: str) -> httpx.Response:
    return await http.options(
        path,
        headers={
            "Origin": SITE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-anything",
        },
    )


@pytest.mark.parametrize("path", PUBLIC)
async def test_preflights_of_public_paths(
    http: httpx.AsyncClient, emulator: Emulator, path: str
) -> None:
    answer = await preflight(http, path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == SITE
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-headers"] == "content-type,x-anything"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert emulator.requests == []


@pytest.mark.parametrize("path", PRIVATE)
async def test_preflights_of_the_private_api(http: httpx.AsyncClient, path: str) -> None:
    answer = await preflight(http, path)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert "PATCH" in answer.headers["access-control-allow-methods"]


@pytest.mark.parametrize(("path", "allowed"), [("/flags/?v=2", SITE), (PRIVATE[0], "*")])
async def test_errors_can_be_read_as_well(http: httpx.AsyncClient, path: str, allowed: str) -> None:
    for key in ("Bearer phx_emulator", "Bearer wrong"):
        answer = await http.post(path, json={}, headers={"Origin": SITE, "Authorization": key})
        assert answer.status_code >= 400 or path == PRIVATE[0]
        assert answer.headers["access-control-allow-origin"] == allowed


async def test_nothing_without_an_origin(http: httpx.AsyncClient) -> None:
    for path in [*PUBLIC, *PRIVATE]:
        answer = await http.get(path)
        assert not any(name.startswith("access-control") for name in answer.headers)
    assert (await http.options(PRIVATE[0])).status_code == 405


async def test_other_sites_cannot_reach_the_emulators_own_pages(http: httpx.AsyncClient) -> None:
    for path in ("/", "/_emulator/", "/_emulator/reset"):
        for answer in (
            await preflight(http, path),
            await http.post(path, json={}, headers={"Origin": SITE}),
        ):
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
