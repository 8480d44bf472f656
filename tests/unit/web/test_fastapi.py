"""The lifespan and the dependencies for FastAPI."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket

from asyncposthog import AsyncPostHog, ClosedError
from asyncposthog.contrib.fastapi import (
    Client,
    Context,
    Flags,
    PostHogMiddleware,
    connect,
    get_flags,
    lifespan,
)
from asyncposthog.flags.snapshot import FlagResult, FlagSnapshot
from posthog_emulator import Emulator

from .helpers import Captures, captured_exceptions, emulated

pytestmark = pytest.mark.anyio


def application(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.add_middleware(PostHogMiddleware)

    @app.get("/flags")
    async def flags(flags: Flags) -> dict[str, Any]:
        return {"beta": flags.is_enabled("beta", False)}

    @app.get("/client")
    async def client(client: Client, context: Context) -> str:
        assert context.client is client
        return str(context.distinct_id)

    @app.get("/thread")
    def thread(context: Context) -> str:
        return str(context.distinct_id)

    @app.get("/fail")
    async def fail() -> None:
        raise LookupError("of the endpoint")

    return app


@asynccontextmanager
async def running(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as http,
    ):
        yield http


ADA = {"X-POSTHOG-DISTINCT-ID": "ada"}


async def test_a_service() -> None:
    emulator, captures = Emulator(), Captures()
    emulator.set_flag("beta", distinct_id="ada")
    ph = emulated(emulator, captures)
    async with running(application(lifespan=lifespan(ph))) as http:
        assert (await http.get("/flags", headers=ADA)).json() == {"beta": True}
        assert (await http.get("/flags")).json() == {"beta": False}
        assert (await http.get("/client", headers=ADA)).json() == "ada"
        assert (await http.get("/thread", headers=ADA)).json() == "ada"
        assert len(emulator.requests) == 1, "only endpoints that ask for flags evaluate them"
        with pytest.raises(LookupError):
            await http.get("/fail", headers=ADA)
    assert [(str(error), who) for error, who, _ in captures.exceptions] == [
        ("of the endpoint", "ada")
    ]
    with pytest.raises(ClosedError):
        await ph.flags.evaluate("ada")


async def test_an_exception_that_an_endpoint_has_captured_is_not_captured_again() -> None:
    emulator = Emulator()
    ph = AsyncPostHog.emulated(emulator)
    app = application(lifespan=lifespan(ph))

    @app.get("/pay")
    async def pay(client: Client) -> None:
        error = LookupError("of the endpoint")
        await client.capture.exception(error)
        raise error

    async with running(app) as http:
        with pytest.raises(LookupError):
            await http.get("/pay", headers=ADA)
    assert captured_exceptions(emulator) == [("of the endpoint", True)]


async def test_local_flags_in_a_lifespan_of_ones_own() -> None:
    emulator = Emulator()
    emulator.set_flag("beta")

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncGenerator[None]:
        async with connect(app, emulated(emulator), local_flags={"strictly_local": True}) as ph:
            assert app.state.posthog is ph
            yield
        assert not hasattr(app.state, "posthog")

    async with running(application(lifespan=own)) as http:
        assert (await http.get("/flags", headers=ADA)).json() == {"beta": True}
    assert [request.path for request in emulator.requests] == ["/flags/definitions"]


async def test_settings_make_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    app = application(lifespan=lifespan(api_key="phx_x", project_id=1, project_api_key="phc_x"))
    async with running(app):
        assert isinstance(app.state.posthog, AsyncPostHog)


async def test_a_dependency_can_be_overridden() -> None:
    app = application(lifespan=lifespan(emulated(Emulator())))
    app.dependency_overrides[get_flags] = lambda: FlagSnapshot(
        "ada", {"beta": FlagResult("beta", True)}
    )
    async with running(app) as http:
        assert (await http.get("/flags")).json() == {"beta": True}


async def test_what_is_missing_is_told() -> None:
    app = FastAPI()

    @app.get("/client")
    async def client(client: Client) -> None: ...

    @app.get("/context")
    async def context(context: Context) -> None: ...

    async with running(app) as http:
        with pytest.raises(RuntimeError, match=r"lifespan=lifespan\(\)"):
            await http.get("/client")
        with pytest.raises(RuntimeError, match="add_middleware"):
            await http.get("/context")


@pytest.mark.filterwarnings("ignore:Using .httpx. with")  # of Starlette, which prefers httpx2
def test_websockets(posthog_emulator: Emulator) -> None:
    from fastapi.testclient import TestClient

    posthog_emulator.set_flag("beta")
    app = application(lifespan=lifespan(emulated(posthog_emulator)))

    @app.websocket("/ws")
    async def ws(socket: WebSocket, flags: Flags) -> None:
        await socket.accept()
        await socket.send_json({"beta": flags.is_enabled("beta")})
        await socket.close()

    client: Any = TestClient(app)
    with client, client.websocket_connect("/ws", headers=ADA) as socket:
        assert socket.receive_json() == {"beta": True}
