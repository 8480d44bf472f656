"""The same without the SDK's tool runner: a conversation loop that asks before each write.

`python -m examples.agents.anthropic_loop` talks until an empty line. Needs ANTHROPIC_API_KEY.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
from anthropic import AsyncAnthropic

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit, WriteRequest

MODEL = "claude-sonnet-4-5"
Message = dict[str, Any]


async def answer(messages: list[Message], kit: Toolkit, client: AsyncAnthropic) -> str:
    """Continue a conversation until the model has an answer. The messages are added to."""
    while True:
        response = await client.messages.create(
            model=MODEL,
            max_tokens=2000,
            messages=cast("Any", messages),
            tools=cast("Any", kit.definitions("anthropic")),
        )
        messages.append(
            {"role": "assistant", "content": [block.model_dump() for block in response.content]}
        )
        results: list[Message] = []
        for block in response.content:
            if block.type == "tool_use":
                result = await kit.call(block.name, cast("Any", block.input))
                results.append(
                    {
                        "type": "tool_result",
                        "tool_use_id": block.id,
                        "content": result.text,
                        "is_error": not result.successful,
                    }
                )
        if not results:
            return "".join(block.text for block in response.content if block.type == "text")
        messages.append({"role": "user", "content": results})


def approval(ask: Callable[[str], Awaitable[str]]) -> Callable[[WriteRequest], Awaitable[bool]]:
    """Return an approval hook that asks a person."""

    async def approve(request: WriteRequest) -> bool:
        text = f"{request.method} {request.url}\n{request.body}\nCarry it out? [y/N] "
        return (await ask(text)).strip().lower() == "y"

    return approve


async def prompt(text: str) -> str:
    """Return a line from the terminal."""
    return await anyio.to_thread.run_sync(input, text)


async def main() -> None:
    """Talk until an empty line."""
    messages: list[Message] = []
    async with AsyncPostHog() as ph, AsyncAnthropic() as client:
        kit = Toolkit(ph, approve=approval(prompt))
        while question := (await prompt("> ")).strip():
            messages.append({"role": "user", "content": question})
            print(await answer(messages, kit, client))


if __name__ == "__main__":
    anyio.run(main)
