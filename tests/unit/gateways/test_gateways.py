"""Gateways: their path, key, tokens, limits and errors."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.config import Secret
from asyncposthog.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionError,  # noqa: A004
    DecodeError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    TimeoutError,  # noqa: A004
    ValidationError,
)
from asyncposthog.gateways import (
    Connection,
    Gateway,
    Maton,
    MissingConnectionError,
    OAuthRefresh,
    OAuthToken,
)
from posthog_emulator import Emulator
from tests.helpers.fake_maton import FakeMaton
from tests.helpers.manual_clock import ManualClock

pytestmark = pytest.mark.anyio

URL = "https://gateway.example.com/posthog"


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.seed("cohorts", 5)
    return emulator


@pytest.fixture
def maton(emulator: Emulator) -> FakeMaton:
    return FakeMaton(emulator)


def client_of(fake: FakeMaton, connection: str | None = None, **settings: Any) -> AsyncPostHog:
    transport = httpx.ASGITransport(app=fake)
    return AsyncPostHog(
        gateway=Maton(fake.key, connection=connection), transport=transport, **settings
    )


class Server:
    """A server that records requests and answers them with a function."""

    def __init__(self, answer: Any) -> None:
        self.requests: list[httpx.Request] = []
        self.seen: list[dict[str, str]] = []
        self.answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.seen.append(dict(request.headers))  # the client takes its key away again
        return self.answer(request)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)


def always(status: int, **body: Any) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, **body)

    return answer


def ok(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"results": [], "count": 0, "next": None})


async def test_a_gateway_has_a_prefix_a_key_and_headers_of_its_own() -> None:
    server = Server(ok)
    gateway = Gateway(
        URL, key="secret-gateway-key", header="X-Api-Key", scheme="", headers={"X-Team": "data"}
    )
    async with AsyncPostHog(gateway=gateway, project_id=1, transport=server.transport) as ph:
        await ph.cohorts.list()
        await ph.request("POST", "/api/projects/{project_id}/cohorts/", body={"name": "a"})
        assert "secret" not in repr(ph)
        with pytest.raises(ConfigurationError, match="that of its gateway"):
            ph.with_options(api_key="phx_other")
        other = ph.with_options(headers={"X-Team": "web"})
        await other.cohorts.list()
    assert [str(r.url).partition("?")[0] for r in server.requests] == [
        f"{URL}/api/projects/1/cohorts/"
    ] * 3
    assert [h["x-api-key"] for h in server.seen] == ["secret-gateway-key"] * 3
    assert [h["x-team"] for h in server.seen] == ["data", "data", "web"]
    assert all("authorization" not in h for h in server.seen)


async def test_the_key_goes_to_no_other_origin_and_into_no_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = "secret-gateway-key"

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/cohorts/"):
            return httpx.Response(307, headers={"Location": "https://evil.example.com/"})
        return httpx.Response(403, json={"detail": f"you sent {request.headers['X-Key']}"})

    server = Server(answer)
    gateway = Gateway(URL, key=key, header="X-Key", scheme="")

    async def elsewhere(request: httpx.Request, call_next: Any) -> httpx.Response:
        if request.url.path.endswith("/actions/"):
            request.url = httpx.URL("https://evil.example.com/actions/")
        return await call_next(request)

    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    async with AsyncPostHog(
        gateway=gateway,
        project_id=1,
        transport=server.transport,
        middleware=[elsewhere],
        max_retries=0,
    ) as ph:
        for call in (ph.cohorts.list, ph.feature_flags.list, ph.actions.list):
            try:
                await call()
            except Exception as error:
                texts += [str(error), repr(error), "".join(traceback.format_exception(error))]
                response = getattr(error, "response", None)
                if response is not None:
                    texts += [str(response.request.headers), response.text]
                    pickle.dumps(response.text)
    assert [r.url.host for r in server.requests] == [
        "gateway.example.com",
        "gateway.example.com",
        "evil.example.com",
    ]
    assert "x-key" not in server.seen[2]
    shown = "\n".join([*texts, caplog.text, repr(gateway), repr(Maton(key).connections)])
    assert "you sent ***" in shown
    assert key not in shown
    for secret in (gateway, Maton(key), Maton(key).connections, gateway.secret):
        for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="pickled"):
                duplicate(secret)


def test_invalid_settings_are_refused() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "either a key or a token"),
        ({"key": "a-key", "token": ok}, "either a key or a token"),
        ({"key": "Bearer abc"}, "begins with 'Bearer'"),
        ({"key": "a-key", "header": "Host"}, "cannot carry"),
        ({"key": "a-key", "header": "X Key"}, "cannot carry"),
        ({"key": "a-key", "scheme": "a b"}, "one word"),
        ({"key": "a-key", "header": "X-Key", "headers": {"x-key": "b"}}, "carries the key"),
        ({"key": "a-key", "headers": {"X-A": "b\n"}}, "line breaks"),
        ({"key": "a-key", "url": "http://gateway.example.com"}, "unencrypted"),
        ({"key": "a-key", "ingest": "mars"}, "not a host URL"),
    ]
    for arguments, message in cases:
        settings: dict[str, Any] = {"url": URL, **arguments}
        with pytest.raises(ConfigurationError, match=message):
            Gateway(**settings)
    with pytest.raises(TypeError, match="token must be an async function"):
        Gateway(URL, token="a-token")  # pyright: ignore[reportArgumentType]


async def test_a_gateway_stands_for_key_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[dict[str, Any]] = [
        {"api_key": "phx_a"},
        {"region": "eu"},
        {"host": "https://a.example.com"},
    ]
    for arguments in others:
        with pytest.raises(ConfigurationError, match="gateway was given together with"):
            AsyncPostHog(gateway=Maton("a-maton-key"), **arguments)
    with pytest.raises(TypeError, match="must be a Gateway"):
        AsyncPostHog(gateway="maton")  # pyright: ignore[reportArgumentType]
    monkeypatch.delenv("MATON_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="No Maton API key") as missing:
        Maton()
    assert "MATON_API_KEY" in str(missing.value.suggestion)
    monkeypatch.setenv("MATON_API_KEY", "from-the-environment")
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", "phx_not_used")
    monkeypatch.setenv("POSTHOG_HOST", "https://not-used.example.com")
    server = Server(ok)
    async with AsyncPostHog(gateway=Maton(), project_id=1, transport=server.transport) as ph:
        await ph.cohorts.list()
    assert server.seen[0]["authorization"] == "Bearer from-the-environment"
    assert str(server.requests[0].url).startswith("https://gateway.maton.ai/posthog/api/projects/1")


async def test_events_and_flags_need_a_host_that_serves_them() -> None:
    gateway = Gateway(URL, key="a-gateway-key")
    ph = AsyncPostHog(gateway=gateway, project_id=1, project_api_key="phc_token")
    for use in ("capture", "flags"):
        with pytest.raises(ConfigurationError, match="no events") as refused:
            getattr(ph, use)
        assert "ingest=" in str(refused.value.suggestion)

    server = Server(always(200, json={"flags": {}, "results": {}}))
    gateway = Gateway(URL, key="a-gateway-key", headers={"X-Team": "data"}, ingest="eu")
    async with AsyncPostHog(
        gateway=gateway, project_id=1, project_api_key="phc_token", transport=server.transport
    ) as ph:
        await ph.flags.evaluate("ada")
        await ph.capture("paid", "ada")
        with pytest.raises(ConfigurationError, match="needs an API key of PostHog"):
            ph._executor.with_hosts(ph.settings.hosts.__class__("https://a.com", "", None))
    assert {r.url.host for r in server.requests} == {"eu.i.posthog.com"}
    sent = [value for headers in server.seen for value in headers.values()]
    assert not [value for value in sent if "a-gateway-key" in value or value == "data"]


# Tokens.


def oauth_server(*, valid: set[str]) -> Server:
    def answer(request: httpx.Request) -> httpx.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in valid:
            return httpx.Response(401, json={"type": "authentication_error", "detail": token})
        return ok(request)

    return Server(answer)


async def test_a_token_is_fetched_once_and_again_before_it_expires() -> None:
    clock = ManualClock()
    made: list[str] = []

    async def provider() -> OAuthToken:
        await anyio.lowlevel.checkpoint()
        made.append(f"token-{len(made)}")
        return OAuthToken(Secret(made[-1]), expires_in=3600)

    server = oauth_server(valid={"token-0", "token-1"})
    gateway = Gateway(URL, token=provider, clock=clock)
    async with AsyncPostHog(gateway=gateway, project_id=1, transport=server.transport) as ph:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ph.cohorts.list().first)
        assert made == ["token-0"]
        clock.now += 3500
        await ph.cohorts.list()
        assert made == ["token-0"]
        clock.now += 80
        await ph.cohorts.list()
        assert made == ["token-0", "token-1"]
    assert [h["authorization"] for h in server.seen] == [*["Bearer token-0"] * 6, "Bearer token-1"]


async def test_a_rejected_token_is_renewed_once_for_all_calls() -> None:
    made: list[str] = []

    async def provider() -> str:
        made.append(f"token-{len(made)}")
        await anyio.lowlevel.checkpoint()
        return made[-1]

    server = oauth_server(valid={"token-1"})
    gateway = Gateway(URL, token=provider)
    async with (
        AsyncPostHog(gateway=gateway, project_id=1, transport=server.transport) as ph,
        anyio.create_task_group() as group,
    ):
        for _ in range(5):
            group.start_soon(ph.cohorts.list().first)
        # A write as well: a 401 proves that it was not carried out.
        group.start_soon(ph.request, "POST", "/api/projects/1/cohorts/")
    assert made == ["token-0", "token-1"]
    assert sum(h["authorization"] == "Bearer token-1" for h in server.seen) == 6

    server = oauth_server(valid=set())
    async with AsyncPostHog(gateway=gateway, project_id=1, transport=server.transport) as ph:
        with pytest.raises(AuthenticationError) as refused:
            await ph.cohorts.list()
    assert "also after it was renewed" in str(refused.value.suggestion)
    assert "token-2" not in str(refused.value)
    assert len(server.requests) == 2


async def test_a_token_that_cannot_be_renewed_is_an_error_and_nothing_is_sent() -> None:
    server = oauth_server(valid=set())

    async def broken() -> str:
        raise RuntimeError("no network for secret Bearer abcdefgh")

    async def empty() -> str:
        return ""

    for provider, message in ((broken, "could not be renewed"), (empty, "is empty")):
        gateway = Gateway(URL, token=provider)
        async with AsyncPostHog(gateway=gateway, project_id=1, transport=server.transport) as ph:
            with pytest.raises((AuthenticationError, ConfigurationError), match=message) as error:
                await ph.cohorts.list()
        assert "abcdefgh" not in "".join(traceback.format_exception(error.value))
    assert server.requests == []


async def test_oauth_refresh_tokens_are_used_and_replaced() -> None:
    forms: list[dict[str, str]] = []
    kept: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        form = dict(httpx.QueryParams(request.content.decode()))
        forms.append(form)
        if form["refresh_token"] == "refresh-stale":
            return httpx.Response(400, json={"error": "invalid_grant"})
        number = len(forms)
        return httpx.Response(
            200,
            json={
                "access_token": f"pha_{number}",
                "refresh_token": f"refresh-{number}",
                "expires_in": 60,
            },
        )

    async def keep(token: str) -> None:
        kept.append(token)

    clock = ManualClock()
    refresh = OAuthRefresh(
        "https://us.posthog.com/oauth/token/",
        refresh_token="refresh-0",
        client_id="app",
        client_secret="app-secret",
        on_refresh=keep,
        transport=httpx.MockTransport(answer),
    )
    server = oauth_server(valid={"pha_1", "pha_2"})
    gateway = Gateway("https://us.posthog.com", token=refresh, clock=clock)
    async with AsyncPostHog(gateway=gateway, project_id=1, transport=server.transport) as ph:
        await ph.cohorts.list()
        clock.now += 31
        await ph.cohorts.list()
    assert [h["authorization"] for h in server.seen] == ["Bearer pha_1", "Bearer pha_2"]
    assert [form["refresh_token"] for form in forms] == ["refresh-0", "refresh-1"]
    assert forms[0]["grant_type"] == "refresh_token"
    assert forms[0]["client_secret"] == "app-secret"
    assert kept == ["refresh-1", "refresh-2"]
    assert "secret" not in repr(refresh)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(refresh)

    stale = OAuthRefresh(
        "https://us.posthog.com/oauth/token/",
        refresh_token="refresh-stale",
        client_id="app",
        transport=httpx.MockTransport(answer),
    )
    gateway = Gateway("https://us.posthog.com", token=stale)
    async with AsyncPostHog(gateway=gateway, project_id=1, transport=server.transport) as ph:
        with pytest.raises(AuthenticationError, match="400 invalid_grant") as expired:
            await ph.cohorts.list()
        assert "sign in again" in str(expired.value.suggestion)
    assert len(server.requests) == 2


async def test_an_oauth_server_that_fails_is_named_without_the_secrets() -> None:
    def lost(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"no route for {request.content!r}")

    answers: list[Any] = [lost, always(502, text="<html>")]
    for answer in answers:
        refresh = OAuthRefresh(
            "https://auth.example.com/token",
            refresh_token="refresh-secret",
            client_id="app",
            transport=httpx.MockTransport(answer),
        )
        with pytest.raises(AuthenticationError, match="was not renewed") as error:
            await refresh()
        assert "refresh-secret" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancelled_renewal_leaves_no_lock() -> None:
    started = asyncio.Event()
    made: list[str] = []

    async def provider() -> str:
        made.append("token-0")
        if len(made) == 1:
            started.set()
            await asyncio.Event().wait()
        return "token-0"

    server = oauth_server(valid={"token-0"})
    gateway = Gateway(URL, token=provider)
    async with AsyncPostHog(gateway=gateway, project_id=1, transport=server.transport) as ph:
        task = asyncio.create_task(ph.cohorts.list().first())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ph.cohorts.list()
    assert len(server.requests) == 1


# Maton.


async def test_pages_are_followed_through_the_gateway(maton: FakeMaton) -> None:
    connection = maton.connect()
    async with client_of(maton, connection) as ph:
        page = await ph.cohorts.list(limit=2)
        assert str(page.raw["next"]).startswith("https://us.posthog.com/api/projects/")
        names = [cohort.name async for cohort in ph.cohorts.list(limit=2)]
        assert len(names) == 5
        assert ph.settings.project_id is None  # looked up through the gateway
    assert all(path.startswith("/posthog/api/") for _, path, _ in maton.requests)
    assert {h["maton-connection"] for _, _, h in maton.requests} == {connection}
    assert {h["authorization"] for _, _, h in maton.requests} == {f"Bearer {maton.key}"}


async def test_the_gateways_400_and_401_are_not_posthogs(maton: FakeMaton) -> None:
    async with client_of(maton) as ph:
        with pytest.raises(MissingConnectionError, match="no active connection") as none:
            await ph.cohorts.list()
        assert none.value.status == 400
        assert "maton.connections.create()" in str(none.value.suggestion)
        assert isinstance(none.value, AuthenticationError)
        maton.connect()
        with pytest.raises(ValidationError) as invalid:
            await ph.request("POST", "/api/projects/1/cohorts/", body={"name": 5, "groups": "x"})
        assert invalid.value.type == "validation_error"
        with pytest.raises(NotFoundError):
            await ph.cohorts.get(123456)
    async with client_of(maton, "another-connection") as ph:
        with pytest.raises(MissingConnectionError, match="another-connection") as other:
            await ph.cohorts.list()
        assert "connections.list()" in str(other.value.suggestion)
    wrong = AsyncPostHog(gateway=Maton("wrong-key"), transport=httpx.ASGITransport(app=maton))
    async with wrong as ph:
        with pytest.raises(AuthenticationError) as refused:
            await ph.cohorts.list()
        assert "MATON_API_KEY" in str(refused.value.suggestion)
    emulator_key = maton.emulator.key
    passed_on = httpx.MockTransport(
        always(401, json={"type": "authentication_error", "code": "authentication_failed"})
    )
    async with AsyncPostHog(gateway=Maton("a-key"), project_id=1, transport=passed_on) as ph:
        with pytest.raises(AuthenticationError) as posthogs:
            await ph.cohorts.list()
    assert "PostHog refuses the credentials" in str(posthogs.value.suggestion)
    assert emulator_key not in str(posthogs.value)
    detail = "API key missing required scope 'cohort:read'"
    scope = httpx.MockTransport(
        always(403, json={"type": "authentication_error", "code": "permission_denied",
                          "detail": detail})
    )  # fmt: skip
    async with AsyncPostHog(gateway=Maton("a-key"), project_id=1, transport=scope) as ph:
        with pytest.raises(PermissionDeniedError) as denied:
            await ph.cohorts.list()
    assert "the gateway at https://gateway.maton.ai/posthog has" in str(denied.value.suggestion)
    assert "cohort:read" in str(denied.value.suggestion)


async def test_doctor_speaks_of_the_gateway(maton: FakeMaton) -> None:
    async with client_of(maton) as ph:
        unconnected = await ph.doctor(["feature_flags.*"])
    shown = str(unconnected)
    assert "that of the gateway at https://gateway.maton.ai/posthog" in shown
    assert "no active connection" in shown
    assert "maton.connections.create()" in shown
    assert "user-api-keys" not in shown
    maton.connect()
    async with client_of(maton) as ph:
        assert "WRONG" not in str(await ph.doctor(["feature_flags.*"]))


async def test_connections_are_managed(maton: FakeMaton) -> None:
    control = Maton(maton.key, transport=httpx.ASGITransport(app=maton))
    old = maton.connect()
    made = await control.connections.create()
    assert made.status == "PENDING"
    assert not made.is_active
    assert made.url is not None
    assert made.url.startswith("https://connect.maton.ai/?session_token=")
    assert "session_token" not in repr(made)
    active = await control.connections.list()
    assert [c.id for c in active] == [old]
    assert active[0].created_at is not None
    assert [c.id for c in await control.connections.list(status=None)] == [old, made.id]
    assert await control.connections.get(old) == active[0]
    assert isinstance(active[0], Connection)
    await control.connections.delete(made.id)
    with pytest.raises(NotFoundError) as gone:
        await control.connections.get(made.id)
    assert gone.value.status == 404
    with pytest.raises(ValueError, match="must not be empty"):
        await control.connections.get("")
    wrong = Maton("wrong-key", transport=httpx.ASGITransport(app=maton))
    with pytest.raises(AuthenticationError, match="401") as refused:
        await wrong.connections.list()
    assert "MATON_API_KEY" in str(refused.value.suggestion)


async def test_a_control_server_that_fails_is_an_error() -> None:
    def lost(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"headers {request.headers}")

    def late(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late")

    cases: list[tuple[Any, type[Exception]]] = [
        (lost, ConnectionError),
        (late, TimeoutError),
        (always(200, text="<html>"), DecodeError),
        (always(200, json={"connection": {}}), DecodeError),
        (always(429, json={}), RateLimitError),
    ]
    for answer, kind in cases:
        control = Maton("a-maton-key", transport=httpx.MockTransport(answer))
        with pytest.raises(kind) as error:
            await control.connections.get("an-id")
        assert "a-maton-key" not in "".join(traceback.format_exception(error.value))


async def test_the_limits_of_maton_are_kept() -> None:
    async def ask(ph: AsyncPostHog) -> None:
        await ph.insights.list()
        await ph.persons.list()
        await ph.session_recordings.list()
        await ph.feature_flags.list()
        await ph.request("GET", "/api/projects/1/cohorts/")
        await ph.request(
            "POST",
            "/api/projects/1/query/",
            body={"query": {"kind": "HogQLQuery", "query": "SELECT 1"}},
        )
        await ph.request("POST", "/api/projects/1/query/", body={"query": {"kind": "TrendsQuery"}})

    clock = ManualClock()
    server = Server(ok)
    async with AsyncPostHog(
        gateway=Maton("a-maton-key"), project_id=1, transport=server.transport, clock=clock
    ) as ph:
        await ask(ph)
        limits = ph.rate_limits
        used = {name: (b.used, b.limit, b.seconds) for name, b in limits.buckets.items()}
        assert used == {
            "maton_analytics_hour": (4, 1200, 3600.0),
            "maton_analytics_minute": (4, 240, 60.0),
            "maton_hogql_hour": (1, 120, 3600.0),
            "maton_other_hour": (2, 4800, 3600.0),
            "maton_other_minute": (2, 480, 60.0),
            "slots of project 1": (0, 3, 0.0),
        }
        for _ in range(119):
            await ph.request(
                "POST",
                "/api/projects/1/query/",
                body={"query": {"kind": "HogQLQuery", "query": "SELECT 1"}},
            )
        assert clock.slept == []
        with pytest.raises(RateLimitError, match="maton_hogql_hour"):
            await ph.with_options(deadline=60).request(
                "POST",
                "/api/projects/1/query/",
                body={"query": {"kind": "HogQLQuery", "query": "SELECT 1"}},
            )
    limited = AsyncPostHog(
        gateway=Maton("a-maton-key"), limits={"maton_hogql_hour": (10, 60)}, clock=clock
    )
    assert limited.rate_limits["maton_hogql_hour"].limit == 10
    with pytest.raises(ConfigurationError, match="no bucket 'burst'"):
        AsyncPostHog(gateway=Maton("a-maton-key"), limits={"burst": (1, 1)})
