"""An agent with pydantic-ai: `python -m examples.agents.pydantic_ai_agent "question"`.

Needs the key of a model's provider, and the variables of PostHog; or `asyncposthog emulator`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import anyio
from pydantic_ai import Agent

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit


async def ask(question: str, ph: AsyncPostHog, model: Any) -> str:
    """Run an agent with PostHog's tools and return its answer."""
    kit = Toolkit(ph, read_only=True)
    agent = Agent(
        model,
        instructions="Answer questions about a product with data from PostHog. Give numbers.",
        tools=kit.tools("pydantic-ai"),
    )
    return (await agent.run(question)).output


async def main() -> None:
    """Answer the question on the command line."""
    question = sys.argv[1] if len(sys.argv) > 1 else "What are the top events?"
    model = os.environ.get("MODEL", "anthropic:claude-sonnet-4-5")
    async with AsyncPostHog() as ph:
        print(await ask(question, ph, model))


if __name__ == "__main__":
    anyio.run(main)
