"""The ASGI middleware: who sends a request, its flags, and exceptions that are captured once."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog import AsyncPostHog, ConfigurationError, FlagUnavailableError
from asyncposthog.contrib.asgi import PostHogMiddleware, RequestContext, current_request
from asyncposthog.contrib.request_context import cookie_name, identity
from posthog_emulator import Emulator

from .helpers import TOKEN, Captures, captured_exceptions, cookie, emulated

pytestmark = pytest.mark.anyio

Handler = Callable[[RequestContext], Awaitable[object]]


@pytest.fixture
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.set_flag("beta", distinct_id="ada")
    return emulator


@pytest.fixture
def captures() -> Captures:
    return Captures()


@pytest.fixture
async def ph(emulator: Emulator, captures: Captures) -> AsyncIterator[AsyncPostHog]:
    async with emulated(emulator, captures) as ph:
        yield ph


def http(
    handler: Handler, ph: AsyncPostHog | None, *, wrap: Any = None, **options: Any
) -> httpx.AsyncClient:
    """Return a client of an application whose responses are what the handler returns."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        context = current_request()
        assert context is scope["posthog"]
        assert context is not None
        body = str(await handler(context)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    wrapped: Any = PostHogMiddleware(wrap(app) if wrap else app, ph, **options)
    return httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="http://service")


def ada(scope: Any) -> str:
    return "ada"


async def ids(context: RequestContext) -> str:
    return f"{context.distinct_id} {context.session_id} {context.claimed.source}"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "None None None"),
        ({"X-POSTHOG-DISTINCT-ID": "ada"}, "ada None header"),
        ({"x-posthog-distinct-id": " ada ", "X-Posthog-Session-Id": "s1"}, "ada s1 header"),
        ({"Cookie": cookie()}, "from-cookie s-cookie cookie"),
        ({"Cookie": cookie(), "X-POSTHOG-DISTINCT-ID": "ada"}, "ada s-cookie header"),
        ({"Cookie": cookie(), "X-POSTHOG-SESSION-ID": "s1"}, "from-cookie s1 cookie"),
        ({"Cookie": cookie("é–1")}, "é–1 s-cookie cookie"),
        ({"Cookie": cookie(7, None)}, "None None None"),
        ({"Cookie": f"{cookie_name(TOKEN)}=%7Bbroken"}, "None None None"),
        ({"Cookie": f"{cookie_name('phc_other')}=%7B%22distinct_id%22%3A%22x%22%7D"},
         "None None None"),
        ({"X-POSTHOG-DISTINCT-ID": "a" * 401}, "None None None"),
        ({"X-POSTHOG-DISTINCT-ID": ""}, "None None None"),
    ],
)  # fmt: skip
async def test_who_sends_a_request(
    ph: AsyncPostHog, headers: dict[str, str], expected: str
) -> None:
    async with http(ids, ph) as service:
        assert (await service.get("/", headers=headers)).text == expected


async def test_what_a_client_claims_need_not_be_believed(ph: AsyncPostHog) -> None:
    headers = {"Cookie": cookie(), "X-POSTHOG-DISTINCT-ID": "ada"}
    async with http(ids, ph, trust_headers=False) as service:
        assert (await service.get("/", headers=headers)).text == "from-cookie s-cookie cookie"
    async with http(ids, ph, trust_headers=False, trust_cookie=False) as service:
        assert (await service.get("/", headers=headers)).text == "None None None"


async def test_the_user_wins_over_what_a_client_claims(ph: AsyncPostHog) -> None:
    async def user(scope: Any) -> int | None:
        return {"/ada": 7, "/zero": 0}.get(scope["path"])

    headers = {"X-POSTHOG-DISTINCT-ID": "forged", "X-POSTHOG-SESSION-ID": "s"}
    async with http(ids, ph, user=user) as service:
        assert (await service.get("/ada", headers=headers)).text == "7 s header"
        assert (await service.get("/zero", headers=headers)).text == "0 s header"
        assert (await service.get("/", headers=headers)).text == "forged s header"
    async with http(ids, ph, user=ada) as service:
        assert (await service.get("/", headers=headers)).text == "ada s header"


async def test_flags_are_lazy_and_evaluated_once(emulator: Emulator, ph: AsyncPostHog) -> None:
    async def nothing(context: RequestContext) -> str:
        return "nothing"

    async def many(context: RequestContext) -> bool:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(context.flags)
        assert await context.flag("beta") is await context.is_enabled("beta")
        return await context.is_enabled("beta")

    headers = {"X-POSTHOG-DISTINCT-ID": "ada"}
    async with http(nothing, ph) as service:
        await service.get("/", headers=headers)
    assert len(emulator.requests) == 0
    async with http(many, ph) as service:
        assert (await service.get("/", headers=headers)).text == "True"
        assert len(emulator.requests) == 1
        other = {"X-POSTHOG-DISTINCT-ID": "bob"}
        assert (await service.get("/", headers=other)).text == "False"


