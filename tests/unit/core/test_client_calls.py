"""Raw answers, streams, dry runs, and calls by path."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import (
    DecodeError,
    NotFoundError,
    PermissionDeniedError,
    RawResponse,
    RequestPreview,
    SchemaDrift,
)
from asyncposthog.core.resource import get_executor
from tests.helpers.fake_transport import GET, KEY, Server, client, new_call

pytestmark = pytest.mark.anyio

OK = httpx.Response(200, json={"id": 1})
ORGANIZATION = "01902f5c-0000-7000-8000-00000000abcd"
ME = httpx.Response(200, json={"team": {"id": 5}, "organization": {"id": ORGANIZATION}})
PAGE = httpx.Response(
    200, json={"count": 3, "next": None, "previous": None, "results": [{"id": 1}, {"id": 2}]}
)


async def test_raw() -> None:
    answer = httpx.Response(200, json={"id": 1}, headers={"X-Request-Id": "r1", "X-A": "b"})
    server = Server(answer)
    async with client(server) as ph:
        raw = await ph.raw(ph.things.get, 7, options={"timeout": 5})
        assert isinstance(raw, RawResponse)
        assert (raw.status, raw.request_id, raw.headers["x-a"]) == (200, "r1", "b")
        assert raw.content == answer.content
        assert raw.text() == answer.text
        assert raw.json() == raw.parse() == {"id": 1}
        assert isinstance(raw.http, httpx.Response)
        assert repr(raw) == "<RawResponse things.get 200>"
        server.answers = [httpx.Response(404)]
        with pytest.raises(NotFoundError):
            await ph.raw(ph.things.get, 7)
        copy = ph.with_options(project_id=2)
        server.answers = [OK]
        await ph.raw(copy.things.get, 7)
        assert server.last.url.path == "/api/projects/2/things/7/"


async def test_the_executor_returns_undecoded_responses() -> None:
    async with client(Server(OK)) as ph:
        response = await get_executor(ph.things).perform(new_call(GET, (7,), project_id=1))
        assert response.json() == {"id": 1}


async def test_raw_of_a_list_is_its_first_page() -> None:
    server = Server(PAGE)
    async with client(server) as ph:
        raw = await ph.raw(ph.things.list, limit=2)
        assert server.last.url.query == b"limit=2"
        assert raw.json()["count"] == 3
        page = raw.parse()
        assert [item["id"] for item in page] == [1, 2]
        assert len(server.requests) == 1


@pytest.mark.filterwarnings("ignore::asyncposthog.SchemaDrift")
async def test_raw_keeps_an_answer_that_does_not_decode() -> None:
    assert issubclass(SchemaDrift, Warning)
    broken, media = b'{"id": ', {"Content-Type": "application/json"}
    async with client(
        Server(httpx.Response(200, content=broken, headers=media)), strict=True
    ) as ph:
        raw = await ph.raw(ph.things.get, 7)
        assert raw.content == broken
        with pytest.raises(DecodeError):
            raw.parse()
        with pytest.raises(DecodeError):
            raw.json()


async def test_what_is_no_method() -> None:
    async with client(Server(OK)) as ph:
        for name, call in (("raw", ph.raw), ("dry_run", ph.dry_run)):
            with pytest.raises(TypeError, match=rf"{name}\(\) takes a generated method"):
                await call(len)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="the method itself, without calling it"):
                await call(ph.things.get(1))  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="the method itself, without calling it"):
                await call(ph.things.list())  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="takes a generated method"):
                await call(ph.request, "GET", "/")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="makes no call"):
                await call(ph.things.__repr__)  # type: ignore[arg-type]


async def test_streams() -> None:
    server = Server(httpx.Response(503), httpx.Response(200, text="a,b\n1,2\n"))
    async with client(server) as ph:
        async with ph.stream(ph.things.report) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert [line async for line in answer.aiter_lines()] == ["a,b", "1,2"]
        assert server.last.headers["Accept"] == "text/csv, */*;q=0.5"
        async with ph.stream(ph.things.report) as answer:
            assert b"".join([c async for c in answer.aiter_bytes(3)]) == b"a,b\n1,2\n"
        server.answers = [httpx.Response(403, json={"detail": "No."})]
        with pytest.raises(PermissionDeniedError, match="No"):
            async with ph.stream(ph.things.report):
                pass


async def test_closing_waits_for_streams() -> None:
    ph = client(Server(httpx.Response(200, text="abc")))
    async with anyio.create_task_group() as group, ph.stream(ph.things.report) as answer:
        group.start_soon(ph.aclose)
        await anyio.wait_all_tasks_blocked()
        assert b"".join([c async for c in answer.aiter_bytes()]) == b"abc"


async def test_dry_runs() -> None:
    server = Server(OK)
    async with client(server, read_only=True) as ph:
        found = await ph.dry_run(
            ph.things.create, name="né", options={"query": {"a": [1, "x y"]}, "headers": {"X": "1"}}
        )
        assert isinstance(found, RequestPreview)
        assert (found.method, found.url) == (
            "POST",
            "https://us.posthog.com/api/projects/1/things/",
        )
        assert found.query == (("a", "1"), ("a", "x y"))
        assert found.body == {"name": "né"}
        assert found.headers == (("X", "1"), ("Content-Type", "application/json"))
        assert not found.allowed
        assert KEY not in repr(found)
        listed = await ph.dry_run(ph.things.list, limit=3)
        assert (listed.method, listed.query, listed.allowed) == ("GET", (("limit", "3"),), True)
        form = await ph.dry_run(ph.things.upload, file=("a.txt", b"x"), note="n")
        assert (form.body, form.files) == ({"note": "n"}, ("a.txt",))
        unknown = await ph.with_options(project_id=None).dry_run(
            ph.with_options(project_id=None).things.get, 1
        )
        assert unknown.url.endswith("/api/projects/{project_id}/things/1/")
        members = await ph.dry_run(ph.things.members)
        assert members.url.endswith("/api/organizations/{organization_id}/members/")
        with pytest.raises(ValueError, match="id"):
            await ph.dry_run(ph.things.get, "..")
    assert not server.requests


async def test_requests() -> None:
    server = Server(OK)
    async with client(server) as ph:
        answer = await ph.request(
            "post",
            "/api/projects/{project_id}/new/?a=1&b=x%20y",
            query={"a": 2, "c": [1, 2]},
            body={"d": None},
            headers={"X-A": "1"},
            options={"headers": {"X-B": "2"}},
        )
        assert answer == {"id": 1}
        request = server.last
        assert request.method == "POST"
        assert request.url.raw_path == b"/api/projects/1/new/?a=2&b=x%20y&c=1&c=2"
        assert request.content == b'{"d":null}'
        assert (request.headers["X-A"], request.headers["X-B"]) == ("1", "2")
        await ph.request("GET", "https://us.posthog.com/api/x/?cursor=abc")
        assert str(server.last.url) == "https://us.posthog.com/api/x/?cursor=abc"
        await ph.request("GET", "/api/sp%20ace/é/")
        assert server.last.url.raw_path == b"/api/sp%20ace/%C3%A9/"


async def test_requests_below_a_prefix() -> None:
    server = Server(OK)
    async with client(server, host="https://example.org/ph") as ph:
        await ph.request("GET", "/api/x/")
        await ph.request("GET", "https://example.org/ph/api/x/")
    assert {str(r.url) for r in server.requests} == {"https://example.org/ph/api/x/"}


async def test_requests_with_files() -> None:
    server = Server(OK)
    async with client(server) as ph:
        await ph.request("POST", "/api/x/", body={"note": 1}, files={"file": ("a", b"abc")})
        assert b'name="note"\r\n\r\n1\r\n' in server.last.content
        assert b'filename="a"' in server.last.content
        with pytest.raises(TypeError, match="the form's other fields"):
            await ph.request("POST", "/api/x/", body=[1], files={"file": b"abc"})


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (httpx.Response(204), None),
        (httpx.Response(200, content=b'{"a":1}'), {"a": 1}),
        (httpx.Response(200, json=[1]), [1]),
        (httpx.Response(200, text="a,b"), "a,b"),
        (httpx.Response(200, content=b"\x89", headers={"Content-Type": "image/png"}), b"\x89"),
        (httpx.Response(200, content=b"1", headers={"Content-Type": "application/x+json"}), 1),
    ],
)
async def test_answers_to_requests(response: httpx.Response, expected: object) -> None:
    async with client(Server(response)) as ph:
        assert await ph.request("GET", "/api/x/") == expected


@pytest.mark.parametrize(
    ("method", "path", "error", "says"),
    [
        ("GET", "api/x/", ValueError, "begin with a slash"),
        ("GET", "https://evil.example.org/api/x/", ValueError, "is not the client's host"),
        ("GET", "//evil.example.org/api/", ValueError, "is not the client's host"),
        ("GET", "http://us.posthog.com/api/", ValueError, "is not the client's host"),
        ("GET", "https://us.posthog.com@evil.example.org/", ValueError, "not the client's host"),
        ("GET", "https://[", ValueError, "is not a path"),
        ("GET", "/api/../admin/", ValueError, "dot segments"),
        ("GET", "/api/%2e%2e/admin/", ValueError, "dot segments"),
        ("GET", "/api//x/", ValueError, "empty"),
        ("GET", "/api/x/#y", ValueError, "fragment"),
        ("GET", "/api/x y/", ValueError, "spaces"),
        ("GET", "/api\\x", ValueError, "backslash"),
        ("GET", "/api/{id}/", ValueError, "placeholders"),
        ("GET", "/api/{project_id}/{project_id}/", ValueError, "placeholders"),
        ("POST", "/api/projects/@current/x/", ValueError, "permitted for a write"),
        ("POST", "/api/projects/%40current/x/", ValueError, "permitted for a write"),
        ("FETCH", "/api/x/", ValueError, "unsupported method"),
        (1, "/api/x/", TypeError, "both str"),
        ("GET", b"/api/x/", TypeError, "both str"),
    ],
)
async def test_refused_requests(method: Any, path: Any, error: type[Exception], says: str) -> None:
    server = Server(OK)
    async with client(server) as ph:
        with pytest.raises(error, match=says):
            await ph.request(method, path)
        with pytest.raises(TypeError, match="has no body"):
            await ph.request("GET", "/api/x/", body={"a": 1})
    assert not server.requests
