"""`doctor()`: what it finds, and what it tells to do."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from asyncposthog import AsyncPostHog, Check, ClosedError, Diagnosis
from asyncposthog.doctor import check_transport, scope_granted
from asyncposthog.registry import operations
from tests.helpers.fake_transport import KEY, client

pytestmark = pytest.mark.anyio

ME = {"email": "ada@example.org", "team": {"id": 5}, "organization": {"id": "x"}}
UNKNOWN = httpx.Response(401, json={"code": "authentication_failed", "detail": "Invalid key."})
MISSING = httpx.Response(404, json={"code": "not_found", "detail": "Not found."})


def lacks(scope: str) -> httpx.Response:
    detail = f"API key missing required scope '{scope}'"
    return httpx.Response(403, json={"code": "permission_denied", "detail": detail})


class PostHog:
    """As much of both regions as the doctor looks at."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {
            "us.posthog.com/api/users/@me/": ME,
            "us.posthog.com/api/projects/1/": {"id": 1, "name": "Mine"},
            "us.posthog.com/api/projects/5/": {"id": 5, "name": "Other"},
            "us.posthog.com/api/personal_api_keys/@current/": {"scopes": ["*"]},
            "eu.posthog.com/api/users/@me/": UNKNOWN,
            **{name.replace("__", "/"): answer for name, answer in answers.items()},
        }
        self.requests: list[httpx.Request] = []
        self.hosts: set[str] = set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        assert request.method == "GET"
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        assert request.headers["Host"] == request.url.host
        self.hosts.add(request.url.host)
        answer = self.answers.get(f"{request.url.host}{request.url.path}", MISSING)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, content=answer.content)
        return httpx.Response(200, json=answer)


async def examine(
    server: PostHog, operations: list[str] | None = None, **settings: Any
) -> Diagnosis:
    async with client(server, max_retries=0, **settings) as ph:
        return await ph.doctor(operations)


def only(found: Diagnosis, name: str) -> Check:
    (check,) = [check for check in found.checks if check.name == name]
    return check


async def test_all_is_well() -> None:
    server = PostHog()
    found = await examine(server, ["feature_flags.*", "cohorts.list"])
    assert found.ok
    assert [check.ok for check in found.checks] == [True] * 6
    assert str(found).splitlines()[:4] == [
        "ok    key: phx_***, a personal API key",
        "ok    host: https://us.posthog.com answers",
        "ok    region: the key is known to US and belongs to ada@example.org",
        "ok    project: 1 (Mine)",
    ]
    assert KEY not in str(found)
    assert server.hosts == {"us.posthog.com"}


async def test_a_key_of_the_other_region() -> None:
    server = PostHog()
    server.answers["us.posthog.com/api/users/@me/"] = UNKNOWN
    server.answers["eu.posthog.com/api/users/@me/"] = ME
    found = await examine(server)
    assert not found.ok
    region = only(found, "region")
    assert region.detail == "this key belongs to EU, and the client talks to US"
    assert region.fix is not None
    assert "region='eu'" in region.fix
    assert [str(r.url) for r in server.requests] == [
        "https://us.posthog.com/api/users/@me/",
        "https://eu.posthog.com/api/users/@me/",
    ]
    # A key that may not ask who it is is known all the same.
    server.answers["eu.posthog.com/api/users/@me/"] = lacks("user:read")
    assert "belongs to EU" in only(await examine(server), "region").detail


async def test_a_key_nobody_knows() -> None:
    server = PostHog()
    server.answers["us.posthog.com/api/users/@me/"] = UNKNOWN
    found = await examine(server)
    assert only(found, "region").detail == "neither region knows the key"
    server.answers["eu.posthog.com/api/users/@me/"] = httpx.ConnectError("no route")
    region = only(await examine(server), "region")
    assert region.ok is False
    assert "the other region: Could" in region.detail or "no route" in region.detail


async def test_a_key_is_shown_to_no_third_host() -> None:
    server = PostHog()
    server.answers["ph.example.org/api/users/@me/"] = UNKNOWN
    found = await examine(server, host="https://ph.example.org")
    region = only(found, "region")
    assert region.ok is False
    assert "doctor()" not in str(found)
    assert region.fix is not None
    assert "https://ph.example.org/settings/user-api-keys" in region.fix
    assert server.hosts == {"ph.example.org"}


