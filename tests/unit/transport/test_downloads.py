"""Files that the server keeps elsewhere are fetched there, without anything of ours."""

from __future__ import annotations

import httpx
import pytest

from asyncposthog import AsyncPostHog, RedirectError
from tests.helpers.fake_transport import KEY

pytestmark = pytest.mark.anyio

JOB = "0190c0de-0000-7000-8000-000000000001"
STORE = "https://files.example.net/part-1?signature=abc"


class Server:
    def __init__(self, *locations: str) -> None:
        self.locations = list(locations)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        # A copy: the key is taken off a request as soon as it is answered.
        self.seen.append(httpx.Request(request.method, request.url, headers=request.headers))
        if self.locations:
            return httpx.Response(302, headers={"Location": self.locations.pop(0)})
        return httpx.Response(200, content=b"PAR1", headers={"Content-Type": "x/y"})


def client(server: Server) -> AsyncPostHog:
    return AsyncPostHog(
        KEY,
        project_id=1,
        headers={"X-Team": "data"},
        transport=httpx.MockTransport(server),
        max_retries=0,
    )


async def test_a_download_goes_on_without_the_key() -> None:
    server = Server(STORE)
    async with client(server) as ph:
        assert await ph.file_download_batch_exports.download(JOB) == b"PAR1"
    first, second = server.seen
    assert first.headers["Authorization"] == f"Bearer {KEY}"
    assert str(second.url) == STORE
    assert second.headers["Host"] == "files.example.net"
    assert {"authorization", "cookie", "x-team"}.isdisjoint(second.headers)


async def test_it_never_comes_back_with_the_key() -> None:
    server = Server(STORE, "https://us.posthog.com/api/users/@me/")
    async with client(server) as ph:
        await ph.file_download_batch_exports.download(JOB)
    assert "authorization" not in server.seen[2].headers


@pytest.mark.parametrize("location", ["http://files.example.net/part-1", "ftp://x/y"])
async def test_it_does_not_go_where_others_could_listen(location: str) -> None:
    async with client(Server(location)) as ph:
        with pytest.raises(RedirectError):
            await ph.file_download_batch_exports.download(JOB)


async def test_no_other_call_leaves_the_origin() -> None:
    server = Server(STORE)
    async with client(server) as ph:
        with pytest.raises(RedirectError):
            await ph.feature_flags.get(1)
    assert len(server.seen) == 1
