"""`AsyncPostHog` from outside."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, assert_type

import anyio
import httpx
import pytest

import asyncposthog
from asyncposthog import (
    OMIT,
    AsyncPostHog,
    ConfigurationError,
    DecodeError,
    Page,
    PostHogError,
    RawResponse,
    ReadOnlyError,
    models,
)
from tests.helpers.fake_transport import KEY, Server, client

pytestmark = pytest.mark.anyio

OK = httpx.Response(200, json={"id": 1})
ORGANIZATION = "01902f5c-0000-7000-8000-00000000abcd"
ME = httpx.Response(200, json={"team": {"id": 5}, "organization": {"id": ORGANIZATION}})
PAGE = httpx.Response(
    200, json={"count": 3, "next": None, "previous": None, "results": [{"id": 1}, {"id": 2}]}
)


def test_public_names() -> None:
    assert len(set(asyncposthog.__all__)) == len(asyncposthog.__all__)
    for name in asyncposthog.__all__:
        assert getattr(asyncposthog, name) is not None
        assert name in dir(asyncposthog)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        asyncposthog.nothing  # type: ignore[attr-defined]


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_is_cheap() -> None:
    code = "import sys, asyncposthog; print({'httpx', 'pydantic', 'anyio'} & set(sys.modules))"
    assert run(code) == "set()"


def test_building_loads_no_model_and_opens_nothing() -> None:
    code = f"""
import sys, httpx
def refuse(*args, **kwargs): raise AssertionError
httpx.AsyncClient.__init__ = refuse
from asyncposthog import AsyncPostHog
ph = AsyncPostHog({KEY!r}, project_id=1)
ph.with_options(timeout=1)
print([m for m in sys.modules if m.startswith(('asyncposthog.models', 'asyncposthog.registry',
    'posthog_emulator', 'asyncposthog.doctor', 'asyncposthog.errors.from_response', 'tenacity'))])
