"""The agents of the examples answer from the emulator's demo data, against stand-ins of the APIs.

Each stand-in is behind the SDK's own client. It plays a model that knows nothing: it asks for the
top events with HogQL, and says what the tool returned.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit, WriteRequest
from posthog_emulator import Emulator

# Importing the frameworks takes seconds, and every worker collects all tests: those that use one
# import it.
if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models.function import AgentInfo

QUESTION = "What are the top events?"
SQL = "SELECT event, count() AS n FROM events GROUP BY event ORDER BY n DESC LIMIT 5"

pytestmark = pytest.mark.anyio


@pytest.fixture
def ph(demo: Emulator) -> AsyncPostHog:
    return AsyncPostHog.emulated(demo)


@pytest.fixture
async def expected(ph: AsyncPostHog) -> str:
    return said((await ph.query(SQL)).results)


def said(rows: Any) -> str:
    """Return the answer of the stand-in."""
    return "\n".join(f"{event}: {count}" for event, count in rows)


def message(content: list[dict[str, Any]]) -> httpx2.Response:
    uses_tool = content[0]["type"] == "tool_use"
    body = {
        "id": "m", "type": "message", "role": "assistant", "model": "x", "content": content,
        "stop_reason": "tool_use" if uses_tool else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    return httpx2.Response(200, json=body)


def anthropic_answer(request: httpx2.Request) -> httpx2.Response:
    body = json.loads(request.content)
    last = body["messages"][-1]["content"]
    if isinstance(last, str):
        assert "query_posthog" in {tool["name"] for tool in body["tools"]}
        assert last == QUESTION
        return message(
            [{"type": "tool_use", "id": "t", "name": "query_posthog", "input": {"query": SQL}}]
        )
    content = last[0]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    return message([{"type": "text", "text": said(json.loads(text)["data"]["rows"])}])


def anthropic_client(answer: Any) -> AsyncAnthropic:
    from anthropic import AsyncAnthropic

    transport = httpx2.MockTransport(answer)
    return AsyncAnthropic(api_key="x", http_client=httpx2.AsyncClient(transport=transport))


async def test_anthropic(ph: AsyncPostHog, expected: str) -> None:
    from examples.agents import anthropic_agent

    async with anthropic_client(anthropic_answer) as client:
        assert await anthropic_agent.ask(QUESTION, ph, client) == expected
    assert "$pageview" in expected


async def test_a_conversation(ph: AsyncPostHog, expected: str) -> None:
    from examples.agents import anthropic_loop

    async with anthropic_client(anthropic_answer) as client:
        messages: list[dict[str, Any]] = [{"role": "user", "content": QUESTION}]
        kit = Toolkit(ph)
        assert await anthropic_loop.answer(messages, kit, client) == expected
        messages.append({"role": "user", "content": QUESTION})
        assert await anthropic_loop.answer(messages, kit, client) == expected
    assert [message["role"] for message in messages] == ["user", "assistant"] * 4


@pytest.mark.parametrize(("typed", "approved"), [("y", True), ("n", False), ("", False)])
async def test_a_person_approves_writes(typed: str, approved: bool) -> None:
    from examples.agents import anthropic_loop

    shown: list[str] = []

    async def ask(text: str) -> str:
        shown.append(text)
        return typed

    request = WriteRequest(
        tool="write_operation", operation="cohorts.delete", arguments={}, destructive=True,
        method="PATCH", url="https://us.posthog.com/api/projects/1/cohorts/3/",
        body={"deleted": True},
    )  # fmt: skip
    assert await anthropic_loop.approval(ask)(request) is approved
    assert "PATCH https://us.posthog.com/api/projects/1/cohorts/3/" in shown[0]


async def test_openai(ph: AsyncPostHog, expected: str) -> None:
    from openai import AsyncOpenAI

    from examples.agents import openai_agent

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        last = body["input"][-1]
        output: dict[str, Any] = {
            "type": "function_call", "id": "f", "call_id": "c", "name": "query_posthog",
            "arguments": json.dumps({"query": SQL}), "status": "completed",
        }  # fmt: skip
        if last.get("type") == "function_call_output":
            text = said(json.loads(last["output"])["data"]["rows"])
            output = {
                "type": "message", "id": "m", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}],
            }  # fmt: skip
        response = {
            "id": "r", "object": "response", "created_at": 0, "model": "x", "output": [output],
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "status": "completed",
        }  # fmt: skip
        return httpx2.Response(200, json=response)

    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with AsyncOpenAI(api_key="x", http_client=http_client) as client:
        assert await openai_agent.ask(QUESTION, ph, client) == expected


async def test_pydantic_ai(ph: AsyncPostHog, expected: str) -> None:
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    from examples.agents import pydantic_ai_agent

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        last: Any = messages[-1].parts[-1]
        if last.part_kind == "tool-return":
            return ModelResponse(parts=[TextPart(said(last.content["data"]["rows"]))])
        return ModelResponse(parts=[ToolCallPart("query_posthog", {"query": SQL})])

    assert await pydantic_ai_agent.ask(QUESTION, ph, FunctionModel(answer)) == expected