async def test_a_host_that_does_not_answer() -> None:
    server = PostHog()
    server.answers["us.posthog.com/api/users/@me/"] = httpx.ConnectError("no route")
    found = await examine(server)
    assert [check.name for check in found.checks] == ["key", "host"]
    assert only(found, "host").ok is False
    assert "WRONG host: " in str(found)
    server.answers["us.posthog.com/api/users/@me/"] = httpx.Response(200, text="<html>")
    assert "login page" in str(await examine(server))


async def test_projects() -> None:
    server = PostHog()
    assert only(await examine(server, project_id=None), "project").detail == (
        "5 (Other), looked up and kept"
    )
    absent = only(await examine(server, project_id=9), "project")
    assert absent.ok is False
    assert "project 9 does not exist" in absent.detail
    server.answers["us.posthog.com/api/projects/1/"] = lacks("project:read")
    assert only(await examine(server), "project").ok is None
    server.answers["us.posthog.com/api/projects/1/"] = httpx.Response(
        403, json={"detail": "API key does not have access to the requested project: ID 1."}
    )
    pinned = only(await examine(server), "project")
    assert pinned.ok is False
    assert "check project_id" in (pinned.fix or "")
    server.answers["us.posthog.com/api/projects/1/"] = httpx.Response(500)
    assert only(await examine(server), "project").ok is False


async def test_a_project_that_cannot_be_found_out() -> None:
    server = PostHog()
    server.answers["us.posthog.com/api/users/@me/"] = lacks("user:read")
    server.answers["us.posthog.com/api/projects/@current/"] = lacks("project:read")
    found = await examine(server, project_id=None)
    assert only(found, "region").ok is True
    assert "POSTHOG_PROJECT_ID" in (only(found, "project").fix or "")


async def test_scopes() -> None:
    server = PostHog()
    key = "us.posthog.com/api/personal_api_keys/@current/"
    server.answers[key] = {"scopes": ["feature_flag:write", "cohort:read"]}
    enough = only(await examine(server, ["feature_flags.list", "cohorts.list"]), "scopes")
    assert enough.ok is True
    assert enough.detail == "enough for 2 operations"
    lacking = only(await examine(server, ["cohorts.list", "cohorts.create"]), "scopes")
    assert lacking.ok is False
    assert lacking.detail == "missing cohort:write (for cohorts.create)"
    assert (lacking.fix or "").endswith("/settings/user-api-keys: cohort:write")
    assert only(await examine(server), "scopes").detail == "cohort:read, feature_flag:write"
    found = await examine(server, ["cohorts.list", "billing.invoices", "billing.portal"])
    known, untold = (check for check in found.checks if check.name == "scopes")
    assert (known.ok, known.detail) == (True, "enough for 1 operation")
    assert untold.ok is None
    assert untold.detail == "PostHog's schema names no scope for billing.invoices, billing.portal"
    assert found.ok
    assert only(await examine(server, ["billing.portal"]), "scopes").ok is None
    server.answers[key] = {"scopes": ["*"]}
    assert only(await examine(server, ["billing.portal"]), "scopes").ok is True
    server.answers[key] = {"scopes": ["feature_flag:write", "cohort:read"]}
    for unknown in (MISSING, lacks("personal_api_key:read"), {}, []):
        server.answers[key] = unknown
        assert only(await examine(server, ["cohorts.list"]), "scopes").ok is None


@pytest.mark.parametrize(
    ("held", "needed", "enough"),
    [
        ({"*"}, "a:write", True),
        ({"a:read"}, "a:read", True),
        ({"a:write"}, "a:read", True),
        ({"a:read"}, "a:write", False),
        ({"ab:write"}, "a:read", False),
        (set[str](), "a:read", False),
    ],
)
def test_what_scopes_hold(held: set[str], needed: str, enough: bool) -> None:
    assert scope_granted(held, needed) is enough


async def test_keys_of_other_kinds() -> None:
    server = PostHog()
    server.answers["us.posthog.com/api/users/@me/"] = MISSING

    async def kind(key: str) -> Check:
        async with client(
            lambda request: httpx.Response(404),  # type: ignore[misc]
            api_key=key,
            max_retries=0,
        ) as ph:
            return only(await ph.doctor(), "key")

    assert (await kind("phs_abcdef")).ok is None
    assert (await kind("0123456789")).ok is None
    assert (await kind("pha_abcdef")).ok is True