"""
    assert run(code) == "[]"


def test_repr() -> None:
    shown = repr(client(Server()))
    assert shown == ("Client(host='https://us.posthog.com', project_id=1, api_key='phx_***')")
    assert KEY not in shown


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"http_client": object(), "transport": None}, TypeError),
        ({"transport": object()}, TypeError),
        ({"max_connections": 0}, ConfigurationError),
        ({"max_connections": True}, TypeError),
        ({"max_connections": "many"}, TypeError),
        ({"on_retry": "x"}, TypeError),
        ({"middleware": [1]}, TypeError),
        ({"api_key": "phc_x"}, ConfigurationError),
    ],
)
def test_refused_at_construction(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        client(Server(), **settings)


def test_a_client_and_a_transport_contradict() -> None:
    with pytest.raises(ConfigurationError, match="Configure the http_client itself"):
        client(Server(), http_client=httpx.AsyncClient())


def test_http2_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncposthog.core.factories.find_spec", lambda name: None)  # type: ignore[misc]
    with pytest.raises(ConfigurationError, match=r"asyncposthog\[http2\]"):
        client(None, transport=None, http2=True)


def test_not_for_the_synchronous() -> None:
    with pytest.raises(TypeError), AsyncPostHog(KEY):  # type: ignore[attr-defined]
        pass


async def test_copies() -> None:
    server = Server(OK)
    async with client(server, headers={"X-A": "1", "X-B": "1"}) as ph:
        copy = ph.with_options(project_id=2, timeout=5, headers={"x-a": "2"}, max_retries=0)
        assert type(copy) is type(ph)
        await copy.things.get(1)
        assert server.last.url.path == "/api/projects/2/things/1/"
        assert (server.last.headers["X-A"], server.last.headers["X-B"]) == ("2", "1")
        await ph.things.get(1)
        assert server.last.url.path == "/api/projects/1/things/1/"
        assert server.last.headers["X-A"] == "1"
        other = ph.with_options(api_key="phx_another")
        await other.things.get(1)
        assert server.authorizations[-1] == "Bearer phx_another"
        assert ph.with_options().settings == ph.settings


async def test_copies_refuse_what_cannot_change() -> None:
    ph = client(Server())
    for unknown in ({"http_client": None}, {"host": "https://x"}, {"tiemout": 1}):
        with pytest.raises(TypeError, match=f"cannot change {next(iter(unknown))}"):
            ph.with_options(**unknown)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        ph.with_options(project_id="@current")
    with pytest.raises(TypeError):
        ph.with_options(timeout="1")  # type: ignore[arg-type]


async def test_options_of_a_call() -> None:
    server = Server(OK)
    async with client(server) as ph:
        await ph.things.create(
            name="x",
            options={
                "project_id": 9,
                "query": {"dry": True, "skip": OMIT},
                "body": {"new": None},
                "headers": {"X-A": "1"},
            },
        )
        assert str(server.last.url).endswith("/api/projects/9/things/?dry=true")
        assert server.last.content == b'{"name":"x","new":null}'
        assert server.last.headers["X-A"] == "1"


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"tiemout": 1}, TypeError, "options has no tiemout; it takes body, deadline"),
        ({"timeout": "1"}, TypeError, "timeout"),
        ({"timeout": 0}, ConfigurationError, "timeout"),
        ({"max_retries": -1}, ConfigurationError, "max_retries"),
        ({"idempotent": 1}, TypeError, "idempotent"),
        ({"project_id": 1.5}, TypeError, "project_id"),
        ({"headers": {"Authorization": "x"}}, ConfigurationError, "Authorization"),
        ({"query": [1]}, TypeError, "options['query']"),
        ({"body": [1]}, TypeError, "options['body']"),
        ([1], TypeError, "options must be a dict"),
    ],
)
async def test_refused_options(options: Any, error: type[Exception], says: str) -> None:
    server = Server(OK)
    async with client(server) as ph:
        with pytest.raises(error) as caught:
            await ph.things.get(1, options=options)
        assert says in str(caught.value)
        with pytest.raises(error):
            ph.things.list(options=options)
    assert not server.requests


async def test_ids_never_escape() -> None:
    server = Server(OK)
    async with client(server) as ph:
        for bad in ("", "..", "1/2", "1?x", "x"):
            with pytest.raises(ValueError, match=r"things\.get: id"):
                await ph.things.get(bad)
        with pytest.raises(ValueError, match="limit"):
            ph.things.list(limit=0)
        with pytest.raises(TypeError, match="limit"):
            ph.things.list(limit="x" if False else 1.5)
    assert not server.requests


async def test_the_project_is_looked_up_once() -> None:
    server = Server(lambda r: ME if r.url.path == "/api/users/@me/" else OK)  # type: ignore[misc]
    async with client(server, project_id=None) as ph:
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(ph.things.get, number)
        await ph.with_options(timeout=1).things.get(9)
        await ph.things.create(name="x", options={"project_id": 8})
        paths = [r.url.path for r in server.requests]
        assert paths.count("/api/users/@me/") == 1
        assert paths[0] == "/api/users/@me/"
        assert "/api/projects/5/things/9/" in paths
        assert paths[-1] == "/api/projects/8/things/"
        # Another key is another person.
        await ph.with_options(api_key="phx_another").things.get(1)
        assert [r.url.path for r in server.requests].count("/api/users/@me/") == 2


@pytest.mark.parametrize(
    "id", [True, False, 0, -1, 1.5, "5", "../../users/@me", None, 10**30, [], {"id": 5}]
)
async def test_a_project_that_is_no_number_goes_into_no_path(id: Any) -> None:
    server = Server(httpx.Response(200, json={"team": {"id": id}, "id": id}))
    async with client(server, project_id=None) as ph:
        with pytest.raises(ConfigurationError, match="does not return a default project"):
            await ph.things.get(1)
    assert {r.url.path for r in server.requests} == {"/api/users/@me/", "/api/projects/@current/"}


@pytest.mark.parametrize(
    "id", ["", "..", "../../users/@me", "a/b?c", "@current", "5", 5, True, None, "x" * 36]
)
async def test_an_organization_that_is_no_uuid_goes_into_no_path(id: Any) -> None:
    server = Server(httpx.Response(200, json={"organization": {"id": id}, "id": id}))
    async with client(server) as ph:
        with pytest.raises(ConfigurationError, match="does not return a default organization"):
            await ph.things.members()
    assert {r.url.path for r in server.requests} == {
        "/api/users/@me/",
        "/api/organizations/@current/",
    }


async def test_the_organization_is_looked_up_once() -> None:
    server = Server(lambda r: ME if r.url.path == "/api/users/@me/" else OK)  # type: ignore[misc]
    async with client(server, project_id=None) as ph:
        await ph.things.members()
        await ph.things.members()
        await ph.things.get(1)
        await ph.things.members(options={"organization_id": ORGANIZATION.replace("0", "1")})
    assert [r.url.path for r in server.requests] == [
        "/api/users/@me/",
        f"/api/organizations/{ORGANIZATION}/members/",
        f"/api/organizations/{ORGANIZATION}/members/",
        "/api/projects/5/things/1/",
        f"/api/organizations/{ORGANIZATION.replace('0', '1')}/members/",
    ]


async def test_a_key_that_may_not_ask_who_it_is() -> None:
    refused = httpx.Response(403, json={"detail": "API key missing required scope 'user:read'"})
    server = Server(refused, httpx.Response(200, json={"id": 6}), OK)
    async with client(server, project_id=None) as ph:
        await ph.things.create(name="x")
    assert [r.url.path for r in server.requests] == [
        "/api/users/@me/",
        "/api/projects/@current/",
        "/api/projects/6/things/",
    ]
    async with client(Server(refused), project_id=None) as ph:
        with pytest.raises(ConfigurationError, match="POSTHOG_PROJECT_ID"):
            await ph.things.get(1)
        with pytest.raises(ConfigurationError, match="POSTHOG_ORGANIZATION_ID"):
            await ph.things.members()


@pytest.mark.parametrize("body", [b"<html>login</html>", b"[]", b'{"team": null}', b'{"team": 1}'])
async def test_a_server_that_does_not_tell(body: bytes) -> None:
    async with client(Server(httpx.Response(200, content=body)), project_id=None) as ph:
        with pytest.raises((ConfigurationError, DecodeError)):
            await ph.things.get(1)


async def test_a_failed_look_up_is_tried_again() -> None:
    server = Server(httpx.Response(401), ME, OK)
    async with client(server, project_id=None, allow=["things.*"]) as ph:
        with pytest.raises(PostHogError):
            await ph.things.get(1)
        assert await ph.things.get(1) == {"id": 1}


async def test_read_only() -> None:
    server = Server(OK)
    async with client(server, read_only=True) as ph:
        await ph.things.get(1)
        await ph.things.query(query={})
        for write in (ph.things.create(name="x"), ph.things.delete(1)):
            with pytest.raises(ReadOnlyError, match="read_only=True refuses writes") as caught:
                await write
            assert "to allow=[...]" in str(caught.value)
        with pytest.raises(ReadOnlyError):
            await ph.request("POST", "/api/x/")
        await ph.request("GET", "/api/x/")
        assert len(server.requests) == 3
        allowed = ph.with_options(allow=["things.create"])
        await allowed.things.create(name="x")
        await allowed.things.get(1)
        with pytest.raises(ReadOnlyError):
            await allowed.things.delete(1)


async def test_allow() -> None:
    server = Server(OK)
    async with client(server, allow=["things.g*", "request"]) as ph:
        await ph.things.get(1)
        await ph.request("DELETE", "/api/x/")
        with pytest.raises(ReadOnlyError, match="allow does not list it"):
            await ph.things.query(query={})
        with pytest.raises(ReadOnlyError):
            ph.things.list()
        assert not ph.with_options(allow=[]).settings.allow
        with pytest.raises(ReadOnlyError):
            await ph.with_options(allow=[]).things.get(1)
    assert len(server.requests) == 2


async def test_generated_resources() -> None:
    flag = {"id": 7, "key": "k", "name": "", "active": True}
    server = Server(httpx.Response(200, json=flag))
    async with AsyncPostHog(KEY, project_id=1, transport=httpx.MockTransport(server)) as ph:
        assert (await ph.feature_flags.get(7)).key == "k"
        raw = await ph.raw(ph.feature_flags.get, 7)
        assert_type(raw, RawResponse[models.FeatureFlag])
        assert raw.parse().key == "k"
        server.answers = [PAGE]
        listed = await ph.raw(ph.cohorts.list, limit=2)
        assert_type(listed, RawResponse[Page[models.Cohort]])
        assert [cohort.id for cohort in listed.parse()] == [1, 2]
        preview = await ph.dry_run(ph.feature_flags.create, key="k", name="n")
        assert preview.body == {"key": "k", "name": "n"}
        assert ph.feature_flags is ph.feature_flags
        assert repr(ph.feature_flags) == "<FeatureFlagsService>"
