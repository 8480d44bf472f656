"""The tools as objects of agent frameworks, each driven by the real package, offline."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from asyncposthog.toolkit import Toolkit
from asyncposthog.toolkit.adapters import FRAMEWORKS

# Importing the frameworks takes seconds, and every worker collects all tests: those that use one
# import it.
if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models.function import AgentInfo

COUNT = {"query": "SELECT count() FROM events"}

pytestmark = pytest.mark.anyio


async def test_anthropic(kit: Toolkit) -> None:
    from anthropic import AsyncAnthropic

    requests: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(json.loads(request.content))
        content: list[dict[str, Any]] = [
            {"type": "tool_use", "id": "t1", "name": "query_posthog", "input": COUNT}
        ]
        if len(requests) > 1:
            content = [{"type": "text", "text": "There are 300 events."}]
        body = {
            "id": "m", "type": "message", "role": "assistant", "model": "x", "content": content,
            "stop_reason": "tool_use" if len(requests) == 1 else "end_turn",
            "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
        }  # fmt: skip
        return httpx2.Response(200, json=body)

    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with AsyncAnthropic(api_key="x", http_client=http_client) as client:
        runner = client.beta.messages.tool_runner(
            model="x",
            max_tokens=100,
            messages=[{"role": "user", "content": "How many events are there?"}],
            tools=kit.tools("anthropic"),
        )
        message = await runner.until_done()
    assert message.content[0].text == "There are 300 events."  # type: ignore[union-attr]
    assert [tool["name"] for tool in requests[0]["tools"]] == [tool.name for tool in kit]
    assert "[[300]]" in json.dumps(requests[1]["messages"][-1]).replace("\\", "")


async def test_openai(kit: Toolkit) -> None:
    from openai import AsyncOpenAI

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        assert [tool["name"] for tool in body["tools"]] == [tool.name for tool in kit]
        call = {
            "type": "function_call", "id": "f", "call_id": "c1", "name": "query_posthog",
            "arguments": json.dumps(COUNT), "status": "completed",
        }  # fmt: skip
        response = {
            "id": "r", "object": "response", "created_at": 0, "model": "x", "output": [call],
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "status": "completed",
        }  # fmt: skip
        return httpx2.Response(200, json=response)

    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with AsyncOpenAI(api_key="x", http_client=http_client) as client:
        response = await client.responses.create(
            model="x", input="How many events?", tools=kit.tools("openai")
        )
    (item,) = response.output
    assert item.type == "function_call"
    result = await kit.call(item.name, item.arguments)
    assert result.data["rows"] == [[300]]


async def test_openai_agents(kit: Toolkit) -> None:
    import agents

    tools = {tool.name: tool for tool in kit.tools("openai-agents")}
    assert all(isinstance(tool, agents.FunctionTool) for tool in tools.values())
    query = tools["query_posthog"]
    assert query.params_json_schema["required"] == ["query"]
    text = await query.on_invoke_tool(None, json.dumps(COUNT))
    assert json.loads(text)["data"]["rows"] == [[300]]
    text = await query.on_invoke_tool(None, "not json")
    assert json.loads(text)["successful"] is False


async def test_pydantic_ai(kit: Toolkit) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        assert {tool.name for tool in info.function_tools} == {tool.name for tool in kit}
        last = messages[-1].parts[-1]
        if last.part_kind == "tool-return":
            rows = last.content["data"]["rows"]  # type: ignore[index]
            return ModelResponse(parts=[TextPart(f"There are {rows[0][0]} events.")])
        return ModelResponse(parts=[ToolCallPart("query_posthog", COUNT)])

    agent = Agent(FunctionModel(answer), tools=kit.tools("pydantic-ai"))
    result = await agent.run("How many events are there?")
    assert result.output == "There are 300 events."


def test_a_missing_framework_is_named(kit: Toolkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agents", None)
    monkeypatch.delitem(sys.modules, "asyncposthog.toolkit.adapters.openai_agents", raising=False)
    with pytest.raises(ImportError, match="pip install openai-agents"):
        kit.tools("openai-agents")


def test_no_framework_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys\n"
        "from asyncposthog import AsyncPostHog\n"
        "from asyncposthog.toolkit import Toolkit\n"
        "Toolkit(AsyncPostHog('phx_key', project_id=1)).definitions('openai')\n"
        "names = ['anthropic', 'openai', 'agents', 'pydantic_ai', 'langchain_core', 'mcp',\n"
        "         'claude_agent_sdk', 'google.adk', 'httpx2']\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert len(FRAMEWORKS) == 7