async def test_the_allow_list_has_no_say() -> None:
    assert (await examine(PostHog(), allow=["nothing"], read_only=True)).ok


async def test_what_the_doctor_refuses() -> None:
    server = PostHog()
    async with client(server) as ph:
        with pytest.raises(ValueError, match=r"no operation matches 'feature_flags\.fly'"):
            await ph.doctor(["feature_flags.fly"])
        wrong: list[Any] = ["feature_flags.*", [1], 3, [None]]
        for operations in wrong:
            with pytest.raises(TypeError, match="a list of ids"):
                await ph.doctor(operations)
    with pytest.raises(ClosedError):
        await ph.doctor()
    assert not server.requests


def schema(*operations: str) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for operation in operations:
        method, path = operation.split()
        paths.setdefault(path, {})[method.lower()] = {"responses": {}}
    return {"openapi": "3.0.3", "info": {"title": "x"}, "paths": paths}


def in_schema() -> list[str]:
    """Return the operations of this package that the pinned schema has."""
    return [f"{o.method} {o.path}" for o in operations() if o.schema_gap_source is None]


async def version(document: Any) -> Check:
    host = "https://ph.example.org"
    answers: dict[str, Any] = {
        "ph.example.org/api/users/@me/": ME,
        "ph.example.org/api/projects/5/": {"id": 5},
        "ph.example.org/api/personal_api_keys/@current/": {"scopes": ["*"]},
        "ph.example.org/api/schema/": document,
    }
    return only(await examine(PostHog(**answers), host=host, project_id=5), "version")


async def test_an_instance_of_the_same_version() -> None:
    # Other names of placeholders, and the deprecated root, are no difference.
    same = [operation.replace("{id}", "{pk}") for operation in in_schema()]
    same += ["GET /api/environments/{environment_id}/cohorts/"]
    found = await version(schema(*same))
    assert (found.ok, found.fix) == (True, None)
    assert f"share {len(set(in_schema())):,} operations" in found.detail


async def test_an_older_and_a_newer_instance() -> None:
    old = [o for o in in_schema() if "/cohorts/" not in o]
    found = await version(schema(*old))
    assert found.ok is None
    assert found.detail.startswith("older than this package")
    assert "cohorts." in found.detail
    assert "NotFoundError" in (found.fix or "")
    new = [*in_schema(), "GET /api/projects/{project_id}/teleporters/"]
    found = await version(schema(*new))
    assert found.detail.startswith("newer than this package")
    assert "GET /api/projects/{project_id}/teleporters/" in found.detail
    assert "codegen generate" in (found.fix or "")


@pytest.mark.parametrize("document", [[], {"paths": 3}, MISSING, {"paths": {"/api/x/": 7}}])
async def test_an_instance_without_a_schema(document: Any) -> None:
    found = await version(document)
    assert found.ok is None


async def test_the_cloud_is_not_asked_for_its_schema() -> None:
    server = PostHog()
    found = await examine(server)
    assert not [check for check in found.checks if check.name == "version"]
    assert not [request for request in server.requests if "schema" in request.url.path]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it_says_what_sends_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"transport": "aiohttp"},
        {"transport": httpx.MockTransport(PostHog())},
    ]
    found: list[Check] = []
    for given in settings:
        async with AsyncPostHog(KEY, project_id=1, **given) as ph:
            found.append(check_transport(ph._executor))

    def missing(name: str) -> None: ...

    monkeypatch.setattr("asyncposthog.doctor.find_spec", missing)
    async with AsyncPostHog(KEY, project_id=1) as ph:
        found.append(check_transport(ph._executor))
    assert all(check.ok for check in found)
    assert [check.detail.partition(" are sent ")[2] for check in found] == [
        "over httpx",
        "over aiohttp",
        "with an http_client or transport given",
        "over httpx",
    ]
    fixes = [check.fix or "" for check in found]
    assert 'transport="aiohttp"' in fixes[0]
    assert "pip" not in fixes[0]
    assert "asyncposthog[aiohttp]" in fixes[3]
    assert fixes[1:3] == ["", ""]
