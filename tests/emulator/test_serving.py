"""Serving on a socket, and the ASGI protocol."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

import anyio
import httpx
import pytest

from posthog_emulator import Emulator, serve

from . import widget_api

pytestmark = pytest.mark.anyio

WIDGETS = "/api/projects/1/widgets/"


def headers(emulator: Emulator) -> dict[str, str]:
    return {"Authorization": f"Bearer {emulator.key}"}


def calling(emulator: Emulator, url: str = "") -> httpx.AsyncClient:
    """A client with a long timeout, because the machine may be slow."""
    return httpx.AsyncClient(base_url=url, headers=headers(emulator), timeout=60)


def served() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "asyncposthog-emulator"]


async def test_a_real_socket(tiny: Emulator) -> None:
    tiny.seed("widgets", 3)
    async with serve(tiny) as url:
        assert url.startswith("http://127.0.0.1:")
        async with calling(tiny, url) as http:
            page = (await http.get(WIDGETS, params={"limit": 2})).json()
            assert page["next"] == f"{url}{WIDGETS}?limit=2&offset=2"
            assert len((await http.get(page["next"])).json()["results"]) == 1
            made = await http.post(WIDGETS, json={"name": "a"})
            assert made.status_code == 201
    assert [item["name"] for item in tiny.items("widgets")][-1] == "a"
    assert tiny.requests[0].headers["host"] == url.removeprefix("http://")


async def test_no_threads_are_left(tiny: Emulator) -> None:
    async with serve(tiny) as url:
        port = int(url.rpartition(":")[2])
        assert len(served()) == 1
        async with calling(tiny, url) as http:
            assert (await http.get(WIDGETS)).status_code == 200
    assert served() == []
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))


async def test_no_threads_are_left_by_a_failing_block(tiny: Emulator) -> None:
    with pytest.raises(RuntimeError, match="mine"):
        async with serve(tiny):
            raise RuntimeError("mine")
    assert served() == []


async def test_no_threads_are_left_by_a_cancelled_block(tiny: Emulator) -> None:
    with anyio.CancelScope() as scope:
        async with serve(tiny):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert served() == []


async def test_two_servers_at_once(tiny: Emulator) -> None:
    other = Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS)
    other.seed("widgets", 2)
    async with serve(tiny) as first, serve(other) as second:
        assert first != second
        async with calling(tiny) as http:
            counts = [(await http.get(url + WIDGETS)).json()["count"] for url in (first, second)]
    assert counts == [0, 2]


async def test_a_port_in_use(tiny: Emulator) -> None:
    async with serve(tiny) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with serve(tiny, port):
                raise AssertionError("two servers on one port")
    assert served() == []


async def test_a_connection_lost_on_a_socket(tiny: Emulator) -> None:
    tiny.faults.drop()
    async with serve(tiny) as url, calling(tiny, url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(WIDGETS)
        assert (await http.get(WIDGETS)).status_code == 200


async def test_objects_can_be_added_while_serving(tiny: Emulator) -> None:
    async with serve(tiny) as url, calling(tiny, url) as http:
        for expected in (100, 200):
            tiny.seed("widgets", 100)
            assert (await http.get(WIDGETS)).json()["count"] == expected


async def test_a_missing_uvicorn_names_the_extra(
    tiny: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r"asyncposthog\[emulator\]"):
        async with serve(tiny):
            raise AssertionError("served without uvicorn")


async def test_concurrent_requests(tiny: Emulator) -> None:
    answers: list[int] = []
    async with serve(tiny) as url, calling(tiny, url) as http:

        async def make(number: int) -> None:
            answer = await http.post(WIDGETS, json={"name": str(number)})
            answers.append(answer.json()["id"])

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(make, number)
    assert sorted(answers) == list(range(1, 21))


async def converse(emulator: Emulator, scope: dict[str, Any], *messages: Any) -> list[Any]:
    """Send ASGI messages to the application, and return those that it sends."""
    waiting, sent = list(messages), list[Any]()

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await emulator.app(scope, receive, send)
    return sent


async def test_the_lifespan_protocol(tiny: Emulator) -> None:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = await converse(tiny, {"type": "lifespan"}, *messages)
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


async def test_no_websockets(tiny: Emulator) -> None:
    with pytest.raises(ValueError, match="serves http only"):
        await converse(tiny, {"type": "websocket"})


async def test_a_client_that_disconnects_during_the_body(tiny: Emulator) -> None:
    more = {"type": "http.request", "body": b"{", "more_body": True}
    sent = await converse(tiny, {"type": "http"}, more, {"type": "http.disconnect"})
    assert (sent, tiny.requests) == ([], [])


async def test_a_chunked_body_and_a_repeated_header(tiny: Emulator) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": WIDGETS,
        "query_string": b"",
        "headers": [
            (b"authorization", b"Bearer phx_emulator"),
            (b"content-type", b"application/json"),
            (b"x-note", b"a"),
            (b"x-note", b"b"),
        ],
    }
    pieces = [
        {"type": "http.request", "body": b'{"name":', "more_body": True},
        {"type": "http.request", "body": b'"a"}'},
    ]
    sent = await converse(tiny, scope, *pieces)
    assert sent[0]["status"] == 201
    assert tiny.requests[0].headers["x-note"] == "a, b"


@pytest.mark.parametrize("strict", [None, True, False])
async def test_who_is_checked_strictly(strict: bool | None) -> None:
    emulator = Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS, strict=strict)
    emulator.add("widgets")
    path = f"{WIDGETS}?colour=red&size=large"
    async with (
        serve(emulator) as url,
        calling(emulator, url) as served,
        httpx.AsyncClient(
            transport=emulator.transport(), base_url="http://e", headers=headers(emulator)
        ) as in_process,
    ):
        through_a_socket, inside = await served.get(path), await in_process.get(path)
    assert through_a_socket.status_code == (400 if strict else 200)
    assert inside.status_code == (200 if strict is False else 400)
    assert "widgets.list: unknown query parameter 'colour'" in emulator.warnings