async def test_flags_follow_whom_the_service_identifies(
    emulator: Emulator, ph: AsyncPostHog
) -> None:
    async def login(context: RequestContext) -> str:
        before = await context.is_enabled("beta")
        context.identify("ada")
        with pytest.raises(ValueError, match="empty"):
            context.identify("")
        return f"{before} {await context.is_enabled('beta')}"

    async with http(login, ph) as service:
        response = await service.get("/", headers={"X-POSTHOG-DISTINCT-ID": "eve"})
    assert response.text == "False True"


async def test_flag_options(emulator: Emulator, ph: AsyncPostHog) -> None:
    test = {"key": "path", "type": "person", "operator": "exact", "value": "/x"}
    condition = {"properties": [test], "rollout_percentage": 100}
    fields = {"key": "of-path", "active": True, "filters": {"groups": [condition]}}
    emulator.add("feature_flags", fields)

    async def of_path(context: RequestContext) -> bool:
        return await context.is_enabled("of-path")

    def options(scope: Any) -> dict[str, Any]:
        return {"person_properties": {"path": scope["path"]}, "keys": ["of-path"]}

    async with http(of_path, ph, flag_options=options, user=ada) as service:
        assert (await service.get("/x")).text == "True"
        assert (await service.get("/y")).text == "False"


async def test_unknown_flags_need_a_default(emulator: Emulator, ph: AsyncPostHog) -> None:
    async def beta(context: RequestContext) -> str:
        with pytest.raises(FlagUnavailableError) as caught:
            await context.is_enabled("beta")
        return f"{caught.value.reason} {await context.is_enabled('beta', True)}"

    async with http(beta, ph) as service:
        assert (await service.get("/")).text == "no_distinct_id True"
        emulator.faults.fail(503, times=None)
        response = await service.get("/", headers={"X-POSTHOG-DISTINCT-ID": "ada"})
        assert response.text == "request_failed True"


async def fail(context: RequestContext) -> None:
    raise LookupError("of the handler")


async def test_an_exception_is_captured_once_and_raised(
    ph: AsyncPostHog, captures: Captures
) -> None:
    def outer(app: Any) -> Any:
        return PostHogMiddleware(app, ph)

    headers = {"X-POSTHOG-DISTINCT-ID": "ada", "X-POSTHOG-SESSION-ID": "s1"}
    async with http(fail, ph, wrap=outer) as service:
        with pytest.raises(LookupError, match="of the handler"):
            await service.post("/pay", headers=headers)
    [(error, distinct_id, properties)] = captures.exceptions
    assert isinstance(error, LookupError)
    assert distinct_id == "ada"
    assert properties == {
        "$request_path": "/pay",
        "$request_method": "POST",
        "$session_id": "s1",
    }
    assert current_request() is None


async def test_capturing_can_be_switched_off(ph: AsyncPostHog, captures: Captures) -> None:
    async with http(fail, ph, capture_exceptions=False) as service:
        with pytest.raises(LookupError):
            await service.get("/")
    assert captures.exceptions == []


async def test_a_failed_capture_hides_nothing(
    ph: AsyncPostHog, captures: Captures, caplog: pytest.LogCaptureFixture
) -> None:
    captures.failure = RuntimeError("the queue is on fire")
    async with http(fail, ph) as service:
        with caplog.at_level(logging.ERROR, "asyncposthog"), pytest.raises(LookupError):
            await service.get("/")
    assert "was not captured" in caplog.text


async def test_a_client_without_capture_still_raises(emulator: Emulator) -> None:
    ph = AsyncPostHog.emulated(emulator, project_api_key=None)
    async with ph, http(fail, ph) as service:
        with pytest.raises(LookupError):
            await service.get("/")
    assert len(emulator.requests) == 0


async def test_other_connections_pass() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])
        assert "posthog" not in scope

    await PostHogMiddleware(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


async def test_websockets_have_a_context(ph: AsyncPostHog) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["posthog"].distinct_id)

    scope = {"type": "websocket", "path": "/", "headers": [(b"X-PostHog-Distinct-Id", b"ada")]}
    await PostHogMiddleware(app, lambda _: ph)(scope, None, None)  # type: ignore[arg-type]
    assert seen == ["ada"]


async def test_no_client_is_told() -> None:
    async with http(ids, None) as service:
        with pytest.raises(RuntimeError, match="has no client"):
            await service.get("/")


