"""The example for the Claude Agent SDK, with its real program and a stand-in of Anthropic's API."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn

from asyncposthog import AsyncPostHog
from examples.agents import claude_agent
from posthog_emulator import Emulator

SQL = "SELECT event, count() AS n FROM events GROUP BY event ORDER BY n DESC LIMIT 5"

pytestmark = pytest.mark.anyio

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class StandIn:
    """Anthropic's API with a model that asks for the top events and says what it was told."""

    def __init__(self) -> None:
        self.tools: set[str] = set()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        content = b"{}"
        if scope["path"] == "/v1/messages":
            content = self.answer(json.loads(body))
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def answer(self, request: dict[str, Any]) -> bytes:
        self.tools |= {tool["name"] for tool in request.get("tools", ())}
        last = request["messages"][-1]["content"]
        results = [b for b in last if isinstance(b, dict) and b.get("type") == "tool_result"]
        if results:
            text = results[0]["content"][0]["text"]
            rows = json.loads(text)["data"]["rows"]
            return self.stream("text", "\n".join(f"{event}: {n}" for event, n in rows))
        return self.stream("tool_use", json.dumps({"query": SQL}))

    def stream(self, kind: str, text: str) -> bytes:
        block: dict[str, Any] = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": text}
        if kind == "tool_use":
            name = "mcp__posthog__query_posthog"
            block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": text}
        message = {
            "id": "m", "type": "message", "role": "assistant", "model": "x", "content": [],
            "stop_reason": None, "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }  # fmt: skip
        stop = {"stop_reason": "tool_use" if kind == "tool_use" else "end_turn"}
        events: list[tuple[str, dict[str, Any]]] = [
            ("message_start", {"message": message}),
            ("content_block_start", {"index": 0, "content_block": block}),
            ("content_block_delta", {"index": 0, "delta": delta}),
            ("content_block_stop", {"index": 0}),
            ("message_delta", {"delta": stop, "usage": {"output_tokens": 5}}),
            ("message_stop", {}),
        ]
        return b"".join(
            f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()
            for name, data in events
        )


async def test_top_events_are_answered_from_demo_data(tmp_path: Path) -> None:
    emulator = Emulator()
    emulator.add_demo_events(events=300, seed=1)
    api = StandIn()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = uvicorn.Server(uvicorn.Config(api, log_level="error", lifespan="off"))
        async with AsyncPostHog.emulated(emulator) as ph, anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: server.serve(sockets=[sock]))
            answer = await claude_agent.ask(
                "What are the top events?",
                ph,
                cwd=tmp_path,
                setting_sources=[],
                env={
                    "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{sock.getsockname()[1]}",
                    "ANTHROPIC_API_KEY": "sk-ant-of-the-tests",
                    "HOME": str(tmp_path),
                    "CLAUDE_CONFIG_DIR": str(tmp_path),
                    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                },
            )
            expected = (await ph.query(SQL)).results
            server.should_exit = True
    assert answer == "\n".join(f"{event}: {count}" for event, count in expected)
    assert "mcp__posthog__query_posthog" in api.tools
    assert "mcp__posthog__write_operation" not in api.tools
