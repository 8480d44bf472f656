"""The tools as objects of frameworks that are too large for the ordinary tests: `make agents`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions
from google.adk.tools.base_tool import BaseTool
from langchain_core.messages import ToolCall
from langchain_core.tools import StructuredTool
from mcp import Client

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit
from posthog_emulator import Emulator

COUNT = {"query": "SELECT count() FROM events"}

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def kit() -> Toolkit:
    emulator = Emulator()
    emulator.add_demo_events(events=300, seed=1)
    return Toolkit(AsyncPostHog.emulated(emulator))


async def test_claude_agent_sdk(kit: Toolkit) -> None:
    server = kit.tools("claude-agent-sdk")
    ClaudeAgentOptions(mcp_servers={"posthog": server}, allowed_tools=["mcp__posthog__*"])
    async with Client(server["instance"]) as client:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == [tool.name for tool in kit]
        hints = {tool.name: tool.annotations for tool in listed}
        assert hints["read_operation"].read_only_hint is True
        assert hints["write_operation"].destructive_hint is True
        result: Any = await client.call_tool("query_posthog", COUNT)
        assert json.loads(result.content[0].text)["data"]["rows"] == [[300]]
        failed: Any = await client.call_tool("query_posthog", {"query": "DROP TABLE x"})
        assert failed.is_error


async def test_langchain(kit: Toolkit) -> None:
    tools = {tool.name: tool for tool in kit.tools("langchain")}
    query = tools["query_posthog"]
    assert isinstance(query, StructuredTool)
    assert json.loads(await query.ainvoke(COUNT))["data"]["rows"] == [[300]]
    call = ToolCall(name="query_posthog", args=COUNT, id="c1", type="tool_call")
    message = await query.ainvoke(call)
    assert message.tool_call_id == "c1"


async def test_google_adk(kit: Toolkit) -> None:
    tools = {tool.name: tool for tool in kit.tools("google-adk")}
    query = tools["query_posthog"]
    assert isinstance(query, BaseTool)
    declaration = query._get_declaration()
    assert declaration is not None
    assert declaration.parameters_json_schema["required"] == ["query"]
    result = await query.run_async(args=COUNT, tool_context=None)  # type: ignore[arg-type]
    assert result["data"]["rows"] == [[300]]