async def test_no_token_is_told_where_flags_are_read(emulator: Emulator) -> None:
    async def beta(context: RequestContext) -> bool:
        return await context.is_enabled("beta", False)

    async with (
        AsyncPostHog.emulated(emulator, project_api_key=None) as ph,
        http(beta, ph, user=ada) as service,
    ):
        with pytest.raises(ConfigurationError, match="POSTHOG_PROJECT_API_KEY"):
            await service.get("/")


async def test_the_capture_context_is_entered(ph: AsyncPostHog, captures: Captures) -> None:
    from contextlib import contextmanager

    entered: list[Any] = []

    @contextmanager
    def context(**arguments: Any) -> Any:
        entered.append(arguments)
        yield
        entered.append("left")

    captures.context = context  # type: ignore[attr-defined]
    async with http(ids, ph) as service:
        await service.get("/", headers={"Cookie": cookie()})
    assert entered == [
        {"distinct_id": "from-cookie", "session_id": "s-cookie"},
        "left",
    ]


async def test_events_and_exceptions_of_a_request_arrive(emulator: Emulator) -> None:
    async def buy(context: RequestContext) -> None:
        assert await context.is_enabled("beta")
        await context.client.capture("bought")
        raise LookupError("of the handler")

    async with AsyncPostHog.emulated(emulator) as ph:
        async with http(buy, ph, user=ada) as service:
            with pytest.raises(LookupError):
                await service.get("/buy", headers={"X-POSTHOG-SESSION-ID": "s1"})
        await ph.capture.flush()
    events = {event["event"]: event for event in emulator.captured_events()}
    assert set(events) == {"$feature_flag_called", "bought", "$exception"}
    assert {event["distinct_id"] for event in events.values()} == {"ada"}
    assert {event["properties"]["$session_id"] for event in events.values()} == {"s1"}
    assert events["$exception"]["properties"]["$request_path"] == "/buy"
    exception = events["$exception"]["properties"]["$exception_list"][0]
    assert (exception["type"], exception["value"]) == ("LookupError", "of the handler")
    assert exception["mechanism"]["handled"] is False


async def test_an_exception_that_was_captured_by_hand_is_not_captured_again(
    emulator: Emulator,
) -> None:
    async def pay(context: RequestContext) -> None:
        try:
            raise LookupError("of the handler")
        except LookupError:
            assert await context.client.capture.exception() is not None
            raise

    async with AsyncPostHog.emulated(emulator) as ph:

        def outer(app: Any) -> Any:
            return PostHogMiddleware(app, ph)

        async with http(pay, ph, wrap=outer) as service:
            with pytest.raises(LookupError):
                await service.get("/pay")
        await ph.capture.flush()
    assert captured_exceptions(emulator) == [("of the handler", True)]


async def test_frameworks_that_answer_exceptions_themselves(emulator: Emulator) -> None:
    """As Litestar and Quart do, which `make clients` runs: the middleware sees no exception.

    Handlers run in tasks and threads of their own, and a hook is told about exceptions.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def answer(status: int, body: str) -> None:
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": body.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        async def handle() -> None:
            try:
                context = current_request()
                assert context is not None
                if scope["path"] == "/fail":
                    raise LookupError("of the handler")
                who = await anyio.to_thread.run_sync(lambda: current_request() is context)
                await answer(200, f"{who} {scope['posthog'] is context} {context.distinct_id}")
            except Exception as error:
                await on_exception(error)
                await answer(500, "")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handle)

    async def on_exception(error: Exception) -> None:
        context = current_request()
        assert context is not None
        assert await context.capture_exception(error)
        assert not await context.capture_exception(error)

    async with AsyncPostHog.emulated(emulator) as ph:
        service: Any = PostHogMiddleware(app, ph)
        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            headers = {"X-POSTHOG-DISTINCT-ID": "ada"}
            assert (await client.get("/", headers=headers)).text == "True True ada"
            assert (await client.get("/fail", headers=headers)).status_code == 500
        await ph.capture.flush()
    assert captured_exceptions(emulator) == [("of the handler", False)]
    [event] = emulator.captured_events()
    assert event["distinct_id"] == "ada"
    assert event["properties"]["$request_path"] == "/fail"


@given(st.text(max_size=30) | st.none(), st.text(max_size=60) | st.none())
def test_any_header_and_cookie(header: str | None, stored: str | None) -> None:
    found = identity(lambda name: header, lambda: stored)
    for text in (found.distinct_id, found.session_id):
        assert text is None or (text.strip() == text and text.isprintable() and text)


def test_the_name_of_the_cookie() -> None:
    assert cookie_name("phc_a+b/c=") == "ph_phc_aPLbSLcEQ_posthog"
