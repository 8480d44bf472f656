"""An agent with the Claude Agent SDK: `python -m examples.agents.claude_agent "question"`.

Needs `pip install claude-agent-sdk`, ANTHROPIC_API_KEY, and the variables of PostHog.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import anyio

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit


async def ask(question: str, ph: AsyncPostHog, **options: Any) -> str:
    """Let Claude Code answer with PostHog's tools and no others.

    Args:
        question: The question.
        ph: An open client.
        options: Further arguments of `ClaudeAgentOptions`.
    """
    sdk: Any = import_module("claude_agent_sdk")  # large, so the project does not install it
    kit = Toolkit(ph, read_only=True)
    settings = sdk.ClaudeAgentOptions(
        mcp_servers={"posthog": kit.tools("claude-agent-sdk")},
        tools=[],
        allowed_tools=[f"mcp__posthog__{tool.name}" for tool in kit],
        system_prompt="You answer questions about a product with data from PostHog.",
        **options,
    )
    answer = ""
    async for message in sdk.query(prompt=question, options=settings):
        if isinstance(message, sdk.ResultMessage):
            answer = message.result or ""
    return answer


async def main() -> None:
    """Answer the question on the command line."""
    question = sys.argv[1] if len(sys.argv) > 1 else "What are the top events?"
    async with AsyncPostHog() as ph:
        print(await ask(question, ph))


if __name__ == "__main__":
    anyio.run(main)
