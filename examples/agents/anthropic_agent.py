"""An agent with the Anthropic SDK: `python -m examples.agents.anthropic_agent "question"`.

Needs ANTHROPIC_API_KEY, and the variables of PostHog; or `asyncposthog emulator --seed demo`.
"""

from __future__ import annotations

import sys

import anyio
from anthropic import AsyncAnthropic

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit

MODEL = "claude-sonnet-4-5"
SYSTEM = "You answer questions about a product with data from PostHog. Give numbers, and be short."


async def ask(question: str, ph: AsyncPostHog, client: AsyncAnthropic) -> str:
    """Let the model call tools until it has an answer, and return that."""
    kit = Toolkit(ph, read_only=True)
    runner = client.beta.messages.tool_runner(
        model=MODEL,
        max_tokens=2000,
        system=SYSTEM,
        messages=[{"role": "user", "content": question}],
        tools=kit.tools("anthropic"),
    )
    message = await runner.until_done()
    for record in kit.audit:
        print(f"[{record.tool} {dict(record.arguments)}]", file=sys.stderr)
    return "".join(block.text for block in message.content if block.type == "text")


async def main() -> None:
    """Answer the question on the command line."""
    question = sys.argv[1] if len(sys.argv) > 1 else "What are the top events?"
    async with AsyncPostHog() as ph, AsyncAnthropic() as client:
        print(await ask(question, ph, client))


if __name__ == "__main__":
    anyio.run(main)
