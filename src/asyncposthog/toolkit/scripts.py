"""`run_script`: Python that a model writes, run in a sandbox. Not one of the default tools."""

from __future__ import annotations

from typing import Any, Final

from asyncposthog.catalog.arguments import ArgumentError
from asyncposthog.sandbox.executor import SandboxExecutor

from .tools import Tool

__all__ = ["script_tool"]

_DESCRIPTION: Final = (
    "Run a Python 3 script in a sandbox and return what it prints. Use it for several dependent "
    "calls, or to compute on many rows. It reaches PostHog only: `from asyncposthog import "
    "AsyncPostHog`, `async with AsyncPostHog() as ph: …` in `asyncio.run`; the key and the project "
    "are set. No other network, no files but the working folder. Print little: aggregates, not "
    "rows."
)
_MAX_SCRIPT: Final = 100_000


def script_tool(sandbox: SandboxExecutor) -> Tool:
    """Return the tool `run_script` over an open sandbox: `kit.add(script_tool(sandbox))`.

    A script can do whatever the key of the sandbox can: the tool counts as a destructive write. A
    read-only toolkit does not have it, and the approval hook is asked about each script. Give the
    sandbox a key of its own with few scopes.

    Args:
        sandbox: An executor, which has to be open when the tool is called.
    """

    async def run(arguments: dict[str, Any]) -> Any:
        script = arguments["script"]
        if not script.strip() or len(script) > _MAX_SCRIPT:
            raise ArgumentError(
                f"script must have 1 to {_MAX_SCRIPT:,} characters.",
                field="script",
                expected="Python source",
            )
        result = await sandbox.execute_script(script, arguments.get("description", ""))
        data: dict[str, Any] = {"success": result.success, "output": result.output}
        if result.error:
            data["error"] = result.error
        if not result.success:
            data["exit_code"] = result.exit_code
            data["ending"] = result.ending
        return data

    return Tool(
        name="run_script",
        description=_DESCRIPTION,
        input_schema={
            "type": "object",
            "properties": {
                "script": {"type": "string", "description": "Python source"},
                "description": {"type": "string", "description": "what it is for, in a sentence"},
            },
            "required": ["script", "description"],
        },
        run=run,
        writes=True,
        destructive=True,
        read_only=False,
        tags=frozenset({"scripts"}),
    )
