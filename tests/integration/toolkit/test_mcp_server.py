"""The MCP server, driven by the official client: in memory, over stdio and over HTTP."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from asyncposthog import AsyncPostHog, ConfigurationError
from asyncposthog.contrib.mcp import (
    INSTRUCTIONS,
    MAX_SCHEMA_CHARS,
    http_app,
    make_server,
    new_token,
    serve_http,
)
from asyncposthog.toolkit import Tool, Toolkit
from posthog_emulator import Emulator, serve_sync

ROOT = Path(__file__).resolve().parents[3]
COUNT = {"query": "SELECT count() FROM events"}
TOKEN = "a-token-of-the-tests"

pytestmark = pytest.mark.anyio


@pytest.fixture
def environment(demo: Emulator) -> Iterator[dict[str, str]]:
    with serve_sync(demo) as url:
        yield {
            **{name: value for name, value in os.environ.items() if "POSTHOG" not in name},
            "PYTHONPATH": os.pathsep.join(sys.path),
            "POSTHOG_API_KEY": demo.key,
            "POSTHOG_PROJECT_ID": str(demo.project_id),
            "POSTHOG_HOST": url,
            "POSTHOG_MCP_TOKEN": TOKEN,
        }


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_in_memory(kit: Toolkit, mode: Any) -> None:
    async with Client(make_server(kit), mode=mode) as client:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == [tool.name for tool in kit]
        hints = {tool.name: tool.annotations for tool in listed}
        read, write = hints["read_operation"], hints["write_operation"]
        assert read is not None
        assert read.read_only_hint is True
        assert write is not None
        assert write.read_only_hint is False
        assert write.destructive_hint is True
        result = await client.call_tool("query_posthog", COUNT)
        assert not result.is_error
        assert result.structured_content is not None
        assert result.structured_content["data"]["rows"] == [[300]]
        assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]


async def test_instructions_say_how_to_use_the_tools(kit: Toolkit) -> None:
    async with Client(make_server(kit)) as client:
        assert client.instructions == INSTRUCTIONS
    assert len(INSTRUCTIONS) // 4 < 150


async def test_a_write_takes_two_calls(kit: Toolkit, demo: Emulator) -> None:
    demo.requests.clear()
    async with Client(make_server(kit)) as client:
        plan = await client.call_tool(
            "write_operation",
            {"operation": "feature_flags.create", "arguments": {"key": "mcp", "name": "MCP"}},
        )
        assert plan.structured_content is not None
        assert not [request for request in demo.requests if request.method == "POST"]
        plan_id = plan.structured_content["data"]["plan_id"]
        done = await client.call_tool("write_operation", {"plan_id": plan_id})
        assert not done.is_error
        again = await client.call_tool("write_operation", {"plan_id": plan_id})
        assert again.is_error


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("no_such_tool", {}), ("read_operation", {}), ("query_posthog", {"query": "DROP TABLE x"})],
)
async def test_errors_are_results_a_model_can_read(
    kit: Toolkit, name: str, arguments: dict[str, Any]
) -> None:
    async with Client(make_server(kit)) as client:
        result = await client.call_tool(name, arguments)
    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["error"]["message"]


async def test_a_schema_that_is_too_large_is_not_listed(kit: Toolkit) -> None:
    async def run(arguments: dict[str, Any]) -> Any:
        return arguments

    schema = {
        "type": "object",
        "properties": {f"field{n}": {"type": "string"} for n in range(1000)},
        "required": ["field0"],
    }
    kit.add(Tool(name="large", description="", input_schema=schema, run=run))
    async with Client(make_server(kit)) as client:
        listed = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
    assert listed["large"] == {"type": "object", "required": ["field0"]}
    assert all(len(json.dumps(s)) <= MAX_SCHEMA_CHARS for s in listed.values())


async def test_all_ready_made_tools_have_schemas_that_clients_take(kit: Toolkit) -> None:
    kit.use("all")
    async with Client(make_server(kit)) as client:
        listed = (await client.list_tools()).tools
    assert len(listed) > 30
    assert all(len(json.dumps(tool.input_schema)) <= MAX_SCHEMA_CHARS for tool in listed)


def test_results_larger_than_clients_take_are_refused(demo: Emulator) -> None:
    kit = Toolkit(AsyncPostHog.emulated(demo), max_result_tokens=20_000)
    with pytest.raises(ConfigurationError, match="too much for MCP"):
        make_server(kit)


async def test_stdio(environment: dict[str, str]) -> None:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "asyncposthog", "mcp", "--read-only", "--tools", "core,flags,surveys.list"],
        env=environment,
    )
    async with Client(server) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert {"query_posthog", "get_feature_flag_details", "surveys_list"} <= set(names)
        assert "write_operation" not in names
        assert "create_feature_flag" not in names
        result = await client.call_tool("query_posthog", COUNT)
        assert result.structured_content is not None
        assert result.structured_content["data"]["rows"] == [[300]]


async def test_the_command_serves_http(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "asyncposthog", "mcp", "--http", "--port", "0"]
    process = await anyio.open_process(
        [*command, "--features", "cohorts"], env=environment, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        text = ""
        while not (match := re.search(r"http://\S+/mcp", text)):
            text += (await process.stderr.receive()).decode()
        assert TOKEN not in text
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(streamable_http_client(match[0], http_client=http)) as client,
        ):
            result = await client.call_tool("read_operation", {"operation": "cohorts.list"})
            assert not result.is_error
            result = await client.call_tool("read_operation", {"operation": "surveys.list"})
            assert result.is_error
    finally:
        process.terminate()
        await process.aclose()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_http_in_this_process(kit: Toolkit, mode: Any) -> None:
    token = new_token()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: serve_http(kit, token=token, sock=sock))
            headers = {"Authorization": f"Bearer {token}"}
            async with (
                httpx2.AsyncClient(headers=headers) as http,
                Client(streamable_http_client(url, http_client=http), mode=mode) as client,
            ):
                result = await client.call_tool("query_posthog", COUNT)
                assert result.structured_content is not None
                assert result.structured_content["data"]["rows"] == [[300]]
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": f"Bearer {TOKEN}", "Origin": "https://evil.example"}, 403),
        ({"Authorization": f"Bearer {TOKEN}", "Origin": "null"}, 403),
        ({"Authorization": f"Bearer {TOKEN}", "Origin": "http://localhost.evil.example"}, 403),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_http_refuses_strangers(
    kit: Toolkit, headers: dict[str, str], status: int, host: str
) -> None:
    app: Any = http_app(kit, token=TOKEN, host=host)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        response = await client.post("/mcp", json={}, headers=headers)
    assert response.status_code == status
    assert TOKEN not in response.text


def test_a_short_token_is_refused(kit: Toolkit) -> None:
    with pytest.raises(ConfigurationError, match="shorter than 16"):
        http_app(kit, token="short")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tools", "flag"], "did you mean flags"),
        (["--features", "cohort"], "did you mean cohorts"),
        (["--http", "--listen", "192.0.2.1"], "Cannot listen on 192.0.2.1"),
    ],
)
def test_wrong_usage_is_explained(
    environment: dict[str, str], arguments: list[str], message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asyncposthog", "mcp", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
