"""An agent with the OpenAI SDK: `python -m examples.agents.openai_agent "question"`.

Needs OPENAI_API_KEY, and the variables of PostHog; or `asyncposthog emulator --seed demo`.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import anyio
from openai import AsyncOpenAI

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit

MODEL = "gpt-5"


async def ask(question: str, ph: AsyncPostHog, client: AsyncOpenAI) -> str:
    """Let the model call functions until it has an answer, and return that."""
    kit = Toolkit(ph, read_only=True)
    items: list[Any] = [{"role": "user", "content": question}]
    while True:
        response = await client.responses.create(
            model=MODEL, input=cast("Any", items), tools=kit.tools("openai")
        )
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return response.output_text
        items += [item.model_dump(exclude_none=True) for item in response.output]
        for call in calls:
            result = await kit.call(call.name, call.arguments)
            items.append(
                {"type": "function_call_output", "call_id": call.call_id, "output": result.text}
            )


async def main() -> None:
    """Answer the question on the command line."""
    question = sys.argv[1] if len(sys.argv) > 1 else "What are the top events?"
    async with AsyncPostHog() as ph, AsyncOpenAI() as client:
        print(await ask(question, ph, client))


if __name__ == "__main__":
    anyio.run(main)
